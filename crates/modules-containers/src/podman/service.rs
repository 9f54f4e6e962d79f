use std::collections::HashMap;

use crate::host::{Script, Secret, quote};
use crate::last_words::last_lines;
use crate::{ModuleError, TaskContext};

/// The service that systemd made of a container's unit. Its container is gone once it has ended; what it wrote is in the
/// journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    unit: String,
    active: String,
    sub: String,
    invocation: String,
    /// With what its last process ended.
    pub code: i64,
    /// How often systemd has started it again by itself.
    pub restarts: i64,
}

impl Service {
    /// The service of a container; `None` where no unit brings that container up.
    pub async fn of(cx: &TaskContext, container: &str) -> Result<Option<Self>, ModuleError> {
        let unit = format!("{container}.service");
        let shown = "LoadState,ActiveState,SubState,InvocationID,ExecMainStatus,NRestarts,SourcePath";
        let script = Script::new(format!("systemctl show --property={shown} -- {}", quote(&unit)));
        // Not a probe: what systemd said before is old.
        let reply = cx.shell.run(&script).await?;
        Ok(Self::read(unit, &reply.out()))
    }

    fn read(unit: String, shown: &str) -> Option<Self> {
        let values: HashMap<&str, &str> = shown.lines().filter_map(|l| l.split_once('=')).collect();
        let value = |name: &str| values.get(name).copied().unwrap_or_default().to_owned();
        let number = |name: &str| value(name).parse().unwrap_or(0);
        // A service of another origin is none of this container's.
        if value("LoadState") != "loaded" || !value("SourcePath").ends_with(".container") {
            return None;
        }
        Some(Self {
            unit,
            active: value("ActiveState"),
            sub: value("SubState"),
            invocation: value("InvocationID"),
            code: number("ExecMainStatus"),
            restarts: number("NRestarts"),
        })
    }

    pub fn has_ended(&self) -> bool {
        ["failed", "inactive"].contains(&self.active.as_str())
    }

    /// How its process is, in words.
    pub fn life(&self) -> String {
        let (code, restarts) = (self.code, self.restarts);
        match (self.active.as_str(), self.sub.as_str()) {
            ("active", _) if restarts > 1 => format!("ends again and again ({restarts} times by now)"),
            ("active", _) => "runs".to_owned(),
            ("activating", "auto-restart" | "auto-restart-queued") => {
                format!("ends each time with exit code {code} ({restarts} times by now)")
            }
            ("activating", _) if restarts > 0 => {
                format!("ends each time with exit code {code} ({restarts} times by now)")
            }
            (active, _) => format!("is {active} (exit code {code})"),
        }
    }

    /// What shows all that it wrote.
    pub fn logs(&self) -> String {
        format!("journalctl -u {}", self.unit)
    }

    /// The last lines that it wrote since it was started last, without secrets.
    pub async fn last_words(&self, cx: &TaskContext, hide: &[Secret]) -> String {
        let of = format!("journalctl --quiet --no-pager -o cat -n 200 _SYSTEMD_UNIT={}", quote(&self.unit));
        let since = format!("{of} _SYSTEMD_INVOCATION_ID={}", quote(&self.invocation));
        for asked in [since, of] {
            // Without a journal there are no words.
            let Ok(reply) = cx.shell.run(&Script::new(asked)).await else { continue };
            let said = last_lines(&of_the_container(&reply.out()), hide);
            if !said.is_empty() {
                return said;
            }
        }
        String::new()
    }
}

/// A journal without what podman says of its own doings.
fn of_the_container(journal: &str) -> String {
    let own = |line: &str| {
        let is_event =
            line.contains(" m=+") && line.split_once(' ').is_some_and(|(date, _)| date.len() == 10);
        let is_id = line.len() == 64 && line.bytes().all(|b| b.is_ascii_hexdigit());
        is_event || is_id || line.starts_with("conmon ")
    };
    journal.lines().filter(|l| !own(l)).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(active: &str, sub: &str, code: i64, restarts: i64) -> Service {
        let shown = format!(
            "LoadState=loaded\nActiveState={active}\nSubState={sub}\nInvocationID=ab\nExecMainStatus={code}\n\
             NRestarts={restarts}\nSourcePath=/etc/containers/systemd/quay.container\n"
        );
        Service::read("quay.service".into(), &shown).expect("a service")
    }

    #[test]
    fn a_services_life_is_told() {
        for (service, life, ended) in [
            (service("active", "running", 0, 0), "runs", false),
            (service("active", "running", 1, 3), "ends again and again (3 times by now)", false),
            (
                service("activating", "auto-restart", 1, 4),
                "ends each time with exit code 1 (4 times by now)",
                false,
            ),
            (service("failed", "failed", 125, 5), "is failed (exit code 125)", true),
        ] {
            assert_eq!((service.life().as_str(), service.has_ended()), (life, ended));
        }
        let other = "LoadState=loaded\nActiveState=active\nSourcePath=\n";
        assert_eq!(Service::read("quay.service".into(), other), None);
        assert_eq!(Service::read("quay.service".into(), "LoadState=not-found\n"), None);
    }

    #[test]
    fn podmans_own_words_are_not_the_containers() {
        let id = "64f39f78868e7ec7bcb9bcbaf55d524dd5439a14317e44612b97e5838bfd46d9";
        let journal = format!(
            "2026-11-22 15:16:54.118055013 +0000 UTC m=+0.048480555 container create {id} (image=x, name=redis)\n{id}\n\
             conmon {id} <nwarn>: Failed to add inotify watch\nError: cannot listen on the TCP port\n"
        );
        assert_eq!(of_the_container(&journal), "Error: cannot listen on the TCP port");
    }
}
