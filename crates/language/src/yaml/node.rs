use std::sync::Arc;

use minijinja::Value as Jinja;

use super::Written;
use super::shared::Shared;
use crate::diag::Origin;
use crate::value::{Map, Value};

/// A piece of a YAML document, with the place where it was written. Cheap to clone: what it holds is shared.
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
    /// A text that a person wrote: it may hold a template.
    Str(Written),
    /// A text that is never templated: `!unsafe`, or what is known and stands where a node is wanted.
    Unsafe(Arc<str>),
    /// `!vault`: an encrypted text, opened only when it is used.
    Vault(Arc<str>),
    Seq(Shared<Node>),
    Map(Mapping),
}

/// A mapping in the order in which it was written.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Mapping(Shared<(Node, Node)>);

impl Node {
    pub fn new(kind: Kind, origin: &Origin) -> Self {
        Self { kind, origin: origin.clone() }
    }

    /// A text of the program's own.
    pub fn word(text: &'static str, origin: &Origin) -> Self {
        Self::new(Kind::Str(Written::own(text)), origin)
    }

    /// A text that was cut out of this node's: it may be a template where this one may. No other node gives one.
    #[must_use]
    pub fn part(&self, text: impl Into<String>) -> Self {
        let kind = match &self.kind {
            Kind::Str(whole) => Kind::Str(whole.part(text)),
            _ => Kind::Unsafe(text.into().into()),
        };
        Self::new(kind, &self.origin)
    }

    pub fn as_str(&self) -> Option<&str> {
        match &self.kind {
            Kind::Str(s) => Some(s),
            Kind::Unsafe(s) => Some(s),
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
            Kind::Str(s) => Value::String(s.to_string()),
            Kind::Unsafe(s) | Kind::Vault(s) => Value::String(s.to_string()),
            Kind::Seq(items) => Value::Array(items.iter().map(Self::to_value).collect()),
            Kind::Map(m) => {
                Value::Object(m.iter().map(|(k, v)| (k.key_text(), v.to_value())).collect::<Map>())
            }
        }
    }

    /// A node that stands for a known value, all of it at one place. Its texts, keys too, are never templated: what a
    /// target, a lookup or a result has said is data, whatever way it takes.
    pub fn known(value: &Value, origin: &Origin) -> Self {
        let kind = match value {
            Value::Null => Kind::Null,
            Value::Bool(b) => Kind::Bool(*b),
            Value::Number(n) => n.as_i64().map_or_else(|| Kind::Float(n.as_f64().unwrap_or(0.0)), Kind::Int),
            Value::String(s) => Kind::Unsafe(s.as_str().into()),
            Value::Array(items) => Kind::Seq(items.iter().map(|v| Self::known(v, origin)).collect()),
            Value::Object(map) => {
                let key = |k: &String| Self::new(Kind::Unsafe(k.as_str().into()), origin);
                Kind::Map(map.iter().map(|(k, v)| (key(k), Self::known(v, origin))).collect())
            }
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

#[cfg(test)]
impl Node {
    /// A text that a test wrote.
    pub(crate) fn str(text: impl Into<String>, origin: &Origin) -> Self {
        Self::new(Kind::Str(Written::read(text, &origin.file)), origin)
    }
}

impl FromIterator<(Node, Node)> for Mapping {
    fn from_iter<I: IntoIterator<Item = (Node, Node)>>(pairs: I) -> Self {
        Self(pairs.into_iter().collect())
    }
}

impl From<Vec<(Node, Node)>> for Mapping {
    fn from(pairs: Vec<(Node, Node)>) -> Self {
        Self(pairs.into())
    }
}

impl Mapping {
    /// The pairs themselves, copied where somebody else has them too.
    pub fn into_pairs(self) -> Vec<(Node, Node)> {
        self.0.into_parts()
    }

    /// The pairs as they stand.
    pub fn pairs(&self) -> &[(Node, Node)] {
        &self.0
    }

    /// The value that templates work with: [`Shared::form`].
    pub(crate) fn form(&self, make: impl FnOnce() -> Option<Jinja>) -> Option<&Jinja> {
        self.0.form(make)
    }

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
