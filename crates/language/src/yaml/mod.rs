//! YAML 1.1 as Ansible reads it: every node knows where it was written.

mod hint;
mod load;
mod node;
mod scalar;
mod shared;
mod written;

pub use load::{Loaded, load, load_one};
pub use node::{Kind, Mapping, Node};
pub use shared::Shared;
pub use written::Written;
