//! What a module is: arguments, a probe, a plan, steps. A resource is declared, observed, planned and applied; the rest are actions.

use quaylab_base::{diag, diff, run_context, value};
use quaylab_host as host;
mod action;
pub mod args;
mod context;
mod driver;
mod module;
mod outcome;
mod resource;

pub use action::{Action, CheckMode};
pub use args::{Mode, RemotePath, from_args};
pub use context::{Controller, FileKind, RunMode, TaskContext};
pub use driver::{action, resource};
pub use module::{Ahead, ArgumentNames, Effect, Module, ModuleSpec};
pub use outcome::{ModuleError, Outcome};
pub use quaylab_base::diff::Diff;
pub use resource::{Guess, Plan, Recorded, Resource, ShellResource, Touch, Upkeep, state_of};
