//! All modules under Ansible's names.

mod registry;

pub use quaylab_module::{
    Action, Ahead, ArgumentNames, CheckMode, Controller, Diff, Effect, FileKind, Guess, Mode, Module,
    ModuleError, ModuleSpec, NativePlan, NativeResource, Outcome, Plan, RemotePath, Resource, TaskContext,
    Touch, action, from_args, native, resource,
};
pub use quaylab_modules_services::archived_names;
pub use quaylab_modules_virt::declared_network;
pub use registry::{Registry, registry};
