use std::sync::Arc;

use jiff::Timestamp;

use super::certificate::Bundle;
use super::finding::{Finding, Severity};
use super::keys::{self, is_duration};
use super::model::QuayConfig;
use super::reader::Reader;
use super::{address, database, redis, scanner, secrets, storage};
use crate::diag::{Diagnostic, SourceFile, closest};
use crate::yaml::{self, Kind, Node};

/// What a configuration says, and what is wrong with it.
#[derive(Debug, Clone, Default)]
pub struct Checked {
    pub config: QuayConfig,
    /// In the order of the file. Secrets are hidden in the lines that they show.
    pub findings: Vec<Finding>,
}

impl Checked {
    pub fn errors(&self) -> usize {
        self.findings.iter().filter(|f| f.severity == Severity::Error).count()
    }

    pub fn warnings(&self) -> usize {
        self.findings.len() - self.errors()
    }
}

/// What must be there, and an example of it.
const REQUIRED: [(&str, &str); 13] = [
    ("AUTHENTICATION_TYPE", "AUTHENTICATION_TYPE: Database"),
    ("BUILDLOGS_REDIS", "BUILDLOGS_REDIS: {host: redis, port: 6379, password: ...}"),
    ("DATABASE_SECRET_KEY", "a random text that never changes: Quay encrypts fields of its database with it"),
    ("DB_URI", "DB_URI: postgresql://USER:PASSWORD@HOST:5432/DATABASE"),
    ("DEFAULT_TAG_EXPIRATION", "DEFAULT_TAG_EXPIRATION: 2w"),
    (
        "DISTRIBUTED_STORAGE_CONFIG",
        "DISTRIBUTED_STORAGE_CONFIG: {default: [LocalStorage, {storage_path: /datastorage/registry}]}",
    ),
    ("DISTRIBUTED_STORAGE_PREFERENCE", "DISTRIBUTED_STORAGE_PREFERENCE: [default]"),
    ("PREFERRED_URL_SCHEME", "PREFERRED_URL_SCHEME: https"),
    ("SECRET_KEY", "a random text, the same on every node: Quay signs sessions with it"),
    ("SERVER_HOSTNAME", "SERVER_HOSTNAME: quay.quaylab.lan"),
    ("SETUP_COMPLETE", "SETUP_COMPLETE: true"),
    ("TAG_EXPIRATION_OPTIONS", "TAG_EXPIRATION_OPTIONS: [0s, 1d, 1w, 2w, 4w]"),
    ("USER_EVENTS_REDIS", "USER_EVENTS_REDIS: {host: redis, port: 6379, password: ...}"),
];

/// A switch, what it makes necessary while it is on, and its default.
const NEEDS: [(&str, bool, &str, &str); 8] = [
    (
        "FEATURE_MAILING",
        true,
        "MAIL_SERVER",
        "FEATURE_MAILING is true unless it is set to false; a lab does without",
    ),
    ("FEATURE_GITHUB_LOGIN", false, "GITHUB_LOGIN_CONFIG", "it holds CLIENT_ID and CLIENT_SECRET"),
    ("FEATURE_GOOGLE_LOGIN", false, "GOOGLE_LOGIN_CONFIG", "it holds CLIENT_ID and CLIENT_SECRET"),
    ("FEATURE_GITHUB_BUILD", false, "GITHUB_TRIGGER_CONFIG", "it holds CLIENT_ID and CLIENT_SECRET"),
    ("FEATURE_RECAPTCHA", false, "RECAPTCHA_SITE_KEY", "and RECAPTCHA_SECRET_KEY"),
    ("FEATURE_ACTION_LOG_ROTATION", false, "ACTION_LOG_ARCHIVE_LOCATION", "name one of the storages"),
    ("FEATURE_PROGRAMMATIC_BOOTSTRAP", false, "BOOTSTRAP_TOKEN_OWNER", "the user whose token is written"),
    ("FEATURE_BLACKLISTED_EMAILS", false, "BLACKLISTED_EMAIL_DOMAINS", "a list of domains"),
];

/// What each kind of authentication needs.
const AUTHENTICATION: [(&str, &[&str]); 6] = [
    ("Database", &[]),
    ("LDAP", &["LDAP_URI", "LDAP_BASE_DN", "LDAP_ADMIN_DN", "LDAP_ADMIN_PASSWD"]),
    ("JWT", &["JWT_VERIFY_ENDPOINT", "JWT_AUTH_ISSUER"]),
    (
        "Keystone",
        &["KEYSTONE_AUTH_URL", "KEYSTONE_ADMIN_USERNAME", "KEYSTONE_ADMIN_PASSWORD", "KEYSTONE_ADMIN_TENANT"],
    ),
    ("OIDC", &[]),
    ("AppToken", &[]),
];

/// Longer keys are cut by the documentation's own word.
const LONGEST_DATABASE_KEY: usize = 63;

/// Checks a configuration as Quay's start would, without asking anything that it names.
pub fn check(file: &Arc<SourceFile>, bundle: &Bundle, now: Timestamp) -> Checked {
    let (document, warnings) = match yaml::load_one(file) {
        Ok(loaded) => loaded,
        Err(diagnostic) => {
            let mut findings = vec![Finding { severity: Severity::Error, diagnostic }];
            hide(&mut findings, &secrets::hide(file, None));
            return Checked { findings, ..Checked::default() };
        }
    };
    let mut checked = if let Some(root) = document.as_map() {
        let mut reader = Reader { root, findings: Vec::new() };
        for warning in warnings {
            reader.warning(warning);
        }
        let config = read(&mut reader, bundle, now);
        Checked { config, findings: reader.findings }
    } else {
        let said = Diagnostic::new(format!("config.yaml is a mapping of keys, not {}", document.type_name()));
        let diagnostic = said.at(&document.origin).hint("each line is KEY: value");
        Checked { findings: vec![Finding { severity: Severity::Error, diagnostic }], ..Checked::default() }
    };
    checked.findings.sort_by_key(|f| f.diagnostic.origin.as_ref().map(|o| (o.line, o.column)));
    hide(&mut checked.findings, &secrets::hide(file, Some(&document)));
    checked
}

/// Lets every finding show the lines in which secrets are hidden.
fn hide(findings: &mut [Finding], hidden: &Arc<SourceFile>) {
    for origin in findings.iter_mut().filter_map(|f| f.diagnostic.origin.as_mut()) {
        origin.file = Arc::clone(hidden);
    }
}

fn read(reader: &mut Reader<'_>, bundle: &Bundle, now: Timestamp) -> QuayConfig {
    shapes(reader);
    for (key, example) in REQUIRED {
        if reader.get(key).is_none() {
            let said =
                Diagnostic { origin: reader.place(key), ..Diagnostic::new(format!("{key} is required")) };
            reader.error(said.hint(example));
        }
    }
    let address = address::read(reader, bundle, now);
    let database = database::read(reader);
    let (build_logs, user_events) = redis::read(reader);
    let storage = storage::read(reader);
    let scanner = scanner::read(reader);
    for (switch, default, key, hint) in NEEDS {
        if reader.flag(switch, default) {
            reader.needs(switch, key, hint);
        }
    }
    authentication(reader);
    expiration(reader);
    first_start(reader);
    QuayConfig { address, database, build_logs, user_events, storage, scanner }
}

/// Every key is one that Quay knows, and holds what it shall hold.
fn shapes(reader: &mut Reader<'_>) {
    for (key, value) in reader.root.iter() {
        let name = key.key_text();
        match keys::find(&name) {
            Some((_, true)) if value.is_null() => {}
            // A key without a value is one that is missing; the rules say what that means.
            Some((_, false)) if value.is_null() => reader.warning(
                Diagnostic::new(format!("{name} holds nothing"))
                    .at(&key.origin)
                    .hint("give it a value or take it out"),
            ),
            Some((shape, _)) if shape.fits(value) => {}
            Some((shape, _)) => {
                let hint = match (&value.kind, shape) {
                    (Kind::Int(_) | Kind::Float(_) | Kind::Bool(_), keys::Shape::Text) => "put it in quotes",
                    (Kind::Str(_), keys::Shape::Bool | keys::Shape::Number) => "write it without quotes",
                    (Kind::Str(_), keys::Shape::List) => "write it in brackets: [first, second]",
                    _ => "see the table of keys in Quay's documentation",
                };
                let found = if shape == keys::Shape::Duration { "something else" } else { value.type_name() };
                reader.error(
                    Diagnostic::new(format!("{name} is {}, not {found}", shape.words()))
                        .at(&value.origin)
                        .hint(hint),
                );
            }
            None => {
                let near = closest(&name, keys::all().map(|(known, ..)| known));
                let upper = name.to_uppercase();
                let hint = match near {
                    Some(near) => format!("did you mean {near}?"),
                    None if keys::find(&upper).is_some() => format!("did you mean {upper}?"),
                    None => {
                        "take it out, or ignore this where your Quay is newer than what is known here".into()
                    }
                };
                let said = Diagnostic::new(format!("Quay does not know {name} and would pass over it"));
                reader.warning(said.at(&key.origin).hint(hint));
            }
        }
    }
}

fn authentication(reader: &mut Reader<'_>) {
    let Some((kind, at)) = reader.text("AUTHENTICATION_TYPE") else { return };
    if let Some((_, needs)) = AUTHENTICATION.iter().find(|(name, _)| *name == kind) {
        for key in *needs {
            reader.needs("AUTHENTICATION_TYPE", key, &format!("{kind} cannot let anybody in without it"));
        }
    } else {
        let names = AUTHENTICATION.iter().map(|(name, _)| *name);
        let same = names.clone().find(|n| n.eq_ignore_ascii_case(kind));
        let near = same.or_else(|| closest(kind, names.clone())).map(|near| format!("did you mean {near}?"));
        reader.error(
            Diagnostic::new(format!("Quay has no AUTHENTICATION_TYPE {kind}"))
                .at(at)
                .hint(near.unwrap_or_else(|| format!("it has {}", names.collect::<Vec<_>>().join(", ")))),
        );
    }
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

fn expiration(reader: &mut Reader<'_>) {
    let options = reader.get("TAG_EXPIRATION_OPTIONS").and_then(Node::as_seq).unwrap_or_default();
    for option in options {
        if !option.as_str().is_some_and(is_duration) {
            reader.error(
                Diagnostic::new("TAG_EXPIRATION_OPTIONS: each is a number and w, m, d, h or s, such as 2w")
                    .at(&option.origin)
                    .hint("0s stands for at once"),
            );
        }
    }
    if let Some((default, at)) = reader.text("DEFAULT_TAG_EXPIRATION")
        && is_duration(default)
        && reader.get("TAG_EXPIRATION_OPTIONS").is_some()
        && !options.iter().any(|o| o.as_str() == Some(default))
    {
        reader.error(
            Diagnostic::new(format!("DEFAULT_TAG_EXPIRATION {default} is not one of TAG_EXPIRATION_OPTIONS"))
                .at(at)
                .hint(format!("add {default} to them, or take one of them")),
        );
    }
}

/// What Quay takes for granted and nobody means.
fn first_start(reader: &mut Reader<'_>) {
    if reader.get("SETUP_COMPLETE").is_some() && !reader.flag("SETUP_COMPLETE", true) {
        let at = reader.at("SETUP_COMPLETE");
        reader.error(
            Diagnostic::new("SETUP_COMPLETE is not true: Quay would not serve images")
                .at(&at)
                .hint("set SETUP_COMPLETE: true"),
        );
    }
    if reader.flag("TESTING", true) {
        let origin = reader.place("TESTING");
        let said = Diagnostic { origin, ..Diagnostic::new("TESTING is on, which is also Quay's default") };
        reader.warning(said.hint("set TESTING: false"));
    }
    if let Some((key, at)) = reader.text("DATABASE_SECRET_KEY")
        && key.chars().count() > LONGEST_DATABASE_KEY
    {
        reader.warning(
            Diagnostic::new(format!("DATABASE_SECRET_KEY has more than {LONGEST_DATABASE_KEY} characters"))
                .at(at)
                .hint("a shorter one is as good; but never change the key of a database that is in use"),
        );
    }
    if reader.flag("FEATURE_USER_INITIALIZE", false)
        && reader.get("SUPER_USERS").and_then(Node::as_seq).is_none_or(<[Node]>::is_empty)
    {
        let at = reader.at("FEATURE_USER_INITIALIZE");
        reader.warning(
            Diagnostic::new("nobody is a superuser")
                .at(&at)
                .note("the first user that FEATURE_USER_INITIALIZE lets in would be an ordinary one")
                .hint("name it in SUPER_USERS"),
        );
    }
}
