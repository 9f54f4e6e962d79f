use std::collections::BTreeMap;

use async_trait::async_trait;
use bollard::models::ContainerInspectResponse;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, de};
use serde_json::json;

use super::container::{
    ContainerSpec, Difference, NetworkArg, RestartPolicyArg, body, differences, like_dockers,
};
use super::engine_kind::EngineKind;
use super::{docker_image, engine, image};
use crate::value::{Map, Value, truth};
use crate::words::{self, Words};
use crate::{Diff, ModuleError, Plan, Recorded, Resource, RunMode, TaskContext, state_of};

mod carry;

pub(super) use carry::hint;

/// A container. It is made anew when it differs in something that was asked for.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DockerContainer {
    name: String,
    image: Option<String>,
    #[serde(default)]
    state: State,
    /// Environment variables. Values of those whose name sounds like a secret are not shown in differences.
    #[serde(default)]
    env: BTreeMap<String, String>,
    /// `[[IP:]HOST:]CONTAINER[/PROTOCOL]`.
    #[serde(default, alias = "ports")]
    published_ports: Vec<String>,
    /// `SOURCE:TARGET[:OPTIONS]`, the source a path or a volume's name.
    #[serde(default)]
    volumes: Vec<String>,
    #[serde(default)]
    tmpfs: Vec<String>,
    #[serde(default)]
    networks: Vec<NetworkArg>,
    network_mode: Option<String>,
    restart_policy: Option<RestartPolicyArg>,
    restart_retries: Option<i64>,
    command: Option<Words>,
    entrypoint: Option<Words>,
    user: Option<String>,
    hostname: Option<String>,
    working_dir: Option<String>,
    privileged: Option<bool>,
    init: Option<bool>,
    read_only: Option<bool>,
    #[serde(default)]
    capabilities: Vec<String>,
    #[serde(default)]
    cap_drop: Vec<String>,
    #[serde(default)]
    security_opts: Vec<String>,
    #[serde(default)]
    sysctls: BTreeMap<String, String>,
    /// Names and their addresses for the container's `/etc/hosts`.
    #[serde(default)]
    etc_hosts: BTreeMap<String, String>,
    log_driver: Option<String>,
    #[serde(default, alias = "log_opt")]
    log_options: BTreeMap<String, String>,
    /// The most memory it may have, such as `512m`.
    memory: Option<String>,
    shm_size: Option<String>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    /// Stop and start it although nothing differs.
    #[serde(default)]
    restart: bool,
    /// Make it anew although nothing differs.
    #[serde(default)]
    recreate: bool,
    /// Pull the image: when it is missing, always, or never.
    #[serde(default)]
    pull: Pull,
    /// Seconds before a stopping container is killed.
    stop_timeout: Option<i32>,
    /// Keep the anonymous volumes of a container that is removed.
    #[serde(default)]
    keep_volumes: bool,
    /// The engine's address as the target sees it.
    docker_host: Option<String>,
    #[serde(skip)]
    lab: String,
    #[serde(skip)]
    memory_bytes: Option<i64>,
    #[serde(skip)]
    shm_bytes: Option<i64>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum State {
    Absent,
    Present,
    Stopped,
    #[default]
    Started,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Pull {
    #[default]
    Missing,
    Always,
    Never,
}

impl<'de> Deserialize<'de> for Pull {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        match (truth(&value), value.as_str()) {
            (Some(true), _) | (_, Some("always")) => Ok(Self::Always),
            (Some(false), _) | (_, Some("missing")) => Ok(Self::Missing),
            (_, Some("never")) => Ok(Self::Never),
            _ => Err(de::Error::custom(format!("pull is missing, always or never, not {value}"))),
        }
    }
}

/// What the engine has under these names.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Found {
    container: Option<ContainerInspectResponse>,
    /// The ID of the image that is asked for.
    image: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Pull,
    Stop,
    Remove,
    Create,
    Start,
    Restart,
}

impl DockerContainer {
    fn image(&self) -> Option<String> {
        self.image.as_ref().map(|name| image::reference(name, "latest"))
    }

    fn spec(&self) -> ContainerSpec {
        ContainerSpec {
            image: self.image().unwrap_or_default(),
            env: self.env.clone(),
            published_ports: self.published_ports.clone(),
            volumes: self.volumes.clone(),
            tmpfs: self.tmpfs.clone(),
            networks: self.networks.clone(),
            network_mode: self.network_mode.clone(),
            restart_policy: self.restart_policy,
            restart_retries: self.restart_retries,
            command: self.command.clone(),
            entrypoint: self.entrypoint.clone(),
            user: self.user.clone(),
            hostname: self.hostname.clone(),
            working_dir: self.working_dir.clone(),
            privileged: self.privileged,
            init: self.init,
            read_only: self.read_only,
            capabilities: self.capabilities.clone(),
            cap_drop: self.cap_drop.clone(),
            security_opts: self.security_opts.clone(),
            sysctls: self.sysctls.clone(),
            etc_hosts: self.etc_hosts.clone(),
            log_driver: self.log_driver.clone(),
            log_options: self.log_options.clone(),
            memory: self.memory_bytes,
            shm_size: self.shm_bytes,
            labels: self.labels.clone(),
        }
    }

    /// The steps that make the container anew, with the image if it is missing.
    fn creation(&self, now: &Found) -> Result<Vec<Step>, ModuleError> {
        let Some(image) = self.image() else {
            return Err(ModuleError::Arguments(format!(
                "there is no container {}; image is needed to make it",
                self.name
            )));
        };
        match (&now.image, self.pull) {
            (Some(_), _) => Ok(vec![Step::Create]),
            (None, Pull::Never) => {
                Err(ModuleError::failed(format!("there is no image {image} in the engine"))
                    .hint("load or pull it with docker_image before, or leave pull at missing"))
            }
            (None, _) => Ok(vec![Step::Pull, Step::Create]),
        }
    }

    fn plan_present(&self, now: &Found) -> Result<Plan<Step>, ModuleError> {
        let title = format!("container {}", self.name);
        let Some(container) = &now.container else {
            let mut steps = self.creation(now)?;
            steps.extend((self.state == State::Started).then_some(Step::Start));
            let diff = Diff::new(&title, "absent\n", format!("{}\n", self.state.word()));
            return Ok(Plan::new(steps, vec![diff]));
        };
        let mut found = differences(&self.spec(), container, now.image.as_deref());
        if now.image.is_none() && self.image.is_some() && self.pull != Pull::Never {
            // The name means an image that is not there (any more): it can only be another one.
            let is_named = container.config.as_ref().and_then(|c| c.image.as_deref());
            if is_named != self.image.as_deref() && is_named != self.image().as_deref() {
                let before = is_named.unwrap_or("none").to_owned();
                let after = self.image().unwrap_or_default();
                found.push(Difference { what: "image".into(), before, after });
            }
        }
        let running = container.state.as_ref().and_then(|s| s.running).unwrap_or(false);
        let failing = container.state.as_ref().and_then(|s| s.restarting).unwrap_or(false);
        let mut steps = Vec::new();
        let recreated = self.recreate || !found.is_empty();
        if recreated {
            steps.extend(running.then_some(Step::Stop));
            steps.push(Step::Remove);
            steps.extend(self.creation(now)?);
        }
        let stays = running && !recreated;
        match self.state {
            State::Started if !stays => {
                steps.push(Step::Start);
                found.extend((!recreated).then(|| state_difference("stopped", "started")));
            }
            // The engine tries a failing one again after ever longer times, although what it lacked may be there by now.
            State::Started if self.restart || failing => {
                steps.push(Step::Restart);
                found.push(state_difference(if failing { "failing" } else { "started" }, "restarted"));
            }
            State::Stopped if stays => {
                steps.push(Step::Stop);
                found.push(state_difference("started", "stopped"));
            }
            _ => {}
        }
        if steps.is_empty() {
            return Ok(Plan::default());
        }
        if self.recreate && found.is_empty() {
            found.push(state_difference("as asked", "made anew"));
        }
        let side = |pick: fn(&Difference) -> &str| {
            let lines: Vec<String> = found.iter().map(|d| format!("{}: {}", d.what, pick(d))).collect();
            lines.join("\n") + "\n"
        };
        let diff = Diff::new(&title, side(|d| &d.before), side(|d| &d.after));
        // A missing image is fetched before anything is taken away.
        if let Some(at) = steps.iter().position(|s| *s == Step::Pull) {
            steps.remove(at);
            steps.insert(0, Step::Pull);
        }
        Ok(Plan::new(steps, vec![diff]))
    }
}

fn state_difference(before: &str, after: &str) -> Difference {
    Difference { what: "state".into(), before: before.into(), after: after.into() }
}

impl State {
    fn word(self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Present => "present",
            Self::Stopped => "stopped",
            Self::Started => "started",
        }
    }
}

#[async_trait]
impl Resource for DockerContainer {
    const NAME: &'static str = "docker_container";
    const FQCN: &'static [&'static str] = &["community.docker.docker_container"];
    type Observed = Found;
    type Step = Step;

    fn validate(&self) -> Result<(), ModuleError> {
        for amount in [&self.memory, &self.shm_size].into_iter().flatten() {
            words::bytes(amount).map_err(ModuleError::Arguments)?;
        }
        body(&self.spec(), "").map(drop).map_err(ModuleError::Arguments)
    }

    const PREPARE_CHANGES: bool = true;

    async fn prepare(&mut self, cx: &TaskContext) -> Result<(), ModuleError> {
        cx.controller.lab().clone_into(&mut self.lab);
        self.memory_bytes = self.memory.as_deref().and_then(|m| words::bytes(m).ok());
        self.shm_bytes = self.shm_size.as_deref().and_then(|m| words::bytes(m).ok());
        if self.pull == Pull::Always
            && self.state != State::Absent
            && !cx.mode.check
            && let Some(image) = self.image()
        {
            // Whether a newer image makes the container differ is known only once the image is here.
            let docker = engine::connect(cx, self.docker_host.as_deref()).await?;
            image::pull(cx, &docker, &image, None, None).await?;
        }
        Ok(())
    }

    async fn observe(&self, cx: &TaskContext) -> Result<Found, ModuleError> {
        let Some(docker) = engine::look(cx, self.docker_host.as_deref()).await? else {
            return Ok(Found::default());
        };
        let mut container = engine::container(&docker, &self.name)
            .await
            .map_err(|e| engine::failure(&format!("looking for the container {}", self.name), &e))?;
        if docker.kind == EngineKind::Podman
            && let Some(container) = &mut container
        {
            like_dockers(container, &self.spec());
        }
        let image = match self.image() {
            Some(name) => docker_image::inspect(&docker, &name).await?.map(|i| i.id().to_owned()),
            None => None,
        };
        Ok(Found { container, image })
    }

    fn plan(&self, now: &Found, _: RunMode) -> Result<Plan<Step>, ModuleError> {
        match (self.state, &now.container) {
            (State::Absent, None) => Ok(Plan::default()),
            (State::Absent, Some(container)) => {
                let running = container.state.as_ref().and_then(|s| s.running).unwrap_or(false);
                let steps = running.then_some(Step::Stop).into_iter().chain([Step::Remove]).collect();
                let diff = Diff::new(&format!("container {}", self.name), "present\n", "absent\n");
                Ok(Plan::new(steps, vec![diff]))
            }
            _ => self.plan_present(now),
        }
    }

    async fn apply(&self, step: &Step, cx: &TaskContext) -> Result<(), ModuleError> {
        self.carry_out(*step, cx).await
    }

    fn result(&self, after: &Found) -> Map {
        let container = after.container.as_ref().map_or(json!({}), engine::without_environment);
        Map::from_iter([("container".to_owned(), container)])
    }

    fn recorded(&self, recorded: &Recorded) -> Option<Result<Self::Observed, ModuleError>> {
        state_of(recorded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::from_args;

    fn container(args: Value) -> DockerContainer {
        let Value::Object(args) = args else { panic!("an object") };
        from_args(args).expect("arguments")
    }

    fn there(running: bool, image: Option<&str>) -> Found {
        let inspect = json!({
            "Image": "sha256:1", "State": {"Running": running}, "Config": {"Image": "a", "User": "5"}
        });
        let container = serde_json::from_value(inspect).expect("an answer of the engine's");
        Found { container: Some(container), image: image.map(str::to_owned) }
    }

    #[test]
    fn containers_are_planned() {
        use Step::{Create, Pull, Remove, Restart, Start, Stop};
        let missing = Found { container: None, image: Some("sha256:1".into()) };
        let mut failing = there(true, Some("sha256:1"));
        let state = failing.container.as_mut().and_then(|c| c.state.as_mut());
        state.expect("a state").restarting = Some(true);
        let cases = vec![
            (json!({"name": "c", "image": "a"}), missing.clone(), vec![Create, Start]),
            (json!({"name": "c", "image": "a"}), Found::default(), vec![Pull, Create, Start]),
            (json!({"name": "c", "image": "a", "state": "present"}), missing, vec![Create]),
            (json!({"name": "c", "image": "a"}), there(true, Some("sha256:1")), vec![]),
            (json!({"name": "c"}), there(true, None), vec![]),
            (json!({"name": "c", "image": "a"}), there(true, None), vec![]),
            (json!({"name": "c", "image": "b"}), there(true, None), vec![Pull, Stop, Remove, Create, Start]),
            (json!({"name": "c", "image": "a"}), there(false, Some("sha256:1")), vec![Start]),
            (json!({"name": "c", "image": "a", "state": "present"}), there(false, Some("sha256:1")), vec![]),
            (
                json!({"name": "c", "image": "a"}),
                there(true, Some("sha256:2")),
                vec![Stop, Remove, Create, Start],
            ),
            (json!({"name": "c", "image": "a", "user": 5}), there(true, Some("sha256:1")), vec![]),
            (
                json!({"name": "c", "image": "a", "restart": true}),
                there(true, Some("sha256:1")),
                vec![Restart],
            ),
            (
                json!({"name": "c", "image": "a", "recreate": true, "state": "stopped"}),
                there(true, Some("sha256:1")),
                vec![Stop, Remove, Create],
            ),
            (json!({"name": "c", "image": "a"}), failing.clone(), vec![Restart]),
            (json!({"name": "c", "state": "present"}), failing.clone(), vec![]),
            (json!({"name": "c", "state": "stopped"}), failing, vec![Stop]),
            (json!({"name": "c", "state": "stopped"}), there(true, None), vec![Stop]),
            (json!({"name": "c", "state": "absent"}), there(true, None), vec![Stop, Remove]),
            (json!({"name": "c", "state": "absent"}), Found::default(), vec![]),
        ];
        for (args, now, steps) in cases {
            let plan = container(args.clone()).plan(&now, RunMode::default()).expect("plan");
            assert_eq!(plan.steps, steps, "{args}");
            assert_eq!(plan.diff.is_empty(), steps.is_empty(), "{args}");
        }
    }

    #[test]
    fn a_difference_is_shown() {
        let args = json!({"name": "c", "user": "7", "env": {"A_PASSWORD": "geheim"}});
        let mut plan_args = container(args);
        plan_args.image = Some("a".into());
        let plan = plan_args.plan(&there(true, Some("sha256:1")), RunMode::default()).expect("plan");
        assert_eq!(plan.diff[0].before, "user: 5\nenv A_PASSWORD: none\n");
        assert_eq!(plan.diff[0].after, "user: 7\nenv A_PASSWORD: ********\n");
    }

    #[test]
    fn what_cannot_be_made_is_said() {
        for (args, message) in [
            (json!({"name": "c"}), "there is no container c; image is needed to make it"),
            (json!({"name": "c", "image": "a", "pull": "never"}), "there is no image a:latest in the engine"),
        ] {
            assert_eq!(
                container(args).plan(&Found::default(), RunMode::default()).expect_err("no plan").to_string(),
                message
            );
        }
        let wrong = container(json!({"name": "c", "image": "a", "memory": "lots"}));
        assert!(wrong.validate().is_err());
        let wrong = container(json!({"name": "c", "image": "a", "ports": "x:80"}));
        assert!(wrong.validate().is_err());
    }
}
