//! YAML as `PyYAML` writes it for Ansible.

use super::super::python;
use crate::value::{Map, Value};

pub(super) struct Style {
    pub(super) indent: usize,
    pub(super) sort: bool,
    /// Containers of plain values go on one line.
    pub(super) flow_leaves: bool,
    pub(super) flow: bool,
    pub(super) width: usize,
}

pub(super) fn write(value: &Value, style: &Style) -> String {
    let mut out = String::new();
    match value {
        Value::Array(_) | Value::Object(_) if !is_flow(value, style) => block(&mut out, value, style, 0),
        Value::Array(_) | Value::Object(_) => {
            out.push_str(&flow(value, style));
            out.push('\n');
        }
        scalar => {
            out.push_str(&plain_or_quoted(scalar, 0, style));
            // A document of one plain value is closed, so that it cannot be taken for an open one.
            let closed = !matches!(scalar, Value::String(_)) || !out.starts_with(['\'', '"', '|']);
            out.push_str(if closed { "\n...\n" } else { "\n" });
        }
    }
    out
}

fn is_flow(value: &Value, style: &Style) -> bool {
    let leaf = |v: &Value| !matches!(v, Value::Array(_) | Value::Object(_));
    let short = |v: &Value| leaf(v) && !v.as_str().is_some_and(|s| s.contains('\n'));
    match value {
        Value::Array(items) => {
            style.flow || items.is_empty() || (style.flow_leaves && items.iter().all(short))
        }
        Value::Object(map) => style.flow || map.is_empty() || (style.flow_leaves && map.values().all(short)),
        _ => true,
    }
}

fn entries<'a>(map: &'a Map, style: &Style) -> Vec<(&'a String, &'a Value)> {
    let mut entries: Vec<_> = map.iter().collect();
    if style.sort {
        entries.sort_by_key(|(key, _)| *key);
    }
    entries
}

fn block(out: &mut String, value: &Value, style: &Style, depth: usize) {
    match value {
        Value::Array(items) => {
            for item in items {
                out.push_str(&" ".repeat(depth));
                out.push('-');
                let gap = " ".repeat(style.indent - 1);
                match item {
                    Value::Array(_) | Value::Object(_) if !is_flow(item, style) => {
                        // The first line of what is nested stands on the dash's own.
                        let mut nested = String::new();
                        block(&mut nested, item, style, depth + style.indent);
                        out.push_str(&gap);
                        out.push_str(nested.get(depth + style.indent..).unwrap_or_default());
                    }
                    other => {
                        out.push(' ');
                        out.push_str(&inline(other, style, depth + style.indent));
                        out.push('\n');
                    }
                }
            }
        }
        Value::Object(map) => {
            for (key, item) in entries(map, style) {
                out.push_str(&" ".repeat(depth));
                out.push_str(&plain_or_quoted(&Value::String(key.clone()), depth, style));
                out.push(':');
                match item {
                    Value::Array(_) if !is_flow(item, style) => {
                        out.push('\n');
                        // PyYAML puts a list's dashes under the key itself.
                        block(out, item, style, depth);
                    }
                    Value::Object(_) if !is_flow(item, style) => {
                        out.push('\n');
                        block(out, item, style, depth + style.indent);
                    }
                    other => {
                        out.push(' ');
                        out.push_str(&inline(other, style, depth + style.indent));
                        out.push('\n');
                    }
                }
            }
        }
        _ => {}
    }
}

fn inline(value: &Value, style: &Style, depth: usize) -> String {
    match value {
        Value::Array(_) | Value::Object(_) => flow(value, style),
        scalar => plain_or_quoted(scalar, depth, style),
    }
}

fn flow(value: &Value, style: &Style) -> String {
    match value {
        Value::Array(items) => {
            format!("[{}]", items.iter().map(|i| flow(i, style)).collect::<Vec<_>>().join(", "))
        }
        Value::Object(map) => {
            let parts: Vec<String> = entries(map, style)
                .into_iter()
                .map(|(k, v)| format!("{}: {}", flow(&Value::String(k.clone()), style), flow(v, style)))
                .collect();
            format!("{{{}}}", parts.join(", "))
        }
        Value::String(s) if s.contains([',', '[', ']', '{', '}', '?']) => single(s),
        scalar => plain_or_quoted(scalar, 0, style),
    }
}

fn plain_or_quoted(value: &Value, depth: usize, style: &Style) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Bool(b) => b.to_string(),
        Value::Number(n) if n.is_f64() => python::float(n.as_f64().unwrap_or(0.0)),
        Value::String(s) => text(s, depth, style),
        other => other.to_string(),
    }
}

fn text(s: &str, depth: usize, style: &Style) -> String {
    if s.contains('\n') {
        // A space beside a line end would be lost between single quotes.
        let quotable =
            !s.contains("\n ") && !s.contains(" \n") && !s.chars().any(|c| c.is_control() && c != '\n');
        return if quotable { folded(s, depth.max(style.indent)) } else { double(s) };
    }
    if s.chars().any(char::is_control) {
        return double(s);
    }
    if must_quote(s) { single(s) } else { wrapped(s, depth, style) }
}

/// Several lines between single quotes: a line end is written as an empty line.
fn folded(s: &str, indent: usize) -> String {
    let mut out = String::from("'");
    let mut breaks = 0;
    for c in s.chars() {
        if c == '\n' {
            breaks += 1;
            continue;
        }
        unfold(&mut out, &mut breaks, indent);
        out.push(c);
        if c == '\'' {
            out.push(c);
        }
    }
    unfold(&mut out, &mut breaks, indent);
    out.push('\'');
    out
}

fn unfold(out: &mut String, breaks: &mut usize, indent: usize) {
    if *breaks > 0 {
        out.push_str(&"\n".repeat(*breaks + 1));
        out.push_str(&" ".repeat(indent));
        *breaks = 0;
    }
}

/// A long plain text goes on in the next line, where a space is.
fn wrapped(s: &str, depth: usize, style: &Style) -> String {
    if s.chars().count() + depth <= style.width {
        return s.to_owned();
    }
    let mut out = String::new();
    let mut column = depth;
    for (number, word) in s.split(' ').enumerate() {
        if number > 0 {
            if column > style.width && !word.is_empty() && !out.ends_with(' ') {
                out.push('\n');
                out.push_str(&" ".repeat(depth.max(style.indent)));
                column = depth.max(style.indent);
            } else {
                out.push(' ');
                column += 1;
            }
        }
        out.push_str(word);
        column += word.chars().count();
    }
    out
}

fn single(s: &str) -> String {
    format!("'{}'", s.replace('\'', "''"))
}

fn double(s: &str) -> String {
    let mut out = String::from("\"");
    for c in s.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if c.is_control() => out.push_str(&format!("\\x{:02X}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Whether a text, written bare, would be read as something else.
fn must_quote(s: &str) -> bool {
    const WORDS: [&str; 9] = ["null", "~", "true", "false", "yes", "no", "on", "off", "="];
    let Some(first) = s.chars().next() else { return true };
    let number_like = {
        let digits = s.trim_start_matches(['-', '+']);
        digits.starts_with(|c: char| c.is_ascii_digit() || c == '.')
            && (digits.replace('_', "").parse::<f64>().is_ok()
                && !digits.contains(['e', 'E'])
                && digits != "."
                || digits.replace('_', "").parse::<f64>().is_ok() && digits.contains('.')
                || digits.starts_with("0x") && digits.chars().skip(2).all(|c| c.is_ascii_hexdigit())
                || digits.contains(':')
                    && digits.split(':').all(|p| !p.is_empty() && p.chars().all(|c| c.is_ascii_digit()))
                || is_date(digits))
    };
    WORDS.contains(&s.to_ascii_lowercase().as_str())
        || number_like
        || s.starts_with(' ')
        || s.ends_with(' ')
        || ",[]{}#&*!|>'\"%@`".contains(first)
        || ("-?:".contains(first) && s.chars().nth(1).is_none_or(char::is_whitespace))
        || s.contains(": ")
        || s.contains(" #")
        || s.ends_with(':')
        || s.starts_with("---")
        || s.starts_with("...")
}

fn is_date(s: &str) -> bool {
    let parts: Vec<&str> = s.get(..10).unwrap_or(s).split('-').collect();
    parts.len() == 3
        && parts.iter().all(|p| !p.is_empty() && p.chars().all(|c| c.is_ascii_digit()))
        && parts.first().is_some_and(|y| y.len() == 4)
}
