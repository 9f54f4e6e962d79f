use async_trait::async_trait;
use bollard::query_parameters::InspectContainerOptions;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::engine;
use crate::modules::{Action, CheckMode, ModuleError, Outcome, TaskContext};
use crate::value::{Map, Value};

/// Whether a container exists, and what the engine says of it.
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
        let container = match engine::look(cx, self.docker_host.as_deref()).await? {
            Some(docker) => {
                let answer = docker.inspect_container(&self.name, None::<InspectContainerOptions>).await;
                engine::found(answer)
                    .map_err(|e| engine::failure(&format!("looking for the container {}", self.name), &e))?
            }
            None => None,
        };
        Ok(Outcome::ok(Map::from_iter([
            ("exists".to_owned(), json!(container.is_some())),
            ("container".to_owned(), container.map_or(Value::Null, |c| engine::without_environment(&c))),
        ])))
    }
}
