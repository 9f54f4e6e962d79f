//! Modules for packages, services, users, disks.

use quaylab_base::{diag, value};
use quaylab_host as host;
#[cfg(test)]
use quaylab_module::from_args;
use quaylab_module::{
    Action, CheckMode, Diff, Guess, Module, ModuleError, Outcome, Plan, RemotePath, RunMode, ShellResource,
    TaskContext, Touch, Upkeep, action, args, resource,
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
mod lvg;
mod lvol;
mod modprobe;
mod mount;
mod package;
mod reboot;
mod redhat_subscription;
mod rhsm;
mod rhsm_repository;
mod seboolean;
mod sections;
mod service;
mod setup;
mod sysctl;
mod systemd;
mod timezone;
mod user;

/// The modules of this family.
pub fn all() -> Vec<Box<dyn Module>> {
    vec![
        resource::<apt::Apt>(),
        resource::<authorized_key::AuthorizedKey>(),
        resource::<dnf::Dnf>(),
        action::<getent::Getent>(),
        resource::<group::Group>(),
        action::<inventories::PackageFacts>(),
        action::<inventories::ServiceFacts>(),
        resource::<hostname::Hostname>(),
        resource::<filesystem::Filesystem>(),
        resource::<lvg::Lvg>(),
        resource::<lvol::Lvol>(),
        resource::<modprobe::Modprobe>(),
        resource::<mount::Mount>(),
        resource::<package::Package>(),
        action::<reboot::Reboot>(),
        action::<redhat_subscription::RedhatSubscription>(),
        resource::<rhsm_repository::RhsmRepository>(),
        resource::<service::Service>(),
        resource::<seboolean::Seboolean>(),
        action::<setup::Setup>(),
        resource::<sysctl::Sysctl>(),
        resource::<systemd::Systemd>(),
        resource::<timezone::Timezone>(),
        resource::<user::User>(),
    ]
}
