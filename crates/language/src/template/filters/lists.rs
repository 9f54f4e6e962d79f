//! Filters for lists.

use std::cmp::Ordering;

use minijinja::value::{Kwargs, Tuple, ValueKind};
use minijinja::{Error, Value};

use super::super::access;
use super::super::bounds;
use super::super::call::{Call, Native};
use super::super::convert;
use super::super::failure::error;
use super::super::python;
use super::basic::comparison;
use super::equal_fold;

pub(super) const FILTERS: &[(&str, Native)] = &[
    ("list", list),
    ("first", first),
    ("last", last),
    ("join", join),
    ("sort", sort),
    ("reverse", reverse),
    ("min", min),
    ("max", max),
    ("map", map),
    ("select", select),
    ("reject", reject),
    ("selectattr", selectattr),
    ("rejectattr", rejectattr),
    ("flatten", flatten),
    ("groupby", groupby),
    ("batch", batch),
    ("slice", slice),
    ("sum", sum),
    ("zip", zip),
    ("zip_longest", zip_longest),
];

fn list(call: &mut Call<'_, '_, '_>) -> Result<Value, Error> {
    Ok(Value::from(call.input_items()?))
}

/// Notes that an empty list has no such item.
fn none_there(call: &Call<'_, '_, '_>, which: &str) -> Value {
    if let Ok(context) = super::super::context::Context::of(call.state) {
        context.note_hint(&format!("there is no {which} item: the sequence is empty"));
    }
    Value::UNDEFINED
}

fn first(call: &mut Call<'_, '_, '_>) -> Result<Value, Error> {
    Ok(call.input_items()?.into_iter().next().unwrap_or_else(|| none_there(call, "first")))
}

fn last(call: &mut Call<'_, '_, '_>) -> Result<Value, Error> {
    Ok(call.input_items()?.into_iter().next_back().unwrap_or_else(|| none_there(call, "last")))
}

fn join(call: &mut Call<'_, '_, '_>) -> Result<Value, Error> {
    let separator = call.text_or(1, "d", "");
    let attribute = call.get(2, "attribute").filter(|v| !v.is_none());
    let mut parts = Vec::new();
    for item in call.input_items()? {
        let item = match &attribute {
            Some(path) => access::path(&item, path)?,
            None => item,
        };
        if item.is_undefined() {
            return Ok(Value::UNDEFINED);
        }
        parts.push(python::py_str(&item));
    }
    bounds::joined("join", &parts, &separator).map(Value::from)
}

/// Sorts by a key that may fail, and an order that may fail; equal ones keep their places.
pub(super) fn sort_by<T>(
    items: &mut Vec<T>,
    reverse: bool,
    key: impl Fn(&T) -> Result<Value, Error>,
    order: impl Fn(&Value, &Value) -> Result<Ordering, Error>,
) -> Result<(), Error> {
    let mut keyed = Vec::with_capacity(items.len());
    for item in items.drain(..) {
        keyed.push((key(&item)?, item));
    }
    let mut failed = None;
    keyed.sort_by(|a, b| {
        let found = order(&a.0, &b.0).unwrap_or_else(|e| {
            failed.get_or_insert(e);
            Ordering::Equal
        });
        if reverse { found.reverse() } else { found }
    });
    items.extend(keyed.into_iter().map(|(_, item)| item));
    failed.map_or(Ok(()), Err)
}

fn sort(call: &mut Call<'_, '_, '_>) -> Result<Value, Error> {
    let reverse = call.flag(1, "reverse", false);
    let case = call.flag(2, "case_sensitive", false);
    let attribute = call.get(3, "attribute").filter(|v| !v.is_none());
    let mut items = call.input_items()?;
    let key = |item: &Value| -> Result<Value, Error> {
        let Some(attribute) = &attribute else { return Ok(equal_fold(item, case)) };
        let paths: Vec<Value> = match attribute.as_str() {
            Some(text) => text.split(',').map(|p| Value::from(p.trim())).collect(),
            None => vec![attribute.clone()],
        };
        let mut keys = Vec::new();
        for path in &paths {
            keys.push(equal_fold(&access::path(item, path)?, case));
        }
        Ok(if keys.len() == 1 { keys.remove(0) } else { Value::from(keys) })
    };
    sort_by(&mut items, reverse, key, comparison)?;
    Ok(Value::from(items))
}

fn reverse(call: &mut Call<'_, '_, '_>) -> Result<Value, Error> {
    if let Some(text) = call.input().as_str() {
        return Ok(Value::from(text.chars().rev().collect::<String>()));
    }
    let mut items = call.input_items()?;
    items.reverse();
    Ok(Value::from(items))
}

fn extreme(call: &Call<'_, '_, '_>, wanted: Ordering) -> Result<Value, Error> {
    let case = call.flag(1, "case_sensitive", false);
    let attribute = call.get(2, "attribute").filter(|v| !v.is_none());
    let mut best: Option<(Value, Value)> = None;
    for item in call.input_items()? {
        let key = match &attribute {
            Some(path) => access::path(&item, path)?,
            None => item.clone(),
        };
        let key = equal_fold(&key, case);
        let better = match &best {
            Some((old, _)) => comparison(&key, old)? == wanted,
            None => true,
        };
        if better {
            best = Some((key, item));
        }
    }
    Ok(best.map_or_else(|| none_there(call, "smallest or greatest"), |(_, item)| item))
}

fn min(call: &mut Call<'_, '_, '_>) -> Result<Value, Error> {
    extreme(call, Ordering::Less)
}

fn max(call: &mut Call<'_, '_, '_>) -> Result<Value, Error> {
    extreme(call, Ordering::Greater)
}

fn map(call: &mut Call<'_, '_, '_>) -> Result<Value, Error> {
    let items = call.input_items()?;
    let mut mapped = Vec::with_capacity(items.len());
    if call.args.len() < 2 {
        let Some(attribute) = call.named.get("attribute").cloned() else {
            return Err(error("map needs a filter's name or attribute="));
        };
        let default = call.named.get("default").cloned();
        for item in items {
            let found = access::path(&item, &attribute)?;
            match (found.is_undefined(), &default) {
                (true, Some(default)) => mapped.push(default.clone()),
                (true, None) => {
                    if let Ok(context) = super::super::context::Context::of(call.state) {
                        context.note_missing(&item, &attribute);
                    }
                    mapped.push(found);
                }
                _ => mapped.push(found),
            }
        }
        return Ok(Value::from(mapped));
    }
    let filter = call.need_text(1, "filter")?;
    let extra = extra(call, 2);
    for item in items {
        let args: Vec<Value> = std::iter::once(item).chain(extra.iter().cloned()).collect();
        mapped.push(call.state.apply_filter(&filter, &args)?);
    }
    Ok(Value::from(mapped))
}

/// The arguments that are passed on, from this position on, with the named ones.
fn extra(call: &Call<'_, '_, '_>, from: usize) -> Vec<Value> {
    let mut extra: Vec<Value> = call.args.iter().skip(from).cloned().collect();
    if !call.named.is_empty() {
        let named: Kwargs = call.named.iter().map(|(k, v)| (k.as_str(), v.clone())).collect();
        extra.push(Value::from(named));
    }
    extra
}

fn choose(call: &mut Call<'_, '_, '_>, by_attribute: bool, keep: bool) -> Result<Value, Error> {
    let attribute = if by_attribute { Some(call.need(1, "attribute")?) } else { None };
    let at = if by_attribute { 2 } else { 1 };
    let test = call.text(at, "test");
    let extra = extra(call, at + 1);
    let mut chosen = Vec::new();
    for item in call.input_items()? {
        let subject = match &attribute {
            Some(path) => access::path(&item, path)?,
            None => item.clone(),
        };
        let holds = match &test {
            Some(test) => {
                let args: Vec<Value> = std::iter::once(subject).chain(extra.iter().cloned()).collect();
                call.state.perform_test(test, &args)?
            }
            None if subject.is_undefined() => {
                if let (Ok(context), Some(path)) =
                    (super::super::context::Context::of(call.state), &attribute)
                {
                    context.note_missing(&item, path);
                }
                return Ok(Value::UNDEFINED);
            }
            None => subject.is_true(),
        };
        if holds == keep {
            chosen.push(item);
        }
    }
    Ok(Value::from(chosen))
}

fn select(call: &mut Call<'_, '_, '_>) -> Result<Value, Error> {
    choose(call, false, true)
}

fn reject(call: &mut Call<'_, '_, '_>) -> Result<Value, Error> {
    choose(call, false, false)
}

fn selectattr(call: &mut Call<'_, '_, '_>) -> Result<Value, Error> {
    choose(call, true, true)
}

fn rejectattr(call: &mut Call<'_, '_, '_>) -> Result<Value, Error> {
    choose(call, true, false)
}

fn flatten(call: &mut Call<'_, '_, '_>) -> Result<Value, Error> {
    let levels = call.int(1, "levels")?;
    let skip_nulls = call.flag(2, "skip_nulls", true);
    let mut flat = Vec::new();
    flatten_into(&mut flat, call.input_items()?, levels, skip_nulls)?;
    Ok(Value::from(flat))
}

fn flatten_into(
    flat: &mut Vec<Value>,
    items: Vec<Value>,
    levels: Option<i64>,
    skip: bool,
) -> Result<(), Error> {
    for item in items {
        let nothing = item.is_none() || matches!(item.as_str(), Some("None" | "null"));
        if skip && nothing {
            continue;
        }
        if convert::is_list(&item) {
            match levels {
                None => flatten_into(flat, convert::items(&item)?, None, skip)?,
                Some(n) if n >= 1 => flatten_into(flat, convert::items(&item)?, Some(n - 1), skip)?,
                Some(_) => flat.push(item),
            }
        } else {
            flat.push(item);
        }
        // One long list may lie in another many times.
        bounds::items("flatten", Some(flat.len()))?;
    }
    Ok(())
}

fn groupby(call: &mut Call<'_, '_, '_>) -> Result<Value, Error> {
    let attribute = call.need(1, "attribute")?;
    let default = call.get(2, "default").filter(|v| !v.is_none());
    let case = call.flag(3, "case_sensitive", false);
    let key = |item: &Value| -> Result<Value, Error> {
        let found = access::path(item, &attribute)?;
        Ok(if found.is_undefined() { default.clone().unwrap_or(found) } else { found })
    };
    let mut items = call.input_items()?;
    sort_by(&mut items, false, |item| Ok(equal_fold(&key(item)?, case)), comparison)?;
    let mut groups: Vec<(Value, Value, Vec<Value>)> = Vec::new();
    for item in items {
        let name = key(&item)?;
        let folded = equal_fold(&name, case);
        match groups.last_mut() {
            Some((_, same, members)) if *same == folded => members.push(item),
            _ => groups.push((name, folded, vec![item])),
        }
    }
    let pair = |(name, _, members): (Value, Value, Vec<Value>)| {
        Value::from(Tuple::from([name, Value::from(members)]))
    };
    Ok(Value::from(groups.into_iter().map(pair).collect::<Vec<_>>()))
}

fn batch(call: &mut Call<'_, '_, '_>) -> Result<Value, Error> {
    let size = call.size_or(1, "linecount", 0)?;
    if size == 0 {
        return Err(error("batch needs the number of items in a row"));
    }
    let fill = call.get(2, "fill_with").filter(|v| !v.is_none());
    if fill.is_some() {
        bounds::items("batch", Some(size))?;
    }
    let items = call.input_items()?;
    let rows = items.chunks(size).map(|row| {
        let mut row = row.to_vec();
        if let Some(fill) = &fill {
            row.resize(size, fill.clone());
        }
        Value::from(row)
    });
    Ok(Value::from(rows.collect::<Vec<_>>()))
}

fn slice(call: &mut Call<'_, '_, '_>) -> Result<Value, Error> {
    let count = call.size_or(1, "slices", 0)?;
    if count == 0 {
        return Err(error("slice needs the number of slices"));
    }
    bounds::items("slice", Some(count))?;
    let fill = call.get(2, "fill_with").filter(|v| !v.is_none());
    let items = call.input_items()?;
    let (each, more) = (items.len() / count, items.len() % count);
    let mut rest = items.into_iter();
    let mut slices = Vec::with_capacity(count);
    for number in 0..count {
        let mut part: Vec<Value> = rest.by_ref().take(each + usize::from(number < more)).collect();
        if let Some(fill) = fill.as_ref().filter(|_| more > 0 && number >= more) {
            part.push(fill.clone());
        }
        slices.push(Value::from(part));
    }
    Ok(Value::from(slices))
}

fn sum(call: &mut Call<'_, '_, '_>) -> Result<Value, Error> {
    let attribute = call.get(1, "attribute").filter(|v| !v.is_none());
    let start = call.get(2, "start").unwrap_or_else(|| Value::from(0));
    if convert::is_list(&start) {
        let mut all = convert::items(&start)?;
        for item in call.input_items()? {
            let item = attribute.as_ref().map_or(Ok(item.clone()), |path| access::path(&item, path))?;
            all.extend(convert::items(&item)?);
            bounds::items("sum", Some(all.len()))?;
        }
        return Ok(Value::from(all));
    }
    let mut total = start;
    for item in call.input_items()? {
        let item = match &attribute {
            Some(path) => access::path(&item, path)?,
            None => item,
        };
        total = add(&total, &item)?;
    }
    Ok(total)
}

fn add(a: &Value, b: &Value) -> Result<Value, Error> {
    let number = |v: &Value| v.is_number() || v.kind() == ValueKind::Bool;
    if !number(a) || !number(b) {
        return Err(error(format!(
            "unsupported operand types for +: '{}' and '{}'",
            python::type_name(a),
            python::type_name(b)
        )));
    }
    let whole = |v: &Value| super::super::call::integer(v).filter(|_| !v.is_number() || v.is_integer());
    if let (Some(x), Some(y)) = (whole(a), whole(b)) {
        return x.checked_add(y).map(Value::from).ok_or_else(|| error("the sum is too large"));
    }
    let float = |v: &Value| f64::try_from(v.clone());
    Ok(Value::from(float(a)? + float(b)?))
}

fn columns(call: &Call<'_, '_, '_>) -> Result<Vec<Vec<Value>>, Error> {
    call.args.iter().map(convert::items).collect()
}

fn zip(call: &mut Call<'_, '_, '_>) -> Result<Value, Error> {
    let columns = columns(call)?;
    let length = columns.iter().map(Vec::len).min().unwrap_or(0);
    Ok(rows(&columns, length, &Value::from(())))
}

fn zip_longest(call: &mut Call<'_, '_, '_>) -> Result<Value, Error> {
    let columns = columns(call)?;
    let length = columns.iter().map(Vec::len).max().unwrap_or(0);
    let fill = call.named.get("fillvalue").cloned().unwrap_or_else(|| Value::from(()));
    Ok(rows(&columns, length, &fill))
}

fn rows(columns: &[Vec<Value>], length: usize, fill: &Value) -> Value {
    let row = |at: usize| {
        let cells: Vec<Value> = columns.iter().map(|c| c.get(at).unwrap_or(fill).clone()).collect();
        Value::from(Tuple::from(cells))
    };
    Value::from((0..length).map(row).collect::<Vec<_>>())
}
