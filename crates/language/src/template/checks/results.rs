//! Tests of what a task gave.

use minijinja::{Error, Value};

use super::super::access;
use super::super::call::{Call, Native};
use super::super::convert;
use super::super::failure::hinted;
use super::super::python;

pub(super) const TESTS: &[(&str, Native)] = &[
    ("failed", |c| said(c, "failed").map(Value::from)),
    ("failure", |c| said(c, "failed").map(Value::from)),
    ("succeeded", |c| said(c, "failed").map(|f| Value::from(!f))),
    ("success", |c| said(c, "failed").map(|f| Value::from(!f))),
    ("successful", |c| said(c, "failed").map(|f| Value::from(!f))),
    ("changed", changed),
    ("change", changed),
    ("skipped", |c| said(c, "skipped").map(Value::from)),
    ("skip", |c| said(c, "skipped").map(Value::from)),
    ("unreachable", |c| said(c, "unreachable").map(Value::from)),
    ("reachable", |c| said(c, "unreachable").map(|f| Value::from(!f))),
    ("timedout", |c| {
        said(c, "timedout")?;
        Ok(Value::from(access::path(c.input(), &Value::from("timedout.period"))?.is_true()))
    }),
    ("started", |c| in_background(c, "started")),
    ("finished", |c| in_background(c, "finished")),
];

/// What does not run in the background has started and finished.
fn in_background(call: &Call<'_, '_, '_>, key: &str) -> Result<Value, Error> {
    let said = said(call, key)?;
    Ok(Value::from(said || access::item(call.input(), &Value::from(key)).is_undefined()))
}

fn said(call: &Call<'_, '_, '_>, key: &str) -> Result<bool, Error> {
    let result = call.input();
    if !convert::is_mapping(result) {
        return Err(hinted(
            format!("the test '{key}' needs a task's result, got {}", python::type_name(result)),
            Some("give it the variable that `register` names".into()),
        ));
    }
    let found = convert::checked(access::item(result, &Value::from(key)))?;
    Ok(found.is_true())
}

fn changed(call: &mut Call<'_, '_, '_>) -> Result<Value, Error> {
    let own = said(call, "changed")?;
    let results = access::item(call.input(), &Value::from("results"));
    let own_known = !access::item(call.input(), &Value::from("changed")).is_undefined();
    if !own_known && convert::is_list(&results) {
        let any =
            convert::items(&results)?.iter().any(|r| access::item(r, &Value::from("changed")).is_true());
        return Ok(Value::from(any));
    }
    Ok(Value::from(own))
}
