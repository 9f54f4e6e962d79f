//! Between what is known (JSON-shaped) and what the template engine computes with.

use minijinja::value::ValueKind;
use minijinja::{Error, ErrorKind, Value as Jinja};
use serde_json::Number;

use super::python;
use crate::value::{MOST_NESTED, Map, Value};

/// A known value as the engine sees it.
pub(super) fn to_jinja(value: &Value) -> Jinja {
    match value {
        Value::Null => Jinja::from(()),
        Value::Bool(b) => Jinja::from(*b),
        Value::Number(n) => number(n),
        Value::String(s) => Jinja::from(s.as_str()),
        Value::Array(items) => Jinja::from(items.iter().map(to_jinja).collect::<Vec<_>>()),
        Value::Object(map) => Jinja::from_pairs(map.iter().map(|(k, v)| (k.as_str(), to_jinja(v)))),
    }
}

/// A known value as a template writes it into a text: Python's `str()`.
pub fn shown(value: &Value) -> String {
    python::py_str(&to_jinja(value))
}

fn number(n: &Number) -> Jinja {
    n.as_i64()
        .map(Jinja::from)
        .or_else(|| n.as_u64().map(Jinja::from))
        .unwrap_or_else(|| Jinja::from(n.as_f64().unwrap_or(0.0)))
}

/// Bytes of the largest value that is taken out of a template.
const MOST_MEMORY: usize = 1 << 30;

/// A computed value as a known one. Undefined parts and deferred errors surface here, and what is nested too deep or holds itself.
pub(super) fn to_value(value: &Jinja) -> Result<Value, Error> {
    known(value, 0, &mut 0)
}

/// `size`: how much memory it takes so far, about. A long list of few values takes little before this, and a lot after.
fn known(value: &Jinja, depth: usize, size: &mut usize) -> Result<Value, Error> {
    if depth > MOST_NESTED {
        let why = format!("the value is nested more than {MOST_NESTED} deep, or holds itself");
        return Err(Error::new(ErrorKind::InvalidOperation, why));
    }
    *size = size.saturating_add(size_of::<Value>() + value.as_str().map_or(0, str::len));
    if *size > MOST_MEMORY {
        let why = format!(
            "the value takes more than {MOST_MEMORY} bytes of memory: are its lists as long as was expected?"
        );
        return Err(Error::new(ErrorKind::InvalidOperation, why));
    }
    Ok(match value.kind() {
        ValueKind::Undefined => return Err(Error::from(ErrorKind::UndefinedError)),
        ValueKind::None => Value::Null,
        ValueKind::Bool => Value::Bool(value.is_true()),
        ValueKind::Number => number_value(value),
        ValueKind::String => Value::String(value.as_str().unwrap_or_default().to_owned()),
        ValueKind::Seq | ValueKind::Iterable => Value::Array(
            value
                .try_iter()?
                .checked()
                .filter(|item| item.as_ref().map_or(true, is_given))
                .map(|item| known(&item?, depth + 1, size))
                .collect::<Result<_, _>>()?,
        ),
        ValueKind::Map => {
            let mut map = Map::new();
            for key in value.try_iter()?.checked() {
                let key = key?;
                let item = checked(value.get_item(&key)?)?;
                if !is_given(&item) {
                    continue;
                }
                map.insert(python::py_str(&key), known(&item, depth + 1, size)?);
            }
            Value::Object(map)
        }
        ValueKind::Invalid => return checked(value.clone()).and_then(|v| known(&v, depth + 1, size)),
        _ => Value::String(value.to_string()),
    })
}

/// A part that is `omit` was not given.
fn is_given(value: &Jinja) -> bool {
    value.as_str() != Some(super::context::omit())
}

fn number_value(value: &Jinja) -> Value {
    if value.is_integer() {
        if let Some(i) = value.as_i64() {
            return Value::from(i);
        }
        if let Ok(u) = u64::try_from(value.clone()) {
            return Value::from(u);
        }
    }
    f64::try_from(value.clone())
        .ok()
        .and_then(Number::from_f64)
        .map_or_else(|| Value::String(python::repr(value)), Value::Number)
}

/// Gives the error that a lazily computed value carries, if it carries one.
pub(super) fn checked(value: Jinja) -> Result<Jinja, Error> {
    if value.kind() != ValueKind::Invalid {
        return Ok(value);
    }
    // The engine only hands the error out through a checked iteration.
    match Jinja::from(vec![value]).try_iter()?.checked().next() {
        Some(Err(error)) => Err(error),
        _ => Err(Error::new(ErrorKind::InvalidOperation, "the value cannot be computed")),
    }
}

/// The items of a list, each computed.
pub(super) fn items(value: &Jinja) -> Result<Vec<Jinja>, Error> {
    if value.kind() == ValueKind::Undefined {
        return Err(Error::from(ErrorKind::UndefinedError));
    }
    if matches!(value.kind(), ValueKind::None | ValueKind::Bool | ValueKind::Number) {
        return Err(Error::new(
            ErrorKind::InvalidOperation,
            format!("'{}' object is not iterable", python::type_name(value)),
        ));
    }
    value.try_iter()?.checked().collect()
}

/// A mapping's keys and values; deferred errors stay in the values.
pub(super) fn pairs(value: &Jinja) -> Vec<(Jinja, Jinja)> {
    let keys = value.try_iter().into_iter().flatten();
    keys.map(|key| {
        let item = value.get_item(&key).unwrap_or_default();
        (key, item)
    })
    .collect()
}

/// A mapping's keys and values, each computed.
pub(super) fn checked_pairs(value: &Jinja) -> Result<Vec<(Jinja, Jinja)>, Error> {
    pairs(value).into_iter().map(|(key, item)| Ok((key, checked(item)?))).collect()
}

pub(super) fn is_mapping(value: &Jinja) -> bool {
    value.kind() == ValueKind::Map
}

pub(super) fn is_list(value: &Jinja) -> bool {
    matches!(value.kind(), ValueKind::Seq | ValueKind::Iterable)
}

/// A mapping in the order of its pairs; a later key replaces an earlier one's value.
pub(super) fn mapping(pairs: impl IntoIterator<Item = (Jinja, Jinja)>) -> Jinja {
    Jinja::from_pairs(pairs)
}
