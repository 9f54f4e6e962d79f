//! How Python writes values: `str()` for text, `repr()` inside containers.

use minijinja::value::ValueKind;
use minijinja::{Error, Value};

use super::bounds::Grown;
use crate::value::MOST_NESTED;

/// `str(value)`, except that nothing is written for `None`: Ansible leaves it out of a text.
pub(super) fn text(value: &Value) -> Result<String, Error> {
    match value.kind() {
        ValueKind::None | ValueKind::Undefined => Ok(String::new()),
        _ => written(value),
    }
}

/// `str(value)`.
pub(super) fn py_str(value: &Value) -> String {
    match value.as_str() {
        Some(s) => s.to_owned(),
        None => repr(value),
    }
}

/// `str(value)`, or that it has no end that memory has.
pub(super) fn written(value: &Value) -> Result<String, Error> {
    match value.as_str() {
        Some(s) => Ok(s.to_owned()),
        None => grown(value).finish(),
    }
}

/// `repr(value)`, cut where it is too long for any memory: see `written` for what must be whole.
pub(super) fn repr(value: &Value) -> String {
    grown(value).cut()
}

/// `repr(value)`, or that it has no end that memory has.
pub(super) fn whole_repr(value: &Value) -> Result<String, Error> {
    grown(value).finish()
}

fn grown(value: &Value) -> Grown {
    // A long list of few values takes little room, and what it stands for a lot.
    let mut out = Grown::new("the text");
    write_repr(&mut out, value, 0);
    out
}

fn write_repr(out: &mut Grown, value: &Value, depth: usize) {
    if out.is_full() {
        return;
    }
    match value.kind() {
        // As Python writes what holds itself.
        ValueKind::Map | ValueKind::Seq | ValueKind::Iterable if depth > MOST_NESTED => out.push("..."),
        ValueKind::None | ValueKind::Undefined => out.push("None"),
        ValueKind::Bool => out.push(if value.is_true() { "True" } else { "False" }),
        ValueKind::Number => out.push(&number(value)),
        ValueKind::String => write_quoted(out, value.as_str().unwrap_or_default()),
        ValueKind::Map => {
            out.push_char('{');
            let mut first = true;
            for (key, item) in super::convert::pairs(value) {
                separate(out, &mut first);
                write_repr(out, &key, depth + 1);
                out.push(": ");
                write_repr(out, &item, depth + 1);
            }
            out.push_char('}');
        }
        ValueKind::Seq | ValueKind::Iterable => {
            // Ansible turns tuples into lists before it prints them.
            out.push_char('[');
            let mut first = true;
            for item in value.try_iter().into_iter().flatten() {
                separate(out, &mut first);
                write_repr(out, &item, depth + 1);
            }
            out.push_char(']');
        }
        _ => out.push(&value.to_string()),
    }
}

fn separate(out: &mut Grown, first: &mut bool) {
    if !std::mem::replace(first, false) {
        out.push(", ");
    }
}

fn write_quoted(out: &mut Grown, text: &str) {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    out.push_char(quote);
    if !text.chars().any(|c| c == '\\' || c == quote || c.is_ascii_control()) {
        out.push(text);
        out.push_char(quote);
        return;
    }
    for c in text.chars() {
        match c {
            '\\' => out.push("\\\\"),
            '\n' => out.push("\\n"),
            '\r' => out.push("\\r"),
            '\t' => out.push("\\t"),
            c if c == quote => {
                out.push_char('\\');
                out.push_char(c);
            }
            c if (c as u32) < 0x20 || c as u32 == 0x7f => {
                out.push(&format!("\\x{:02x}", c as u32));
            }
            c => out.push_char(c),
        }
    }
    out.push_char(quote);
}

fn number(value: &Value) -> String {
    if value.is_integer() {
        return value.to_string();
    }
    f64::try_from(value.clone()).map_or_else(|_| value.to_string(), float)
}

/// `repr(float)`: the shortest text that reads back, with an exponent outside 1e-4..1e16.
pub(super) fn float(value: f64) -> String {
    if value.is_nan() {
        return "nan".into();
    }
    if value.is_infinite() {
        return if value > 0.0 { "inf".into() } else { "-inf".into() };
    }
    let scientific = format!("{value:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if value == 0.0 || (-4..16).contains(&exponent) {
        let plain = format!("{value}");
        if plain.contains('.') { plain } else { format!("{plain}.0") }
    } else {
        let sign = if exponent < 0 { '-' } else { '+' };
        format!("{mantissa}e{sign}{:02}", exponent.abs())
    }
}

/// The name of a value's type in Python, as `type_debug` and error messages give it.
pub(super) fn type_name(value: &Value) -> &'static str {
    match value.kind() {
        ValueKind::None => "NoneType",
        ValueKind::Undefined => "UndefinedMarker",
        ValueKind::Bool => "bool",
        ValueKind::Number if value.is_integer() => "int",
        ValueKind::Number => "float",
        ValueKind::String => "str",
        ValueKind::Map => "dict",
        ValueKind::Seq | ValueKind::Iterable if value.is_tuple() => "tuple",
        ValueKind::Seq | ValueKind::Iterable => "list",
        _ => "object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_are_pythons() {
        for (value, expected) in [
            (1.0, "1.0"),
            (0.1 + 0.2, "0.30000000000000004"),
            (1e20, "1e+20"),
            (1e16, "1e+16"),
            (1e15, "1000000000000000.0"),
            (1.5e-7, "1.5e-07"),
            (0.0001, "0.0001"),
            (-0.0, "-0.0"),
        ] {
            assert_eq!(float(value), expected);
        }
    }

    #[test]
    fn strings_are_quoted_as_python_does() {
        for (text, expected) in
            [("a", "'a'"), ("it's", "\"it's\""), ("'\"", "'\\'\"'"), ("a\n\\", "'a\\n\\\\'")]
        {
            assert_eq!(repr(&Value::from(text)), expected);
        }
    }
}
