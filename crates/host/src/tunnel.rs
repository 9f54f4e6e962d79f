//! Connections to services as the target sees them.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::task::{AbortHandle, JoinSet};

use super::launch::{Launcher, Started};
use super::process::Output;
use super::ssh::channel_error;
use super::transport::Way;
use super::{ByteStream, ConnectionKind, Endpoint, HostError, Script, Shell, pipe, quote};

pub(super) async fn dial(launcher: &Launcher, endpoint: &Endpoint) -> Result<Box<dyn ByteStream>, HostError> {
    let limit = launcher.spec.login_timeout();
    tokio::time::timeout(limit, open(launcher, endpoint)).await.unwrap_or_else(|_| {
        Err(HostError::Timeout {
            host: launcher.spec.name.clone(),
            what: format!("connecting to {}", shown(endpoint)),
            seconds: limit.as_secs(),
        })
    })
}

async fn open(launcher: &Launcher, endpoint: &Endpoint) -> Result<Box<dyn ByteStream>, HostError> {
    let name = &launcher.spec.name;
    let what = || format!("connecting to {} on {name}", shown(endpoint));
    let failed = |e: io::Error| HostError::Failed { what: what(), reason: e.to_string() };
    match (endpoint, &launcher.transport.way) {
        (Endpoint::Tcp { host, port }, Way::Local) => {
            TcpStream::connect((host.as_str(), *port)).await.map(|s| Box::new(s) as _).map_err(failed)
        }
        (Endpoint::Tcp { host, port }, Way::Ssh(connection)) => connection
            .dial_tcp(host, *port)
            .await
            .map(|channel| Box::new(channel.into_stream()) as _)
            .map_err(|e| open_error(name, &what(), &e)),
        (Endpoint::Unix { path }, _) if launcher.r#become.is_some() => program(launcher, &relay(path)).await,
        (Endpoint::Unix { path }, Way::Local) => {
            UnixStream::connect(path).await.map(|s| Box::new(s) as _).map_err(failed)
        }
        (Endpoint::Unix { path }, Way::Ssh(connection)) => match connection.dial_unix(path).await {
            Ok(channel) => Ok(Box::new(channel.into_stream())),
            // sshd says the same of a socket that nobody listens on and of `AllowStreamLocalForwarding no`.
            Err(russh::Error::ChannelOpenFailure(_)) if is_socket(launcher, path).await? => {
                program(launcher, &relay(path)).await
            }
            Err(e) => Err(open_error(name, &what(), &e)),
        },
        (Endpoint::Program { argv }, _) => {
            if argv.is_empty() {
                return Err(HostError::Failed { what: what(), reason: "the command is empty".to_owned() });
            }
            program(launcher, &format!("exec {}", Script::argv(argv).text)).await
        }
    }
}

fn shown(endpoint: &Endpoint) -> String {
    match endpoint {
        Endpoint::Tcp { host, port } => format!("{host}:{port}"),
        Endpoint::Unix { path } => path.clone(),
        Endpoint::Program { argv } => argv.first().cloned().unwrap_or_default(),
    }
}

fn open_error(host: &str, what: &str, error: &russh::Error) -> HostError {
    match channel_error(host, what, error) {
        HostError::Failed { reason, .. } => HostError::Failed { what: what.to_owned(), reason },
        other => other,
    }
}

async fn is_socket(launcher: &Launcher, path: &str) -> Result<bool, HostError> {
    let test = Script::new(format!("[ -S {0} ] && [ -w {0} ]", quote(path)));
    Ok(pipe::alone(launcher, &test).await?.ok())
}

/// A script that joins its standard streams to a Unix socket.
fn relay(path: &str) -> String {
    // socat takes `:`, `,` and `!` in a path for its own syntax unless they are escaped.
    let escaped: String =
        path.chars().flat_map(|c| ":,!\\\"'([{".contains(c).then_some('\\').into_iter().chain([c])).collect();
    format!(
        "if command -v socat >/dev/null; then exec socat - {}; fi\n\
         case $(nc -h 2>&1) in *-U*) exec nc -U {};; esac\n\
         echo 'neither socat nor a netcat with -U is installed' >&2; exit 127",
        quote(&format!("UNIX-CONNECT:{escaped}")),
        quote(path),
    )
}

async fn program(launcher: &Launcher, text: &str) -> Result<Box<dyn ByteStream>, HostError> {
    Ok(Box::new(ProgramStream::new(launcher.start(text).await?)))
}

/// A program's standard input and output as one stream; a failed program's standard error becomes the read error.
struct ProgramStream {
    started: Started,
    unread: Bytes,
    stderr: Vec<u8>,
    status: Option<i32>,
}

/// How much of a program's standard error is kept.
const KEPT_STDERR: usize = 4096;

impl ProgramStream {
    fn new(mut started: Started) -> Self {
        let unread = std::mem::take(&mut started.stdout).into();
        let stderr = std::mem::take(&mut started.stderr);
        Self { started, unread, stderr, status: None }
    }
}

impl AsyncRead for ProgramStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            if !self.unread.is_empty() {
                let length = self.unread.len().min(into.remaining());
                into.put_slice(&self.unread.split_to(length));
                return Poll::Ready(Ok(()));
            }
            match ready!(self.started.process.output.poll_recv(cx)) {
                Some(Output::Stdout(bytes)) => self.unread = bytes,
                Some(Output::Stderr(bytes)) => {
                    let room = KEPT_STDERR.saturating_sub(self.stderr.len());
                    self.stderr.extend(bytes.iter().take(room));
                }
                Some(Output::Exit(status)) => self.status = Some(status),
                None => {
                    return Poll::Ready(match self.status {
                        None | Some(0) => Ok(()),
                        Some(status) => {
                            let said = String::from_utf8_lossy(&self.stderr).trim().to_owned();
                            Err(io::Error::other(format!("the program ended with status {status}: {said}")))
                        }
                    });
                }
            }
        }
    }
}

impl ProgramStream {
    fn stdin(&mut self) -> io::Result<Pin<&mut (dyn AsyncWrite + Send + Unpin)>> {
        match &mut self.started.process.stdin {
            Some(stdin) => Ok(Pin::new(stdin.as_mut())),
            None => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }
}

impl AsyncWrite for ProgramStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.stdin() {
            Ok(stdin) => stdin.poll_write(cx, bytes),
            Err(e) => Poll::Ready(Err(e)),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.stdin() {
            Ok(stdin) => stdin.poll_flush(cx),
            Err(_) => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let done = match self.stdin() {
            Ok(stdin) => ready!(stdin.poll_shutdown(cx)),
            Err(_) => return Poll::Ready(Ok(())),
        };
        // A pipe's end is announced by closing it.
        self.started.process.stdin = None;
        Poll::Ready(done)
    }
}

/// A port on this machine that leads to a service on the target, until it is dropped.
#[derive(Debug)]
pub struct Forward {
    /// What a client on this machine connects to.
    pub address: SocketAddr,
    listener: Option<AbortHandle>,
}

impl Drop for Forward {
    fn drop(&mut self) {
        if let Some(listener) = &self.listener {
            listener.abort();
        }
    }
}

pub(super) async fn forward(shell: Shell, endpoint: Endpoint) -> Result<Forward, HostError> {
    let failed = |e: io::Error| HostError::Failed {
        what: format!("forwarding a port to {}", shown(&endpoint)),
        reason: e.to_string(),
    };
    if let (ConnectionKind::Local, Endpoint::Tcp { host, port }) = (shell.target().spec().kind, &endpoint) {
        let address = tokio::net::lookup_host((host.as_str(), *port)).await.map_err(failed)?.next();
        if let Some(address) = address {
            return Ok(Forward { address, listener: None });
        }
    }
    // Fails here rather than at the first client, which could not say why.
    shell.target().connect().await?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let listener = Arc::new(listener);
    let task = tokio::spawn(carry(shell, endpoint, move || {
        let listener = Arc::clone(&listener);
        async move {
            let (near, _) = listener.accept().await?;
            near.set_nodelay(true)?;
            Ok(near)
        }
    }));
    Ok(Forward { address, listener: Some(task.abort_handle()) })
}

/// Leads each connection that `accept` takes to the endpoint, for as long as it is polled.
pub async fn carry<S, F>(shell: Shell, endpoint: Endpoint, accept: impl Fn() -> F)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: Future<Output = io::Result<S>>,
{
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = accept() => {
                let Ok(mut near) = accepted else { continue };
                let (shell, endpoint) = (shell.clone(), endpoint.clone());
                connections.spawn(async move {
                    // The client sees a closed connection, as it would from the service itself.
                    let Ok(mut far) = shell.dial(&endpoint).await else { return };
                    let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}
