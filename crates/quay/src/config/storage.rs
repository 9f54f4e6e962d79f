use super::drivers::{self, DRIVERS, Driver};
use super::finding::Severity;
use super::mend::Mend;
use super::model::{S3Access, Service, StorageLocation};
use super::reader::{Reader, meant_bool, port};
use super::storage_cdn;
use crate::diag::{Diagnostic, Origin, closest};
use crate::host::Secret;
use crate::value::plain;
use crate::yaml::{Kind, Mapping, Node};

const CONFIG: &str = "DISTRIBUTED_STORAGE_CONFIG";
const PREFERENCE: &str = "DISTRIBUTED_STORAGE_PREFERENCE";

/// Settings that Quay's start takes as strings only.
const TEXTS: [&str; 29] = [
    "access_key",
    "secret_key",
    "bucket_name",
    "hostname",
    "s3_access_key",
    "s3_secret_key",
    "s3_bucket",
    "host",
    "azure_container",
    "azure_account_name",
    "azure_account_key",
    "sas_token",
    "endpoint_url",
    "storage_path",
    "cloudfront_distribution_domain",
    "cloudfront_key_id",
    "cloudflare_domain",
    "default_provider",
    "auth_url",
    "swift_container",
    "swift_user",
    "swift_password",
    "ca_cert_path",
    "temp_url_key",
    "sts_role_arn",
    "sts_user_access_key",
    "sts_user_secret_key",
    "sts_web_identity_token_file",
    "akamai_domain",
];

pub(super) fn read(reader: &mut Reader<'_>) -> Vec<StorageLocation> {
    let Some((locations, _)) = reader.map(CONFIG) else { return Vec::new() };
    if locations.is_empty() {
        let said = reader.about(CONFIG, format!("{CONFIG} names no storage"));
        reader.error(said.hint("add default: [LocalStorage, {storage_path: /datastorage/registry}]"));
    }
    let found: Vec<StorageLocation> = locations
        .iter()
        .filter_map(|(id, entry)| location(reader, &id.key_text(), &id.origin, entry))
        .collect();
    let ids: Vec<String> = locations.iter().map(|(id, _)| id.key_text()).collect();
    preference(reader, &ids);
    for node in texts(reader, "DISTRIBUTED_STORAGE_DEFAULT_LOCATIONS") {
        exists(reader, "DISTRIBUTED_STORAGE_DEFAULT_LOCATIONS", node, &ids, Severity::Warning);
    }
    let rotates = reader.flag("FEATURE_ACTION_LOG_ROTATION", false);
    for (key, severity) in [
        ("USERFILES_LOCATION", Severity::Warning),
        ("LOG_ARCHIVE_LOCATION", Severity::Warning),
        ("ACTION_LOG_ARCHIVE_LOCATION", if rotates { Severity::Error } else { Severity::Warning }),
    ] {
        if let Some(node) = reader.get(key) {
            exists(reader, key, node, &ids, severity);
        }
    }
    if reader.flag("FEATURE_STORAGE_REPLICATION", false)
        && let Some(local) = found.iter().find(|l| l.driver == "LocalStorage")
    {
        reader.error(
            Diagnostic::new("FEATURE_STORAGE_REPLICATION cannot replicate LocalStorage")
                .at(&local.origin)
                .hint("use object storage (RadosGWStorage, S3Storage), or turn the replication off"),
        );
    }
    found
}

/// The entries of a list; those that are no strings are told.
fn texts<'a>(reader: &mut Reader<'a>, key: &str) -> Vec<&'a Node> {
    let nodes = reader.get(key).and_then(Node::as_seq).unwrap_or_default();
    for node in nodes.iter().filter(|node| node.as_str().is_none()) {
        reader.error(
            Diagnostic::new(format!("{key} holds {}, and a storage's name is a string", node.type_name()))
                .at(&node.origin)
                .hint("put it in quotes"),
        );
    }
    nodes.iter().filter(|node| node.as_str().is_some()).collect()
}

/// Where images are pushed to: the first of these, or any where the list is empty.
fn preference(reader: &mut Reader<'_>, ids: &[String]) {
    // Left out, it is Quay's own default, and names a storage that hardly anybody has.
    if reader.root.get(PREFERENCE).is_none() && !ids.iter().any(|id| id == "local_us") && !ids.is_empty() {
        let said =
            Diagnostic::new(format!("{PREFERENCE} is missing: Quay starts, and nothing can be pushed"));
        reader.error(
            said.hint(format!("write {PREFERENCE}: [{}]", ids.first().map_or("default", String::as_str))),
        );
    }
    for (nth, node) in texts(reader, PREFERENCE).into_iter().enumerate() {
        let severity = if nth == 0 { Severity::Error } else { Severity::Warning };
        exists(reader, PREFERENCE, node, ids, severity);
    }
    if reader.flag("FEATURE_STORAGE_REPLICATION", false)
        && reader.get(PREFERENCE).is_none_or(|node| node.as_seq().is_some_and(<[Node]>::is_empty))
    {
        let key = "FEATURE_STORAGE_REPLICATION";
        let said = reader.about(key, format!("{key} needs {PREFERENCE}"));
        reader.error(said.hint("name the storage that this node pushes to"));
    }
}

/// Says so where a storage is named that is not there.
fn exists(reader: &mut Reader<'_>, key: &str, node: &Node, ids: &[String], severity: Severity) {
    let Some(name) = node.as_str().filter(|name| !ids.iter().any(|id| id == name)) else { return };
    let near = closest(name, ids.iter().map(String::as_str)).map(|near| format!("did you mean {near}?"));
    let said = Diagnostic::new(format!("{key}: {CONFIG} has no storage {name}"))
        .at(&node.origin)
        .hint(near.unwrap_or_else(|| format!("it has {}", ids.join(", "))));
    reader.say(severity, said, None);
}

fn location(reader: &mut Reader<'_>, id: &str, at: &Origin, entry: &Node) -> Option<StorageLocation> {
    let (Some(name), Some(settings)) = (
        entry.as_seq().and_then(<[Node]>::first).filter(|n| n.as_str().is_some()),
        entry.as_seq().and_then(|items| items.get(1)).and_then(Node::as_map),
    ) else {
        reader.error(
            Diagnostic::new(format!("the storage {id} is a list of a driver and its settings"))
                .at(&entry.origin)
                .hint(format!("write {id}: [LocalStorage, {{storage_path: /datastorage/registry}}]")),
        );
        return None;
    };
    let text = name.as_str().unwrap_or_default();
    let Some(driver) = drivers::find(text) else {
        let names = DRIVERS.iter().map(|d| d.name);
        let near = closest(text, names.clone()).map(|near| format!("did you mean {near}?"));
        reader.error(
            Diagnostic::new(format!("Quay has no storage driver {text}"))
                .at(&name.origin)
                .note("for a name that it does not know Quay takes one that keeps nothing, without a word")
                .hint(near.unwrap_or_else(|| format!("it has {}", names.collect::<Vec<_>>().join(", ")))),
        );
        return None;
    };
    if driver.name == "AkamaiS3Storage" {
        reader.error(
            Diagnostic::new(format!(
                "the storage {id}: Quay's own check at its start does not know AkamaiS3Storage"
            ))
            .at(&name.origin)
            .hint("make it a provider of a MultiCDNStorage"),
        );
    }
    required(reader, id, driver, settings, driver.alone, &name.origin);
    settings_fit(reader, id, driver, settings, &name.origin);
    storage_cdn::read(reader, id, driver, settings);
    asked(reader, id, driver);
    Some(StorageLocation {
        id: id.to_owned(),
        driver: text.to_owned(),
        s3: access(settings, text),
        origin: at.clone(),
    })
}

/// What the start asks that no setting names.
fn asked(reader: &mut Reader<'_>, id: &str, driver: &Driver) {
    let what = match driver.name {
        "STSS3Storage" => "AWS's token service, for the storage",
        "GoogleCloudStorage" => "Google's storage",
        "AzureStorage" => "Azure's storage",
        "SwiftStorage" => "the Swift storage",
        _ => return,
    };
    reader.services.push(Service {
        key: format!("{CONFIG}: {id}"),
        what,
        place: driver.name.into(),
        address: None,
    });
}

fn required(
    reader: &mut Reader<'_>,
    id: &str,
    driver: &Driver,
    settings: &Mapping,
    keys: &[&'static str],
    at: &Origin,
) {
    let name = driver.name;
    for key in keys {
        if settings.get(key).is_none_or(|n| n.is_null() || n.as_str() == Some("")) {
            let all: Vec<&str> = driver.needs.iter().chain(driver.alone).copied().collect();
            reader.error(
                Diagnostic::new(format!("the storage {id}: {name} needs {key}"))
                    .at(at)
                    .hint(format!("{name} needs {}", all.join(", "))),
            );
        }
    }
}

/// Whether a storage's settings are what its driver takes.
pub(super) fn settings_fit(
    reader: &mut Reader<'_>,
    id: &str,
    driver: &Driver,
    settings: &Mapping,
    at: &Origin,
) {
    required(reader, id, driver, settings, driver.needs, at);
    let name = driver.name;
    for (key, _) in settings.iter() {
        let text = key.key_text();
        if driver.known().any(|k| k == text) {
            continue;
        }
        let near = closest(&text, driver.known()).map(|near| format!("did you mean {near}?"));
        let all = || format!("it takes {}", driver.known().collect::<Vec<_>>().join(", "));
        if driver.perhaps.contains(&text.as_str()) {
            let said = Diagnostic::new(format!("the storage {id}: not every {name} takes {text}"));
            reader.warning(said.at(&key.origin).note("Quay does not start where it does not").hint(all()));
            continue;
        }
        reader.error(
            Diagnostic::new(format!(
                "the storage {id}: {name} does not know {text}, and Quay would not start"
            ))
            .at(&key.origin)
            .hint(near.unwrap_or_else(all)),
        );
    }
    for (key, node) in settings.iter() {
        typed(reader, id, &key.key_text(), node);
    }
}

/// What Quay's start takes, each as one kind of value only.
fn typed(reader: &mut Reader<'_>, id: &str, key: &str, node: &Node) {
    if TEXTS.contains(&key) && node.as_str().is_none() {
        let written = reader.written(node);
        let mend = matches!(node.kind, Kind::Int(_) | Kind::Float(_))
            .then(|| {
                Mend::scalar(
                    reader,
                    node,
                    format!("'{written}'"),
                    format!("{CONFIG}: {key} is put in quotes"),
                )
            })
            .flatten();
        let said = Diagnostic::new(format!("the storage {id}: {key} is a string, not {}", node.type_name()));
        reader.say(Severity::Error, said.at(&node.origin).hint("put it in quotes"), mend);
    }
    match key {
        "is_secure" => secure(reader, id, node),
        // An empty string is none.
        "port" if port(node).is_none() && node.as_str() != Some("") => {
            let said = Diagnostic::new(format!("the storage {id}: port is a number from 1 to 65535"));
            reader.error(said.at(&node.origin).hint("write port: 443"));
        }
        "hostname" | "host" if node.as_str().is_some_and(|host| host.contains('/')) => {
            reader.error(
                Diagnostic::new(format!("the storage {id}: {key} is a name only, not a URL"))
                    .at(&node.origin)
                    .hint("the scheme is is_secure: true or false, the port is port: NUMBER"),
            );
        }
        "auth_version" => {
            let version = match &node.kind {
                Kind::Int(number) => Some(*number),
                _ => node.as_str().and_then(|text| text.parse().ok()),
            };
            if !version.is_some_and(|number| (1..=3).contains(&number)) {
                let said = Diagnostic::new(format!("the storage {id}: auth_version is 1, 2 or 3"));
                reader.error(said.at(&node.origin).hint("write auth_version: 3"));
            }
        }
        _ => {}
    }
}

fn secure(reader: &mut Reader<'_>, id: &str, node: &Node) {
    if reader.plain_bool(node).is_some() {
        return;
    }
    let says = |on: bool| format!("{CONFIG}: is_secure is written as {on}");
    let mend = meant_bool(node).and_then(|on| Mend::scalar(reader, node, on.to_string(), says(on)));
    let found = reader.found(node);
    let said = Diagnostic::new(format!("the storage {id}: is_secure is true or false, not {found}"));
    reader.say(Severity::Error, said.at(&node.origin).hint("true speaks TLS to the gateway"), mend);
}

/// How the bucket is reached, for drivers with an address of their own.
fn access(settings: &Mapping, driver: &str) -> Option<S3Access> {
    let text = |key: &str| settings.get(key).filter(|n| !n.is_null()).map(|n| plain(&n.to_value()));
    let gateway = driver != "S3Storage";
    let (host, bucket, access_key, secret_key, region) = if gateway {
        ("hostname", "bucket_name", "access_key", "secret_key", "region_name")
    } else {
        ("host", "s3_bucket", "s3_access_key", "s3_secret_key", "s3_region")
    };
    let secure = match settings.get("is_secure").map(|n| &n.kind) {
        Some(Kind::Bool(on)) => *on,
        _ => !gateway,
    };
    Some(S3Access {
        host: text(host)?,
        port: settings.get("port").and_then(port),
        secure,
        bucket: text(bucket)?,
        access_key: text(access_key)?,
        secret_key: Secret(text(secret_key)?),
        region: text(region).unwrap_or_else(|| "us-east-1".into()),
        path: text("storage_path").unwrap_or_default(),
    })
}
