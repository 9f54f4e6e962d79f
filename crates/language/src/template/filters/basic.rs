//! Filters for any value.

use std::cmp::Ordering;

use minijinja::value::ValueKind;
use minijinja::{Error, ErrorKind, Value};

use super::super::call::{Call, Native, boolean};
use super::super::context::Context;
use super::super::convert;
use super::super::failure::{error, hinted};
use super::super::python;
use crate::value::truth;

pub(super) const FILTERS: &[(&str, Native)] = &[
    ("default", default),
    ("d", default),
    ("mandatory", mandatory),
    ("ternary", ternary),
    ("bool", bool),
    ("string", string),
    ("length", length),
    ("count", length),
    ("type_debug", type_debug),
    ("safe", same),
];

#[expect(clippy::unnecessary_wraps, reason = "the table of functions gives the type")]
fn same(call: &mut Call<'_, '_, '_>) -> Result<Value, Error> {
    Ok(call.input().clone())
}

#[expect(clippy::unnecessary_wraps, reason = "the table of functions gives the type")]
fn default(call: &mut Call<'_, '_, '_>) -> Result<Value, Error> {
    let input = call.input().clone();
    let falsy_too = call.flag(2, "boolean", false);
    if input.is_undefined() || (falsy_too && !input.is_true()) {
        return Ok(call.get(1, "default_value").unwrap_or_else(|| Value::from("")));
    }
    Ok(input)
}

fn mandatory(call: &mut Call<'_, '_, '_>) -> Result<Value, Error> {
    if !call.input().is_undefined() {
        return Ok(call.input().clone());
    }
    match call.text(1, "msg") {
        Some(message) => Err(error(message)),
        None => Err(hinted(
            "a mandatory variable is not defined",
            Some("define it, or give it a `default`".into()),
        )),
    }
}

fn ternary(call: &mut Call<'_, '_, '_>) -> Result<Value, Error> {
    let (yes, no) = (call.need(1, "true_val")?, call.need(2, "false_val")?);
    if call.input().is_none()
        && let Some(none) = call.get(3, "none_val").filter(|v| !v.is_none())
    {
        return Ok(none);
    }
    Ok(if call.input().is_true() { yes } else { no })
}

fn bool(call: &mut Call<'_, '_, '_>) -> Result<Value, Error> {
    let input = call.input();
    match input.kind() {
        ValueKind::Bool | ValueKind::None => return Ok(input.clone()),
        _ => {}
    }
    let known = truth(&convert::to_value(input)?);
    known.map(Value::from).ok_or_else(|| {
        hinted(
            format!("{} is neither true nor false", python::repr(input)),
            Some("`bool` takes yes/no, on/off, true/false, 1/0".into()),
        )
    })
}

fn string(call: &mut Call<'_, '_, '_>) -> Result<Value, Error> {
    call.input_text().map(Value::from)
}

fn length(call: &mut Call<'_, '_, '_>) -> Result<Value, Error> {
    let input = call.input();
    if let Some(length) = input.len() {
        return Ok(Value::from(length));
    }
    if convert::is_list(input) {
        return Ok(Value::from(convert::items(input)?.len()));
    }
    Err(error(format!("object of type '{}' has no len()", python::type_name(input))))
}

fn type_debug(call: &mut Call<'_, '_, '_>) -> Result<Value, Error> {
    if call.input().is_undefined() {
        if let Ok(context) = Context::of(call.state) {
            context.note_hint("an undefined value has no type");
        }
        return Err(Error::from(ErrorKind::UndefinedError));
    }
    Ok(Value::from(python::type_name(call.input())))
}

/// A sort key: texts without regard to case unless that is asked for.
pub(in super::super) fn equal_fold(value: &Value, case_sensitive: bool) -> Value {
    match value.as_str() {
        Some(s) if !case_sensitive => Value::from(s.to_lowercase()),
        _ => value.clone(),
    }
}

/// Compares as Python does: what has no order among its kind is an error.
pub(in super::super) fn comparison(a: &Value, b: &Value) -> Result<Ordering, Error> {
    let number = |v: &Value| v.is_number() || v.kind() == ValueKind::Bool;
    let comparable = (number(a) && number(b))
        || (a.kind() == ValueKind::String && b.kind() == ValueKind::String)
        || (convert::is_list(a) && convert::is_list(b));
    if comparable {
        return Ok(a.cmp(b));
    }
    Err(error(format!(
        "'<' not supported between instances of '{}' and '{}'",
        python::type_name(a),
        python::type_name(b)
    )))
}

/// Whether a flag-like argument says yes.
pub(super) fn says_yes(value: Option<Value>) -> bool {
    value.is_some_and(|v| boolean(&v))
}
