//! What the tasks of one run share.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// One value of each type that is asked for, made when the first task asks and gone with the run. Clones share.
#[derive(Clone, Default)]
pub struct RunContext {
    values: Arc<Mutex<HashMap<TypeId, Arc<dyn Any + Send + Sync>>>>,
}

impl RunContext {
    /// The run's value of this type.
    pub fn get<T: Default + Send + Sync + 'static>(&self) -> Arc<T> {
        let mut values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        let value = values.entry(TypeId::of::<T>()).or_insert_with(|| Arc::new(T::default()));
        // The entry of a type holds a value of that type.
        Arc::clone(value).downcast().unwrap_or_default()
    }
}

impl std::fmt::Debug for RunContext {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RunContext").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_share_one_value_of_a_type() {
        let run = RunContext::default();
        let names = run.get::<Mutex<Vec<&str>>>();
        names.lock().expect("unpoisoned").push("a");
        assert_eq!(*run.clone().get::<Mutex<Vec<&str>>>().lock().expect("unpoisoned"), ["a"]);
        assert_eq!(*run.get::<Mutex<u8>>().lock().expect("unpoisoned"), 0);
        assert!(RunContext::default().get::<Mutex<Vec<&str>>>().lock().expect("unpoisoned").is_empty());
    }
}
