use std::collections::HashMap;
use std::sync::OnceLock;

use super::Module;

/// All modules, found by short or full name.
pub struct Registry {
    modules: Vec<Box<dyn Module>>,
    by_name: HashMap<&'static str, usize>,
}

impl Registry {
    fn new(modules: Vec<Box<dyn Module>>) -> Self {
        let mut by_name = HashMap::new();
        for (index, module) in modules.iter().enumerate() {
            let spec = module.spec();
            for name in std::iter::once(&spec.name).chain(spec.fqcn) {
                by_name.insert(*name, index);
            }
        }
        Self { modules, by_name }
    }

    pub fn get(&self, name: &str) -> Option<&dyn Module> {
        self.by_name.get(name).map(|&i| self.modules[i].as_ref())
    }

    /// Every name, for suggestions.
    pub fn names(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.by_name.keys().copied()
    }

    pub fn iter(&self) -> impl Iterator<Item = &dyn Module> {
        self.modules.iter().map(AsRef::as_ref)
    }
}

/// The modules that quaylab has.
pub fn registry() -> &'static Registry {
    static REGISTRY: OnceLock<Registry> = OnceLock::new();
    REGISTRY.get_or_init(|| {
        let families = [
            quaylab_modules_files::all(),
            quaylab_modules_clients::all(),
            quaylab_modules_containers::all(),
            quaylab_modules_data::all(),
            quaylab_modules_quay::all(),
            quaylab_modules_system::all(),
            quaylab_modules_virt::all(),
        ];
        Registry::new(families.into_iter().flatten().collect())
    })
}
