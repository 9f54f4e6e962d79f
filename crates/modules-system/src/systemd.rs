use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::sections::{Sections, probe, script};
use crate::host::{Reply, Script, Step, quote};
use crate::value::{Map, Value};
use crate::{Diff, ModuleError, Plan, RunMode, ShellResource, Upkeep};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum ServiceState {
    #[serde(alias = "running")]
    Started,
    Stopped,
    Restarted,
    Reloaded,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum ManagerScope {
    #[default]
    System,
    User,
    Global,
}

/// A systemd unit.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[expect(clippy::struct_excessive_bools, reason = "the arguments are Ansible's own flags")]
pub(super) struct Systemd {
    /// The unit; without a suffix it is a service.
    #[serde(alias = "service", alias = "unit")]
    pub(super) name: Option<String>,
    pub(super) state: Option<ServiceState>,
    /// Whether it starts at boot.
    pub(super) enabled: Option<bool>,
    pub(super) masked: Option<bool>,
    /// Replace conflicting links when enabling.
    pub(super) force: bool,
    /// Read the unit files anew first.
    #[serde(alias = "daemon-reload")]
    pub(super) daemon_reload: bool,
    #[serde(alias = "daemon-reexec")]
    pub(super) daemon_reexec: bool,
    pub(super) scope: ManagerScope,
    pub(super) no_block: bool,
}

/// What systemd says of the unit.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Unit {
    status: Map,
    /// `systemctl is-enabled`'s word.
    enablement: String,
}

impl Unit {
    fn property(&self, name: &str) -> &str {
        self.status.get(name).and_then(Value::as_str).unwrap_or("")
    }

    fn is_there(&self) -> bool {
        !matches!(self.property("LoadState"), "" | "not-found") || !self.enablement.is_empty()
    }

    fn runs(&self) -> bool {
        matches!(self.property("ActiveState"), "active" | "activating" | "reloading")
    }

    /// `None` where there is nothing to enable (static, generated, transient units).
    fn enabled(&self) -> Option<bool> {
        match self.enablement.as_str() {
            "enabled" | "enabled-runtime" | "alias" => Some(true),
            "static" | "generated" | "transient" => None,
            _ => Some(false),
        }
    }

    fn masked(&self) -> bool {
        self.enablement.starts_with("masked")
    }

    pub(super) fn read_sections(sections: &Sections) -> Self {
        let status = sections
            .lines("show")
            .filter_map(|l| l.split_once('='))
            .map(|(k, v)| (k.to_owned(), Value::from(v)))
            .collect();
        Self { status, enablement: sections.text("enabled").to_owned() }
    }
}

impl Systemd {
    fn systemctl(&self) -> String {
        let scope = match self.scope {
            ManagerScope::System => "",
            ManagerScope::User => " --user",
            ManagerScope::Global => " --global",
        };
        format!("systemctl{scope}")
    }

    /// What a user's own manager needs to be found over a plain connection.
    fn preamble(&self) -> &'static str {
        if self.scope == ManagerScope::User {
            "XDG_RUNTIME_DIR=${XDG_RUNTIME_DIR:-/run/user/$(id -u)}; export XDG_RUNTIME_DIR\n"
        } else {
            ""
        }
    }

    /// The part of the probe that is about the unit, for `service` as well.
    pub(super) fn probe_text(&self) -> String {
        let Some(name) = self.name.as_deref().map(quote) else { return String::new() };
        let systemctl = self.systemctl();
        format!(
            "{}mark show; {systemctl} show --no-pager -- {name} 2>/dev/null
mark enabled; {systemctl} is-enabled -- {name} 2>/dev/null
",
            self.preamble()
        )
    }

    fn act(&self, words: &str, name: &str) -> Step {
        // What a failed unit last said is worth more than systemctl's advice to go and look for it.
        script(&format!(
            "{preamble}{systemctl} {words} -- {name} || {{ r=$?
  {systemctl} status --no-pager --full --lines=20 -- {name} >&2
  exit $r; }}",
            preamble = self.preamble(),
            systemctl = self.systemctl(),
            name = quote(name)
        ))
    }
}

impl ShellResource for Systemd {
    const NAME: &'static str = "systemd";
    const FQCN: &'static [&'static str] = &[
        "ansible.builtin.systemd",
        "systemd_service",
        "ansible.builtin.systemd_service",
        "ansible.legacy.systemd",
    ];
    const LOOKS_AGAIN: bool = true;
    type Observed = Unit;

    fn validate(&self) -> Result<(), ModuleError> {
        let wanted = self.state.is_some() || self.enabled.is_some() || self.masked.is_some();
        match &self.name {
            None if wanted => Err(ModuleError::Arguments("state, enabled and masked need a name".into())),
            None if !self.daemon_reload && !self.daemon_reexec => {
                Err(ModuleError::Arguments("nothing is asked for: give a name or daemon_reload".into()))
            }
            Some(name) if name.contains(['*', '?', '[']) => {
                Err(ModuleError::Arguments(format!("{name:?} is a pattern, and this takes one unit")))
            }
            _ => Ok(()),
        }
    }

    fn probe(&self) -> Script {
        probe(&format!(
            "has systemctl || {{ echo 'this host has no systemctl; the service module takes other init systems as well' >&2; exit 127; }}\n{}",
            self.probe_text()
        ))
    }

    fn read(&self, reply: &Reply) -> Result<Unit, ModuleError> {
        Ok(Unit::read_sections(&Sections::read(reply)?))
    }

    fn plan(&self, now: &Unit, mode: RunMode) -> Result<Plan, ModuleError> {
        let Some(name) = self.name.as_deref() else { return Ok(Plan::default()) };
        let asked = self.state.is_some() || self.enabled == Some(true) || self.masked == Some(false);
        if !now.is_there() && asked && !mode.check {
            return Err(ModuleError::failed(format!("Could not find the requested service {name}: host"))
                .hint(
                    "is its package installed, and was daemon_reload done after its unit file was written?",
                ));
        }
        let mut plan = Plan::default();
        let (mut before, mut after) = (String::new(), String::new());
        let mut act = |step: Step, was: &str, becomes: &str| {
            plan.steps.push(step);
            before.extend([was, "\n"]);
            after.extend([becomes, "\n"]);
        };
        let unmasks = self.masked == Some(false) && now.masked();
        if unmasks {
            act(self.act("unmask", name), "masked", "unmasked");
        }
        let force = if self.force { " --force" } else { "" };
        match (self.enabled, now.enabled()) {
            (Some(true), Some(false)) if !now.masked() || unmasks => {
                act(self.act(&format!("enable{force}"), name), "disabled", "enabled");
            }
            (Some(true), Some(false)) => {
                return Err(ModuleError::failed(format!("{name} is masked, so it cannot be enabled"))
                    .hint("masked: false unmasks it first"));
            }
            (Some(false), Some(true)) => act(self.act("disable", name), "enabled", "disabled"),
            _ => {}
        }
        let block = if self.no_block { " --no-block" } else { "" };
        let runs = now.runs();
        match self.state {
            Some(ServiceState::Started) if !runs => {
                act(self.act(&format!("start{block}"), name), "stopped", "started");
            }
            Some(ServiceState::Stopped) if runs || now.property("ActiveState") == "deactivating" => {
                act(self.act(&format!("stop{block}"), name), "started", "stopped");
            }
            Some(ServiceState::Restarted) => {
                act(
                    self.act(&format!("restart{block}"), name),
                    if runs { "started" } else { "stopped" },
                    "restarted",
                );
            }
            Some(ServiceState::Reloaded) if runs => {
                act(self.act(&format!("reload{block}"), name), "started", "reloaded");
            }
            Some(ServiceState::Reloaded) => {
                act(self.act(&format!("start{block}"), name), "stopped", "started");
            }
            _ => {}
        }
        if self.masked == Some(true) && !now.masked() {
            act(self.act("mask", name), "unmasked", "masked");
        }
        if !plan.steps.is_empty() {
            plan.diff.push(Diff::new(name, before, after));
        }
        Ok(plan)
    }

    fn result(&self, now: &Unit) -> Map {
        let mut result = Map::new();
        if let Some(name) = &self.name {
            result.insert("name".into(), json!(name));
            result.insert("state".into(), json!(if now.runs() { "started" } else { "stopped" }));
            if let Some(enabled) = now.enabled() {
                result.insert("enabled".into(), json!(enabled));
            }
            result.insert("status".into(), Value::Object(now.status.clone()));
        }
        result
    }

    fn upkeep(&self, _now: &Unit) -> Upkeep {
        [(self.daemon_reexec, "daemon-reexec"), (self.daemon_reload, "daemon-reload")]
            .into_iter()
            .filter(|(wanted, _)| *wanted)
            .map(|(_, verb)| script(&format!("{}{} {verb}", self.preamble(), self.systemctl())))
            .collect::<Vec<_>>()
            .into()
    }
}

#[cfg(test)]
mod tests {
    use super::super::sections::testing::{answer, args, told};
    use super::*;

    fn verbs(steps: &[Step]) -> Vec<String> {
        told(steps)
            .iter()
            .map(|s| s.trim_start_matches("script: ").split(" || ").next().unwrap_or("").to_owned())
            .collect()
    }

    #[test]
    fn plans_follow_the_units_state() {
        const ACTIVE: (&str, &str) = ("show", "LoadState=loaded\nActiveState=active");
        const DEAD: (&str, &str) = ("show", "LoadState=loaded\nActiveState=inactive");
        for (arguments, observed, expected) in [
            (
                json!({"name": "x", "state": "started", "enabled": true}),
                [ACTIVE, ("enabled", "enabled")],
                vec![],
            ),
            (
                json!({"name": "x", "state": "started", "enabled": true}),
                [DEAD, ("enabled", "disabled")],
                vec!["systemctl enable -- x", "systemctl start -- x"],
            ),
            (json!({"name": "x", "enabled": false}), [DEAD, ("enabled", "static")], vec![]),
            (
                json!({"name": "x", "state": "reloaded"}),
                [DEAD, ("enabled", "")],
                vec!["systemctl start -- x"],
            ),
            (
                json!({"name": "x", "state": "restarted", "no_block": true}),
                [ACTIVE, ("enabled", "")],
                vec!["systemctl restart --no-block -- x"],
            ),
            (
                json!({"name": "x", "masked": false, "enabled": true, "force": true}),
                [("show", "LoadState=masked\nActiveState=inactive"), ("enabled", "masked")],
                vec!["systemctl unmask -- x", "systemctl enable --force -- x"],
            ),
            (
                json!({"name": "x", "masked": true}),
                [DEAD, ("enabled", "disabled")],
                vec!["systemctl mask -- x"],
            ),
            (
                json!({"name": "x", "state": "stopped"}),
                [("show", "LoadState=loaded\nActiveState=deactivating"), ("enabled", "")],
                vec!["systemctl stop -- x"],
            ),
        ] {
            let unit: Systemd = args(arguments.clone());
            unit.validate().expect("valid");
            let now = unit.read(&answer(&observed)).expect("readable");
            assert_eq!(
                verbs(&unit.plan(&now, RunMode::default()).expect("a plan").steps),
                expected,
                "{arguments}"
            );
        }
    }

    #[test]
    fn a_missing_unit_is_an_error_except_in_check_mode() {
        let unit: Systemd = args(json!({"name": "x", "state": "started"}));
        let now = unit.read(&answer(&[("show", "LoadState=not-found"), ("enabled", "")])).expect("readable");
        assert!(unit.plan(&now, RunMode::default()).is_err());
        let check = RunMode { check: true, ..RunMode::default() };
        assert_eq!(verbs(&unit.plan(&now, check).expect("foreseen").steps), ["systemctl start -- x"]);
    }
}
