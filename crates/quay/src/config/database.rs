use super::database_arguments;
use super::finding::Severity;
use super::mend::Mend;
use super::model::{Database, DatabaseKind};
use super::reader::Reader;
use super::uri::{self, NoUri, Uri};
use crate::diag::{Diagnostic, Origin, closest};
use crate::host::Secret;

/// What Quay's start takes; its Python alone would take more.
const SCHEMES: [(&str, DatabaseKind, u16); 3] = [
    ("postgresql", DatabaseKind::Postgresql, 5432),
    ("mysql+pymysql", DatabaseKind::Mysql, 3306),
    ("sqlite", DatabaseKind::Sqlite, 0),
];

const FORM: &str = "write postgresql://USER:PASSWORD@HOST:PORT/DATABASE";
const ENCODE: &str =
    "percent-encode it: @ is %40, / is %2F, # is %23, ? is %3F, % is %25, ^ is %5E, a blank is %20";

pub(super) fn read(reader: &mut Reader<'_>) -> Option<Database> {
    let read = address(reader);
    database_arguments::read(reader, read.as_ref().map(|database| database.kind));
    read
}

fn address(reader: &mut Reader<'_>) -> Option<Database> {
    let node = reader.get("DB_URI")?;
    let (text, at) = (node.as_str()?, &node.origin);
    let parsed = match parse(text, at) {
        Ok(parsed) => parsed,
        Err(problem) => {
            let mend = mended(reader, text).and_then(|(with, says)| {
                let whole = reader.written(node);
                let quote =
                    if whole.starts_with('\'') || whole.starts_with('"') { whole.get(..1) } else { Some("") };
                quote.and_then(|q| Mend::scalar(reader, node, format!("{q}{with}{q}"), says))
            });
            reader.say(Severity::Error, Diagnostic::new(problem.message).at(at).hint(problem.hint), mend);
            return None;
        }
    };
    if parsed.kind == DatabaseKind::Mysql {
        reader.warning(
            Diagnostic::new("MySQL is deprecated as Quay's database")
                .at(at)
                .hint("PostgreSQL 13 or newer with pg_trgm is what Quay is tested with"),
        );
    }
    if parsed.password.is_none() {
        reader.warning(
            Diagnostic::new("DB_URI holds no password: Quay starts only where the database asks for none")
                .at(at)
                .hint(FORM),
        );
    }
    Some(parsed)
}

/// The same database's address as the start takes it, and what was done to it.
fn mended(reader: &Reader<'_>, text: &str) -> Option<(String, String)> {
    let (scheme, rest) = text.split_once("://")?;
    let mut says = Vec::new();
    let meant = match scheme {
        "postgres" | "postgresql+psycopg2" => "postgresql",
        "mysql" => "mysql+pymysql",
        same => same,
    };
    if meant != scheme {
        says.push(format!("DB_URI: {scheme}:// becomes {meant}://"));
    }
    let mut address = rest.to_owned();
    // Only where no character could end the login: then what Go refuses in it can be nothing but a part of it.
    if let Some((login, server)) = rest.rsplit_once('@')
        && !login.contains(['/', '?', '#', '@'])
        && !login.bytes().any(|b| b < b' ')
        && login.chars().any(|c| !uri::fits_login(c))
        && uri::decode(login).is_ok()
    {
        address = format!("{}@{server}", uri::encode_login(login));
        says.push("DB_URI: its login is percent-encoded".into());
    }
    let whole = format!("{meant}://{address}");
    (!says.is_empty() && parse(&whole, &reader.at("DB_URI")).is_ok()).then(|| (whole, says.join("; ")))
}

/// Why a text is no database's address. Neither part may repeat the password.
struct Problem {
    message: String,
    hint: String,
}

fn problem(message: impl Into<String>, hint: impl Into<String>) -> Problem {
    Problem { message: message.into(), hint: hint.into() }
}

fn parse(text: &str, at: &Origin) -> Result<Database, Problem> {
    let Some((scheme, rest)) = text.split_once("://") else {
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
        let message = "Quay's own check at its start ends at SQLite, whose address has no user";
        return Err(problem(message, "use PostgreSQL, or start its container with IGNORE_VALIDATION=true"));
    }
    // What ends a password too early: then the rest of it would be taken for something else.
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let early = rest.chars().nth(authority.chars().count()).unwrap_or('/');
    if !authority.contains('@') && rest.contains('@') {
        return Err(problem(
            format!("the password in DB_URI holds a character that ends it: {early}"),
            ENCODE,
        ));
    }
    let uri = uri::parse(text).map_err(|why| refused(why, authority))?;
    of(&uri, *kind, *default_port, at)
}

fn refused(why: NoUri, authority: &str) -> Problem {
    let odd = match why {
        NoUri::Login(odd) => Some(odd),
        // A bracket or a blank before the @ is one of the login, too.
        NoUri::Host(odd) if authority.split('@').next().is_some_and(|login| login.contains(odd)) => Some(odd),
        _ => None,
    };
    match odd {
        Some(odd) => problem(format!("the password in DB_URI holds a bare {odd:?}"), ENCODE),
        None if matches!(why, NoUri::Escape) => problem(format!("DB_URI {}", why.words()), ENCODE),
        None => problem(format!("DB_URI {}", why.words()), FORM),
    }
}

fn of(uri: &Uri<'_>, kind: DatabaseKind, default_port: u16, at: &Origin) -> Result<Database, Problem> {
    let Some(login) = uri.login else { return Err(problem("DB_URI names no user", FORM)) };
    let (user, password) = match login.split_once(':') {
        Some((user, password)) => (user, Some(password)),
        None => (login, None),
    };
    if password.unwrap_or_default().contains('@') || user.contains('@') {
        return Err(problem("the password in DB_URI holds a bare '@'", ENCODE));
    }
    let (host, port) = match uri.host.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => {
            let port = port.parse().ok().filter(|p: &u16| *p > 0);
            (host, port.ok_or_else(|| problem("DB_URI has no valid port", FORM))?)
        }
        _ => (uri.host, default_port),
    };
    if host.is_empty() {
        return Err(problem("DB_URI names no host", FORM));
    }
    let name = uri.path.trim_start_matches('/');
    if name.is_empty() {
        return Err(problem("DB_URI names no database", FORM));
    }
    if user.is_empty() {
        return Err(problem("DB_URI names no user", FORM));
    }
    let decoded =
        |text: &str| uri::decode(text).map_err(|why| problem(format!("DB_URI {}", why.words()), ENCODE));
    Ok(Database {
        kind,
        user: decoded(user)?,
        password: password.map(decoded).transpose()?.filter(|p| !p.is_empty()).map(Secret),
        host: host.trim_matches(['[', ']']).to_owned(),
        port,
        name: decoded(name)?,
        origin: at.clone(),
    })
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
            ("postgresql://quay:a:b@db/registry", "PostgreSQL quay a:b db:5432 registry"),
            (
                "postgresql://quay:p%40s%25@db/registry?sslmode=require",
                "PostgreSQL quay p@s% db:5432 registry",
            ),
            ("mysql+pymysql://q:p@db/quay", "MySQL q p db:3306 quay"),
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
            "postgresql://q:geh?eim@db/x",
            "postgresql://q:geh%zzeim@db/x",
            "postgresql://q:geh#eim@db/x",
            "postgresql://q:geh^eim@db/x",
            "postgresql://q:gehäeim@db/x",
            "postgresql://q:geh[eim@db/x",
            "postgresql://q:geh eim@db/x",
        ] {
            let said = shown(uri);
            assert!(said.contains("percent-encode it") && !said.contains("geh"), "{said}");
        }
        assert!(shown("sqlite:////x.db").contains("ends at SQLite"));
    }
}
