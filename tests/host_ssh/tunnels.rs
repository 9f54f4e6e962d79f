//! Services as the host sees them.

use std::time::Duration;

use quaylab::host::{Endpoint, HostError, Target};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::lab::sshd::Sshd;
use crate::{both, lab, out};

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
    let (sent_all, came) = tokio::join!(
        async {
            write.write_all(&sent).await?;
            write.shutdown().await
        },
        read.read_to_end(&mut received)
    );
    sent_all.unwrap();
    came.unwrap();
    assert!(received == sent, "{what:?}: {} of {}", received.len(), sent.len());
}

#[tokio::test]
async fn a_socket_of_another_user_is_reached_through_a_program() {
    let Some(sshd) = Sshd::start("AllowStreamLocalForwarding no") else { return };
    let shell = Target::new(sshd.spec()).shell(None);
    if out(&shell, "command -v socat || nc -h 2>&1 | grep -e -U || :").await.is_empty() {
        lab::skipped("neither socat nor a netcat with -U is installed");
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
