//! Modules for packages, services, users, disks.

use quaylab_base::{diag, value};
use quaylab_host as host;
use quaylab_module::{
    Action, Ahead, CheckMode, Diff, Effect, Guess, Module, ModuleError, ModuleSpec, Outcome, Plan,
    RemotePath, Resource, TaskContext, Touch, action, args, from_args, guessed, resource,
};

mod accounts;
mod apt;
mod authorized_key;
mod disk;
mod dnf;
mod facts_hardware;
mod facts_network;
mod facts_platform;
mod filesystem;
mod fstab;
mod getent;
mod group;
mod hostname;
mod inventories;
mod kept;
mod lvg;
mod lvol;
mod modprobe;
mod mount;
mod package;
mod reboot;
mod redhat_subscription;
mod rhsm;
mod rhsm_repository;
mod sections;
mod service;
mod setup;
mod sysctl;
mod systemd;
mod user;

/// The modules of this family.
pub fn all() -> Vec<Box<dyn Module>> {
    vec![
        kept::kept::<apt::Apt>(),
        resource::<authorized_key::AuthorizedKey>(),
        kept::kept::<dnf::Dnf>(),
        action::<getent::Getent>(),
        kept::kept::<group::Group>(),
        action::<inventories::PackageFacts>(),
        action::<inventories::ServiceFacts>(),
        kept::kept::<hostname::Hostname>(),
        resource::<filesystem::Filesystem>(),
        resource::<lvg::Lvg>(),
        resource::<lvol::Lvol>(),
        resource::<modprobe::Modprobe>(),
        resource::<mount::Mount>(),
        kept::kept::<package::Package>(),
        action::<reboot::Reboot>(),
        action::<redhat_subscription::RedhatSubscription>(),
        kept::kept::<rhsm_repository::RhsmRepository>(),
        kept::kept::<service::Service>(),
        action::<setup::Setup>(),
        resource::<sysctl::Sysctl>(),
        kept::kept::<systemd::Systemd>(),
        kept::kept::<user::User>(),
    ]
}
