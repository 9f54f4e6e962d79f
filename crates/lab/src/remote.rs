use std::path::PathBuf;
use std::time::Duration;

use super::LabError;
use crate::host::{
    ConnectionKind, ConnectionSpec, HostKeyCheck, KnownHosts, Limits, ProxyJump, SshArguments,
};

/// How long a hypervisor may take to let quaylab in when nothing else is said.
const LOGIN: Duration = Duration::from_secs(30);

/// Where a daemon listens that speaks for all of QEMU, storage and networks: the one daemon, or the split ones' first.
const SOCKETS: [&str; 3] =
    ["/run/libvirt/libvirt-sock", "/run/libvirt/virtqemud-sock", "/var/run/libvirt/libvirt-sock"];

/// A libvirt URI that names a machine to log in to by SSH (`qemu+ssh://user@host:port/system?keyfile=...`).
///
/// The parameters are libvirt's own where libvirt has them; `proxy_jump`, `host_key` and `ssh_args` are quaylab's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteUri {
    driver: String,
    user: Option<String>,
    pub host: String,
    port: Option<u16>,
    socket: Option<String>,
    keyfile: Option<PathBuf>,
    host_key: HostKeyCheck,
    proxy_jump: Vec<ProxyJump>,
    arguments: SshArguments,
}

impl RemoteUri {
    /// `None` for a URI that is not reached by SSH.
    pub fn parse(uri: &str) -> Result<Option<Self>, LabError> {
        let bad = |why: String| LabError::Invalid(format!("libvirt URI {uri:?}: {why}"));
        let Some((scheme, rest)) = uri.split_once("://") else { return Ok(None) };
        let Some((driver, transport)) = scheme.split_once('+') else { return Ok(None) };
        if !["ssh", "libssh", "libssh2"].contains(&transport) {
            return Ok(None);
        }
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = place.split_once('/').unwrap_or((place, ""));
        if path != "system" {
            return Err(bad(format!("/{path} is not reached by SSH; use /system")));
        }
        let (user, address) = match authority.rsplit_once('@') {
            Some((user, address)) => {
                (Some(decoded(user).ok_or_else(|| bad("the user is not readable".into()))?), address)
            }
            None => (None, authority),
        };
        let (host, port) = host_and_port(address).map_err(bad)?;
        if host.is_empty() {
            return Err(bad("it names no host".into()));
        }
        let mut remote = Self {
            driver: driver.to_owned(),
            user,
            host,
            port,
            socket: None,
            keyfile: None,
            host_key: HostKeyCheck::KnownHosts(KnownHosts::default()),
            proxy_jump: Vec::new(),
            arguments: SshArguments::default(),
        };
        let mut known_hosts = None;
        for pair in query.split('&').filter(|p| !p.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = decoded(value).ok_or_else(|| bad(format!("{name} is not readable")))?;
            match (name, value.as_str()) {
                ("socket", _) => remote.socket = Some(value),
                ("keyfile", _) => remote.keyfile = Some(PathBuf::from(value)),
                ("no_verify", "1") | ("known_hosts_verify", "ignore") => remote.host_key = HostKeyCheck::Off,
                ("known_hosts_verify", "auto") => {
                    remote.host_key = HostKeyCheck::AcceptNew(KnownHosts::default());
                }
                ("known_hosts", _) => known_hosts = Some(KnownHosts::File(value.into())),
                ("host_key", _) => remote.host_key = HostKeyCheck::Exactly(value),
                ("proxy_jump", _) => {
                    remote.proxy_jump = value.split(',').map(jump).collect::<Result<_, _>>().map_err(bad)?;
                }
                ("ssh_args", _) => {
                    remote.arguments = SshArguments::parse(&value)
                        .map_err(|e| bad(format!("the SSH arguments: {e}; {}", e.hint)))?;
                }
                // These choose among ways that there is only one of here: no question is ever asked on a terminal, and the
                // socket is opened by the SSH server itself.
                ("no_tty" | "mode" | "proxy" | "netcat" | "no_verify" | "known_hosts_verify", _) => {}
                _ => {
                    return Err(bad(format!(
                        "quaylab does not know {name}; it takes socket, keyfile, known_hosts, known_hosts_verify, no_verify, host_key, proxy_jump and ssh_args"
                    )));
                }
            }
        }
        // What the URI itself says comes first.
        if remote.host_key == HostKeyCheck::KnownHosts(KnownHosts::default()) {
            remote.host_key = remote.arguments.host_key(true);
        }
        if remote.proxy_jump.is_empty() {
            remote.proxy_jump = remote.arguments.jumps();
        }
        if let (Some(given), HostKeyCheck::KnownHosts(file) | HostKeyCheck::AcceptNew(file)) =
            (known_hosts, &mut remote.host_key)
        {
            *file = given;
        }
        Ok(Some(remote))
    }

    /// The URI without how it is reached: what names the hypervisor in lists and messages.
    pub fn canonical(&self) -> String {
        let user = self.user.as_ref().map(|u| format!("{u}@")).unwrap_or_default();
        let port = self.port.map(|p| format!(":{p}")).unwrap_or_default();
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        format!("{}+ssh://{user}{host}{port}/system", self.driver)
    }

    /// The login that the URI asks for.
    pub fn connection(&self) -> ConnectionSpec {
        ConnectionSpec {
            name: self.host.clone(),
            kind: ConnectionKind::Ssh,
            address: self.arguments.address(self.host.clone()),
            port: self.port.or(self.arguments.port).unwrap_or(22),
            user: self.user.clone().or_else(|| self.arguments.user.clone()).unwrap_or_else(login_name),
            password: None,
            private_key_file: self.keyfile.clone(),
            host_key: self.host_key.clone(),
            proxy_jump: self.proxy_jump.clone(),
            timeout: self.arguments.connect_timeout.unwrap_or(LOGIN),
            limits: Limits::default(),
            ssh: self.arguments.options.clone(),
        }
    }

    /// Whether a connection leads where the URI means.
    pub fn is_at(&self, spec: &ConnectionSpec) -> bool {
        spec.kind == ConnectionKind::Ssh
            && (spec.address == self.host || spec.name == self.host)
            && self.user.as_ref().is_none_or(|u| *u == spec.user)
            && self.port.is_none_or(|p| p == spec.port)
    }

    /// The daemon's sockets on the hypervisor, likeliest first.
    pub fn sockets(&self) -> Vec<&str> {
        self.socket.as_deref().map_or_else(|| SOCKETS.to_vec(), |s| vec![s])
    }

    /// The URI under which libvirt's own client finds the daemon at a socket on this machine.
    pub fn through(&self, socket: &std::path::Path) -> String {
        format!("{}+unix:///system?socket={}", self.driver, encoded(&socket.to_string_lossy()))
    }
}

/// `host`, `host:port`, `[v6]`, `[v6]:port`.
fn host_and_port(text: &str) -> Result<(String, Option<u16>), String> {
    let (host, port) = match text.strip_prefix('[').and_then(|t| t.split_once(']')) {
        Some((host, rest)) => (host, rest.strip_prefix(':')),
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let port = port.map(|p| p.parse::<u16>().map_err(|_| format!("{p:?} is not a port"))).transpose()?;
    Ok((host.to_owned(), port))
}

fn jump(text: &str) -> Result<ProxyJump, String> {
    let (user, place) = text.rsplit_once('@').map_or((None, text), |(u, p)| (Some(u.to_owned()), p));
    let (address, port) = host_and_port(place)?;
    if address.is_empty() {
        return Err("proxy_jump names no host".into());
    }
    Ok(ProxyJump { user, address, port: port.unwrap_or(22), login: None })
}

fn login_name() -> String {
    ["LOGNAME", "USER"]
        .iter()
        .find_map(|n| std::env::var(n).ok())
        .filter(|u| !u.is_empty())
        .unwrap_or_else(|| "root".into())
}

fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |b: Option<u8>| char::from(b?).to_digit(16);
        let (high, low) = (digit(rest.next())?, digit(rest.next())?);
        bytes.push(u8::try_from(high * 16 + low).ok()?);
    }
    String::from_utf8(bytes).ok()
}

/// Text as the value of a URI's parameter.
pub fn encoded(text: &str) -> String {
    text.bytes()
        .map(|b| {
            if b.is_ascii_alphanumeric() || b"-._~/:@".contains(&b) {
                char::from(b).to_string()
            } else {
                format!("%{b:02X}")
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(uri: &str) -> RemoteUri {
        RemoteUri::parse(uri).expect("valid").expect("remote")
    }

    #[test]
    fn only_ssh_is_a_login() {
        for uri in
            ["qemu:///system", "test:///default", "qemu+unix:///system?socket=/x", "qemu+tls://h/system"]
        {
            assert_eq!(RemoteUri::parse(uri).expect("valid"), None, "{uri}");
        }
    }

    #[test]
    fn a_uri_says_who_logs_in_where_and_how() {
        let plain = read("qemu+ssh://root@hv/system");
        let spec = plain.connection();
        assert_eq!((spec.user.as_str(), spec.address.as_str(), spec.port), ("root", "hv", 22));
        assert_eq!(spec.host_key, HostKeyCheck::KnownHosts(KnownHosts::OfUser));
        assert_eq!(plain.sockets().len(), 3);
        let full = read(
            "qemu+libssh://me@[fe80::1]:2222/system?keyfile=/k%20y&known_hosts=/hosts&known_hosts_verify=auto&socket=/s&proxy_jump=a@b:1,c&no_tty=1",
        );
        let spec = full.connection();
        assert_eq!((spec.address.as_str(), spec.port), ("fe80::1", 2222));
        assert_eq!(spec.private_key_file, Some("/k y".into()));
        assert_eq!(spec.host_key, HostKeyCheck::AcceptNew(KnownHosts::File("/hosts".into())));
        assert_eq!(spec.proxy_jump.len(), 2);
        assert_eq!(full.sockets(), ["/s"]);
        assert_eq!(full.canonical(), "qemu+ssh://me@[fe80::1]:2222/system");
        let arguments = encoded("-o StrictHostKeyChecking=accept-new -Jgw -l other -o IdentitiesOnly=yes");
        let argued = read(&format!("qemu+ssh://h/system?ssh_args={arguments}")).connection();
        assert_eq!(argued.host_key, HostKeyCheck::AcceptNew(KnownHosts::OfUser));
        assert_eq!((argued.proxy_jump.len(), argued.user.as_str(), argued.ssh.keys_only), (1, "other", true));
        let refused = format!("qemu+ssh://h/system?ssh_args={}", encoded("-o ProxyCommand=nc"));
        assert!(RemoteUri::parse(&refused).expect_err("refused").to_string().contains("ProxyCommand"));
        let keyed = read(&format!("qemu+ssh://h/system?host_key={}", encoded("ssh-ed25519 AA+/=")));
        assert_eq!(keyed.host_key, HostKeyCheck::Exactly("ssh-ed25519 AA+/=".into()));
        assert_eq!(plain.through("/t/a b".as_ref()), "qemu+unix:///system?socket=/t/a%20b");
    }

    #[test]
    fn a_connection_is_used_only_where_it_leads_to_the_same_place() {
        let spec =
            ConnectionSpec { name: "hv".into(), ..read("qemu+ssh://root@10.0.0.1/system").connection() };
        for (uri, same) in [
            ("qemu+ssh://root@10.0.0.1/system", true),
            ("qemu+ssh://hv/system", true),
            ("qemu+ssh://me@10.0.0.1/system", false),
            ("qemu+ssh://root@10.0.0.2/system", false),
            ("qemu+ssh://root@10.0.0.1:2222/system", false),
        ] {
            assert_eq!(read(uri).is_at(&spec), same, "{uri}");
        }
    }

    #[test]
    fn mistakes_are_explained() {
        for (uri, part) in [
            ("qemu+ssh://root@hv/session", "use /system"),
            ("qemu+ssh:///system", "names no host"),
            ("qemu+ssh://hv:x/system", "not a port"),
            ("qemu+ssh://hv/system?kefile=/x", "does not know kefile"),
            ("qemu+ssh://hv/system?keyfile=%zz", "not readable"),
        ] {
            let error = RemoteUri::parse(uri).expect_err("invalid").to_string();
            assert!(error.contains(part), "{uri}: {error}");
        }
    }
}
