//! Archives whose names are not nice: they are data, whatever they hold.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::Path;

use serde_json::json;

use super::Bench;

/// A member of an archive.
pub(super) struct Member<'a> {
    name: &'a str,
    what: What<'a>,
}

enum What<'a> {
    File(&'a [u8]),
    Link(&'a str),
    HardLink(&'a str),
    Folder,
}

pub(super) fn file<'a>(name: &'a str, content: &'a [u8]) -> Member<'a> {
    Member { name, what: What::File(content) }
}

fn link<'a>(name: &'a str, to: &'a str) -> Member<'a> {
    Member { name, what: What::Link(to) }
}

fn hard<'a>(name: &'a str, to: &'a str) -> Member<'a> {
    Member { name, what: What::HardLink(to) }
}

fn folder(name: &str) -> Member<'_> {
    Member { name, what: What::Folder }
}

/// A tar archive with exactly these names.
pub(super) fn tar(members: &[Member<'_>]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for Member { name, what } in members {
        let mut header = tar::Header::new_ustar();
        let put = |field: &mut [u8], text: &str| field[..text.len()].copy_from_slice(text.as_bytes());
        put(&mut header.as_old_mut().name, name);
        let (kind, content, mode) = match what {
            What::File(content) => (tar::EntryType::Regular, *content, 0o644),
            What::Folder => (tar::EntryType::Directory, b"".as_slice(), 0o755),
            What::Link(to) | What::HardLink(to) => {
                put(&mut header.as_old_mut().linkname, to);
                let is_link = matches!(what, What::Link(_));
                (if is_link { tar::EntryType::Symlink } else { tar::EntryType::Link }, b"".as_slice(), 0o777)
            }
        };
        header.set_entry_type(kind);
        header.set_size(content.len() as u64);
        header.set_mode(mode);
        header.set_cksum();
        archive.append(&header, content).expect("appended");
    }
    archive.into_inner().expect("an archive")
}

/// A zip archive with exactly these names, and nothing compressed.
fn zip(members: &[Member<'_>]) -> Vec<u8> {
    let (mut out, mut directory) = (Vec::new(), Vec::new());
    for Member { name, what } in members {
        let (content, mode): (&[u8], u32) = match what {
            What::File(content) => (content, 0o100_644),
            What::Folder => (b"", 0o040_755),
            What::Link(to) => (to.as_bytes(), 0o120_777),
            What::HardLink(_) => panic!("zip has none"),
        };
        let at = u32::try_from(out.len()).expect("small");
        let size = u32::try_from(content.len()).expect("small").to_le_bytes();
        let length = u16::try_from(name.len()).expect("short").to_le_bytes();
        let common =
            [&[0; 4][..], &[0, 0, 0x21, 0x21], &crc32(content).to_le_bytes(), &size, &size, &length, &[0, 0]]
                .concat();
        out.write_all(b"PK\x03\x04\x14\x00").and_then(|()| out.write_all(&common)).expect("written");
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(content);
        directory.extend_from_slice(b"PK\x01\x02\x14\x03\x14\x00");
        directory.extend_from_slice(&common);
        directory.extend_from_slice(&[0; 6]);
        directory.extend_from_slice(&(mode << 16).to_le_bytes());
        directory.extend_from_slice(&at.to_le_bytes());
        directory.extend_from_slice(name.as_bytes());
    }
    let count = u16::try_from(members.len()).expect("few").to_le_bytes();
    let end = [
        b"PK\x05\x06\x00\x00\x00\x00".as_slice(),
        &count,
        &count,
        &u32::try_from(directory.len()).expect("small").to_le_bytes(),
        &u32::try_from(out.len()).expect("small").to_le_bytes(),
        &[0, 0],
    ]
    .concat();
    [out, directory, end].concat()
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg()))
    })
}

#[tokio::test]
async fn names_out_of_archives_are_data() {
    let b = Bench::new();
    fs::create_dir(b.at("outside")).expect("a folder");
    fs::create_dir(b.at("around")).expect("a folder");
    let outside = b.at("outside");
    let victim = b.at("outside/victim");
    let absolute = b.at("around/absolute");
    let reset = || {
        fs::write(&victim, "safe\n").expect("written");
        fs::set_permissions(&victim, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("a mode");
        let _ = fs::remove_dir_all(b.at("around"));
        fs::create_dir_all(b.at("around/dest")).expect("folders");
        fs::copy(&victim, b.at("around/beside")).expect("copied");
    };
    let evil = b"evil\n";
    let is_root = rustix::process::geteuid().is_root();
    // What each archive holds, and what of it arrives below the destination; `None`: the tool may refuse it.
    let table: Vec<(Vec<Member<'_>>, Option<&str>)> = vec![
        (vec![file("y\n../beside", evil)], None),
        (vec![folder("y\n.."), file("y\n../beside", evil)], None),
        (vec![file("a\nb", evil)], Some("a\nb")),
        (vec![file("has x\ndiffers ../beside", evil)], None),
        (vec![file("-rf", evil)], Some("-rf")),
        (vec![file("--checkpoint-action=exec=false", evil)], Some("--checkpoint-action=exec=false")),
        (vec![file("$(touch beside)`touch beside`'\"", evil)], Some("$(touch beside)`touch beside`'\"")),
        (vec![file("* ?[a]", evil)], Some("* ?[a]")),
        (vec![file(".hidden", evil)], Some(".hidden")),
        (vec![file("..hidden", evil)], Some("..hidden")),
        (vec![file("../beside", evil)], None),
        (vec![file("a/../../beside", evil)], None),
        (vec![file(&absolute, evil)], None),
        (vec![link("out", &outside), file("out/victim", evil)], None),
        (vec![link("up", ".."), file("up/beside", evil)], None),
        (vec![link("victim", &victim), file("victim", evil)], None),
        (vec![link("to", &victim)], Some("to")),
    ];
    let hards =
        [vec![hard("own", &victim), file("own", evil)], vec![hard("own", "../beside"), file("own", evil)]];
    for is_zip in [false, true] {
        if is_zip && std::process::Command::new("unzip").arg("-v").output().is_err() {
            println!("skipped: zip archives: unzip is not installed");
            continue;
        }
        let hards = hards.iter().map(|members| (members, None)).filter(|_| !is_zip);
        for (members, arrives) in table.iter().map(|(members, arrives)| (members, *arrives)).chain(hards) {
            let names: Vec<_> = members.iter().map(|m| m.name).collect();
            for settled in [false, true] {
                reset();
                let source = if is_zip { "a.zip" } else { "a.tar" };
                b.give(source, if is_zip { zip(members) } else { tar(members) });
                let mut args = json!({"src": source, "dest": "@around/dest", "list_files": true});
                if settled {
                    args["mode"] = json!("0666");
                    if is_root {
                        args["owner"] = json!("65534");
                    }
                }
                let done = b.run("unarchive", args).await;
                let what = format!("{source} {names:?} settled {settled}: {done:?}");
                for safe in [&victim, &b.at("around/beside")] {
                    let meta = fs::symlink_metadata(safe).expect(&what);
                    assert_eq!(meta.mode() & 0o7777, 0o600, "{what}");
                    assert!(!is_root || meta.uid() == 0, "{what}");
                    assert_eq!(fs::read_to_string(safe).expect("readable"), "safe\n", "{what}");
                }
                assert!(!Path::new(&absolute).exists(), "{what}");
                assert_eq!(names_in(&outside), ["victim"], "{what}");
                assert_eq!(names_in(&b.at("around")), ["beside", "dest"], "{what}");
                // Some unzip leave out what a terminal would obey.
                if let Some(name) = arrives.filter(|name| !is_zip || !name.contains('\n')) {
                    let done = done.expect(&what);
                    assert_eq!(names_in(&b.at("around/dest")), [name], "{what}");
                    assert_eq!(done.result["files"], json!([name]), "{what}");
                    let meta =
                        fs::symlink_metadata(Path::new(&b.at("around/dest")).join(name)).expect("there");
                    assert!(!settled || meta.is_symlink() || meta.mode() & 0o7777 == 0o666, "{what}");
                }
            }
        }
    }
}

#[tokio::test]
async fn a_link_that_one_archive_left_is_no_way_for_the_next() {
    let b = Bench::new();
    fs::create_dir(b.at("outside")).expect("a folder");
    fs::create_dir(b.at("dest")).expect("a folder");
    b.give("1.tar", tar(&[link("etc", &b.at("outside"))]));
    b.give("2.tar", tar(&[file("etc/evil", b"evil\n")]));
    b.give("3.tar", tar(&[file("etc", b"kept out\n")]));
    b.run("unarchive", json!({"src": "1.tar", "dest": "@dest"})).await.expect("unpacked");
    b.run("unarchive", json!({"src": "2.tar", "dest": "@dest"})).await.expect("unpacked");
    assert_eq!((names_in(&b.at("outside")), b.read("dest/etc/evil")), (Vec::new(), "evil\n".to_owned()));
    // Who wrote the link may have it kept.
    fs::remove_dir_all(b.at("dest/etc")).expect("removed");
    symlink(b.at("outside"), b.at("dest/etc")).expect("a link");
    let keep = json!({"src": "2.tar", "dest": "@dest", "extra_opts": ["--keep-directory-symlink"]});
    let kept = b.run("unarchive", keep).await;
    let version =
        b.run("shell", json!({"_raw_params": "tar --version 2>&1 || true"})).await.expect("a shell");
    let is_gnu = version.result["stdout"].as_str().is_some_and(|said| said.contains("GNU tar"));
    if is_gnu {
        kept.expect("unpacked");
    } else {
        // A tar that knows no such option says so, and nothing has happened.
        assert!(kept.expect_err("refused").to_string().contains("keep-directory-symlink"));
        assert!(names_in(&b.at("outside")).is_empty());
        fs::write(b.at("outside/evil"), "evil\n").expect("written");
    }
    assert_eq!(names_in(&b.at("outside")), ["evil"]);
    // A file takes the place of a link, not of what it leads to.
    fs::remove_file(b.at("dest/etc")).expect("removed");
    symlink("../outside/evil", b.at("dest/etc")).expect("a link");
    b.run("unarchive", json!({"src": "3.tar", "dest": "@dest"})).await.expect("unpacked");
    assert_eq!((b.read("outside/evil"), b.read("dest/etc")), ("evil\n".into(), "kept out\n".into()));
    // What is there stays where it is wished.
    b.put("dest/etc", "changed by hand\n");
    let option = if is_gnu { "--skip-old-files" } else { "-k" };
    let skip = json!({"src": "3.tar", "dest": "@dest", "extra_opts": [option]});
    b.run("unarchive", skip).await.expect("unpacked");
    assert_eq!(b.read("dest/etc"), "changed by hand\n");
}

fn names_in(folder: &str) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .expect("a folder")
        .map(|e| e.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}
