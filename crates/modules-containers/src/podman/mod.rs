//! Podman's modules: Docker's under the names of `containers.podman`, or units that Quadlet makes services of.

mod container;
mod image;
mod login;
mod network;
mod service;
mod twin;
mod unit;
mod unit_words;
mod volume;

pub use service::Service;
use twin::Podman;

use crate::{Module, resource};

/// The modules of this family.
pub(super) fn all() -> Vec<Box<dyn Module>> {
    vec![
        resource::<Podman<container::PodmanContainer>>(),
        resource::<Podman<image::PodmanImage>>(),
        resource::<login::PodmanLogin>(),
        resource::<Podman<network::PodmanNetwork>>(),
        resource::<Podman<volume::PodmanVolume>>(),
    ]
}
