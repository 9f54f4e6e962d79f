//! Modules for files and commands on the target.

use super::Module;

/// The modules of this family.
pub(super) fn all() -> Vec<Box<dyn Module>> {
    vec![]
}
