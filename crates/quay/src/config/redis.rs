use super::model::RedisServer;
use super::reader::{Reader, port};
use crate::diag::{Diagnostic, closest};
use crate::host::Secret;
use crate::value::plain;
use crate::yaml::Kind;

/// What Quay hands to its Redis client.
const SETTINGS: [&str; 9] = [
    "host",
    "port",
    "password",
    "ssl",
    "ssl_ca_certs",
    "ssl_cert_reqs",
    "ssl_certfile",
    "ssl_keyfile",
    "ssl_check_hostname",
];

/// Reads both Redis servers: build logs, user events.
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
    (logs, events)
}

fn read_one(reader: &mut Reader<'_>, key: &str) -> Option<RedisServer> {
    let (settings, _) = reader.map(key)?;
    let place = reader.at(key);
    for (name, _) in settings.iter() {
        let text = name.key_text();
        if !SETTINGS.contains(&text.as_str()) {
            let near = closest(&text, SETTINGS).map(|near| format!("did you mean {near}?"));
            let all = || format!("it takes {}", SETTINGS.join(", "));
            reader.error(
                Diagnostic::new(format!("{key}: Quay's Redis client does not know {text}"))
                    .at(&name.origin)
                    .hint(near.unwrap_or_else(all)),
            );
        }
    }
    let number = match settings.get("port") {
        None => 6379,
        Some(node) => {
            if let Some(number) = port(node) {
                number
            } else {
                reader.error(
                    Diagnostic::new(format!("{key}: port is a number from 1 to 65535"))
                        .at(&node.origin)
                        .hint("write port: 6379"),
                );
                return None;
            }
        }
    };
    let tls = matches!(settings.get("ssl").map(|n| &n.kind), Some(Kind::Bool(true)));
    let host = match settings.get("host").map(|n| (n.as_str(), &n.origin)) {
        Some((Some(host), _)) if !host.is_empty() => host.to_owned(),
        Some((_, at)) => {
            reader.error(Diagnostic::new(format!("{key}: host is a name or an address")).at(at));
            return None;
        }
        None => {
            reader.error(
                Diagnostic::new(format!("{key} has no host"))
                    .at(&place)
                    .hint("add host: NAME, and port and password"),
            );
            return None;
        }
    };
    let password = settings.get("password").filter(|n| !n.is_null());
    if let Some(node) = password
        && node.as_str().is_none()
    {
        reader.error(
            Diagnostic::new(format!("{key}: password is a string, not {}", node.type_name()))
                .at(&node.origin)
                .hint("put it in quotes"),
        );
    }
    let password = password.map(|n| Secret(plain(&n.to_value()))).filter(|s| !s.0.is_empty());
    Some(RedisServer { host, port: number, password, tls, origin: place })
}
