//! The arguments of a filter, test, function or lookup, as Python passes them.

use indexmap::IndexMap;
use minijinja::value::{Kwargs, ValueKind};
use minijinja::{Error, State, Value};

use super::convert;
use super::failure::error;
use super::python;
use crate::value::truth;

/// One call: positional arguments (for a filter the first is what it filters) and named ones.
pub(super) struct Call<'c, 't, 'e> {
    pub(super) state: &'c mut State<'t, 'e>,
    pub(super) args: Vec<Value>,
    pub(super) named: IndexMap<String, Value>,
}

/// A filter, a test or a function.
pub(super) type Native = fn(&mut Call<'_, '_, '_>) -> Result<Value, Error>;

impl<'c, 't, 'e> Call<'c, 't, 'e> {
    pub(super) fn new(state: &'c mut State<'t, 'e>, values: &[Value]) -> Result<Self, Error> {
        let mut args = values.to_vec();
        let mut named = IndexMap::new();
        if args.last().is_some_and(Value::is_kwargs) {
            let last = args.pop().unwrap_or_default();
            let kwargs = Kwargs::try_from(last)?;
            for name in kwargs.args() {
                named.insert(name.to_owned(), kwargs.peek::<Value>(name)?);
            }
        }
        Ok(Self { state, args, named })
    }

    /// What a filter filters.
    pub(super) fn input(&self) -> &Value {
        static NOTHING: Value = Value::UNDEFINED;
        self.args.first().unwrap_or(&NOTHING)
    }

    /// An argument by position or name; one that was left out is `None`.
    pub(super) fn get(&self, position: usize, name: &str) -> Option<Value> {
        self.args.get(position).or_else(|| self.named.get(name)).cloned()
    }

    /// An argument that must be there.
    pub(super) fn need(&self, position: usize, name: &str) -> Result<Value, Error> {
        self.get(position, name).ok_or_else(|| error(format!("the argument '{name}' is missing")))
    }

    pub(super) fn text(&self, position: usize, name: &str) -> Option<String> {
        self.get(position, name).filter(|v| !v.is_none()).map(|v| python::py_str(&v))
    }

    pub(super) fn text_or(&self, position: usize, name: &str, default: &str) -> String {
        self.text(position, name).unwrap_or_else(|| default.to_owned())
    }

    pub(super) fn need_text(&self, position: usize, name: &str) -> Result<String, Error> {
        Ok(python::py_str(&self.need(position, name)?))
    }

    pub(super) fn flag(&self, position: usize, name: &str, default: bool) -> bool {
        self.get(position, name).map_or(default, |v| boolean(&v))
    }

    pub(super) fn int(&self, position: usize, name: &str) -> Result<Option<i64>, Error> {
        let Some(value) = self.get(position, name).filter(|v| !v.is_none()) else { return Ok(None) };
        integer(&value)
            .map(Some)
            .ok_or_else(|| error(format!("'{name}' must be an integer, not {}", python::repr(&value))))
    }

    pub(super) fn int_or(&self, position: usize, name: &str, default: i64) -> Result<i64, Error> {
        Ok(self.int(position, name)?.unwrap_or(default))
    }

    pub(super) fn size_or(&self, position: usize, name: &str, default: usize) -> Result<usize, Error> {
        Ok(self.int(position, name)?.map_or(default, |i| usize::try_from(i).unwrap_or(0)))
    }

    /// What a filter filters, as text.
    pub(super) fn input_text(&self) -> Result<String, Error> {
        let input = convert::checked(self.input().clone())?;
        python::written(&input)
    }

    /// What a filter filters, as a list.
    pub(super) fn input_items(&self) -> Result<Vec<Value>, Error> {
        convert::items(self.input())
    }

    /// Whether any argument is undefined.
    pub(super) fn has_undefined(&self) -> bool {
        self.args.iter().chain(self.named.values()).any(Value::is_undefined)
    }
}

/// A truth value as Ansible reads it in options: words count.
pub(super) fn boolean(value: &Value) -> bool {
    match value.kind() {
        ValueKind::String => value.as_str().and_then(|s| truth(&s.into())).unwrap_or(false),
        _ => value.is_true(),
    }
}

/// An integer, from a number or a text that is one.
pub(super) fn integer(value: &Value) -> Option<i64> {
    value
        .as_i64()
        .or_else(|| value.as_str()?.trim().parse().ok())
        .or_else(|| (value.kind() == ValueKind::Bool).then(|| i64::from(value.is_true())))
}
