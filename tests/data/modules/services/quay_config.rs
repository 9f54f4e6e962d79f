//! `quaylab quay-config check`: what it says of a configuration, and what it asks of real servers.

use std::process::{Command, Stdio};

use jiff::{Timestamp, ToSpan};
use quaylab::quay::authority::{issue, make_authority};

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
    insta::assert_snapshot!(ran.out, @r"
    error: USER_EVENTS_REDIS is required
      hint: USER_EVENTS_REDIS: {host: redis, port: 6379, password: ...}

    warning: TESTING is on, which is also Quay's default
      hint: set TESTING: false

    error: AUTHENTICATION_TYPE has no value Datbase
     --> config.yaml:1:22
      |
    1 | AUTHENTICATION_TYPE: Datbase
      |                      ^^^^^^^
      hint: did you mean Database?

    error: BUILDLOGS_REDIS has no host
     --> config.yaml:2:1
      |
    2 | BUILDLOGS_REDIS: {hots: redis, port: 99999, password: **********}
      | ^^^^^^^^^^^^^^^
      hint: add host: NAME, and port and password

    warning: BUILDLOGS_REDIS: Quay's Redis client does not know hots
     --> config.yaml:2:19
      |
    2 | BUILDLOGS_REDIS: {hots: redis, port: 99999, password: **********}
      |                   ^^^^
      = Quay starts, and fails where it first needs that Redis
      hint: did you mean host?

    error: BUILDLOGS_REDIS: port is a number from 1 to 65535
     --> config.yaml:2:38
      |
    2 | BUILDLOGS_REDIS: {hots: redis, port: 99999, password: **********}
      |                                      ^^^^^
      hint: write port: 6379

    error: Quay's start does not know the database postgres
     --> config.yaml:4:9
      |
    4 | DB_URI: postgres://quay:*********@db:5432/quay
      |         ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      hint: write postgresql://

    error: DEFAULT_TAG_EXPIRATION 3w is not one of TAG_EXPIRATION_OPTIONS
     --> config.yaml:5:25
      |
    5 | DEFAULT_TAG_EXPIRATION: 3w
      |                         ^^
      hint: add 3w to them, or take one of them

    error: the storage default: RadosGWStorage needs bucket_name
     --> config.yaml:7:13
      |
    7 |   default: [RadosGWStorage, {hostname: 'http://rgw', is_secure: no, storage_path: /x, access_key: a, secret_key: *********, bucket: b}]
      |             ^^^^^^^^^^^^^^
      hint: RadosGWStorage needs hostname, is_secure, storage_path, access_key, secret_key, bucket_name

    error: the storage default: hostname is a name only, not a URL
     --> config.yaml:7:40
      |
    7 |   default: [RadosGWStorage, {hostname: 'http://rgw', is_secure: no, storage_path: /x, access_key: a, secret_key: *********, bucket: b}]
      |                                        ^^^^^^^^^^^^
      hint: the scheme is is_secure: true or false, the port is port: NUMBER

    error: the storage default: is_secure is true or false, not the word no
     --> config.yaml:7:65
      |
    7 |   default: [RadosGWStorage, {hostname: 'http://rgw', is_secure: no, storage_path: /x, access_key: a, secret_key: *********, bucket: b}]
      |                                                                 ^^
      hint: true speaks TLS to the gateway

    error: the storage default: RadosGWStorage does not know bucket, and Quay would not start
     --> config.yaml:7:125
      |
    7 |   default: [RadosGWStorage, {hostname: 'http://rgw', is_secure: no, storage_path: /x, access_key: a, secret_key: *********, bucket: b}]
      |                                                                                                                             ^^^^^^
      hint: it takes hostname, is_secure, storage_path, access_key, secret_key, bucket_name, region_name, signature_version, port, minimum_chunk_size_mb, maximum_chunk_size_mb, server_side_assembly

    error: Quay has no storage driver LocalStorge
     --> config.yaml:8:11
      |
    8 |   other: [LocalStorge, {storage_path: /x}]
      |           ^^^^^^^^^^^
      = for a name that it does not know Quay takes one that keeps nothing, without a word
      hint: did you mean LocalStorage?

    error: DISTRIBUTED_STORAGE_PREFERENCE: DISTRIBUTED_STORAGE_CONFIG has no storage defualt
     --> config.yaml:9:34
      |
    9 | DISTRIBUTED_STORAGE_PREFERENCE: [defualt]
      |                                  ^^^^^^^
      hint: did you mean default?

    warning: Quay does not know FEATURE_MALING and would pass over it
      --> config.yaml:10:1
       |
    10 | FEATURE_MALING: false
       | ^^^^^^^^^^^^^^
      hint: did you mean FEATURE_MAILING?

    error: ssl.cert and ssl.key are missing in .
      --> config.yaml:11:23
       |
    11 | PREFERRED_URL_SCHEME: https
       |                       ^^^^^
      = PREFERRED_URL_SCHEME: https means that Quay itself speaks TLS
      hint: put them there, or set EXTERNAL_TLS_TERMINATION: true where something in front of Quay speaks TLS

    error: SERVER_HOSTNAME quay has no dot in it, and Quay refuses a single word
      --> config.yaml:13:18
       |
    13 | SERVER_HOSTNAME: quay
       |                  ^^^^
      hint: give it a domain, such as quay.quaylab.lan

    warning: SETUP_COMPLETE is true or false, not a string
      --> config.yaml:14:17
       |
    14 | SETUP_COMPLETE: 'true'
       |                 ^^^^^^
      hint: write it without quotes

    warning: TAG_EXPIRATION_OPTIONS: each is a number and w, m, d, h or s, such as 2w
      --> config.yaml:15:30
       |
    15 | TAG_EXPIRATION_OPTIONS: [0s, 2 weeks]
       |                              ^^^^^^^
      = Quay starts, and fails where it makes users
      hint: 0s stands for at once

    config.yaml: 14 errors, 5 warnings
    ");
}

#[test]
fn a_scanner_is_looked_at() {
    let key = "c2VjcmV0LXNlY3JldC1zZWNyZXQ=";
    let both = format!("SECURITY_SCANNER_V4_ENDPOINT: http://clair:6060\nSECURITY_SCANNER_V4_PSK: {key}\n");
    let of = |endpoint: &str| {
        format!("SECURITY_SCANNER_V4_ENDPOINT: {endpoint}\nSECURITY_SCANNER_V4_PSK: {key}\n")
    };
    for (lines, code, said) in [
        (both.clone(), 0, "Quay would take it"),
        (String::new(), 5, "FEATURE_SECURITY_SCANNER needs SECURITY_SCANNER_V4_ENDPOINT"),
        (
            "SECURITY_SCANNER_ENDPOINT: http://clair:6060\n".to_owned(),
            0,
            "that of a Clair 2: Quay would start, and scan nothing",
        ),
        (of("clair:6060"), 5, "SECURITY_SCANNER_V4_ENDPOINT is no address: clair:6060"),
        (of("http://clair:6060/api"), 0, "Quay passes over the path /api"),
        (
            "SECURITY_SCANNER_V4_ENDPOINT: http://clair:6060\n".to_owned(),
            0,
            "there is no SECURITY_SCANNER_V4_PSK",
        ),
        (both.replace(key, "c2VjcmV0LXNlY3JldC1zZWNyZXQ"), 5, "SECURITY_SCANNER_V4_PSK is no base64"),
        (
            both.replace(key, "secret secret secret"),
            5,
            "SECURITY_SCANNER_V4_PSK holds a character that base64 does not have",
        ),
        (
            both.clone() + "SECURITY_SCANNER_V4_INDEX_MAX_LAYER_SIZE: 8GB\n",
            0,
            "is a number and B, K, M, G or T, such as 8G, not something else",
        ),
        (both.clone() + "NOTIFICATION_MIN_SEVERITY_ON_NEW_INDEX: high\n", 0, "did you mean High?"),
    ] {
        let ran = check(&format!("{GOOD}FEATURE_SECURITY_SCANNER: true\n{lines}"), &[], &[]);
        assert_eq!(ran.code, Some(code), "{said}: {}{}", ran.out, ran.err);
        assert!(ran.out.contains(said) && !ran.out.contains("ecret "), "{said}: {}", ran.out);
    }
}

/// What `--fix` mends, of each kind one.
const MENDABLE: &str = "\
AUTHENTICATION_TYPE: Database
BUILDLOGS_REDIS:
  host: redis
  password: 24680
DATABASE_SECRET_KEY: 0123456789abcdef
DB_URI: postgres://quay:db^secret@db:5432/quay
DISTRIBUTED_STORAGE_CONFIG:
  default: [LocalStorage, {storage_path: /datastorage/registry}]
DISTRIBUTED_STORAGE_PREFERENCE: [default]
feature_mailing: no
FEATURE_REPO_MIRROR: 'true'
PREFERRED_URL_SCHEME: http
SECRET_KEY: fedcba9876543210
SERVER_HOSTNAME: quay
SETUP_COMPLETE: true
TESTING: false
USER_EVENTS_REDIS: {host: redis, port: '6379', password: red-secret}
";

#[test]
fn what_is_safe_is_mended_beside_the_file() {
    let folder = tempfile::tempdir().expect("done");
    let file = folder.path().join("config.yaml");
    let ran = |options: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_quaylab"))
            .args(["quay-config", "check", "config.yaml"])
            .args(options)
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .output()
            .expect("done");
        (output.status.code(), String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    std::fs::write(&file, MENDABLE).expect("done");
    // The name of one word is left: nobody knows its domain.
    let (code, out) = ran(&["--fix"]);
    assert_eq!(code, Some(5), "{out}");
    assert_eq!(std::fs::read_to_string(&file).expect("done"), MENDABLE);
    let fixed = std::fs::read_to_string(folder.path().join("config.yaml.fixed")).expect("done");
    let expected = MENDABLE
        .replace("  host: redis\n", "  host: redis\n  port: 6379\n")
        .replace("24680", "'24680'")
        .replace("postgres://quay:db^secret", "postgresql://quay:db%5Esecret")
        .replace("feature_mailing: no", "FEATURE_MAILING: false")
        .replace("REPO_MIRROR: 'true'", "REPO_MIRROR: true")
        .replace("'6379'", "6379");
    assert_eq!(fixed, expected, "{out}");
    for secret in ["24680", "db^secret", "db%5Esecret", "red-secret"] {
        assert!(!out.contains(secret), "{out}");
    }
    for part in [
        "mended: line 10: feature_mailing becomes FEATURE_MAILING",
        "mended: line 10: FEATURE_MAILING is written as false",
        "mended: line 11: FEATURE_REPO_MIRROR is written as true",
        "config.yaml.fixed is written; config.yaml is as it was",
        "config.yaml.fixed: 1 error, 0 warnings",
    ] {
        assert!(out.contains(part), "{part}: {out}");
    }
    // An older Quay takes that name: then nothing is left.
    let (code, out) = ran(&["--fix", "--quay-version", "3.17"]);
    assert_eq!(code, Some(0), "{out}");
    // A link could lead to the file itself.
    std::fs::remove_file(folder.path().join("config.yaml.fixed")).expect("done");
    std::os::unix::fs::symlink(&file, folder.path().join("config.yaml.fixed")).expect("done");
    assert_eq!(ran(&["--fix"]).0, Some(5));
    assert_eq!(std::fs::read_to_string(&file).expect("done"), MENDABLE);
    // Where nothing is to be mended nothing is written.
    std::fs::remove_file(folder.path().join("config.yaml.fixed")).expect("done");
    std::fs::write(&file, GOOD).expect("done");
    let (code, out) = ran(&["--fix"]);
    assert_eq!((code, out.as_str()), (Some(0), "config.yaml: Quay would take it; nothing is to be mended"));
    assert!(!folder.path().join("config.yaml.fixed").exists());
}

#[test]
fn programs_read_what_was_found() {
    let ldap =
        "LDAP_URI: ldap://ldap.lan\nLDAP_BASE_DN: [dc=lan]\nLDAP_ADMIN_DN: cn=a\nLDAP_ADMIN_PASSWD: s\n";
    let config = GOOD.replace("TYPE: Database", "TYPE: LDAP") + ldap + "FEATURE_REPO_MIRROR: 'true'\n";
    let ran = check(&config, &[], &["--json", "--fix", "--quay-version", "3.15"]);
    assert_eq!(ran.code, Some(0), "{}{}", ran.out, ran.err);
    let found: serde_json::Value = serde_json::from_str(&ran.out).expect("JSON");
    let at = |path: &str| found.pointer(path).unwrap_or_else(|| panic!("{path}: {found}"));
    for (path, value) in [
        ("/file", "config.yaml"),
        ("/quay_version", "3.15"),
        ("/verdict", "refused"),
        ("/findings/0/severity", "error"),
        ("/findings/0/message", "FEATURE_REPO_MIRROR is true or false, not a string"),
        ("/findings/0/hint", "write it without quotes; the default is false"),
        ("/findings/0/mends", "FEATURE_REPO_MIRROR is written as true"),
        ("/asks/0/key", "LDAP_URI"),
        ("/asks/0/place", "ldap://ldap.lan"),
        ("/fixed/file", "config.yaml.fixed"),
        ("/fixed/changes/0/says", "FEATURE_REPO_MIRROR is written as true"),
        ("/fixed/left/verdict", "asks"),
    ] {
        assert_eq!(at(path), value, "{path}");
    }
    for (path, value) in [
        ("/errors", 1),
        ("/warnings", 0),
        ("/findings/0/line", 23),
        ("/findings/0/column", 22),
        ("/fixed/left/errors", 0),
    ] {
        assert_eq!(at(path), value, "{path}");
    }
    let ran = check(GOOD, &[], &["--quay-version", "3.40"]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(0), "config.yaml: Quay would take it"));
    assert_eq!(ran.err, "note: the newest rules that are known are those of Quay 3.18");
    let ran = check(GOOD, &[], &["--quay-version", "2.9"]);
    assert_eq!(ran.code, Some(5));
    assert!(ran.err.contains("only the rules of Quay 3 are known: write 3.18"), "{}", ran.err);
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
    let https = GOOD.replace("PREFERRED_URL_SCHEME: http\n", "PREFERRED_URL_SCHEME: https\n");
    // Ten days old, valid for so many.
    let made = |name: &str, days: i64| {
        let at = Timestamp::now() - (10 * 24).hours();
        let signer = make_authority("a test's", 100, at).expect("an authority");
        let made = issue("a test's", &signer, &[name.to_owned()], days, at).expect("a certificate");
        (made.certificate, made.key.0)
    };
    let (good, key) = made("quay.quaylab.lan", 100);
    let (wildcard, wildcard_key) = made("*.quaylab.lan", 100);
    let (expired, expired_key) = made("quay.quaylab.lan", 5);
    let (soon, soon_key) = made("quay.quaylab.lan", 13);
    let (other, other_key) = made("other.lan", 100);
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
