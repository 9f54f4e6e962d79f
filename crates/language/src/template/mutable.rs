//! Lists and mappings that a template may change in place: `{% set _ = list.append(x) %}`.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use indexmap::IndexMap;
use minijinja::value::{Enumerator, Object, ObjectRepr, ValueKind};
use minijinja::{Error, State, Value};

use super::convert;
use super::failure::error;
use super::python;

#[derive(Debug)]
struct List(Mutex<Vec<Value>>);

#[derive(Debug)]
struct Dict(Mutex<IndexMap<Value, Value>>);

/// A changeable copy of a list or mapping; anything else (and what is changeable already) as it is.
pub(super) fn of(value: &Value) -> Value {
    if value.downcast_object_ref::<List>().is_some() || value.downcast_object_ref::<Dict>().is_some() {
        return value.clone();
    }
    match value.kind() {
        ValueKind::Seq | ValueKind::Iterable if !value.is_tuple() => {
            let items = value.try_iter().into_iter().flatten().collect();
            Value::from_object(List(Mutex::new(items)))
        }
        // Namespaces, macros and modules are objects of their own.
        ValueKind::Map if plain(value) => {
            Value::from_object(Dict(Mutex::new(convert::pairs(value).into_iter().collect())))
        }
        _ => value.clone(),
    }
}

fn plain(value: &Value) -> bool {
    value.as_object().is_some_and(|o| {
        let name = o.type_name();
        name.contains("IndexMap") || name.contains("BTreeMap") || name.contains("LazyMap")
    })
}

impl List {
    fn with<T>(&self, work: impl FnOnce(&mut Vec<Value>) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Dict {
    fn with<T>(&self, work: impl FnOnce(&mut IndexMap<Value, Value>) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// How much is looked through for the container that it is put into.
const MOST_SEARCHED: usize = 1_000_000;

/// A container that holds itself has no end: whoever goes through it would never come back.
fn refuse_itself<T>(container: &Arc<T>, items: &[Value]) -> Result<(), Error> {
    let place = Arc::as_ptr(container).addr();
    let mut open = items.to_vec();
    let mut seen = HashSet::new();
    for _ in 0..MOST_SEARCHED {
        let Some(value) = open.pop() else { return Ok(()) };
        // What is computed when it is touched comes from variables, which know nothing of this container.
        let inner = if let Some(list) = value.downcast_object_ref::<List>() {
            (std::ptr::from_ref(list).addr(), list.with(|items| items.clone()))
        } else if let Some(dict) = value.downcast_object_ref::<Dict>() {
            (std::ptr::from_ref(dict).addr(), dict.with(|items| items.values().cloned().collect()))
        } else {
            let name = value.as_object().map_or("", |o| o.type_name());
            match value.kind() {
                _ if ["Lazy", "HostVars", "Context"].iter().any(|lazy| name.contains(lazy)) => {}
                ValueKind::Seq => open.extend(value.try_iter()?),
                ValueKind::Map => open.extend(convert::pairs(&value).into_iter().map(|(_, item)| item)),
                _ => {}
            }
            continue;
        };
        if inner.0 == place {
            return Err(error("a list or mapping cannot hold itself"));
        }
        if seen.insert(inner.0) {
            open.extend(inner.1);
        }
    }
    Err(error(format!("what is put into a list or mapping holds more than {MOST_SEARCHED} parts")))
}

fn arg(args: &[Value], at: usize) -> Result<Value, Error> {
    args.get(at).cloned().ok_or_else(|| error("an argument is missing"))
}

/// A Python index, where negative ones count from the end.
fn index(value: &Value, length: usize) -> Option<usize> {
    let at = value.as_i64()?;
    usize::try_from(if at < 0 { at + i64::try_from(length).ok()? } else { at }).ok()
}

impl Object for List {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Seq
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.with(|items| items.get(index(key, items.len())?).cloned())
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Values(self.with(|items| items.clone()))
    }

    fn enumerator_len(self: &Arc<Self>) -> Option<usize> {
        Some(self.with(|items| items.len()))
    }

    fn call_method(
        self: &Arc<Self>,
        _state: &mut State<'_, '_>,
        method: &str,
        args: &[Value],
    ) -> Result<Value, Error> {
        match method {
            "append" => {
                let item = arg(args, 0)?;
                refuse_itself(self, std::slice::from_ref(&item))?;
                self.with(|items| items.push(item));
            }
            "extend" => {
                let more = convert::items(&arg(args, 0)?)?;
                refuse_itself(self, &more)?;
                self.with(|items| items.extend(more));
            }
            "insert" => {
                let (at, item) = (arg(args, 0)?, arg(args, 1)?);
                refuse_itself(self, std::slice::from_ref(&item))?;
                self.with(|items| {
                    let at = index(&at, items.len()).unwrap_or(0).min(items.len());
                    items.insert(at, item);
                });
            }
            "remove" => {
                let item = arg(args, 0)?;
                let found =
                    self.with(|items| items.iter().position(|i| *i == item).map(|at| items.remove(at)));
                found.ok_or_else(|| error(format!("{} is not in the list", python::repr(&item))))?;
            }
            "pop" => {
                let at = args.first().cloned().unwrap_or_else(|| Value::from(-1));
                return self
                    .with(|items| {
                        index(&at, items.len()).filter(|i| *i < items.len()).map(|i| items.remove(i))
                    })
                    .ok_or_else(|| error("pop index out of range"));
            }
            "clear" => self.with(Vec::clear),
            "reverse" => self.with(|items| items.reverse()),
            "sort" => self.with(|items| items.sort()),
            _ => return Err(Error::from(minijinja::ErrorKind::UnknownMethod)),
        }
        Ok(Value::from(()))
    }
}

impl Object for Dict {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.with(|items| items.get(key).cloned())
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Values(self.with(|items| items.keys().cloned().collect()))
    }

    fn enumerator_len(self: &Arc<Self>) -> Option<usize> {
        Some(self.with(|items| items.len()))
    }

    fn call_method(
        self: &Arc<Self>,
        _state: &mut State<'_, '_>,
        method: &str,
        args: &[Value],
    ) -> Result<Value, Error> {
        match method {
            "update" => {
                for more in args {
                    let pairs = convert::checked_pairs(more)?;
                    let values: Vec<Value> = pairs.iter().map(|(_, value)| value.clone()).collect();
                    refuse_itself(self, &values)?;
                    self.with(|items| items.extend(pairs));
                }
            }
            "pop" => {
                let key = arg(args, 0)?;
                return self
                    .with(|items| items.shift_remove(&key))
                    .or_else(|| args.get(1).cloned())
                    .ok_or_else(|| error(format!("there is no key {}", python::repr(&key))));
            }
            "setdefault" => {
                let key = arg(args, 0)?;
                let default = args.get(1).cloned().unwrap_or_else(|| Value::from(()));
                refuse_itself(self, std::slice::from_ref(&default))?;
                return Ok(self.with(|items| items.entry(key).or_insert(default).clone()));
            }
            "clear" => self.with(IndexMap::clear),
            _ => return Err(Error::from(minijinja::ErrorKind::UnknownMethod)),
        }
        Ok(Value::from(()))
    }
}
