//! Filters that encrypt and decrypt, and one that asks JSON questions.

use minijinja::{Error, Value};

use super::super::call::{Call, Native};
use super::super::convert;
use super::super::failure::error;
use super::super::python;
use super::super::syntax::{Overrides, too_deep};
use crate::vault::{DEFAULT_ID, Key, Vault, is_encrypted};

pub(super) const FILTERS: &[(&str, Native)] =
    &[("vault", seal), ("unvault", open), ("json_query", query), ("urldecode", url_decode)];

fn key(call: &Call<'_, '_, '_>, id: &str) -> Result<Key, Error> {
    Ok(Key::new(id, call.need_text(1, "secret")?))
}

fn seal(call: &mut Call<'_, '_, '_>) -> Result<Value, Error> {
    let id =
        call.text(3, "vault_id").filter(|id| id != "filter_default").unwrap_or_else(|| DEFAULT_ID.into());
    let salt = call.text(2, "salt");
    let sealed = key(call, &id)?.seal(call.input_text()?.as_bytes(), salt.as_ref().map(String::as_bytes));
    Ok(Value::from(sealed.map_err(|e| error(format!("vault: {e}")))?))
}

fn open(call: &mut Call<'_, '_, '_>) -> Result<Value, Error> {
    let text = call.input_text()?;
    if !is_encrypted(text.as_bytes()) {
        return Ok(Value::from(text));
    }
    let id = call.text(2, "vault_id").unwrap_or_else(|| DEFAULT_ID.into());
    let plain = Vault::new(vec![key(call, &id)?]).open(&text).map_err(|e| error(format!("unvault: {e}")))?;
    String::from_utf8(plain.to_vec())
        .map(Value::from)
        .map_err(|_| error("unvault: what is inside is not UTF-8"))
}

/// A question in `JMESPath`.
fn query(call: &mut Call<'_, '_, '_>) -> Result<Value, Error> {
    let expression = call.need_text(1, "expr")?;
    let wrong = |e: jmespath::JmespathError| error(format!("json_query: {}", e.to_string().trim()));
    let data = convert::to_value(call.input())?;
    if let Some(why) = too_deep(&expression, &Overrides::default(), true) {
        return Err(error(format!("json_query: {why}")));
    }
    let found = jmespath::compile(&expression).and_then(|e| e.search(data)).map_err(wrong)?;
    let value = serde_json::to_value(&*found).map_err(|e| error(format!("json_query: {e}")))?;
    Ok(convert::to_jinja(&whole_numbers(value)))
}

/// `JMESPath` counts in floating point; what is whole stays whole.
fn whole_numbers(value: crate::value::Value) -> crate::value::Value {
    use crate::value::Value;
    match value {
        Value::Number(n) => match n.as_f64().filter(|f| f.fract() == 0.0 && f.abs() < 9e15) {
            #[expect(clippy::cast_possible_truncation, reason = "it is whole, and far from the bounds")]
            Some(whole) => Value::from(whole as i64),
            None => Value::Number(n),
        },
        Value::Array(items) => Value::Array(items.into_iter().map(whole_numbers).collect()),
        Value::Object(map) => Value::Object(map.into_iter().map(|(k, v)| (k, whole_numbers(v))).collect()),
        other => other,
    }
}

/// `%41+b` as `A b`.
#[expect(clippy::unnecessary_wraps, reason = "the signature of all filters")]
fn url_decode(call: &mut Call<'_, '_, '_>) -> Result<Value, Error> {
    let text = python::py_str(call.input());
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let digits = bytes.get(at + 1..at + 3).and_then(|d| std::str::from_utf8(d).ok());
        match (byte, digits.and_then(|d| u8::from_str_radix(d, 16).ok())) {
            (b'%', Some(decoded)) => {
                out.push(decoded);
                at += 3;
                continue;
            }
            (b'+', _) => out.push(b' '),
            (byte, _) => out.push(*byte),
        }
        at += 1;
    }
    Ok(Value::from(String::from_utf8_lossy(&out).into_owned()))
}
