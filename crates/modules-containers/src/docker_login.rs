use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::engine;
use crate::args::Presence;
use crate::docker_config::{DockerConfig, HUB};
use crate::host::{Script, Secret, quote};
use crate::value::Map;
use crate::words::secret;
use crate::{Diff, ModuleError, Plan, RemotePath, Resource, RunMode, TaskContext};

/// The target's user is logged in to a registry: the engine has asked it, and the user's `config.json` (or the credential
/// helper that it names) holds the login.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DockerLogin {
    /// The registry, as `HOST` or `HOST:PORT`.
    #[serde(default = "hub", alias = "registry", alias = "url")]
    registry_url: String,
    username: Option<String>,
    #[schemars(with = "Option<String>")]
    #[serde(default, deserialize_with = "secret")]
    password: Option<Secret>,
    #[serde(default)]
    state: Presence,
    /// Ask the registry although this login is kept already.
    #[serde(default, alias = "reauth")]
    reauthorize: bool,
    /// The file that keeps it, by default the user's own `.docker/config.json`.
    #[serde(alias = "dockercfg_path")]
    config_path: Option<RemotePath>,
    /// The engine's address as the target sees it.
    docker_host: Option<String>,
}

fn hub() -> String {
    HUB.into()
}

/// Where the login is kept, and which.
#[derive(Debug, Clone)]
pub(super) struct Observed {
    path: RemotePath,
    config: DockerConfig,
    login: Option<(String, Secret)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Lets the engine ask the registry.
    Ask,
    Keep,
    Forget,
}

impl DockerLogin {
    fn given(&self) -> Option<(String, Secret)> {
        Some((self.username.clone()?, self.password.clone()?))
    }

    async fn config(&self, cx: &TaskContext) -> Result<(RemotePath, DockerConfig), ModuleError> {
        let file = match &self.config_path {
            Some(path) => format!("f={}", quote(path.as_str())),
            None => "f=${DOCKER_CONFIG:-$HOME/.docker}/config.json".to_owned(),
        };
        let script = Script::new(format!("{file}; printf '%s\\n' \"$f\"; [ ! -f \"$f\" ] || cat -- \"$f\""));
        let reply = cx.shell.probe(&cx.within(script)).await?;
        if !reply.ok() {
            return Err(ModuleError::failed(format!("reading who is logged in: {}", reply.err().trim())));
        }
        let end = reply.stdout.iter().position(|b| *b == b'\n').unwrap_or(reply.stdout.len());
        let (name, text) = reply.stdout.split_at(end);
        let path = RemotePath::try_from(String::from_utf8_lossy(name).into_owned())
            .map_err(|e| ModuleError::failed(format!("the file of logins: {e}")).hint("set config_path"))?;
        let config = DockerConfig::read(text, path.as_str())?;
        Ok((path, config))
    }

    /// Speaks to a credential helper of Docker's
    /// (<https://github.com/docker/docker-credential-helpers>): one word, JSON or a name on its input.
    async fn helper(
        &self,
        cx: &TaskContext,
        name: &str,
        word: &str,
        input: String,
    ) -> Result<Vec<u8>, ModuleError> {
        let program = format!("docker-credential-{name}");
        let script = Script { stdin: input.into_bytes(), ..Script::argv([program.as_str(), word]) };
        let script = cx.within(script);
        let reply =
            if word == "get" { cx.shell.probe(&script).await? } else { cx.shell.run(&script).await? };
        let said = format!("{} {}", reply.out(), reply.err());
        // Helpers say so of a registry that they keep nothing for.
        if reply.ok() || said.contains("credentials not found") {
            return Ok(if reply.ok() { reply.stdout } else { Vec::new() });
        }
        Err(ModuleError::failed(format!("{program} {word}: {}", said.trim())).hint(
            "the user's config.json names it in credsStore or credHelpers: install it, or name another file in config_path",
        ))
    }

    async fn kept(
        &self,
        cx: &TaskContext,
        config: &DockerConfig,
    ) -> Result<Option<(String, Secret)>, ModuleError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Kept {
            username: String,
            secret: String,
        }
        let Some(name) = config.helper(&self.registry_url) else {
            return Ok(config.login(&self.registry_url));
        };
        let answer = self.helper(cx, name, "get", self.registry_url.clone()).await?;
        let kept: Option<Kept> = serde_json::from_slice(&answer).ok();
        Ok(kept.map(|k| (k.username, Secret(k.secret))))
    }
}

#[async_trait]
impl Resource for DockerLogin {
    const NAME: &'static str = "docker_login";
    const FQCN: &'static [&'static str] = &["community.docker.docker_login"];
    type Observed = Observed;
    type Step = Step;

    fn validate(&self) -> Result<(), ModuleError> {
        match (self.state, self.given()) {
            (Presence::Present, None) => {
                Err(ModuleError::Arguments("username and password are needed with state=present".into()))
            }
            (Presence::Present, Some((user, _))) if user.contains(':') => {
                Err(ModuleError::Arguments("a username holds no colon".into()))
            }
            _ => Ok(()),
        }
    }

    async fn observe(&self, cx: &TaskContext) -> Result<Observed, ModuleError> {
        let (path, config) = self.config(cx).await?;
        let login = self.kept(cx, &config).await?;
        let given = self.given().filter(|given| login.as_ref() == Some(given));
        if let (true, false, Some((user, password))) = (self.reauthorize, cx.mode.check, given) {
            engine::log_in(cx, self.docker_host.as_deref(), &self.registry_url, &user, &password).await?;
        }
        Ok(Observed { path, config, login })
    }

    fn plan(&self, now: &Observed, _: RunMode) -> Result<Plan<Step>, ModuleError> {
        let is_kept = now.login.is_some() && now.login == self.given();
        let steps = match self.state {
            Presence::Present if is_kept => Vec::new(),
            Presence::Present => vec![Step::Ask, Step::Keep],
            Presence::Absent if now.login.is_some() || now.config.names(&self.registry_url) => {
                vec![Step::Forget]
            }
            Presence::Absent => Vec::new(),
        };
        if steps.is_empty() {
            return Ok(Plan::default());
        }
        let wanted = self.username.clone().unwrap_or_default();
        let before = match &now.login {
            Some((user, _)) if *user == wanted => format!("{user}, with another password\n"),
            Some((user, _)) => format!("{user}\n"),
            None => "nobody\n".to_owned(),
        };
        let after = match self.state {
            Presence::Present => format!("{wanted}\n"),
            Presence::Absent => "nobody\n".to_owned(),
        };
        let name = format!("login to {} in {}", self.registry_url, now.path);
        Ok(Plan::new(steps, vec![Diff::new(&name, before, after)]))
    }

    async fn apply(&self, step: &Step, cx: &TaskContext) -> Result<(), ModuleError> {
        let registry = &self.registry_url;
        if let (Step::Ask, Some((user, password))) = (step, self.given()) {
            return engine::log_in(cx, self.docker_host.as_deref(), registry, &user, &password).await;
        }
        let (path, mut config) = self.config(cx).await?;
        let helper = config.helper(registry).map(str::to_owned);
        match (step, self.given(), helper) {
            (Step::Keep, Some((user, password)), Some(helper)) => {
                let login = json!({"ServerURL": registry, "Username": user, "Secret": password.0});
                self.helper(cx, &helper, "store", login.to_string()).await?;
                config.put_elsewhere(registry);
            }
            (Step::Keep, Some((user, password)), None) => config.put(registry, &user, &password),
            (Step::Forget, _, helper) => {
                if let Some(helper) = helper {
                    self.helper(cx, &helper, "erase", registry.clone()).await?;
                }
                config.remove(registry);
            }
            (Step::Ask | Step::Keep, _, _) => {}
        }
        config.write(&path, cx).await
    }

    fn result(&self, after: &Observed) -> Map {
        let user = after.login.as_ref().map(|(user, _)| user);
        Map::from_iter([
            ("registry_url".to_owned(), json!(self.registry_url)),
            ("username".to_owned(), json!(user)),
            ("config_path".to_owned(), json!(after.path.as_str())),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::from_args;
    use crate::value::Value;

    fn login(more: Value) -> DockerLogin {
        let args = json!({"registry": "quay.lan:8443", "username": "robot", "password": "pw:1"});
        let (Value::Object(mut args), Value::Object(more)) = (args, more) else { panic!("mappings") };
        args.extend(more);
        from_args(args).expect("arguments")
    }

    fn kept(user: &str, password: &str) -> Observed {
        let mut config = DockerConfig::default();
        config.put("quay.lan:8443", user, &Secret(password.into()));
        let path = RemotePath::try_from("/root/.docker/config.json".to_owned()).expect("a path");
        Observed { path, login: config.login("quay.lan:8443"), config }
    }

    #[test]
    fn a_login_is_kept_once() {
        use Step::{Ask, Forget, Keep};
        let nobody = Observed { config: DockerConfig::default(), login: None, ..kept("", "") };
        for (args, now, steps, said) in [
            (json!({}), nobody.clone(), vec![Ask, Keep], "nobody -> robot"),
            (json!({}), kept("robot", "pw:1"), vec![], ""),
            (json!({}), kept("robot", "old"), vec![Ask, Keep], "robot, with another password -> robot"),
            (json!({}), kept("ann", "pw:1"), vec![Ask, Keep], "ann -> robot"),
            (json!({"state": "absent"}), kept("ann", "x"), vec![Forget], "ann -> nobody"),
            (json!({"state": "absent"}), nobody, vec![], ""),
        ] {
            let plan = login(args.clone()).plan(&now, RunMode::default()).expect("a plan");
            assert_eq!(plan.steps, steps, "{args}");
            let shown = plan.diff.first().map(|d| format!("{} -> {}", d.before.trim(), d.after.trim()));
            assert_eq!(shown.unwrap_or_default(), said, "{args}");
        }
    }

    #[test]
    fn what_is_missing_is_said() {
        let none = login(json!({"password": null}));
        assert!(none.validate().is_err());
        assert!(login(json!({"username": "a:b"})).validate().is_err());
        assert!(login(json!({"password": null, "state": "absent"})).validate().is_ok());
        let Value::Object(args) = json!({"username": "u", "password": "p"}) else { panic!("a mapping") };
        let hub: DockerLogin = from_args(args).expect("arguments");
        assert_eq!(hub.registry_url, "https://index.docker.io/v1/");
    }
}
