//! YAML 1.1 as Ansible reads it: every node knows where it was written.

mod node;

pub use node::{Kind, Mapping, Node};
