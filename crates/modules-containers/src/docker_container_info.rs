use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::engine;
use super::engine_kind::EngineKind;
use super::podman::Service;
use crate::value::{Map, Value};
use crate::{Action, CheckMode, ModuleError, Outcome, TaskContext};

/// Whether a container exists, and what the engine says of it. A container of podman's exists as long as a unit brings it up.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DockerContainerInfo {
    name: String,
    /// The engine's address as the target sees it.
    docker_host: Option<String>,
}

#[async_trait]
impl Action for DockerContainerInfo {
    const NAME: &'static str = "docker_container_info";
    const FQCN: &'static [&'static str] = &["community.docker.docker_container_info"];
    const CHECK: CheckMode = CheckMode::Runs;

    async fn run(self, cx: &TaskContext) -> Result<Outcome, ModuleError> {
        let docker = engine::look(cx, self.docker_host.as_deref()).await?;
        let container = match &docker {
            Some(docker) => engine::container(docker, &self.name)
                .await
                .map_err(|e| engine::failure(&format!("looking for the container {}", self.name), &e))?,
            None => None,
        };
        // Between an end and the next start there is none.
        let is_podmans = docker.is_some_and(|d| d.kind == EngineKind::Podman);
        let exists = container.is_some() || (is_podmans && Service::of(cx, &self.name).await?.is_some());
        Ok(Outcome::ok(Map::from_iter([
            ("exists".to_owned(), json!(exists)),
            ("container".to_owned(), container.map_or(Value::Null, |c| engine::without_environment(&c))),
        ])))
    }
}
