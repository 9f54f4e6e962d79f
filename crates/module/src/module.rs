use async_trait::async_trait;

use super::{ModuleError, Outcome, Plan, Recorded, TaskContext};
use crate::host::Script;
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

/// What a task may do to its host, for guessing what the next tasks will observe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// It observes, and changes what differs: most often nothing.
    Keeps,
    /// It only looks.
    Reads,
    /// It may change anything, or lets time pass.
    Acts,
}

/// The script whose answer a module asks for first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ahead {
    pub script: Script,
    /// It costs the host more than a few milliseconds.
    pub dear: bool,
}

/// Something that a task can name.
#[async_trait]
pub trait Module: Send + Sync {
    fn spec(&self) -> &ModuleSpec;
    /// Checks arguments that hold no template any more, without a host.
    fn check(&self, args: &Map) -> Result<(), ModuleError>;
    async fn run(&self, args: Map, cx: &TaskContext) -> Result<Outcome, ModuleError>;
    fn effect(&self) -> Effect {
        Effect::Acts
    }
    /// The read-only script that a run with these arguments would ask first, where that is known without asking a host anything.
    ///
    /// Nothing is changed by it, on the controller neither; `None` is always right.
    async fn ahead(&self, _args: Map, _cx: &TaskContext) -> Option<Ahead> {
        None
    }
    /// What a run would do where this is what the host answers, which is not asked; for fixtures. `None`: they cannot say it.
    async fn rehearse(
        &self,
        _args: Map,
        _answer: &Recorded,
        _cx: &TaskContext,
    ) -> Option<Result<Plan<String>, ModuleError>> {
        None
    }
}
