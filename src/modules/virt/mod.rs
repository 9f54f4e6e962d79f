//! Modules for libvirt's networks, pools, volumes and domains.

use super::Module;

/// The modules of this family.
pub(super) fn all() -> Vec<Box<dyn Module>> {
    vec![]
}
