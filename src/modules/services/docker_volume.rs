use std::collections::{BTreeMap, HashMap};

use async_trait::async_trait;
use bollard::models::{Volume, VolumeCreateRequest};
use bollard::query_parameters::RemoveVolumeOptions;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::engine;
use crate::modules::{Diff, ModuleError, NativePlan, NativeResource, TaskContext};
use crate::value::Map;

/// A named volume of the target's container engine.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DockerVolume {
    #[serde(alias = "name")]
    volume_name: String,
    #[serde(default)]
    state: State,
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
#[serde(rename_all = "lowercase")]
enum State {
    #[default]
    Present,
    Absent,
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
        let missing = |asked: &BTreeMap<String, String>, was: &HashMap<String, String>| {
            asked.iter().any(|(name, value)| was.get(name) != Some(value))
        };
        now.driver != self.driver
            || missing(&self.driver_options, &now.options)
            || missing(&self.labels, &now.labels)
    }
}

#[async_trait]
impl NativeResource for DockerVolume {
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

    fn plan(&self, now: &Self::Observed) -> Result<NativePlan<Step>, ModuleError> {
        let name = format!("volume {}", self.volume_name);
        let (steps, before, after) = match (self.state, now) {
            (State::Absent, None) => return Ok(NativePlan::default()),
            (State::Absent, Some(_)) => (vec![Step::Remove], "present\n", "absent\n"),
            (State::Present, None) => (vec![Step::Create], "absent\n", "present\n"),
            (State::Present, Some(volume)) => match self.recreate {
                Recreate::OptionsChanged if !self.differs(volume) => return Ok(NativePlan::default()),
                Recreate::Never if self.differs(volume) => {
                    return Err(ModuleError::failed(format!(
                        "the volume {} is there with other options",
                        self.volume_name
                    ))
                    .hint("recreate: options-changed makes it anew, without its data"));
                }
                Recreate::Never => return Ok(NativePlan::default()),
                _ => (vec![Step::Remove, Step::Create], "present\n", "made anew\n"),
            },
        };
        Ok(NativePlan { steps, diff: vec![Diff::new(&name, before, after)] })
    }

    async fn apply(&self, step: &Step, cx: &TaskContext) -> Result<(), ModuleError> {
        let docker = engine::connect(cx, self.docker_host.as_deref()).await?;
        let done = match step {
            Step::Remove => docker.remove_volume(&self.volume_name, None::<RemoveVolumeOptions>).await,
            Step::Create => {
                let mut labels: HashMap<String, String> = self.labels.clone().into_iter().collect();
                labels.insert(super::container::MARK.into(), self.mark.clone());
                let request = VolumeCreateRequest {
                    name: Some(self.volume_name.clone()),
                    driver: Some(self.driver.clone()),
                    driver_opts: Some(self.driver_options.clone().into_iter().collect()),
                    labels: Some(labels),
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
}
