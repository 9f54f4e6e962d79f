use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use super::layers::VarMap;
use crate::vars::{Vars, raw};
use crate::yaml::Node;

/// What one source says of a group or a host. All who see it share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Layer {
    written: VarMap,
    shared: OnceLock<Arc<Vars>>,
}

impl Layer {
    pub(super) fn insert(&mut self, name: String, value: Node) {
        self.written.insert(name, value);
        self.shared.take();
    }

    /// The variables as scopes hold them.
    pub(super) fn shared(&self) -> Arc<Vars> {
        Arc::clone(self.shared.get_or_init(|| Arc::new(raw(&self.written))))
    }
}

impl From<VarMap> for Layer {
    fn from(written: VarMap) -> Self {
        Self { written, shared: OnceLock::new() }
    }
}

impl Deref for Layer {
    type Target = VarMap;

    fn deref(&self) -> &VarMap {
        &self.written
    }
}
