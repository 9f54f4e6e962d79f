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

pub(super) use service::Service;
use twin::Podman;

use crate::{Module, native, resource};

/// The modules of this family.
pub(super) fn all() -> Vec<Box<dyn Module>> {
    vec![
        native::<Podman<container::PodmanContainer>>(),
        native::<Podman<image::PodmanImage>>(),
        resource::<login::PodmanLogin>(),
        native::<Podman<network::PodmanNetwork>>(),
        native::<Podman<volume::PodmanVolume>>(),
    ]
}
