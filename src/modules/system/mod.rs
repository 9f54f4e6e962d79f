//! Modules for packages, services, users, disks.

mod accounts;
mod apt;
mod disk;
mod dnf;
mod facts_hardware;
mod facts_network;
mod facts_platform;
mod filesystem;
mod fstab;
mod group;
mod hostname;
mod kept;
mod lvg;
mod lvol;
mod mount;
mod package;
mod sections;
mod service;
mod setup;
mod systemd;
mod user;

use super::{Module, action, resource};

/// The modules of this family.
pub(super) fn all() -> Vec<Box<dyn Module>> {
    vec![
        kept::kept::<apt::Apt>(),
        kept::kept::<dnf::Dnf>(),
        kept::kept::<group::Group>(),
        kept::kept::<hostname::Hostname>(),
        resource::<filesystem::Filesystem>(),
        resource::<lvg::Lvg>(),
        resource::<lvol::Lvol>(),
        resource::<mount::Mount>(),
        kept::kept::<package::Package>(),
        kept::kept::<service::Service>(),
        action::<setup::Setup>(),
        kept::kept::<systemd::Systemd>(),
        kept::kept::<user::User>(),
    ]
}
