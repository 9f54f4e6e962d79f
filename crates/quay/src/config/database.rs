use super::model::{Database, DatabaseKind};
use super::reader::Reader;
use crate::diag::{Diagnostic, Origin, closest};
use crate::host::Secret;
use crate::yaml::Kind;

/// What Quay's start takes; its Python alone would take more.
const SCHEMES: [(&str, DatabaseKind, u16); 3] = [
    ("postgresql", DatabaseKind::Postgresql, 5432),
    ("mysql+pymysql", DatabaseKind::Mysql, 3306),
    ("sqlite", DatabaseKind::Sqlite, 0),
];

/// What the arguments of the connection may be called.
const ARGUMENTS: [&str; 10] = [
    "threadlocals",
    "autorollback",
    "ssl",
    "sslmode",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "timeout",
    "connect_timeout",
    "keepalives",
];

pub(super) fn read(reader: &mut Reader<'_>) -> Option<Database> {
    connection_arguments(reader);
    let (uri, at) = reader.text("DB_URI")?;
    let parsed = match parse(uri, at) {
        Ok(parsed) => parsed,
        Err(problem) => {
            reader.error(Diagnostic::new(problem.message).at(at).hint(problem.hint));
            return None;
        }
    };
    match parsed.kind {
        DatabaseKind::Sqlite => reader.warning(
            Diagnostic::new("SQLite serves one process only, and Quay runs many")
                .at(at)
                .hint("for anything but a try use postgresql://USER:PASSWORD@HOST:5432/NAME"),
        ),
        DatabaseKind::Mysql => reader.warning(
            Diagnostic::new("MySQL is deprecated as Quay's database")
                .at(at)
                .hint("PostgreSQL 13 or newer with pg_trgm is what Quay is tested with"),
        ),
        DatabaseKind::Postgresql => {}
    }
    Some(parsed)
}

/// Why a text is no database's address. Neither part may repeat the password.
struct Problem {
    message: String,
    hint: String,
}

fn problem(message: impl Into<String>, hint: impl Into<String>) -> Problem {
    Problem { message: message.into(), hint: hint.into() }
}

fn parse(uri: &str, at: &Origin) -> Result<Database, Problem> {
    const FORM: &str = "write postgresql://USER:PASSWORD@HOST:PORT/DATABASE";
    const ENCODE: &str = "percent-encode it: @ is %40, : is %3A, / is %2F, # is %23, ? is %3F, % is %25";
    let Some((scheme, rest)) = uri.split_once("://") else {
        return Err(problem("DB_URI is no URI", FORM));
    };
    let Some((_, kind, default_port)) = SCHEMES.iter().find(|(name, ..)| *name == scheme) else {
        let known = SCHEMES.iter().map(|(name, ..)| *name);
        let meant = match scheme.split('+').next() {
            Some("postgres" | "postgresql" | "pgsql") => Some("postgresql"),
            Some("mysql" | "mariadb") => Some("mysql+pymysql"),
            _ => closest(scheme, known.clone()),
        };
        let hint = meant.map_or_else(|| known.collect::<Vec<_>>().join(", "), |m| format!("write {m}://"));
        return Err(problem(format!("Quay's start does not know the database {scheme}"), hint));
    };
    if *kind == DatabaseKind::Sqlite {
        let name = rest.strip_prefix('/').unwrap_or(rest).to_owned();
        return Ok(Database {
            kind: *kind,
            user: String::new(),
            password: None,
            host: String::new(),
            port: 0,
            name,
            origin: at.clone(),
        });
    }
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    if !authority.contains('@') && rest.contains('@') {
        return Err(problem("the password in DB_URI holds a character that ends it: /", ENCODE));
    }
    let Some((login, server)) = authority.rsplit_once('@') else {
        return Err(problem("DB_URI names no user", FORM));
    };
    let (user, password) = match login.split_once(':') {
        Some((user, password)) => (user, Some(password)),
        None => (login, None),
    };
    if let Some(odd) = password.and_then(|p| p.chars().find(|c| "@:#?[]".contains(*c) || c.is_whitespace())) {
        return Err(problem(format!("the password in DB_URI holds a bare {odd:?}"), ENCODE));
    }
    let decoded = |text: &str| {
        decode(text)
            .ok_or_else(|| problem("DB_URI holds a % that two hexadecimal digits do not follow", ENCODE))
    };
    let (host, port) = match server.rsplit_once(':') {
        Some((host, port)) => {
            let port = port.parse().ok().filter(|p: &u16| *p > 0);
            (host, port.ok_or_else(|| problem("DB_URI has no valid port", FORM))?)
        }
        None => (server, *default_port),
    };
    if host.is_empty() {
        return Err(problem("DB_URI names no host", FORM));
    }
    let name = path.split(['?', '#']).next().unwrap_or_default();
    if name.is_empty() {
        return Err(problem("DB_URI names no database", FORM));
    }
    if user.is_empty() {
        return Err(problem("DB_URI names no user", FORM));
    }
    Ok(Database {
        kind: *kind,
        user: decoded(user)?,
        password: password.map(decoded).transpose()?.map(Secret),
        host: host.trim_matches(['[', ']']).to_owned(),
        port,
        name: decoded(name)?,
        origin: at.clone(),
    })
}

/// Undoes percent-encoding; `None` where it is none.
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digits = [rest.next()?, rest.next()?];
            bytes.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

fn connection_arguments(reader: &mut Reader<'_>) {
    let Some((arguments, at)) = reader.map("DB_CONNECTION_ARGS") else { return };
    for key in ["threadlocals", "autorollback"] {
        match arguments.get(key).map(|n| (&n.kind, &n.origin)) {
            Some((Kind::Bool(true), _)) => {}
            Some((_, at)) => reader.warning(
                Diagnostic::new(format!("DB_CONNECTION_ARGS: {key} is always to be true"))
                    .at(at)
                    .hint(format!("write {key}: true")),
            ),
            None => {
                let at = reader.at("DB_CONNECTION_ARGS");
                reader.warning(
                    Diagnostic::new(format!(
                        "DB_CONNECTION_ARGS has no {key}, which Quay's schema requires of it"
                    ))
                    .at(&at)
                    .hint(format!("add {key}: true, or leave DB_CONNECTION_ARGS out")),
                );
            }
        }
    }
    if let Some(ssl) = arguments.get("ssl")
        && ssl.as_map().is_none_or(|m| m.get("ca").and_then(|n| n.as_str()).is_none())
    {
        reader.error(
            Diagnostic::new(
                "DB_CONNECTION_ARGS: ssl needs ca, the path of a certificate in Quay's container",
            )
            .at(&ssl.origin)
            .hint("write ssl: {ca: conf/stack/database.pem}; for PostgreSQL use sslmode and sslrootcert"),
        );
    }
    for (key, _) in arguments.iter() {
        let name = key.key_text();
        if let Some(near) = closest(&name, ARGUMENTS).filter(|near| *near != name) {
            let at = if name.is_empty() { at } else { &key.origin };
            reader.warning(
                Diagnostic::new(format!(
                    "DB_CONNECTION_ARGS: {name} is handed to the database's driver as it is"
                ))
                .at(at)
                .hint(format!("did you mean {near}?")),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn database_addresses_are_read() {
        let at = Origin::synthetic("<test>");
        let shown = |uri: &str| match parse(uri, &at) {
            Ok(db) => format!(
                "{} {} {} {}:{} {}",
                db.kind,
                db.user,
                db.password.map(|p| p.0).unwrap_or_default(),
                db.host,
                db.port,
                db.name
            ),
            Err(problem) => format!("{}; {}", problem.message, problem.hint),
        };
        for (uri, expected) in [
            ("postgresql://quay:pw@db:5433/registry", "PostgreSQL quay pw db:5433 registry"),
            (
                "postgresql://quay:p%40s%25@db/registry?sslmode=require",
                "PostgreSQL quay p@s% db:5432 registry",
            ),
            ("mysql+pymysql://q:p@db/quay", "MySQL q p db:3306 quay"),
            ("sqlite:////sqlite/quay.db", "SQLite   :0 /sqlite/quay.db"),
            (
                "postgres://q:p@db/quay",
                "Quay's start does not know the database postgres; write postgresql://",
            ),
            ("mysql://q:p@db/quay", "Quay's start does not know the database mysql; write mysql+pymysql://"),
            (
                "postgresql+psycopg2://q:p@db/quay",
                "Quay's start does not know the database postgresql+psycopg2; write postgresql://",
            ),
            ("quay", "DB_URI is no URI; write postgresql://USER:PASSWORD@HOST:PORT/DATABASE"),
            (
                "postgresql://db/quay",
                "DB_URI names no user; write postgresql://USER:PASSWORD@HOST:PORT/DATABASE",
            ),
            (
                "postgresql://q:p@db",
                "DB_URI names no database; write postgresql://USER:PASSWORD@HOST:PORT/DATABASE",
            ),
            (
                "postgresql://q:p@:1/x",
                "DB_URI names no host; write postgresql://USER:PASSWORD@HOST:PORT/DATABASE",
            ),
            (
                "postgresql://q:p@db:x/x",
                "DB_URI has no valid port; write postgresql://USER:PASSWORD@HOST:PORT/DATABASE",
            ),
        ] {
            assert_eq!(shown(uri), expected, "{uri}");
        }
        for uri in [
            "postgresql://q:geh@eim@db/x",
            "postgresql://q:geh/eim@db/x",
            "postgresql://q:geh%zzeim@db/x",
            "postgresql://q:geh#eim@db/x",
        ] {
            let said = shown(uri);
            assert!(said.contains("percent-encode it") && !said.contains("geh"), "{said}");
        }
    }
}
