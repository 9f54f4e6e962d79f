//! Registries: the OCI round trip that proves one, and the client of Quay's own API.

mod api;
mod image;
mod names;
mod round_trip;

pub use api::{Http, HttpError, Initialized, NewUser, Quay, QuayError};
pub use round_trip::{RegistryAddress, RoundTrip, RoundTripError, RoundTripReport, round_trip};
