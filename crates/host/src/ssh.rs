//! One SSH connection: the way to the host, and programs on it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use russh::client::{self, Handle, Msg};
use russh::keys::{Algorithm, PublicKeyOrCertificate};
use russh::{
    Channel, ChannelMsg, ChannelOpenFailure, ChannelWriteHalf, Disconnect, Limits, Preferred, Sig, cipher,
};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use super::known_hosts::{self, Refusal};
use super::process::{OUTPUT_QUEUE, Output, Process};
use super::{ByteStream, ConnectionSpec, HostError, HostKeyCheck, KnownHosts, Secret, SshOptions, login};

/// A connection that is logged in.
pub(super) struct Connection {
    handle: Handle<Client>,
    /// The connections that carry this one, kept while it lives.
    hops: Vec<Handle<Client>>,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("hops", &self.hops.len()).finish_non_exhaustive()
    }
}

/// Checks the host's key and remembers why it was refused.
pub(super) struct Client {
    policy: HostKeyCheck,
    place: known_hosts::Place,
    refusal: Arc<std::sync::Mutex<Option<Refusal>>>,
}

impl client::Handler for Client {
    type Error = russh::Error;

    async fn check_server_key(&mut self, shown: &PublicKeyOrCertificate) -> Result<bool, Self::Error> {
        // Certificates are not advertised, so none is shown.
        let PublicKeyOrCertificate::PublicKey { key, .. } = shown else { return Ok(false) };
        match known_hosts::check(&self.policy, &self.place, key) {
            Ok(()) => Ok(true),
            Err(refusal) => {
                *self.refusal.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(refusal);
                Ok(false)
            }
        }
    }
}

/// One machine on the way: a hop, or the host itself.
struct Stop<'a> {
    user: &'a str,
    address: &'a str,
    port: u16,
    policy: HostKeyCheck,
    key_file: Option<&'a Path>,
    password: Option<&'a Secret>,
    /// What else is said of this login; nothing of a hop's.
    options: &'a SshOptions,
}

impl Stop<'_> {
    fn error(&self, spec: &ConnectionSpec, is_hop: bool, reason: String, hint: Option<String>) -> HostError {
        let reason =
            if is_hop { format!("the jump host {}:{}: {reason}", self.address, self.port) } else { reason };
        HostError::Unreachable { host: spec.name.clone(), reason, hint }
    }
}

impl Connection {
    /// Connects, through the jump hosts if there are any, and logs in.
    pub(super) async fn open(spec: &ConnectionSpec) -> Result<Self, HostError> {
        let no_hop_options = SshOptions::default();
        // The one key that is known for the host says nothing about the way there.
        let hop_policy = match &spec.host_key {
            HostKeyCheck::Exactly(_) => HostKeyCheck::KnownHosts(KnownHosts::default()),
            other => other.clone(),
        };
        let mut stops: Vec<Stop<'_>> = spec
            .proxy_jump
            .iter()
            .map(|hop| {
                let own = hop.login.as_ref();
                Stop {
                    user: hop.user.as_deref().unwrap_or(&spec.user),
                    address: &hop.address,
                    port: hop.port,
                    policy: own.map_or_else(|| hop_policy.clone(), |l| l.host_key.clone()),
                    key_file: own.map_or(spec.private_key_file.as_deref(), |l| l.private_key_file.as_deref()),
                    // The host's password is nobody else's business.
                    password: own.and_then(|l| l.password.as_ref()),
                    options: &no_hop_options,
                }
            })
            .collect();
        stops.push(Stop {
            user: &spec.user,
            address: &spec.address,
            port: spec.port,
            policy: spec.host_key.clone(),
            key_file: spec.private_key_file.as_deref(),
            password: spec.password.as_ref(),
            options: &spec.ssh,
        });
        let last = stops.len() - 1;
        let mut hops: Vec<Handle<Client>> = Vec::new();
        for (index, stop) in stops.iter().enumerate() {
            let is_hop = index < last;
            let stream: Box<dyn ByteStream> = match hops.last() {
                None => {
                    let connected =
                        in_time(spec, stop, is_hop, spec.timeout, "no connection", tcp(stop)).await?;
                    Box::new(connected.map_err(|e| tcp_error(spec, stop, is_hop, &e))?)
                }
                Some(previous) => {
                    let opening = previous.channel_open_direct_tcpip(
                        stop.address,
                        u32::from(stop.port),
                        "127.0.0.1",
                        0,
                    );
                    let channel = in_time(spec, stop, is_hop, spec.timeout, "no connection", opening)
                        .await?
                        .map_err(|e| {
                            let reason = format!("cannot be reached from the jump host: {}", explain(&e));
                            stop.error(spec, is_hop, reason, None)
                        })?;
                    Box::new(channel.into_stream())
                }
            };
            let handle = log_in(spec, stop, is_hop, stream).await?;
            hops.push(handle);
        }
        let handle = hops.pop().ok_or_else(|| HostError::Unreachable {
            host: spec.name.clone(),
            reason: "there is no way to it".to_owned(),
            hint: None,
        })?;
        Ok(Self { handle, hops })
    }

    pub(super) fn is_open(&self) -> bool {
        !self.handle.is_closed()
    }

    /// Says good-bye, so that the server's log shows no error.
    pub(super) async fn close(&self) {
        let good_bye = async {
            let _ = self.handle.disconnect(Disconnect::ByApplication, "", "en").await;
            for hop in self.hops.iter().rev() {
                let _ = hop.disconnect(Disconnect::ByApplication, "", "en").await;
            }
        };
        // Who does not listen any more is not waited for.
        let _said = tokio::time::timeout(GOOD_BYE, good_bye).await;
    }

    pub(super) async fn start(&self, host: &str, command: &str) -> Result<Process, HostError> {
        let lost = |e: russh::Error| channel_error(host, "starting a program", &e);
        let channel = self.handle.channel_open_session().await.map_err(lost)?;
        channel.exec(true, command).await.map_err(lost)?;
        let (mut reader, writer) = channel.split();
        let (sender, output) = mpsc::channel(OUTPUT_QUEUE);
        let stdin = Box::pin(writer.make_writer());
        tokio::spawn(async move {
            // Exit status, end of output and close come in any order: only the close ends it.
            while let Some(message) = reader.wait().await {
                let output = match message {
                    ChannelMsg::Data { data } => Output::Stdout(data),
                    ChannelMsg::ExtendedData { data, ext: 1 } => Output::Stderr(data),
                    ChannelMsg::ExitStatus { exit_status } => {
                        Output::Exit(i32::try_from(exit_status).unwrap_or(255))
                    }
                    ChannelMsg::ExitSignal { signal_name, .. } => Output::Exit(128 + number(&signal_name)),
                    ChannelMsg::Close | ChannelMsg::Failure => return,
                    _ => continue,
                };
                if sender.send(output).await.is_err() {
                    return;
                }
            }
        });
        Ok(Process { stdin: Some(Box::new(stdin)), output, guard: Box::new(CloseOnDrop(Some(writer))) })
    }

    pub(super) async fn dial_tcp(&self, address: &str, port: u16) -> Result<Channel<Msg>, russh::Error> {
        self.handle.channel_open_direct_tcpip(address, u32::from(port), "127.0.0.1", 0).await
    }

    pub(super) async fn dial_unix(&self, path: &str) -> Result<Channel<Msg>, russh::Error> {
        self.handle.channel_open_direct_streamlocal(path).await
    }
}

/// Closes the channel of a program that is no longer wanted.
struct CloseOnDrop(Option<ChannelWriteHalf<Msg>>);

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        // Without a runtime the connection itself is gone.
        if let (Some(channel), Ok(runtime)) = (self.0.take(), tokio::runtime::Handle::try_current()) {
            runtime.spawn(async move { channel.close().await });
        }
    }
}

/// Gives a step on the way its time.
async fn in_time<T>(
    spec: &ConnectionSpec,
    stop: &Stop<'_>,
    is_hop: bool,
    limit: Duration,
    what: &str,
    work: impl Future<Output = T>,
) -> Result<T, HostError> {
    tokio::time::timeout(limit, work).await.map_err(|_| {
        let reason = format!("{what} to {}:{} within {} s", stop.address, stop.port, limit.as_secs());
        let hint = "check that the machine runs and that nothing filters the port; `-T` waits longer";
        stop.error(spec, is_hop, reason, Some(hint.to_owned()))
    })
}

async fn tcp(stop: &Stop<'_>) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect((stop.address, stop.port)).await?;
    // Requests are small and each waits for its reply.
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn tcp_error(spec: &ConnectionSpec, stop: &Stop<'_>, is_hop: bool, error: &std::io::Error) -> HostError {
    let at = format!("{}:{}", stop.address, stop.port);
    let (reason, hint) = match error.kind() {
        std::io::ErrorKind::ConnectionRefused => {
            (format!("{at} refuses connections"), "check that sshd runs there and `ansible_port` is right")
        }
        std::io::ErrorKind::HostUnreachable | std::io::ErrorKind::NetworkUnreachable => {
            (format!("there is no route to {at}"), "check `ansible_host`, and that the machine runs")
        }
        _ if error.to_string().contains("lookup") => {
            (format!("the name `{}` is not known: {error}", stop.address), "set `ansible_host` to an address")
        }
        _ => (format!("connecting to {at} failed: {error}"), "check `ansible_host` and the network"),
    };
    stop.error(spec, is_hop, reason, Some(hint.to_owned()))
}

async fn log_in(
    spec: &ConnectionSpec,
    stop: &Stop<'_>,
    is_hop: bool,
    stream: Box<dyn ByteStream>,
) -> Result<Handle<Client>, HostError> {
    let refusal = Arc::default();
    let options = stop.options;
    let place = known_hosts::Place {
        address: options.key_alias.clone().unwrap_or_else(|| stop.address.to_owned()),
        port: if options.key_alias.is_some() { 22 } else { stop.port },
        global: options.global_known_hosts.clone(),
    };
    let known = known_hosts::known_algorithms(&stop.policy, &place);
    let client = Client { policy: stop.policy.clone(), place, refusal: Arc::clone(&refusal) };
    let limit = spec.login_timeout();
    let connecting = client::connect_stream(Arc::new(config(&known, options)), stream, client);
    let connected = in_time(spec, stop, is_hop, limit, "no SSH connection", connecting).await?;
    let mut handle = connected.map_err(|e| {
        match refusal.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take() {
            Some(refusal) => stop.error(spec, is_hop, refusal.reason, Some(refusal.hint)),
            None => stop.error(spec, is_hop, format!("no SSH connection: {}", explain(&e)), None),
        }
    })?;
    let password = stop.password.map(|Secret(text)| text.as_str());
    let login = login::authenticate(&mut handle, stop.user, (stop.key_file, password), options);
    in_time(spec, stop, is_hop, limit, "no login", login).await?.map_err(|failure| {
        let hint = if is_hop && spec.password.is_some() && stop.password.is_none() {
            Some("the password of the host behind it is not offered to a jump host: log in there with a key or an agent".to_owned())
        } else {
            failure.hint
        };
        stop.error(spec, is_hop, failure.reason, hint)
    })?;
    Ok(handle)
}

/// Whether this machine's processor does AES by itself, which is faster than `ChaCha20` then.
fn has_aes() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::arch::is_x86_feature_detected!("aes");
    #[cfg(target_arch = "aarch64")]
    return std::arch::is_aarch64_feature_detected!("aes");
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    return false;
}

/// How long saying good-bye may take.
const GOOD_BYE: Duration = Duration::from_secs(1);

/// How often a silent host is asked whether it is there, and how many times before it is given up, where nobody says it.
const ALIVE_INTERVAL: Duration = Duration::from_secs(15);
const ALIVE_COUNT: usize = 4;

fn config(known: &[Algorithm], options: &SshOptions) -> client::Config {
    let mut preferred = Preferred::default();
    // As ssh does: ask first for a kind of key that can be compared.
    let mut keys = preferred.key.to_vec();
    keys.sort_by_key(|algorithm| !known.iter().any(|k| same_kind(k, algorithm)));
    preferred.key = keys.into();
    if has_aes() {
        let mut ciphers = preferred.cipher.to_vec();
        ciphers.sort_by_key(|name| *name != cipher::AES_256_GCM);
        preferred.cipher = ciphers.into();
    }
    client::Config {
        preferred,
        nodelay: true,
        keepalive_interval: options.alive_interval.or(Some(ALIVE_INTERVAL)).filter(|i| !i.is_zero()),
        keepalive_max: options.alive_count.unwrap_or(ALIVE_COUNT),
        limits: Limits::new(1 << 30, 1 << 30, Duration::from_secs(24 * 3600)),
        ..client::Config::default()
    }
}

fn same_kind(a: &Algorithm, b: &Algorithm) -> bool {
    match (a, b) {
        (Algorithm::Rsa { .. }, Algorithm::Rsa { .. }) => true,
        _ => a == b,
    }
}

/// What went wrong with a channel: a refusal by the server, or the end of the connection.
pub(super) fn channel_error(host: &str, what: &str, error: &russh::Error) -> HostError {
    match error {
        russh::Error::ChannelOpenFailure(_) => {
            HostError::Failed { what: format!("{what} on {host}"), reason: explain(error) }
        }
        _ => HostError::Lost { host: host.to_owned(), reason: explain(error) },
    }
}

fn explain(error: &russh::Error) -> String {
    match error {
        russh::Error::ChannelOpenFailure(ChannelOpenFailure::ConnectFailed) => {
            "nothing answers there".to_owned()
        }
        russh::Error::ChannelOpenFailure(ChannelOpenFailure::AdministrativelyProhibited) => {
            "the SSH server does not allow it".to_owned()
        }
        russh::Error::ChannelOpenFailure(ChannelOpenFailure::ResourceShortage) => {
            "the SSH server has no room for it (MaxSessions)".to_owned()
        }
        russh::Error::HUP | russh::Error::Disconnect | russh::Error::SendError | russh::Error::RecvError => {
            "the other side closed the connection".to_owned()
        }
        russh::Error::KeepaliveTimeout => "the other side has been silent for too long".to_owned(),
        other => other.to_string(),
    }
}

fn number(signal: &Sig) -> i32 {
    match signal {
        Sig::HUP => 1,
        Sig::INT => 2,
        Sig::QUIT => 3,
        Sig::ILL => 4,
        Sig::ABRT => 6,
        Sig::FPE => 8,
        Sig::KILL => 9,
        Sig::USR1 => 10,
        Sig::SEGV => 11,
        Sig::PIPE => 13,
        Sig::ALRM => 14,
        Sig::TERM => 15,
        Sig::Custom(_) => 0,
    }
}
