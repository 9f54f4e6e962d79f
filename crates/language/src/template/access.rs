//! The functions that rewritten expressions call in place of access and `%`.

use minijinja::value::{Rest, ValueKind};
use minijinja::{Environment, Error, State, Value};

use super::context::Context;
use super::convert;
use super::mutable;
use super::percent;
use super::python;
use super::syntax::{GET, MOD, MUTABLE, SUB};

pub(super) fn register(env: &mut Environment<'static>) {
    env.add_function(GET, |state: &mut State<'_, '_>, args: Rest<Value>| match args.as_slice() {
        [base, key] => get(state, base, key),
        _ => Err(super::failure::error("a subscript takes one value")),
    });
    env.add_function(SUB, |args: Rest<Value>| super::moment::subtract(args.as_slice()));
    env.add_function(MOD, |_: &mut State<'_, '_>, args: Rest<Value>| match args.as_slice() {
        [left, right] => percent::apply(left, right),
        _ => Err(super::failure::error("% takes two values")),
    });
    env.add_function(MUTABLE, |_: &mut State<'_, '_>, args: Rest<Value>| {
        Ok::<_, Error>(args.first().map(mutable::of).unwrap_or_default())
    });
}

/// `base[key]`. What is undefined stays undefined, so that a `default` can still catch it.
fn get(state: &State<'_, '_>, base: &Value, key: &Value) -> Result<Value, Error> {
    if base.is_undefined() || key.is_undefined() {
        return Ok(Value::UNDEFINED);
    }
    let found = convert::checked(item(base, key))?;
    if found.is_undefined()
        && let Ok(context) = Context::of(state)
    {
        // A variable's own reason for being undefined says more.
        if base.downcast_object_ref::<Context>().is_none() {
            context.note_missing(base, key);
        }
    }
    Ok(found)
}

/// A part of a value, undefined where there is none.
pub(super) fn item(base: &Value, key: &Value) -> Value {
    match base.kind() {
        ValueKind::String => {
            let Some(index) = key.as_i64() else { return Value::UNDEFINED };
            let text = base.as_str().unwrap_or_default();
            let index =
                if index < 0 { index + i64::try_from(text.chars().count()).unwrap_or(0) } else { index };
            let found = usize::try_from(index).ok().and_then(|i| text.chars().nth(i));
            found.map_or(Value::UNDEFINED, |c| Value::from(c.to_string()))
        }
        ValueKind::Iterable => {
            let Some(index) = key.as_i64() else { return base.get_item(key).unwrap_or_default() };
            let items: Vec<Value> = base.try_iter().into_iter().flatten().collect();
            let index = if index < 0 { index + i64::try_from(items.len()).unwrap_or(0) } else { index };
            usize::try_from(index).ok().and_then(|i| items.get(i).cloned()).unwrap_or_default()
        }
        ValueKind::Map => {
            let found = base.get_item(key).unwrap_or_default();
            if found.is_undefined() && (key.is_number() || key.kind() == ValueKind::Bool) {
                // Variables have text keys, whatever a person wrote.
                return base.get_item(&Value::from(python::py_str(key))).unwrap_or_default();
            }
            found
        }
        _ => base.get_item(key).unwrap_or_default(),
    }
}

/// A nested part, by a dotted path: what `map(attribute='a.b')` and its kin take.
pub(super) fn path(base: &Value, path: &Value) -> Result<Value, Error> {
    let Some(text) = path.as_str() else { return convert::checked(item(base, path)) };
    let mut found = base.clone();
    for part in text.split('.') {
        let key = part.parse::<i64>().map_or_else(|_| Value::from(part), Value::from);
        found = convert::checked(item(&found, &key))?;
    }
    Ok(found)
}
