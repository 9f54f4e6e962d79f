//! quaylab brings up a container-registry lab on KVM from an Ansible-style inventory.
//!
//! Data flows one way: `cli` → `engine` → `modules` → `host`. The rooms are described in
//! `docs/architecture.md`; each `mod.rs` only says what its room is for and re-exports its names.

pub mod bundle;
pub mod cli;
pub mod report;
pub mod settings;

pub use quaylab_base::{archive, children, diag, diff, limits, run_context, store, turns, value};
pub use quaylab_engine as engine;
pub use quaylab_host as host;
pub use quaylab_http as http;
pub use quaylab_lab as lab;
pub use quaylab_language::{content, inventory, template, vars, vault, yaml};
pub use quaylab_modules as modules;
pub use quaylab_playbook as playbook;
pub use quaylab_quay as quay;
