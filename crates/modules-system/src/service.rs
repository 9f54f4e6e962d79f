use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::sections::{Sections, probe, script};
use super::systemd::{ServiceState, Systemd, Unit};
use crate::host::{Reply, Script, quote};
use crate::value::Map;
use crate::{Diff, ModuleError, Plan, RunMode, ShellResource};

/// A service under whichever init system the host runs: systemd, `OpenRC` or init scripts.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Service {
    #[serde(alias = "service")]
    name: String,
    state: Option<ServiceState>,
    /// Whether it starts at boot.
    enabled: Option<bool>,
    /// Seconds between stop and start of a restart, for init scripts.
    sleep: Option<u32>,
    /// Further arguments for an init script.
    #[serde(default, alias = "args")]
    arguments: String,
    /// For `OpenRC`; default `default`.
    runlevel: Option<String>,
    #[serde(default)]
    r#use: Manager,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Manager {
    #[default]
    Auto,
    Systemd,
    #[serde(alias = "sysvinit", alias = "openrc")]
    Service,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Running {
    Systemd(Unit),
    Script { there: bool, runs: bool, enabled: bool },
}

impl Service {
    fn as_systemd(&self) -> Systemd {
        Systemd {
            name: Some(self.name.clone()),
            state: self.state,
            enabled: self.enabled,
            ..Systemd::default()
        }
    }

    fn script_steps(
        &self,
        there: bool,
        runs: bool,
        enabled: bool,
        mode: RunMode,
    ) -> Result<Plan, ModuleError> {
        let name = quote(&self.name);
        let arguments = self.arguments.split_whitespace().map(quote).collect::<Vec<_>>().join(" ");
        let call = |verb: &str| {
            format!(
                "s={name}; if has service; then service \"$s\" {verb} {arguments}; elif has rc-service; then rc-service \"$s\" {verb}; else /etc/init.d/\"$s\" {verb} {arguments}; fi </dev/null"
            )
        };
        if !there && !mode.check {
            return Err(ModuleError::failed(format!(
                "Could not find the requested service {}: host",
                self.name
            ))
            .hint("is its package installed?"));
        }
        let (mut texts, mut before, mut after) = (Vec::new(), Vec::new(), Vec::new());
        match self.enabled {
            Some(wanted) if wanted != enabled => {
                let (sysv, chkconfig, openrc) =
                    if wanted { ("defaults", "on", "add") } else { ("remove", "off", "del") };
                let runlevel = quote(self.runlevel.as_deref().unwrap_or("default"));
                let verb = if wanted { "enable" } else { "disable" };
                texts.push(format!(
                    "if has rc-update; then rc-update {openrc} {name} {runlevel}
elif has chkconfig; then chkconfig {name} {chkconfig}
else update-rc.d {name} {sysv} && {{ update-rc.d {name} {verb} 2>/dev/null || :; }}; fi"
                ));
                before.push(if enabled { "enabled" } else { "disabled" });
                after.push(if wanted { "enabled" } else { "disabled" });
            }
            _ => {}
        }
        let verb = match self.state {
            Some(ServiceState::Started) if !runs => Some(("start", "started")),
            Some(ServiceState::Stopped) if runs => Some(("stop", "stopped")),
            Some(ServiceState::Restarted) if runs => Some(("restart", "restarted")),
            Some(ServiceState::Reloaded) if runs => Some(("reload", "reloaded")),
            Some(ServiceState::Restarted | ServiceState::Reloaded) => Some(("start", "started")),
            _ => None,
        };
        if let Some((verb, becomes)) = verb {
            texts.push(match (verb, self.sleep) {
                ("restart", Some(sleep)) => {
                    format!("({}); sleep {sleep}; ({})", call("stop"), call("start"))
                }
                _ => call(verb),
            });
            before.push(if runs { "started" } else { "stopped" });
            after.push(becomes);
        }
        if texts.is_empty() {
            return Ok(Plan::default());
        }
        let diff = Diff::new(&self.name, before.join("\n") + "\n", after.join("\n") + "\n");
        Ok(Plan::new(texts.iter().map(|t| script(t)).collect(), vec![diff]))
    }
}

impl ShellResource for Service {
    const NAME: &'static str = "service";
    const FQCN: &'static [&'static str] =
        &["ansible.builtin.service", "ansible.legacy.service", "sysvinit", "ansible.builtin.sysvinit"];
    const LOOKS_AGAIN: bool = true;
    type Observed = Running;

    fn validate(&self) -> Result<(), ModuleError> {
        if self.state.is_none() && self.enabled.is_none() {
            return Err(ModuleError::Arguments("nothing is asked for: give state or enabled".into()));
        }
        if self.name.contains('/') || self.name.starts_with('-') {
            return Err(ModuleError::Arguments(format!("{:?} is not a service's name", self.name)));
        }
        Ok(())
    }

    fn probe(&self) -> Script {
        let detect = match self.r#use {
            Manager::Auto => "[ -d /run/systemd/system ] && has systemctl",
            Manager::Systemd => ":",
            Manager::Service => "false",
        };
        probe(&format!(
            "if {detect}; then
mark systemd
{systemd}
else
s={name}
s=${{s%.service}}
mark there; [ -e /etc/init.d/\"$s\" ] && echo 1
mark runs
if has service; then service \"$s\" status; elif has rc-service; then rc-service \"$s\" status; else /etc/init.d/\"$s\" status; fi >/dev/null 2>&1 </dev/null && echo 1
mark enabled
for f in /etc/rc[2345].d/S??\"$s\" /etc/rc.d/rc[2345].d/S??\"$s\" /etc/runlevels/*/\"$s\"; do [ -e \"$f\" ] && echo 1; done
fi",
            systemd = self.as_systemd().probe_text(),
            name = quote(&self.name)
        ))
    }

    fn read(&self, reply: &Reply) -> Result<Running, ModuleError> {
        let sections = Sections::read(reply)?;
        Ok(if sections.has("systemd") {
            Running::Systemd(Unit::read_sections(&sections))
        } else {
            let yes = |name: &str| !sections.text(name).is_empty();
            Running::Script { there: yes("there"), runs: yes("runs"), enabled: yes("enabled") }
        })
    }

    fn plan(&self, now: &Running, mode: RunMode) -> Result<Plan, ModuleError> {
        match now {
            Running::Systemd(unit) => self.as_systemd().plan(unit, mode),
            Running::Script { there, runs, enabled } => self.script_steps(*there, *runs, *enabled, mode),
        }
    }

    fn result(&self, now: &Running) -> Map {
        match now {
            Running::Systemd(unit) => self.as_systemd().result(unit),
            Running::Script { runs, enabled, .. } => {
                let state = if *runs { "started" } else { "stopped" };
                [("name", json!(self.name)), ("state", json!(state)), ("enabled", json!(enabled))]
                    .map(|(k, v)| (k.to_owned(), v))
                    .into_iter()
                    .collect()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::sections::testing::{answer, args, told};
    use super::*;

    #[test]
    fn init_scripts_are_called_when_needed() {
        for (arguments, observed, steps) in [
            (json!({"name": "x", "state": "started"}), [("there", "1"), ("runs", "1"), ("enabled", "")], 0),
            (
                json!({"name": "x", "state": "started", "enabled": true}),
                [("there", "1"), ("runs", ""), ("enabled", "")],
                2,
            ),
            (json!({"name": "x", "enabled": false}), [("there", "1"), ("runs", ""), ("enabled", "1\n1")], 1),
        ] {
            let service: Service = args(arguments.clone());
            let now = service.read(&answer(&observed)).expect("readable");
            assert_eq!(
                told(&service.plan(&now, RunMode::default()).expect("a plan").steps).len(),
                steps,
                "{arguments}"
            );
        }
    }

    #[test]
    fn systemd_is_preferred() {
        let service: Service = args(json!({"name": "x", "state": "stopped"}));
        let now = service
            .read(&answer(&[
                ("systemd", ""),
                ("show", "LoadState=loaded\nActiveState=active"),
                ("enabled", ""),
            ]))
            .expect("readable");
        assert!(
            told(&service.plan(&now, RunMode::default()).expect("a plan").steps)[0]
                .contains("systemctl stop -- x")
        );
    }
}
