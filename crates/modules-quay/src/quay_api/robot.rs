use async_trait::async_trait;
use serde_json::json;

use super::call::{Call, look, plan, text, with_quay};
use super::place::Place;
use crate::args::Presence;
use crate::docker_config::DockerConfig;
use crate::host::{Script, Secret, contents, quote};
use crate::http::percent;
use crate::quay::Verb;
use crate::value::Map;
use crate::{ModuleError, Plan, RemotePath, Resource, RunMode, TaskContext};

with_quay! {
    /// A robot account, and the Docker configuration file with which a machine logs in as it.
    pub(super) struct QuayRobot {
        /// `ORGANIZATION+NAME`, or a name alone for a robot of the user who asks.
        name: String,
        description: Option<String>,
        /// Where on the target its login is written for docker and podman (mode 0600); logins for other registries stay.
        docker_config: Option<RemotePath>,
        /// The registry's name in that file; by default that of `quay_host`.
        registry: Option<String>,
        /// Make a new token; every login with the old one ends.
        #[serde(default)]
        regenerate: bool,
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    name: String,
    token: Secret,
    /// The file as it is, where one was asked for.
    config: Vec<u8>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Task {
    Call(Call),
    /// Writes the file anew with whatever token there is by then.
    Write,
}

impl QuayRobot {
    fn path(&self) -> String {
        match self.name.split_once('+') {
            Some((organization, short)) => {
                format!("organization/{}/robots/{}", percent(organization, false), percent(short, false))
            }
            None => format!("user/robots/{}", percent(&self.name, false)),
        }
    }

    fn registry(&self) -> String {
        let host = self.quay_host.split_once("://").map_or(self.quay_host.as_str(), |(_, rest)| rest);
        self.registry.clone().unwrap_or_else(|| host.trim_end_matches('/').to_owned())
    }

    /// The file with this robot's login in it.
    fn configuration(&self, found: &Found) -> Result<DockerConfig, ModuleError> {
        let mut config = self.now(found)?;
        config.put(&self.registry(), &found.name, &found.token);
        Ok(config)
    }

    fn now(&self, found: &Found) -> Result<DockerConfig, ModuleError> {
        DockerConfig::read(&found.config, &self.shown_file())
    }

    fn shown_file(&self) -> String {
        self.docker_config.as_ref().map(ToString::to_string).unwrap_or_default()
    }

    /// Whether the file lets this robot in already.
    fn is_written(&self, found: &Found) -> bool {
        let held = self.now(found).ok().and_then(|config| config.login(&self.registry()));
        self.docker_config.is_none() || held == Some((found.name.clone(), found.token.clone()))
    }
}

#[async_trait]
impl Resource for QuayRobot {
    const NAME: &'static str = "quay_robot";
    const FQCN: &'static [&'static str] = &["quaylab.lab.quay_robot", "infra.quay_configuration.quay_robot"];
    type Observed = Option<Found>;
    type Step = Task;

    async fn observe(&self, cx: &TaskContext) -> Result<Option<Found>, ModuleError> {
        let quay = self.quay(cx)?;
        let looked = match self.name.split_once('+') {
            Some((organization, _)) => {
                Place::namespace(organization).look(cx, &quay, &self.path(), self.state).await
            }
            None => look(cx, &quay, &self.path()).await,
        };
        let answer = match looked {
            // Quay says so of a robot that is not there.
            Err(ModuleError::Failed { message, .. })
                if message.to_lowercase().contains("could not find robot") =>
            {
                None
            }
            other => other?,
        };
        let Some(robot) = answer else { return Ok(None) };
        let config = match &self.docker_config {
            None => Vec::new(),
            Some(path) => {
                let script = Script::new(contents(&quote(path.as_str())));
                cx.shell.run(&script).await?.stdout
            }
        };
        Ok(Some(Found {
            name: text(&robot, "name").unwrap_or_else(|| self.name.clone()),
            token: Secret(text(&robot, "token").unwrap_or_default()),
            config,
        }))
    }

    fn plan(&self, now: &Option<Found>, _: RunMode) -> Result<Plan<Task>, ModuleError> {
        let title = format!("robot {}", self.name);
        let name = &self.name;
        let mut tasks = Vec::new();
        match (self.state, now) {
            (Presence::Absent, Some(_)) => {
                tasks.push(Task::Call(Call::new(
                    Verb::Delete,
                    self.path(),
                    None,
                    format!("removing the robot {name}"),
                )));
            }
            (Presence::Present, None) => {
                let body = json!({"description": self.description.clone().unwrap_or_default()});
                tasks.push(Task::Call(Call::new(
                    Verb::Put,
                    self.path(),
                    Some(body),
                    format!("making the robot {name}"),
                )));
            }
            (Presence::Present, Some(_)) if self.regenerate => {
                let path = format!("{}/regenerate", self.path());
                tasks.push(Task::Call(Call::new(
                    Verb::Post,
                    path,
                    Some(json!({})),
                    format!("a new token for {name}"),
                )));
            }
            (Presence::Absent, None) | (Presence::Present, Some(_)) => {}
        }
        let stale = self.state == Presence::Present
            && self.docker_config.is_some()
            && now.as_ref().is_none_or(|found| self.regenerate || !self.is_written(found));
        tasks.extend(stale.then_some(Task::Write));
        let before = if now.is_some() { "present" } else { "absent" };
        let after = match (self.state, stale) {
            (Presence::Absent, _) => "absent".to_owned(),
            (_, true) => format!("present, login in {}", self.shown_file()),
            _ => "present".to_owned(),
        };
        Ok(plan(&title, tasks, before, &after))
    }

    async fn apply(&self, step: &Task, cx: &TaskContext) -> Result<(), ModuleError> {
        let call = match step {
            Task::Call(call) => call,
            Task::Write => {
                let found = self.observe(cx).await?;
                let (Some(found), Some(path)) = (found, &self.docker_config) else { return Ok(()) };
                return self.configuration(&found)?.write(path, cx).await;
            }
        };
        call.send(&*self.quay(cx)?).await.map(drop)
    }

    fn result(&self, after: &Option<Found>) -> Map {
        let name = after.as_ref().map_or(&self.name, |f| &f.name);
        Map::from_iter([("name".to_owned(), json!(name)), ("exists".to_owned(), json!(after.is_some()))])
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    use super::*;
    use crate::from_args;
    use crate::value::Value;

    #[test]
    fn a_login_is_added_to_the_file() {
        let args = json!({
            "name": "lab+puller", "quay_host": "https://quay.lab.lan/", "quay_token": "t", "docker_config": "/root/.docker/config.json"
        });
        let Value::Object(args) = args else { panic!("a mapping") };
        let robot: QuayRobot = from_args(args).expect("arguments");
        let found = |config: &str| Found {
            name: "lab+puller".into(),
            token: Secret("tok".into()),
            config: config.as_bytes().to_vec(),
        };
        let old = found(r#"{"auths": {"other": {"auth": "x"}}, "credsStore": "y"}"#);
        assert!(!robot.is_written(&old));
        let config = robot.configuration(&old).expect("a file");
        assert_eq!(config.login("quay.lab.lan"), Some(("lab+puller".into(), Secret("tok".into()))));
        let auth = STANDARD.encode("lab+puller:tok");
        let written = json!({"auths": {"quay.lab.lan": {"auth": auth}}}).to_string();
        assert!(robot.is_written(&found(&written)));
        assert!(robot.configuration(&found("nonsense")).is_err());
        assert_eq!(robot.plan(&None, RunMode::default()).expect("a plan").steps.len(), 2);
        assert_eq!(robot.plan(&Some(found(&written)), RunMode::default()).expect("a plan").steps, []);
    }
}
