use std::fmt;

use crate::clair::SharedKey;
use crate::diag::Origin;
use crate::host::Secret;

/// What of a configuration names something outside it.
#[derive(Debug, Clone, Default)]
pub struct QuayConfig {
    pub address: Option<ServerAddress>,
    pub database: Option<Database>,
    pub build_logs: Option<RedisServer>,
    pub user_events: Option<RedisServer>,
    pub storage: Vec<StorageLocation>,
    /// Where images are scanned.
    pub scanner: Option<Scanner>,
    /// What else Quay's start asks, and without whose answer it ends.
    pub services: Vec<Service>,
}

/// A server that Quay's start asks: whether it then goes on cannot be read out of the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// The key that names it.
    pub key: String,
    /// What it is, such as `the LDAP server`.
    pub what: &'static str,
    /// Where it is, without any password.
    pub place: String,
    /// Its host and port, where the configuration says them.
    pub address: Option<(String, u16)>,
}

/// Who speaks TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Termination {
    /// Nobody: plain HTTP.
    None,
    /// Quay, with the certificate beside its configuration.
    Quay,
    /// Something in front of Quay.
    InFront,
}

/// The name and port under which clients reach Quay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerAddress {
    pub host: String,
    pub port: Option<u16>,
    pub termination: Termination,
    pub origin: Origin,
}

impl ServerAddress {
    /// The port that clients use.
    pub fn port(&self) -> u16 {
        self.port.unwrap_or(if self.termination == Termination::None { 80 } else { 443 })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DatabaseKind {
    Postgresql,
    Mysql,
    Sqlite,
}

impl fmt::Display for DatabaseKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Postgresql => "PostgreSQL",
            Self::Mysql => "MySQL",
            Self::Sqlite => "SQLite",
        })
    }
}

/// What `DB_URI` means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Database {
    pub kind: DatabaseKind,
    pub user: String,
    pub password: Option<Secret>,
    pub host: String,
    pub port: u16,
    /// The database's name, or `SQLite`'s file.
    pub name: String,
    pub origin: Origin,
}

/// What `BUILDLOGS_REDIS` or `USER_EVENTS_REDIS` means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedisServer {
    pub host: String,
    pub port: u16,
    pub password: Option<Secret>,
    pub tls: bool,
    pub origin: Origin,
}

/// The Clair that `SECURITY_SCANNER_V4_ENDPOINT` names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scanner {
    /// `http://HOST:PORT`.
    pub endpoint: String,
    pub key: Option<SharedKey>,
    pub origin: Origin,
}

/// One entry of `DISTRIBUTED_STORAGE_CONFIG`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StorageLocation {
    pub id: String,
    pub driver: String,
    /// How its bucket is reached, where it is one that speaks S3 at an address of its own.
    pub s3: Option<S3Access>,
    pub origin: Origin,
}

/// A bucket and who may use it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3Access {
    pub host: String,
    pub port: Option<u16>,
    pub secure: bool,
    pub bucket: String,
    pub access_key: String,
    pub secret_key: Secret,
    pub region: String,
    /// The folder in the bucket.
    pub path: String,
}

impl S3Access {
    /// `http://HOST[:PORT]`.
    pub fn endpoint(&self) -> String {
        let scheme = if self.secure { "https" } else { "http" };
        match self.port {
            Some(port) => format!("{scheme}://{}:{port}", self.host),
            None => format!("{scheme}://{}", self.host),
        }
    }
}
