use std::time::{Duration, Instant};

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::time::{sleep, timeout};

use crate::host::Script;
use crate::value::Map;
use crate::{Action, CheckMode, ModuleError, Outcome, TaskContext};

use super::inode::map;

/// Waits until the target can be logged in to.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct WaitForConnection {
    /// Seconds for one try.
    #[serde(default = "five")]
    connect_timeout: u64,
    /// Seconds before the first try.
    #[serde(default)]
    delay: u64,
    /// Seconds between tries.
    #[serde(default = "one")]
    sleep: u64,
    /// Seconds after which waiting fails.
    #[serde(default = "ten_minutes")]
    timeout: u64,
}

fn five() -> u64 {
    5
}

fn one() -> u64 {
    1
}

fn ten_minutes() -> u64 {
    600
}

#[async_trait]
impl Action for WaitForConnection {
    const NAME: &'static str = "wait_for_connection";
    const FQCN: &'static [&'static str] =
        &["ansible.builtin.wait_for_connection", "ansible.legacy.wait_for_connection"];
    const CHECK: CheckMode = CheckMode::Skips;

    async fn run(self, cx: &TaskContext) -> Result<Outcome, ModuleError> {
        let began = Instant::now();
        let limit = Duration::from_secs(self.timeout);
        if self.delay > 0 {
            sleep(Duration::from_secs(self.delay)).await;
        }
        // A connection from before a reboot would answer for a host that is going down.
        cx.shell.target().close().await;
        loop {
            let patience = Duration::from_secs(self.connect_timeout.max(1));
            let why = match timeout(patience, cx.shell.run(&Script::new(":"))).await {
                Ok(Ok(_)) => {
                    return Ok(Outcome::ok(map([("elapsed", began.elapsed().as_secs().into())])));
                }
                Ok(Err(error)) => error.to_string(),
                Err(_) => format!("no answer within {} s", patience.as_secs()),
            };
            cx.shell.target().close().await;
            let passed = began.elapsed();
            if passed >= limit {
                let mut result = Map::new();
                result.insert("elapsed".into(), passed.as_secs().into());
                let message = format!("timed out waiting for the connection to {}: {why}", cx.host);
                return Err(ModuleError::failed(message).with_result(result));
            }
            cx.controller.progress(&format!(
                "waiting for {} ({} of {} s): {why}",
                cx.host,
                passed.as_secs(),
                self.timeout
            ));
            sleep(Duration::from_secs(self.sleep.max(1)).min(limit.saturating_sub(passed))).await;
        }
    }
}
