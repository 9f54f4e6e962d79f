//! Tests of texts.

use minijinja::{Error, Value};

use super::super::call::{Call, Native};
use super::super::regex::{Flags, compile};

pub(super) const TESTS: &[(&str, Native)] = &[
    ("match", |c| matched(c, "match")),
    ("search", |c| matched(c, "search")),
    ("regex", |c| {
        let how = c.text_or(4, "match_type", "search");
        matched(c, &how)
    }),
    ("lower", |c| cased(c, char::is_lowercase, char::is_uppercase)),
    ("upper", |c| cased(c, char::is_uppercase, char::is_lowercase)),
    ("startingwith", |c| Ok(Value::from(c.input_text()?.starts_with(&c.need_text(1, "other")?)))),
    ("endingwith", |c| Ok(Value::from(c.input_text()?.ends_with(&c.need_text(1, "other")?)))),
    ("uri", |c| uri(c, false)),
    ("url", |c| uri(c, true)),
];

fn cased(call: &Call<'_, '_, '_>, has: fn(char) -> bool, never: fn(char) -> bool) -> Result<Value, Error> {
    let text = call.input_text()?;
    Ok(Value::from(text.chars().any(has) && !text.chars().any(never)))
}

fn matched(call: &Call<'_, '_, '_>, how: &str) -> Result<Value, Error> {
    let pattern = call.need_text(1, "pattern")?;
    let flags = Flags {
        ignore_case: call.flag(2, "ignorecase", false),
        multiline: call.flag(3, "multiline", false),
        dotall: false,
    };
    let text = call.input_text()?;
    let anchored = match how {
        "match" => format!(r"\A(?:{pattern})"),
        "fullmatch" => format!(r"\A(?:{pattern})\Z"),
        _ => pattern,
    };
    let found = compile(&anchored, flags)?.is_match(&text);
    found.map(Value::from).map_err(|e| super::super::failure::error(format!("the expression gave up: {e}")))
}

fn uri(call: &Call<'_, '_, '_>, with_host: bool) -> Result<Value, Error> {
    let text = call.input_text()?;
    let scheme = |s: &str| {
        s.starts_with(|c: char| c.is_ascii_alphabetic())
            && s.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
    };
    Ok(Value::from(match text.split_once(':') {
        Some((name, rest)) if scheme(name) => {
            !with_host || rest.strip_prefix("//").is_some_and(|h| !h.is_empty() && !h.starts_with('/'))
        }
        _ => false,
    }))
}
