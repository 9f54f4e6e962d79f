//! Images: their names, where they come from, what their archives hold.

mod archive;
mod build;
mod git;
mod ignore;
mod load;
mod names;
mod pull;

pub use archive::archived_names;
pub(super) use archive::{ArchivedImage, images};
pub(super) use build::{Build, Context, build};
pub(super) use load::{load_from_controller, load_from_target};
pub(super) use names::{reference, registry_of, same_name};
pub(super) use pull::pull;
