//! Modules for libvirt's networks, pools, volumes and domains.

mod common;
mod virt_domain;
mod virt_image;
mod virt_net;
mod virt_pool;
mod virt_volume;
mod virt_wait;

use super::{Module, action, native};

/// The modules of this family.
pub(super) fn all() -> Vec<Box<dyn Module>> {
    vec![
        native::<virt_net::VirtNet>(),
        native::<virt_pool::VirtPool>(),
        native::<virt_image::VirtImage>(),
        native::<virt_volume::VirtVolume>(),
        native::<virt_domain::VirtDomain>(),
        action::<virt_wait::VirtWait>(),
    ]
}
