use std::marker::PhantomData;
use std::sync::Arc;

use super::Templar;
use crate::diag::{Diagnostic, Origin};
use crate::value::{Value, plain, truth};
use crate::vars::Scope;
use crate::yaml::Node;

/// What a keyword can come to.
pub trait FromValue: Sized {
    /// What it has to be, for people.
    const KIND: &'static str;

    fn from_value(value: &Value) -> Option<Self>;
}

impl FromValue for bool {
    const KIND: &'static str = "true or false";

    fn from_value(value: &Value) -> Option<Self> {
        truth(value)
    }
}

impl FromValue for f64 {
    const KIND: &'static str = "a number";

    fn from_value(value: &Value) -> Option<Self> {
        plain(value).trim().parse::<Self>().ok().filter(|n| n.is_finite())
    }
}

/// In whole numbers; what is below zero is none.
impl FromValue for u64 {
    const KIND: &'static str = "a number";

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is finite, and a cast stops at zero and at the largest number"
    )]
    fn from_value(value: &Value) -> Option<Self> {
        f64::from_value(value).map(|number| number as Self)
    }
}

impl FromValue for String {
    const KIND: &'static str = "a text";

    fn from_value(value: &Value) -> Option<Self> {
        Some(plain(value))
    }
}

/// A keyword as it was written, which may be a template, and what it has to come to. It is read by rendering it and in no other way.
pub struct Templated<T> {
    name: &'static str,
    node: Node,
    kind: PhantomData<fn() -> T>,
}

impl<T> Templated<T> {
    /// `name`: the keyword, for errors.
    pub fn new(name: &'static str, node: Node) -> Self {
        Self { name, node, kind: PhantomData }
    }

    pub fn origin(&self) -> &Origin {
        &self.node.origin
    }

    /// For whoever looks for names in what was written. Its value is what [`Self::render`] says.
    pub fn node(&self) -> &Node {
        &self.node
    }
}

impl<T: FromValue> Templated<T> {
    /// Its value; `None` where it is given as nothing, or as `omit`. What is of another kind is an error at its place.
    pub fn render(&self, templar: &Templar, scope: &Arc<dyn Scope>) -> Result<Option<T>, Diagnostic> {
        let value = templar.render(&self.node, scope).map_err(|mut error| {
            error.message = format!("{}: {}", self.name, error.message);
            error.at_least(&self.node.origin)
        })?;
        let Some(value) = value.filter(|v| !v.is_null()) else { return Ok(None) };
        T::from_value(&value).map(Some).ok_or_else(|| {
            let shown: String = value.to_string().chars().take(60).collect();
            Diagnostic::new(format!("{} must be {}, not {shown}", self.name, T::KIND)).at(&self.node.origin)
        })
    }
}

impl<T> Clone for Templated<T> {
    fn clone(&self) -> Self {
        Self::new(self.name, self.node.clone())
    }
}

impl<T> std::fmt::Debug for Templated<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple(self.name).field(&self.node).finish()
    }
}
