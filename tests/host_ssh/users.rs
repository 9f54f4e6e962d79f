//! Other users and their passwords.

use std::fmt::Write as _;

use quaylab::host::{BecomeMethod, BecomeSpec, ConnectionSpec, Script, Target};

use crate::lab::sshd::Sshd;
use crate::{become_nobody, both, lab, out, refused, secret};

#[tokio::test]
async fn another_user_has_a_shell_of_their_own() {
    both(async |shell| {
        if out(&shell, "id -un; command -v sudo || :").await.lines().count() < 2 {
            lab::skipped("sudo is not installed");
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
            lab::skipped(&format!("/etc/{name} cannot be read"));
            return None;
        };
        let old = if *name == "sudoers" { String::new() } else { old };
        std::fs::write(&copy, old + &lines).unwrap();
        let mode = if *name == "sudoers" { 0o440 } else { 0o644 };
        std::fs::set_permissions(&copy, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
        let _ = write!(mounts, "mount --bind '{}' /etc/{name}; ", copy.display());
    }
    let unshare = |script: &str| {
        let mut command = std::process::Command::new("unshare");
        command.args(["--mount", "sh", "-c", script]);
        command
    };
    if !unshare(&mounts).status().is_ok_and(|s| s.success()) {
        lab::skipped("no mount namespace can be made here");
        return None;
    }
    let in_namespace = |sshd: &str| {
        let mut command = unshare(&format!("{mounts} exec {sshd} \"$@\""));
        // `sh -c SCRIPT NAME ARGUMENTS…`.
        command.arg("sshd");
        command
    };
    Sshd::start_with(in_namespace, config)
}

#[tokio::test]
async fn a_password_logs_in_and_becomes_root() {
    let folder = tempfile::tempdir().unwrap();
    let Some(sshd) = sshd_with_users(folder.path(), "PasswordAuthentication yes") else { return };
    let mut spec = ConnectionSpec { user: "labuser".to_owned(), private_key_file: None, ..sshd.spec() };
    spec.password = Some(secret("wrong one"));
    assert!(refused(spec.clone()).await.contains("the password"));
    spec.password = Some(secret("right one"));
    let target = Target::new(spec.clone());
    let root = |password| BecomeSpec { user: "root".to_owned(), password, ..become_nobody(None) };
    let shell = target.shell(Some(&root(Some(secret("right one")))));
    assert_eq!(out(&shell, "id -un").await, "root");
    // sudo may ask again or remember: the password never becomes a request.
    let reply = shell.pipe(&Script::new("id -un; cat"), &mut &b"data"[..]).await.unwrap();
    assert_eq!(reply.out(), "root\ndata");
    target.close().await;
    let target = Target::new(spec.clone());
    for (password, reason) in
        [(Some(secret("wrong one")), "the password was refused"), (None, "sudo asks for a password")]
    {
        let error = target.shell(Some(&root(password))).run(&Script::new(":")).await.unwrap_err();
        assert_eq!(error.to_string(), format!("becoming root on lab failed: {reason}"));
        assert!(error.hint().is_some());
    }
    let su =
        BecomeSpec { password: Some(secret("right one")), ..BecomeSpec::new("labguest", BecomeMethod::Su) };
    assert_eq!(out(&target.shell(Some(&su)), "id -un").await, "labguest");
    let error = target
        .shell(Some(&BecomeSpec { password: Some(secret("no")), ..su }))
        .run(&Script::new(":"))
        .await
        .unwrap_err();
    assert!(error.to_string().ends_with("the password was refused"), "{error}");
    target.close().await;
    let target = Target::new(ConnectionSpec { user: "labguest".to_owned(), ..spec });
    let error =
        target.shell(Some(&root(Some(secret("right one"))))).run(&Script::new(":")).await.unwrap_err();
    assert!(error.to_string().contains("sudo does not let the login user do this"), "{error}");
    target.close().await;
}
