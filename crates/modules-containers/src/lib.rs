//! Modules for containers: Docker's and podman's.

use quaylab_base::{archive, value};
use quaylab_host as host;
use quaylab_http as http;
use quaylab_module::{
    Action, CheckMode, Diff, FileKind, Mode, Module, ModuleError, Outcome, Plan, Recorded, RemotePath,
    Resource, RunMode, ShellResource, TaskContext, action, args, from_args, resource, state_of,
};
use quaylab_modules_clients::{docker_config, words};
use quaylab_quay as quay;

mod container;
mod container_diagnosis;
mod docker_container;
mod docker_container_info;
mod docker_host_info;
mod docker_image;
mod docker_image_push;
mod docker_login;
mod docker_network;
mod docker_volume;
pub mod engine;
pub mod engine_kind;
mod image;
pub mod last_words;
pub mod podman;

pub use image::archived_names;

/// The modules of this family.
pub fn all() -> Vec<Box<dyn Module>> {
    let mut all: Vec<Box<dyn Module>> = vec![
        action::<container_diagnosis::ContainerDiagnosis>(),
        resource::<docker_container::DockerContainer>(),
        action::<docker_container_info::DockerContainerInfo>(),
        action::<docker_host_info::DockerHostInfo>(),
        resource::<docker_image::DockerImage>(),
        resource::<docker_image_push::DockerImagePush>(),
        resource::<docker_login::DockerLogin>(),
        resource::<docker_network::DockerNetwork>(),
        resource::<docker_volume::DockerVolume>(),
    ];
    all.extend(podman::all());
    all
}
