//! `MySQL` and `MariaDB`: databases, users and queries, over the connection to the target.

mod db;
mod login;
mod query;
mod text;
mod user;

use crate::{Module, action, resource};

/// The modules of this room.
pub(super) fn all() -> Vec<Box<dyn Module>> {
    vec![resource::<db::MysqlDb>(), action::<query::MysqlQuery>(), resource::<user::MysqlUser>()]
}
