use std::time::Duration;

use mysql_async::{Conn, Error, OptsBuilder};

use crate::host::{Endpoint, Forward, Secret};
use crate::{ModuleError, TaskContext};

/// How long a server may take to accept a login.
const LOGIN_SECONDS: u64 = 30;

/// Where and as whom to log in to `MySQL`.
#[derive(Debug, Clone)]
pub(super) struct Login {
    pub(super) host: String,
    pub(super) unix_socket: Option<String>,
    pub(super) port: u16,
    pub(super) user: String,
    pub(super) password: Option<Secret>,
}

/// The login arguments that every `mysql_*` module takes, as fields of its struct.
macro_rules! with_login {
    ($(#[$meta:meta])* $visibility:vis struct $name:ident { $($fields:tt)* }) => {
        $(#[$meta])*
        #[derive(Debug, serde::Deserialize, schemars::JsonSchema)]
        #[serde(deny_unknown_fields)]
        $visibility struct $name {
            /// The server's name or address as the target sees it.
            #[serde(default = "super::login::localhost")]
            login_host: String,
            /// The server's Unix socket on the target, instead of a host.
            login_unix_socket: Option<String>,
            #[serde(default = "super::login::default_port")]
            login_port: u16,
            #[serde(default = "super::login::root")]
            login_user: String,
            #[serde(default, deserialize_with = "crate::words::secret")]
            #[schemars(with = "Option<String>")]
            login_password: Option<crate::host::Secret>,
            $($fields)*
        }

        impl $name {
            fn login(&self) -> super::login::Login {
                super::login::Login {
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
    "127.0.0.1".into()
}

pub(super) fn default_port() -> u16 {
    3306
}

pub(super) fn root() -> String {
    "root".into()
}

/// A session; the way to the server stands as long as it does.
pub(super) struct Session {
    pub(super) connection: Conn,
    _forward: Forward,
}

impl Login {
    fn place(&self) -> String {
        match &self.unix_socket {
            Some(path) => path.clone(),
            None => format!("{}:{}", self.host, self.port),
        }
    }

    fn endpoint(&self) -> Endpoint {
        match &self.unix_socket {
            Some(path) => Endpoint::Unix { path: path.clone() },
            None => Endpoint::Tcp { host: self.host.clone(), port: self.port },
        }
    }

    /// A session to look through; `None` where no server answers in check mode: there an earlier task may have foreseen
    /// the server itself.
    pub(super) async fn look(
        &self,
        cx: &TaskContext,
        database: Option<&str>,
    ) -> Result<Option<Session>, ModuleError> {
        if cx.mode.check && cx.shell.dial(&self.endpoint()).await.is_err() {
            return Ok(None);
        }
        self.connect(cx, database).await.map(Some)
    }

    /// Logs in through the target.
    pub(super) async fn connect(
        &self,
        cx: &TaskContext,
        database: Option<&str>,
    ) -> Result<Session, ModuleError> {
        let endpoint = self.endpoint();
        let place = self.place();
        // The forward takes connections even where nothing listens behind it, so that is asked first.
        let silent = |why: String| {
            ModuleError::failed(format!("MySQL does not answer at {place} on {}: {why}", cx.host))
                .hint("is the server running, and does it listen there?")
        };
        cx.shell.dial(&endpoint).await.map(drop).map_err(|e| silent(e.to_string()))?;
        let forward = cx.shell.forward(endpoint).await?;
        let options = OptsBuilder::default()
            .ip_or_hostname(forward.address.ip().to_string())
            .tcp_port(forward.address.port())
            .prefer_socket(false)
            .user(Some(&self.user))
            .pass(self.password.as_ref().map(|p| p.0.as_str()))
            .db_name(database)
            // What is quoted here relies on it.
            .init(vec!["SET SESSION sql_mode = REPLACE(@@SESSION.sql_mode, 'NO_BACKSLASH_ESCAPES', '')"]);
        match tokio::time::timeout(Duration::from_secs(LOGIN_SECONDS), Conn::new(options)).await {
            Ok(Ok(connection)) => Ok(Session { connection, _forward: forward }),
            // A container's port takes connections for a server that is not there, and ends them.
            Ok(Err(error @ Error::Io(_))) => Err(silent(reason(&error))),
            Ok(Err(error)) => Err(self.refused(&error, database)),
            Err(_) => Err(ModuleError::failed(format!(
                "MySQL at {place} accepted the connection but did not answer within {LOGIN_SECONDS} s"
            ))
            .hint("what listens there may not be MySQL")),
        }
    }

    fn refused(&self, error: &Error, database: Option<&str>) -> ModuleError {
        let (place, user) = (self.place(), &self.user);
        let code = if let Error::Server(said) = error { said.code } else { 0 };
        match (code, database) {
            (1045, _) if self.password.is_none() => {
                ModuleError::failed(format!("MySQL at {place} wants a password for {user}, and none was given"))
                    .hint("set login_password")
            }
            (1045, _) => ModuleError::failed(format!("MySQL at {place} refused the password of {user}")).hint(
                "data that was made with an older password keeps it: look at where passwords are kept, or set it anew",
            ),
            (1049, Some(name)) => ModuleError::failed(format!("MySQL at {place} has no database {name}"))
                .hint("make it first (mysql_db)"),
            (1044, Some(name)) => {
                ModuleError::failed(format!("MySQL at {place} does not let {user} use the database {name}"))
                    .hint("grant it (mysql_user, priv)")
            }
            (1130, _) => ModuleError::failed(format!("MySQL at {place} lets nobody in from there: {}", reason(error)))
                .hint("give the user a host that fits, such as %"),
            _ => ModuleError::failed(format!("logging in to MySQL at {place} as {user} failed: {}", reason(error)))
                .hint("is what listens there MySQL or MariaDB, and is it ready?"),
        }
    }
}

/// What the server says, without the crate's wrapping.
pub(super) fn reason(error: &Error) -> String {
    match error {
        Error::Server(said) => said.message.clone(),
        other => other.to_string(),
    }
}

/// A statement's failure as a module's. The statement is not repeated: it may hold a password.
pub(super) fn failure(what: &str, error: &Error) -> ModuleError {
    ModuleError::failed(format!("{what}: {}", reason(error)))
}
