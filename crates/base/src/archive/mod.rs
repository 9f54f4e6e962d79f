//! Archives of strangers, read within limits: what a header says of itself costs neither memory nor time.

mod iso;
mod tar;

pub use iso::{IsoError, IsoFile, IsoImage};
pub use tar::is_header;
pub use tar::{TarMember, TarReader};
