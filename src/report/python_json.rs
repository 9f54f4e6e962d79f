//! JSON as Python's `json.dumps(sort_keys=True, ensure_ascii=False)` writes it.

use crate::value::{Map, Value};

/// On one line, a space after every comma and colon.
pub(super) fn compact(map: &Map) -> String {
    let mut out = String::new();
    object(&mut out, map, None);
    out
}

/// Indented by four.
pub(super) fn pretty(map: &Map) -> String {
    let mut out = String::new();
    object(&mut out, map, Some(0));
    out
}

fn line(out: &mut String, indent: Option<usize>) {
    if let Some(depth) = indent {
        out.push('\n');
        out.push_str(&"    ".repeat(depth));
    }
}

fn object(out: &mut String, map: &Map, indent: Option<usize>) {
    if map.is_empty() {
        out.push_str("{}");
        return;
    }
    let inner = indent.map(|d| d + 1);
    let mut keys: Vec<_> = map.iter().collect();
    keys.sort_by(|a, b| a.0.cmp(b.0));
    out.push('{');
    for (at, (key, item)) in keys.into_iter().enumerate() {
        if at > 0 {
            out.push_str(if indent.is_some() { "," } else { ", " });
        }
        line(out, inner);
        out.push_str(&Value::from(key.as_str()).to_string());
        out.push_str(": ");
        value(out, item, inner);
    }
    line(out, indent);
    out.push('}');
}

fn value(out: &mut String, item: &Value, indent: Option<usize>) {
    match item {
        Value::Object(map) => object(out, map, indent),
        Value::Array(items) if items.is_empty() => out.push_str("[]"),
        Value::Array(items) => {
            let inner = indent.map(|d| d + 1);
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    out.push_str(if indent.is_some() { "," } else { ", " });
                }
                line(out, inner);
                value(out, item, inner);
            }
            line(out, indent);
            out.push(']');
        }
        other => out.push_str(&other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn it_is_pythons() {
        let value = json!({"b": [1, {"z": null}], "a": {}, "ü": "x\"y", "c": []});
        let map = value.as_object().expect("an object");
        assert_eq!(compact(map), r#"{"a": {}, "b": [1, {"z": null}], "c": [], "ü": "x\"y"}"#);
        insta::assert_snapshot!(pretty(map), @r#"
        {
            "a": {},
            "b": [
                1,
                {
                    "z": null
                }
            ],
            "c": [],
            "ü": "x\"y"
        }
        "#);
    }
}
