//! Modules for packages, services, users, disks.

mod accounts;
mod apt;
mod dnf;
mod fstab;
mod group;
mod hostname;
mod kept;
mod mount;
mod package;
mod sections;
mod service;
mod systemd;
mod user;

use super::{Module, resource};

/// The modules of this family.
pub(super) fn all() -> Vec<Box<dyn Module>> {
    vec![
        kept::kept::<apt::Apt>(),
        kept::kept::<dnf::Dnf>(),
        kept::kept::<group::Group>(),
        kept::kept::<hostname::Hostname>(),
        resource::<mount::Mount>(),
        kept::kept::<package::Package>(),
        kept::kept::<service::Service>(),
        kept::kept::<systemd::Systemd>(),
        kept::kept::<user::User>(),
    ]
}
