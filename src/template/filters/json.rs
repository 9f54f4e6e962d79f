//! JSON as Python writes it.

use super::super::python;
use crate::value::Value;

pub(super) struct Layout {
    pub(super) indent: Option<usize>,
    pub(super) sort: bool,
    pub(super) ascii: bool,
    /// Between items, and between a key and its value.
    pub(super) item: String,
    pub(super) key: String,
}

pub(super) fn write(value: &Value, layout: &Layout) -> String {
    let mut out = String::new();
    put(&mut out, value, layout, 0);
    out
}

fn put(out: &mut String, value: &Value, layout: &Layout, depth: usize) {
    match value {
        Value::Number(n) if n.is_f64() => out.push_str(&python::float(n.as_f64().unwrap_or(0.0))),
        Value::String(s) => text(out, s, layout.ascii),
        Value::Array(items) => {
            let parts = items.iter().map(|item| (None, item)).collect();
            container(out, parts, ('[', ']'), layout, depth);
        }
        Value::Object(map) => {
            let mut parts: Vec<(Option<&str>, &Value)> =
                map.iter().map(|(k, v)| (Some(k.as_str()), v)).collect();
            if layout.sort {
                parts.sort_by_key(|(key, _)| *key);
            }
            container(out, parts, ('{', '}'), layout, depth);
        }
        other => out.push_str(&other.to_string()),
    }
}

fn container(
    out: &mut String,
    parts: Vec<(Option<&str>, &Value)>,
    ends: (char, char),
    layout: &Layout,
    depth: usize,
) {
    out.push(ends.0);
    let empty = parts.is_empty();
    for (number, (key, item)) in parts.into_iter().enumerate() {
        if number > 0 {
            out.push_str(&layout.item);
        }
        line(out, layout, depth + 1);
        if let Some(key) = key {
            text(out, key, layout.ascii);
            out.push_str(&layout.key);
        }
        put(out, item, layout, depth + 1);
    }
    if !empty {
        line(out, layout, depth);
    }
    out.push(ends.1);
}

fn line(out: &mut String, layout: &Layout, depth: usize) {
    if let Some(indent) = layout.indent {
        out.push('\n');
        out.push_str(&" ".repeat(indent * depth));
    }
}

fn text(out: &mut String, text: &str, ascii: bool) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            c if (c as u32) < 0x20 || (ascii && !c.is_ascii()) => {
                let mut units = [0; 2];
                for unit in c.encode_utf16(&mut units) {
                    out.push_str(&format!("\\u{unit:04x}"));
                }
            }
            c => out.push(c),
        }
    }
    out.push('"');
}
