//! The dynamic value: what a variable, an argument or a result is once it is known.

/// A known value. Mappings keep the order in which they were written.
pub type Value = serde_json::Value;

/// A mapping of names to known values.
pub type Map = serde_json::Map<String, Value>;

/// How deep lists and mappings may be nested in one value. JSON that is read has the same limit.
pub const MOST_NESTED: usize = 128;

/// Reads a boolean the way Ansible's `bool` does (`yes`, `on`, `1`, `true`, ... in any case).
///
/// Returns `None` for what is neither a truth value nor its opposite.
pub fn truth(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(b) => Some(*b),
        Value::Number(n) => match n.as_f64() {
            Some(1.0) => Some(true),
            Some(0.0) => Some(false),
            _ => None,
        },
        Value::String(s) => match s.trim().to_ascii_lowercase().as_str() {
            "y" | "yes" | "on" | "1" | "true" | "t" | "1.0" => Some(true),
            "n" | "no" | "off" | "0" | "false" | "f" | "0.0" => Some(false),
            _ => None,
        },
        _ => None,
    }
}

/// Writes a value as it stands in a sentence: strings bare, everything else as JSON.
pub fn plain(value: &Value) -> String {
    match value {
        Value::String(s) => s.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn truth_is_ansibles() {
        for (value, expected) in [
            (json!("Yes"), Some(true)),
            (json!("off"), Some(false)),
            (json!(1), Some(true)),
            (json!(2), None),
            (json!("maybe"), None),
            (json!(null), None),
        ] {
            assert_eq!(truth(&value), expected, "{value}");
        }
    }
}
