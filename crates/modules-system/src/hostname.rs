use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::sections::{Sections, probe, run};
use crate::host::{Reply, Script, Step};
use crate::value::Map;
use crate::{Diff, ModuleError, Plan, RunMode, ShellResource};

/// The host's own name, now and after a reboot.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Hostname {
    name: String,
    /// Accepted for compatibility; the way is found on the host.
    #[expect(dead_code, reason = "Ansible's playbooks give it")]
    r#use: Option<String>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Names {
    current: String,
    permanent: String,
    systemd: bool,
}

impl ShellResource for Hostname {
    const NAME: &'static str = "hostname";
    const FQCN: &'static [&'static str] = &["ansible.builtin.hostname"];
    type Observed = Names;

    fn validate(&self) -> Result<(), ModuleError> {
        let label = |l: &str| {
            !l.is_empty()
                && l.len() <= 63
                && !l.starts_with('-')
                && !l.ends_with('-')
                && l.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
        };
        if self.name.len() > 64 || !self.name.split('.').all(label) {
            return Err(ModuleError::Arguments(format!("{:?} cannot be a host's name", self.name)).hint(
                "letters, digits and dashes, in parts of at most 63 and 64 altogether, with dots between",
            ));
        }
        Ok(())
    }

    fn probe(&self) -> Script {
        probe(
            "mark current; cat /proc/sys/kernel/hostname 2>/dev/null || hostname
mark permanent; cat /etc/hostname 2>/dev/null
mark systemd; [ -d /run/systemd/system ] && has hostnamectl && echo 1",
        )
    }

    fn read(&self, reply: &Reply) -> Result<Names, ModuleError> {
        let sections = Sections::read(reply)?;
        let permanent = sections.lines("permanent").find(|l| !l.starts_with('#')).unwrap_or("").trim();
        Ok(Names {
            current: sections.text("current").to_owned(),
            permanent: permanent.to_owned(),
            systemd: !sections.text("systemd").is_empty(),
        })
    }

    fn plan(&self, now: &Names, _: RunMode) -> Result<Plan, ModuleError> {
        let mut plan = Plan::default();
        let (current, permanent) = (now.current == self.name, now.permanent == self.name);
        if current && permanent {
            return Ok(plan);
        }
        if now.systemd {
            plan.steps.push(run(["hostnamectl", "set-hostname", &self.name]));
        } else {
            if !permanent {
                plan.steps.push(Step::write_file("/etc/hostname", format!("{}\n", self.name), None));
            }
            if !current {
                plan.steps.push(run(["hostname", &self.name]));
            }
        }
        let before = format!("hostname = {}\npermanent = {}\n", now.current, now.permanent);
        let after = format!("hostname = {0}\npermanent = {0}\n", self.name);
        plan.diff.push(Diff::new("hostname", before, after));
        Ok(plan)
    }

    fn result(&self, _now: &Names) -> Map {
        [("name".to_owned(), json!(self.name))].into_iter().collect()
    }

    fn facts(&self) -> Map {
        let (short, domain) = self.name.split_once('.').unwrap_or((&self.name, ""));
        [
            ("ansible_hostname", short),
            ("ansible_nodename", &self.name),
            ("ansible_fqdn", &self.name),
            ("ansible_domain", domain),
        ]
        .map(|(k, v)| (k.to_owned(), json!(v)))
        .into_iter()
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::sections::testing::{answer, args, told};
    use super::*;

    #[test]
    fn plans() {
        for (observed, expected) in [
            ([("current", "a.b"), ("permanent", "a.b"), ("systemd", "")], vec![]),
            ([("current", "x"), ("permanent", "a.b"), ("systemd", "")], vec!["hostname a.b"]),
            ([("current", "x"), ("permanent", "x"), ("systemd", "1")], vec!["hostnamectl set-hostname a.b"]),
            (
                [("current", "x"), ("permanent", ""), ("systemd", "")],
                vec!["write /etc/hostname: a.b\n", "hostname a.b"],
            ),
        ] {
            let hostname: Hostname = args(json!({"name": "a.b"}));
            let now = hostname.read(&answer(&observed)).expect("readable");
            assert_eq!(told(&hostname.plan(&now, RunMode::default()).expect("a plan").steps), expected);
        }
    }

    #[test]
    fn names_are_checked() {
        for (name, good) in [("quay.quaylab.lan", true), ("a..b", false), ("-a", false), ("a b", false)] {
            assert_eq!(args::<Hostname>(json!({ "name": name })).validate().is_ok(), good, "{name}");
        }
    }
}
