use super::model::{S3Access, StorageLocation};
use super::reader::{Reader, port};
use crate::diag::{Diagnostic, Origin, closest};
use crate::host::Secret;
use crate::value::plain;
use crate::yaml::{Kind, Mapping, Node};

/// A storage driver of Quay's: its name, what it needs, and what else it takes where that is all.
struct Driver {
    name: &'static str,
    needs: &'static [&'static str],
    takes: Option<&'static [&'static str]>,
}

const GATEWAY_NEEDS: &[&str] =
    &["hostname", "is_secure", "storage_path", "access_key", "secret_key", "bucket_name"];
const GATEWAY_TAKES: &[&str] = &[
    "region_name",
    "signature_version",
    "port",
    "minimum_chunk_size_mb",
    "maximum_chunk_size_mb",
    "server_side_assembly",
];

const fn driver(name: &'static str, needs: &'static [&'static str]) -> Driver {
    Driver { name, needs, takes: None }
}

const DRIVERS: [Driver; 13] = [
    Driver { name: "LocalStorage", needs: &["storage_path"], takes: Some(&[]) },
    Driver { name: "RadosGWStorage", needs: GATEWAY_NEEDS, takes: Some(GATEWAY_TAKES) },
    Driver { name: "RHOCSStorage", needs: GATEWAY_NEEDS, takes: Some(GATEWAY_TAKES) },
    Driver { name: "IBMCloudStorage", needs: GATEWAY_NEEDS, takes: Some(GATEWAY_TAKES) },
    driver("S3Storage", &["s3_bucket", "storage_path"]),
    driver("STSS3Storage", &["s3_bucket", "storage_path", "sts_role_arn"]),
    driver("GoogleCloudStorage", &["storage_path", "access_key", "secret_key", "bucket_name"]),
    driver("SwiftStorage", &["storage_path", "swift_container", "auth_url", "swift_user", "swift_password"]),
    driver(
        "CloudFrontedS3Storage",
        &[
            "s3_bucket",
            "storage_path",
            "cloudfront_distribution_domain",
            "cloudfront_key_id",
            "cloudfront_privatekey_filename",
        ],
    ),
    driver("AzureStorage", &["azure_container", "storage_path", "azure_account_name"]),
    driver("CloudFlareStorage", &["s3_bucket", "storage_path", "cloudflare_domain"]),
    driver("AkamaiS3Storage", &["s3_bucket", "storage_path", "akamai_domain"]),
    driver("MultiCDNStorage", &["providers", "default_provider", "storage_config"]),
];

pub(super) fn read(reader: &mut Reader<'_>) -> Vec<StorageLocation> {
    let Some((locations, _)) = reader.map("DISTRIBUTED_STORAGE_CONFIG") else { return Vec::new() };
    let place = reader.at("DISTRIBUTED_STORAGE_CONFIG");
    if locations.is_empty() {
        reader.error(
            Diagnostic::new("DISTRIBUTED_STORAGE_CONFIG names no storage")
                .at(&place)
                .hint("add default: [LocalStorage, {storage_path: /datastorage/registry}]"),
        );
    }
    let found: Vec<StorageLocation> = locations
        .iter()
        .filter_map(|(id, entry)| location(reader, &id.key_text(), &id.origin, entry))
        .collect();
    let ids: Vec<String> = locations.iter().map(|(id, _)| id.key_text()).collect();
    for key in ["DISTRIBUTED_STORAGE_PREFERENCE", "DISTRIBUTED_STORAGE_DEFAULT_LOCATIONS"] {
        for node in reader.get(key).and_then(Node::as_seq).unwrap_or_default() {
            exists(reader, key, node, &ids);
        }
    }
    if let Some(node) = reader.get("DISTRIBUTED_STORAGE_PREFERENCE")
        && node.as_seq().is_some_and(<[Node]>::is_empty)
    {
        reader.error(
            Diagnostic::new("DISTRIBUTED_STORAGE_PREFERENCE names no storage: nothing could be pushed")
                .at(&node.origin)
                .hint(format!("write [{}]", ids.first().map_or("default", String::as_str))),
        );
    }
    for key in ["USERFILES_LOCATION", "LOG_ARCHIVE_LOCATION", "ACTION_LOG_ARCHIVE_LOCATION"] {
        if let Some(node) = reader.get(key) {
            exists(reader, key, node, &ids);
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

/// Says so where a storage is named that is not there.
fn exists(reader: &mut Reader<'_>, key: &str, node: &Node, ids: &[String]) {
    let Some(name) = node.as_str().filter(|name| !ids.iter().any(|id| id == name)) else { return };
    let near = closest(name, ids.iter().map(String::as_str)).map(|near| format!("did you mean {near}?"));
    reader.error(
        Diagnostic::new(format!("{key}: DISTRIBUTED_STORAGE_CONFIG has no storage {name}"))
            .at(&node.origin)
            .hint(near.unwrap_or_else(|| format!("it has {}", ids.join(", ")))),
    );
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
    let Some(driver) = DRIVERS.iter().find(|d| d.name == text) else {
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
    settings_fit(reader, id, driver, settings, &name.origin);
    let s3 = access(settings, text);
    if let Some(host) = settings.get("hostname").and_then(|n| Some((n.as_str()?, &n.origin)))
        && (host.0.contains("://") || host.0.contains('/'))
    {
        reader.error(
            Diagnostic::new(format!("the storage {id}: hostname is a name only, not a URL"))
                .at(host.1)
                .hint("the scheme is is_secure: true or false, the port is port: NUMBER"),
        );
    }
    Some(StorageLocation { id: id.to_owned(), driver: text.to_owned(), s3, origin: at.clone() })
}

fn settings_fit(reader: &mut Reader<'_>, id: &str, driver: &Driver, settings: &Mapping, at: &Origin) {
    let name = driver.name;
    for key in driver.needs {
        if settings.get(key).is_none_or(Node::is_null) {
            reader.error(
                Diagnostic::new(format!("the storage {id}: {name} needs {key}"))
                    .at(at)
                    .hint(format!("{name} needs {}", driver.needs.join(", "))),
            );
        }
    }
    if let Some(more) = driver.takes {
        let known = || driver.needs.iter().chain(more).copied();
        for (key, _) in settings.iter() {
            let text = key.key_text();
            if !known().any(|k| k == text) {
                let near = closest(&text, known()).map(|near| format!("did you mean {near}?"));
                let all = || format!("it takes {}", known().collect::<Vec<_>>().join(", "));
                reader.error(
                    Diagnostic::new(format!(
                        "the storage {id}: {name} does not know {text}, and Quay would not start"
                    ))
                    .at(&key.origin)
                    .hint(near.unwrap_or_else(all)),
                );
            }
        }
    }
    if let Some(node) = settings.get("is_secure").filter(|n| !matches!(n.kind, Kind::Bool(_))) {
        reader.error(
            Diagnostic::new(format!(
                "the storage {id}: is_secure is true or false, not {}",
                node.type_name()
            ))
            .at(&node.origin)
            .hint("true speaks TLS to the gateway"),
        );
    }
    if let Some(node) = settings.get("port").filter(|n| port(n).is_none()) {
        reader.error(
            Diagnostic::new(format!("the storage {id}: port is a number from 1 to 65535")).at(&node.origin),
        );
    }
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
