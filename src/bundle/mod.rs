//! Offline bundles: one file that carries images, packages and roles to a lab without internet.

mod error;
mod folder;
mod load;
mod manifest;
mod names;
mod needs;
mod read;
mod variables;
mod watch;
mod write;

pub use error::BundleError;
pub use folder::{files_below, roles_in};
pub use load::{GuestPlaced, Loaded, Places, load};
pub use manifest::{Hosts, Manifest, Member, Push, Setting, Use};
pub use names::{BundleName, Kind, MemberPath, Sha256Hex};
pub use needs::{HostSays, Need, needs};
pub use read::read_manifest;
pub use variables::variables;
pub use watch::Watch;
pub use write::{Source, write};
