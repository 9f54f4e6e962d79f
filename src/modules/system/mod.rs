//! Modules for packages, services, users, disks.

mod apt;
mod dnf;
mod kept;
mod package;
mod sections;
mod service;
mod systemd;

use super::Module;

/// The modules of this family.
pub(super) fn all() -> Vec<Box<dyn Module>> {
    vec![
        kept::kept::<apt::Apt>(),
        kept::kept::<dnf::Dnf>(),
        kept::kept::<package::Package>(),
        kept::kept::<service::Service>(),
        kept::kept::<systemd::Systemd>(),
    ]
}
