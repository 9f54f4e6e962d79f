//! Commands on the lab as a whole, and which lab an inventory means.

pub(super) mod console;
pub(super) mod destroy;
pub(super) mod doctor;
pub(super) mod guests;
pub(super) mod host_dns;
mod host_vars;
mod identity;
pub(super) mod image;
mod named;
mod names;
pub(super) mod power;
mod registration;
mod session;
pub(super) mod snapshot;
pub(super) mod ssh;
pub(super) mod ssh_config;
pub(super) mod status;

pub(super) use host_vars::HostVars;
pub(super) use identity::{Lab, wanted_private};
pub(super) use named::{NAME_IT, named};
pub(super) use names::meant;
