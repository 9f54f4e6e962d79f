//! Commands on the lab as a whole, and which lab an inventory means.

mod belongs;
pub(super) mod console;
mod declared;
pub(super) mod destroy;
pub(super) mod doctor;
pub(super) mod guests;
mod held;
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
mod strangers;
mod unclaimed;
mod unread;
mod which;

pub(super) use belongs::labs_home;
pub(super) use declared::Declared;
pub(super) use held::{Held, WaitArgs};
pub(super) use host_vars::HostVars;
pub(super) use identity::{hypervisor_uris, wanted_private};
pub(super) use named::{NAME_IT, named};
pub(super) use names::{VmNames, is_provisioned};
pub(super) use strangers::refuse_anothers;
pub(super) use unclaimed::unclaimed;
pub(super) use which::Lab;
