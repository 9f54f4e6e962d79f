use std::path::{Path, PathBuf};

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bollard::Docker;
use bollard::auth::DockerCredentials;
use bollard::errors::Error;
use bollard::models::ImageInspect;
use bollard::query_parameters::{
    CreateImageOptionsBuilder, ImportImageOptionsBuilder, RemoveImageOptionsBuilder,
};
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;
use tokio_util::io::ReaderStream;

use super::archive::{self, ArchivedImage};
use super::engine;
use crate::host::{Endpoint, Script, Secret};
use crate::modules::{Diff, FileKind, ModuleError, NativePlan, NativeResource, RemotePath, TaskContext};
use crate::value::{Map, Value};

/// An image in the target's container engine.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DockerImage {
    /// The image's name; it may hold a registry, a tag (`:`) or a digest (`@`).
    name: String,
    /// The tag, where the name holds none.
    #[serde(default = "latest")]
    tag: String,
    /// Where a missing image comes from.
    source: Option<Source>,
    #[serde(default)]
    state: State,
    /// An image archive (`docker save`, plain or gzipped) on the controller, streamed into the engine.
    archive: Option<String>,
    /// An image archive on the target.
    load_path: Option<RemotePath>,
    /// Fetch the image again although it is there.
    #[serde(default)]
    force_source: bool,
    /// Remove the image although containers use it.
    #[serde(default)]
    force_absent: bool,
    /// Pull for this platform, such as `linux/amd64`.
    platform: Option<String>,
    /// The registry's user; without it the user's own `.docker/config.json` on the target is used.
    username: Option<String>,
    #[schemars(with = "Option<String>")]
    #[serde(default, deserialize_with = "secret")]
    password: Option<Secret>,
    /// The engine's address as the target sees it.
    docker_host: Option<String>,
    #[serde(skip)]
    archived: Option<Archived>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Source {
    Pull,
    Load,
    Local,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum State {
    #[default]
    Present,
    Absent,
}

/// The controller's archive, once it is found and read.
#[derive(Debug)]
struct Archived {
    path: PathBuf,
    images: Vec<ArchivedImage>,
}

impl Archived {
    /// Says so before anything is sent where the archive holds other images.
    fn must_hold(&self, wanted: &str) -> Result<(), ModuleError> {
        let tags: Vec<&str> = self.images.iter().flat_map(|i| &i.tags).map(String::as_str).collect();
        if tags.iter().any(|t| same_name(t, wanted)) {
            return Ok(());
        }
        let held = if tags.is_empty() { "no named image".to_owned() } else { tags.join(", ") };
        Err(ModuleError::failed(format!("the archive {} holds {held}, not {wanted}", self.path.display()))
            .hint("set name and tag to what the archive holds"))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Pull,
    Load,
    Remove,
}

fn latest() -> String {
    "latest".into()
}

pub(super) fn secret<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Secret>, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.map(Secret))
}

/// The name with its tag or digest.
pub(super) fn reference(name: &str, tag: &str) -> String {
    let last = name.rsplit('/').next().unwrap_or(name);
    if last.contains(':') || name.contains('@') { name.to_owned() } else { format!("{name}:{tag}") }
}

/// The registry that an image name means.
pub(super) fn registry_of(reference: &str) -> &str {
    match reference.split_once('/') {
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => host,
        _ => "docker.io",
    }
}

impl DockerImage {
    fn reference(&self) -> String {
        reference(&self.name, &self.tag)
    }

    fn source(&self) -> Option<Source> {
        self.source.or((self.archive.is_some() || self.load_path.is_some()).then_some(Source::Load))
    }

    /// Whether what the engine has is what the archive holds.
    fn is_archived(&self, now: &Found) -> bool {
        let wanted = self.reference();
        let Some(archived) = &self.archived else { return true };
        // The containerd store names an image by another digest than the archive does; nothing can be compared there.
        if now.by_manifest {
            return true;
        }
        let named = archived.images.iter().filter(|i| i.tags.iter().any(|t| same_name(t, &wanted)));
        let mut ids = named.map(|i| i.id.as_str()).peekable();
        ids.peek().is_none() || ids.any(|id| now.id.trim_start_matches("sha256:") == id)
    }
}

/// Docker leaves `docker.io/` and `library/` out of names.
fn same_name(a: &str, b: &str) -> bool {
    fn short(name: &str) -> &str {
        let name = name.strip_prefix("docker.io/").unwrap_or(name);
        name.strip_prefix("library/").unwrap_or(name)
    }
    short(a) == short(b)
}

/// An image that the engine has.
#[derive(Debug, Clone)]
pub(super) struct Found {
    id: String,
    /// The engine keeps images in containerd's store.
    by_manifest: bool,
    inspect: Value,
}

impl From<ImageInspect> for Found {
    fn from(image: ImageInspect) -> Self {
        Self {
            id: image.id.clone().unwrap_or_default(),
            by_manifest: image.descriptor.is_some(),
            inspect: serde_json::to_value(&image).unwrap_or_default(),
        }
    }
}

#[async_trait]
impl NativeResource for DockerImage {
    const NAME: &'static str = "docker_image";
    const FQCN: &'static [&'static str] = &["community.docker.docker_image"];
    type Observed = Option<Found>;
    type Step = Step;

    fn validate(&self) -> Result<(), ModuleError> {
        let wrong = |text: &str| Err(ModuleError::Arguments(text.into()));
        match (self.state, self.source()) {
            (State::Present, None) => {
                wrong("source is needed with state=present: pull, load (with archive or load_path) or local")
            }
            (State::Present, Some(Source::Load)) if self.archive.is_some() == self.load_path.is_some() => {
                wrong("source=load takes one of archive (on the controller) and load_path (on the target)")
            }
            _ if self.username.is_some() != self.password.is_some() => {
                wrong("username and password go together")
            }
            _ => Ok(()),
        }
    }

    async fn prepare(&mut self, cx: &TaskContext) -> Result<(), ModuleError> {
        if let (State::Present, Some(name)) = (self.state, &self.archive) {
            let path = cx.controller.locate(FileKind::Files, name)?;
            let read = path.clone();
            let images = tokio::task::spawn_blocking(move || archive::images(&read))
                .await
                .map_err(|e| ModuleError::failed(e.to_string()))?
                .map_err(|e| {
                    ModuleError::failed(e)
                        .hint("make it with docker save, or podman save --format docker-archive")
                })?;
            self.archived = Some(Archived { path, images });
        }
        Ok(())
    }

    async fn observe(&self, cx: &TaskContext) -> Result<Self::Observed, ModuleError> {
        let Some(docker) = engine::look(cx, self.docker_host.as_deref()).await? else {
            return Ok(None);
        };
        inspect(&docker, &self.reference()).await
    }

    fn plan(&self, now: &Self::Observed) -> Result<NativePlan<Step>, ModuleError> {
        let wanted = self.reference();
        let step = match (self.state, now, self.source()) {
            (State::Absent, Some(_), _) => Some(Step::Remove),
            (State::Present, Some(_), Some(Source::Pull)) => self.force_source.then_some(Step::Pull),
            (State::Present, Some(found), Some(Source::Load)) => {
                (self.force_source || !self.is_archived(found)).then_some(Step::Load)
            }
            (State::Absent, None, _) | (State::Present, Some(_), _) => None,
            (State::Present, None, Some(Source::Pull)) => Some(Step::Pull),
            (State::Present, None, Some(Source::Load)) => Some(Step::Load),
            (State::Present, None, _) => {
                return Err(ModuleError::failed(format!("there is no image {wanted} in the engine"))
                    .hint("let it be pulled (source: pull) or loaded (source: load)"));
            }
        };
        let Some(step) = step else { return Ok(NativePlan::default()) };
        if let (Step::Load, Some(archived)) = (step, &self.archived) {
            archived.must_hold(&wanted)?;
        }
        let before = now.as_ref().map_or_else(|| "absent\n".into(), |f| format!("{}\n", f.id));
        let after = match step {
            Step::Pull => "pulled\n",
            Step::Load => "loaded\n",
            Step::Remove => "absent\n",
        };
        Ok(NativePlan { steps: vec![step], diff: vec![Diff::new(&wanted, before, after)] })
    }

    async fn apply(&self, step: &Step, cx: &TaskContext) -> Result<(), ModuleError> {
        let docker = engine::connect(cx, self.docker_host.as_deref()).await?;
        let wanted = self.reference();
        match step {
            Step::Pull => {
                let credentials = match (&self.username, &self.password) {
                    (Some(user), Some(password)) => Some((user.clone(), password.clone())),
                    _ => None,
                };
                pull(cx, &docker, &wanted, self.platform.as_deref(), credentials).await
            }
            Step::Load => {
                let said = match (&self.archived, &self.load_path) {
                    (Some(archived), _) => load_from_controller(cx, &docker, &archived.path).await?,
                    (None, Some(path)) => load_from_target(cx, &docker, path).await?,
                    (None, None) => return Err(ModuleError::failed("there is no archive to load")),
                };
                if inspect(&docker, &wanted).await?.is_none() {
                    return Err(ModuleError::failed(format!("the archive holds no image {wanted}; {said}"))
                        .hint("set name and tag to what the archive holds"));
                }
                Ok(())
            }
            Step::Remove => {
                let options = RemoveImageOptionsBuilder::new().force(self.force_absent).build();
                let removed = docker.remove_image(&wanted, Some(options), None).await;
                removed.map(drop).map_err(|e| engine::failure(&format!("removing the image {wanted}"), &e))
            }
        }
    }

    fn result(&self, after: &Self::Observed) -> Map {
        let image = after.as_ref().map_or_else(|| json!({}), |f| f.inspect.clone());
        Map::from_iter([("image".to_owned(), image)])
    }
}

/// Looks for an image by name.
pub(super) async fn inspect(docker: &Docker, name: &str) -> Result<Option<Found>, ModuleError> {
    let image = engine::found(docker.inspect_image(name).await)
        .map_err(|e| engine::failure(&format!("looking for the image {name}"), &e))?;
    Ok(image.map(Found::from))
}

impl Found {
    pub(super) fn id(&self) -> &str {
        &self.id
    }
}

/// Pulls an image with the given credentials, or with those that the target's user has for that registry.
pub(super) async fn pull(
    cx: &TaskContext,
    docker: &Docker,
    name: &str,
    platform: Option<&str>,
    credentials: Option<(String, Secret)>,
) -> Result<(), ModuleError> {
    let registry = registry_of(name);
    let credentials = match credentials {
        Some(given) => Some(given),
        None => own_credentials(cx, registry).await?,
    };
    let anonymous = credentials.is_none();
    let credentials = credentials.map(|(user, password)| DockerCredentials {
        username: Some(user),
        password: Some(password.0),
        serveraddress: Some(registry.to_owned()),
        ..DockerCredentials::default()
    });
    cx.controller.progress(&format!("pulling {name}"));
    let mut options = CreateImageOptionsBuilder::new().from_image(name);
    if let Some(platform) = platform {
        options = options.platform(platform);
    }
    let mut answers = std::pin::pin!(docker.create_image(Some(options.build()), None, credentials));
    while let Some(answer) = answers.next().await {
        let info = answer.map_err(|e| {
            let text = engine::reason(&e);
            ModuleError::failed(format!("{name} cannot be pulled from {registry}: {text}"))
                .hint(pull_hint(&text, registry, anonymous))
        })?;
        if let (Some(layer), Some(status)) = (info.id, info.status) {
            cx.controller.progress(&format!("pulling {name}: {layer} {}", status.to_lowercase()));
        }
    }
    Ok(())
}

/// What to try when a pull fails with this text.
fn pull_hint(text: &str, registry: &str, anonymous: bool) -> String {
    let lower = text.to_lowercase();
    let has = |words: &[&str]| words.iter().any(|w| lower.contains(w));
    if has(&["unauthorized", "authentication required", "denied", "no basic auth", "forbidden"]) {
        let who = if anonymous {
            "give username and password, or log in"
        } else {
            "check the user and password, or log in"
        };
        format!(
            "{who} with docker login {registry} on the target; some registries answer so for a name that does not exist"
        )
    } else if has(&["manifest unknown", "not found", "no such image"]) {
        "check the image's name and tag".into()
    } else if has(&["server gave http response to https"]) {
        format!("{registry} speaks plain HTTP: add it to docker_insecure_registries")
    } else if has(&["certificate", "x509"]) {
        format!("the engine does not trust {registry}: put its CA into /etc/docker/certs.d/{registry}/ca.crt")
    } else if has(&[
        "no such host",
        "lookup",
        "timeout",
        "timed out",
        "refused",
        "unreachable",
        "dial tcp",
        "deadline",
    ]) {
        format!(
            "the target does not reach {registry}: check its DNS, route and proxy, or load the image from an archive"
        )
    } else {
        "load the image from an archive instead (source: load, archive: FILE)".into()
    }
}

/// The credentials that the target's user has stored for a registry (`docker login`, a pull secret).
async fn own_credentials(cx: &TaskContext, registry: &str) -> Result<Option<(String, Secret)>, ModuleError> {
    let script = Script::new(r#"cat "${DOCKER_CONFIG:-$HOME/.docker}/config.json" 2>/dev/null"#);
    let reply = cx.shell.run(&script).await?;
    Ok(stored_credentials(&reply.stdout, registry))
}

fn stored_credentials(config: &[u8], registry: &str) -> Option<(String, Secret)> {
    let config: Value = serde_json::from_slice(config).ok()?;
    let auths = config.get("auths")?.as_object()?;
    let hub = ["docker.io", "https://index.docker.io/v1/", "index.docker.io"];
    let entry = if registry == "docker.io" {
        hub.iter().find_map(|name| auths.get(*name))
    } else {
        auths.get(registry).or_else(|| auths.get(&format!("https://{registry}")))
    }?;
    let decoded = STANDARD.decode(entry.get("auth")?.as_str()?).ok()?;
    let text = String::from_utf8(decoded).ok()?;
    let (user, password) = text.split_once(':')?;
    Some((user.to_owned(), Secret(password.to_owned())))
}

async fn load_from_controller(cx: &TaskContext, docker: &Docker, path: &Path) -> Result<String, ModuleError> {
    let problem = |e: std::io::Error| ModuleError::failed(format!("{}: {e}", path.display()));
    let file = tokio::fs::File::open(path).await.map_err(problem)?;
    let total = file.metadata().await.map_err(problem)?.len();
    cx.controller.progress(&format!("loading {} ({} MB)", path.display(), total / 1_000_000));
    load(docker, ReaderStream::with_capacity(file, 256 * 1024)).await
}

async fn load_from_target(
    cx: &TaskContext,
    docker: &Docker,
    path: &RemotePath,
) -> Result<String, ModuleError> {
    let there = cx.shell.run(&Script::argv(["test", "-r", path.as_str()])).await?;
    if !there.ok() {
        return Err(ModuleError::failed(format!("{path} cannot be read on {}", cx.host))
            .hint("load_path is on the target; for a file on the controller use archive"));
    }
    let endpoint = Endpoint::Program { argv: vec!["cat".into(), path.as_str().into()] };
    let stream = cx.shell.dial(&endpoint).await?;
    load(docker, ReaderStream::with_capacity(stream, 256 * 1024)).await
}

/// Streams an archive into the engine; returns what the engine said.
async fn load<S>(docker: &Docker, archive: S) -> Result<String, ModuleError>
where
    S: Stream<Item = std::io::Result<Bytes>> + Send + 'static,
{
    let options = ImportImageOptionsBuilder::new().quiet(true).build();
    let mut answers = std::pin::pin!(docker.import_image_stream(options, archive, None));
    let mut said = Vec::new();
    while let Some(answer) = answers.next().await {
        let info = answer.map_err(|e: Error| engine::failure("loading the image archive", &e))?;
        said.extend(info.stream.map(|s| s.trim().to_owned()).filter(|s| !s.is_empty()));
    }
    Ok(if said.is_empty() { "the engine said nothing".into() } else { said.join(", ") })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::from_args;

    fn image(args: Value) -> DockerImage {
        let Value::Object(args) = args else { panic!("an object") };
        from_args(args).expect("arguments")
    }

    fn found(id: &str) -> Found {
        Found { id: format!("sha256:{id}"), by_manifest: false, inspect: json!({}) }
    }

    #[test]
    fn names_get_a_tag_unless_they_have_one() {
        for (name, expected, registry) in [
            ("redis", "redis:latest", "docker.io"),
            ("quay.io/projectquay/quay:v3", "quay.io/projectquay/quay:v3", "quay.io"),
            ("localhost:5000/a", "localhost:5000/a:latest", "localhost:5000"),
            ("a/b@sha256:0", "a/b@sha256:0", "docker.io"),
        ] {
            assert_eq!(reference(name, "latest"), expected);
            assert_eq!(registry_of(name), registry, "{name}");
        }
    }

    #[test]
    fn only_what_is_missing_or_different_is_fetched() {
        let archived = |id: &str| {
            let mut image = image(json!({"name": "a", "archive": "a.tar"}));
            let images =
                vec![ArchivedImage { id: id.into(), tags: vec!["docker.io/library/a:latest".into()] }];
            image.archived = Some(Archived { path: "a.tar".into(), images });
            image
        };
        for (image, now, expected) in [
            (image(json!({"name": "a", "source": "pull"})), None, vec![Step::Pull]),
            (image(json!({"name": "a", "source": "pull"})), Some(found("1")), vec![]),
            (
                image(json!({"name": "a", "source": "pull", "force_source": true})),
                Some(found("1")),
                vec![Step::Pull],
            ),
            (image(json!({"name": "a", "state": "absent"})), Some(found("1")), vec![Step::Remove]),
            (image(json!({"name": "a", "state": "absent"})), None, vec![]),
            (archived("1"), None, vec![Step::Load]),
            (archived("1"), Some(found("1")), vec![]),
            (archived("2"), Some(found("1")), vec![Step::Load]),
            (archived("2"), Some(Found { by_manifest: true, ..found("1") }), vec![]),
        ] {
            assert_eq!(image.plan(&now).expect("plan").steps, expected, "{image:?} {now:?}");
        }
        let mut other = archived("1");
        other.name = "b:2".into();
        let error = other.plan(&None).expect_err("another image");
        assert_eq!(error.to_string(), "the archive a.tar holds docker.io/library/a:latest, not b:2");
        let error = image(json!({"name": "a", "source": "local"})).plan(&None).expect_err("missing");
        assert_eq!(error.to_string(), "there is no image a:latest in the engine");
    }

    #[test]
    fn stored_credentials_are_found_by_registry() {
        let auth = STANDARD.encode("robot:pw:1");
        let config =
            json!({"auths": {"quay.io": {"auth": auth}, "https://index.docker.io/v1/": {"auth": auth}}});
        let config = config.to_string();
        for (registry, found) in [("quay.io", true), ("docker.io", true), ("example.com", false)] {
            let credentials = stored_credentials(config.as_bytes(), registry);
            assert_eq!(credentials, found.then(|| ("robot".into(), Secret("pw:1".into()))), "{registry}");
        }
        assert_eq!(stored_credentials(b"", "quay.io"), None);
    }

    #[test]
    fn a_failed_pull_says_what_to_try() {
        for (text, hint) in [
            (
                "unauthorized: access to the requested resource is not authorized",
                "give username and password",
            ),
            ("Get \"https://q/v2/\": dial tcp: lookup q: no such host", "check its DNS, route and proxy"),
            ("manifest for q/a:1 not found: manifest unknown", "check the image's name and tag"),
            ("http: server gave HTTP response to HTTPS client", "docker_insecure_registries"),
            ("x509: certificate signed by unknown authority", "certs.d/q/ca.crt"),
        ] {
            assert!(pull_hint(text, "q", true).contains(hint), "{text}");
        }
    }
}
