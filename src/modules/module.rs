use async_trait::async_trait;

use super::{ModuleError, Outcome, TaskContext};
use crate::value::Map;

/// The names of the arguments that a module takes, aliases included.
pub type ArgumentNames = &'static [&'static str];

/// What is known of a module without running it.
#[derive(Debug, Clone)]
pub struct ModuleSpec {
    /// The short name.
    pub name: &'static str,
    /// The full collection names under which it is also found.
    pub fqcn: &'static [&'static str],
    /// Whether a bare string is its argument (`command: uptime`).
    pub free_form: bool,
    pub arguments: ArgumentNames,
    /// JSON schema of the arguments, for `quaylab doc`.
    pub schema: fn() -> schemars::Schema,
}

/// Something that a task can name.
#[async_trait]
pub trait Module: Send + Sync {
    fn spec(&self) -> &ModuleSpec;
    /// Checks arguments that hold no template any more, without a host.
    fn check(&self, args: &Map) -> Result<(), ModuleError>;
    async fn run(&self, args: Map, cx: &TaskContext) -> Result<Outcome, ModuleError>;
}
