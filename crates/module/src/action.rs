use async_trait::async_trait;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use super::{ModuleError, Outcome, TaskContext, Touch};
use crate::host::Script;

/// Whether an action does anything in check mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckMode {
    /// It only reads, or it honours the context's mode itself.
    Runs,
    /// It is skipped, as Ansible does with `command`.
    Skips,
}

/// What is not a state: a command, an assertion, a wait.
#[async_trait]
pub trait Action: DeserializeOwned + JsonSchema + Send + Sync + 'static {
    const NAME: &'static str;
    const FQCN: &'static [&'static str];
    const FREE_FORM: bool = false;
    const CHECK: CheckMode;
    const TOUCH: Touch = Touch::Anything;

    fn validate(&self) -> Result<(), ModuleError> {
        Ok(())
    }
    /// The read-only script that `run` asks first by `Shell::probe`.
    fn ahead(&self, _cx: &TaskContext) -> Option<Script> {
        None
    }
    async fn run(self, cx: &TaskContext) -> Result<Outcome, ModuleError>;
}
