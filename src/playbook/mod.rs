//! Playbooks and roles: read, resolved and checked before any host is touched.

mod argument_spec;
mod block;
mod content;
mod entries;
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
pub use content::Folder;
pub use keywords::Keywords;
pub(crate) use load_role::role_arguments;
pub use loader::Loader;
pub use play::{Play, Playbook, Prompt, RoleUse};
pub use role::{EntryPoint, Handler, LoadedRole, Role};
pub use task::{Action, Include, Loop, Task};
