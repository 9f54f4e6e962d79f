//! Registries: the OCI round trip that proves one, Quay's own API, its configuration and what that names.

mod api;
pub mod authority;
pub mod clair;
pub mod config;
pub mod http;
mod image;
mod names;
pub mod probe;
mod rest;
mod round_trip;
pub mod s3;

pub use api::{Initialized, NewUser, Quay, QuayError};
pub use rest::{Login, Rest, Verb};
pub use round_trip::{
    Part, RegistryAddress, RoundTrip, RoundTripError, RoundTripReport, Timed, configuration_digest,
    round_trip,
};
