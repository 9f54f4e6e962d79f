//! Modules for Quay, Clair and what a registry answers.

use quaylab_base::{diag, store, value};
use quaylab_host as host;
use quaylab_http as http;
use quaylab_lab as lab;
#[cfg(test)]
use quaylab_module::from_args;
use quaylab_module::{
    Action, CheckMode, Diff, Module, ModuleError, Outcome, Plan, Recorded, RemotePath, Resource, RunMode,
    TaskContext, action, args, resource, state_of,
};
use quaylab_modules_clients::{docker_config, sql, web, words};
use quaylab_modules_containers::{engine, engine_kind, last_words, podman};
use quaylab_quay as quay;

mod clair_check;
mod lab_certificate;
mod quay_api;
mod quay_config_check;
mod quay_first_user;
mod quay_health;
mod registry_check;

/// The modules of this family.
pub fn all() -> Vec<Box<dyn Module>> {
    let mut all: Vec<Box<dyn Module>> = vec![
        action::<clair_check::ClairCheck>(),
        resource::<lab_certificate::LabCertificate>(),
        action::<quay_config_check::QuayConfigCheck>(),
        action::<quay_first_user::QuayFirstUser>(),
        action::<quay_health::QuayHealth>(),
        action::<registry_check::RegistryCheck>(),
    ];
    all.extend(quay_api::all());
    all
}
