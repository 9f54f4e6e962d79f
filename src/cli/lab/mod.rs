//! Commands on the lab as a whole, and which lab an inventory means.

pub(super) mod destroy;
mod identity;
mod session;
pub(super) mod ssh;
pub(super) mod status;

pub(super) use identity::{Lab, wanted_private};
