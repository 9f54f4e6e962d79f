//! What a module is: arguments, a probe, a plan, steps. A resource is declared, observed, planned and applied; the rest are actions.

use quaylab_base::{diag, diff, run_context, value};
use quaylab_host as host;
pub mod args;
mod context;
mod module;
mod outcome;
mod resource;

pub use args::{Mode, RemotePath, from_args};
pub use context::{Controller, FileKind, TaskContext};
pub use module::{Ahead, ArgumentNames, Effect, Module, ModuleSpec};
pub use outcome::{ModuleError, Outcome};
pub use quaylab_base::diff::Diff;
pub use resource::{
    Action, CheckMode, Guess, NativePlan, NativeResource, Plan, Resource, Touch, action, guessed, native,
    resource,
};
