//! quaylab brings up a container-registry lab on KVM from an Ansible-style inventory.
//!
//! Data flows one way: `cli` → `engine` → `modules` → `host`. The rooms are described in
//! `docs/architecture.md`; each `mod.rs` only says what its room is for and re-exports its names.

pub mod bundle;
pub mod cli;
pub mod diag;
pub mod engine;
pub mod host;
pub mod inventory;
pub mod lab;
pub mod modules;
pub mod playbook;
pub mod quay;
pub mod report;
pub mod settings;
pub mod template;
pub mod value;
pub mod vars;
pub mod vault;
pub mod yaml;
