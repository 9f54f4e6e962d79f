//! The persistent shell on this machine.

use std::time::Duration;

use quaylab::host::*;

fn local() -> Target {
    Target::new(ConnectionSpec {
        name: "here".into(),
        kind: ConnectionKind::Local,
        address: "localhost".into(),
        port: 22,
        user: "root".into(),
        password: None,
        private_key_file: None,
        host_key: HostKeyCheck::Off,
        proxy_jump: Vec::new(),
        timeout: Duration::from_secs(10),
    })
}

#[tokio::test]
async fn scripts_run_apart_from_each_other() {
    let shell = local().shell(None);
    let reply = shell
        .run(&Script::new("echo out; echo err >&2; x=1; cd /; trap 'echo bye' EXIT; exit 3"))
        .await
        .unwrap();
    assert_eq!((reply.out().as_ref(), reply.err().as_ref(), reply.status), ("out\nbye\n", "err\n", 3));
    let reply = shell.run(&Script::new("echo 'unbalanced")).await.unwrap();
    assert_ne!(reply.status, 0);
    let reply = shell.run(&Script::new("echo \"[$x]\"; cat").stdin("in")).await.unwrap();
    assert_eq!(reply.out(), "[]\nin");
    let reply = shell.run(&Script::new("cat")).await.unwrap();
    assert_eq!(reply.out(), "");
    let mut script = Script::new("sleep 100; echo no");
    script.timeout = Some(Duration::from_millis(300));
    let error = shell.run(&script).await.unwrap_err();
    assert!(matches!(error, HostError::Timeout { .. }), "{error}");
    assert_eq!(shell.run(&Script::new("echo $$")).await.unwrap().status, 0);
    shell.target().close().await;
}

#[tokio::test]
async fn files_are_written_and_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a b").to_str().unwrap().to_owned();
    let shell = local().shell(None);
    let bytes: Vec<u8> = (0..=255).cycle().take(3000).collect();
    let step = Step::WriteFile {
        path: path.clone(),
        content: Content::Bytes(bytes.clone()),
        mode: Some(0o640),
        owner: None,
        group: None,
        backup: false,
        validate: Some("test -s %s".into()),
    };
    shell.apply(&step).await.unwrap();
    assert_eq!(shell.read_file(&path).await.unwrap(), bytes);
}
