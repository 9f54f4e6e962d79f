use std::collections::BTreeMap;

use async_trait::async_trait;
use bollard::models::{Volume, VolumeCreateRequest};
use bollard::query_parameters::RemoveVolumeOptions;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::container::{marked, unlike};
use super::engine;
use crate::args::Presence;
use crate::value::Map;
use crate::{Diff, ModuleError, Plan, Recorded, Resource, RunMode, TaskContext, state_of};

/// A named volume of the target's container engine.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DockerVolume {
    #[serde(alias = "name")]
    volume_name: String,
    #[serde(default)]
    state: Presence,
    #[serde(default = "local")]
    driver: String,
    #[serde(default)]
    driver_options: BTreeMap<String, String>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    /// When a volume that is there is removed, with its data, and made anew.
    #[serde(default)]
    recreate: Recreate,
    /// The engine's address as the target sees it.
    docker_host: Option<String>,
    #[serde(skip)]
    mark: String,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Recreate {
    #[default]
    Never,
    OptionsChanged,
    Always,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Remove,
    Create,
}

fn local() -> String {
    "local".into()
}

impl DockerVolume {
    fn differs(&self, now: &Volume) -> bool {
        now.driver != self.driver
            || unlike(&self.driver_options, Some(&now.options)).next().is_some()
            || unlike(&self.labels, Some(&now.labels)).next().is_some()
    }
}

#[async_trait]
impl Resource for DockerVolume {
    const NAME: &'static str = "docker_volume";
    const FQCN: &'static [&'static str] = &["community.docker.docker_volume"];
    type Observed = Option<Volume>;
    type Step = Step;

    async fn prepare(&mut self, cx: &TaskContext) -> Result<(), ModuleError> {
        cx.controller.lab().clone_into(&mut self.mark);
        Ok(())
    }

    async fn observe(&self, cx: &TaskContext) -> Result<Self::Observed, ModuleError> {
        let Some(docker) = engine::look(cx, self.docker_host.as_deref()).await? else {
            return Ok(None);
        };
        engine::found(docker.inspect_volume(&self.volume_name).await)
            .map_err(|e| engine::failure(&format!("looking for the volume {}", self.volume_name), &e))
    }

    fn plan(&self, now: &Self::Observed, _: RunMode) -> Result<Plan<Step>, ModuleError> {
        let name = format!("volume {}", self.volume_name);
        let (steps, before, after) = match (self.state, now) {
            (Presence::Absent, None) => return Ok(Plan::default()),
            (Presence::Absent, Some(_)) => (vec![Step::Remove], "present\n", "absent\n"),
            (Presence::Present, None) => (vec![Step::Create], "absent\n", "present\n"),
            (Presence::Present, Some(volume)) => match self.recreate {
                Recreate::OptionsChanged if !self.differs(volume) => return Ok(Plan::default()),
                Recreate::Never if self.differs(volume) => {
                    return Err(ModuleError::failed(format!(
                        "the volume {} is there with other options",
                        self.volume_name
                    ))
                    .hint("recreate (options-changed for Docker, true for podman) makes it anew, without its data"));
                }
                Recreate::Never => return Ok(Plan::default()),
                _ => (vec![Step::Remove, Step::Create], "present\n", "made anew\n"),
            },
        };
        Ok(Plan::new(steps, vec![Diff::new(&name, before, after)]))
    }

    async fn apply(&self, step: &Step, cx: &TaskContext) -> Result<(), ModuleError> {
        let docker = engine::connect(cx, self.docker_host.as_deref()).await?;
        let done = match step {
            Step::Remove => docker.remove_volume(&self.volume_name, None::<RemoveVolumeOptions>).await,
            Step::Create => {
                let request = VolumeCreateRequest {
                    name: Some(self.volume_name.clone()),
                    driver: Some(self.driver.clone()),
                    driver_opts: Some(self.driver_options.clone().into_iter().collect()),
                    labels: Some(marked(&self.labels, &self.mark)),
                    ..VolumeCreateRequest::default()
                };
                docker.create_volume(request).await.map(drop)
            }
        };
        done.map_err(|e| engine::failure(&format!("changing the volume {}", self.volume_name), &e))
    }

    fn result(&self, after: &Self::Observed) -> Map {
        let volume = after.as_ref().map_or(json!({}), |v| serde_json::to_value(v).unwrap_or_default());
        Map::from_iter([("volume".to_owned(), volume)])
    }

    fn recorded(&self, recorded: &Recorded) -> Option<Result<Self::Observed, ModuleError>> {
        state_of(recorded)
    }
}
