use schemars::JsonSchema;
use serde::de::{self, Deserializer};
use serde::{Deserialize, Serialize};

use crate::host::Secret;
use crate::value::{Value, plain};

/// A command's words: a list, or a string that is split as a shell does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(with = "Vec<String>")]
pub struct Words(pub Vec<String>);

impl<'de> Deserialize<'de> for Words {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::Array(items) => Ok(Self(items.iter().map(plain).collect())),
            Value::String(text) => shlex::split(&text)
                .map(Self)
                .ok_or_else(|| de::Error::custom(format!("unbalanced quotes in {text:?}"))),
            Value::Object(_) => Err(de::Error::custom("expected a command, got a mapping")),
            other => Ok(Self(vec![plain(&other)])),
        }
    }
}

/// One statement, or a list of them; a string is never cut at commas.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema)]
#[schemars(with = "Vec<String>")]
pub struct Queries(pub Vec<String>);

impl<'de> Deserialize<'de> for Queries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::Array(items) => Ok(Self(items.iter().map(plain).collect())),
            Value::String(text) => Ok(Self(vec![text])),
            other => Err(de::Error::custom(format!("expected a statement or a list of them, got {other}"))),
        }
    }
}

/// Reads a secret argument.
pub fn secret<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Secret>, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.map(Secret))
}

/// Reads an amount of memory as Docker writes it (`512m`, `1.5g`, bytes).
pub fn bytes(text: &str) -> Result<i64, String> {
    let lower = text.trim().to_ascii_lowercase();
    let digits = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor = match &lower[digits.len()..] {
        "" | "b" => 1.0,
        "k" | "kb" | "kib" => 1024.0,
        "m" | "mb" | "mib" => 1024.0 * 1024.0,
        "g" | "gb" | "gib" => 1024.0 * 1024.0 * 1024.0,
        "t" | "tb" | "tib" => 1024.0 * 1024.0 * 1024.0 * 1024.0,
        _ => return Err(format!("{text:?} is not an amount of memory; write it like 512m or 2g")),
    };
    let number: f64 = digits
        .trim()
        .parse()
        .ok()
        .filter(|n: &f64| n.is_finite() && *n >= 0.0)
        .ok_or_else(|| format!("{text:?} is not an amount of memory; write it like 512m or 2g"))?;
    #[expect(clippy::cast_possible_truncation, reason = "whole bytes are wanted, and `as` saturates")]
    Ok((number * factor) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn commands_are_lists_or_shell_words() {
        for (value, words) in [
            (json!(["a", 5, "b c"]), vec!["a", "5", "b c"]),
            (json!("sh -c 'a, b'"), vec!["sh", "-c", "a, b"]),
        ] {
            assert_eq!(serde_json::from_value::<Words>(value).expect("words").0, words);
        }
        assert!(serde_json::from_value::<Words>(json!("a 'b")).is_err());
    }

    #[test]
    fn memory_is_read_as_docker_does() {
        for (text, expected) in [
            ("512m", Some(536_870_912)),
            ("1.5g", Some(1_610_612_736)),
            ("64", Some(64)),
            ("x", None),
            ("-1", None),
        ] {
            assert_eq!(bytes(text).ok(), expected, "{text}");
        }
    }
}
