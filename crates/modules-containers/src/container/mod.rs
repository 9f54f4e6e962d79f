//! What a container shall be: its arguments, how it is compared with what is there, and how it is made.

mod body;
mod compare;
mod made;
mod podman;
mod ports;
mod spec;

pub(super) use body::{body, networks_to_connect};
pub(super) use compare::{Difference, differences, is_secret};
pub(super) use made::{marked, unlike};
pub(super) use podman::like_dockers;
pub(super) use spec::{ContainerSpec, NetworkArg, RestartPolicyArg};

/// The label that everything carries which quaylab made; its value is the lab's name.
pub(super) const MARK: &str = "quaylab.lab";
