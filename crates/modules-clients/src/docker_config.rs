use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::host::{Script, Secret, Step};
use crate::value::{Map, Value};
use crate::{ModuleError, RemotePath, TaskContext};

/// Docker's own registry, as its client calls it in that file.
pub const HUB: &str = "https://index.docker.io/v1/";

/// A user's `config.json` of Docker's client: who is logged in to which registry
/// (<https://docs.docker.com/reference/cli/docker/login/>). What else stands in it stays.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DockerConfig(Map);

impl DockerConfig {
    /// Reads the file of that name; an empty one holds no logins.
    pub fn read(bytes: &[u8], name: &str) -> Result<Self, ModuleError> {
        if bytes.trim_ascii().is_empty() {
            return Ok(Self::default());
        }
        let refused = |why: &str| {
            ModuleError::failed(format!("{name} is no Docker configuration{why}"))
                .hint("move it away, or name another file")
        };
        match serde_json::from_slice(bytes) {
            Ok(Value::Object(config)) if config.get("auths").is_none_or(Value::is_object) => Ok(Self(config)),
            Ok(_) => Err(refused("")),
            Err(e) => Err(refused(&format!(": {e}"))),
        }
    }

    /// The user and the password that are kept for a registry.
    pub fn login(&self, registry: &str) -> Option<(String, Secret)> {
        let entry = self.0.get("auths")?.get(registry)?.get("auth")?.as_str()?;
        let decoded = String::from_utf8(STANDARD.decode(entry).ok()?).ok()?;
        let (user, password) = decoded.split_once(':')?;
        Some((user.to_owned(), Secret(password.to_owned())))
    }

    /// Whether anything is kept for a registry.
    pub fn names(&self, registry: &str) -> bool {
        self.0.get("auths").is_some_and(|auths| auths.get(registry).is_some())
    }

    /// The program `docker-credential-NAME` that keeps a registry's login instead of this file.
    pub fn helper(&self, registry: &str) -> Option<&str> {
        let own = self.0.get("credHelpers").and_then(|helpers| helpers.get(registry));
        own.or_else(|| self.0.get("credsStore")).and_then(Value::as_str).filter(|name| !name.is_empty())
    }

    /// Keeps a login in the file itself.
    pub fn put(&mut self, registry: &str, user: &str, password: &Secret) {
        let auth = STANDARD.encode(format!("{user}:{}", password.0));
        self.entry(registry, json!({"auth": auth}));
    }

    /// Notes that a helper keeps a login.
    pub fn put_elsewhere(&mut self, registry: &str) {
        self.entry(registry, json!({}));
    }

    fn entry(&mut self, registry: &str, entry: Value) {
        let auths = self.0.entry("auths").or_insert_with(|| json!({}));
        if let Some(auths) = auths.as_object_mut() {
            auths.insert(registry.to_owned(), entry);
        }
    }

    pub fn remove(&mut self, registry: &str) {
        if let Some(auths) = self.0.get_mut("auths").and_then(Value::as_object_mut) {
            auths.remove(registry);
        }
    }

    /// Writes the file, which only its owner reads, and makes its folder.
    pub async fn write(&self, path: &RemotePath, cx: &TaskContext) -> Result<(), ModuleError> {
        let folder = path.parent();
        let made = cx.shell.run(&Script::argv(["mkdir", "-p", "-m", "0700", folder])).await?;
        if !made.ok() {
            return Err(ModuleError::failed(format!("{folder} cannot be made: {}", made.err().trim())));
        }
        let text = format!("{:#}\n", Value::Object(self.0.clone()));
        let write = Step::write_file(path.as_str().to_owned(), text, Some(0o600));
        cx.shell.apply(&write).await.map(drop).map_err(ModuleError::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logins_come_and_go_and_the_rest_stays() {
        let text = json!({"auths": {"other": {"auth": "eDp5"}}, "credHelpers": {"kept.lan": "pass"}, "detachKeys": "x"});
        let mut config = DockerConfig::read(text.to_string().as_bytes(), "c").expect("a configuration");
        assert_eq!(config.login("other"), Some(("x".into(), Secret("y".into()))));
        assert_eq!((config.helper("kept.lan"), config.helper("other")), (Some("pass"), None));
        config.put("quay.lan:8443", "lab+puller", &Secret("a:b".into()));
        assert_eq!(config.login("quay.lan:8443"), Some(("lab+puller".into(), Secret("a:b".into()))));
        config.remove("quay.lan:8443");
        config.put_elsewhere("kept.lan");
        assert!(config.names("kept.lan") && config.login("kept.lan").is_none());
        config.remove("kept.lan");
        assert_eq!(Value::Object(config.0), text);
    }

    #[test]
    fn a_file_that_is_something_else_is_refused() {
        assert_eq!(DockerConfig::read(b" \n", "c").expect("none yet"), DockerConfig::default());
        for (text, why) in [
            ("nonsense", "c is no Docker configuration: expected ident at line 1 column 2"),
            ("[]", "c is no Docker configuration"),
            (r#"{"auths": []}"#, "c is no Docker configuration"),
        ] {
            assert_eq!(DockerConfig::read(text.as_bytes(), "c").expect_err("refused").to_string(), why);
        }
        let all = DockerConfig::read(br#"{"credsStore": "secretservice"}"#, "c").expect("a configuration");
        assert_eq!(all.helper("anything"), Some("secretservice"));
    }
}
