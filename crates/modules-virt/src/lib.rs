//! Modules for libvirt's networks, pools, volumes and domains.

use quaylab_base::{store, value};
use quaylab_host as host;
use quaylab_lab as lab;
use quaylab_language::inventory;
use quaylab_module::{
    Action, CheckMode, Diff, Module, ModuleError, Outcome, Plan, Resource, RunMode, TaskContext, action,
    args, from_args, resource,
};

mod common;
mod machine;
mod virt_capacity;
mod virt_domain;
mod virt_image;
mod virt_install;
mod virt_net;
mod virt_place;
mod virt_pool;
mod virt_volume;
mod virt_wait;

pub use virt_net::declared_network;

/// The modules of this family.
pub fn all() -> Vec<Box<dyn Module>> {
    vec![
        resource::<virt_net::VirtNet>(),
        resource::<virt_pool::VirtPool>(),
        resource::<virt_image::VirtImage>(),
        resource::<virt_volume::VirtVolume>(),
        resource::<virt_install::VirtInstall>(),
        resource::<virt_domain::VirtDomain>(),
        action::<virt_wait::VirtWait>(),
        action::<virt_capacity::VirtCapacity>(),
        action::<virt_place::VirtPlace>(),
    ]
}
