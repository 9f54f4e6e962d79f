//! HTTP over any stream: straight, or through the connection to a target.

mod client;
mod percent;
mod tls;
mod wire;

pub use client::{Client, Dial, Direct, Http, HttpError, authority};
pub use percent::percent;
pub use tls::{Trust, certificates, present, wrap};
pub use wire::{Body, Wire, full};
