//! What Quay holds, declared: organizations, teams, robots, repositories, their permissions and where they come from.

mod access;
mod call;
mod capabilities_info;
mod default_permission;
mod image;
mod logs_export;
mod message;
mod mirror;
mod notification;
mod notification_method;
mod organization;
mod organization_mirror;
mod permission;
mod place;
mod policy;
mod proxy_cache;
mod repository;
mod robot;
mod search;
mod team;
mod user;

use crate::{Module, action, resource};

/// The modules of this room.
pub(super) fn all() -> Vec<Box<dyn Module>> {
    let mut all: Vec<Box<dyn Module>> = vec![
        action::<capabilities_info::QuayCapabilitiesInfo>(),
        action::<logs_export::QuayLogsExport>(),
        resource::<default_permission::QuayDefaultPermission>(),
        resource::<message::QuayMessage>(),
        resource::<mirror::QuayMirror>(),
        resource::<notification::QuayNotification>(),
        resource::<organization::QuayOrganization>(),
        resource::<organization_mirror::QuayOrganizationMirror>(),
        resource::<proxy_cache::QuayProxyCache>(),
        resource::<repository::QuayRepository>(),
        resource::<robot::QuayRobot>(),
        resource::<team::QuayTeam>(),
        resource::<user::QuayUser>(),
    ];
    all.extend(access::all());
    all.extend(image::all());
    all.extend(policy::all());
    all
}
