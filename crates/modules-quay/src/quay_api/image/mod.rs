//! Single images: their tags, labels, layers, what a scanner found in them, how often they were pulled.

use super::{call, place};
use crate::{Module, action, resource};

mod layer_info;
mod manifest_label;
mod manifest_label_info;
mod moment;
mod pull_stat_info;
mod reference;
mod tag;
mod tag_info;
mod vulnerability_info;

/// The modules of this room.
pub(super) fn all() -> Vec<Box<dyn Module>> {
    vec![
        action::<layer_info::QuayLayerInfo>(),
        action::<manifest_label_info::QuayManifestLabelInfo>(),
        action::<pull_stat_info::QuayPullStatInfo>(),
        action::<tag_info::QuayTagInfo>(),
        action::<vulnerability_info::QuayVulnerabilityInfo>(),
        resource::<manifest_label::QuayManifestLabel>(),
        resource::<tag::QuayTag>(),
    ]
}
