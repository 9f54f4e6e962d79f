//! Registries: the OCI round trip that proves one, Quay's own API, its configuration and what that names.

use quaylab_base::{diag, value};
use quaylab_host as host;
use quaylab_language::yaml;

mod api;
pub mod authority;
pub mod clair;
pub mod config;
mod export;
mod image;
mod login;
mod names;
pub mod probe;
mod rest;
mod round_trip;
pub mod s3;

pub use quaylab_http as http;

pub use api::{Initialized, NewUser, Quay, QuayError};
pub use export::{Holdings, export};
pub use rest::{Login, Rest, Verb};
pub use round_trip::{
    Part, RegistryAddress, RoundTrip, RoundTripError, RoundTripReport, Timed, configuration_digest,
    round_trip,
};
