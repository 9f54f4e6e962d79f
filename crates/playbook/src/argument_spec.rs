use crate::diag::closest;
use crate::value::{Map, Value, truth};
use crate::yaml::Node;

/// What a role's entry point takes (`meta/argument_specs.yml`).
#[derive(Debug, Clone, PartialEq)]
pub struct ArgumentSpec {
    pub short_description: Option<String>,
    options: Vec<ArgumentOption>,
}

#[derive(Debug, Clone, PartialEq)]
struct ArgumentOption {
    name: String,
    kind: Kind,
    elements: Option<Kind>,
    required: bool,
    choices: Vec<Value>,
    options: Vec<ArgumentOption>,
    /// Its value is a secret. What is neither true nor false hides it as well.
    no_log: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Str,
    Int,
    Float,
    Bool,
    List,
    Dict,
    Path,
    Raw,
}

impl Kind {
    const NAMES: [(&'static str, Self); 8] = [
        ("str", Self::Str),
        ("int", Self::Int),
        ("float", Self::Float),
        ("bool", Self::Bool),
        ("list", Self::List),
        ("dict", Self::Dict),
        ("path", Self::Path),
        ("raw", Self::Raw),
    ];

    fn of(name: &str) -> Result<Self, String> {
        Self::NAMES.iter().find(|(n, _)| *n == name).map(|(_, kind)| *kind).ok_or_else(|| {
            let near = closest(name, Self::NAMES.iter().map(|(n, _)| *n));
            format!(
                "unknown type {name:?}{}",
                near.map(|n| format!("; did you mean {n}?")).unwrap_or_default()
            )
        })
    }

    fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, kind)| *kind == self).map_or("raw", |(name, _)| name)
    }

    /// Whether the value is of this type or is converted to it.
    fn accepts(self, value: &Value) -> bool {
        match self {
            Self::Str | Self::Path => !matches!(value, Value::Array(_) | Value::Object(_)),
            Self::Int => match value {
                Value::Number(n) => n.is_i64() || n.is_u64(),
                Value::String(s) => s.trim().parse::<i64>().is_ok(),
                _ => false,
            },
            Self::Float => match value {
                Value::Number(_) => true,
                Value::String(s) => s.trim().parse::<f64>().is_ok(),
                _ => false,
            },
            Self::Bool => truth(value).is_some(),
            Self::List => !matches!(value, Value::Object(_)),
            Self::Dict => value.is_object(),
            Self::Raw => true,
        }
    }
}

impl ArgumentSpec {
    /// Reads one entry point's specification.
    pub(super) fn parse(spec: &Value) -> Result<Self, String> {
        Ok(Self {
            short_description: spec.get("short_description").and_then(Value::as_str).map(str::to_owned),
            options: options(spec.get("options").unwrap_or(&Value::Null))?,
        })
    }

    /// A specification given as a task's argument.
    pub fn from_node(node: &Node) -> Result<Self, String> {
        Ok(Self { short_description: None, options: options(&node.to_value())? })
    }

    /// The names that it describes.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.options.iter().map(|o| o.name.as_str())
    }

    /// All violations; none means that the arguments are valid. `args` holds those of the names that are defined.
    pub fn check(&self, args: &Map) -> Vec<String> {
        let mut errors = Vec::new();
        check(&self.options, args, "", &mut errors);
        errors
    }
}

fn options(node: &Value) -> Result<Vec<ArgumentOption>, String> {
    let Some(map) = node.as_object() else { return Ok(Vec::new()) };
    map.iter()
        .map(|(name, spec)| {
            let kind = |key: &str| spec.get(key).and_then(Value::as_str).map(Kind::of).transpose();
            let at = |e: String| format!("option {name}: {e}");
            Ok(ArgumentOption {
                name: name.clone(),
                kind: kind("type").map_err(at)?.unwrap_or(Kind::Str),
                elements: kind("elements").map_err(at)?,
                required: spec.get("required").and_then(truth).unwrap_or(false),
                choices: spec.get("choices").and_then(Value::as_array).cloned().unwrap_or_default(),
                options: options(spec.get("options").unwrap_or(&Value::Null))?,
                no_log: spec.get("no_log").is_some_and(|said| truth(said).unwrap_or(true)),
            })
        })
        .collect()
}

fn check(options: &[ArgumentOption], args: &Map, path: &str, errors: &mut Vec<String>) {
    for option in options {
        let name = format!("{path}{}", option.name);
        let Some(value) = args.get(&option.name).filter(|v| !v.is_null()) else {
            if option.required {
                errors.push(format!("missing required argument: {name}"));
            }
            continue;
        };
        let shown = |value: &Value| if option.no_log { HIDDEN.to_owned() } else { brief(value) };
        if !option.kind.accepts(value) {
            errors.push(format!(
                "argument {name} must be of type {}, got {}",
                option.kind.name(),
                shown(value)
            ));
            continue;
        }
        let one = std::slice::from_ref(value);
        let items = value.as_array().map_or(one, Vec::as_slice);
        if !option.choices.is_empty() {
            let text = |v: &Value| crate::value::plain(v);
            if let Some(bad) = items.iter().find(|v| !option.choices.iter().any(|c| text(c) == text(v))) {
                let choices: Vec<String> = option.choices.iter().map(text).collect();
                errors.push(format!(
                    "value of {name} must be one of: {}, got: {}",
                    choices.join(", "),
                    if option.no_log { HIDDEN.to_owned() } else { text(bad) }
                ));
            }
        }
        if let (Kind::List, Some(elements)) = (option.kind, option.elements)
            && let Some(bad) = items.iter().find(|v| !elements.accepts(v))
        {
            errors.push(format!(
                "elements of {name} must be of type {}, got {}",
                elements.name(),
                shown(bad)
            ));
            continue;
        }
        if !option.options.is_empty() {
            for (index, item) in items.iter().enumerate() {
                let Some(map) = item.as_object() else { continue };
                let inner = if value.is_array() { format!("{name}[{index}].") } else { format!("{name}.") };
                for key in map.keys().filter(|k| !option.options.iter().any(|o| &o.name == *k)) {
                    let near = closest(key, option.options.iter().map(|o| o.name.as_str()));
                    let help = near.map(|n| format!("; did you mean {n}?")).unwrap_or_default();
                    errors.push(format!("unknown option {inner}{key}{help}"));
                }
                check(&option.options, map, &inner, errors);
            }
        }
    }
}

/// What stands for the value of an argument that is a secret.
const HIDDEN: &str = "a value that is not shown (no_log)";

fn brief(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().count() > 60 { text.chars().take(57).chain("...".chars()).collect() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_secret_is_not_quoted() {
        let spec = ArgumentSpec::parse(&json!({"options": {
            "a": {"type": "int", "no_log": true},
            "b": {"choices": ["x"], "no_log": true},
            "c": {"type": "list", "elements": "int", "no_log": "{{ later }}"},
        }}))
        .expect("valid");
        let args = json!({"a": "S3CRET", "b": "S3CRET", "c": ["S3CRET"]});
        let errors = spec.check(args.as_object().expect("a mapping"));
        assert_eq!(errors.len(), 3, "{errors:?}");
        assert!(errors.iter().all(|e| !e.contains("S3CRET") && e.contains(HIDDEN)), "{errors:?}");
    }

    #[test]
    fn violations_name_what_is_wrong() {
        let spec = ArgumentSpec::parse(&json!({"options": {
            "port": {"type": "int", "required": true},
            "registry": {"choices": ["quay", "embedded", "auto"]},
            "disks": {"type": "list", "elements": "dict", "options": {"size": {"type": "int", "required": true}, "pool": {}}},
            "on": {"type": "bool"},
        }}))
        .expect("valid");
        let errors = |value: Value| spec.check(value.as_object().expect("an object"));
        assert_eq!(errors(json!({"port": "5000", "on": "yes"})), Vec::<String>::new());
        assert_eq!(errors(json!({})), ["missing required argument: port"]);
        assert_eq!(
            errors(json!({"port": "x", "registry": "quai", "disks": [{"poool": "a"}], "on": 7})),
            [
                "argument port must be of type int, got \"x\"",
                "value of registry must be one of: quay, embedded, auto, got: quai",
                "unknown option disks[0].poool; did you mean pool?",
                "missing required argument: disks[0].size",
                "argument on must be of type bool, got 7",
            ]
        );
        assert!(ArgumentSpec::parse(&json!({"options": {"a": {"type": "sting"}}})).is_err());
    }
}
