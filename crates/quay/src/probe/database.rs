use std::time::Duration;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, OptsBuilder};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Config, NoTls};

use super::dialled::lead_to;
use super::run::Answer;
use crate::config::{Database, DatabaseKind};
use crate::host::ByteStream;
use crate::http::Dial;

/// The oldest PostgreSQL that Quay does not warn of.
const OLDEST: u32 = 13;

pub(super) fn place(database: &Database) -> String {
    match database.kind {
        DatabaseKind::Sqlite => database.name.clone(),
        _ => format!("{}:{}/{}", database.host, database.port, database.name),
    }
}

/// Logs in as Quay would and looks at what Quay needs.
pub(super) async fn ask(database: &Database, dial: &dyn Dial, wait: Duration) -> Answer {
    if database.kind == DatabaseKind::Sqlite {
        return Answer::NotAsked("a file in Quay's container".into());
    }
    let stream = match tokio::time::timeout(wait, dial.dial(&database.host, database.port)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            return Answer::fails(
                format!("{} does not answer: {error}", database.kind),
                "is the server running, and does it listen there?",
            );
        }
        Err(_) => {
            return Answer::fails(
                format!("{} does not answer within {} s", database.kind, wait.as_secs()),
                "is there a route, and does no firewall swallow the packets?",
            );
        }
    };
    if database.kind == DatabaseKind::Postgresql {
        postgresql(database, stream).await
    } else {
        mysql(database, stream).await
    }
}

async fn postgresql(database: &Database, stream: Box<dyn ByteStream>) -> Answer {
    let mut config = Config::new();
    config.user(&database.user).dbname(&database.name).application_name("quaylab");
    if let Some(password) = &database.password {
        config.password(&password.0);
    }
    let (client, connection) = match config.connect_raw(stream, NoTls).await {
        Ok(session) => session,
        Err(error) => return refused(database, &error),
    };
    tokio::spawn(connection);
    let query = "SELECT current_setting('server_version'), current_setting('server_version_num')::int, \
                 EXISTS (SELECT 1 FROM pg_extension WHERE extname = 'pg_trgm'), \
                 EXISTS (SELECT 1 FROM pg_available_extensions WHERE name = 'pg_trgm'), \
                 has_database_privilege(current_database(), 'CREATE')";
    let row = match client.query_one(query, &[]).await {
        Ok(row) => row,
        Err(error) => {
            return Answer::fails(format!("asking it failed: {error}"), "is what listens there PostgreSQL?");
        }
    };
    let (version, number): (String, i32) = (row.get(0), row.get(1));
    let (has, offers, may_create): (bool, bool, bool) = (row.get(2), row.get(3), row.get(4));
    let name = &database.name;
    if !has {
        let hint = if offers {
            format!(
                "in the database {name} itself: CREATE EXTENSION pg_trgm (postgresql_ext); in another one it does not help"
            )
        } else {
            "install PostgreSQL's contrib package, then CREATE EXTENSION pg_trgm in that database".to_owned()
        };
        return Answer::fails(
            format!("the database {name} has no extension pg_trgm, which Quay needs"),
            hint,
        );
    }
    if !may_create {
        return Answer::fails(
            format!("{} may not make tables in the database {name}", database.user),
            format!("make it the owner: ALTER DATABASE {name} OWNER TO {}", database.user),
        );
    }
    let major = u32::try_from(number / 10_000).unwrap_or(0);
    if major < OLDEST {
        return Answer::But {
            found: format!("PostgreSQL {version} with pg_trgm"),
            hint: format!("Quay warns of servers before PostgreSQL {OLDEST}: plan its upgrade"),
        };
    }
    Answer::Serves(format!("PostgreSQL {version} with pg_trgm"))
}

fn refused(database: &Database, error: &tokio_postgres::Error) -> Answer {
    let (user, name) = (&database.user, &database.name);
    let said = error.as_db_error().map_or_else(
        || std::error::Error::source(error).map_or_else(|| error.to_string(), |s| format!("{error}: {s}")),
        |e| e.message().to_owned(),
    );
    match error.code() {
        Some(code) if *code == SqlState::INVALID_PASSWORD => Answer::fails(
            format!("PostgreSQL refused the password of {user}"),
            "DB_URI must hold the password that the role was made with, percent-encoded",
        ),
        Some(code) if *code == SqlState::INVALID_CATALOG_NAME => Answer::fails(
            format!("PostgreSQL has no database {name}"),
            "make it first (postgresql_db), or correct DB_URI",
        ),
        Some(code) if *code == SqlState::CANNOT_CONNECT_NOW => Answer::fails(
            format!("PostgreSQL is starting up or shutting down: {said}"),
            "try again in a moment",
        ),
        _ if database.password.is_none() => {
            Answer::fails(format!("PostgreSQL did not let {user} in: {said}"), "DB_URI holds no password")
        }
        _ => Answer::fails(
            format!("PostgreSQL did not let {user} in: {said}"),
            "is there such a role, and does pg_hba.conf let it in from there?",
        ),
    }
}

async fn mysql(database: &Database, stream: Box<dyn ByteStream>) -> Answer {
    let address = match lead_to(stream).await {
        Ok(address) => address,
        Err(error) => {
            return Answer::fails(format!("no port on this machine: {error}"), "are all of them in use?");
        }
    };
    let options = OptsBuilder::default()
        .ip_or_hostname(address.ip().to_string())
        .tcp_port(address.port())
        .prefer_socket(false)
        .user(Some(&database.user))
        .pass(database.password.as_ref().map(|p| p.0.as_str()))
        .db_name(Some(&database.name));
    let mut connection = match Conn::new(options).await {
        Ok(connection) => connection,
        Err(error) => return mysql_refused(database, &error),
    };
    let row: Result<Option<(String, String)>, _> =
        connection.query_first("SELECT VERSION(), @@character_set_database").await;
    // The answer is here; how the session ends changes nothing.
    let _ = connection.disconnect().await;
    match row {
        Ok(Some((version, charset))) if charset == "latin1" || version.contains("MariaDB") => {
            Answer::Serves(format!("MySQL {version}, {charset}"))
        }
        Ok(Some((version, charset))) => Answer::But {
            found: format!("MySQL {version}, {charset}"),
            hint: format!(
                "Quay wants MySQL's database in latin1: ALTER DATABASE {} CHARACTER SET latin1",
                database.name
            ),
        },
        Ok(None) => Answer::fails("MySQL says nothing of itself", "is what listens there MySQL?"),
        Err(error) => Answer::fails(format!("asking it failed: {error}"), "is what listens there MySQL?"),
    }
}

fn mysql_refused(database: &Database, error: &mysql_async::Error) -> Answer {
    let (user, name) = (&database.user, &database.name);
    match error {
        mysql_async::Error::Server(said) if said.code == 1045 => Answer::fails(
            format!("MySQL refused the password of {user}"),
            "DB_URI must hold the password that the user was made with, percent-encoded",
        ),
        mysql_async::Error::Server(said) if said.code == 1049 => Answer::fails(
            format!("MySQL has no database {name}"),
            "make it first (mysql_db), or correct DB_URI",
        ),
        mysql_async::Error::Server(said) if said.code == 1044 => Answer::fails(
            format!("MySQL does not let {user} use the database {name}"),
            "grant it (mysql_user, priv)",
        ),
        other => {
            Answer::fails(format!("MySQL did not let {user} in: {other}"), "is what listens there MySQL?")
        }
    }
}
