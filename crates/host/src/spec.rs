use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::{Limits, SshOptions};

/// A secret text: shown as stars wherever it is printed.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("********")
    }
}

/// How a host is reached, from Ansible's connection variables.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ConnectionSpec {
    /// The inventory's name for the host, for messages.
    pub name: String,
    pub kind: ConnectionKind,
    /// `ansible_host`, else the inventory name.
    pub address: String,
    /// `ansible_port`, default 22.
    pub port: u16,
    /// `ansible_user`, `remote_user`, `-u`, else the user who runs quaylab.
    pub user: String,
    /// `ansible_password` or `-k`.
    pub password: Option<Secret>,
    /// `ansible_ssh_private_key_file` or `--private-key`; without it the usual files in `~/.ssh` and the agent are tried.
    pub private_key_file: Option<PathBuf>,
    pub host_key: HostKeyCheck,
    /// From `ansible_ssh_common_args`' `-J`/`-o ProxyJump=`: hosts to go through, first hop first.
    pub proxy_jump: Vec<ProxyJump>,
    /// For each step to a login: the connection, the login, a shell. Default 10 s (`-T`, `timeout`).
    pub timeout: Duration,
    pub limits: Limits,
    pub ssh: SshOptions,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ConnectionKind {
    Ssh,
    Local,
}

/// What is believed about a host's key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum HostKeyCheck {
    /// Must be this key, in OpenSSH's one-line form: quaylab made it and gave it to the guest.
    Exactly(String),
    /// Must be known; a host that is not yet is refused.
    KnownHosts(KnownHosts),
    /// A host that is not known yet is added; a changed key is refused.
    AcceptNew(KnownHosts),
    /// `ansible_host_key_checking=false`.
    Off,
}

/// The file of known hosts that is asked, and added to, besides the machine's `/etc/ssh/ssh_known_hosts`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub enum KnownHosts {
    /// `~/.ssh/known_hosts`.
    #[default]
    OfUser,
    /// `UserKnownHostsFile` of `ansible_ssh_common_args`, `known_hosts` of a libvirt URI.
    File(PathBuf),
}

/// One hop on the way to a host.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ProxyJump {
    pub user: Option<String>,
    pub address: String,
    pub port: u16,
    /// How it is logged in to where that differs from the host behind it.
    pub login: Option<JumpLogin>,
}

/// A jump host's own keys, password and host-key policy.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct JumpLogin {
    pub private_key_file: Option<PathBuf>,
    pub password: Option<Secret>,
    pub host_key: HostKeyCheck,
}

impl ConnectionSpec {
    /// This machine, without a login.
    pub fn local(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            kind: ConnectionKind::Local,
            address: "127.0.0.1".into(),
            port: 22,
            user: String::new(),
            password: None,
            private_key_file: None,
            host_key: HostKeyCheck::KnownHosts(KnownHosts::default()),
            proxy_jump: Vec::new(),
            timeout: Duration::from_secs(10),
            limits: Limits::default(),
            ssh: SshOptions::default(),
        }
    }

    /// How long a login and a shell may take once something answers: that is the host's work, and it may be busy.
    pub(super) fn login_timeout(&self) -> Duration {
        self.ssh.login_timeout.unwrap_or_default().max(self.timeout).max(Duration::from_secs(1))
    }

    /// The hops for a host that is reached through this one: those to it, then itself with its own login.
    pub fn as_way(&self) -> Vec<ProxyJump> {
        let mut hops = self.proxy_jump.clone();
        hops.push(ProxyJump {
            user: Some(self.user.clone()),
            address: self.address.clone(),
            port: self.port,
            login: Some(JumpLogin {
                private_key_file: self.private_key_file.clone(),
                password: self.password.clone(),
                host_key: self.host_key.clone(),
            }),
        });
        hops
    }
}

/// Who a task's commands run as.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct BecomeSpec {
    /// `become_user`, default root.
    pub user: String,
    pub method: BecomeMethod,
    /// `ansible_become_password` or `-K`; goes over standard input only.
    pub password: Option<Secret>,
    /// `become_exe`: the words that start the method's program, where they are not its name alone.
    pub program: Vec<String>,
    /// `become_flags`: words instead of the method's own options; `None`: sudo's `-H`, and none of the others.
    pub flags: Option<Vec<String>>,
}

impl BecomeSpec {
    /// Another user by a method's own program and options, without a password.
    pub fn new(user: impl Into<String>, method: BecomeMethod) -> Self {
        Self { user: user.into(), method, password: None, program: Vec::new(), flags: None }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BecomeMethod {
    Sudo,
    Su,
    Doas,
}

impl BecomeMethod {
    /// The name of the program, which is the method's in a playbook as well.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sudo => "sudo",
            Self::Su => "su",
            Self::Doas => "doas",
        }
    }
}
