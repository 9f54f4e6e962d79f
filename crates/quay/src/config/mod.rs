//! Quay's config.yaml: what it says, what Quay's start would refuse of it, and whether what it names answers.

mod address;
mod certificate;
mod check;
mod database;
mod finding;
mod keys;
mod model;
mod reader;
mod redis;
mod scanner;
mod secrets;
mod storage;

pub use certificate::{Bundle, Leaf, Unbelievable};
pub use check::{Checked, check};
pub use finding::{Finding, Severity};
pub use model::{
    Database, DatabaseKind, QuayConfig, RedisServer, S3Access, Scanner, ServerAddress, StorageLocation,
    Termination,
};
