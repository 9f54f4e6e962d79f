use super::address::host_and_port;
use super::keys::{is_duration, is_timedelta};
use super::model::Service;
use super::reader::Reader;
use super::uri;
use crate::diag::{Diagnostic, closest};
use crate::yaml::{Kind, Mapping, Node};

/// What must be there, and an example of it.
const REQUIRED: [(&str, &str); 5] = [
    ("BUILDLOGS_REDIS", "BUILDLOGS_REDIS: {host: redis, port: 6379, password: ...}"),
    ("DB_URI", "DB_URI: postgresql://USER:PASSWORD@HOST:5432/DATABASE"),
    (
        "DISTRIBUTED_STORAGE_CONFIG",
        "DISTRIBUTED_STORAGE_CONFIG: {default: [LocalStorage, {storage_path: /datastorage/registry}]}",
    ),
    ("SERVER_HOSTNAME", "SERVER_HOSTNAME: quay.quaylab.lan"),
    ("USER_EVENTS_REDIS", "USER_EVENTS_REDIS: {host: redis, port: 6379, password: ...}"),
];

/// A switch and what it is of no use without; Quay starts all the same.
const MISSED: [(&str, &str, &str); 4] = [
    ("FEATURE_RECAPTCHA", "RECAPTCHA_SITE_KEY", "and RECAPTCHA_SECRET_KEY"),
    ("FEATURE_RECAPTCHA", "RECAPTCHA_SECRET_KEY", "and RECAPTCHA_SITE_KEY"),
    ("FEATURE_PROGRAMMATIC_BOOTSTRAP", "BOOTSTRAP_TOKEN_OWNER", "the user whose token is written"),
    ("FEATURE_BLACKLISTED_EMAILS", "BLACKLISTED_EMAIL_DOMAINS", "a list of domains"),
];

/// All that `FOOTER_LINKS` must hold.
const LINKS: [&str; 4] = ["TERMS_OF_SERVICE_URL", "PRIVACY_POLICY_URL", "SECURITY_URL", "ABOUT_URL"];

/// What Quay's start offers where no times are given.
const TIMES: [&str; 5] = ["0s", "1d", "1w", "2w", "4w"];

const OPTIONS: &str = "TAG_EXPIRATION_OPTIONS";
const DEFAULT: &str = "DEFAULT_TAG_EXPIRATION";

/// The rules that belong to no single part.
pub(super) fn read(reader: &mut Reader<'_>) {
    for (key, example) in REQUIRED {
        if reader.get(key).is_none_or(|node| node.as_str() == Some("")) {
            let said = reader.about(key, format!("{key} is required"));
            reader.error(said.hint(example));
        }
    }
    for (switch, key, hint) in MISSED {
        if reader.flag(switch, false) && reader.get(key).is_none() {
            let said = reader.about(switch, format!("{switch} does nothing without {key}"));
            reader.warning(said.hint(hint));
        }
    }
    mail(reader);
    action_logs(reader);
    expiration(reader);
    prune(reader);
    footer(reader);
    mirror(reader);
    documentation(reader);
    builders(reader);
}

fn mail(reader: &mut Reader<'_>) {
    if !reader.flag("FEATURE_MAILING", false) {
        return;
    }
    reader.needs("FEATURE_MAILING", "MAIL_SERVER", "or set FEATURE_MAILING: false; a lab does without");
    let Some((server, _)) = reader.text("MAIL_SERVER").filter(|(server, _)| !server.is_empty()) else {
        return;
    };
    let port = match reader.get("MAIL_PORT").map(|n| &n.kind) {
        Some(Kind::Int(port)) => u16::try_from(*port).unwrap_or(587),
        _ => 587,
    };
    reader.services.push(Service {
        key: "MAIL_SERVER".into(),
        what: "the mail server",
        place: format!("{server}:{port}"),
        address: Some((server.to_owned(), port)),
    });
}

fn action_logs(reader: &mut Reader<'_>) {
    const SWITCH: &str = "FEATURE_ACTION_LOG_ROTATION";
    if reader.flag(SWITCH, false) {
        reader.needs(SWITCH, "ACTION_LOG_ARCHIVE_LOCATION", "name one of the storages");
        reader.needs(SWITCH, "ACTION_LOG_ARCHIVE_PATH", "write a folder in it, such as archives/actionlogs");
    }
}

/// When removed tags are gone for good.
fn expiration(reader: &mut Reader<'_>) {
    let given = reader.get(OPTIONS).and_then(Node::as_seq);
    for option in given.unwrap_or_default() {
        match option.as_str() {
            None => reader.error(
                Diagnostic::new(format!("{OPTIONS}: each is a string, not {}", option.type_name()))
                    .at(&option.origin)
                    .hint("write [0s, 1d, 1w, 2w, 4w]"),
            ),
            Some(text) if !is_timedelta(text) => reader.warning(
                Diagnostic::new(format!("{OPTIONS}: each is a number and w, m, d, h or s, such as 2w"))
                    .at(&option.origin)
                    .note("Quay starts, and fails where it makes users")
                    .hint("0s stands for at once"),
            ),
            Some(_) => {}
        }
    }
    if reader.get(OPTIONS).is_some() && given.is_none() {
        return;
    }
    let node = reader.get(DEFAULT);
    let Some(default) = node.map_or(Some("2w"), Node::as_str) else { return };
    let offered = match given {
        Some(options) => options.iter().any(|o| o.as_str() == Some(default)),
        None => TIMES.contains(&default),
    };
    if !offered {
        let place = if node.is_some() { DEFAULT } else { OPTIONS };
        let whose = if node.is_some() { "" } else { ", which is the default," };
        let said = Diagnostic::new(format!("{DEFAULT} {default}{whose} is not one of {OPTIONS}"));
        let at = node.map_or_else(|| reader.at(place), |n| n.origin.clone());
        reader.error(said.at(&at).hint(format!("add {default} to them, or take one of them")));
    }
}

/// What is pruned in every organization.
fn prune(reader: &mut Reader<'_>) {
    const KEY: &str = "DEFAULT_NAMESPACE_AUTOPRUNE_POLICY";
    const METHODS: [&str; 2] = ["number_of_tags", "creation_date"];
    let Some((policy, _)) = reader.map(KEY).filter(|_| reader.flag("FEATURE_AUTO_PRUNE", false)) else {
        return;
    };
    let method = policy.get("method");
    let value = policy.get("value");
    let at =
        |node: Option<&Node>, reader: &Reader<'_>| node.map_or_else(|| reader.at(KEY), |n| n.origin.clone());
    let Some(name) = method.and_then(Node::as_str).filter(|name| METHODS.contains(name)) else {
        let text = method.and_then(Node::as_str);
        let near = text.and_then(|text| closest(text, METHODS)).map(|near| format!("did you mean {near}?"));
        let said = Diagnostic::new(format!("{KEY}: there is no such method")).at(&at(method, reader));
        reader.error(said.hint(near.unwrap_or_else(|| format!("it is {}", METHODS.join(" or ")))));
        return;
    };
    let fits = match (name, value.map(|n| (&n.kind, n.as_str()))) {
        ("number_of_tags", Some((Kind::Int(number), _))) => *number > 0,
        ("creation_date", Some((_, Some(text)))) => {
            text.strip_suffix('y').map_or_else(|| prunes_by(text), |digits| prunes_by(&format!("{digits}d")))
        }
        _ => false,
    };
    if !fits {
        let (what, such) =
            if name == "creation_date" { ("a time", "7d") } else { ("a number above 0", "10") };
        let said = Diagnostic::new(format!("{KEY}: the value of {name} is {what}")).at(&at(value, reader));
        reader.error(said.hint(format!("write value: {such}")));
    }
}

/// Hours are no unit of a pruning policy.
fn prunes_by(text: &str) -> bool {
    is_duration(text) && !text.ends_with('h')
}

fn footer(reader: &mut Reader<'_>) {
    const KEY: &str = "FOOTER_LINKS";
    let Some(node) = reader.get(KEY) else { return };
    let links = node.as_map();
    let missing: Vec<&str> =
        LINKS.into_iter().filter(|link| links.and_then(|l: &Mapping| l.get(link)).is_none()).collect();
    if !missing.is_empty() {
        let said = Diagnostic::new(format!("{KEY} has no {}, and Quay would not start", missing.join(", ")));
        reader.error(said.at(&node.origin).hint(format!("it holds all of {}", LINKS.join(", "))));
    }
}

fn mirror(reader: &mut Reader<'_>) {
    const KEY: &str = "REPO_MIRROR_SERVER_HOSTNAME";
    if !reader.flag("FEATURE_REPO_MIRROR", false) {
        return;
    }
    if let Some((name, at)) = reader.text(KEY).filter(|(name, _)| !name.is_empty())
        && let Err((message, hint)) = host_and_port(KEY, name, reader.since(18))
    {
        reader.error(Diagnostic::new(message).at(at).hint(hint));
    }
}

fn documentation(reader: &mut Reader<'_>) {
    const KEY: &str = "DOCUMENTATION_ROOT";
    if let Some((text, at)) = reader.text(KEY).filter(|(text, _)| !text.is_empty())
        && !uri::is_request_uri(text)
    {
        reader.error(Diagnostic::new(format!("{KEY} is no address")).at(at).hint("write https://HOST/"));
    }
}

fn builders(reader: &mut Reader<'_>) {
    const KEY: &str = "BUILD_MANAGER";
    let Some(node) = reader.get(KEY) else { return };
    let items = node.as_seq().unwrap_or_default();
    let fits = matches!(items, [name, settings] if name.as_str().is_some() && settings.as_map().is_some());
    if !fits {
        reader.error(
            Diagnostic::new(format!("{KEY} is a list of a name and its settings"))
                .at(&node.origin)
                .hint("write [ephemeral, {ALLOWED_WORKER_COUNT: 1, ...}]"),
        );
    }
}
