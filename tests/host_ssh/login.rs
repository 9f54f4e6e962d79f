//! The way to a host: keys, host keys, jump hosts.

use std::time::{Duration, Instant};

use quaylab::host::{
    ConnectionKind, ConnectionSpec, Content, HostError, HostKeyCheck, KnownHosts, ProxyJump, Remark, Script,
    Target,
};

use crate::lab::sshd::Sshd;
use crate::{local, out, refused, secret};

#[tokio::test]
async fn a_host_that_is_not_the_right_one_is_refused() {
    let Some(sshd) = Sshd::start("") else { return };
    let Some(other) = Sshd::start("") else { return };
    let mut spec = sshd.spec();
    spec.host_key = other.spec().host_key;
    let error = refused(spec.clone()).await;
    assert_eq!(error.matches("SHA256:").count(), 2, "{error}");
    spec.host_key = HostKeyCheck::KnownHosts(KnownHosts::OfUser);
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

/// As login files do that print something on both streams.
#[tokio::test]
async fn what_a_login_prints_is_no_answer() {
    let noisy =
        r#"ForceCommand echo "welcome to $(id -un)"; echo "mind the gap" >&2; eval "$SSH_ORIGINAL_COMMAND""#;
    let Some(sshd) = Sshd::start(noisy) else { return };
    let there = Target::new(sshd.spec());
    let reply = there.shell(None).run(&Script::new("echo out; echo err >&2")).await.unwrap();
    assert_eq!((reply.out().as_ref(), reply.err().as_ref()), ("out\n", "err\n"));
    let remarks = there.take_remarks();
    let [said] = remarks.as_slice() else { panic!("{remarks:?}") };
    assert_eq!(said.verbosity(), 3);
    assert!(said.to_string().contains("welcome to") && said.to_string().contains("mind the gap"), "{said}");
    assert_eq!(there.take_remarks(), []);
    there.close().await;
}

/// Where no program gets its input there is no persistent shell; what fits into a command line is done all the same.
#[tokio::test]
async fn without_input_each_request_is_a_command_line() {
    let Some(sshd) = Sshd::start(r#"ForceCommand eval "$SSH_ORIGINAL_COMMAND" </dev/null"#) else { return };
    let there = Target::new(sshd.spec());
    let shell = there.shell(None);
    let reply = shell.run(&Script::new("echo \"it's\"; cat; exit 3").stdin("in\0put\n")).await.unwrap();
    assert_eq!((reply.stdout.as_slice(), reply.status), (b"it's\nin\0put\n".as_slice(), 3));
    assert_eq!(there.take_remarks(), [Remark::NoInput]);
    assert_eq!(shell.probe(&Script::new("echo $((6 * 7))")).await.unwrap().out(), "42\n");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file").display().to_string();
    let write = |content: Vec<u8>| crate::files::write(&path, Content::Bytes(content));
    shell.apply(&write(b"small".to_vec())).await.unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"small");
    let error = shell.apply(&write(vec![b'x'; 100_000])).await.unwrap_err();
    assert!(matches!(error, HostError::NoInput { .. }), "{error}");
    assert!(error.hint().unwrap().contains("ForceCommand"));
    assert_eq!(std::fs::read(&path).unwrap(), b"small");
    // Known by now, and found out anew.
    for there in [there.clone(), Target::new(sshd.spec())] {
        let error =
            there.shell(None).pipe(&Script::new("cat"), &mut b"streamed".as_slice()).await.unwrap_err();
        assert!(matches!(error, HostError::NoInput { .. }), "{error}");
    }
    assert_eq!(there.take_remarks(), []);
    there.close().await;
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

/// Runs one test of this file in a process of its own, with another home folder.
fn in_home(home: &std::path::Path, test: &str, argument: &str) {
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test])
        .env("HOME", home)
        .env("SSH_AUTH_SOCK", home.join("agent"))
        .env("QUAYLAB_TEST_PORT", argument)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
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
    in_home(home.path(), "login::child_accepts_a_new_host", &port);
    let HostKeyCheck::Exactly(key) = sshd.spec().host_key else { unreachable!() };
    let key = key.split(' ').take(2).collect::<Vec<_>>().join(" ");
    let known = ssh.join("known_hosts");
    assert_eq!(std::fs::read_to_string(&known).unwrap(), format!("[127.0.0.1]:{port} {key}\n"));
    // What ssh-keygen hashes is found too.
    let hashed =
        std::process::Command::new("ssh-keygen").arg("-q").arg("-H").arg("-f").arg(&known).output().unwrap();
    assert!(hashed.status.success() && std::fs::read_to_string(&known).unwrap().starts_with("|1|"));
    in_home(home.path(), "login::child_knows_the_host", &port);
    // The agent's key is as good as a file's.
    let mut agent = std::process::Command::new("ssh-agent")
        .arg("-D")
        .arg("-a")
        .arg(home.path().join("agent"))
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let end = Instant::now() + Duration::from_secs(10);
    while !home.path().join("agent").exists() && Instant::now() < end {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let added = std::process::Command::new("ssh-add")
        .arg("-q")
        .arg(ssh.join("id_ed25519"))
        .env("SSH_AUTH_SOCK", home.path().join("agent"))
        .status();
    std::fs::remove_file(ssh.join("id_ed25519")).unwrap();
    let result = std::panic::catch_unwind(|| in_home(home.path(), "login::child_knows_the_host", &port));
    agent.kill().unwrap();
    agent.wait().unwrap();
    assert!(added.unwrap().success() && result.is_ok());
    let public = sshd.spec().private_key_file.unwrap().with_extension("pub");
    let other = std::fs::read_to_string(public).unwrap();
    std::fs::write(&known, format!("[127.0.0.1]:{port} {other}")).unwrap();
    in_home(home.path(), "login::child_sees_a_changed_host", &port);
}

/// The host of the parent test, by the usual key; without a parent there is none.
fn childs_host(host_key: HostKeyCheck) -> Option<ConnectionSpec> {
    let port = std::env::var("QUAYLAB_TEST_PORT").ok()?.parse().unwrap();
    Some(ConnectionSpec {
        kind: ConnectionKind::Ssh,
        address: "127.0.0.1".to_owned(),
        port,
        host_key,
        ..local()
    })
}

#[tokio::test]
async fn child_accepts_a_new_host() {
    let Some(spec) = childs_host(HostKeyCheck::AcceptNew(KnownHosts::OfUser)) else { return };
    Target::new(spec).connect().await.unwrap();
}

#[tokio::test]
async fn child_knows_the_host() {
    let Some(spec) = childs_host(HostKeyCheck::KnownHosts(KnownHosts::OfUser)) else { return };
    Target::new(spec).connect().await.unwrap();
}

#[tokio::test]
async fn child_sees_a_changed_host() {
    let Some(spec) = childs_host(HostKeyCheck::AcceptNew(KnownHosts::OfUser)) else { return };
    let error = refused(spec).await;
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
    spec.password = Some(secret("right one"));
    Target::new(spec.clone()).connect().await.unwrap();
    spec.password = Some(secret("wrong one"));
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
    assert!(refused(spec.clone()).await.contains("no SSH connection to"));
    // Taken, but nobody listens: a port that was let go could be another test's by now.
    let taken = tokio::net::TcpSocket::new_v4().unwrap();
    taken.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    spec.port = taken.local_addr().unwrap().port();
    assert!(refused(spec).await.contains("refuses connections"));
}

#[tokio::test]
async fn another_file_of_known_hosts_is_asked_and_added_to() {
    let Some(sshd) = Sshd::start("") else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = KnownHosts::File(folder.path().join("hosts"));
    let with = |host_key| ConnectionSpec { host_key, ..sshd.spec() };
    let said = refused(with(HostKeyCheck::KnownHosts(file.clone()))).await;
    assert!(said.contains("host key is not known"), "{said}");
    for check in [HostKeyCheck::AcceptNew(file.clone()), HostKeyCheck::KnownHosts(file)] {
        let there = Target::new(with(check));
        there.connect().await.unwrap();
        there.close().await;
    }
    assert_eq!(std::fs::read_to_string(folder.path().join("hosts")).unwrap().lines().count(), 1);
}

/// What is begun early is the first attempt of who needs the connection, with its end; there is no second one beside it.
#[tokio::test]
async fn an_early_connection_is_the_one_that_is_used() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut spec =
        ConnectionSpec { kind: ConnectionKind::Ssh, address: "127.0.0.1".to_owned(), port, ..local() };
    spec.timeout = Duration::from_secs(2);
    let target = Target::new(spec);
    target.connect_early();
    target.connect_early();
    let (_silent, _) = listener.accept().await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let needed = Instant::now();
    assert!(matches!(target.connect().await, Err(HostError::Unreachable { .. })));
    assert!(
        needed.elapsed() < Duration::from_millis(1900),
        "its time had begun before: {:?}",
        needed.elapsed()
    );
    let more = tokio::time::timeout(Duration::from_millis(100), listener.accept()).await;
    assert!(more.is_err(), "one was begun, and one was needed");
    // The error was told; the next one tries anew.
    let (again, accepted) = tokio::join!(target.connect(), listener.accept());
    assert!(again.is_err() && accepted.is_ok());
}

/// A machine that was not there when a connection was begun, and is when it is needed.
#[tokio::test]
async fn an_early_failure_is_forgotten() {
    let Some(sshd) = Sshd::start("") else { return };
    let taken = tokio::net::TcpSocket::new_v4().unwrap();
    taken.set_reuseaddr(true).unwrap();
    taken.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let there = Target::new(ConnectionSpec { port: taken.local_addr().unwrap().port(), ..sshd.spec() });
    there.connect_early();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let listener = taken.listen(1).unwrap();
    let port = sshd.spec().port;
    let forward = tokio::spawn(async move {
        let (mut from, _) = listener.accept().await.unwrap();
        let mut to = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let _ended = tokio::io::copy_bidirectional(&mut from, &mut to).await;
    });
    there.connect().await.unwrap();
    there.close().await;
    forward.abort();
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
    spec.proxy_jump =
        vec![ProxyJump { user: None, address: "127.0.0.1".to_owned(), port: hop.spec().port, login: None }];
    assert!(refused(spec.clone()).await.contains("the jump host 127.0.0.1:"));
    spec.host_key = HostKeyCheck::Off;
    let target = Target::new(spec);
    assert_eq!(out(&target.shell(None), "echo through").await, "through");
    target.close().await;
}
