//! What the controller keeps: which names may become part of a path, files that are written whole, whose turn it is, and where all of it lies.

mod folders;
mod holder;
mod home;
mod lock;
mod name;
mod whole;

pub use folders::{NoHome, data_home, state_home};
pub use holder::{Holder, host};
pub use home::{expanded, home};
pub use lock::{FileLock, Share, Turn};
pub use name::{BadName, FileName, LabName};
pub use whole::{halves, write_closed, write_named, write_open, write_private};
