use super::finding::Severity;
use super::mend::Mend;
use super::model::Service;
use super::reader::{Reader, meant_bool};
use super::uri;
use crate::diag::{Diagnostic, Origin};
use crate::yaml::{Kind, Mapping, Node};

/// What each kind of authentication needs; the start of Quay asks for it.
const NEEDS: [(&str, &[&str]); 2] = [
    ("LDAP", &["LDAP_ADMIN_DN", "LDAP_ADMIN_PASSWD", "LDAP_BASE_DN"]),
    ("JWT", &["JWT_VERIFY_ENDPOINT", "JWT_AUTH_ISSUER"]),
];

/// What Keystone needs to be of use; the start does not ask for it.
const KEYSTONE: [&str; 4] =
    ["KEYSTONE_AUTH_URL", "KEYSTONE_ADMIN_USERNAME", "KEYSTONE_ADMIN_PASSWORD", "KEYSTONE_ADMIN_TENANT"];

/// Names of providers that Quay keeps for itself.
const RESERVED: [&str; 3] = ["LDAP_LOGIN_CONFIG", "JWT_LOGIN_CONFIG", "KEYSTONE_LOGIN_CONFIG"];

const GITHUB: &str = "GITHUB_LOGIN_CONFIG";
const GOOGLE: &str = "GOOGLE_LOGIN_CONFIG";
const SUFFIX: &str = "_LOGIN_CONFIG";

/// Checks how users log in.
pub(super) fn read(reader: &mut Reader<'_>) {
    let kind = reader.text("AUTHENTICATION_TYPE").map_or("Database", |(kind, _)| kind);
    for (_, needs) in NEEDS.iter().filter(|(name, _)| *name == kind) {
        for key in *needs {
            reader.needs("AUTHENTICATION_TYPE", key, &format!("users are authenticated by {kind}"));
        }
    }
    match kind {
        "LDAP" => ldap(reader),
        "JWT" => jwt(reader),
        "Keystone" => keystone(reader),
        _ => {}
    }
    let providers = providers(reader);
    ways_in(reader, kind, providers);
    github_and_google(reader);
    if kind != "Database" && reader.flag("FEATURE_USER_INITIALIZE", false) {
        let at = reader.at("FEATURE_USER_INITIALIZE");
        reader.warning(
            Diagnostic::new("FEATURE_USER_INITIALIZE makes a first user in Quay's own database only")
                .at(&at)
                .note(format!("AUTHENTICATION_TYPE is {kind}"))
                .hint("take it out, and name a user of that directory in SUPER_USERS"),
        );
    }
}

/// Whether anybody could log in at all.
fn ways_in(reader: &mut Reader<'_>, kind: &str, providers: usize) {
    let direct = reader.flag("FEATURE_DIRECT_LOGIN", true);
    let another = reader.flag("FEATURE_GITHUB_LOGIN", false) || reader.flag("FEATURE_GOOGLE_LOGIN", false);
    if !direct && !another && providers == 0 {
        let said =
            reader.about("FEATURE_DIRECT_LOGIN", "FEATURE_DIRECT_LOGIN is off, and there is no other login");
        reader.error(
            said.hint("add a *_LOGIN_CONFIG, or turn FEATURE_GITHUB_LOGIN or FEATURE_GOOGLE_LOGIN on"),
        );
    }
    if kind == "AppToken" {
        if direct {
            let said =
                reader.about("AUTHENTICATION_TYPE", "AUTHENTICATION_TYPE AppToken goes without direct login");
            reader.error(said.hint("set FEATURE_DIRECT_LOGIN: false, and add another login"));
        }
        if !reader.flag("FEATURE_APP_SPECIFIC_TOKENS", true) {
            let key = "FEATURE_APP_SPECIFIC_TOKENS";
            let said = reader.about(key, format!("AUTHENTICATION_TYPE AppToken needs {key}"));
            reader.error(said.hint(format!("set {key}: true")));
        }
    }
    if kind == "OIDC" && providers == 0 {
        let said = reader.about("AUTHENTICATION_TYPE", "AUTHENTICATION_TYPE OIDC needs a provider");
        reader.error(said.hint("add NAME_LOGIN_CONFIG: {OIDC_SERVER: ..., CLIENT_ID: ..., ...}"));
    }
    if reader.flag("FEATURE_INVITE_ONLY_USER_CREATION", false) && !reader.flag("FEATURE_USER_CREATION", true)
    {
        let key = "FEATURE_INVITE_ONLY_USER_CREATION";
        let said = reader.about(key, format!("{key} needs FEATURE_USER_CREATION, which is off"));
        reader.error(said.hint("turn either the one off or the other on"));
    }
}

fn ldap(reader: &mut Reader<'_>) {
    const KEY: &str = "LDAP_URI";
    let Some((text, at)) = reader.text(KEY) else {
        if reader.get(KEY).is_none() {
            let said =
                reader.about("AUTHENTICATION_TYPE", format!("{KEY} is missing: Quay asks ldap://localhost"));
            reader.warning(said.hint(format!("add {KEY}: ldaps://HOST")));
        }
        return;
    };
    let why = match uri::parse(text) {
        Ok(uri) if !["ldap", "ldaps"].contains(&uri.scheme) => format!("has the scheme {}", uri.scheme),
        Ok(uri) => {
            let default = if uri.scheme == "ldaps" { 636 } else { 389 };
            let address = host_and_port(uri.host, default);
            let place = format!("{}://{}", uri.scheme, uri.host);
            let what = "the LDAP server";
            reader.services.push(Service { key: KEY.into(), what, place, address });
            return;
        }
        Err(why) => why.words(),
    };
    reader.error(Diagnostic::new(format!("{KEY} {why}")).at(at).hint("write ldap://HOST or ldaps://HOST"));
}

/// A host and its port, which is a default where none is written.
fn host_and_port(text: &str, default: u16) -> Option<(String, u16)> {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()?),
        _ => (text, default),
    };
    (!host.is_empty()).then(|| (host.trim_matches(['[', ']']).to_owned(), port))
}

fn jwt(reader: &mut Reader<'_>) {
    for key in ["JWT_VERIFY_ENDPOINT", "JWT_GETUSER_ENDPOINT", "JWT_QUERY_ENDPOINT"] {
        if let Some((text, at)) = reader.text(key)
            && !text.is_empty()
            && !text.starts_with("http://")
            && !text.starts_with("https://")
        {
            reader.error(
                Diagnostic::new(format!("{key} is no address")).at(at).hint("write https://HOST/PATH"),
            );
        }
    }
    if reader.lacks("jwt-authn.cert") {
        let said = reader.about("AUTHENTICATION_TYPE", "jwt-authn.cert is missing beside the configuration");
        reader.error(said.hint("put the public key of who signs the tokens there, a PEM file"));
    }
}

fn keystone(reader: &mut Reader<'_>) {
    const VERSION: &str = "KEYSTONE_AUTH_VERSION";
    for key in KEYSTONE {
        if reader.get(key).is_none() {
            let said = reader.about("AUTHENTICATION_TYPE", format!("nobody can log in without {key}"));
            reader.warning(said.hint("users are authenticated by Keystone"));
        }
    }
    let Some(node) = reader.get(VERSION) else { return };
    let version = match &node.kind {
        Kind::Int(number) => Some(*number),
        _ => node.as_str().and_then(|text| text.parse().ok()),
    };
    if !matches!(version, Some(2 | 3)) {
        reader.error(Diagnostic::new(format!("{VERSION} is 2 or 3")).at(&node.origin).hint("write 3"));
    }
}

/// Checks the OIDC providers; how many there are.
fn providers(reader: &mut Reader<'_>) -> usize {
    let mut count = 0;
    for (name, node) in reader.root.iter() {
        let key = name.key_text();
        if !key.ends_with(SUFFIX) {
            continue;
        }
        if RESERVED.contains(&key.as_str()) {
            let kept = key.trim_end_matches(SUFFIX);
            reader.error(
                Diagnostic::new(format!("{key}: Quay keeps the name {kept} for itself"))
                    .at(&name.origin)
                    .hint("call the provider otherwise, such as SSO_LOGIN_CONFIG"),
            );
            continue;
        }
        if let Some(settings) = node.as_map().filter(|_| key != GITHUB && key != GOOGLE) {
            count += 1;
            provider(reader, &key, &name.origin, settings);
        }
    }
    count
}

fn provider(reader: &mut Reader<'_>, key: &str, at: &Origin, settings: &Mapping) {
    for name in ["OIDC_SERVER", "CLIENT_ID", "CLIENT_SECRET", "SERVICE_NAME"] {
        required(reader, key, name, at, settings);
    }
    for name in ["SERVICE_ICON", "VERIFIED_EMAIL_CLAIM_NAME", "PREFERRED_USERNAME_CLAIM_NAME"] {
        if let Some(node) = settings.get(name) {
            text(reader, key, name, node);
        }
    }
    if let Some(node) = settings.get("LOGIN_SCOPES").filter(|n| n.as_seq().is_none()) {
        let said = Diagnostic::new(format!("{key}: LOGIN_SCOPES is a list, not {}", node.type_name()));
        reader.error(said.at(&node.origin).hint("write LOGIN_SCOPES: [openid, email]"));
    }
    let Some(node) = settings.get("OIDC_SERVER") else { return };
    let Some(server) = node.as_str().filter(|server| !server.is_empty()) else { return };
    if !server.ends_with('/') {
        let whole = reader.written(node);
        let quoted = whole.ends_with('\'') || whole.ends_with('"');
        let with = if quoted {
            let (text, quote) = whole.split_at(whole.len() - 1);
            format!("{text}/{quote}")
        } else {
            format!("{whole}/")
        };
        let mend = Mend::scalar(reader, node, with, format!("{key}: OIDC_SERVER ends with a slash"));
        let said = Diagnostic::new(format!("{key}: OIDC_SERVER does not end with a slash")).at(&node.origin);
        reader.say(Severity::Error, said.hint(format!("write {server}/")), mend);
        return;
    }
    match uri::parse(server) {
        Ok(uri) if ["http", "https"].contains(&uri.scheme) && !uri.host.is_empty() => {
            let default = if uri.scheme == "https" { 443 } else { 80 };
            reader.services.push(Service {
                key: key.to_owned(),
                what: "the OIDC server",
                place: format!("{}://{}{}", uri.scheme, uri.host, uri.path),
                address: host_and_port(uri.host, default),
            });
        }
        _ => {
            let said = Diagnostic::new(format!("{key}: OIDC_SERVER is no address")).at(&node.origin);
            reader.error(said.hint("write https://HOST/PATH/"));
        }
    }
}

/// A setting that is there, and a string.
fn required(reader: &mut Reader<'_>, key: &str, name: &str, at: &Origin, settings: &Mapping) {
    if let Some(node) = there(reader, key, name, at, settings) {
        text(reader, key, name, node);
    }
}

/// A setting that is there; that it is not is told.
fn there<'a>(
    reader: &mut Reader<'_>,
    key: &str,
    name: &str,
    at: &Origin,
    settings: &'a Mapping,
) -> Option<&'a Node> {
    let found = settings.get(name).filter(|node| node.as_str() != Some(""));
    if found.is_none() {
        let said = Diagnostic::new(format!("{key} needs {name}"));
        reader.error(said.at(at).hint(format!("add {name} to it")));
    }
    found
}

fn text(reader: &mut Reader<'_>, key: &str, name: &str, node: &Node) {
    if node.as_str().is_some() {
        return;
    }
    let written = reader.written(node);
    let mend = matches!(node.kind, Kind::Int(_) | Kind::Float(_))
        .then(|| {
            Mend::scalar(reader, node, format!("'{written}'"), format!("{key}: {name} is put in quotes"))
        })
        .flatten();
    let said =
        Diagnostic::new(format!("{key}: {name} is a string, not {}", node.type_name())).at(&node.origin);
    reader.say(Severity::Error, said.hint("put it in quotes"), mend);
}

/// What the start reads of GitHub and its like, switched on or not.
fn kinds(reader: &mut Reader<'_>, key: &str) {
    const TEXTS: [&str; 7] = [
        "API_ENDPOINT",
        "GITHUB_ENDPOINT",
        "GITLAB_ENDPOINT",
        "CLIENT_ID",
        "CLIENT_SECRET",
        "CONSUMER_KEY",
        "CONSUMER_SECRET",
    ];
    let Some((settings, _)) = reader.map(key) else { return };
    for name in TEXTS {
        if let Some(node) = settings.get(name) {
            text(reader, key, name, node);
        }
    }
    if let Some(node) = settings.get("ORG_RESTRICT").filter(|n| reader.plain_bool(n).is_none()) {
        let says = |on: bool| format!("{key}: ORG_RESTRICT is written as {on}");
        let mend = meant_bool(node).and_then(|on| Mend::scalar(reader, node, on.to_string(), says(on)));
        let said = Diagnostic::new(format!("{key}: ORG_RESTRICT is true or false")).at(&node.origin);
        reader.say(Severity::Error, said.hint("write true or false, without quotes"), mend);
    }
    if let Some(node) = settings.get("ALLOWED_ORGANIZATIONS").filter(|n| n.as_seq().is_none()) {
        let said =
            Diagnostic::new(format!("{key}: ALLOWED_ORGANIZATIONS is a list, not {}", node.type_name()));
        reader.error(said.at(&node.origin).hint("write [first, second]"));
    }
}

/// GitHub and Google, for logins and for builds, and what GitLab and Bitbucket need for builds.
fn github_and_google(reader: &mut Reader<'_>) {
    let builds = reader.flag("FEATURE_BUILD_SUPPORT", false);
    for (switch, key, needs, what, on) in [
        (
            "FEATURE_GITHUB_LOGIN",
            GITHUB,
            &["GITHUB_ENDPOINT", "CLIENT_ID", "CLIENT_SECRET"][..],
            "GitHub",
            true,
        ),
        ("FEATURE_GOOGLE_LOGIN", GOOGLE, &["CLIENT_ID", "CLIENT_SECRET"][..], "Google", true),
        (
            "FEATURE_GITHUB_BUILD",
            "GITHUB_TRIGGER_CONFIG",
            &["GITHUB_ENDPOINT", "CLIENT_ID", "CLIENT_SECRET"][..],
            "GitHub",
            builds,
        ),
        (
            "FEATURE_GITLAB_BUILD",
            "GITLAB_TRIGGER_CONFIG",
            &["GITLAB_ENDPOINT", "CLIENT_ID", "CLIENT_SECRET"][..],
            "GitLab",
            builds,
        ),
        (
            "FEATURE_BITBUCKET_BUILD",
            "BITBUCKET_TRIGGER_CONFIG",
            &["CONSUMER_KEY", "CONSUMER_SECRET"][..],
            "Bitbucket",
            builds,
        ),
    ] {
        kinds(reader, key);
        if !(on && reader.flag(switch, false)) {
            continue;
        }
        reader.needs(switch, key, &format!("it holds {}", needs.join(", ")));
        let Some((settings, _)) = reader.map(key) else { continue };
        let at = reader.at(key);
        for name in needs {
            there(reader, key, name, &at, settings);
        }
        endpoint(reader, key, settings);
        let restricts = matches!(settings.get("ORG_RESTRICT").map(|n| &n.kind), Some(Kind::Bool(true)));
        let allowed = settings.get("ALLOWED_ORGANIZATIONS").and_then(Node::as_seq).unwrap_or_default();
        if restricts && allowed.is_empty() {
            let said = Diagnostic::new(format!("{key}: ORG_RESTRICT needs ALLOWED_ORGANIZATIONS")).at(&at);
            reader.error(said.hint("name the organizations whose members may log in"));
        }
        reader.services.push(Service { key: key.into(), what, place: what.into(), address: None });
    }
}

fn endpoint(reader: &mut Reader<'_>, key: &str, settings: &Mapping) {
    for name in ["GITHUB_ENDPOINT", "GITLAB_ENDPOINT"] {
        if let Some((text, at)) = settings.get(name).and_then(|n| Some((n.as_str()?, &n.origin)))
            && !text.is_empty()
            && !text.starts_with("http://")
            && !text.starts_with("https://")
        {
            reader.error(
                Diagnostic::new(format!("{key}: {name} is no address")).at(at).hint("write https://HOST"),
            );
        }
    }
}
