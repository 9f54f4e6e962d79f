//! lab

pub mod private;
