//! What OpenSSH's arguments ask for: each of them is obeyed, is known to change nothing here, or is refused by name.

use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

use super::ssh_options::{Fate, fate, letter};
use super::{HostKeyCheck, KnownHosts, ProxyJump};
use crate::store::expanded;

/// An argument that cannot be obeyed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{what} {why}")]
pub struct SshArgumentError {
    /// The argument as it was written.
    pub what: String,
    pub why: String,
    pub hint: String,
}

/// How a login is tried and kept, beyond what Ansible's variables say.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct SshOptions {
    /// `IdentityFile`, in order; they are tried after the key that a variable names.
    pub keys: Vec<PathBuf>,
    /// `IdentitiesOnly`: no keys of the agent.
    pub keys_only: bool,
    /// `PubkeyAuthentication=no`, or `PreferredAuthentications` without it.
    pub no_keys: bool,
    /// `PasswordAuthentication=no`, or `PreferredAuthentications` without it.
    pub no_password: bool,
    /// `KbdInteractiveAuthentication=no`, or `PreferredAuthentications` without it.
    pub no_questions: bool,
    /// `ServerAliveInterval`; zero asks never.
    pub alive_interval: Option<Duration>,
    /// `ServerAliveCountMax`.
    pub alive_count: Option<usize>,
    /// `HostKeyAlias`: the name under which the host's key is known.
    pub key_alias: Option<String>,
    /// `GlobalKnownHostsFile`, instead of the machine's own.
    pub global_known_hosts: Option<PathBuf>,
    /// How long a login may take once something answers, where that is longer than the connection may (`quaylab_ssh_login_timeout`).
    pub login_timeout: Option<Duration>,
}

/// What a list of arguments for OpenSSH says; of two the first counts, as with OpenSSH.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SshArguments {
    pub user: Option<String>,
    pub port: Option<u16>,
    /// `HostName`: where the host really is.
    pub host_name: Option<String>,
    pub connect_timeout: Option<Duration>,
    /// `StrictHostKeyChecking`, lower case.
    strict: Option<String>,
    known_hosts: Option<KnownHosts>,
    jumps: Option<Vec<ProxyJump>>,
    pub options: SshOptions,
    /// What makes no difference here, and why.
    pub idle: Vec<String>,
}

impl SshArguments {
    /// Reads arguments as they would stand on ssh's command line, without the host.
    pub fn parse(text: &str) -> Result<Self, SshArgumentError> {
        let words = shlex::split(text).ok_or_else(|| SshArgumentError {
            what: format!("`{text}`"),
            why: "has a quote that is not closed".to_owned(),
            hint: "close the quote".to_owned(),
        })?;
        let mut all = Self::default();
        let mut words = words.into_iter();
        while let Some(word) = words.next() {
            let Some(letters) = word.strip_prefix('-').filter(|rest| !rest.is_empty()) else {
                return Err(SshArgumentError {
                    what: format!("`{word}`"),
                    why: "is no option of ssh".to_owned(),
                    hint: "options begin with a dash; the host is not among them".to_owned(),
                });
            };
            // `-Cq` is `-C -q`; what takes a value takes the rest of the word, or the next one.
            for (at, flag) in letters.char_indices() {
                let rest = letters.get(at + flag.len_utf8()..).unwrap_or_default();
                let mut value = || {
                    let given = if rest.is_empty() { words.next() } else { Some(rest.to_owned()) };
                    given.ok_or_else(|| SshArgumentError {
                        what: format!("`-{flag}`"),
                        why: "has no value".to_owned(),
                        hint: "write the value behind it".to_owned(),
                    })
                };
                if flag == 'o' {
                    let option = value()?;
                    let (name, value) = option
                        .trim()
                        .split_once(|c: char| c == '=' || c.is_whitespace())
                        .map_or((option.trim(), ""), |(name, value)| (name, value));
                    all.set(
                        name,
                        value.trim_start_matches([' ', '\t', '=']).trim_matches('"').trim(),
                        "-o ",
                    )?;
                    break;
                }
                match letter(flag) {
                    None => return Err(unknown(&format!("-{flag}"))),
                    Some((option, None)) => {
                        all.set(option, &value()?, &format!("-{flag} is "))?;
                        break;
                    }
                    Some((option, Some(fixed))) => all.set(option, fixed, &format!("-{flag} is "))?,
                }
            }
        }
        Ok(all)
    }

    fn set(&mut self, name: &str, value: &str, shown: &str) -> Result<(), SshArgumentError> {
        let what = if name.starts_with('-') {
            format!("`{name} {value}`")
        } else {
            format!("`{shown}{name}={value}`")
        };
        let wrong = |why: &str, hint: &str| SshArgumentError {
            what: what.clone(),
            why: why.to_owned(),
            hint: hint.to_owned(),
        };
        let lower = name.to_ascii_lowercase();
        let number = || {
            value.parse::<u64>().map_err(|_| wrong("is not a number", "write a number of seconds or tries"))
        };
        let flag = || match value.to_ascii_lowercase().as_str() {
            "yes" | "true" => Ok(true),
            "no" | "false" => Ok(false),
            _ => Err(wrong("is neither yes nor no", "write yes or no")),
        };
        if value.is_empty() {
            return Err(wrong("has no value", "write it as NAME=VALUE"));
        }
        let is_path =
            ["identityfile", "userknownhostsfile", "globalknownhostsfile"].contains(&lower.as_str());
        if fate(&lower) == Some(Fate::Obeyed) && value.contains('%') && lower != "hostname" {
            return Err(wrong(
                "has a token of OpenSSH's, which is not filled in",
                "write what it stands for",
            ));
        }
        if is_path && value.split_whitespace().count() > 1 {
            return Err(wrong("names more than one file", "name one file"));
        }
        match lower.as_str() {
            "user" => first(&mut self.user, value.to_owned()),
            "port" => match value.parse() {
                Ok(port) if port > 0 => first(&mut self.port, port),
                _ => return Err(wrong("is not a number from 1 to 65535", "correct the port")),
            },
            "hostname" => first(&mut self.host_name, value.to_owned()),
            "connecttimeout" => first(&mut self.connect_timeout, Duration::from_secs(number()?.max(1))),
            "stricthostkeychecking" => match value.to_ascii_lowercase() {
                known if ["yes", "no", "off", "accept-new", "ask"].contains(&known.as_str()) => {
                    first(&mut self.strict, known);
                }
                _ => return Err(wrong("is none of yes, no, accept-new", "write one of them")),
            },
            "userknownhostsfile" => first(&mut self.known_hosts, KnownHosts::of_option(Some(value))),
            "globalknownhostsfile" => {
                let file = if value == "none" { "/dev/null" } else { value };
                first(&mut self.options.global_known_hosts, expanded(file));
            }
            "hostkeyalias" => first(&mut self.options.key_alias, value.to_owned()),
            "proxyjump" if value.eq_ignore_ascii_case("none") => first(&mut self.jumps, Vec::new()),
            "proxyjump" => match jumps(value) {
                Some(hops) => first(&mut self.jumps, hops),
                None => {
                    return Err(wrong(
                        "is not USER@HOST:PORT, or several of them with commas",
                        "correct the hops",
                    ));
                }
            },
            "identityfile" if value == "none" => {}
            "identityfile" => self.options.keys.push(expanded(value)),
            "identitiesonly" => self.options.keys_only |= flag()?,
            "pubkeyauthentication" => self.options.no_keys |= !flag()?,
            "passwordauthentication" => self.options.no_password |= !flag()?,
            "kbdinteractiveauthentication" | "challengeresponseauthentication" => {
                self.options.no_questions |= !flag()?;
            }
            "preferredauthentications" => {
                let methods: Vec<&str> = value.split(',').map(str::trim).collect();
                let lacks = |name: &str| !methods.contains(&name);
                self.options.no_keys |= lacks("publickey");
                self.options.no_password |= lacks("password");
                self.options.no_questions |= lacks("keyboard-interactive");
            }
            "serveraliveinterval" => {
                first(&mut self.options.alive_interval, Duration::from_secs(number()?));
            }
            "serveralivecountmax" => {
                first(&mut self.options.alive_count, usize::try_from(number()?).unwrap_or(usize::MAX));
            }
            _ => {
                return match fate(&lower) {
                    // What is done by nobody is the same as what was asked for.
                    Some(Fate::Absent(_))
                        if ["no", "none", "false", "any", "/dev/null"]
                            .contains(&value.to_ascii_lowercase().as_str()) =>
                    {
                        Ok(())
                    }
                    Some(Fate::Absent(hint)) => Err(wrong("is not supported", hint)),
                    Some(Fate::Nothing(why)) => {
                        self.idle.push(format!("{name}: {why}"));
                        Ok(())
                    }
                    Some(Fate::Obeyed) | None => Err(unknown(&format!("{shown}{name}"))),
                };
            }
        }
        Ok(())
    }

    /// How the host's key is judged, where nothing else says it; `checking` is `host_key_checking`.
    pub fn host_key(&self, checking: bool) -> HostKeyCheck {
        let file = || self.known_hosts.clone().unwrap_or_default();
        match self.strict.as_deref() {
            _ if !checking => HostKeyCheck::Off,
            Some("no" | "off") => HostKeyCheck::Off,
            Some("accept-new") => HostKeyCheck::AcceptNew(file()),
            _ => HostKeyCheck::KnownHosts(file()),
        }
    }

    /// `StrictHostKeyChecking` as it was written, lower case.
    pub fn strict(&self) -> Option<&str> {
        self.strict.as_deref()
    }

    /// `UserKnownHostsFile`.
    pub fn known_hosts(&self) -> KnownHosts {
        self.known_hosts.clone().unwrap_or_default()
    }

    /// The hosts to go through, first hop first.
    pub fn jumps(&self) -> Vec<ProxyJump> {
        self.jumps.clone().unwrap_or_default()
    }

    /// Where the host really is: `HostName`, in which `%h` stands for the name.
    pub fn address(&self, name: String) -> String {
        match &self.host_name {
            Some(real) => real.replace("%h", &name).replace("%%", "%"),
            None => name,
        }
    }
}

/// Of two the first counts.
fn first<T>(slot: &mut Option<T>, value: T) {
    slot.get_or_insert(value);
}

fn unknown(what: &str) -> SshArgumentError {
    SshArgumentError {
        what: format!("`{what}`"),
        why: "is no option of ssh that is known here".to_owned(),
        hint: "correct it, or leave it out".to_owned(),
    }
}

fn jumps(list: &str) -> Option<Vec<ProxyJump>> {
    list.split(',')
        .map(|hop| {
            let hop = hop.trim().strip_prefix("ssh://").unwrap_or(hop.trim());
            let (user, place) = hop.rsplit_once('@').map_or((None, hop), |(u, p)| (Some(u.to_owned()), p));
            let (address, port) = match place.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
                Some((address, rest)) => (address, rest.strip_prefix(':')),
                None => match place.split_once(':') {
                    Some((address, port)) if !port.contains(':') => (address, Some(port)),
                    _ => (place, None),
                },
            };
            let port = port.map_or(Some(22), |port| port.parse().ok().filter(|port| *port > 0))?;
            let is_named = !address.is_empty() && user.as_deref() != Some("");
            is_named.then(|| ProxyJump { user, address: address.to_owned(), port, login: None })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> SshArguments {
        SshArguments::parse(text).expect(text)
    }

    fn hop(user: Option<&str>, address: &str, port: u16) -> ProxyJump {
        ProxyJump { user: user.map(str::to_owned), address: address.into(), port, login: None }
    }

    #[test]
    fn what_is_asked_for_is_read_however_it_is_written() {
        let twice =
            read("-o User=first -l second -p 2222 -oPort=1 -o 'HostName real.%h' -o ConnectTimeout=3");
        assert_eq!((twice.user.as_deref(), twice.port), (Some("first"), Some(2222)));
        assert_eq!(twice.address("a".into()), "real.a");
        assert_eq!(twice.connect_timeout, Some(Duration::from_secs(3)));
        for text in ["-Jme@a:2222,b", "-J me@a:2222,b", "-o ProxyJump=me@a:2222,b", "-CqJ ssh://me@a:2222,b"]
        {
            assert_eq!(read(text).jumps(), [hop(Some("me"), "a", 2222), hop(None, "b", 22)], "{text}");
        }
        assert_eq!(
            read("-J [fe80::1]:23,fe80::2").jumps(),
            [hop(None, "fe80::1", 23), hop(None, "fe80::2", 22)]
        );
        assert!(read("-o ProxyJump=none -J b").jumps().is_empty());
        let keys = read(
            "-i /a -o IdentityFile=/b -o IdentitiesOnly=yes -o ServerAliveInterval=5 -o ServerAliveCountMax=2",
        );
        assert_eq!(keys.options.keys, [PathBuf::from("/a"), PathBuf::from("/b")]);
        assert!(keys.options.keys_only && keys.options.alive_count == Some(2));
        assert_eq!(keys.options.alive_interval, Some(Duration::from_secs(5)));
        let only = read("-o PreferredAuthentications=publickey").options;
        assert_eq!((only.no_keys, only.no_password, only.no_questions), (false, true, true));
    }

    #[test]
    fn host_keys_are_judged_as_they_say() {
        for (text, checking, expected) in [
            ("", true, HostKeyCheck::KnownHosts(KnownHosts::OfUser)),
            ("", false, HostKeyCheck::Off),
            ("-o StrictHostKeyChecking=no", true, HostKeyCheck::Off),
            ("-o stricthostkeychecking=accept-new", true, HostKeyCheck::AcceptNew(KnownHosts::OfUser)),
            (
                "-o UserKnownHostsFile=\"/k\" -oStrictHostKeyChecking=accept-new",
                true,
                HostKeyCheck::AcceptNew(KnownHosts::File("/k".into())),
            ),
            (
                "-o UserKnownHostsFile=none",
                true,
                HostKeyCheck::KnownHosts(KnownHosts::File("/dev/null".into())),
            ),
        ] {
            assert_eq!(read(text).host_key(checking), expected, "{text}");
        }
    }

    #[test]
    fn what_changes_nothing_is_let_pass() {
        for text in [
            "-C -o ControlMaster=auto -o ControlPersist=60s -o ControlPath=/tmp/%h",
            "-o LogLevel=ERROR -q -vvv -tt -T -x -a",
            "-o ForwardAgent=no -o ProxyCommand=none -o GSSAPIAuthentication=no -F /dev/null",
            "-o BatchMode=yes -o UpdateHostKeys=no -o AddressFamily=any",
        ] {
            let arguments = SshArguments { idle: Vec::new(), ..read(text) };
            assert_eq!(arguments, SshArguments::default(), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_obeyed_is_refused_by_name() {
        for (text, named) in [
            ("-o ProxyCommand='ssh -W %h:%p gw'", "ProxyCommand"),
            ("-o ForwardAgent=yes", "ForwardAgent"),
            ("-A", "ForwardAgent"),
            ("-F ~/own", "-F"),
            ("-o KexAlgorithms=+x", "KexAlgorithms"),
            ("-L 1:a:2", "LocalForward"),
            ("-o CertificateFile=/c", "CertificateFile"),
            ("-6", "AddressFamily"),
            ("-o Prot=22", "Prot"),
            ("-o Port=0", "Port"),
            ("-o Port", "Port"),
            ("-o ServerAliveInterval=often", "ServerAliveInterval"),
            ("-o StrictHostKeyChecking=perhaps", "StrictHostKeyChecking"),
            ("-o UserKnownHostsFile='/a /b'", "UserKnownHostsFile"),
            ("-o IdentityFile=%d/key", "IdentityFile"),
            ("-J a:b:22:c,d@", "ProxyJump"),
            ("-Z", "-Z"),
            ("gateway", "gateway"),
            ("-o", "-o"),
            ("-o 'Port=1", "quote"),
        ] {
            let error = SshArguments::parse(text).expect_err(text);
            assert!(error.to_string().contains(named) && !error.hint.is_empty(), "{text}: {error}");
        }
    }
}
