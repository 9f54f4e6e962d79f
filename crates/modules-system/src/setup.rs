use std::collections::BTreeSet;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::sections::{Sections, probe};
use super::{facts_hardware, facts_network, facts_platform};
use crate::host::{Script, quote};
use crate::value::{Map, Value};
use crate::{Action, CheckMode, ModuleError, Outcome, RemotePath, TaskContext, Touch};

const FACTS: &str = include_str!("facts.sh");

/// Facts about the host, found by one `sh` script; the host needs no Python.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Setup {
    /// `all`, `min`, `network`, `hardware`, `virtual`, or one of them after a `!`.
    gather_subset: Vec<String>,
    /// Seconds to wait for the sizes of mounted file systems; default 10.
    gather_timeout: Option<u64>,
    /// Only facts whose names match one of these shell patterns.
    filter: Vec<String>,
    /// Folder of local facts (`*.fact`), default `/etc/ansible/facts.d`.
    fact_path: Option<RemotePath>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Minimal,
    Network,
    Hardware,
    Virtual,
}

const ALL: [Part; 4] = [Part::Minimal, Part::Network, Part::Hardware, Part::Virtual];

impl Part {
    fn word(self) -> &'static str {
        match self {
            Self::Minimal => "minimal",
            Self::Network => "network",
            Self::Hardware => "hardware",
            Self::Virtual => "virtual",
        }
    }

    /// The part that a subset's name means, or in which Ansible's smaller subset is found.
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "network" | "interfaces" | "default_ipv4" | "default_ipv6" | "all_ipv4_addresses"
            | "all_ipv6_addresses" => Self::Network,
            "hardware" | "processor" | "memory" | "mounts" | "devices" | "dmi" | "lvm" | "uptime_seconds" => {
                Self::Hardware
            }
            "virtual" | "virtualization_type" | "virtualization_role" => Self::Virtual,
            "min"
            | "distribution"
            | "platform"
            | "user"
            | "user_id"
            | "env"
            | "date_time"
            | "dns"
            | "service_mgr"
            | "pkg_mgr"
            | "selinux"
            | "local"
            | "cmdline"
            | "proc_cmdline"
            | "machine"
            | "machine_id"
            | "python"
            | "python_version"
            | "system"
            | "kernel"
            | "kernel_version"
            | "ssh_pub_keys"
            | "ssh_host_pub_keys"
            | "lsb"
            | "apparmor"
            | "fips"
            | "caps"
            | "system_capabilities"
            | "architecture"
            | "hostname"
            | "fqdn"
            | "nodename"
            | "distribution_version"
            | "distribution_release"
            | "distribution_major_version"
            | "os_family"
            | "loadavg"
            | "systemd"
            | "fibre_channel_wwn"
            | "iscsi"
            | "nvme" => Self::Minimal,
            _ => return None,
        })
    }
}

/// Which parts the subset asks for; the minimal one comes along unless it is refused.
fn parts(subset: &[String]) -> Result<BTreeSet<Part>, ModuleError> {
    let mut wanted: BTreeSet<Part> = BTreeSet::new();
    let mut refused: BTreeSet<Part> = BTreeSet::new();
    let mut named = false;
    for word in subset {
        match word.strip_prefix('!') {
            Some("all") => refused.extend([Part::Network, Part::Hardware, Part::Virtual]),
            Some("facter" | "ohai") => {}
            Some(name) => {
                refused.insert(Part::named(name).ok_or_else(|| unknown(word))?);
            }
            None if word == "all" => {
                named = true;
                wanted.extend(ALL);
            }
            None if word == "facter" || word == "ohai" => named = true,
            None => {
                named = true;
                wanted.insert(Part::named(word).ok_or_else(|| unknown(word))?);
            }
        }
    }
    if !named {
        wanted.extend(ALL);
    }
    wanted.insert(Part::Minimal);
    // What is named wins over `!all`.
    let kept = |part: &Part| {
        !refused.contains(part) || subset.iter().any(|w| !w.starts_with('!') && Part::named(w) == Some(*part))
    };
    wanted.retain(kept);
    Ok(wanted)
}

fn unknown(word: &str) -> ModuleError {
    ModuleError::Arguments(format!("there is no subset of facts called {word:?}"))
        .hint("the subsets are all, min, network, hardware and virtual, each also after a !")
}

/// Whether a shell pattern (`*`, `?`, `[...]`) matches the whole name.
pub(super) fn matches(pattern: &str, name: &str) -> bool {
    fn rest(pattern: &[char], name: &[char]) -> bool {
        let Some((first, more)) = pattern.split_first() else { return name.is_empty() };
        match first {
            '*' => (0..=name.len()).any(|i| rest(more, &name[i..])),
            '?' => name.split_first().is_some_and(|(_, n)| rest(more, n)),
            '[' => {
                // A bracket right after the opening one (or its !) belongs to the set.
                let negated = more.first() == Some(&'!');
                let from = usize::from(negated);
                let end = more.iter().skip(from + 1).position(|c| *c == ']').map(|i| i + from + 1);
                match (end, name.split_first()) {
                    (Some(end), Some((c, n))) => {
                        in_set(&more[from..end], *c) != negated && rest(&more[end + 1..], n)
                    }
                    (None, Some(('[', n))) => rest(more, n),
                    _ => false,
                }
            }
            c => name.split_first().is_some_and(|(n, others)| n == c && rest(more, others)),
        }
    }
    fn in_set(set: &[char], c: char) -> bool {
        let mut i = 0;
        while let Some(low) = set.get(i) {
            if let (Some('-'), Some(high)) = (set.get(i + 1), set.get(i + 2)) {
                if (*low..=*high).contains(&c) {
                    return true;
                }
                i += 3;
            } else {
                if *low == c {
                    return true;
                }
                i += 1;
            }
        }
        false
    }
    rest(&pattern.chars().collect::<Vec<_>>(), &name.chars().collect::<Vec<_>>())
}

impl Setup {
    fn keeps(&self, name: &str) -> bool {
        self.filter.is_empty()
            || self.filter.iter().any(|pattern| {
                pattern == "*"
                    || matches(pattern, name)
                    || name.strip_prefix("ansible_").is_some_and(|short| matches(pattern, short))
            })
    }

    fn gathered(&self, sections: &Sections, locals: &[String], wanted: &BTreeSet<Part>) -> Map {
        let mut found = Map::new();
        for part in wanted {
            found.extend(match part {
                Part::Minimal => facts_platform::facts(sections, locals),
                Part::Network => facts_network::facts(sections),
                Part::Hardware => facts_hardware::hardware(sections),
                Part::Virtual => facts_hardware::virtual_facts(sections),
            });
        }
        let subset: Vec<&str> = if self.gather_subset.is_empty() {
            vec!["all"]
        } else {
            self.gather_subset.iter().map(String::as_str).collect()
        };
        let mut facts: Map = found
            .into_iter()
            .map(|(name, value)| (format!("ansible_{name}"), value))
            .filter(|(name, _)| self.keeps(name))
            .collect();
        for (name, value) in [("gather_subset", json!(subset)), ("module_setup", Value::Bool(true))] {
            if self.keeps(name) {
                facts.insert(name.into(), value);
            }
        }
        facts
    }
}

#[async_trait]
impl Action for Setup {
    const NAME: &'static str = "setup";
    const FQCN: &'static [&'static str] =
        &["ansible.builtin.setup", "ansible.legacy.setup", "gather_facts", "ansible.builtin.gather_facts"];
    const CHECK: CheckMode = CheckMode::Runs;
    const TOUCH: Touch = Touch::Nothing;

    fn validate(&self) -> Result<(), ModuleError> {
        parts(&self.gather_subset).map(|_| ())
    }

    async fn run(self, cx: &TaskContext) -> Result<Outcome, ModuleError> {
        let wanted = parts(&self.gather_subset)?;
        let words = wanted.iter().map(|p| p.word()).collect::<Vec<_>>().join(" ");
        let local = self.fact_path.as_ref().map_or("/etc/ansible/facts.d", RemotePath::as_str);
        let mut script: Script = probe(&format!(
            "parts={}; local_facts={}; wait={}\n{FACTS}",
            quote(&words),
            quote(local),
            self.gather_timeout.unwrap_or(10)
        ));
        script.environment.extend(cx.environment.iter().cloned());
        let reply = cx.shell.probe(&script).await?;
        let sections = Sections::read(&reply)?;
        let locals = sections.named("local:");
        Ok(Outcome { facts: self.gathered(&sections, &locals, &wanted), ..Outcome::default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subsets() {
        use Part::{Hardware, Minimal, Network, Virtual};
        for (words, expected) in [
            (vec![], Some(vec![Minimal, Network, Hardware, Virtual])),
            (vec!["all"], Some(vec![Minimal, Network, Hardware, Virtual])),
            (vec!["!all"], Some(vec![Minimal])),
            (vec!["!all", "!min"], Some(vec![])),
            (vec!["!all", "network"], Some(vec![Minimal, Network])),
            (vec!["min"], Some(vec![Minimal])),
            (vec!["!hardware"], Some(vec![Minimal, Network, Virtual])),
            (vec!["!min", "virtual"], Some(vec![Virtual])),
            (vec!["nonsense"], None),
        ] {
            let subset: Vec<String> = words.iter().map(|w| (*w).to_owned()).collect();
            let got = parts(&subset).ok().map(|p| p.into_iter().collect::<Vec<_>>());
            assert_eq!(got, expected, "{words:?}");
        }
    }

    #[test]
    fn shell_patterns() {
        for (pattern, name, expected) in [
            ("ansible_*_mb", "ansible_memtotal_mb", true),
            ("eth?", "eth0", true),
            ("eth?", "eth10", false),
            ("eth[0-3]", "eth2", true),
            ("eth[!0-3]", "eth2", false),
            ("[]x]", "]", true),
            ("[", "[", true),
            ("*", "", true),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }
}
