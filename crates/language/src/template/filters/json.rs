//! JSON as Python writes it.

use minijinja::Error;

use super::super::bounds::Grown;
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

pub(super) fn write(value: &Value, layout: &Layout) -> Result<String, Error> {
    let mut out = Grown::new("the JSON");
    put(&mut out, value, layout, 0);
    out.finish()
}

fn put(out: &mut Grown, value: &Value, layout: &Layout, depth: usize) {
    match value {
        Value::Number(n) if n.is_f64() => out.push(&python::float(n.as_f64().unwrap_or(0.0))),
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
        other => out.push(&other.to_string()),
    }
}

fn container(
    out: &mut Grown,
    parts: Vec<(Option<&str>, &Value)>,
    ends: (char, char),
    layout: &Layout,
    depth: usize,
) {
    out.push_char(ends.0);
    let empty = parts.is_empty();
    for (number, (key, item)) in parts.into_iter().enumerate() {
        if number > 0 {
            out.push(&layout.item);
        }
        line(out, layout, depth + 1);
        if let Some(key) = key {
            text(out, key, layout.ascii);
            out.push(&layout.key);
        }
        put(out, item, layout, depth + 1);
    }
    if !empty {
        line(out, layout, depth);
    }
    out.push_char(ends.1);
}

fn line(out: &mut Grown, layout: &Layout, depth: usize) {
    if let Some(indent) = layout.indent {
        out.push("\n");
        out.repeat(" ", indent.saturating_mul(depth));
    }
}

fn text(out: &mut Grown, text: &str, ascii: bool) {
    out.push_char('"');
    for c in text.chars() {
        match c {
            '"' => out.push("\\\""),
            '\\' => out.push("\\\\"),
            '\n' => out.push("\\n"),
            '\r' => out.push("\\r"),
            '\t' => out.push("\\t"),
            '\u{8}' => out.push("\\b"),
            '\u{c}' => out.push("\\f"),
            c if (c as u32) < 0x20 || (ascii && !c.is_ascii()) => {
                let mut units = [0; 2];
                for unit in c.encode_utf16(&mut units) {
                    out.push(&format!("\\u{unit:04x}"));
                }
            }
            c => out.push_char(c),
        }
    }
    out.push_char('"');
}
