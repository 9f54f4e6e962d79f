//! All modules under Ansible's names.

mod registry;

pub use quaylab_module::{
    Action, Ahead, ArgumentNames, CheckMode, Controller, Diff, Effect, FileKind, Guess, Mode, Module,
    ModuleError, ModuleSpec, Outcome, Plan, Recorded, RemotePath, Resource, RunMode, ShellResource,
    TaskContext, Touch, action, from_args, resource,
};
pub use quaylab_modules_containers::archived_names;
pub use quaylab_modules_virt::declared_network;
pub use registry::{Registry, registry};
