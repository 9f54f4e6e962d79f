//! Targets over a real sshd, and the same on this machine.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod files;
#[path = "../lab/mod.rs"]
mod lab;
mod login;
mod requests;
mod tunnels;
mod users;

use lab::sshd::Sshd;
use quaylab::host::{BecomeMethod, BecomeSpec, ConnectionSpec, HostKeyCheck, Script, Secret, Shell, Target};

fn local() -> ConnectionSpec {
    ConnectionSpec { user: "root".to_owned(), host_key: HostKeyCheck::Off, ..ConnectionSpec::local("here") }
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
        password: password.map(|p| Secret(p.to_owned())),
        ..BecomeSpec::new("nobody", BecomeMethod::Sudo)
    }
}

async fn out(shell: &Shell, text: &str) -> String {
    let reply = shell.run(&Script::new(text)).await.unwrap();
    assert!(reply.ok(), "{text}: {}", reply.err());
    reply.out().trim_end().to_owned()
}

async fn refused(spec: ConnectionSpec) -> String {
    let error = Target::new(spec).connect().await.unwrap_err();
    assert!(error.is_unreachable());
    format!("{error}\n{}", error.hint().unwrap_or_default())
}

fn secret(text: &str) -> Secret {
    Secret(text.to_owned())
}
