//! What the files of OpenSSH's client say about a host and quaylab does not read: told, so that nobody takes it for done.

use std::path::{Path, PathBuf};

use super::ConnectionSpec;
use super::known_hosts::wildcard;
use crate::store::home;

/// The options that decide where a connection leads and who logs in.
const TOLD: [&str; 6] = ["ProxyCommand", "ProxyJump", "HostName", "Port", "User", "IdentityFile"];

/// The `Host` blocks of the user's and the machine's `ssh_config`.
#[derive(Debug, Clone, Default)]
pub struct SshConfig(Vec<Said>);

/// One option for the hosts that these patterns fit.
#[derive(Debug, Clone)]
struct Said {
    file: PathBuf,
    line: usize,
    hosts: Vec<String>,
    name: &'static str,
    value: String,
}

impl SshConfig {
    /// Reads the usual files; one that cannot be read says nothing.
    pub fn load() -> Self {
        let files = [home().map(|home| home.join(".ssh/config")), Some("/etc/ssh/ssh_config".into())];
        let said = files.into_iter().flatten().filter_map(|file| {
            let text = std::fs::read(&file).ok()?;
            Some(said(&file, &String::from_utf8_lossy(&text)))
        });
        Self(said.flatten().collect())
    }

    /// What they say about a host that its connection does not do.
    pub fn passed_over(&self, spec: &ConnectionSpec) -> Vec<String> {
        let mut told: Vec<String> = Vec::new();
        for said in &self.0 {
            let names = [spec.name.as_str(), spec.address.as_str()];
            if !names.iter().any(|name| fits(&said.hosts, name)) || is_done(said, spec) {
                continue;
            }
            told.push(format!(
                "{} {} of {}:{} is not used for {}",
                said.name,
                said.value,
                said.file.display(),
                said.line,
                spec.name
            ));
        }
        told
    }
}

fn is_done(said: &Said, spec: &ConnectionSpec) -> bool {
    match said.name {
        "ProxyCommand" | "ProxyJump" => {
            said.value.eq_ignore_ascii_case("none") || !spec.proxy_jump.is_empty()
        }
        "HostName" => said.value == "%h" || said.value == spec.address || spec.address != spec.name,
        "Port" => said.value == spec.port.to_string() || spec.port != 22,
        "User" => said.value == spec.user,
        // The usual keys are tried by themselves.
        _ => {
            spec.private_key_file.is_some()
                || !spec.ssh.keys.is_empty()
                || ["id_ed25519", "id_ecdsa", "id_rsa"].iter().any(|key| said.value.ends_with(key))
        }
    }
}

fn fits(patterns: &[String], host: &str) -> bool {
    let host = host.to_ascii_lowercase();
    let fits = |pattern: &str| wildcard(pattern.to_ascii_lowercase().as_bytes(), host.as_bytes());
    let (not, yes): (Vec<&String>, Vec<&String>) =
        patterns.iter().partition(|pattern| pattern.starts_with('!'));
    yes.iter().any(|pattern| fits(pattern))
        && !not.iter().any(|pattern| fits(pattern.trim_start_matches('!')))
}

fn said(file: &Path, text: &str) -> Vec<Said> {
    let mut hosts = vec!["*".to_owned()];
    let mut all = Vec::new();
    for (line, text) in text.lines().enumerate() {
        let text = text.trim();
        let Some((name, value)) = text.split_once(|c: char| c.is_whitespace() || c == '=') else { continue };
        let value = value.trim_start_matches(|c: char| c.is_whitespace() || c == '=').trim_matches('"');
        match name.to_ascii_lowercase().as_str() {
            "host" => {
                hosts = value.split_whitespace().map(|host| host.trim_matches('"').to_owned()).collect();
            }
            // What it depends on is more than a name.
            "match" => hosts = Vec::new(),
            lower => {
                let told = TOLD.into_iter().find(|told| told.eq_ignore_ascii_case(lower));
                all.extend(told.map(|name| Said {
                    file: file.to_owned(),
                    line: line + 1,
                    hosts: hosts.clone(),
                    name,
                    value: value.to_owned(),
                }));
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ConnectionKind, ProxyJump};

    #[test]
    fn what_a_file_says_of_a_host_and_is_not_done_is_named() {
        let text = "# mine\nUser always\nHost db* !db9\n  ProxyCommand ssh -W %h:%p gw\n  Port=2222\n\
                    Host web\nproxyjump gw\nIdentityFile ~/.ssh/id_rsa\nMatch user x\nHostName other\n";
        let config = SshConfig(said(Path::new("/c"), text));
        let spec = |name: &str| ConnectionSpec {
            kind: ConnectionKind::Ssh,
            address: name.to_owned(),
            user: "me".to_owned(),
            ..ConnectionSpec::local(name)
        };
        let mine = "User always of /c:2 is not used for";
        assert_eq!(
            config.passed_over(&spec("db1")),
            [
                format!("{mine} db1"),
                "ProxyCommand ssh -W %h:%p gw of /c:4 is not used for db1".to_owned(),
                "Port 2222 of /c:5 is not used for db1".to_owned(),
            ]
        );
        assert_eq!(config.passed_over(&spec("db9")), [format!("{mine} db9")]);
        let hop = ProxyJump { user: None, address: "gw".into(), port: 22, login: None };
        let jumping = ConnectionSpec { proxy_jump: vec![hop], user: "always".into(), ..spec("web") };
        assert!(config.passed_over(&jumping).is_empty());
        assert_eq!(config.passed_over(&spec("web")).len(), 2);
    }
}
