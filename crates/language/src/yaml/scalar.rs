use std::sync::Arc;

use super::{Kind, Written};
use crate::diag::SourceFile;

/// What a plain scalar means under YAML 1.1, as `PyYAML` resolves it.
///
/// Dates and times stay texts. An integer that does not fit 64 bits stays a text too, so that no digit is lost.
pub(super) fn resolve(text: &str, source: &Arc<SourceFile>) -> Kind {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Kind::Null,
        "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => return Kind::Bool(true),
        "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => return Kind::Bool(false),
        _ => {}
    }
    // Every number starts with one of these, so that most texts are settled at once.
    if !text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '.')) {
        return Kind::Str(Written::read(text, source));
    }
    int(text)
        .map(Kind::Int)
        .or_else(|| float(text).map(Kind::Float))
        .unwrap_or_else(|| Kind::Str(Written::read(text, source)))
}

/// What a plain scalar means in a JSON document, where `1e5` is a number too.
pub(super) fn resolve_json(text: &str, source: &Arc<SourceFile>) -> Kind {
    match serde_json::from_str::<serde_json::Number>(text) {
        Ok(_) if text.contains(['.', 'e', 'E']) => {
            text.parse().map_or_else(|_| resolve(text, source), Kind::Float)
        }
        Ok(number) => number.as_i64().map_or_else(|| Kind::Str(Written::read(text, source)), Kind::Int),
        Err(_) => resolve(text, source),
    }
}

fn sign(text: &str) -> (bool, &str) {
    match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    }
}

pub(super) fn int(text: &str) -> Option<i64> {
    let (negative, body) = sign(text);
    let magnitude = if let Some(digits) = body.strip_prefix("0b") {
        radix(digits, 2)?
    } else if let Some(digits) = body.strip_prefix("0x") {
        radix(digits, 16)?
    } else if body == "0" {
        0
    } else if let Some(digits) = body.strip_prefix('0') {
        // Only underscores after the zero is zero still.
        if !digits.is_empty() && digits.chars().all(|c| c == '_') { 0 } else { radix(digits, 8)? }
    } else if body.contains(':') {
        sexagesimal(body)?
    } else {
        radix(body.starts_with(|c: char| c.is_ascii_digit()).then_some(body)?, 10)?
    };
    i64::try_from(if negative { -magnitude } else { magnitude }).ok()
}

/// Digits of one base with underscores between them.
fn radix(digits: &str, base: u32) -> Option<i128> {
    let plain: String = digits.chars().filter(|c| *c != '_').collect();
    if plain.starts_with(['-', '+']) {
        return None;
    }
    i128::from_str_radix(&plain, base).ok().filter(|n| *n <= i128::from(u64::MAX))
}

/// `1:30:00`, in base 60.
fn sexagesimal(text: &str) -> Option<i128> {
    let mut parts = text.split(':');
    let first = parts.next()?;
    let mut total = radix(first.starts_with(|c| matches!(c, '1'..='9')).then_some(first)?, 10)?;
    for part in parts {
        total = total.checked_mul(60)?.checked_add(i128::from(sixtieth(part)?))?;
    }
    Some(total)
}

/// One place of a base-60 number: `0` to `59`, with one digit or two.
fn sixtieth(text: &str) -> Option<u8> {
    let fits = matches!(text.len(), 1 | 2) && text.bytes().all(|b| b.is_ascii_digit());
    fits.then(|| text.parse().ok()).flatten().filter(|n| *n < 60)
}

pub(super) fn float(text: &str) -> Option<f64> {
    let (negative, body) = sign(text);
    let signed = |number: f64| if negative { -number } else { number };
    match body {
        ".inf" | ".Inf" | ".INF" => return Some(signed(f64::INFINITY)),
        ".nan" | ".NaN" | ".NAN" if body == text => return Some(f64::NAN),
        _ => {}
    }
    let (whole, rest) = body.split_once('.')?;
    let (fraction, exponent) = match rest.find(['e', 'E']) {
        Some(at) => (rest.get(..at)?, Some(rest.get(at + 1..)?)),
        None => (rest, None),
    };
    let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit() || b == b'_');
    let starts = |s: &str| s.starts_with(|c: char| c.is_ascii_digit());
    if !digits(fraction) {
        return None;
    }
    if let Some((first, _)) = whole.split_once(':') {
        if exponent.is_some() || !starts(first) || !digits(first) {
            return None;
        }
        let mut parts = whole.split(':');
        let mut total: f64 = bare(parts.next()?).parse().ok()?;
        for part in parts {
            total = total * 60.0 + f64::from(sixtieth(part)?);
        }
        return Some(signed(total + format!("0.{}", bare(fraction)).parse::<f64>().ok()?));
    }
    let mantissa = if whole.is_empty() {
        // PyYAML takes no sign before a leading point.
        body == text && starts(fraction)
    } else {
        starts(whole) && digits(whole)
    };
    // The exponent needs its sign: `1.5e3` is a text in YAML 1.1.
    let power = exponent.is_none_or(|e| {
        e.strip_prefix(['-', '+']).is_some_and(|d| !d.is_empty() && d.bytes().all(|b| b.is_ascii_digit()))
    });
    (mantissa && power).then(|| bare(body).parse().ok()).flatten().map(signed)
}

fn bare(text: &str) -> String {
    text.chars().filter(|c| *c != '_').collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_pyyamls() {
        for (text, expected) in [
            ("0644", Kind::Int(420)),
            ("0o644", Kind::Str("0o644".into())),
            ("08", Kind::Str("08".into())),
            ("0x1F", Kind::Int(31)),
            ("-0b101", Kind::Int(-5)),
            ("1_000", Kind::Int(1000)),
            ("12:30:45", Kind::Int(45045)),
            ("12:60", Kind::Str("12:60".into())),
            ("01:30", Kind::Str("01:30".into())),
            ("-9223372036854775808", Kind::Int(i64::MIN)),
            ("9223372036854775808", Kind::Str("9223372036854775808".into())),
            ("1e3", Kind::Str("1e3".into())),
            ("1.5e3", Kind::Str("1.5e3".into())),
            ("1.5e+3", Kind::Float(1500.0)),
            ("1.", Kind::Float(1.0)),
            (".5", Kind::Float(0.5)),
            ("-.5", Kind::Str("-.5".into())),
            ("1:30.5", Kind::Float(90.5)),
            ("-.inf", Kind::Float(f64::NEG_INFINITY)),
            (".", Kind::Str(".".into())),
            ("-", Kind::Str("-".into())),
            ("+-1", Kind::Str("+-1".into())),
            ("1.2.3", Kind::Str("1.2.3".into())),
            ("192.168.1.1", Kind::Str("192.168.1.1".into())),
            ("2024-01-02", Kind::Str("2024-01-02".into())),
            // PyYAML takes an address of small digits for base 60; so do we.
            ("52:54:00:12:34:56", Kind::Int(41_135_085_296)),
            ("52:54:00:ab:34:56", Kind::Str("52:54:00:ab:34:56".into())),
        ] {
            assert_eq!(resolve(text, &crate::diag::SourceFile::new("test", text)), expected, "{text}");
        }
    }

    #[test]
    fn words_are_pyyamls() {
        for (text, expected) in [
            ("yes", Kind::Bool(true)),
            ("Off", Kind::Bool(false)),
            ("yEs", Kind::Str("yEs".into())),
            ("y", Kind::Str("y".into())),
            ("~", Kind::Null),
            ("Null", Kind::Null),
            ("None", Kind::Str("None".into())),
        ] {
            assert_eq!(resolve(text, &crate::diag::SourceFile::new("test", text)), expected, "{text}");
        }
    }
}
