use std::time::{Duration, Instant};

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use crate::host::{ConnectionKind, Script, quote};
use crate::value::Map;
use crate::{Action, CheckMode, ModuleError, Outcome, TaskContext};

const BOOT_ID: &str = "cat /proc/sys/kernel/random/boot_id";
const PAUSE: Duration = Duration::from_secs(2);

/// Reboots the host and waits until it is back: another boot, and a command that succeeds.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[expect(clippy::struct_field_names, reason = "the names are Ansible's")]
pub(super) struct Reboot {
    #[serde(alias = "pre_reboot_delay_sec")]
    pre_reboot_delay: u64,
    #[serde(alias = "post_reboot_delay_sec")]
    post_reboot_delay: u64,
    /// Seconds for the host to come back, and again for the test command; default 600.
    #[serde(alias = "reboot_timeout_sec")]
    reboot_timeout: Option<u64>,
    /// Seconds for one attempt to ask the host; default 10.
    #[serde(alias = "connect_timeout_sec")]
    connect_timeout: Option<u64>,
    /// What must succeed afterwards; default `whoami`.
    test_command: Option<String>,
    /// What logged-in users are told.
    msg: Option<String>,
    /// What tells two boots apart.
    boot_time_command: Option<String>,
    /// Default is the host's own way.
    reboot_command: Option<String>,
    /// Folders to look for `shutdown` in.
    search_paths: Vec<String>,
}

impl Reboot {
    fn command(&self) -> String {
        if let Some(command) = &self.reboot_command {
            return command.clone();
        }
        let message = quote(self.msg.as_deref().unwrap_or("Reboot initiated by quaylab"));
        let paths = if self.search_paths.is_empty() {
            "/usr/sbin:/sbin:/usr/bin:/bin:/usr/local/sbin".to_owned()
        } else {
            self.search_paths.join(":")
        };
        let minutes = self.pre_reboot_delay / 60;
        // busybox has no shutdown; its reboot is enough.
        format!(
            "PATH={}:$PATH; if command -v shutdown >/dev/null; then shutdown -r {} {message}; else reboot; fi",
            quote(&paths),
            if minutes == 0 { "now".to_owned() } else { format!("+{minutes}") }
        )
    }

    async fn boot(&self, cx: &TaskContext) -> Result<String, ModuleError> {
        let command = self.boot_time_command.as_deref().unwrap_or(BOOT_ID);
        let script = Script {
            timeout: Some(Duration::from_secs(self.connect_timeout.unwrap_or(10))),
            ..Script::new(command)
        };
        let reply = cx.shell.run(&script).await?;
        if reply.ok() {
            Ok(reply.out().trim().to_owned())
        } else {
            Err(ModuleError::failed(format!("{command}: {}", reply.err().trim())))
        }
    }

    async fn wait_for_boot(
        &self,
        before: &str,
        limit: Duration,
        cx: &TaskContext,
    ) -> Result<(), ModuleError> {
        let start = Instant::now();
        let mut last = String::from("it still runs the boot from before");
        while start.elapsed() < limit {
            tokio::time::sleep(PAUSE).await;
            cx.controller.progress(&format!("waiting for the reboot, {} s", start.elapsed().as_secs()));
            // The old connection may hang rather than break, so each question is a new one.
            cx.shell.target().close().await;
            match self.boot(cx).await {
                Ok(now) if now != before => return Ok(()),
                Ok(_) => {}
                Err(error) => last = error.to_string(),
            }
        }
        Err(ModuleError::failed(format!(
            "{} did not come back from its reboot within {} s: {last}",
            cx.host,
            limit.as_secs()
        ))
        .hint("look at its console; a larger reboot_timeout waits longer"))
    }
}

#[async_trait]
impl Action for Reboot {
    const NAME: &'static str = "reboot";
    const FQCN: &'static [&'static str] = &["ansible.builtin.reboot"];
    const CHECK: CheckMode = CheckMode::Runs;

    async fn run(self, cx: &TaskContext) -> Result<Outcome, ModuleError> {
        if cx.shell.target().spec().kind == ConnectionKind::Local {
            return Err(ModuleError::failed(
                "Running reboot with local connection would reboot the control node.",
            ));
        }
        if cx.mode.check {
            let result = [("rebooted".to_owned(), json!(true))].into_iter().collect();
            return Ok(Outcome::changed(result));
        }
        let start = Instant::now();
        let limit = Duration::from_secs(self.reboot_timeout.unwrap_or(600));
        let before = self.boot(cx).await?;
        // In the background and a second later, so that the answer still arrives.
        let text = format!(
            "c={}; if command -v setsid >/dev/null; then setsid sh -c \"sleep 1; $c\" </dev/null >/dev/null 2>&1 & else (sleep 1; sh -c \"$c\") </dev/null >/dev/null 2>&1 & fi",
            quote(&self.command())
        );
        let reply = cx.shell.run(&Script::new(text)).await?;
        if !reply.ok() {
            return Err(ModuleError::failed(format!("the reboot was refused: {}", reply.err().trim())));
        }
        tokio::time::sleep(Duration::from_secs(self.post_reboot_delay)).await;
        self.wait_for_boot(&before, limit, cx).await?;
        let command = self.test_command.as_deref().unwrap_or("whoami");
        let back_since = Instant::now();
        loop {
            let outcome = cx.shell.run(&Script::new(command)).await;
            match outcome {
                Ok(reply) if reply.ok() => break,
                Ok(reply) if back_since.elapsed() > limit => {
                    return Err(ModuleError::failed(format!(
                        "{} is back, but `{command}` fails with status {}: {}",
                        cx.host,
                        reply.status,
                        reply.err().trim()
                    )));
                }
                Err(error) if back_since.elapsed() > limit => return Err(error.into()),
                Ok(_) => {}
                Err(_) => cx.shell.target().close().await,
            }
            tokio::time::sleep(PAUSE).await;
        }
        let mut result = Map::new();
        result.insert("rebooted".into(), json!(true));
        result.insert("elapsed".into(), json!(start.elapsed().as_secs()));
        Ok(Outcome::changed(result))
    }
}

#[cfg(test)]
mod tests {
    use super::super::sections::testing::args;
    use super::*;

    #[test]
    fn the_command_is_the_hosts_own() {
        let plain: Reboot = args(json!({"msg": "it's time", "pre_reboot_delay": 120}));
        assert!(plain.command().contains(r"shutdown -r +2 'it'\''s time'"));
        let own: Reboot = args(json!({"reboot_command": "kexec -e"}));
        assert_eq!(own.command(), "kexec -e");
    }
}
