//! Filters for regular expressions.

use minijinja::{Error, Value};

use super::super::call::{Call, Native};
use super::super::convert;
use super::super::failure::error;
use super::super::python;
use super::super::regex::{Flags, compile, replace};

pub(super) const FILTERS: &[(&str, Native)] = &[
    ("regex_replace", regex_replace),
    ("regex_search", regex_search),
    ("regex_findall", regex_findall),
    ("regex_escape", regex_escape),
];

fn flags(call: &Call<'_, '_, '_>, ignore_at: usize, multiline_at: usize) -> Flags {
    Flags {
        ignore_case: call.flag(ignore_at, "ignorecase", false),
        multiline: call.flag(multiline_at, "multiline", false),
        dotall: false,
    }
}

fn gave_up(e: &fancy_regex::Error) -> Error {
    error(format!("the regular expression gave up: {e}"))
}

fn regex_replace(call: &mut Call<'_, '_, '_>) -> Result<Value, Error> {
    let text = call.input_text()?;
    let regex = compile(&call.text_or(1, "pattern", ""), flags(call, 3, 4))?;
    let replacement = call.text_or(2, "replacement", "");
    let count = call.size_or(5, "count", 0)?;
    let mandatory = call.size_or(6, "mandatory_count", 0)?;
    if mandatory > 0 && regex.find_iter(&text).count() < mandatory {
        return Err(error(format!("the expression was to match {mandatory} times and did not")));
    }
    replace(&regex, &text, &replacement, count).map(Value::from)
}

/// With `\1` or `\g<name>` as further arguments those groups, else the whole match; `None` where there is none.
fn regex_search(call: &mut Call<'_, '_, '_>) -> Result<Value, Error> {
    let text = call.input_text()?;
    let regex = compile(&call.need_text(1, "regex")?, flags(call, usize::MAX, usize::MAX))?;
    let groups: Vec<String> = call.args.iter().skip(2).map(python::py_str).collect();
    let Some(found) = regex.captures(&text).map_err(|e| gave_up(&e))? else { return Ok(Value::from(())) };
    if groups.is_empty() {
        return Ok(Value::from(found.get(0).map_or("", |m| m.as_str())));
    }
    let mut values = Vec::new();
    for group in &groups {
        let name = group.strip_prefix("\\g<").and_then(|g| g.strip_suffix('>'));
        let number = group.strip_prefix('\\').and_then(|g| g.parse::<usize>().ok());
        let part = match (name, number) {
            (Some(name), _) => name.parse::<usize>().map_or_else(|_| found.name(name), |n| found.get(n)),
            (None, Some(number)) if number < found.len() => found.get(number),
            (None, Some(number)) => return Err(error(format!("there is no group {number}"))),
            _ => return Err(error(format!("'{group}' is not a group: it is \\1 or \\g<name>"))),
        };
        values.push(part.map_or_else(|| Value::from(()), |m| Value::from(m.as_str())));
    }
    Ok(Value::from(values))
}

fn regex_findall(call: &mut Call<'_, '_, '_>) -> Result<Value, Error> {
    let text = call.input_text()?;
    let multiline = call.flag(2, "multiline", false);
    let ignore_case = call.flag(3, "ignorecase", false);
    let regex = compile(&call.need_text(1, "regex")?, Flags { ignore_case, multiline, dotall: false })?;
    let mut found = Vec::new();
    for captures in regex.captures_iter(&text) {
        let captures = captures.map_err(|e| gave_up(&e))?;
        let part = |at: usize| Value::from(captures.get(at).map_or("", |m| m.as_str()));
        found.push(match captures.len() {
            1 => part(0),
            2 => part(1),
            n => Value::from(minijinja::value::Tuple::from((1..n).map(part).collect::<Vec<_>>())),
        });
    }
    Ok(Value::from(found))
}

fn regex_escape(call: &mut Call<'_, '_, '_>) -> Result<Value, Error> {
    let posix = call.text_or(1, "re_type", "python") == "posix_basic";
    let special = if posix { "].[^$*\\" } else { "()[]{}?*+-|^$\\.&~# \t\n\r\u{b}\u{c}" };
    let text = convert::checked(call.input().clone()).map(|v| python::py_str(&v))?;
    let mut out = String::new();
    for c in text.chars() {
        if special.contains(c) {
            out.push('\\');
        }
        out.push(c);
    }
    Ok(Value::from(out))
}
