//! The S3 API as far as a lab needs it: path-style addresses, signature version 4, buckets and single objects.

mod client;
mod sign;

pub use client::{Bucket, S3, S3Error, Version};
pub use sign::{Credentials, sign};
