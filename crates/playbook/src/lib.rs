//! Playbooks and roles: read, resolved and checked before any host is touched.

use quaylab_base::{diag, value};
use quaylab_language::{template, vars, vault, yaml};
use quaylab_modules as modules;

mod argument_spec;
mod block;
mod entries;
mod gathering;
mod keywords;
mod load_role;
mod loader;
mod play;
mod role;
mod split;
mod task;
mod written;

pub use argument_spec::ArgumentSpec;
pub use block::{Block, Entry};
pub use keywords::Keywords;
pub use load_role::role_arguments;
pub use loader::Loader;
pub use play::{Play, Playbook, Prompt, RoleUse};
pub use quaylab_language::content::Folder;
pub use role::{EntryPoint, Handler, LoadedRole, Role};
pub use task::{Action, Include, Loop, Task};
