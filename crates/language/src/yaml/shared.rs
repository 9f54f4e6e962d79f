use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use minijinja::Value as Jinja;

/// The parts of a list or mapping. Clones share them, and what templates have made of them.
pub struct Shared<T>(Arc<Inner<T>>);

struct Inner<T> {
    parts: Vec<T>,
    /// As templates see it; nothing inside where it cannot be said once and for all.
    form: OnceLock<Option<Jinja>>,
}

impl<T> Shared<T> {
    /// The value that templates work with, made by the first who asks; `None` where it has to be computed each time.
    pub(crate) fn form(&self, make: impl FnOnce() -> Option<Jinja>) -> Option<&Jinja> {
        self.0.form.get_or_init(make).as_ref()
    }
}

impl<T: Clone> Shared<T> {
    /// The parts themselves, copied where somebody else has them too.
    pub fn into_parts(self) -> Vec<T> {
        Arc::try_unwrap(self.0).map_or_else(|shared| shared.parts.clone(), |own| own.parts)
    }
}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Default for Shared<T> {
    fn default() -> Self {
        Self::from(Vec::new())
    }
}

impl<T> From<Vec<T>> for Shared<T> {
    fn from(parts: Vec<T>) -> Self {
        Self(Arc::new(Inner { parts, form: OnceLock::new() }))
    }
}

impl<T> FromIterator<T> for Shared<T> {
    fn from_iter<I: IntoIterator<Item = T>>(parts: I) -> Self {
        Self::from(parts.into_iter().collect::<Vec<_>>())
    }
}

impl<T> Deref for Shared<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0.parts
    }
}

impl<'a, T> IntoIterator for &'a Shared<T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.parts.iter()
    }
}

impl<T: PartialEq> PartialEq for Shared<T> {
    fn eq(&self, other: &Self) -> bool {
        self.0.parts == other.0.parts
    }
}

impl<T: fmt::Debug> fmt::Debug for Shared<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.parts.fmt(f)
    }
}
