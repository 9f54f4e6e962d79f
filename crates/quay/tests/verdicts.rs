//! Whether `quay-config check` says of every configuration in the table what Quay's start says of it.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use jiff::{Timestamp, ToSpan};
use quaylab_base::diag::SourceFile;
use quaylab_language::yaml::{Mapping, Node, load_one};
use quaylab_quay::authority::{issue, make_authority};
use quaylab_quay::config::{Bundle, Checked, Circumstances, Severity, check_for, mend};

/// Fewer rows than this were promised.
const LEAST: usize = 250;
/// So many starts of a real Quay were recorded.
const RECORDED: usize = 128;

struct Table {
    base: String,
    rows: Vec<Row>,
}

struct Row {
    name: String,
    verdict: String,
    authority: String,
    version: Option<String>,
    certificate: Option<String>,
    beside: Vec<String>,
    text: String,
    says: Option<String>,
}

fn table() -> Table {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/quay-config/verdicts.yml");
    let text = std::fs::read_to_string(&path).expect("the table");
    let (document, warnings) = load_one(&SourceFile::new("verdicts.yml", text)).expect("YAML");
    assert!(warnings.is_empty(), "{warnings:?}");
    let root = document.as_map().expect("a mapping");
    let base = root.get("base").and_then(Node::as_str).expect("a base").to_owned();
    let mut rows = Vec::new();
    for group in root.get("groups").and_then(Node::as_seq).expect("groups") {
        let group = group.as_map().expect("a group");
        let authority = group.get("authority").and_then(Node::as_str).expect("an authority");
        for row in group.get("rows").and_then(Node::as_seq).expect("rows") {
            rows.push(read(row.as_map().expect("a row"), authority, &base));
        }
    }
    Table { base, rows }
}

fn read(row: &Mapping, authority: &str, base: &str) -> Row {
    const FIELDS: [&str; 10] =
        ["name", "verdict", "version", "cert", "beside", "with", "without", "text", "says", "note"];
    let text = |key: &str| row.get(key).and_then(Node::as_str).map(str::to_owned);
    let list = |key: &str| -> Vec<String> {
        let nodes = row.get(key).and_then(Node::as_seq).unwrap_or_default();
        nodes.iter().map(|n| n.as_str().expect("a string").to_owned()).collect()
    };
    for (key, _) in row.iter() {
        assert!(FIELDS.contains(&key.key_text().as_str()), "the table knows no {}", key.key_text());
    }
    let with = text("with").unwrap_or_default();
    Row {
        name: text("name").expect("a name"),
        verdict: text("verdict").expect("a verdict"),
        authority: authority.to_owned(),
        version: text("version"),
        certificate: text("cert"),
        beside: list("beside"),
        text: text("text").unwrap_or_else(|| changed(base, &with, &list("without"))),
        says: text("says"),
    }
}

/// The key that a line of a configuration begins, if it begins one.
fn key_of(line: &str) -> Option<&str> {
    let key = line.split(':').next()?;
    (line.contains(':') && !key.is_empty() && !key.starts_with([' ', '-', '#'])).then_some(key)
}

/// The base with other keys: each stands on one line there.
fn changed(base: &str, with: &str, without: &[String]) -> String {
    let gone: HashSet<&str> =
        with.lines().filter_map(key_of).chain(without.iter().map(String::as_str)).collect();
    for key in without {
        assert!(base.lines().any(|line| key_of(line) == Some(key)), "the base has no {key}");
    }
    let kept = base.lines().filter(|line| key_of(line).is_none_or(|key| !gone.contains(key)));
    let mut text: String = kept.map(|line| format!("{line}\n")).collect();
    text.push_str(with);
    text + "\n"
}

/// What stands beside the configurations: made once, as keys take their time.
struct Files {
    key: Vec<u8>,
    certificates: BTreeMap<String, (String, String)>,
    now: Timestamp,
}

impl Files {
    fn make(table: &Table) -> Self {
        let now = Timestamp::now();
        let signer = make_authority("a test's", 100, now - (10 * 24).hours()).expect("an authority");
        let mut certificates = BTreeMap::new();
        for host in table.rows.iter().filter_map(|row| row.certificate.as_ref()) {
            let at = now - (10 * 24).hours();
            let made =
                issue("a test's", &signer, std::slice::from_ref(host), 100, at).expect("a certificate");
            certificates.insert(host.clone(), (made.certificate, made.key.0));
        }
        let key = rcgen::KeyPair::generate().expect("a key").serialize_pem().into_bytes();
        Self { key, certificates, now }
    }

    fn check(&self, row: &Row, text: &str) -> Checked {
        let pair = row.certificate.as_ref().and_then(|host| self.certificates.get(host));
        let bundle = Bundle {
            place: "the folder".into(),
            certificate: pair.map(|(certificate, _)| certificate.clone().into_bytes()),
            key: pair.map(|(_, key)| key.clone().into_bytes()),
        };
        let beside = |name: &str| {
            row.beside.iter().find_map(|there| match there.split_once('=') {
                Some((file, _)) if file == name => Some(self.key.clone()),
                None if there == name => Some(b"nonsense".to_vec()),
                _ => None,
            })
        };
        let version = row.version.as_ref().map(|v| v.parse().expect("a version")).unwrap_or_default();
        let circumstances = Circumstances { version, beside: Some(&beside) };
        check_for(&SourceFile::new("config.yaml", text), &bundle, self.now, circumstances)
    }
}

/// What is said of some severity, a line each.
fn said(checked: &Checked, severity: Severity) -> Vec<String> {
    let found = checked.findings.iter().filter(|f| f.severity == severity);
    found.map(|f| f.diagnostic.message.clone()).collect()
}

/// What is wrong with what was said of a row.
fn judge(row: &Row, checked: &Checked) -> Option<String> {
    let (errors, warnings) = (said(checked, Severity::Error), said(checked, Severity::Warning));
    let asked: Vec<String> = checked.config.services.iter().map(|s| s.key.clone()).collect();
    let (fits, heard) = match row.verdict.as_str() {
        "starts" => (errors.is_empty() && warnings.is_empty(), None),
        "warning" => (errors.is_empty() && !warnings.is_empty(), Some(&warnings)),
        "refused" => (!errors.is_empty(), Some(&errors)),
        "asks" => (errors.is_empty() && !asked.is_empty(), Some(&asked)),
        other => return Some(format!("there is no verdict {other}")),
    };
    let heard = match (heard, &row.says) {
        (None, None) => true,
        (Some(lines), Some(part)) => lines.iter().any(|line| line.contains(part.as_str())),
        // A row that does not say what is told would be right by chance.
        _ => false,
    };
    (!(fits && heard)).then(|| {
        let lines = format!("errors {errors:#?}\nwarnings {warnings:#?}\nasked {asked:?}");
        format!("{}: {} ({}), {:?}\n{lines}", row.name, row.verdict, row.authority, row.says)
    })
}

#[test]
fn every_verdict_is_quays() {
    let table = table();
    let names: HashSet<&str> = table.rows.iter().map(|row| row.name.as_str()).collect();
    assert_eq!(names.len(), table.rows.len(), "a name stands twice");
    assert!(table.rows.len() >= LEAST, "{}", table.rows.len());
    assert_eq!(table.rows.iter().filter(|row| row.authority == "recorded").count(), RECORDED);
    let files = Files::make(&table);
    let wrong: Vec<String> =
        table.rows.iter().filter_map(|row| judge(row, &files.check(row, &row.text))).collect();
    assert!(wrong.is_empty(), "{} of {} wrong:\n{}", wrong.len(), table.rows.len(), wrong.join("\n\n"));
}

/// Each error and warning helps on, and none shows a secret of the base.
#[test]
fn every_finding_has_a_hint_and_shows_no_secret() {
    let table = table();
    let files = Files::make(&table);
    for row in &table.rows {
        for finding in &files.check(row, &row.text).findings {
            let shown = finding.diagnostic.to_string();
            let yaml = row.says.as_deref() == Some("this is not YAML");
            assert!(finding.diagnostic.hint.is_some() || yaml, "{}: {shown}", row.name);
            for secret in ["red-secret", "db-secret", "fedcba9876543210", "s3cr3t"] {
                assert!(!shown.contains(secret), "{}: {shown}", row.name);
            }
        }
    }
}

/// What is mended is no longer told, nothing new is, and what was not to be mended stays as it is.
#[test]
fn mending_only_ever_helps() {
    let table = table();
    let files = Files::make(&table);
    let mut mended = BTreeMap::new();
    for row in &table.rows {
        let before = files.check(row, &row.text);
        let offered = before.findings.iter().filter(|f| f.mend.is_some()).count();
        let after = mend(&row.text, &before.findings);
        if offered == 0 {
            assert_eq!((after.text.as_str(), after.changes.len()), (row.text.as_str(), 0), "{}", row.name);
            continue;
        }
        assert!(!after.changes.is_empty(), "{}: nothing was done", row.name);
        let rest = files.check(row, &after.text);
        // What is wrong decreases; a database that is known now may be told to be deprecated.
        let weight = |checked: &Checked| (checked.errors(), checked.warnings());
        assert!(weight(&rest) < weight(&before), "{}\n{}", row.name, after.text);
        assert!(
            rest.findings.iter().all(|f| f.mend.is_none()),
            "{}: it is not done\n{}",
            row.name,
            after.text
        );
        let kept =
            |text: &str| -> Vec<String> { text.lines().filter_map(key_of).map(str::to_uppercase).collect() };
        assert_eq!(kept(&after.text), kept(&row.text), "{}", row.name);
        mended.insert(row.name.clone(), after.changes.into_iter().map(|(_, says)| says).collect::<Vec<_>>());
    }
    for (name, says) in [
        ("88-bool-string", "FEATURE_REPO_MIRROR is written as true"),
        ("bool-off-checked", "FEATURE_TEAM_SYNCING is written as false"),
        ("mirror-interval-string", "REPO_MIRROR_INTERVAL loses its quotes"),
        ("63-redis-no-port", "BUILDLOGS_REDIS: port: 6379 is added"),
        ("69-redis-port-string", "BUILDLOGS_REDIS: port loses its quotes"),
        ("70-redis-pw-number", "BUILDLOGS_REDIS: password is put in quotes"),
        ("73-db-postgres", "DB_URI: postgres:// becomes postgresql://"),
        ("db-password-caret", "DB_URI: its login is percent-encoded"),
        ("47-host-scheme", "SERVER_HOSTNAME: the scheme is taken out"),
        ("oidc-no-slash", "SSO_LOGIN_CONFIG: OIDC_SERVER ends with a slash"),
        ("lower-case-key", "feature_proxy_cache becomes FEATURE_PROXY_CACHE"),
        ("rados-key-number", "DISTRIBUTED_STORAGE_CONFIG: access_key is put in quotes"),
    ] {
        assert_eq!(mended.get(name).map(Vec::as_slice), Some(&[says.to_owned()][..]), "{name}");
    }
    // What could mean two things is left to a person.
    for name in [
        "38-host-single",
        "db-password-at",
        "58-tag-default-not-in-options",
        "128-typo-key",
        "host-https-scheme",
    ] {
        assert!(!mended.contains_key(name), "{name}");
    }
}

/// A file that was cut anywhere is told of, mended or taken, and ends nobody; no part of it shows a secret.
#[test]
fn what_is_cut_off_ends_nothing() {
    let table = table();
    let files = Files::make(&table);
    for (nth, row) in table.rows.iter().enumerate() {
        // Without its last part none is whole.
        let end = row.text.find("USER_EVENTS_REDIS").unwrap_or(row.text.len());
        // Another place in each, so that all kinds of places come up.
        for at in (nth % 61..end).step_by(61).filter(|at| row.text.is_char_boundary(*at)) {
            let text = &row.text[..at];
            let checked = files.check(row, text);
            assert!(checked.errors() > 0, "{} cut at {at} is no whole configuration:\n{text}", row.name);
            let shown: String = checked.findings.iter().map(|f| f.diagnostic.to_string()).collect();
            assert!(!shown.contains("red-secret") && !shown.contains("db-secret"), "{}: {shown}", row.name);
            mend(text, &checked.findings);
        }
    }
}

/// Without a folder nothing is said of files that may be missing there.
#[test]
fn what_nobody_knows_is_not_told() {
    let table = table();
    let row = table.rows.iter().find(|row| row.name == "93-jwt").expect("a row");
    let file: Arc<SourceFile> = SourceFile::new("config.yaml", row.text.clone());
    let checked = check_for(&file, &Bundle::default(), Timestamp::now(), Circumstances::default());
    assert_eq!(said(&checked, Severity::Error), Vec::<String>::new());
    assert!(table.base.contains("AUTHENTICATION_TYPE: Database"));
}
