//! Quay's config.yaml: what it says, what Quay's start would refuse of it, and whether what it names answers.

mod address;
mod certificate;
mod check;
mod database;
mod database_arguments;
mod drivers;
mod finding;
mod first_start;
mod keys;
mod login;
mod logs;
mod mend;
mod model;
mod reader;
mod redis;
mod rules;
mod scanner;
mod secrets;
mod shapes;
mod storage;
mod storage_cdn;
mod uri;
mod version;

pub use certificate::{Bundle, Leaf, Unbelievable};
pub use check::{Checked, check, check_for};
pub use finding::{Finding, Severity};
pub use mend::{Mend, Mended, mend};
pub use model::{
    Database, DatabaseKind, QuayConfig, RedisServer, S3Access, Scanner, ServerAddress, Service,
    StorageLocation, Termination,
};
pub use reader::{Beside, Circumstances};
pub use version::QuayVersion;
