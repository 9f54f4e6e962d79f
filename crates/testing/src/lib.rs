//! What the unit tests of several crates use.

pub mod http_server;
