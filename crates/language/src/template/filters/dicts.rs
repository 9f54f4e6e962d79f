//! Filters for mappings.

use indexmap::IndexMap;
use minijinja::{Error, Value};

use super::super::access;
use super::super::call::{Call, Native};
use super::super::convert;
use super::super::failure::error;
use super::super::python;
use super::basic::comparison;

pub(super) const FILTERS: &[(&str, Native)] = &[
    ("combine", combine),
    ("dict2items", dict2items),
    ("items2dict", items2dict),
    ("items", items),
    ("dictsort", dictsort),
    ("extract", extract),
    ("subelements", subelements),
    ("rekey_on_member", rekey_on_member),
];

/// Mappings in a list (or a mapping) under what one of their members says.
fn rekey_on_member(call: &mut Call<'_, '_, '_>) -> Result<Value, Error> {
    let key = call.need(1, "key")?;
    let overwrite = match call.text_or(2, "duplicates", "error").as_str() {
        "error" => false,
        "overwrite" => true,
        other => {
            return Err(error(format!("rekey_on_member: duplicates is error or overwrite, not '{other}'")));
        }
    };
    let parts = if convert::is_mapping(call.input()) {
        convert::checked_pairs(call.input())?.into_iter().map(|(_, v)| v).collect()
    } else {
        call.input_items()?
    };
    let mut found: IndexMap<Value, Value> = IndexMap::new();
    for part in parts {
        if !convert::is_mapping(&part) {
            return Err(error("rekey_on_member: every item must be a mapping"));
        }
        let name = access::item(&part, &key);
        if name.is_undefined() {
            return Err(error(format!("rekey_on_member: the key {} was not found", python::repr(&key))));
        }
        if found.insert(name.clone(), part).is_some() && !overwrite {
            return Err(error(format!("rekey_on_member: the key {} is there twice", python::repr(&name))));
        }
    }
    Ok(convert::mapping(found))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum ListMerge {
    Replace,
    Keep,
    Append,
    Prepend,
    AppendRp,
    PrependRp,
}

fn combine(call: &mut Call<'_, '_, '_>) -> Result<Value, Error> {
    let recursive = super::basic::says_yes(call.named.get("recursive").cloned());
    let lists = match call.named.get("list_merge").and_then(Value::as_str).unwrap_or("replace") {
        "replace" => ListMerge::Replace,
        "keep" => ListMerge::Keep,
        "append" => ListMerge::Append,
        "prepend" => ListMerge::Prepend,
        "append_rp" => ListMerge::AppendRp,
        "prepend_rp" => ListMerge::PrependRp,
        other => {
            return Err(error(format!(
                "list_merge cannot be '{other}': it is replace, keep, append, prepend, append_rp or prepend_rp"
            )));
        }
    };
    if let Some(name) = call.named.keys().find(|k| !["recursive", "list_merge"].contains(&k.as_str())) {
        return Err(error(format!(
            "'{name}' is not a keyword argument of combine: it takes recursive and list_merge"
        )));
    }
    let mut result = Value::from_pairs(Vec::<(Value, Value)>::new());
    for more in flat(&call.args)? {
        if !convert::is_mapping(&more) {
            return Err(error(format!("combine expects mappings, got {}", python::type_name(&more))));
        }
        result = merge(&result, &more, recursive, lists)?;
    }
    Ok(result)
}

fn flat(args: &[Value]) -> Result<Vec<Value>, Error> {
    let mut found = Vec::new();
    for arg in args {
        if convert::is_list(arg) {
            found.extend(flat(&convert::items(arg)?)?);
        } else {
            found.push(arg.clone());
        }
    }
    Ok(found)
}

fn merge(low: &Value, high: &Value, recursive: bool, lists: ListMerge) -> Result<Value, Error> {
    let mut merged: IndexMap<Value, Value> = convert::checked_pairs(low)?.into_iter().collect();
    for (key, new) in convert::checked_pairs(high)? {
        let value = match merged.get(&key) {
            Some(old) if recursive && convert::is_mapping(old) && convert::is_mapping(&new) => {
                merge(old, &new, recursive, lists)?
            }
            Some(old) if convert::is_list(old) && convert::is_list(&new) => merge_lists(old, &new, lists)?,
            _ => new,
        };
        merged.insert(key, value);
    }
    Ok(convert::mapping(merged))
}

fn merge_lists(old: &Value, new: &Value, how: ListMerge) -> Result<Value, Error> {
    let (old, new) = (convert::items(old)?, convert::items(new)?);
    let without = |list: &[Value], other: &[Value]| -> Vec<Value> {
        list.iter().filter(|i| !other.contains(i)).cloned().collect()
    };
    Ok(Value::from(match how {
        ListMerge::Replace => new,
        ListMerge::Keep => old,
        ListMerge::Append => [old, new].concat(),
        ListMerge::Prepend => [new, old].concat(),
        ListMerge::AppendRp => [without(&old, &new), new].concat(),
        ListMerge::PrependRp => {
            let rest = without(&old, &new);
            [new, rest].concat()
        }
    }))
}

fn need_mapping(call: &Call<'_, '_, '_>, filter: &str) -> Result<Vec<(Value, Value)>, Error> {
    if !convert::is_mapping(call.input()) {
        return Err(error(format!(
            "{filter} requires a dictionary, got {} instead",
            python::type_name(call.input())
        )));
    }
    convert::checked_pairs(call.input())
}

fn dict2items(call: &mut Call<'_, '_, '_>) -> Result<Value, Error> {
    let key_name = call.text_or(1, "key_name", "key");
    let value_name = call.text_or(2, "value_name", "value");
    let pairs = need_mapping(call, "dict2items")?;
    Ok(Value::from(
        pairs
            .into_iter()
            .map(|(k, v)| Value::from_pairs([(key_name.clone(), k), (value_name.clone(), v)]))
            .collect::<Vec<_>>(),
    ))
}

fn items2dict(call: &mut Call<'_, '_, '_>) -> Result<Value, Error> {
    let key_name = Value::from(call.text_or(1, "key_name", "key"));
    let value_name = Value::from(call.text_or(2, "value_name", "value"));
    if !convert::is_list(call.input()) {
        return Err(error(format!(
            "items2dict requires a list, got {} instead",
            python::type_name(call.input())
        )));
    }
    let mut pairs = Vec::new();
    for entry in call.input_items()? {
        let part = |name: &Value| {
            let found = convert::checked(access::item(&entry, name))?;
            if found.is_undefined() {
                return Err(error(format!(
                    "items2dict needs {} in every item, not in {}",
                    python::repr(name),
                    python::repr(&entry)
                )));
            }
            Ok(found)
        };
        pairs.push((part(&key_name)?, part(&value_name)?));
    }
    Ok(convert::mapping(pairs))
}

fn items(call: &mut Call<'_, '_, '_>) -> Result<Value, Error> {
    let pairs = need_mapping(call, "items")?;
    Ok(pair_list(pairs))
}

fn pair_list(pairs: Vec<(Value, Value)>) -> Value {
    Value::from(pairs.into_iter().map(|(k, v)| Value::from(vec![k, v])).collect::<Vec<_>>())
}

fn dictsort(call: &mut Call<'_, '_, '_>) -> Result<Value, Error> {
    let case = call.flag(1, "case_sensitive", false);
    let by_value = call.text_or(2, "by", "key") == "value";
    let reverse = call.flag(3, "reverse", false);
    let mut pairs = need_mapping(call, "dictsort")?;
    super::lists::sort_by(
        &mut pairs,
        reverse,
        |pair| Ok(super::equal_fold(if by_value { &pair.1 } else { &pair.0 }, case)),
        comparison,
    )?;
    Ok(pair_list(pairs))
}

fn extract(call: &mut Call<'_, '_, '_>) -> Result<Value, Error> {
    let container = call.need(1, "container")?;
    let mut keys = vec![call.input().clone()];
    if let Some(more) = call.get(2, "morekeys").filter(|v| !v.is_none()) {
        if convert::is_list(&more) { keys.extend(convert::items(&more)?) } else { keys.push(more) }
    }
    let mut found = container;
    for key in keys {
        let part = convert::checked(access::item(&found, &key))?;
        if part.is_undefined() {
            if let Ok(context) = super::super::context::Context::of(call.state) {
                context.note_missing(&found, &key);
            }
            return Ok(Value::UNDEFINED);
        }
        found = part;
    }
    Ok(found)
}

fn subelements(call: &mut Call<'_, '_, '_>) -> Result<Value, Error> {
    let path = call.need(1, "subelements")?;
    let skip = call.flag(2, "skip_missing", false);
    let elements = if convert::is_mapping(call.input()) {
        convert::checked_pairs(call.input())?.into_iter().map(|(_, v)| v).collect()
    } else {
        call.input_items()?
    };
    let keys: Vec<Value> = match path.as_str() {
        Some(text) => text.split('.').map(Value::from).collect(),
        None => convert::items(&path)?,
    };
    let mut found = Vec::new();
    for element in elements {
        let mut part = element.clone();
        for key in &keys {
            part = convert::checked(access::item(&part, key))?;
            if part.is_undefined() {
                break;
            }
        }
        if part.is_undefined() {
            if skip {
                continue;
            }
            return Err(error(format!(
                "could not find {} in {}",
                python::repr(&path),
                python::repr(&element)
            )));
        }
        if !convert::is_list(&part) {
            return Err(error(format!(
                "the value of {} should be a list, not {}",
                python::repr(&path),
                python::type_name(&part)
            )));
        }
        for item in convert::items(&part)? {
            found.push(Value::from(minijinja::value::Tuple::from([element.clone(), item])));
        }
    }
    Ok(Value::from(found))
}
