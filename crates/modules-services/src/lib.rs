//! Modules for what is reached through a client of its own: containers, databases, registries.

use quaylab_base::{archive, diag, store, value};
use quaylab_host as host;
use quaylab_http as http;
use quaylab_lab as lab;
use quaylab_module::{
    Action, CheckMode, Diff, FileKind, Mode, Module, ModuleError, NativePlan, NativeResource, Outcome, Plan,
    RemotePath, Resource, TaskContext, action, args, from_args, native, resource,
};
use quaylab_quay as quay;

mod ceph_rgw_user;
mod clair_check;
mod container;
mod container_diagnosis;
mod docker_config;
mod docker_container;
mod docker_container_info;
mod docker_host_info;
mod docker_image;
mod docker_image_push;
mod docker_login;
mod docker_network;
mod docker_volume;
mod engine;
mod engine_kind;
mod image;
mod lab_certificate;
mod last_words;
mod mysql;
mod podman;
mod postgres;
mod postgresql_db;
mod postgresql_ext;
mod postgresql_ping;
mod postgresql_query;
mod postgresql_user;
mod quay_api;
mod quay_config_check;
mod quay_first_user;
mod quay_health;
mod redis_info;
mod registry_check;
mod s3_bucket;
mod s3_lifecycle;
mod sql;
mod storage;
mod uri;
mod web;
mod words;

pub use image::archived_names;

/// The modules of this family.
pub fn all() -> Vec<Box<dyn Module>> {
    let mut all = vec![
        native::<ceph_rgw_user::CephRgwUser>(),
        action::<clair_check::ClairCheck>(),
        action::<container_diagnosis::ContainerDiagnosis>(),
        native::<docker_container::DockerContainer>(),
        action::<docker_container_info::DockerContainerInfo>(),
        action::<docker_host_info::DockerHostInfo>(),
        native::<docker_image::DockerImage>(),
        native::<docker_image_push::DockerImagePush>(),
        native::<docker_login::DockerLogin>(),
        native::<docker_network::DockerNetwork>(),
        native::<docker_volume::DockerVolume>(),
        native::<lab_certificate::LabCertificate>(),
        native::<postgresql_db::PostgresqlDb>(),
        native::<postgresql_ext::PostgresqlExt>(),
        action::<postgresql_ping::PostgresqlPing>(),
        action::<postgresql_query::PostgresqlQuery>(),
        native::<postgresql_user::PostgresqlUser>(),
        action::<quay_config_check::QuayConfigCheck>(),
        action::<quay_first_user::QuayFirstUser>(),
        action::<quay_health::QuayHealth>(),
        action::<redis_info::RedisInfo>(),
        action::<registry_check::RegistryCheck>(),
        native::<s3_bucket::S3Bucket>(),
        native::<s3_lifecycle::S3Lifecycle>(),
        action::<uri::Uri>(),
    ];
    all.extend(mysql::all());
    all.extend(podman::all());
    all.extend(quay_api::all());
    all
}
