//! Files and the other steps.

use std::time::Duration;

use quaylab::host::{Content, Link, Step, Target, Times};
use tokio::io::AsyncReadExt as _;

use crate::lab::sshd::Sshd;
use crate::{both, out};

pub(crate) fn write(path: &str, content: Content) -> Step {
    Step::WriteFile {
        path: path.to_owned(),
        content,
        mode: None,
        owner: None,
        group: None,
        backup: false,
        validate: None,
    }
}

#[tokio::test]
async fn files_are_replaced_in_one_go() {
    both(async |shell| {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).display().to_string();
        let bytes = |text: &str| Content::Bytes(text.as_bytes().to_vec());
        // A new file.
        let new = at("a 'new' file");
        shell.apply(&write(&new, bytes("one\0\n"))).await.unwrap();
        assert_eq!(shell.read_file(&new).await.unwrap(), b"one\0\n");
        assert_eq!(
            out(&shell, &format!("umask 022; stat -c %a '{}'", new.replace('\'', r"'\''"))).await,
            "644"
        );
        shell.apply(&write(&at("empty"), bytes(""))).await.unwrap();
        assert_eq!(std::fs::metadata(at("empty")).unwrap().len(), 0);
        // One that is there keeps owner and mode, and its link stays a link.
        let file = at("file");
        std::fs::write(&file, "old").unwrap();
        out(
            &shell,
            &format!("chown nobody {file} 2>/dev/null; chmod 4750 {file}; ln -s file {}", at("link")),
        )
        .await;
        let owner = out(&shell, &format!("stat -c '%U %a' {file}")).await;
        let step = write(&at("link"), bytes("new"));
        let Step::WriteFile { path, content, .. } = step else { unreachable!() };
        let step = Step::WriteFile {
            path,
            content,
            mode: None,
            owner: None,
            group: None,
            backup: true,
            validate: Some("grep -q 'new' %s".to_owned()),
        };
        let reply = shell.apply(&step).await.unwrap();
        assert_eq!(out(&shell, &format!("stat -c '%U %a' {file}")).await, owner);
        assert_eq!(std::fs::read_link(at("link")).unwrap().to_str(), Some("file"));
        assert_eq!(std::fs::read(&file).unwrap(), b"new");
        assert_eq!(std::fs::read(reply.out().trim()).unwrap(), b"old");
        // What does not pass is not put in place.
        let Step::WriteFile { path, .. } = step else { unreachable!() };
        let step = Step::WriteFile {
            path,
            content: bytes("bad"),
            mode: Some(0o600),
            owner: None,
            group: None,
            backup: false,
            validate: Some("grep new %s".to_owned()),
        };
        let error = shell.apply(&step).await.unwrap_err();
        assert!(error.to_string().contains("did not pass `validate`"), "{error}");
        assert_eq!(std::fs::read(&file).unwrap(), b"new");
        // A large one is streamed.
        let big: Vec<u8> = (0..=255).cycle().take(5 << 20).collect();
        std::fs::write(at("source"), &big).unwrap();
        shell.apply(&write(&at("big"), Content::File(at("source").into()))).await.unwrap();
        assert!(std::fs::read(at("big")).unwrap() == big);
        shell.apply(&write(&at("big2"), Content::Bytes(big.clone()))).await.unwrap();
        assert!(shell.read_file(&at("big2")).await.unwrap() == big);
        let error = shell.apply(&write(&at("no/folder"), bytes(""))).await.unwrap_err();
        assert!(error.to_string().contains("does not exist"), "{error}");
        let left: Vec<_> =
            std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert!(!left.iter().any(|n| n.to_string_lossy().starts_with(".quaylab")), "{left:?}");
    })
    .await;
}

#[tokio::test]
async fn the_other_steps_do_what_they_say() {
    both(async |shell| {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).display().to_string();
        let touch = |name: &str| Step::Touch { path: at(name), times: Times::Both, link: Link::Followed };
        for step in [
            Step::MakeDirectory { path: at("d"), mode: Some(0o2750), owner: None, group: None },
            Step::MakeDirectory { path: at("plain"), mode: None, owner: None, group: None },
            touch("f"),
            Step::SetOwner {
                path: at("f"),
                owner: Some("0".to_owned()),
                group: Some("0".to_owned()),
                link: Link::Itself,
            },
            Step::SetMode { path: at("f"), mode: 0o4711 },
            Step::Symlink { path: at("s"), target: "d".to_owned() },
            Step::Symlink { path: at("s"), target: "plain".to_owned() },
            Step::Hardlink { path: at("h"), target: at("f") },
            Step::Run {
                argv: vec!["sh".into(), "-c".into(), "cat >\"$OUT\"".into()],
                stdin: b"data".to_vec(),
                environment: vec![("OUT".to_owned(), at("run"))],
            },
            Step::Script { text: format!("cat >>{}", at("run")), stdin: b"+".to_vec() },
            touch("plain/inside"),
            touch("d/inside"),
            Step::Symlink { path: at("gone"), target: "plain".to_owned() },
            Step::Remove { path: format!("{}/", at("gone")) },
            Step::Remove { path: at("d") },
        ] {
            shell.apply(&step).await.unwrap();
        }
        let listing = out(
            &shell,
            &format!(
                "cd '{}'; stat -c '%N %a' * | sed 's/ 777//'; ls plain; cat run",
                folder.path().display()
            ),
        )
        .await;
        assert_eq!(listing, "'f' 4711\n'h' 4711\n'plain' 755\n'run' 644\n's' -> 'plain'\ninside\ndata+");
        let error = shell
            .apply(&Step::Run {
                argv: vec!["sh".into(), "-c".into(), "echo why >&2; exit 9".into()],
                stdin: vec![],
                environment: vec![],
            })
            .await
            .unwrap_err();
        assert_eq!(error.to_string(), "running sh: why (status 9)");
        assert!(shell.apply(&Step::Symlink { path: at("plain"), target: "x".to_owned() }).await.is_err());
    })
    .await;
}

/// What is read to a writer comes as it is, and a program waits where the writer does.
#[tokio::test]
async fn a_file_is_read_to_a_writer_as_fast_as_that_takes_it() {
    both(async |shell| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("large").display().to_string();
        let bytes: Vec<u8> = (0..40_000_000_u32).map(|n| (n % 251) as u8).collect();
        std::fs::write(&path, &bytes).unwrap();
        let (mut near, mut far) = tokio::io::duplex(1000);
        let reading = shell.read_file_to(&path, bytes.len() as u64, &mut near, &|_| ());
        let taking = async {
            let mut all = vec![0; 1000];
            far.read_exact(&mut all).await.unwrap();
            // Nobody takes more: what was sent is in pipes and windows, the rest is not read.
            tokio::time::sleep(Duration::from_millis(500)).await;
            let read = read_so_far(&path).unwrap();
            assert!(read < bytes.len() / 2, "{read} bytes were read ahead");
            let mut rest = vec![0; bytes.len() - all.len()];
            far.read_exact(&mut rest).await.unwrap();
            all.extend(rest);
            all
        };
        let (done, all) = tokio::join!(reading, taking);
        done.unwrap();
        assert!(all == bytes);
        let missing = shell.read_file_to("/none", 0, &mut tokio::io::sink(), &|_| ()).await.unwrap_err();
        assert!(missing.to_string().contains("/none"), "{missing}");
        // One that fails ends the reading.
        let (mut near, far) = tokio::io::duplex(10);
        drop(far);
        let broken = shell.read_file_to(&path, 0, &mut near, &|_| ()).await.unwrap_err();
        assert!(broken.to_string().contains("cannot be written"), "{broken}");
    })
    .await;
}

/// How much of a file has been read by the program that reads it; the test's hosts are this machine.
fn read_so_far(path: &str) -> Option<usize> {
    let processes = std::fs::read_dir("/proc").unwrap().filter_map(|p| Some(p.ok()?.path()));
    let reader = processes
        .into_iter()
        .find(|p| std::fs::read_link(p.join("fd/3")).is_ok_and(|file| file.to_str() == Some(path)))?;
    let info = std::fs::read_to_string(reader.join("fdinfo/3")).ok()?;
    info.lines().next()?.strip_prefix("pos:")?.trim().parse().ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transfer_that_breaks_off_leaves_the_old_file() {
    let Some(sshd) = Sshd::start("") else { return };
    let folder = tempfile::tempdir().unwrap();
    let (large, dest) = (folder.path().join("large"), folder.path().join("to/dest"));
    std::fs::create_dir(folder.path().join("to")).unwrap();
    std::fs::write(&large, vec![b'x'; 200 << 20]).unwrap();
    std::fs::write(&dest, "old\n").unwrap();
    let target = Target::new(sshd.spec());
    let shell = target.shell(None);
    // The parent of the shell is the session's server.
    let server = out(&shell, "echo $PPID").await;
    let cut = async {
        let arriving = || {
            let entries = std::fs::read_dir(folder.path().join("to")).unwrap().flatten();
            entries.filter_map(|e| Some(e.metadata().ok()?.len())).max().unwrap_or_default()
        };
        while arriving() < 1 << 20 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert!(std::process::Command::new("kill").args(["-KILL", &server]).status().unwrap().success());
    };
    let step = write(dest.to_str().unwrap(), Content::File(large.clone()));
    let (done, ()) = tokio::join!(shell.apply(&step), cut);
    done.unwrap_err();
    // What has arrived is looked at on the target, after the connection's end.
    for _ in 0..500 {
        if std::fs::read_dir(folder.path().join("to")).unwrap().count() == 1 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(std::fs::read_to_string(&dest).unwrap(), "old\n");
    assert_eq!(std::fs::read_dir(folder.path().join("to")).unwrap().count(), 1);
}
