use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::engine;
use crate::value::Map;
use crate::{Action, CheckMode, ModuleError, Outcome, TaskContext};

/// What the target's container engine says of itself; it fails where none answers.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DockerHostInfo {
    /// The engine's address as the target sees it.
    docker_host: Option<String>,
}

#[async_trait]
impl Action for DockerHostInfo {
    const NAME: &'static str = "docker_host_info";
    const FQCN: &'static [&'static str] = &["community.docker.docker_host_info"];
    const CHECK: CheckMode = CheckMode::Runs;

    async fn run(self, cx: &TaskContext) -> Result<Outcome, ModuleError> {
        let docker = engine::connect(cx, self.docker_host.as_deref()).await?;
        let info = docker.info().await.map_err(|e| engine::failure("asking the container engine", &e))?;
        Ok(Outcome::ok(Map::from_iter([
            ("can_talk_to_docker".to_owned(), json!(true)),
            ("host_info".to_owned(), serde_json::to_value(info).unwrap_or_default()),
        ])))
    }
}
