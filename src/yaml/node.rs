use crate::diag::Origin;
use crate::value::{Map, Value};

/// A piece of a YAML document, with the place where it was written.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    pub kind: Kind,
    pub origin: Origin,
}

/// What a node holds, after YAML 1.1's scalar rules.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    /// A text that may hold a template.
    Str(String),
    /// `!unsafe`: a text that is never templated.
    Unsafe(String),
    /// `!vault`: an encrypted text, opened only when it is used.
    Vault(String),
    Seq(Vec<Node>),
    Map(Mapping),
}

/// A mapping in the order in which it was written.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Mapping(pub Vec<(Node, Node)>);

impl Node {
    pub fn new(kind: Kind, origin: &Origin) -> Self {
        Self { kind, origin: origin.clone() }
    }

    pub fn str(text: impl Into<String>, origin: &Origin) -> Self {
        Self::new(Kind::Str(text.into()), origin)
    }

    pub fn as_str(&self) -> Option<&str> {
        match &self.kind {
            Kind::Str(s) | Kind::Unsafe(s) => Some(s),
            _ => None,
        }
    }

    pub fn as_map(&self) -> Option<&Mapping> {
        match &self.kind {
            Kind::Map(m) => Some(m),
            _ => None,
        }
    }

    pub fn as_seq(&self) -> Option<&[Node]> {
        match &self.kind {
            Kind::Seq(s) => Some(s),
            _ => None,
        }
    }

    pub fn is_null(&self) -> bool {
        self.kind == Kind::Null
    }

    /// What kind of thing this is, for an error message.
    pub fn type_name(&self) -> &'static str {
        match self.kind {
            Kind::Null => "nothing",
            Kind::Bool(_) => "a boolean",
            Kind::Int(_) | Kind::Float(_) => "a number",
            Kind::Str(_) | Kind::Unsafe(_) => "a string",
            Kind::Vault(_) => "an encrypted string",
            Kind::Seq(_) => "a list",
            Kind::Map(_) => "a mapping",
        }
    }

    /// The node as a known value, templates left as they stand; vault texts stay encrypted.
    pub fn to_value(&self) -> Value {
        match &self.kind {
            Kind::Null => Value::Null,
            Kind::Bool(b) => Value::Bool(*b),
            Kind::Int(i) => Value::from(*i),
            Kind::Float(f) => Value::from(*f),
            Kind::Str(s) | Kind::Unsafe(s) | Kind::Vault(s) => Value::String(s.clone()),
            Kind::Seq(items) => Value::Array(items.iter().map(Self::to_value).collect()),
            Kind::Map(m) => {
                Value::Object(m.iter().map(|(k, v)| (k.key_text(), v.to_value())).collect::<Map>())
            }
        }
    }

    /// A node that stands for a known value, all of it at one place.
    pub fn from_value(value: &Value, origin: &Origin) -> Self {
        let kind = match value {
            Value::Null => Kind::Null,
            Value::Bool(b) => Kind::Bool(*b),
            Value::Number(n) => n.as_i64().map_or_else(|| Kind::Float(n.as_f64().unwrap_or(0.0)), Kind::Int),
            Value::String(s) => Kind::Str(s.clone()),
            Value::Array(items) => Kind::Seq(items.iter().map(|v| Self::from_value(v, origin)).collect()),
            Value::Object(map) => Kind::Map(Mapping(
                map.iter().map(|(k, v)| (Self::str(k, origin), Self::from_value(v, origin))).collect(),
            )),
        };
        Self::new(kind, origin)
    }

    /// The node as a mapping's key: Ansible's variables have text keys.
    pub fn key_text(&self) -> String {
        match &self.kind {
            Kind::Bool(true) => "True".into(),
            Kind::Bool(false) => "False".into(),
            _ => crate::value::plain(&self.to_value()),
        }
    }
}

impl Mapping {
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(|(_, value)| value)
    }

    /// The key's own node and the value.
    pub fn entry(&self, key: &str) -> Option<(&Node, &Node)> {
        self.0.iter().find(|(k, _)| k.as_str() == Some(key)).map(|(k, v)| (k, v))
    }

    pub fn iter(&self) -> impl Iterator<Item = (&Node, &Node)> {
        self.0.iter().map(|(k, v)| (k, v))
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
