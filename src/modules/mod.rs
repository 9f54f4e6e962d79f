//! Modules under Ansible's names. A resource is declared, observed, planned and applied; the rest are actions.

mod args;
mod context;
mod files;
mod module;
mod outcome;
mod registry;
mod resource;
mod services;
mod system;
mod virt;

pub use args::{Mode, RemotePath, from_args};
pub use context::{Controller, FileKind, TaskContext};
pub use module::{Ahead, ArgumentNames, Effect, Module, ModuleSpec};
pub use outcome::{Diff, ModuleError, Outcome};
pub use registry::{Registry, registry};
use resource::guessed;
pub use resource::{
    Action, CheckMode, Guess, NativePlan, NativeResource, Plan, Resource, Touch, action, native, resource,
};
pub use services::archived_names;
