use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use minijinja::Value as Jinja;

use crate::value::{Map, Value};

/// A known value. Clones share it, and what templates have made of it.
#[derive(Clone)]
pub struct Known(Arc<Inner>);

struct Inner {
    value: Value,
    form: OnceLock<Jinja>,
}

impl Known {
    /// The value that templates work with, made by the first who asks.
    pub(crate) fn form(&self, make: impl FnOnce(&Value) -> Jinja) -> &Jinja {
        self.0.form.get_or_init(|| make(&self.0.value))
    }

    /// The fields of a mapping; of anything else there are none.
    pub fn fields(&self) -> &Map {
        static NONE: OnceLock<Map> = OnceLock::new();
        self.0.value.as_object().unwrap_or_else(|| NONE.get_or_init(Map::new))
    }
}

impl<T: Into<Value>> From<T> for Known {
    fn from(value: T) -> Self {
        Self(Arc::new(Inner { value: value.into(), form: OnceLock::new() }))
    }
}

impl Deref for Known {
    type Target = Value;

    fn deref(&self) -> &Value {
        &self.0.value
    }
}

impl PartialEq for Known {
    fn eq(&self, other: &Self) -> bool {
        self.0.value == other.0.value
    }
}

impl fmt::Debug for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.value.fmt(f)
    }
}
