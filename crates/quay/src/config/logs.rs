use super::keys::{Shape, is_duration};
use super::model::Service;
use super::reader::{Reader, port};
use crate::diag::{Diagnostic, Origin, closest};
use crate::yaml::{Mapping, Node};

const CONFIG: &str = "LOGS_MODEL_CONFIG";
const CACHE: &str = "DATA_MODEL_CACHE_CONFIG";

/// What Quay's start takes as the engine of its cache.
const ENGINES: [&str; 4] = ["inmemory", "memcached", "redis", "rediscluster"];

/// Where Quay's own memcached listens, in its container.
const OWN_MEMCACHED: u16 = 18080;

/// What the start reads of the log's configuration, whichever of it is used.
const PARTS: [(&str, &[(&str, Shape)]); 3] = [
    (
        "elasticsearch_config",
        &[
            ("host", Shape::Text),
            ("port", Shape::Int),
            ("access_key", Shape::Text),
            ("secret_key", Shape::Text),
            ("aws_region", Shape::Text),
            ("index_prefix", Shape::Text),
            ("use_ssl", Shape::Bool),
        ],
    ),
    (
        "kafka_config",
        &[("topic", Shape::Text), ("bootstrap_servers", Shape::List), ("max_block_seconds", Shape::Int)],
    ),
    (
        "kinesis_stream_config",
        &[
            ("stream_name", Shape::Text),
            ("aws_region", Shape::Text),
            ("aws_access_key", Shape::Text),
            ("aws_secret_key", Shape::Text),
            ("retries", Shape::Int),
            ("read_timeout", Shape::Int),
            ("connect_timeout", Shape::Int),
            ("max_pool_connections", Shape::Int),
        ],
    ),
];

/// Checks where the audit log goes, and the cache.
pub(super) fn read(reader: &mut Reader<'_>) {
    kinds(reader);
    match reader.text("LOGS_MODEL").map(|(model, _)| model) {
        Some("elasticsearch") => elasticsearch(reader, true),
        Some("transition_reads_both_writes_es") => elasticsearch(reader, false),
        Some("splunk") => splunk(reader),
        _ => {}
    }
    cache(reader);
}

fn kinds(reader: &mut Reader<'_>) {
    let Some((config, _)) = reader.map(CONFIG) else { return };
    for (name, known) in PARTS {
        let Some(node) = config.get(name) else { continue };
        let Some(settings) = node.as_map() else {
            let said = Diagnostic::new(format!("{CONFIG}: {name} is a mapping, not {}", node.type_name()));
            reader.error(said.at(&node.origin).hint(format!("write {name}: {{...}}")));
            continue;
        };
        for (key, shape) in known {
            let Some(node) = settings.get(key) else { continue };
            let word = *shape == Shape::Bool && shape.fits(node) && reader.plain_bool(node).is_none();
            if word || !shape.fits(node) {
                let said = Diagnostic::new(format!("{CONFIG}: {name}: {key} is {}", shape.words()));
                reader.error(said.at(&node.origin).hint(format!("write {key} as {}", shape.words())));
            }
        }
    }
}

/// A part of the log's configuration; what is missing is told.
fn part<'a>(reader: &mut Reader<'a>, name: &str) -> Option<(&'a Mapping, Origin)> {
    let found = reader.map(CONFIG).and_then(|(config, _)| config.get(name));
    let at = found.map_or_else(|| reader.at("LOGS_MODEL"), |n| n.origin.clone());
    let Some(settings) = found.and_then(Node::as_map) else {
        let said = Diagnostic::new(format!("{CONFIG} needs {name}, a mapping")).at(&at);
        reader.error(said.hint(format!("write {CONFIG}: {{{name}: {{host: ..., port: ...}}}}")));
        return None;
    };
    Some((settings, at))
}

/// Who brings the log entries there.
fn producer(reader: &mut Reader<'_>, known: &[&str]) -> Option<String> {
    let found = reader.map(CONFIG).and_then(|(config, _)| config.get("producer"));
    let text = found.and_then(Node::as_str);
    if let Some(text) = text.filter(|text| known.contains(text)) {
        return Some(text.to_owned());
    }
    let at = found.map_or_else(|| reader.at("LOGS_MODEL"), |n| n.origin.clone());
    let near =
        text.and_then(|text| closest(text, known.iter().copied())).map(|n| format!("did you mean {n}?"));
    let said = Diagnostic::new(format!("{CONFIG} needs a producer that Quay has")).at(&at);
    reader.error(said.hint(near.unwrap_or_else(|| format!("it is one of {}", known.join(", ")))));
    None
}

fn elasticsearch(reader: &mut Reader<'_>, checked: bool) {
    producer(reader, &["elasticsearch", "kafka", "kinesis_stream"]);
    let Some((settings, at)) = part(reader, "elasticsearch_config") else { return };
    let needs: &[&str] =
        if checked { &["host", "port", "access_key", "secret_key"] } else { &["host", "port"] };
    needed(reader, "elasticsearch_config", settings, needs, &at);
    if checked {
        asked(reader, settings, "the Elasticsearch server", "https");
    }
}

fn splunk(reader: &mut Reader<'_>) {
    let Some(producer) = producer(reader, &["splunk", "splunk_hec"]) else { return };
    let name = if producer == "splunk" { "splunk_config" } else { "splunk_hec_config" };
    let Some((settings, at)) = part(reader, name) else { return };
    if producer == "splunk" {
        needed(reader, name, settings, &["host", "port", "bearer_token"], &at);
        asked(reader, settings, "the Splunk server", "https");
        certificate(reader, name, settings);
    } else if settings.get("search_token").is_none() {
        let said = Diagnostic::new(format!("{CONFIG}: {name} has no search_token")).at(&at);
        reader.warning(said.note("newer versions of Quay do not start without it").hint("add search_token"));
    }
}

/// The certificate of who signed the Splunk server's.
fn certificate(reader: &mut Reader<'_>, name: &str, settings: &Mapping) {
    let Some((path, at)) = settings.get("ssl_ca_path").and_then(|n| Some((n.as_str()?, &n.origin))) else {
        return;
    };
    let inside = ["conf/stack/", "/conf/stack/", "/quay-registry/conf/stack/"];
    if let Some(file) = inside.iter().find_map(|folder| path.strip_prefix(folder))
        && reader.lacks(file)
    {
        let said = Diagnostic::new(format!("{CONFIG}: {name} names {path}, and {file} is missing"));
        reader.error(said.at(at).hint(format!("put {file} beside the configuration")));
    }
}

fn needed(reader: &mut Reader<'_>, name: &str, settings: &Mapping, keys: &[&str], at: &Origin) {
    for key in keys {
        match settings.get(key) {
            Some(node) if !node.is_null() && node.as_str() != Some("") => {}
            _ => {
                let said = Diagnostic::new(format!("{CONFIG}: {name} needs {key}")).at(at);
                reader.error(said.hint(format!("it needs {}", keys.join(", "))));
            }
        }
    }
}

fn asked(reader: &mut Reader<'_>, settings: &Mapping, what: &'static str, scheme: &str) {
    let host = settings.get("host").and_then(Node::as_str);
    if let (Some(host), Some(port)) = (host, settings.get("port").and_then(port)) {
        let place = format!("{scheme}://{host}:{port}");
        let address = Some((host.to_owned(), port));
        reader.services.push(Service { key: CONFIG.into(), what, place, address });
    }
}

fn cache(reader: &mut Reader<'_>) {
    let Some((settings, at)) = reader.map(CACHE) else { return };
    let (at, newest) = (at.clone(), reader.since(18));
    let engine = match settings.get("engine").map(|n| (n.as_str(), &n.origin)) {
        None => "inmemory",
        Some((Some(engine), _)) if ENGINES.contains(&engine) || (engine == "noop" && !newest) => engine,
        Some((engine, at)) => {
            let near =
                engine.and_then(|text| closest(text, ENGINES)).map(|near| format!("did you mean {near}?"));
            let said = Diagnostic::new(format!("{CACHE}: Quay has no such engine")).at(at);
            reader.error(said.hint(near.unwrap_or_else(|| format!("it has {}", ENGINES.join(", ")))));
            return;
        }
    };
    match engine {
        "memcached" => memcached(reader, settings, &at, newest),
        "redis" => redis(reader, settings, &at),
        "rediscluster" => cluster(reader, settings, &at),
        _ => {}
    }
    if !newest {
        return;
    }
    for (key, engines) in [("endpoint", &["memcached"][..]), ("redis_config", &["redis", "rediscluster"][..])]
    {
        if let Some((name, _)) = settings.entry(key).filter(|_| !engines.contains(&engine)) {
            let said = Diagnostic::new(format!("{CACHE}: the engine {engine} has no {key}")).at(&name.origin);
            reader.error(said.hint(format!("take it out, or make engine {}", engines.join(" or "))));
        }
    }
    times(reader, settings);
}

fn times(reader: &mut Reader<'_>, settings: &Mapping) {
    for key in ["repository_blob_cache_ttl", "active_repo_tags_cache_ttl", "catalog_page_cache_ttl"] {
        if let Some(node) =
            settings.get(key).filter(|n| !n.as_str().is_some_and(|t| t.is_empty() || is_duration(t)))
        {
            let said = Diagnostic::new(format!("{CACHE}: {key} is a time like 60s")).at(&node.origin);
            reader.error(said.hint("write a number and w, d, h, m or s"));
        }
    }
}

fn memcached(reader: &mut Reader<'_>, settings: &Mapping, at: &Origin, newest: bool) {
    let node = settings.get("endpoint");
    let pair = node.and_then(Node::as_seq).filter(|items| items.len() == 2);
    let read = pair.and_then(|items| match (items.first()?.as_str(), items.get(1)) {
        (Some(host), Some(number)) if number.as_str().is_none() => port(number).map(|port| (host, port)),
        _ => None,
    });
    let Some((host, port)) = read else {
        let at = node.map_or(at, |n| &n.origin);
        let said = Diagnostic::new(format!("{CACHE}: endpoint is a list of a host and a port")).at(at);
        reader.error(said.hint("write endpoint: [memcached, 11211]"));
        return;
    };
    if !newest {
        return;
    }
    let own = ["127.0.0.1", "localhost", "::1"].contains(&host) && port == OWN_MEMCACHED;
    if own {
        let at = node.map_or(at, |n| &n.origin);
        reader.error(
            Diagnostic::new(format!("{CACHE}: Quay's own memcached does not run yet when its start asks it"))
                .at(at)
                .hint(format!("leave {CACHE} out: this is its default")),
        );
        return;
    }
    let place = format!("{host}:{port}");
    let address = Some((host.to_owned(), port));
    reader.services.push(Service { key: CACHE.into(), what: "memcached", place, address });
}

fn redis(reader: &mut Reader<'_>, settings: &Mapping, at: &Origin) {
    let config = settings.get("redis_config").and_then(Node::as_map);
    let Some(primary) = config.and_then(|c| c.get("primary")).and_then(Node::as_map) else {
        let said =
            Diagnostic::new(format!("{CACHE}: the engine redis needs redis_config with primary")).at(at);
        reader.error(said.hint("write redis_config: {primary: {host: NAME, port: 6379}}"));
        return;
    };
    server(reader, primary, at);
    if let Some(replica) = config.and_then(|c| c.get("replica")).and_then(Node::as_map) {
        server(reader, replica, at);
    }
}

fn cluster(reader: &mut Reader<'_>, settings: &Mapping, at: &Origin) {
    let config = settings.get("redis_config").and_then(Node::as_map);
    let nodes = config.and_then(|c| c.get("startup_nodes")).and_then(Node::as_seq).unwrap_or_default();
    if nodes.is_empty() {
        let said = Diagnostic::new(format!("{CACHE}: the engine rediscluster needs startup_nodes")).at(at);
        reader.error(said.hint("write redis_config: {startup_nodes: [{host: NAME, port: 6379}]}"));
    }
    for node in nodes.iter().filter_map(Node::as_map) {
        server(reader, node, at);
    }
}

fn server(reader: &mut Reader<'_>, settings: &Mapping, at: &Origin) {
    let Some(host) = settings.get("host").and_then(Node::as_str).filter(|host| !host.is_empty()) else {
        let said = Diagnostic::new(format!("{CACHE}: a Redis has no host")).at(at);
        reader.error(said.hint("add host: NAME"));
        return;
    };
    let number = match settings.get("port") {
        None => Some(6379),
        Some(node) if node.as_str().is_some() => None,
        Some(node) => port(node),
    };
    let Some(number) = number else {
        let said = Diagnostic::new(format!("{CACHE}: port is a number from 1 to 65535")).at(at);
        reader.error(said.hint("write port: 6379, without quotes"));
        return;
    };
    if reader.since(18) {
        let place = format!("{host}:{number}");
        let address = Some((host.to_owned(), number));
        reader.services.push(Service { key: CACHE.into(), what: "the cache's Redis", place, address });
    }
}
