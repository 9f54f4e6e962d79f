use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;

use super::drivers::{self, Driver};
use super::reader::Reader;
use super::storage::settings_fit;
use crate::diag::{Diagnostic, closest};
use crate::yaml::{Mapping, Node};

/// What a provider of a `MultiCDNStorage` may be.
const PROVIDERS: [&str; 3] = ["CloudFrontedS3Storage", "CloudFlareStorage", "AkamaiS3Storage"];

/// What a rule of it may say.
const RULES: [&str; 4] = ["namespace", "continent", "host", "target"];

/// What drivers need beyond their settings: key files, providers, the options of a Swift.
pub(super) fn read(reader: &mut Reader<'_>, id: &str, driver: &Driver, settings: &Mapping) {
    key_file(reader, id, driver, settings);
    match driver.name {
        "MultiCDNStorage" => several(reader, id, settings),
        "SwiftStorage" => swift(reader, id, settings),
        _ => {}
    }
}

/// The private key that signs the addresses of a content network.
fn key_file(reader: &mut Reader<'_>, id: &str, driver: &Driver, settings: &Mapping) {
    let named = driver.key_file.and_then(|key| settings.get(key));
    let Some((name, at)) = named.and_then(|n| Some((n.as_str()?, &n.origin))) else { return };
    let why = if reader.lacks(name) {
        format!("{name} is missing beside the configuration")
    } else if reader.file(name).is_some_and(|pem| PrivateKeyDer::from_pem_slice(&pem).is_err()) {
        format!("{name} holds no private key")
    } else {
        return;
    };
    reader.error(
        Diagnostic::new(format!("the storage {id}: {why}, and Quay would not start"))
            .at(at)
            .hint("put the network's private key there, a PEM file that is not encrypted"),
    );
}

fn swift(reader: &mut Reader<'_>, id: &str, settings: &Mapping) {
    let third = settings
        .get("auth_version")
        .is_some_and(|n| ["3", "3.0"].contains(&reader.written(n).trim_matches(['\'', '"'])));
    if !third {
        return;
    }
    let options = settings.get("os_options").and_then(Node::as_map);
    for key in ["user_domain_name", "tenant_id"] {
        if options.and_then(|o| o.get(key)).and_then(Node::as_str).is_none() {
            let said = Diagnostic::new(format!("the storage {id}: auth_version 3 needs {key} in os_options"));
            let at = settings.entry("auth_version").map(|(key, _)| key.origin.clone());
            let said = Diagnostic { origin: at, ..said };
            reader.error(said.hint("write os_options: {user_domain_name: NAME, tenant_id: ID}"));
        }
    }
}

fn several(reader: &mut Reader<'_>, id: &str, settings: &Mapping) {
    let shared = settings.get("storage_config").and_then(Node::as_map);
    let Some(providers) = settings.get("providers").and_then(Node::as_map) else {
        mapping(reader, id, settings, "providers");
        return;
    };
    mapping(reader, id, settings, "storage_config");
    let names: Vec<String> = providers.iter().map(|(name, _)| name.key_text()).collect();
    for (name, entry) in providers.iter() {
        provider(reader, id, &name.key_text(), entry, shared);
    }
    if let Some((default, at)) = settings.get("default_provider").and_then(|n| Some((n.as_str()?, &n.origin)))
        && !names.iter().any(|name| name == default)
    {
        let near =
            closest(default, names.iter().map(String::as_str)).map(|near| format!("did you mean {near}?"));
        reader.error(
            Diagnostic::new(format!("the storage {id}: there is no provider {default}"))
                .at(at)
                .hint(near.unwrap_or_else(|| format!("it has {}", names.join(", ")))),
        );
    }
    let rules = settings.get("rules").and_then(Node::as_seq).unwrap_or_default();
    for rule in rules {
        one_rule(reader, id, rule, &names);
    }
}

fn mapping(reader: &mut Reader<'_>, id: &str, settings: &Mapping, key: &str) {
    if let Some(node) = settings.get(key).filter(|n| n.as_map().is_none_or(Mapping::is_empty)) {
        reader.error(
            Diagnostic::new(format!("the storage {id}: {key} is a mapping that holds something"))
                .at(&node.origin)
                .hint(format!("write {key}: {{NAME: ...}}")),
        );
    }
}

fn provider(reader: &mut Reader<'_>, id: &str, name: &str, entry: &Node, shared: Option<&Mapping>) {
    let items = entry.as_seq().unwrap_or_default();
    let (Some(driver), Some(own)) = (items.first(), items.get(1).and_then(Node::as_map)) else {
        reader.error(
            Diagnostic::new(format!(
                "the storage {id}: the provider {name} is a list of a driver and its settings"
            ))
            .at(&entry.origin)
            .hint("write [CloudFlareStorage, {cloudflare_domain: ..., ...}]"),
        );
        return;
    };
    let text = driver.as_str().filter(|text| PROVIDERS.contains(text));
    let Some(found) = text.and_then(drivers::find) else {
        reader.error(
            Diagnostic::new(format!(
                "the storage {id}: the provider {name} has a driver that is no content network"
            ))
            .at(&driver.origin)
            .hint(format!("it is one of {}", PROVIDERS.join(", "))),
        );
        return;
    };
    // What all of them share, and what each has of its own.
    let mut pairs: Vec<(Node, Node)> = own.pairs().to_vec();
    for (key, value) in shared.iter().flat_map(|shared| shared.iter()) {
        if own.get(&key.key_text()).is_none() {
            pairs.push((key.clone(), value.clone()));
        }
    }
    let all = Mapping::from(pairs);
    let whole = format!("{id}, {name}");
    settings_fit(reader, &whole, found, &all, &driver.origin);
    key_file(reader, &whole, found, &all);
}

fn one_rule(reader: &mut Reader<'_>, id: &str, rule: &Node, names: &[String]) {
    let Some(fields) = rule.as_map() else {
        let said =
            Diagnostic::new(format!("the storage {id}: a rule is a mapping, not {}", rule.type_name()));
        reader.error(said.at(&rule.origin).hint("write {namespace: NAME, target: PROVIDER}"));
        return;
    };
    for (key, _) in fields.iter() {
        let text = key.key_text();
        if !RULES.contains(&text.as_str()) {
            reader.error(
                Diagnostic::new(format!("the storage {id}: a rule knows no {text}"))
                    .at(&key.origin)
                    .hint(format!("it takes {}", RULES.join(", "))),
            );
        }
    }
    let target = fields.get("target").and_then(Node::as_str);
    if !target.is_some_and(|target| names.iter().any(|name| name == target)) {
        reader.error(
            Diagnostic::new(format!("the storage {id}: a rule's target is one of its providers"))
                .at(&rule.origin)
                .hint(format!("it has {}", names.join(", "))),
        );
    }
}
