//! Modules for what keeps data: databases, Redis, object storage.

use quaylab_base::value;
use quaylab_host as host;
#[cfg(test)]
use quaylab_module::from_args;
use quaylab_module::{
    Action, CheckMode, Diff, Module, ModuleError, Outcome, Plan, Recorded, Resource, RunMode, TaskContext,
    action, args, resource, state_of,
};
use quaylab_modules_clients::{sql, web, words};
use quaylab_quay as quay;

mod ceph_rgw_user;
mod mysql;
mod postgres;
mod postgresql_db;
mod postgresql_ext;
mod postgresql_ping;
mod postgresql_query;
mod postgresql_user;
mod redis_info;
mod s3_bucket;
mod s3_lifecycle;
mod storage;

/// The modules of this family.
pub fn all() -> Vec<Box<dyn Module>> {
    let mut all: Vec<Box<dyn Module>> = vec![
        resource::<ceph_rgw_user::CephRgwUser>(),
        resource::<postgresql_db::PostgresqlDb>(),
        resource::<postgresql_ext::PostgresqlExt>(),
        action::<postgresql_ping::PostgresqlPing>(),
        action::<postgresql_query::PostgresqlQuery>(),
        resource::<postgresql_user::PostgresqlUser>(),
        action::<redis_info::RedisInfo>(),
        resource::<s3_bucket::S3Bucket>(),
        resource::<s3_lifecycle::S3Lifecycle>(),
    ];
    all.extend(mysql::all());
    all
}
