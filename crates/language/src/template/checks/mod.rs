//! The tests: what stands after `is`.

use std::cmp::Ordering;

use minijinja::value::ValueKind;
use minijinja::{Error, Value};

use super::access;
use super::call::{Call, Native};
use super::convert;
use super::failure::{error, hinted};
use super::filters::comparison;
use super::python;

mod files;
mod results;
mod text;
mod version;

/// Tests that want to see what is undefined.
pub(super) const TOLERANT: &[&str] = &["defined", "undefined"];

pub(super) fn all() -> Vec<(&'static str, Native)> {
    [VALUES, files::TESTS, results::TESTS, text::TESTS, version::TESTS].concat()
}

const VALUES: &[(&str, Native)] = &[
    ("defined", |c| Ok(Value::from(!c.input().is_undefined()))),
    ("undefined", |c| Ok(Value::from(c.input().is_undefined()))),
    ("none", |c| Ok(Value::from(c.input().is_none()))),
    ("string", |c| Ok(Value::from(c.input().kind() == ValueKind::String))),
    ("number", |c| Ok(Value::from(c.input().is_number() || c.input().kind() == ValueKind::Bool))),
    ("integer", |c| Ok(Value::from(c.input().is_integer()))),
    ("float", |c| Ok(Value::from(c.input().is_number() && !c.input().is_integer()))),
    ("boolean", |c| Ok(Value::from(c.input().kind() == ValueKind::Bool))),
    ("true", |c| Ok(Value::from(c.input().kind() == ValueKind::Bool && c.input().is_true()))),
    ("false", |c| Ok(Value::from(c.input().kind() == ValueKind::Bool && !c.input().is_true()))),
    ("mapping", |c| Ok(Value::from(convert::is_mapping(c.input())))),
    ("sequence", |c| Ok(Value::from(iterable(c.input())))),
    ("iterable", |c| Ok(Value::from(iterable(c.input())))),
    ("callable", |c| {
        Ok(Value::from(
            c.input().as_object().is_some_and(|o| o.repr() == minijinja::value::ObjectRepr::Plain),
        ))
    }),
    ("odd", |c| Ok(Value::from(whole(c.input())?.rem_euclid(2) == 1))),
    ("even", |c| Ok(Value::from(whole(c.input())?.rem_euclid(2) == 0))),
    ("divisibleby", divisible_by),
    ("truthy", |c| truthy(c).map(Value::from)),
    ("falsy", |c| truthy(c).map(|t| Value::from(!t))),
    ("eq", equal),
    ("equalto", equal),
    ("==", equal),
    ("ne", |c| Ok(Value::from(*c.input() != c.need(1, "other")?))),
    ("!=", |c| Ok(Value::from(*c.input() != c.need(1, "other")?))),
    ("lt", |c| compare(c, &[Ordering::Less])),
    ("lessthan", |c| compare(c, &[Ordering::Less])),
    ("<", |c| compare(c, &[Ordering::Less])),
    ("le", |c| compare(c, &[Ordering::Less, Ordering::Equal])),
    ("<=", |c| compare(c, &[Ordering::Less, Ordering::Equal])),
    ("gt", |c| compare(c, &[Ordering::Greater])),
    ("greaterthan", |c| compare(c, &[Ordering::Greater])),
    (">", |c| compare(c, &[Ordering::Greater])),
    ("ge", |c| compare(c, &[Ordering::Greater, Ordering::Equal])),
    (">=", |c| compare(c, &[Ordering::Greater, Ordering::Equal])),
    ("sameas", equal),
    ("in", |c| Ok(Value::from(holds(&c.need(1, "seq")?, c.input())?))),
    ("contains", |c| Ok(Value::from(holds(c.input(), &c.need(1, "value")?)?))),
    ("subset", |c| subset(c.input(), &c.need(1, "b")?)),
    ("issubset", |c| subset(c.input(), &c.need(1, "b")?)),
    ("superset", |c| subset(&c.need(1, "b")?, c.input())),
    ("issuperset", |c| subset(&c.need(1, "b")?, c.input())),
    ("all", |c| Ok(Value::from(c.input_items()?.iter().all(Value::is_true)))),
    ("any", |c| Ok(Value::from(c.input_items()?.iter().any(Value::is_true)))),
    ("isnan", |c| Ok(Value::from(f64::try_from(c.input().clone()).is_ok_and(f64::is_nan)))),
    ("ipaddr", |c| Ok(Value::from(network(c).is_some()))),
    ("ip", |c| Ok(Value::from(network(c).is_some()))),
    ("ipv4", |c| Ok(Value::from(network(c).is_some_and(|n| n.address.is_ipv4())))),
    ("ipv6", |c| Ok(Value::from(network(c).is_some_and(|n| n.address.is_ipv6())))),
    ("vaulted_file", |c| {
        let bytes = std::fs::read(c.input_text()?).unwrap_or_default();
        Ok(Value::from(crate::vault::is_encrypted(&bytes)))
    }),
    ("nan", |c| Ok(Value::from(f64::try_from(c.input().clone()).is_ok_and(f64::is_nan)))),
    // A variable that is `!vault` is open by the time it gets here.
    ("vault_encrypted", |c| {
        Ok(Value::from(c.input().as_str().is_some_and(|s| s.starts_with("$ANSIBLE_VAULT;"))))
    }),
    ("filter", |c| {
        Ok(Value::from(super::filters::all().iter().any(|(n, _)| Some(*n) == c.input().as_str())))
    }),
    ("test", |c| Ok(Value::from(all().iter().any(|(n, _)| Some(*n) == c.input().as_str())))),
];

fn network(call: &Call<'_, '_, '_>) -> Option<super::filters::Network> {
    super::filters::Network::parse(call.input().as_str()?)
}

fn iterable(value: &Value) -> bool {
    convert::is_list(value) || convert::is_mapping(value) || value.kind() == ValueKind::String
}

fn whole(value: &Value) -> Result<i64, Error> {
    value.as_i64().ok_or_else(|| error(format!("a whole number is required, not {}", python::repr(value))))
}

fn divisible_by(call: &mut Call<'_, '_, '_>) -> Result<Value, Error> {
    let by = whole(&call.need(1, "num")?)?;
    if by == 0 {
        return Err(error("modulo by zero"));
    }
    Ok(Value::from(whole(call.input())?.checked_rem(by).is_none_or(|rest| rest == 0)))
}

fn truthy(call: &Call<'_, '_, '_>) -> Result<bool, Error> {
    let input = call.input();
    if call.flag(1, "convert_bool", false)
        && let Some(known) = crate::value::truth(&convert::to_value(input)?)
    {
        return Ok(known);
    }
    Ok(input.is_true())
}

fn equal(call: &mut Call<'_, '_, '_>) -> Result<Value, Error> {
    Ok(Value::from(*call.input() == call.need(1, "other")?))
}

fn compare(call: &Call<'_, '_, '_>, wanted: &[Ordering]) -> Result<Value, Error> {
    Ok(Value::from(wanted.contains(&comparison(call.input(), &call.need(1, "other")?)?)))
}

/// `item in container`.
fn holds(container: &Value, item: &Value) -> Result<bool, Error> {
    if let Some(text) = container.as_str() {
        let wanted = item.as_str().ok_or_else(|| {
            hinted(
                format!("'in <string>' requires a string, not {}", python::type_name(item)),
                Some("make it one: `x | string`".into()),
            )
        })?;
        return Ok(text.contains(wanted));
    }
    if convert::is_mapping(container) {
        return Ok(!access::item(container, item).is_undefined());
    }
    Ok(convert::items(container)?.contains(item))
}

fn subset(part: &Value, whole: &Value) -> Result<Value, Error> {
    let whole = convert::items(whole)?;
    Ok(Value::from(convert::items(part)?.iter().all(|i| whole.contains(i))))
}
