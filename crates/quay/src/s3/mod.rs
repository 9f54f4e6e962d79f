//! The S3 API as far as a lab needs it: path-style addresses, signature version 4, buckets, their lifecycle and single objects.

mod client;
mod lifecycle;
mod sign;
mod xml;

pub use client::{Bucket, S3, S3Error, Version};
pub use lifecycle::{LifecycleActions, LifecycleRule};
pub use sign::{Credentials, sign};
