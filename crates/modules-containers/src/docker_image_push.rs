use std::time::Duration;

use async_trait::async_trait;
use bollard::Docker;
use bollard::auth::DockerCredentials;
use bollard::errors::Error;
use bollard::query_parameters::{PushImageOptionsBuilder, TagImageOptionsBuilder};
use futures_util::StreamExt;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::engine;
use super::engine_kind::EngineKind;
use super::image::{reference, registry_of};
use crate::host::{Endpoint, Script, Secret, quote};
use crate::quay::{RegistryAddress, RoundTrip, configuration_digest};
use crate::value::Map;
use crate::words::secret;
use crate::{Diff, ModuleError, Plan, Recorded, Resource, RunMode, TaskContext, state_of};

/// An image of the target's engine in a registry. It is pushed only where the registry has another one, or none.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DockerImagePush {
    /// The image's name in the registry: `REGISTRY/REPOSITORY[:TAG]`.
    name: String,
    #[serde(default = "latest")]
    tag: String,
    /// An image of the engine that gets this name first.
    source: Option<String>,
    username: Option<String>,
    #[schemars(with = "Option<String>")]
    #[serde(default, deserialize_with = "secret")]
    password: Option<Secret>,
    /// The engine's address as the target sees it.
    docker_host: Option<String>,
}

/// How long a registry may take to say what it has.
const REGISTRY_SECONDS: u64 = 60;

fn latest() -> String {
    "latest".into()
}

/// What the engine and the registry have under these names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct Found {
    /// The ID of the image that shall be there.
    source: Option<String>,
    /// The ID under the registry's name in the engine.
    local: Option<String>,
    /// The manifests under which the engine knows it in that repository.
    digests: Vec<String>,
    /// The manifest that the registry has.
    remote: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Tag,
    Push,
}

impl DockerImagePush {
    fn reference(&self) -> String {
        reference(&self.name, &self.tag)
    }

    /// The name without its tag.
    fn repository(&self) -> String {
        let full = self.reference();
        full.rsplit_once(':').map_or(full.clone(), |(repository, _)| repository.to_owned())
    }

    fn credentials(&self) -> Option<DockerCredentials> {
        let (user, password) = (self.username.clone()?, self.password.clone()?);
        Some(DockerCredentials {
            username: Some(user),
            password: Some(password.0),
            serveraddress: Some(registry_of(&self.name).to_owned()),
            ..DockerCredentials::default()
        })
    }

    async fn inspect(
        &self,
        docker: &Docker,
        name: &str,
    ) -> Result<Option<(String, Vec<String>)>, ModuleError> {
        let image = engine::found(docker.inspect_image(name).await)
            .map_err(|e| engine::failure(&format!("looking for the image {name}"), &e))?;
        Ok(image.map(|i| (i.id.unwrap_or_default(), i.repo_digests.unwrap_or_default())))
    }

    /// Whether a registry says that it has no such image.
    fn is_missing(&self, text: &str) -> bool {
        let lower = text.to_lowercase();
        ["not found", "unknown", "does not exist"].iter().any(|w| lower.contains(w))
            // A repository that is not there is told from a foreign one only by pushing to it.
            || (self.username.is_some() && lower.contains("requested access to the resource is denied"))
            || lower.contains("access to the requested resource is not authorized")
    }

    /// Podman's API asks no registry, so it is asked from here, through the target. Where it does not say, the push will.
    async fn asked_for_podman(&self, cx: &TaskContext) -> Option<String> {
        let full = self.reference();
        let registry = registry_of(&full);
        let (repository, tag) = full.strip_prefix(registry)?.trim_start_matches('/').rsplit_once(':')?;
        let (host, port) =
            registry.rsplit_once(':').map_or((registry, Some(443)), |(h, p)| (h, p.parse().ok()));
        let port = port?;
        let folders = [EngineKind::Podman, EngineKind::Docker].map(|k| quote(&k.authority_of(registry)));
        let trusted = cx
            .shell
            .run(&Script::new(format!(
                "for f in {}; do [ ! -f \"$f\" ] || cat -- \"$f\"; done 2>/dev/null",
                folders.join(" ")
            )))
            .await
            .ok()?;
        let endpoint = Endpoint::Tcp { host: host.to_owned(), port };
        let way = cx.shell.forward(endpoint).await.ok()?;
        // What podman does itself: with an insecure one it tries TLS first.
        let insecure = engine::is_insecure(cx, self.docker_host.as_deref(), registry).await;
        let ways: &[(bool, bool)] = if insecure { &[(true, false), (false, false)] } else { &[(true, true)] };
        for (secure, verify_certificates) in ways.iter().copied() {
            let trip = RoundTrip {
                address: RegistryAddress { host: host.to_owned(), port, secure },
                dialled: Some(way.address),
                credentials: self.username.clone().zip(self.password.clone()),
                repository: repository.to_owned(),
                tag: tag.to_owned(),
                delete: false,
                verify_certificates,
                authority: Some(trusted.out().into_owned()).filter(|pem| !pem.is_empty()),
                anonymous: false,
                timeout: Duration::from_secs(REGISTRY_SECONDS),
            };
            if let Ok(digest) = configuration_digest(&trip).await {
                return Some(digest);
            }
        }
        None
    }

    /// A registry's refusal, with what to try.
    fn refused(&self, kind: EngineKind, what: &str, text: &str) -> ModuleError {
        let registry = registry_of(&self.name);
        let lower = text.to_lowercase();
        let hint = if ["unauthorized", "denied", "authentication"].iter().any(|w| lower.contains(w)) {
            "check username and password, and whether that user may write to the repository".to_owned()
        } else if lower.contains("x509") || lower.contains("certificate") {
            format!("the engine does not trust {registry}: put its CA into {}", kind.authority_of(registry))
        } else if lower.contains("server gave http response") {
            format!("{registry} speaks plain HTTP: add it to {}", kind.insecure_registries())
        } else {
            format!("does the target reach {registry}, and has its storage room?")
        };
        ModuleError::failed(format!("{what} {}: {text}", self.reference())).hint(hint)
    }
}

#[async_trait]
impl Resource for DockerImagePush {
    const NAME: &'static str = "docker_image_push";
    const FQCN: &'static [&'static str] = &["community.docker.docker_image_push"];
    type Observed = Found;
    type Step = Step;

    fn validate(&self) -> Result<(), ModuleError> {
        if self.username.is_some() != self.password.is_some() {
            return Err(ModuleError::Arguments("username and password go together".into()));
        }
        if registry_of(&self.name) == "docker.io" && !self.name.starts_with("docker.io/") {
            return Err(ModuleError::Arguments(format!("name {:?} names no registry", self.name)));
        }
        Ok(())
    }

    async fn observe(&self, cx: &TaskContext) -> Result<Found, ModuleError> {
        let Some(docker) = engine::look(cx, self.docker_host.as_deref()).await? else {
            return Ok(Found::default());
        };
        let local = self.inspect(&docker, &self.reference()).await?;
        let source = match &self.source {
            Some(name) => self.inspect(&docker, name).await?.map(|(id, _)| id),
            None => local.as_ref().map(|(id, _)| id.clone()),
        };
        if docker.kind == EngineKind::Podman {
            // Known again by the digest of its configuration, which is its ID.
            let remote = self.asked_for_podman(cx).await;
            let (id, _) = local.unzip();
            return Ok(Found { source, digests: id.iter().cloned().collect(), local: id, remote });
        }
        let remote = match docker.inspect_registry_image(&self.reference(), self.credentials()).await {
            Ok(inspect) => inspect.descriptor.digest,
            // The registry or the repository may be yet to come.
            Err(_) if cx.mode.check => None,
            Err(error) => {
                let text = engine::reason(&error);
                let missing = self.is_missing(&text)
                    || matches!(error, Error::DockerResponseServerError { status_code: 404, .. });
                if !missing {
                    return Err(self.refused(docker.kind, "looking for", &text));
                }
                None
            }
        };
        let prefix = format!("{}@", self.repository());
        let (id, digests) = local.unzip();
        let digests = digests.unwrap_or_default();
        let digests = digests.iter().filter_map(|d| d.strip_prefix(&prefix)).map(str::to_owned).collect();
        Ok(Found { source, local: id, digests, remote })
    }

    fn plan(&self, now: &Found, _: RunMode) -> Result<Plan<Step>, ModuleError> {
        let name = self.reference();
        let mut steps = Vec::new();
        let renamed = self.source.is_some() && (now.local.is_none() || now.local != now.source);
        steps.extend(renamed.then_some(Step::Tag));
        let there = now.remote.as_ref().is_some_and(|digest| now.digests.contains(digest));
        steps.extend((renamed || !there).then_some(Step::Push));
        if steps.is_empty() {
            return Ok(Plan::default());
        }
        let before = now.remote.as_ref().map_or_else(|| "absent\n".to_owned(), |d| format!("{d}\n"));
        Ok(Plan::new(steps, vec![Diff::new(&name, before, "pushed\n")]))
    }

    async fn apply(&self, step: &Step, cx: &TaskContext) -> Result<(), ModuleError> {
        let docker = engine::connect(cx, self.docker_host.as_deref()).await?;
        let name = self.reference();
        let (repository, tag) = name.rsplit_once(':').unwrap_or((&name, "latest"));
        match step {
            Step::Tag => {
                let source = self.source.as_deref().unwrap_or(&name);
                let options = TagImageOptionsBuilder::new().repo(repository).tag(tag).build();
                docker.tag_image(source, Some(options)).await.map_err(|e| {
                    engine::failure(&format!("naming {source} {name}"), &e)
                        .hint("is that image in the engine (docker_image)?")
                })
            }
            Step::Push => {
                if self.inspect(&docker, &name).await?.is_none() {
                    return Err(ModuleError::failed(format!(
                        "there is no image {name} in the engine to push"
                    ))
                    .hint("load or pull it first (docker_image), or name it as source"));
                }
                cx.controller.progress(&format!("pushing {name}"));
                let options = PushImageOptionsBuilder::new().tag(tag).build();
                let mut answers =
                    std::pin::pin!(docker.push_image(repository, Some(options), self.credentials()));
                while let Some(answer) = answers.next().await {
                    let info =
                        answer.map_err(|e| self.refused(docker.kind, "pushing", &engine::reason(&e)))?;
                    if let Some(error) = info.error_detail.and_then(|d| d.message) {
                        return Err(self.refused(docker.kind, "pushing", &error));
                    }
                }
                Ok(())
            }
        }
    }

    fn result(&self, after: &Found) -> Map {
        Map::from_iter([
            ("name".to_owned(), json!(self.reference())),
            ("digest".to_owned(), json!(after.remote)),
        ])
    }

    fn recorded(&self, recorded: &Recorded) -> Option<Result<Self::Observed, ModuleError>> {
        state_of(recorded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::from_args;
    use crate::value::Value;

    #[test]
    fn only_what_the_registry_lacks_is_pushed() {
        let found = |source: &str, local: Option<&str>, digests: &[&str], remote: Option<&str>| Found {
            source: Some(source.into()),
            local: local.map(str::to_owned),
            digests: digests.iter().map(|d| (*d).to_owned()).collect(),
            remote: remote.map(str::to_owned),
        };
        let args = json!({"name": "q.lan:8443/lab/app:1", "source": "app:1"});
        let Value::Object(args) = args else { panic!("a mapping") };
        let image: DockerImagePush = from_args(args).expect("arguments");
        assert_eq!(image.repository(), "q.lan:8443/lab/app");
        for (now, steps) in [
            (found("i1", None, &[], None), vec![Step::Tag, Step::Push]),
            (found("i1", Some("i0"), &["d0"], Some("d0")), vec![Step::Tag, Step::Push]),
            (found("i1", Some("i1"), &[], None), vec![Step::Push]),
            (found("i1", Some("i1"), &["d1"], Some("d0")), vec![Step::Push]),
            (found("i1", Some("i1"), &["d1"], Some("d1")), vec![]),
        ] {
            assert_eq!(image.plan(&now, RunMode::default()).expect("a plan").steps, steps, "{now:?}");
        }
    }
}
