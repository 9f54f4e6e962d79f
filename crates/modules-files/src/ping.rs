use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::host::Script;
use crate::{Action, CheckMode, ModuleError, Outcome, TaskContext};

use super::inode::map;

/// Whether the target answers.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Ping {
    /// What is answered; `crash` fails.
    #[serde(default = "pong")]
    data: String,
}

fn pong() -> String {
    "pong".into()
}

#[async_trait]
impl Action for Ping {
    const NAME: &'static str = "ping";
    const FQCN: &'static [&'static str] = &["ansible.builtin.ping", "ansible.legacy.ping"];
    const CHECK: CheckMode = CheckMode::Runs;

    async fn run(self, cx: &TaskContext) -> Result<Outcome, ModuleError> {
        if self.data == "crash" {
            return Err(ModuleError::failed("boom"));
        }
        cx.shell.run(&Script::new(":")).await?;
        Ok(Outcome::ok(map([("ping", self.data.into())])))
    }
}
