//! Who gets in, and with what: applications, tokens, keys, teams that a directory fills.

use super::{call, place};
use crate::{Module, action, resource};

mod api_token;
mod application;
mod docker_token;
mod service_key;
mod sync;
mod team_ldap;
mod team_oidc;

/// The modules of this room.
pub(super) fn all() -> Vec<Box<dyn Module>> {
    vec![
        action::<api_token::QuayApiToken>(),
        resource::<application::QuayApplication>(),
        resource::<docker_token::QuayDockerToken>(),
        resource::<service_key::QuayServiceKey>(),
        resource::<team_ldap::QuayTeamLdap>(),
        resource::<team_oidc::QuayTeamOidc>(),
    ]
}
