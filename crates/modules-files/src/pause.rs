use std::time::Duration;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::{Action, CheckMode, ModuleError, Outcome, TaskContext};

use super::inode::map;

/// Waits for a while.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Pause {
    minutes: Option<f64>,
    seconds: Option<f64>,
    /// Shown while waiting.
    prompt: Option<String>,
}

#[async_trait]
impl Action for Pause {
    const NAME: &'static str = "pause";
    const FQCN: &'static [&'static str] = &["ansible.builtin.pause", "ansible.legacy.pause"];
    const CHECK: CheckMode = CheckMode::Runs;

    fn validate(&self) -> Result<(), ModuleError> {
        match (self.minutes, self.seconds) {
            (Some(_), Some(_)) => {
                Err(ModuleError::Arguments("parameters are mutually exclusive: minutes|seconds".into()))
            }
            (None, None) => Err(ModuleError::Arguments(
                "pause needs seconds or minutes: a run does not wait for a key".into(),
            )),
            (Some(n), _) | (_, Some(n)) if !n.is_finite() || n > 1e7 => {
                Err(ModuleError::Arguments(format!("{n} is not a time that can be waited for")))
            }
            _ => Ok(()),
        }
    }

    async fn run(self, cx: &TaskContext) -> Result<Outcome, ModuleError> {
        let seconds = self.seconds.unwrap_or_default() + self.minutes.unwrap_or_default() * 60.0;
        // Less than a second is one, as Ansible has it.
        let seconds = seconds.max(1.0);
        if !cx.mode.check {
            let why = self.prompt.map(|p| format!(": {p}")).unwrap_or_default();
            cx.controller.progress(&format!("pausing for {seconds} seconds{why}"));
            tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
        }
        let text = match self.minutes {
            Some(minutes) => format!("Paused for {minutes} minutes"),
            None => format!("Paused for {seconds} seconds"),
        };
        Ok(Outcome::ok(map([("stdout", text.into()), ("rc", 0.into()), ("echo", true.into())])))
    }
}
