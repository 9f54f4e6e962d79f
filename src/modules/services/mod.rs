//! Modules for what is reached through a client of its own: containers, databases, registries.

use super::Module;

/// The modules of this family.
pub(super) fn all() -> Vec<Box<dyn Module>> {
    vec![]
}
