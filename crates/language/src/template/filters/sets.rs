//! Filters that treat lists as sets, and those that combine items.

use minijinja::value::Tuple;
use minijinja::{Error, Value};

use super::super::access;
use super::super::bounds;
use super::super::call::{Call, Native};
use super::super::convert;
use super::equal_fold;

pub(super) const FILTERS: &[(&str, Native)] = &[
    ("unique", unique),
    ("union", union),
    ("intersect", intersect),
    ("difference", difference),
    ("symmetric_difference", symmetric_difference),
    ("product", product),
    ("permutations", permutations),
    ("combinations", combinations),
];

fn distinct(
    items: impl IntoIterator<Item = Value>,
    key: impl Fn(&Value) -> Result<Value, Error>,
) -> Result<Vec<Value>, Error> {
    let mut seen: Vec<Value> = Vec::new();
    let mut found = Vec::new();
    for item in items {
        let key = key(&item)?;
        if !seen.contains(&key) {
            seen.push(key);
            found.push(item);
        }
    }
    Ok(found)
}

fn unique(call: &mut Call<'_, '_, '_>) -> Result<Value, Error> {
    let case = call.flag(1, "case_sensitive", false);
    let attribute = call.get(2, "attribute").filter(|v| !v.is_none());
    let found = distinct(call.input_items()?, |item| {
        let subject = match &attribute {
            Some(path) => access::path(item, path)?,
            None => item.clone(),
        };
        Ok(equal_fold(&subject, case))
    })?;
    Ok(Value::from(found))
}

fn both(call: &Call<'_, '_, '_>) -> Result<(Vec<Value>, Vec<Value>), Error> {
    Ok((call.input_items()?, convert::items(&call.need(1, "b")?)?))
}

fn plain(items: impl IntoIterator<Item = Value>) -> Result<Value, Error> {
    distinct(items, |item| Ok(item.clone())).map(Value::from)
}

fn union(call: &mut Call<'_, '_, '_>) -> Result<Value, Error> {
    let (a, b) = both(call)?;
    plain(a.into_iter().chain(b))
}

fn intersect(call: &mut Call<'_, '_, '_>) -> Result<Value, Error> {
    let (a, b) = both(call)?;
    plain(a.into_iter().filter(|i| b.contains(i)))
}

fn difference(call: &mut Call<'_, '_, '_>) -> Result<Value, Error> {
    let (a, b) = both(call)?;
    plain(a.into_iter().filter(|i| !b.contains(i)))
}

fn symmetric_difference(call: &mut Call<'_, '_, '_>) -> Result<Value, Error> {
    let (a, b) = both(call)?;
    let left: Vec<Value> = a.iter().filter(|i| !b.contains(i)).cloned().collect();
    let right = b.iter().filter(|i| !a.contains(i)).cloned();
    plain(left.into_iter().chain(right))
}

fn product(call: &mut Call<'_, '_, '_>) -> Result<Value, Error> {
    let mut columns: Vec<Vec<Value>> = call.args.iter().map(convert::items).collect::<Result<_, _>>()?;
    let repeat = call.size_or(usize::MAX, "repeat", 1)?;
    bounds::items("product", columns.len().checked_mul(repeat))?;
    let once = columns.clone();
    columns.clear();
    for _ in 0..repeat {
        columns.extend(once.iter().cloned());
    }
    let mut rows: Vec<Vec<Value>> = vec![Vec::new()];
    for (before, column) in columns.iter().enumerate() {
        let longer = rows.len().checked_mul(column.len());
        bounds::items("product", longer.and_then(|rows| rows.checked_mul(before + 1)))?;
        rows = rows
            .iter()
            .flat_map(|row| column.iter().map(|cell| row.iter().cloned().chain([cell.clone()]).collect()))
            .collect();
    }
    Ok(tuples(rows))
}

fn tuples(rows: Vec<Vec<Value>>) -> Value {
    Value::from(rows.into_iter().map(|row| Value::from(Tuple::from(row))).collect::<Vec<_>>())
}

fn picks(call: &Call<'_, '_, '_>, size: usize, ordered: bool) -> Result<Value, Error> {
    let what = if ordered { "permutations" } else { "combinations" };
    let items = call.input_items()?;
    if size > items.len() {
        return Ok(Value::from(Vec::<Value>::new()));
    }
    // Rows as indexes; each step adds one to each row.
    let mut rows: Vec<Vec<usize>> = vec![Vec::new()];
    for length in 1..=size {
        let mut longer = Vec::new();
        for row in &rows {
            let from = if ordered { 0 } else { row.last().map_or(0, |l| l + 1) };
            for next in from..items.len() {
                if !row.contains(&next) {
                    longer.push(row.iter().copied().chain([next]).collect());
                    bounds::items(what, longer.len().checked_mul(length))?;
                }
            }
        }
        rows = longer;
    }
    let values = |row: Vec<usize>| row.into_iter().filter_map(|i| items.get(i).cloned()).collect();
    Ok(tuples(rows.into_iter().map(values).collect()))
}

fn permutations(call: &mut Call<'_, '_, '_>) -> Result<Value, Error> {
    let size = call.int(1, "r")?.and_then(|i| usize::try_from(i).ok());
    let size = size.map_or_else(|| call.input_items().map(|i| i.len()), Ok)?;
    picks(call, size, true)
}

fn combinations(call: &mut Call<'_, '_, '_>) -> Result<Value, Error> {
    call.need(1, "r")?;
    let size = call.size_or(1, "r", 0)?;
    picks(call, size, false)
}
