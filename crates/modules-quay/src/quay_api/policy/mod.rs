//! What holds for all images of a namespace or repository: when tags go, which never change, how much there may be.

use super::{call, place};
use crate::{Module, resource};

mod immutability;
mod organization_immutability;
mod organization_prune;
mod prune;
mod quota;
mod repository_immutability;
mod repository_prune;

/// The modules of this room.
pub(super) fn all() -> Vec<Box<dyn Module>> {
    vec![
        resource::<organization_immutability::QuayOrganizationImmutability>(),
        resource::<organization_prune::QuayOrganizationPrune>(),
        resource::<quota::QuayQuota>(),
        resource::<repository_immutability::QuayRepositoryImmutability>(),
        resource::<repository_prune::QuayRepositoryPrune>(),
    ]
}
