//! What Quay holds, declared: organizations, teams, robots, repositories, their permissions and where they come from.

mod call;
mod default_permission;
mod mirror;
mod organization;
mod permission;
mod proxy_cache;
mod repository;
mod robot;
mod team;
mod user;

use crate::{Module, native};

/// The modules of this room.
pub(super) fn all() -> Vec<Box<dyn Module>> {
    vec![
        native::<default_permission::QuayDefaultPermission>(),
        native::<mirror::QuayMirror>(),
        native::<organization::QuayOrganization>(),
        native::<proxy_cache::QuayProxyCache>(),
        native::<repository::QuayRepository>(),
        native::<robot::QuayRobot>(),
        native::<team::QuayTeam>(),
        native::<user::QuayUser>(),
    ]
}
