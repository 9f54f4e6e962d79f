use super::finding::Severity;
use super::mend::Mend;
use super::model::DatabaseKind;
use super::reader::{Reader, meant_bool};
use crate::diag::{Diagnostic, Origin, closest};
use crate::yaml::{Kind, Mapping, Node};

const KEY: &str = "DB_CONNECTION_ARGS";

/// What Quay's start looks at, and what each holds.
const SWITCHES: [&str; 2] = ["threadlocals", "autorollback"];
const TEXTS: [&str; 7] = ["sslmode", "sslrootcert", "sslcert", "sslkey", "sslsni", "sslcrl", "sslcrldir"];
const NUMBERS: [&str; 6] = [
    "sslcompression",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_count",
    "tcp_user_timeout",
];

/// What else they may be called: the database's driver gets them as they are.
const OTHERS: [&str; 10] = [
    "ssl",
    "ssl_min_protocol_version",
    "ssl_max_protocol_version",
    "timeout",
    "connect_timeout",
    "max_connections",
    "stale_timeout",
    "options",
    "application_name",
    "target_session_attrs",
];

const MODES: [&str; 6] = ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"];

/// Where Quay's container has its configuration.
const FOLDERS: [&str; 3] = ["conf/stack/", "/conf/stack/", "/quay-registry/conf/stack/"];

pub(super) fn read(reader: &mut Reader<'_>, kind: Option<DatabaseKind>) {
    let Some((arguments, _)) = reader.map(KEY) else { return };
    for key in SWITCHES {
        switch(reader, arguments, key);
    }
    for (keys, number) in [(&TEXTS[..], false), (&NUMBERS[..], true)] {
        for key in keys {
            if let Some(node) = arguments.get(key) {
                typed(reader, key, node, number);
            }
        }
    }
    near_misses(reader, arguments);
    verification(reader, arguments);
    authority(reader, arguments, kind);
}

fn switch(reader: &mut Reader<'_>, arguments: &Mapping, key: &str) {
    let Some(node) = arguments.get(key) else {
        let said = reader.about(KEY, format!("{KEY} has no {key}, which Quay's schema requires of it"));
        reader.warning(said.hint(format!("add {key}: true, or leave {KEY} out")));
        return;
    };
    match reader.plain_bool(node) {
        Some(true) => {}
        Some(false) => reader.warning(
            Diagnostic::new(format!("{KEY}: {key} is always to be true"))
                .at(&node.origin)
                .hint(format!("write {key}: true")),
        ),
        None => {
            let says = format!("{KEY}: {key} is written as true");
            let mend =
                (meant_bool(node) == Some(true)).then(|| Mend::scalar(reader, node, "true", says)).flatten();
            let found = reader.found(node);
            let said = Diagnostic::new(format!("{KEY}: {key} is true, not {found}"));
            reader.say(Severity::Error, said.at(&node.origin).hint(format!("write {key}: true")), mend);
        }
    }
}

fn typed(reader: &mut Reader<'_>, key: &str, node: &Node, number: bool) {
    let fits = if number { matches!(node.kind, Kind::Int(_)) } else { node.as_str().is_some() };
    if fits {
        return;
    }
    let word = if number { "a whole number" } else { "a string" };
    let mend = match node.as_str().and_then(|text| text.parse::<i64>().ok()) {
        Some(read) if number => {
            Mend::scalar(reader, node, read.to_string(), format!("{KEY}: {key} loses its quotes"))
        }
        _ => None,
    };
    let said = Diagnostic::new(format!("{KEY}: {key} is {word}, not {}", node.type_name())).at(&node.origin);
    reader.say(Severity::Error, said.hint(format!("write {key} as {word}")), mend);
}

fn near_misses(reader: &mut Reader<'_>, arguments: &Mapping) {
    let known = || SWITCHES.into_iter().chain(TEXTS).chain(NUMBERS).chain(OTHERS);
    for (key, _) in arguments.iter() {
        let name = key.key_text();
        if known().any(|k| k == name) {
            continue;
        }
        if let Some(near) = closest(&name, known()) {
            reader.warning(
                Diagnostic::new(format!("{KEY}: {name} is handed to the database's driver as it is"))
                    .at(&key.origin)
                    .hint(format!("did you mean {near}?")),
            );
        }
    }
}

/// `sslmode`, and the certificates that some of its values need.
fn verification(reader: &mut Reader<'_>, arguments: &Mapping) {
    let Some((mode, at)) = arguments.get("sslmode").and_then(|n| Some((n.as_str()?, &n.origin))) else {
        return;
    };
    if !MODES.contains(&mode) {
        let near = closest(mode, MODES).map(|near| format!("did you mean {near}?"));
        reader.error(
            Diagnostic::new(format!("{KEY}: there is no sslmode {mode}"))
                .at(at)
                .hint(near.unwrap_or_else(|| format!("it is one of {}", MODES.join(", ")))),
        );
        return;
    }
    if !mode.starts_with("verify-") {
        return;
    }
    match arguments.get("sslrootcert").and_then(|n| Some((n.as_str()?, &n.origin))) {
        Some((path, at)) if !path.is_empty() => in_bundle(reader, "sslrootcert", path, at),
        _ => {
            if reader.lacks("database.pem") {
                reader.error(
                    Diagnostic::new(format!(
                        "{KEY}: sslmode {mode} needs database.pem beside the configuration"
                    ))
                    .at(at)
                    .hint("put who signed the database's certificate there, or name a file in sslrootcert"),
                );
            }
        }
    }
}

/// Says so where a path into the configuration's folder leads to nothing.
fn in_bundle(reader: &mut Reader<'_>, key: &str, path: &str, at: &Origin) {
    let name = FOLDERS.iter().find_map(|folder| path.strip_prefix(folder));
    if let Some(name) = name
        && reader.lacks(name)
    {
        reader.error(
            Diagnostic::new(format!(
                "{KEY}: {key} names {path}, and {name} is missing beside the configuration"
            ))
            .at(at)
            .hint(format!("put {name} there")),
        );
    }
}

/// `ssl`: the certificate of who signed that of a `MySQL`.
fn authority(reader: &mut Reader<'_>, arguments: &Mapping, kind: Option<DatabaseKind>) {
    let Some(node) = arguments.get("ssl") else { return };
    let Some(ssl) = node.as_map() else {
        reader.error(
            Diagnostic::new(format!("{KEY}: ssl is a mapping, not {}", node.type_name()))
                .at(&node.origin)
                .hint("write ssl: {ca: conf/stack/database.pem}; for PostgreSQL use sslmode and sslrootcert"),
        );
        return;
    };
    match ssl.get("ca").map(|n| (n.as_str(), &n.origin)) {
        Some((Some(path), at)) if kind == Some(DatabaseKind::Mysql) => {
            if path.starts_with('/') {
                reader.error(
                    Diagnostic::new(format!(
                        "{KEY}: ssl: ca is a path from Quay's folder, and {path} is none"
                    ))
                    .at(at)
                    .hint("write ca: conf/stack/NAME"),
                );
            } else {
                in_bundle(reader, "ca", path, at);
            }
        }
        Some((Some(_), _)) => {}
        Some((None, at)) => {
            reader.error(
                Diagnostic::new(format!("{KEY}: ssl: ca is the path of a certificate"))
                    .at(at)
                    .hint("write ca: conf/stack/NAME"),
            );
        }
        None => reader.warning(
            Diagnostic::new(format!("{KEY}: ssl needs ca, the path of a certificate in Quay's container"))
                .at(&node.origin)
                .hint("write ssl: {ca: conf/stack/database.pem}; for PostgreSQL use sslmode and sslrootcert"),
        ),
    }
}
