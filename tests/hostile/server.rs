//! An SSH server that plays a target gone bad.

use std::net::TcpListener;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use russh::server::{Auth, Config, Handle, Handler, Msg, Session};
use russh::{Channel, ChannelId, Disconnect};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// What it does wrong, and up to where it behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Act {
    // Before SSH.
    CloseAtOnce,
    NeverSpeaks,
    SpeaksGarbage,
    EndlessLines,
    // The login.
    LoginHangs,
    LoginCloses,
    LoginRefuses,
    // The channel.
    ChannelHangs,
    ChannelCloses,
    ChannelRefused,
    // The greeting of the shell.
    NeverGreets,
    DripsInsteadOfGreeting,
    EndlessNoise,
    EndlessNoiseOnStderr,
    ClosesBeforeGreeting,
    EndsBeforeGreeting,
    GreetsWithGarbage,
    GreetsAsNumberOne,
    GreetsHalfAndGoesOn,
    // The request.
    ClosesAtRequest,
    EndsAtRequest,
    DisconnectsAtRequest,
    // The reply.
    NeverReplies,
    EndlessReply,
    EndlessStderr,
    WrongId,
    HugeId,
    HugeStatus,
    MarkWithoutEnd,
    GarbageInMark,
    RepliesTwice,
    HalfAReply,
    ClosesInReply,
    GarbageAndReply,
    /// Right replies, each of these many MiB.
    Big(usize),
    /// A real shell, whose `cat` never ends.
    CatNeverEnds,
}

/// It listens until it is dropped.
pub(crate) struct Server {
    pub(crate) port: u16,
    /// What it was offered as passwords.
    pub(crate) passwords: Arc<Mutex<Vec<String>>>,
    _runtime: tokio::runtime::Runtime,
}

impl Server {
    pub(crate) fn start(act: Act) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        let key = russh::keys::PrivateKey::random(
            &mut russh::keys::key::safe_rng(),
            russh::keys::Algorithm::Ed25519,
        );
        let config = Arc::new(Config {
            auth_rejection_time: Duration::ZERO,
            keys: vec![key.unwrap()],
            ..Config::default()
        });
        let passwords = Arc::default();
        let told = Arc::clone(&passwords);
        runtime.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(act, stream, Arc::clone(&config), Arc::clone(&told)));
            }
        });
        Self { port, passwords, _runtime: runtime }
    }
}

async fn serve(
    act: Act,
    mut stream: tokio::net::TcpStream,
    config: Arc<Config>,
    passwords: Arc<Mutex<Vec<String>>>,
) {
    match act {
        Act::CloseAtOnce => {}
        Act::NeverSpeaks => std::future::pending().await,
        Act::SpeaksGarbage => {
            let noise: Vec<u8> =
                (0..64_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
            let _ = stream.write_all(&noise).await;
            std::future::pending::<()>().await;
        }
        Act::EndlessLines => while stream.write_all(&b"come in\r\n".repeat(1000)).await.is_ok() {},
        _ => {
            let bad = Bad { act, passwords, heard: Vec::new(), asked: 0, children: Vec::new() };
            if let Ok(session) = russh::server::run_stream(config, stream, bad).await {
                let _ = session.await;
            }
        }
    }
}

/// One connection.
struct Bad {
    act: Act,
    passwords: Arc<Mutex<Vec<String>>>,
    /// What a shell was sent and has not been answered.
    heard: Vec<u8>,
    asked: u64,
    /// The input of real shells.
    children: Vec<(ChannelId, tokio::process::ChildStdin)>,
}

impl Handler for Bad {
    type Error = russh::Error;

    async fn auth_password(&mut self, _user: &str, password: &str) -> Result<Auth, Self::Error> {
        self.passwords.lock().unwrap().push(password.to_owned());
        match self.act {
            Act::LoginHangs => std::future::pending().await,
            Act::LoginCloses => Err(russh::Error::Disconnect),
            Act::LoginRefuses => Ok(Auth::reject()),
            _ => Ok(Auth::Accept),
        }
    }

    async fn channel_open_session(
        &mut self,
        _channel: Channel<Msg>,
        reply: russh::server::ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        match self.act {
            Act::ChannelHangs => std::mem::forget(reply),
            Act::ChannelCloses => return Err(russh::Error::Disconnect),
            Act::ChannelRefused => drop(reply),
            _ => reply.accept().await,
        }
        Ok(())
    }

    async fn exec_request(
        &mut self,
        channel: ChannelId,
        data: &[u8],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        session.channel_success(channel)?;
        let command = String::from_utf8_lossy(data).into_owned();
        let handle = session.handle();
        let mark =
            command.split_once("echo ").and_then(|(_, rest)| rest.split_once(' ')).unwrap().0.to_owned();
        let greet = |pid: &str| (format!("{mark} {pid}\n"), format!("{mark}\n"));
        match self.act {
            Act::NeverGreets => {}
            Act::DripsInsteadOfGreeting => {
                tokio::spawn(async move {
                    while handle.data(channel, "x").await.is_ok() {
                        tokio::time::sleep(Duration::from_millis(200)).await;
                    }
                });
            }
            Act::EndlessNoise => endless(handle, channel, false),
            Act::EndlessNoiseOnStderr => endless(handle, channel, true),
            Act::ClosesBeforeGreeting => session.close(channel)?,
            Act::EndsBeforeGreeting => {
                session.extended_data(channel, 1, "no shell for you\n")?;
                session.exit_status_request(channel, 3)?;
                session.close(channel)?;
            }
            Act::CatNeverEnds => self.real(channel, &command, handle),
            Act::GreetsHalfAndGoesOn => {
                session.data(channel, greet("4242").0)?;
                endless(handle, channel, false);
            }
            act => {
                let pid = match act {
                    Act::GreetsWithGarbage => "\u{1b}[2J;rm -rf",
                    Act::GreetsAsNumberOne => "1",
                    _ => "4242",
                };
                let (out, err) = greet(pid);
                session.data(channel, out)?;
                session.extended_data(channel, 1, err)?;
            }
        }
        Ok(())
    }

    async fn data(
        &mut self,
        channel: ChannelId,
        data: &[u8],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        if let Some((_, input)) = self.children.iter_mut().find(|(id, _)| *id == channel) {
            let _ = input.write_all(data).await;
            return Ok(());
        }
        self.heard.extend_from_slice(data);
        while let Some(nonce) = self.next_request() {
            self.asked += 1;
            self.reply(channel, &nonce, session)?;
        }
        Ok(())
    }

    async fn channel_eof(&mut self, channel: ChannelId, _session: &mut Session) -> Result<(), Self::Error> {
        self.children.retain(|(id, _)| *id != channel);
        Ok(())
    }
}

impl Bad {
    /// The nonce of the next request that was heard whole.
    fn next_request(&mut self) -> Option<String> {
        let text = String::from_utf8_lossy(&self.heard).into_owned();
        let (before, rest) = text.split_once(" $?; echo ")?;
        let (after, left) = rest.split_once(" 0 >&2\n")?;
        assert!(!after.is_empty());
        let nonce = before.rsplit(' ').nth(1).unwrap().to_owned();
        self.heard = left.as_bytes().to_vec();
        Some(nonce)
    }

    fn reply(&self, channel: ChannelId, nonce: &str, session: &mut Session) -> Result<(), russh::Error> {
        let id = self.asked;
        let handle = session.handle();
        let mut say = |out: &str, err: &str| {
            session.data(channel, out.to_owned())?;
            session.extended_data(channel, 1, err.to_owned())
        };
        let (out, err) = (format!("{nonce} {id} 0\n"), format!("{nonce} {id} 0\n"));
        match self.act {
            Act::NeverReplies => Ok(()),
            Act::EndlessReply => {
                endless(handle, channel, false);
                Ok(())
            }
            Act::EndlessStderr => {
                endless(handle, channel, true);
                Ok(())
            }
            Act::WrongId => say(&format!("{nonce} 99 0\n"), &format!("{nonce} 99 0\n")),
            Act::HugeId => say(&format!("{nonce} 99999999999999999999999 0\n"), &err),
            Act::HugeStatus => say(&format!("{nonce} {id} 99999999999999\n"), &err),
            Act::GarbageInMark => say(&format!("{nonce} \u{1b}[2J \u{7}\n"), &err),
            Act::MarkWithoutEnd => {
                say(nonce, &err)?;
                endless(handle, channel, false);
                Ok(())
            }
            Act::RepliesTwice => say(&out.repeat(2), &err.repeat(2)),
            Act::HalfAReply => say(&out, ""),
            Act::ClosesInReply => {
                say("half of", "")?;
                session.close(channel)
            }
            Act::GarbageAndReply => {
                say(&format!("{}\0\u{1b}]0;x\u{7}{out}", "ü\u{2028}".repeat(100_000)), &err)
            }
            Act::Big(size) => {
                for _ in 0..size {
                    say(&"x".repeat(1 << 20), "")?;
                }
                say(&out, &err)
            }
            Act::ClosesAtRequest => session.close(channel),
            Act::EndsAtRequest => {
                session.exit_status_request(channel, 0)?;
                session.close(channel)
            }
            Act::DisconnectsAtRequest => session.disconnect(Disconnect::ByApplication, "enough", "en"),
            _ => say(&out, &err),
        }
    }

    /// A shell of this machine, but for one program.
    fn real(&mut self, channel: ChannelId, command: &str, handle: Handle) {
        let bin = tempfile::tempdir().unwrap();
        let cat = bin.path().join("cat");
        std::fs::write(&cat, "#!/bin/sh\nexec yes\n").unwrap();
        std::fs::set_permissions(&cat, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let path = format!("{}:{}", bin.path().display(), std::env::var("PATH").unwrap());
        let mut child = tokio::process::Command::new("/bin/sh")
            .args(["-c", command])
            .env("PATH", path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        self.children.push((channel, child.stdin.take().unwrap()));
        let (mut out, mut err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        tokio::spawn(async move {
            // Goes with the shell.
            let _bin = bin;
            let (mut from_out, mut from_err) = (vec![0; 32 << 10], vec![0; 32 << 10]);
            let (mut out_ended, mut err_ended) = (false, false);
            while !out_ended || !err_ended {
                tokio::select! {
                    read = out.read(&mut from_out), if !out_ended => match read {
                        Ok(read) if read > 0 => {
                            if handle.data(channel, from_out[..read].to_vec()).await.is_err() { return }
                        }
                        _ => out_ended = true,
                    },
                    read = err.read(&mut from_err), if !err_ended => match read {
                        Ok(read) if read > 0 => {
                            if handle.extended_data(channel, 1, from_err[..read].to_vec()).await.is_err() { return }
                        }
                        _ => err_ended = true,
                    },
                }
            }
            let status = child.wait().await.ok().and_then(|s| s.code()).unwrap_or(255);
            let _ = handle.exit_status_request(channel, u32::try_from(status).unwrap()).await;
            let _ = handle.close(channel).await;
        });
    }
}

/// Prints for as long as somebody listens.
fn endless(handle: Handle, channel: ChannelId, on_stderr: bool) {
    tokio::spawn(async move {
        let noise = bytes::Bytes::from(vec![b'A'; 32 << 10]);
        // What is not sent yet is in this process's memory: not faster than it can be read.
        loop {
            let sent = if on_stderr {
                handle.extended_data(channel, 1, noise.clone()).await
            } else {
                handle.data(channel, noise.clone()).await
            };
            if sent.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_micros(200)).await;
        }
    });
}
