//! Ansible's language: YAML with its places, variables, vaults, templates, inventories. Nothing here runs a task.

use quaylab_base::{children, diag, limits, store, value};
use quaylab_http as http;

pub mod content;
pub mod inventory;
pub mod template;
pub mod vars;
pub mod vault;
pub mod yaml;
