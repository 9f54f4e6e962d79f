use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use md5::Md5;
use sha2::{Digest, Sha256};

use crate::value::{Value, plain};

/// How long a statement took, as Ansible's modules give it.
pub fn milliseconds(since: Instant) -> f64 {
    (since.elapsed().as_secs_f64() * 1_000_000.0).round() / 1_000.0
}

/// Quotes an identifier.
pub fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Quotes a string, whatever `standard_conforming_strings` is.
pub fn literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    if text.contains('\\') { format!(" E'{}'", quoted.replace('\\', "\\\\")) } else { format!("'{quoted}'") }
}

/// Writes a value as SQL.
pub fn value(value: &Value) -> String {
    match value {
        Value::Null => "NULL".into(),
        Value::Bool(b) => b.to_string(),
        Value::Number(n) => n.to_string(),
        Value::String(s) => literal(s),
        Value::Array(items) if items.is_empty() => "'{}'".into(),
        Value::Array(items) => {
            format!("ARRAY[{}]", items.iter().map(self::value).collect::<Vec<_>>().join(", "))
        }
        Value::Object(_) => format!("{}::jsonb", literal(&value.to_string())),
    }
}

/// Fills `%s` and `%(name)s` as Python's drivers do; `%%` is a percent sign.
///
/// Without arguments the text stands for itself.
pub fn fill(
    query: &str,
    positional: &[Value],
    named: &serde_json::Map<String, Value>,
) -> Result<String, String> {
    fill_with(query, positional, named, value)
}

/// The same for a server that writes values in its own way.
pub fn fill_with(
    query: &str,
    positional: &[Value],
    named: &serde_json::Map<String, Value>,
    value: fn(&Value) -> String,
) -> Result<String, String> {
    if positional.is_empty() && named.is_empty() {
        return Ok(query.to_owned());
    }
    let mut filled = String::with_capacity(query.len());
    let mut rest = query;
    let mut next = positional.iter();
    while let Some(at) = rest.find('%') {
        filled.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('%') {
            filled.push('%');
            rest = after;
        } else if let Some(after) = rest.strip_prefix('s') {
            let argument = next.next().ok_or("the query has more %s than positional_args has values")?;
            filled.push_str(&value(argument));
            rest = after;
        } else if let Some((name, after)) = rest.strip_prefix('(').and_then(|r| r.split_once(")s")) {
            let argument = named.get(name).ok_or_else(|| format!("named_args has no {name}"))?;
            filled.push_str(&value(argument));
            rest = after;
        } else {
            return Err("a percent sign in a query with arguments is written %%".into());
        }
    }
    filled.push_str(rest);
    match next.next() {
        Some(extra) => Err(format!("positional_args has a value too many: {}", plain(extra))),
        None => Ok(filled),
    }
}

/// Whether a statement can only read, by its first word.
pub fn is_read_only(query: &str) -> bool {
    let text = query.trim_start();
    let word: String =
        text.chars().take_while(char::is_ascii_alphabetic).collect::<String>().to_ascii_uppercase();
    ["SELECT", "SHOW", "EXPLAIN", "VALUES", "TABLE"].contains(&word.as_str())
}

type HmacSha256 = Hmac<Sha256>;

fn hmac(key: &[u8], parts: &[&[u8]]) -> Option<[u8; 32]> {
    let mut mac = HmacSha256::new_from_slice(key).ok()?;
    for part in parts {
        mac.update(part);
    }
    Some(mac.finalize().into_bytes().into())
}

/// PostgreSQL's SCRAM-SHA-256 verifier of a password, so that the password itself never reaches the server's log.
pub fn scram_verifier(password: &str, salt: &[u8], iterations: u32) -> Option<String> {
    let mut block = hmac(password.as_bytes(), &[salt, &1_u32.to_be_bytes()])?;
    let mut salted = block;
    for _ in 1..iterations {
        block = hmac(password.as_bytes(), &[&block])?;
        for (sum, byte) in salted.iter_mut().zip(block) {
            *sum ^= byte;
        }
    }
    let stored = Sha256::digest(hmac(&salted, &[b"Client Key"])?);
    let server = hmac(&salted, &[b"Server Key"])?;
    Some(format!(
        "SCRAM-SHA-256${iterations}:{}${}:{}",
        STANDARD.encode(salt),
        STANDARD.encode(stored),
        STANDARD.encode(server)
    ))
}

/// The older verifier, for servers before PostgreSQL 10.
pub fn md5_verifier(password: &str, user: &str) -> String {
    format!("md5{}", hex::encode(Md5::digest(format!("{password}{user}"))))
}

/// Whether the server's verifier is one of this password.
pub fn verifies(verifier: &str, password: &str, user: &str) -> bool {
    if verifier.starts_with("md5") {
        return verifier == md5_verifier(password, user);
    }
    let parsed = || {
        let (iterations, rest) = verifier.strip_prefix("SCRAM-SHA-256$")?.split_once(':')?;
        let (salt, _) = rest.split_once('$')?;
        scram_verifier(password, &STANDARD.decode(salt).ok()?, iterations.parse().ok()?)
    };
    parsed().as_deref() == Some(verifier)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn names_and_strings_cannot_break_out() {
        assert_eq!(identifier("a\"; drop"), "\"a\"\"; drop\"");
        assert_eq!(literal("it's"), "'it''s'");
        assert_eq!(literal(r"a\'b"), r" E'a\\''b'");
        assert_eq!(value(&json!([1, "a", null])), "ARRAY[1, 'a', NULL]");
    }

    #[test]
    fn arguments_fill_placeholders() {
        let named = json!({"n": "x'y"});
        let named = named.as_object().expect("a mapping");
        let none = serde_json::Map::new();
        assert_eq!(fill("a % b", &[], &none).as_deref(), Ok("a % b"));
        assert_eq!(fill("%s = %s %%", &[json!(1), json!("b")], &none).as_deref(), Ok("1 = 'b' %"));
        assert_eq!(fill("%(n)s", &[], named).as_deref(), Ok("'x''y'"));
        assert!(fill("%s %s", &[json!(1)], &none).is_err());
        assert!(fill("%s", &[json!(1), json!(2)], &none).is_err());
        assert!(fill("%(m)s", &[], named).is_err());
    }

    #[test]
    fn verifiers_are_postgresqls() {
        // From RFC 7677's example: user "user", password "pencil".
        let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").expect("base64");
        let verifier = scram_verifier("pencil", &salt, 4096).expect("verifier");
        assert_eq!(
            verifier,
            "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
        );
        assert!(verifies(&verifier, "pencil", "user"));
        assert!(!verifies(&verifier, "pen", "user"));
        assert!(verifies(&md5_verifier("a", "b"), "a", "b"));
        assert!(!verifies("", "a", "b"));
    }
}
