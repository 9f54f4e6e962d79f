//! Lookups that only rearrange what they are given: the `with_` ones.

use minijinja::{Error, Value};
use rand::seq::IndexedRandom;

use super::super::access;
use super::super::bounds;
use super::super::convert;
use super::super::percent;
use super::super::python;
use super::{Ask, wrong};

#[expect(clippy::unnecessary_wraps, reason = "the table of functions gives the type")]
pub(super) fn list(ask: &Ask<'_>) -> Result<Vec<Value>, Error> {
    Ok(ask.terms.clone())
}

/// Opens lists one level deep.
fn opened(terms: &[Value]) -> Result<Vec<Value>, Error> {
    let mut found = Vec::new();
    for term in terms {
        if convert::is_list(term) {
            found.extend(convert::items(term)?);
        } else {
            found.push(term.clone());
        }
    }
    Ok(found)
}

pub(super) fn items(ask: &Ask<'_>) -> Result<Vec<Value>, Error> {
    opened(&ask.terms)
}

pub(super) fn flattened(ask: &Ask<'_>) -> Result<Vec<Value>, Error> {
    fn open(into: &mut Vec<Value>, terms: &[Value]) -> Result<(), Error> {
        for term in terms {
            if convert::is_list(term) {
                open(into, &convert::items(term)?)?;
            } else {
                into.push(term.clone());
            }
            // One long list may lie in another many times.
            bounds::items("flattened", Some(into.len()))?;
        }
        Ok(())
    }
    let mut found = Vec::new();
    open(&mut found, &ask.terms)?;
    Ok(found)
}

pub(super) fn indexed_items(ask: &Ask<'_>) -> Result<Vec<Value>, Error> {
    let items = opened(&ask.terms)?;
    Ok(items.into_iter().enumerate().map(|(at, item)| Value::from(vec![Value::from(at), item])).collect())
}

pub(super) fn dict(ask: &Ask<'_>) -> Result<Vec<Value>, Error> {
    let mut found = Vec::new();
    for term in opened(&ask.terms)? {
        if !convert::is_mapping(&term) {
            return Err(wrong("dict", format!("needs a mapping, got {}", python::type_name(&term))));
        }
        for (key, value) in convert::checked_pairs(&term)? {
            found.push(Value::from_pairs([("key", key), ("value", value)]));
        }
    }
    Ok(found)
}

/// Every term as a list of its own.
fn columns(ask: &Ask<'_>) -> Result<Vec<Vec<Value>>, Error> {
    ask.terms
        .iter()
        .map(|term| if convert::is_list(term) { convert::items(term) } else { Ok(vec![term.clone()]) })
        .collect()
}

pub(super) fn nested(ask: &Ask<'_>) -> Result<Vec<Value>, Error> {
    let columns = columns(ask)?;
    if columns.is_empty() {
        return Err(wrong("nested", "needs at least one list"));
    }
    let mut rows: Vec<Vec<Value>> = vec![Vec::new()];
    for (before, column) in columns.iter().enumerate() {
        let longer = rows.len().checked_mul(column.len());
        bounds::items("nested", longer.and_then(|rows| rows.checked_mul(before + 1)))?;
        rows = rows
            .iter()
            .flat_map(|row| column.iter().map(|cell| row.iter().cloned().chain([cell.clone()]).collect()))
            .collect();
    }
    Ok(rows.into_iter().map(Value::from).collect())
}

pub(super) fn together(ask: &Ask<'_>) -> Result<Vec<Value>, Error> {
    let columns = columns(ask)?;
    let length = columns.iter().map(Vec::len).max().unwrap_or(0);
    let cell = |column: &Vec<Value>, at: usize| column.get(at).cloned().unwrap_or_else(|| Value::from(()));
    Ok((0..length).map(|at| Value::from(columns.iter().map(|c| cell(c, at)).collect::<Vec<_>>())).collect())
}

pub(super) fn subelements(ask: &Ask<'_>) -> Result<Vec<Value>, Error> {
    // `with_subelements` hands its list over whole.
    let terms = match ask.terms.as_slice() {
        [whole] if convert::is_list(whole) => convert::items(whole)?,
        terms => terms.to_vec(),
    };
    let [elements, path, options @ ..] = terms.as_slice() else {
        return Err(wrong("subelements", "needs a list and the name of a list in each item"));
    };
    let skip = options.first().is_some_and(|o| access::item(o, &Value::from("skip_missing")).is_true())
        || ask.flag("skip_missing", false);
    let elements = if convert::is_mapping(elements) {
        convert::checked_pairs(elements)?.into_iter().map(|(_, v)| v).collect()
    } else {
        convert::items(elements)?
    };
    let mut found = Vec::new();
    for element in elements {
        if access::item(&element, &Value::from("skipped")).is_true() {
            continue;
        }
        let part = access::path(&element, path)?;
        if part.is_undefined() {
            if skip {
                continue;
            }
            return Err(wrong(
                "subelements",
                format!("could not find {} in {}", python::repr(path), python::repr(&element)),
            ));
        }
        let rest = without(&element, path)?;
        for item in convert::items(&part)? {
            found.push(Value::from(vec![rest.clone(), item]));
        }
    }
    Ok(found)
}

/// The element without the list that a path leads to, as the lookup hands it out.
fn without(element: &Value, path: &Value) -> Result<Value, Error> {
    let names: Vec<String> = python::py_str(path).split('.').map(str::to_owned).collect();
    let mut whole = convert::to_value(element)?;
    let mut place = &mut whole;
    let Some((last, before)) = names.split_last() else { return Ok(element.clone()) };
    for name in before {
        match place.get_mut(name) {
            Some(inner) => place = inner,
            None => return Ok(element.clone()),
        }
    }
    if let crate::value::Value::Object(map) = place {
        map.shift_remove(last);
    }
    Ok(convert::to_jinja(&whole))
}

#[derive(Default)]
struct Sequence {
    start: Option<i64>,
    end: Option<i64>,
    count: Option<i64>,
    stride: Option<i64>,
    format: Option<String>,
}

impl Sequence {
    fn set(&mut self, key: &str, value: &str) -> Result<(), Error> {
        let number = || {
            let digits = value.trim();
            let (radix, digits) = match digits.strip_prefix("0x") {
                Some(hex) => (16, hex),
                None => match digits.strip_prefix('0').filter(|d| !d.is_empty()) {
                    Some(octal) => (8, octal),
                    None => (10, digits),
                },
            };
            i64::from_str_radix(digits, radix)
                .map_err(|_| wrong("sequence", format!("{key} must be a number, not '{value}'")))
        };
        match key {
            "start" => self.start = Some(number()?),
            "end" => self.end = Some(number()?),
            "count" => self.count = Some(number()?),
            "stride" => self.stride = Some(number()?),
            "format" => self.format = Some(value.to_owned()),
            _ => return Err(wrong("sequence", format!("there is no setting '{key}'"))),
        }
        Ok(())
    }

    /// `start-end/stride:format`.
    fn short(&mut self, text: &str) -> Result<(), Error> {
        let (range, format) = text.split_once(':').map_or((text, None), |(r, f)| (r, Some(f)));
        let (range, stride) = range.split_once('/').map_or((range, None), |(r, s)| (r, Some(s)));
        match range.char_indices().skip(1).find(|(_, c)| *c == '-') {
            Some((at, _)) => {
                self.set("start", range.get(..at).unwrap_or_default())?;
                self.set("end", range.get(at + 1..).unwrap_or_default())?;
            }
            None => self.set("end", range)?,
        }
        if let Some(stride) = stride {
            self.set("stride", stride)?;
        }
        self.format = format.map(str::to_owned);
        Ok(())
    }

    fn values(self) -> Result<Vec<Value>, Error> {
        let start = self.start.unwrap_or(1);
        let mut stride = self.stride.unwrap_or(1);
        let end = match (self.end, self.count) {
            (Some(_), Some(_)) => return Err(wrong("sequence", "takes `end` or `count`, not both")),
            (None, None) => return Err(wrong("sequence", "needs `end` or `count`")),
            (Some(end), None) => end,
            (None, Some(0)) => return Ok(Vec::new()),
            (None, Some(count)) => start.saturating_add(count.saturating_sub(1).saturating_mul(stride)),
        };
        if self.stride.is_none() && end < start && self.count.is_none() {
            // Ansible counts down only when it is told to.
            stride = 1;
        }
        if (stride > 0 && end < start) || (stride < 0 && end > start) {
            return Err(wrong("sequence", "cannot come from `start` to `end` by that `stride`"));
        }
        let format = self.format.unwrap_or_else(|| "%d".into());
        let mut found = Vec::new();
        let mut bytes = 0_usize;
        let mut at = start;
        while stride != 0 && if stride > 0 { at <= end } else { at >= end } {
            let number = Value::from(at);
            let text = percent::format(&format, std::slice::from_ref(&number), &number)?;
            bytes += text.len();
            bounds::text("sequence", Some(bytes))?;
            found.push(Value::from(text));
            bounds::items("sequence", Some(found.len()))?;
            let Some(next) = at.checked_add(stride) else { break };
            at = next;
        }
        Ok(found)
    }
}

pub(super) fn sequence(ask: &Ask<'_>) -> Result<Vec<Value>, Error> {
    let mut found = Vec::new();
    let terms = if ask.terms.is_empty() { vec![String::new()] } else { ask.texts()? };
    for term in terms {
        let mut sequence = Sequence::default();
        for (key, value) in ask.named {
            sequence.set(key, &python::py_str(value))?;
        }
        if term.contains('=') {
            for pair in term.split_whitespace() {
                let (key, value) = pair
                    .split_once('=')
                    .ok_or_else(|| wrong("sequence", format!("'{pair}' is not key=value")))?;
                sequence.set(key, value)?;
            }
        } else if !term.trim().is_empty() {
            sequence.short(term.trim())?;
        }
        found.extend(sequence.values()?);
    }
    Ok(found)
}

pub(super) fn random_choice(ask: &Ask<'_>) -> Result<Vec<Value>, Error> {
    let items = opened(&ask.terms)?;
    Ok(items.choose(&mut rand::rng()).cloned().into_iter().collect())
}
