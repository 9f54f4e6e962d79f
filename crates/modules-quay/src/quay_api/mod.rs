//! What Quay holds, declared: organizations, teams, robots, repositories, their permissions and where they come from.

mod call;
mod default_permission;
mod mirror;
mod organization;
mod permission;
mod place;
mod policy;
mod proxy_cache;
mod repository;
mod robot;
mod team;
mod user;

use crate::{Module, resource};

/// The modules of this room.
pub(super) fn all() -> Vec<Box<dyn Module>> {
    let mut all: Vec<Box<dyn Module>> = vec![
        resource::<default_permission::QuayDefaultPermission>(),
        resource::<mirror::QuayMirror>(),
        resource::<organization::QuayOrganization>(),
        resource::<proxy_cache::QuayProxyCache>(),
        resource::<repository::QuayRepository>(),
        resource::<robot::QuayRobot>(),
        resource::<team::QuayTeam>(),
        resource::<user::QuayUser>(),
    ];
    all.extend(policy::all());
    all
}
