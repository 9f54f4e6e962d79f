//! Targets over a real sshd, and the same on this machine.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod lab;

use std::time::{Duration, Instant};

use lab::sshd::Sshd;
use quaylab::host::{
    BecomeMethod, BecomeSpec, ConnectionKind, ConnectionSpec, Content, Endpoint, HostError, HostKeyCheck,
    ProxyJump, Script, Secret, Shell, Step, Target,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn local() -> ConnectionSpec {
    ConnectionSpec {
        name: "here".to_owned(),
        kind: ConnectionKind::Local,
        address: "localhost".to_owned(),
        port: 22,
        user: "root".to_owned(),
        password: None,
        private_key_file: None,
        host_key: HostKeyCheck::Off,
        proxy_jump: Vec::new(),
        timeout: Duration::from_secs(20),
    }
}

/// Runs a test over both ways.
async fn both(test: impl AsyncFn(Shell)) {
    let here = Target::new(local());
    test(here.shell(None)).await;
    here.close().await;
    let Some(sshd) = Sshd::start("") else { return };
    let there = Target::new(sshd.spec());
    test(there.shell(None)).await;
    there.close().await;
}

fn become_nobody(password: Option<&str>) -> BecomeSpec {
    BecomeSpec {
        user: "nobody".to_owned(),
        method: BecomeMethod::Sudo,
        password: password.map(|p| Secret(p.to_owned())),
    }
}

async fn out(shell: &Shell, text: &str) -> String {
    let reply = shell.run(&Script::new(text)).await.unwrap();
    assert!(reply.ok(), "{text}: {}", reply.err());
    reply.out().trim_end().to_owned()
}

#[tokio::test]
async fn requests_do_not_touch_each_other() {
    both(async |shell| {
        let reply = shell
            .run(&Script::new("echo out; echo err >&2; x=1; cd /; set -e; trap 'echo bye' EXIT; exit 3"))
            .await
            .unwrap();
        assert_eq!((reply.out().as_ref(), reply.err().as_ref(), reply.status), ("out\nbye\n", "err\n", 3));
        for broken in [
            "echo 'unbalanced",
            "if",
            "echo $(",
            "cat <<E",
            "}",
            ")",
            "exec false",
            "kill -9 $(sh -c 'echo $PPID')",
        ] {
            let _ = shell.run(&Script::new(broken)).await.unwrap();
        }
        let reply = shell.run(&Script::new("echo \"[$x]\"; cat").stdin("in")).await.unwrap();
        assert_eq!(reply.out(), "[]\nin");
        assert_eq!(out(&shell, "cat").await, "");
        let mut script = Script::new("printf %s \"$A_B\"");
        script.environment.push(("A_B".to_owned(), "it's\n$HOME".to_owned()));
        assert_eq!(shell.run(&script).await.unwrap().out(), "it's\n$HOME");
        assert_eq!(out(&shell, "echo \"$A_B\"").await, "");
    })
    .await;
}

#[tokio::test]
async fn bytes_come_back_as_they_are() {
    both(async |shell| {
        let all: Vec<u8> = (0..=255).cycle().take(70_000).collect();
        for size in [1, 256, 20_000, 65_536, 70_000] {
            let input = &all[..size];
            let reply = shell.run(&Script::new("tee /dev/stderr").stdin(input)).await.unwrap();
            assert!(reply.stdout == input && reply.stderr == input, "{size}");
        }
        let big = vec![b'x'; 8 << 20];
        assert_eq!(shell.run(&Script::new("cat").stdin(big.clone())).await.unwrap().stdout, big);
        let reply = shell.run(&Script::new("head -c 8388608 /dev/zero")).await.unwrap();
        assert_eq!(reply.stdout, vec![0; 8 << 20]);
        // A program that does not read its input is no error.
        let reply = shell.pipe(&Script::new("exit 4"), &mut big.as_slice()).await.unwrap();
        assert_eq!(reply.status, 4);
    })
    .await;
}

#[tokio::test]
async fn requests_in_flight_are_answered_in_order() {
    both(async |shell| {
        let scripts: Vec<Script> = (0..200).map(|n| Script::new(format!("echo {n}"))).collect();
        let replies = futures_util::future::join_all(scripts.iter().map(|s| shell.run(s))).await;
        for (n, reply) in replies.into_iter().enumerate() {
            assert_eq!(reply.unwrap().out().trim(), n.to_string());
        }
        // A request whose future is dropped drains.
        let slow = Script::new("sleep 0.3; echo lost");
        assert!(tokio::time::timeout(Duration::from_millis(50), shell.run(&slow)).await.is_err());
        assert_eq!(out(&shell, "echo next").await, "next");
    })
    .await;
}

#[tokio::test]
async fn a_request_that_takes_too_long_is_killed_and_the_shell_lives() {
    both(async |shell| {
        let before = out(&shell, "echo $$").await;
        let mut script = Script::new("sleep 4321 & sleep 4321; echo no");
        script.timeout = Some(Duration::from_millis(300));
        let (slow, next) = (shell.run(&script), Script::new("echo $$"));
        let (slow, next) = tokio::join!(slow, shell.run(&next));
        assert!(matches!(slow, Err(HostError::Timeout { .. })), "{slow:?}");
        assert_eq!(next.unwrap().out().trim(), before);
        let error = shell.pipe(&script, &mut tokio::io::empty()).await.unwrap_err();
        assert!(matches!(error, HostError::Timeout { .. }), "{error}");
        assert_eq!(out(&shell, "pgrep -fx 'sleep 4321' || :").await, "");
    })
    .await;
}

#[tokio::test]
async fn another_user_has_a_shell_of_their_own() {
    both(async |shell| {
        if out(&shell, "id -un; command -v sudo || :").await.lines().count() < 2 {
            eprintln!("skipped: sudo is not installed");
            return;
        }
        let target = shell.target();
        let nobody = target.shell(Some(&become_nobody(None)));
        assert_eq!(out(&nobody, "id -un").await, "nobody");
        assert_ne!(out(&nobody, "echo $$").await, out(&shell, "echo $$").await);
        // sudo asks root for nothing, and then the password must not end up in the shell.
        let nobody = target.shell(Some(&become_nobody(Some("unused"))));
        assert_eq!(out(&nobody, "id -un").await, "nobody");
        let reply = nobody.pipe(&Script::new("id -un; cat"), &mut &b"data"[..]).await.unwrap();
        assert_eq!(reply.out(), "nobody\ndata");
        let su = BecomeSpec { method: BecomeMethod::Su, ..become_nobody(None) };
        assert_eq!(out(&target.shell(Some(&su)), "id -un").await, "nobody");
        let same = BecomeSpec { user: out(&shell, "id -un").await, ..su };
        assert_eq!(out(&target.shell(Some(&same)), "echo $$").await, out(&shell, "echo $$").await);
        let missing = BecomeSpec { user: "no-such-user".to_owned(), ..become_nobody(None) };
        let error = target.shell(Some(&missing)).run(&Script::new(":")).await.unwrap_err();
        assert!(error.to_string().contains("there is no user `no-such-user`"), "{error}");
        assert!(error.hint().is_some());
    })
    .await;
}

async fn refused(spec: ConnectionSpec) -> String {
    let error = Target::new(spec).connect().await.unwrap_err();
    assert!(error.is_unreachable());
    format!("{error}\n{}", error.hint().unwrap_or_default())
}

#[tokio::test]
async fn a_host_that_is_not_the_right_one_is_refused() {
    let Some(sshd) = Sshd::start("") else { return };
    let Some(other) = Sshd::start("") else { return };
    let mut spec = sshd.spec();
    spec.host_key = other.spec().host_key;
    let error = refused(spec.clone()).await;
    assert_eq!(error.matches("SHA256:").count(), 2, "{error}");
    spec.host_key = HostKeyCheck::KnownHosts;
    assert!(refused(spec.clone()).await.contains("its host key is not known"));
    spec.host_key = HostKeyCheck::Off;
    Target::new(spec.clone()).connect().await.unwrap();
    spec.private_key_file = other.spec().private_key_file;
    let error = refused(spec).await;
    assert!(
        error.contains("login as `root` was refused: tried the key ") || error.contains("was refused"),
        "{error}"
    );
    assert!(error.contains("authorized_keys"), "{error}");
}

#[tokio::test]
async fn an_encrypted_key_is_named_with_what_to_do() {
    let Some(sshd) = Sshd::start("") else { return };
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("key");
    let made = std::process::Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "a passphrase", "-f"])
        .arg(&key)
        .status();
    assert!(made.unwrap().success());
    let error = refused(ConnectionSpec { private_key_file: Some(key), ..sshd.spec() }).await;
    assert!(error.contains("(encrypted, so it was passed over)") && error.contains("ssh-add"), "{error}");
    let missing = Some(folder.path().join("missing"));
    let error = refused(ConnectionSpec { private_key_file: missing, ..sshd.spec() }).await;
    assert!(error.contains("(cannot be read: ") && error.contains("--private-key"), "{error}");
}

/// Runs one ignored test of this file in a process of its own, with another home folder.
fn in_home(home: &std::path::Path, test: &str, argument: &str) {
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--ignored"])
        .env("HOME", home)
        .env("QUAYLAB_TEST_PORT", argument)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[tokio::test]
async fn a_new_host_is_remembered_and_a_changed_one_refused() {
    let Some(sshd) = Sshd::start("") else { return };
    let home = tempfile::tempdir().unwrap();
    let ssh = home.path().join(".ssh");
    std::fs::create_dir(&ssh).unwrap();
    // The usual key is found and used.
    std::fs::copy(sshd.spec().private_key_file.unwrap(), ssh.join("id_ed25519")).unwrap();
    let port = sshd.spec().port.to_string();
    in_home(home.path(), "child_accepts_a_new_host", &port);
    let HostKeyCheck::Exactly(key) = sshd.spec().host_key else { unreachable!() };
    let key = key.split(' ').take(2).collect::<Vec<_>>().join(" ");
    let known = ssh.join("known_hosts");
    assert_eq!(std::fs::read_to_string(&known).unwrap(), format!("[127.0.0.1]:{port} {key}\n"));
    // What ssh-keygen hashes is found too.
    let hashed =
        std::process::Command::new("ssh-keygen").arg("-q").arg("-H").arg("-f").arg(&known).output().unwrap();
    assert!(hashed.status.success() && std::fs::read_to_string(&known).unwrap().starts_with("|1|"));
    in_home(home.path(), "child_knows_the_host", &port);
    let other = std::fs::read_to_string(ssh.join("id_ed25519.pub")).unwrap_or_else(|_| {
        let public = sshd.spec().private_key_file.unwrap().with_extension("pub");
        std::fs::read_to_string(public).unwrap()
    });
    std::fs::write(&known, format!("[127.0.0.1]:{port} {other}")).unwrap();
    in_home(home.path(), "child_sees_a_changed_host", &port);
}

/// The host of the parent test, by the usual key.
fn childs_host(host_key: HostKeyCheck) -> ConnectionSpec {
    let port = std::env::var("QUAYLAB_TEST_PORT").unwrap().parse().unwrap();
    ConnectionSpec { kind: ConnectionKind::Ssh, address: "127.0.0.1".to_owned(), port, host_key, ..local() }
}

#[tokio::test]
#[ignore = "run by a_new_host_is_remembered_and_a_changed_one_refused"]
async fn child_accepts_a_new_host() {
    Target::new(childs_host(HostKeyCheck::AcceptNew)).connect().await.unwrap();
}

#[tokio::test]
#[ignore = "run by a_new_host_is_remembered_and_a_changed_one_refused"]
async fn child_knows_the_host() {
    Target::new(childs_host(HostKeyCheck::KnownHosts)).connect().await.unwrap();
}

#[tokio::test]
#[ignore = "run by a_new_host_is_remembered_and_a_changed_one_refused"]
async fn child_sees_a_changed_host() {
    let error = refused(childs_host(HostKeyCheck::AcceptNew)).await;
    assert!(error.contains("its host key has changed") && error.contains("ssh-keygen -R"), "{error}");
}

/// A server that asks questions instead of taking a password.
struct Asking;

impl russh::server::Handler for Asking {
    type Error = russh::Error;

    async fn auth_keyboard_interactive<'a>(
        &'a mut self,
        _user: &str,
        _submethods: &str,
        response: Option<russh::server::Response<'a>>,
    ) -> Result<russh::server::Auth, Self::Error> {
        use russh::server::Auth;
        let Some(mut answers) = response else {
            return Ok(Auth::Partial {
                name: "".into(),
                instructions: "".into(),
                prompts: vec![("Password: ".into(), false)].into(),
            });
        };
        let right = answers.next().is_some_and(|a| &*a == b"right one");
        Ok(if right { Auth::Accept } else { Auth::reject() })
    }
}

#[tokio::test]
async fn a_password_answers_a_servers_questions() {
    let key =
        russh::keys::PrivateKey::random(&mut russh::keys::key::safe_rng(), russh::keys::Algorithm::Ed25519)
            .unwrap();
    let config = std::sync::Arc::new(russh::server::Config {
        auth_rejection_time: Duration::ZERO,
        keys: vec![key],
        ..russh::server::Config::default()
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let config = config.clone();
            tokio::spawn(async move { russh::server::run_stream(config, stream, Asking).await?.await });
        }
    });
    let mut spec =
        ConnectionSpec { kind: ConnectionKind::Ssh, address: "127.0.0.1".to_owned(), port, ..local() };
    spec.password = secret("right one");
    Target::new(spec.clone()).connect().await.unwrap();
    spec.password = secret("wrong one");
    assert!(refused(spec).await.contains("the password as an answer to the server's questions"));
    server.abort();
}

#[tokio::test]
async fn a_host_that_does_not_answer_is_unreachable() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut spec =
        ConnectionSpec { kind: ConnectionKind::Ssh, address: "127.0.0.1".to_owned(), port, ..local() };
    spec.timeout = Duration::from_secs(1);
    assert!(refused(spec.clone()).await.contains("no connection and login"));
    drop(listener);
    assert!(refused(spec).await.contains("refuses connections"));
}

#[tokio::test]
async fn services_are_reached_as_the_host_sees_them() {
    both(async |shell| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s").display().to_string();
        let tcp = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = tcp.local_addr().unwrap().port();
        let unix = tokio::net::UnixListener::bind(&path).unwrap();
        let server = tokio::spawn(async move {
            loop {
                tokio::select! {
                    Ok((mut s, _)) = tcp.accept() => { tokio::spawn(async move { let (mut r, mut w) = s.split(); let _ = tokio::io::copy(&mut r, &mut w).await; }); }
                    Ok((mut s, _)) = unix.accept() => { tokio::spawn(async move { let (mut r, mut w) = s.split(); let _ = tokio::io::copy(&mut r, &mut w).await; }); }
                }
            }
        });
        let tcp = Endpoint::Tcp { host: "127.0.0.1".to_owned(), port };
        for endpoint in [
            tcp.clone(),
            Endpoint::Unix { path: path.clone() },
            Endpoint::Program { argv: vec!["cat".to_owned()] },
        ] {
            let mut stream = shell.dial(&endpoint).await.unwrap();
            echo(&mut stream, &endpoint).await;
            let forward = shell.forward(endpoint.clone()).await.unwrap();
            let mut stream = tokio::net::TcpStream::connect(forward.address).await.unwrap();
            echo(&mut stream, &endpoint).await;
        }
        let forward = shell.forward(Endpoint::Unix { path: path.clone() }).await.unwrap();
        let address = forward.address;
        drop(forward);
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(tokio::net::TcpStream::connect(address).await.is_err());
        let missing = Endpoint::Unix { path: format!("{path}-missing") };
        assert!(matches!(shell.dial(&missing).await.err(), Some(HostError::Failed { .. })));
        let program = Endpoint::Program { argv: vec!["sh".into(), "-c".into(), "echo no >&2; exit 3".into()] };
        let error = shell.dial(&program).await.unwrap().read_to_end(&mut Vec::new()).await.unwrap_err();
        assert_eq!(error.to_string(), "the program ended with status 3: no");
        server.abort();
    })
    .await;
}

async fn echo(stream: &mut (impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin), what: &Endpoint) {
    let sent: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    let (mut read, mut write) = tokio::io::split(stream);
    let mut received = Vec::new();
    let (wrote, read) = tokio::join!(
        async {
            write.write_all(&sent).await?;
            write.shutdown().await
        },
        read.read_to_end(&mut received)
    );
    wrote.unwrap();
    read.unwrap();
    assert!(received == sent, "{what:?}: {} of {}", received.len(), sent.len());
}

#[tokio::test]
async fn a_socket_of_another_user_is_reached_through_a_program() {
    let Some(sshd) = Sshd::start("AllowStreamLocalForwarding no") else { return };
    let shell = Target::new(sshd.spec()).shell(None);
    if out(&shell, "command -v socat || nc -h 2>&1 | grep -e -U || :").await.is_empty() {
        eprintln!("skipped: neither socat nor a netcat with -U is installed");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a:b,c").display().to_string();
    let unix = tokio::net::UnixListener::bind(&path).unwrap();
    let endpoint = Endpoint::Unix { path };
    let mut stream = shell.dial(&endpoint).await.unwrap();
    let (mut peer, _) = unix.accept().await.unwrap();
    stream.write_all(b"ping").await.unwrap();
    stream.flush().await.unwrap();
    let mut four = [0; 4];
    peer.read_exact(&mut four).await.unwrap();
    peer.write_all(&four).await.unwrap();
    stream.read_exact(&mut four).await.unwrap();
    assert_eq!(&four, b"ping");
}

fn write(path: &str, content: Content) -> Step {
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
        for step in [
            Step::MakeDirectory { path: at("d"), mode: Some(0o2750) },
            Step::MakeDirectory { path: at("plain"), mode: None },
            Step::Touch { path: at("f") },
            Step::SetOwner { path: at("f"), owner: Some("0".to_owned()), group: Some("0".to_owned()) },
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
            Step::Touch { path: at("plain/inside") },
            Step::Touch { path: at("d/inside") },
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

#[tokio::test]
async fn a_lost_connection_is_opened_again() {
    let Some(sshd) = Sshd::start("") else { return };
    let target = Target::new(sshd.spec());
    let shell = target.shell(None);
    out(&shell, ":").await;
    // The shell's parent is the connection's sshd.
    let error = shell.run(&Script::new("kill -KILL $PPID; sleep 5")).await.unwrap_err();
    assert!(matches!(error, HostError::Lost { .. }), "{error}");
    assert_eq!(out(&shell, "echo again").await, "again");
    // A shell that ends itself is replaced, over the same connection.
    assert!(shell.run(&Script::new("kill -KILL $$")).await.is_err());
    assert_eq!(out(&shell, "echo again").await, "again");
    target.close().await;
    assert_eq!(out(&shell, "echo again").await, "again");
}

#[tokio::test]
async fn a_host_behind_another_is_reached_through_it() {
    let Some(hop) = Sshd::start("") else { return };
    let Some(sshd) = Sshd::start("") else { return };
    let mut spec = sshd.spec();
    // Both accept the same key here.
    let key = spec.private_key_file.clone().unwrap().with_extension("pub");
    let accepts = hop.spec().private_key_file.unwrap().with_extension("pub");
    std::fs::copy(key, accepts).unwrap();
    spec.proxy_jump = vec![ProxyJump { user: None, address: "127.0.0.1".to_owned(), port: hop.spec().port }];
    assert!(refused(spec.clone()).await.contains("the jump host 127.0.0.1:"));
    spec.host_key = HostKeyCheck::Off;
    let target = Target::new(spec);
    assert_eq!(out(&target.shell(None), "echo through").await, "through");
    target.close().await;
}

/// An sshd in a mount namespace where the user `labuser` exists, who has a password and may use sudo with it; `labguest` may not.
fn sshd_with_users(folder: &std::path::Path, config: &str) -> Option<Sshd> {
    const HASH: &str =
        "$6$lab$gDUFxqkqqmJKjOYOhDTdt/TrFW4bjXzXNnYKvUEypoPnrMWu1mZJhae9heXZdHJbIpiF/I1yvkTEnxdz.Zaip1";
    let names = ["passwd", "shadow", "sudoers"];
    let lines = [
        "labuser:x:4711:4711::/:/bin/sh\nlabguest:x:4712:4712::/:/bin/sh\n".to_owned(),
        format!("labuser:{HASH}:20000::::::\nlabguest:{HASH}:20000::::::\n"),
        "root ALL=(ALL) ALL\nlabuser ALL=(ALL) ALL\n".to_owned(),
    ];
    let mut mounts = String::from("set -e; ");
    for (name, lines) in names.iter().zip(lines) {
        let copy = folder.join(name);
        let Ok(old) = std::fs::read_to_string(format!("/etc/{name}")) else {
            eprintln!("skipped: /etc/{name} cannot be read");
            return None;
        };
        let old = if *name == "sudoers" { String::new() } else { old };
        std::fs::write(&copy, old + &lines).unwrap();
        let mode = if *name == "sudoers" { 0o440 } else { 0o644 };
        std::fs::set_permissions(&copy, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
        mounts += &format!("mount --bind '{}' /etc/{name}; ", copy.display());
    }
    let unshare = |script: &str| {
        let mut command = std::process::Command::new("unshare");
        command.args(["--mount", "sh", "-c", script]);
        command
    };
    if !unshare(&mounts).status().is_ok_and(|s| s.success()) {
        eprintln!("skipped: no mount namespace can be made here");
        return None;
    }
    Sshd::start_with(|sshd| unshare(&format!("{mounts} exec {sshd} \"$@\"")).arg_sshd(), config)
}

/// `sh -c SCRIPT NAME ARGUMENTS…`.
trait ShellName {
    fn arg_sshd(self) -> Self;
}

impl ShellName for std::process::Command {
    fn arg_sshd(mut self) -> Self {
        self.arg("sshd");
        self
    }
}

fn secret(text: &str) -> Option<Secret> {
    Some(Secret(text.to_owned()))
}

#[tokio::test]
async fn a_password_logs_in_and_becomes_root() {
    let folder = tempfile::tempdir().unwrap();
    let Some(sshd) = sshd_with_users(folder.path(), "PasswordAuthentication yes") else { return };
    let mut spec = ConnectionSpec { user: "labuser".to_owned(), private_key_file: None, ..sshd.spec() };
    spec.password = secret("wrong one");
    assert!(refused(spec.clone()).await.contains("the password"));
    spec.password = secret("right one");
    let target = Target::new(spec.clone());
    let root = |password| BecomeSpec { user: "root".to_owned(), password, ..become_nobody(None) };
    let shell = target.shell(Some(&root(secret("right one"))));
    assert_eq!(out(&shell, "id -un").await, "root");
    // sudo may ask again or remember: the password never becomes a request.
    let reply = shell.pipe(&Script::new("id -un; cat"), &mut &b"data"[..]).await.unwrap();
    assert_eq!(reply.out(), "root\ndata");
    target.close().await;
    let target = Target::new(spec.clone());
    for (password, reason) in
        [(secret("wrong one"), "the password was refused"), (None, "sudo asks for a password")]
    {
        let error = target.shell(Some(&root(password))).run(&Script::new(":")).await.unwrap_err();
        assert_eq!(error.to_string(), format!("becoming root on lab failed: {reason}"));
        assert!(error.hint().is_some());
    }
    let su =
        BecomeSpec { method: BecomeMethod::Su, user: "labguest".to_owned(), password: secret("right one") };
    assert_eq!(out(&target.shell(Some(&su)), "id -un").await, "labguest");
    let error = target
        .shell(Some(&BecomeSpec { password: secret("no"), ..su }))
        .run(&Script::new(":"))
        .await
        .unwrap_err();
    assert!(error.to_string().ends_with("the password was refused"), "{error}");
    target.close().await;
    let target = Target::new(ConnectionSpec { user: "labguest".to_owned(), ..spec });
    let error = target.shell(Some(&root(secret("right one")))).run(&Script::new(":")).await.unwrap_err();
    assert!(error.to_string().contains("sudo does not let the login user do this"), "{error}");
    target.close().await;
}

#[tokio::test]
async fn nothing_is_left_behind() {
    let target = Target::new(local());
    let shell = target.shell(None);
    let slow = Script::new("sleep 8765");
    let _ = tokio::time::timeout(Duration::from_millis(200), shell.run(&slow)).await;
    let mut input = tokio::io::empty();
    let _ = tokio::time::timeout(Duration::from_millis(200), shell.pipe(&slow, &mut input)).await;
    drop((shell, target));
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        let left = std::process::Command::new("pgrep").args(["-fx", "sleep 8765"]).output().unwrap();
        if left.stdout.is_empty() {
            break;
        }
        assert!(Instant::now() < end, "{}", String::from_utf8_lossy(&left.stdout));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
