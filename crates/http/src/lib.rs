//! HTTP over any stream: straight, or through the connection to a target.

mod client;
mod connect;
mod percent;
mod stream;
mod tls;
mod wire;

pub use client::{Client, Dial, Direct, Http, HttpError, authority, chain, limited_body, same_origin};
pub use connect::ConnectProxy;
pub use percent::percent;
pub use stream::ByteStream;
pub use tls::{Trust, certificates, present, wrap};
pub use wire::{Body, Wire, full};
