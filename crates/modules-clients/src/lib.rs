//! What modules with a client of their own share, and the module for HTTP.

use quaylab_base::value;
use quaylab_host as host;
use quaylab_http as http;
#[cfg(test)]
use quaylab_module::from_args;
use quaylab_module::{
    Action, CheckMode, Module, ModuleError, Outcome, RemotePath, TaskContext, action, args,
};

pub mod docker_config;
pub mod sql;
mod uri;
pub mod web;
pub mod words;

/// The modules of this family.
pub fn all() -> Vec<Box<dyn Module>> {
    vec![action::<uri::Uri>()]
}
