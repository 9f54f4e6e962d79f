//! Containers whose parts are computed when they are touched.

use std::sync::{Arc, OnceLock};

use indexmap::IndexMap;
use minijinja::Value as Jinja;
use minijinja::value::{Enumerator, Object, ObjectRepr};

use super::context::Context;
use crate::yaml::{Mapping, Node};

#[derive(Debug)]
struct Slot {
    node: Node,
    value: OnceLock<Jinja>,
}

impl Slot {
    fn new(node: &Node) -> Self {
        Self { node: node.clone(), value: OnceLock::new() }
    }

    fn get(&self, context: &Arc<Context>, path: impl FnOnce() -> String) -> Jinja {
        if let Some(value) = self.value.get() {
            return value.clone();
        }
        match context.guarded(&path(), &self.node) {
            Ok(value) => self.value.get_or_init(|| value).clone(),
            // An error may be one of this moment (a cycle that another path does not have): it is not kept.
            Err(failure) => Jinja::from(failure.into_error()),
        }
    }
}

/// A list of nodes.
#[derive(Debug)]
pub(super) struct LazySeq {
    context: Arc<Context>,
    path: String,
    slots: Vec<Slot>,
}

impl LazySeq {
    pub(super) fn new(context: &Arc<Context>, path: &str, items: &[Node]) -> Self {
        Self {
            context: Arc::clone(context),
            path: path.to_owned(),
            slots: items.iter().map(Slot::new).collect(),
        }
    }
}

impl Object for LazySeq {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Seq
    }

    fn get_value(self: &Arc<Self>, key: &Jinja) -> Option<Jinja> {
        let index = key.as_usize()?;
        Some(self.slots.get(index)?.get(&self.context, || format!("{}[{index}]", self.path)))
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Seq(self.slots.len())
    }
}

/// A mapping of nodes.
#[derive(Debug)]
pub(super) struct LazyMap {
    context: Arc<Context>,
    path: String,
    slots: IndexMap<String, Slot>,
}

impl LazyMap {
    pub(super) fn new(context: &Arc<Context>, path: &str, map: &Mapping) -> Self {
        Self {
            context: Arc::clone(context),
            path: path.to_owned(),
            slots: map.iter().map(|(key, value)| (key.key_text(), Slot::new(value))).collect(),
        }
    }
}

impl Object for LazyMap {
    fn get_value(self: &Arc<Self>, key: &Jinja) -> Option<Jinja> {
        self.get_value_by_str(key.as_str()?)
    }

    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<Jinja> {
        Some(self.slots.get(key)?.get(&self.context, || format!("{}.{key}", self.path)))
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Values(self.slots.keys().map(|k| Jinja::from(k.as_str())).collect())
    }
}

/// `hostvars`: the variables of every host, each opened when it is asked for.
#[derive(Debug)]
pub(super) struct HostVars {
    pub(super) context: Arc<Context>,
}

impl Object for HostVars {
    fn get_value(self: &Arc<Self>, key: &Jinja) -> Option<Jinja> {
        self.context.host(key.as_str()?).map(|host| host.value())
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Values(self.context.scope.host_names().into_iter().map(Jinja::from).collect())
    }
}
