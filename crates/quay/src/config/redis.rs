use super::finding::Severity;
use super::mend::Mend;
use super::model::{RedisServer, Service};
use super::reader::{Reader, meant_bool, port};
use crate::diag::{Diagnostic, Origin, closest};
use crate::host::Secret;
use crate::value::plain;
use crate::yaml::{Kind, Mapping, Node};

/// What Quay's start looks at itself.
const OWN: [&str; 4] = ["host", "port", "password", "ssl"];

/// What else its Redis client takes; Quay hands it the whole mapping.
const CLIENTS: [&str; 28] = [
    "db",
    "username",
    "ssl_ca_certs",
    "ssl_ca_data",
    "ssl_ca_path",
    "ssl_cert_reqs",
    "ssl_certfile",
    "ssl_keyfile",
    "ssl_password",
    "ssl_check_hostname",
    "ssl_min_version",
    "ssl_ciphers",
    "socket_timeout",
    "socket_connect_timeout",
    "socket_keepalive",
    "socket_keepalive_options",
    "unix_socket_path",
    "encoding",
    "encoding_errors",
    "decode_responses",
    "retry_on_timeout",
    "retry_on_error",
    "max_connections",
    "single_connection_client",
    "health_check_interval",
    "client_name",
    "protocol",
    "connection_pool",
];

const PULLS: &str = "PULL_METRICS_REDIS";

/// Reads both Redis servers: build logs, user events. Pull metrics, where they have one, are a service.
pub(super) fn read(reader: &mut Reader<'_>) -> (Option<RedisServer>, Option<RedisServer>) {
    let logs = read_one(reader, "BUILDLOGS_REDIS");
    let events = read_one(reader, "USER_EVENTS_REDIS");
    if let (Some(logs), Some(events)) = (&logs, &events)
        && logs.port != events.port
    {
        reader.warning(
            Diagnostic::new("Quay's own check of USER_EVENTS_REDIS uses the port of BUILDLOGS_REDIS")
                .at(&events.origin)
                .note(format!("it would ask {}:{} instead of port {}", events.host, logs.port, events.port))
                .hint("use one port for both"),
        );
    }
    if let Some(pulls) = read_one(reader, PULLS) {
        reader.services.push(Service {
            key: PULLS.into(),
            what: "the Redis of the pull metrics",
            place: format!("{}:{}", pulls.host, pulls.port),
            address: Some((pulls.host, pulls.port)),
        });
    }
    (logs, events)
}

fn read_one(reader: &mut Reader<'_>, key: &'static str) -> Option<RedisServer> {
    let (settings, _) = reader.map(key)?;
    let place = reader.at(key);
    names(reader, key, settings);
    let before = reader.findings.len();
    let tls = tls(reader, key, settings);
    number_of_database(reader, key, settings);
    let password = password(reader, key, settings);
    let host = host(reader, key, settings, &place);
    let port = number(reader, key, settings, &place);
    let errors = reader.findings.iter().skip(before).any(|f| f.severity == Severity::Error);
    let (host, port) = host.zip(port).filter(|_| !errors)?;
    Some(RedisServer { host, port, password, tls, origin: place })
}

fn names(reader: &mut Reader<'_>, key: &str, settings: &Mapping) {
    let known = || OWN.into_iter().chain(CLIENTS);
    for (name, _) in settings.iter() {
        let text = name.key_text();
        if !known().any(|k| k == text) {
            let near = closest(&text, known()).map(|near| format!("did you mean {near}?"));
            reader.warning(
                Diagnostic::new(format!("{key}: Quay's Redis client does not know {text}"))
                    .at(&name.origin)
                    .note("Quay starts, and fails where it first needs that Redis")
                    .hint(near.unwrap_or_else(|| "take it out".into())),
            );
        }
    }
}

fn tls(reader: &mut Reader<'_>, key: &str, settings: &Mapping) -> bool {
    let Some(node) = settings.get("ssl") else { return false };
    if let Some(on) = reader.plain_bool(node) {
        return on;
    }
    let meant = meant_bool(node);
    let says = |on: bool| format!("{key}: ssl is written as {on}");
    let mend = meant.and_then(|on| Mend::scalar(reader, node, on.to_string(), says(on)));
    let said = Diagnostic::new(format!("{key}: ssl is true or false")).at(&node.origin);
    reader.say(Severity::Error, said.hint("write ssl: true, without quotes"), mend);
    meant.unwrap_or(false)
}

/// Which of its databases; the start looks at that of the pull metrics only.
fn number_of_database(reader: &mut Reader<'_>, key: &str, settings: &Mapping) {
    if let Some(node) = settings.get("db").filter(|n| key == PULLS && !matches!(n.kind, Kind::Int(_))) {
        let said = Diagnostic::new(format!("{key}: db is a whole number, not {}", node.type_name()));
        reader.error(said.at(&node.origin).hint("write db: 0"));
    }
}

fn password(reader: &mut Reader<'_>, key: &str, settings: &Mapping) -> Option<Secret> {
    let node = settings.get("password")?;
    if node.as_str().is_none() {
        let written = reader.written(node);
        let mend = matches!(node.kind, Kind::Int(_) | Kind::Float(_))
            .then(|| {
                Mend::scalar(
                    reader,
                    node,
                    format!("'{written}'"),
                    format!("{key}: password is put in quotes"),
                )
            })
            .flatten();
        let hint = if node.is_null() { "take password out, or give one" } else { "put it in quotes" };
        let said = Diagnostic::new(format!("{key}: password is a string, not {}", node.type_name()));
        reader.say(Severity::Error, said.at(&node.origin).hint(hint), mend);
        return None;
    }
    Some(Secret(plain(&node.to_value()))).filter(|secret| !secret.0.is_empty())
}

fn host(reader: &mut Reader<'_>, key: &str, settings: &Mapping, place: &Origin) -> Option<String> {
    let Some(node) = settings.get("host") else {
        if key == "USER_EVENTS_REDIS" {
            let said = Diagnostic::new(format!("{key} has no host: Quay asks localhost, its own container"))
                .at(place);
            reader.warning(said.hint("add host: NAME"));
            return Some("localhost".into());
        }
        let said = Diagnostic::new(format!("{key} has no host")).at(place);
        reader.error(said.hint("add host: NAME, and port and password"));
        return None;
    };
    let wrong = match node.as_str() {
        None | Some("") => {
            Some((format!("{key}: host is a name or an address"), "write host: redis".to_owned()))
        }
        Some(text) if text.contains("://") || text.contains('/') => Some((
            format!("{key}: host is a name only, not a URL"),
            "write the name; TLS is ssl: true, the port is port: NUMBER".to_owned(),
        )),
        Some(text) if text.contains(':') => {
            Some((format!("{key}: host holds a colon"), "write the port as port: NUMBER".to_owned()))
        }
        Some(_) => None,
    };
    if let Some((message, hint)) = wrong {
        reader.error(Diagnostic::new(message).at(&node.origin).hint(hint));
        return None;
    }
    node.as_str().map(str::to_owned)
}

fn number(reader: &mut Reader<'_>, key: &str, settings: &Mapping, place: &Origin) -> Option<u16> {
    let Some(node) = settings.get("port") else {
        // Without a host the start asks its client's own default.
        let host = settings.get("host")?;
        let mend = added_port(reader, settings, host, key);
        let said =
            Diagnostic::new(format!("{key} has no port, and Quay's start has no default for it")).at(place);
        reader.say(Severity::Error, said.hint("add port: 6379"), mend);
        return None;
    };
    let read = port(node);
    if !matches!(node.kind, Kind::Int(_)) || read.is_none() {
        let mend = read.filter(|_| node.as_str().is_some()).and_then(|number| {
            Mend::scalar(reader, node, number.to_string(), format!("{key}: port loses its quotes"))
        });
        let hint = if read.is_some() { "write it without quotes" } else { "write port: 6379" };
        let said = Diagnostic::new(format!("{key}: port is a number from 1 to 65535")).at(&node.origin);
        reader.say(Severity::Error, said.hint(hint), mend);
        return None;
    }
    read
}

/// Redis's own port, written behind the host.
fn added_port(reader: &Reader<'_>, settings: &Mapping, host: &Node, key: &str) -> Option<Mend> {
    let written = reader.written(host);
    let (name, _) = settings.entry("host")?;
    let line = reader.source.line(name.origin.line)?;
    let before: String = line.chars().take(name.origin.column.saturating_sub(1) as usize).collect();
    let behind = if before.trim().is_empty() {
        format!("{written}\n{before}port: 6379")
    } else if before.contains('{') {
        format!("{written}, port: 6379")
    } else {
        return None;
    };
    (name.origin.line == host.origin.line)
        .then(|| Mend::scalar(reader, host, behind, format!("{key}: port: 6379 is added")))
        .flatten()
}
