//! `MySQL` and `MariaDB`: databases, users and queries, over the connection to the target.

mod db;
mod login;
mod query;
mod text;
mod user;

use crate::{Module, action, native};

/// The modules of this room.
pub(super) fn all() -> Vec<Box<dyn Module>> {
    vec![native::<db::MysqlDb>(), action::<query::MysqlQuery>(), native::<user::MysqlUser>()]
}
