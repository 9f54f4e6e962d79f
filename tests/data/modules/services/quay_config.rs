//! `quaylab quay-config check`: what it says of a configuration, and what it asks of real servers.

use std::process::{Command, Stdio};

use super::support::{Postgres, RedisServer, skip_without};

pub(super) struct Ran {
    pub(super) code: Option<i32>,
    pub(super) out: String,
    pub(super) err: String,
}

/// Checks a configuration in a folder of its own, with further files beside it.
pub(super) fn check(config: &str, beside: &[(&str, &str)], options: &[&str]) -> Ran {
    let folder = tempfile::tempdir().expect("done");
    std::fs::write(folder.path().join("config.yaml"), config).expect("done");
    for (name, text) in beside {
        std::fs::write(folder.path().join(name), text).expect("done");
    }
    let output = Command::new(env!("CARGO_BIN_EXE_quaylab"))
        .args(["quay-config", "check", "config.yaml"])
        .args(options)
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .output()
        .expect("done");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    Ran { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
}

/// A configuration that Quay takes.
pub(super) const GOOD: &str = "\
AUTHENTICATION_TYPE: Database
BUILDLOGS_REDIS: {host: redis, port: 6379, password: red-secret}
DATABASE_SECRET_KEY: 0123456789abcdef
DB_CONNECTION_ARGS: {autorollback: true, threadlocals: true}
DB_URI: postgresql://quay:db-secret@db:5432/quay
DEFAULT_TAG_EXPIRATION: 2w
DISTRIBUTED_STORAGE_CONFIG:
  default: [LocalStorage, {storage_path: /datastorage/registry}]
DISTRIBUTED_STORAGE_PREFERENCE: [default]
FEATURE_MAILING: false
PREFERRED_URL_SCHEME: http
SECRET_KEY: fedcba9876543210
SERVER_HOSTNAME: quay.quaylab.lan
SETUP_COMPLETE: true
SUPER_USERS: [admin]
TAG_EXPIRATION_OPTIONS: [0s, 2w]
TESTING: false
USER_EVENTS_REDIS: {host: redis, port: 6379, password: red-secret}
";

#[test]
fn a_good_configuration_is_taken() {
    let ran = check(GOOD, &[], &["--strict"]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(0), "config.yaml: Quay would take it"), "{}", ran.err);
}

#[test]
fn what_is_wrong_is_said_with_its_place_and_what_to_write() {
    let wrong = "\
AUTHENTICATION_TYPE: Datbase
BUILDLOGS_REDIS: {hots: redis, port: 99999, password: red-secret}
DATABASE_SECRET_KEY: 0123456789abcdef
DB_URI: postgres://quay:db-secret@db:5432/quay
DEFAULT_TAG_EXPIRATION: 3w
DISTRIBUTED_STORAGE_CONFIG:
  default: [RadosGWStorage, {hostname: 'http://rgw', is_secure: no, storage_path: /x, access_key: a, secret_key: s3-secret, bucket: b}]
  other: [LocalStorge, {storage_path: /x}]
DISTRIBUTED_STORAGE_PREFERENCE: [defualt]
FEATURE_MALING: false
PREFERRED_URL_SCHEME: https
SECRET_KEY: fedcba9876543210
SERVER_HOSTNAME: quay
SETUP_COMPLETE: 'true'
TAG_EXPIRATION_OPTIONS: [0s, 2 weeks]
";
    let ran = check(wrong, &[], &[]);
    assert_eq!(ran.code, Some(5), "{}", ran.err);
    for secret in ["red-secret", "db-secret", "s3-secret", "0123456789abcdef", "fedcba9876543210"] {
        assert!(!ran.out.contains(secret), "{secret} is shown: {}", ran.out);
    }
    insta::assert_snapshot!(ran.out);
}

#[test]
fn a_broken_file_shows_no_secret() {
    let ran = check("SECRET_KEY: geheim: [\n", &[], &[]);
    assert_eq!(ran.code, Some(5));
    assert!(ran.out.contains("config.yaml:1:") && !ran.out.contains("geheim"), "{}", ran.out);
    let ran = check("- a\n", &[], &[]);
    assert!(ran.out.contains("config.yaml is a mapping of keys, not a list"), "{}", ran.out);
}

#[test]
fn certificates_are_looked_at() {
    if skip_without("certificates", &["openssl"]) {
        return;
    }
    let https = GOOD.replace("PREFERRED_URL_SCHEME: http\n", "PREFERRED_URL_SCHEME: https\n");
    let made = |name: &str, days: &str| {
        let folder = tempfile::tempdir().expect("done");
        let subject = ["-subj", "/CN=quay", "-addext", &format!("subjectAltName=DNS:{name}")];
        let done = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"])
            .args(["-keyout", "key.pem", "-out", "cert.pem", "-days", days])
            .args(subject)
            .current_dir(folder.path())
            .output()
            .expect("done");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).expect("done");
        (read("cert.pem"), read("key.pem"))
    };
    let (good, key) = made("quay.quaylab.lan", "90");
    let (wildcard, wildcard_key) = made("*.quaylab.lan", "90");
    let (expired, expired_key) = made("quay.quaylab.lan", "-1");
    let (soon, soon_key) = made("quay.quaylab.lan", "3");
    let (other, other_key) = made("other.lan", "90");
    for (beside, code, said) in [
        (vec![("ssl.cert", good.as_str()), ("ssl.key", &key)], 0, "Quay would take it"),
        (vec![("ssl.cert", wildcard.as_str()), ("ssl.key", &wildcard_key)], 0, "Quay would take it"),
        (vec![], 5, "ssl.cert and ssl.key are missing in ."),
        (vec![("ssl.cert", good.as_str())], 5, "ssl.key is missing in ."),
        (
            vec![("ssl.cert", good.as_str()), ("ssl.key", &other_key)],
            5,
            "./ssl.key is not the key of ./ssl.cert",
        ),
        (
            vec![("ssl.cert", expired.as_str()), ("ssl.key", &expired_key)],
            5,
            "the certificate ./ssl.cert expired on ",
        ),
        (vec![("ssl.cert", soon.as_str()), ("ssl.key", &soon_key)], 0, "the certificate ./ssl.cert ends on "),
        (
            vec![("ssl.cert", other.as_str()), ("ssl.key", &other_key)],
            5,
            "the certificate ./ssl.cert is for other.lan, not for quay.quaylab.lan",
        ),
        (
            vec![("ssl.cert", "nonsense"), ("ssl.key", &key)],
            5,
            "./ssl.cert cannot be read: it holds no certificate",
        ),
    ] {
        let ran = check(&https, &beside, &[]);
        assert_eq!(ran.code, Some(code), "{said}: {}{}", ran.out, ran.err);
        assert!(ran.out.contains(said), "{said}: {}", ran.out);
    }
    let in_front = https + "EXTERNAL_TLS_TERMINATION: true\n";
    assert_eq!(check(&in_front, &[], &[]).code, Some(0));
}

#[test]
fn what_it_names_is_asked() {
    if skip_without("PostgreSQL", &["/usr/lib/postgresql/15/bin/initdb", "setpriv"])
        || skip_without("Redis", &["redis-server"])
    {
        return;
    }
    let (postgres, redis) = (Postgres::start(), RedisServer::start("red-secret"));
    let config = |uri: &str, redis_password: &str| {
        let redis = format!("{{host: 127.0.0.1, port: {}, password: {redis_password}}}", redis.port);
        GOOD.replace("postgresql://quay:db-secret@db:5432/quay", uri)
            .replace("{host: redis, port: 6379, password: red-secret}", &redis)
    };
    let uri = |user: &str, password: &str, name: &str| {
        format!("postgresql://{user}:{password}@127.0.0.1:{}/{name}", postgres.port)
    };
    for statement in [
        "CREATE ROLE quay LOGIN PASSWORD 'db-secret'",
        "CREATE DATABASE quay OWNER quay",
        "CREATE EXTENSION pg_trgm",
    ] {
        postgres.run("postgres", statement);
    }
    // The extension in another database does not help.
    let ran = check(&config(&uri("quay", "db-secret", "quay"), "red-secret"), &[], &["--probe"]);
    assert_eq!(ran.code, Some(2), "{}", ran.out);
    assert!(ran.out.contains("the database quay has no extension pg_trgm"), "{}", ran.out);
    postgres.run("quay", "CREATE EXTENSION pg_trgm");
    let ran = check(&config(&uri("quay", "db-secret", "quay"), "red-secret"), &[], &["--probe"]);
    assert_eq!(ran.code, Some(0), "{}{}", ran.out, ran.err);
    for part in ["PostgreSQL 15", "with pg_trgm", "Redis 7", "PONG", "a folder in Quay's container"] {
        assert!(ran.out.contains(part), "{part}: {}", ran.out);
    }
    for (uri, password, said) in [
        (uri("quay", "wrong", "quay"), "red-secret", "PostgreSQL refused the password of quay"),
        (uri("quay", "db-secret", "nowhere"), "red-secret", "PostgreSQL has no database nowhere"),
        (
            "postgresql://quay:db-secret@127.0.0.1:1/quay".to_owned(),
            "red-secret",
            "PostgreSQL does not answer",
        ),
        (uri("quay", "db-secret", "quay"), "wrong-secret", "Redis refused the password"),
    ] {
        let ran = check(&config(&uri, password), &[], &["--probe"]);
        assert_eq!(ran.code, Some(2), "{said}: {}", ran.out);
        assert!(ran.out.contains(said), "{said}: {}", ran.out);
        assert!(!ran.out.contains("-secret"), "{}", ran.out);
    }
}
