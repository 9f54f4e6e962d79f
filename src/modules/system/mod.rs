//! Modules for packages, services, users, disks.

use super::Module;

/// The modules of this family.
pub(super) fn all() -> Vec<Box<dyn Module>> {
    vec![]
}
