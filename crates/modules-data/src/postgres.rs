use std::time::Duration;

use serde_json::json;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Config, NoTls};

use crate::host::{Endpoint, Secret};
use crate::value::Value;
use crate::{ModuleError, TaskContext};

/// How long a server may take to accept a login.
const LOGIN_SECONDS: u64 = 30;

/// Where and as whom to log in to PostgreSQL.
#[derive(Debug, Clone)]
pub(super) struct Login {
    pub(super) host: String,
    pub(super) unix_socket: Option<String>,
    pub(super) port: u16,
    pub(super) user: String,
    pub(super) password: Option<Secret>,
}

/// The login arguments that every `postgresql_*` module takes, as fields of its struct.
macro_rules! with_login {
    ($(#[$meta:meta])* $visibility:vis struct $name:ident { $($fields:tt)* }) => {
        $(#[$meta])*
        #[derive(Debug, serde::Deserialize, schemars::JsonSchema)]
        #[serde(deny_unknown_fields)]
        $visibility struct $name {
            /// The server's name or address as the target sees it.
            #[serde(default = "super::postgres::localhost", alias = "host")]
            login_host: String,
            /// The folder of the server's Unix socket on the target, instead of a host.
            login_unix_socket: Option<String>,
            #[serde(default = "super::postgres::default_port", alias = "port")]
            login_port: u16,
            #[serde(default = "super::postgres::default_user", alias = "login")]
            login_user: String,
            #[serde(default, deserialize_with = "crate::words::secret")]
            #[schemars(with = "Option<String>")]
            login_password: Option<crate::host::Secret>,
            $($fields)*
        }

        impl $name {
            fn login(&self) -> super::postgres::Login {
                super::postgres::Login {
                    host: self.login_host.clone(),
                    unix_socket: self.login_unix_socket.clone(),
                    port: self.login_port,
                    user: self.login_user.clone(),
                    password: self.login_password.clone(),
                }
            }
        }
    };
}
pub(super) use with_login;

pub(super) fn localhost() -> String {
    "localhost".into()
}

pub(super) fn default_port() -> u16 {
    5432
}

pub(super) fn default_user() -> String {
    "postgres".into()
}

/// Why there is no session; a person can tell the cases apart by the text.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) message: String,
    pub(super) hint: &'static str,
    /// The server is there, and lacks the database.
    no_database: bool,
}

impl From<Refused> for ModuleError {
    fn from(refused: Refused) -> Self {
        Self::failed(refused.message).hint(refused.hint)
    }
}

impl Login {
    fn place(&self) -> String {
        match &self.unix_socket {
            Some(folder) => format!("{folder}/.s.PGSQL.{}", self.port),
            None => format!("{}:{}", self.host, self.port),
        }
    }

    fn endpoint(&self) -> Endpoint {
        match &self.unix_socket {
            Some(_) => Endpoint::Unix { path: self.place() },
            None => Endpoint::Tcp { host: self.host.clone(), port: self.port },
        }
    }

    /// A session to look through; `None` where in check mode no server answers, or it has no such database: there an
    /// earlier task may have foreseen either.
    pub(super) async fn look(&self, cx: &TaskContext, database: &str) -> Result<Option<Client>, Refused> {
        if cx.mode.check && cx.shell.dial(&self.endpoint()).await.is_err() {
            return Ok(None);
        }
        match self.connect(cx, database).await {
            Err(refused) if cx.mode.check && refused.no_database => Ok(None),
            other => other.map(Some),
        }
    }

    /// Logs in to a database through the target.
    pub(super) async fn connect(&self, cx: &TaskContext, database: &str) -> Result<Client, Refused> {
        let place = self.place();
        let stream = cx.shell.dial(&self.endpoint()).await.map_err(|e| Refused {
            message: format!("PostgreSQL does not answer at {place} on {}: {e}", cx.host),
            hint: "is the server running, and does it listen there?",
            no_database: false,
        })?;
        let mut config = Config::new();
        config.user(&self.user).dbname(database).application_name("quaylab");
        if let Some(password) = &self.password {
            config.password(&password.0);
        }
        let login =
            tokio::time::timeout(Duration::from_secs(LOGIN_SECONDS), config.connect_raw(stream, NoTls));
        let (client, connection) = match login.await {
            Ok(Ok(session)) => session,
            Ok(Err(error)) => return Err(self.refused(&error, database)),
            Err(_) => {
                return Err(Refused {
                    message: format!(
                        "PostgreSQL at {place} accepted the connection but did not answer within {LOGIN_SECONDS} s"
                    ),
                    hint: "what listens there may not be PostgreSQL",
                    no_database: false,
                });
            }
        };
        // It ends with the client; its errors reach the client's calls.
        tokio::spawn(connection);
        Ok(client)
    }

    fn refused(&self, error: &tokio_postgres::Error, database: &str) -> Refused {
        let (place, user) = (self.place(), &self.user);
        let no_database = error.code() == Some(&SqlState::INVALID_CATALOG_NAME);
        let refused = |message: String, hint: &'static str| Refused { message, hint, no_database };
        match error.code() {
            Some(code) if *code == SqlState::INVALID_PASSWORD => refused(
                format!("PostgreSQL at {place} refused the password of {user}"),
                "data that was made with an older password keeps it: look at where passwords are kept, or set it anew",
            ),
            Some(code) if *code == SqlState::INVALID_CATALOG_NAME => refused(
                format!("PostgreSQL at {place} has no database {database}"),
                "make it first (postgresql_db)",
            ),
            Some(code) if *code == SqlState::CANNOT_CONNECT_NOW => refused(
                format!("PostgreSQL at {place} is starting up or shutting down: {}", reason(error)),
                "try again in a moment (until, retries)",
            ),
            Some(code) if *code == SqlState::INVALID_AUTHORIZATION_SPECIFICATION => refused(
                format!("PostgreSQL at {place} does not let {user} in: {}", reason(error)),
                "is there such a role, and does pg_hba.conf let it in from there?",
            ),
            _ if self.password.is_none() && reason(error).contains("password missing") => refused(
                format!("PostgreSQL at {place} wants a password for {user}, and none was given"),
                "set login_password",
            ),
            _ => refused(
                format!("logging in to PostgreSQL at {place} as {user} failed: {}", reason(error)),
                "is what listens there PostgreSQL, and is it ready?",
            ),
        }
    }
}

/// What the server says, without the crate's wrapping.
pub(super) fn reason(error: &tokio_postgres::Error) -> String {
    if let Some(db) = error.as_db_error() {
        let detail = db.detail().map(|d| format!(" ({d})")).unwrap_or_default();
        return format!("{}{detail}", db.message());
    }
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

/// A statement's failure as a module's.
pub(super) fn failure(what: &str, error: &tokio_postgres::Error) -> ModuleError {
    let failed = ModuleError::failed(format!("{what}: {}", reason(error)));
    match error.as_db_error().and_then(|d| d.hint()) {
        Some(hint) => failed.hint(hint),
        None => failed,
    }
}

/// The server's version as Ansible's modules give it.
pub(super) async fn version(client: &Client) -> Result<Value, tokio_postgres::Error> {
    let row = client.query_one("SELECT version(), current_setting('server_version_num')", &[]).await?;
    let (raw, number): (String, String) = (row.get(0), row.get(1));
    Ok(describe_version(&raw, number.parse().unwrap_or(0)))
}

fn describe_version(raw: &str, number: u32) -> Value {
    let (major, minor, patch) = if number >= 100_000 {
        (number / 10_000, number % 10_000, None)
    } else {
        (number / 10_000, number / 100 % 100, Some(number % 100))
    };
    let full = patch.map_or_else(|| format!("{major}.{minor}"), |p| format!("{major}.{minor}.{p}"));
    let mut version = json!({"raw": raw, "major": major, "minor": minor, "full": full});
    if let Some(patch) = patch {
        version["patch"] = json!(patch);
    }
    version
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_the_number() {
        for (number, full, minor) in [(150_008, "15.8", 8), (90_624, "9.6.24", 6)] {
            let version = describe_version("PostgreSQL", number);
            assert_eq!((version["full"].as_str(), version["minor"].as_u64()), (Some(full), Some(minor)));
        }
    }
}
