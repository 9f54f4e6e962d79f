use std::path::PathBuf;

use async_trait::async_trait;
use bollard::Docker;
use bollard::models::ImageInspect;
use bollard::query_parameters::RemoveImageOptionsBuilder;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::engine;
use super::image::{
    ArchivedImage, Build, Context, build, images, load_from_controller, load_from_target, pull, reference,
    same_name,
};
use crate::args::Presence;
use crate::host::Secret;
use crate::value::{Map, Value};
use crate::words::secret;
use crate::{
    Diff, FileKind, ModuleError, Plan, Recorded, RemotePath, Resource, RunMode, TaskContext, state_of,
};

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
    state: Presence,
    /// An image archive (`docker save`, plain or gzipped) on the controller, streamed into the engine.
    archive: Option<String>,
    /// An image archive on the target.
    load_path: Option<RemotePath>,
    /// What to build the image from, with source=build.
    build: Option<Build>,
    /// Fetch or build the image again although it is there.
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
    #[serde(skip)]
    context: Option<Context>,
    /// Check mode: an earlier task would have brought it.
    #[serde(skip)]
    foreseen: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Source {
    Pull,
    Load,
    Build,
    Local,
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
    Build,
    Remove,
}

fn latest() -> String {
    "latest".into()
}

impl DockerImage {
    fn reference(&self) -> String {
        reference(&self.name, &self.tag)
    }

    fn source(&self) -> Option<Source> {
        let loads = self.archive.is_some() || self.load_path.is_some();
        self.source.or(loads.then_some(Source::Load)).or(self.build.is_some().then_some(Source::Build))
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

/// An image that the engine has.
#[derive(Debug, Clone, Deserialize)]
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
impl Resource for DockerImage {
    const NAME: &'static str = "docker_image";
    const FQCN: &'static [&'static str] = &["community.docker.docker_image"];
    type Observed = Option<Found>;
    type Step = Step;

    fn validate(&self) -> Result<(), ModuleError> {
        let wrong = |text: &str| Err(ModuleError::Arguments(text.into()));
        match (self.state, self.source()) {
            (Presence::Present, None) => wrong(
                "source is needed with state=present: pull, load (with archive or load_path), build or local",
            ),
            (Presence::Present, Some(Source::Load)) if self.archive.is_some() == self.load_path.is_some() => {
                wrong("source=load takes one of archive (on the controller) and load_path (on the target)")
            }
            (Presence::Present, Some(source)) if (source == Source::Build) != self.build.is_some() => {
                wrong("source=build goes with build, which says what the image is built from")
            }
            _ if self.username.is_some() != self.password.is_some() => {
                wrong("username and password go together")
            }
            _ => Ok(()),
        }
    }

    async fn prepare(&mut self, cx: &TaskContext) -> Result<(), ModuleError> {
        if let (Presence::Present, Some(name)) = (self.state, &self.archive) {
            let path = cx.controller.locate(FileKind::Files, name)?;
            let read = path.clone();
            let images = tokio::task::spawn_blocking(move || images(&read))
                .await
                .map_err(|e| ModuleError::failed(e.to_string()))?
                .map_err(|e| {
                    ModuleError::failed(e)
                        .hint("make it with docker save, or podman save --format docker-archive")
                })?;
            self.archived = Some(Archived { path, images });
        }
        if let (Presence::Present, Some(build)) = (self.state, &self.build) {
            self.context = Some(build.context(cx)?);
        }
        let (what, present) = (format!("image {}", self.reference()), self.state == Presence::Present);
        self.foreseen = engine::foreseen(cx, what, present).await;
        Ok(())
    }

    async fn observe(&self, cx: &TaskContext) -> Result<Self::Observed, ModuleError> {
        let Some(docker) = engine::look(cx, self.docker_host.as_deref()).await? else {
            return Ok(None);
        };
        inspect(&docker, &self.reference()).await
    }

    fn plan(&self, now: &Self::Observed, _: RunMode) -> Result<Plan<Step>, ModuleError> {
        let wanted = self.reference();
        let step = match (self.state, now, self.source()) {
            (Presence::Absent, Some(_), _) => Some(Step::Remove),
            (Presence::Present, Some(_), Some(Source::Pull)) => self.force_source.then_some(Step::Pull),
            (Presence::Present, Some(_), Some(Source::Build)) => self.force_source.then_some(Step::Build),
            (Presence::Present, Some(found), Some(Source::Load)) => {
                (self.force_source || !self.is_archived(found)).then_some(Step::Load)
            }
            (Presence::Absent, None, _) | (Presence::Present, Some(_), _) => None,
            (Presence::Present, None, _) if self.foreseen => None,
            (Presence::Present, None, Some(Source::Pull)) => Some(Step::Pull),
            (Presence::Present, None, Some(Source::Load)) => Some(Step::Load),
            (Presence::Present, None, Some(Source::Build)) => Some(Step::Build),
            (Presence::Present, None, _) => {
                return Err(ModuleError::failed(format!("there is no image {wanted} in the engine")).hint(
                    "let it be pulled (source: pull), loaded (source: load) or built (source: build)",
                ));
            }
        };
        let Some(step) = step else { return Ok(Plan::default()) };
        if let (Step::Load, Some(archived)) = (step, &self.archived) {
            archived.must_hold(&wanted)?;
        }
        let before = now.as_ref().map_or_else(|| "absent\n".into(), |f| format!("{}\n", f.id));
        let after = match step {
            Step::Pull => "pulled\n",
            Step::Load => "loaded\n",
            Step::Build => "built\n",
            Step::Remove => "absent\n",
        };
        Ok(Plan::new(vec![step], vec![Diff::new(&wanted, before, after)]))
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
            Step::Build => {
                let (Some(given), Some(context)) = (&self.build, &self.context) else {
                    return Err(ModuleError::failed("there is nothing to build from"));
                };
                build(cx, &docker, &wanted, given, context, self.platform.as_deref()).await?;
                if inspect(&docker, &wanted).await?.is_none() {
                    return Err(ModuleError::failed(format!("the engine built no image {wanted}")));
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

    fn recorded(&self, recorded: &Recorded) -> Option<Result<Self::Observed, ModuleError>> {
        state_of(recorded)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::from_args;

    fn image(args: Value) -> DockerImage {
        let Value::Object(args) = args else { panic!("an object") };
        from_args(args).expect("arguments")
    }

    fn found(id: &str) -> Found {
        Found { id: format!("sha256:{id}"), by_manifest: false, inspect: json!({}) }
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
        let built = |force: bool| image(json!({"name": "a", "build": {"path": "x"}, "force_source": force}));
        for (image, now, expected) in [
            (image(json!({"name": "a", "source": "pull"})), None, vec![Step::Pull]),
            (image(json!({"name": "a", "source": "pull"})), Some(found("1")), vec![]),
            (
                image(json!({"name": "a", "source": "pull", "force_source": true})),
                Some(found("1")),
                vec![Step::Pull],
            ),
            (built(false), None, vec![Step::Build]),
            (built(false), Some(found("1")), vec![]),
            (built(true), Some(found("1")), vec![Step::Build]),
            (image(json!({"name": "a", "state": "absent"})), Some(found("1")), vec![Step::Remove]),
            (image(json!({"name": "a", "state": "absent"})), None, vec![]),
            (archived("1"), None, vec![Step::Load]),
            (archived("1"), Some(found("1")), vec![]),
            (archived("2"), Some(found("1")), vec![Step::Load]),
            (archived("2"), Some(Found { by_manifest: true, ..found("1") }), vec![]),
        ] {
            assert_eq!(
                image.plan(&now, RunMode::default()).expect("plan").steps,
                expected,
                "{image:?} {now:?}"
            );
        }
        let mut other = archived("1");
        other.name = "b:2".into();
        let error = other.plan(&None, RunMode::default()).expect_err("another image");
        assert_eq!(error.to_string(), "the archive a.tar holds docker.io/library/a:latest, not b:2");
        let error = image(json!({"name": "a", "source": "local"}))
            .plan(&None, RunMode::default())
            .expect_err("missing");
        assert_eq!(error.to_string(), "there is no image a:latest in the engine");
    }
}
