use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::twin::{Declared, Twin};
use super::unit::{Unit, with_quadlet};
use crate::RemotePath;
use crate::docker_image::DockerImage;
use crate::host::Secret;
use crate::image::reference;
use crate::words::secret;

with_quadlet! {
    /// An image in podman's store, or with state=quadlet the unit that pulls one.
    pub(super) struct PodmanImage {
        /// The image's name; it may hold a registry, a tag (`:`) or a digest (`@`).
        name: String,
        /// The tag, where the name holds none.
        #[serde(default = "latest")]
        tag: String,
        #[serde(default)]
        state: State,
        /// Pull an image that is missing.
        #[serde(default = "crate::args::yes")]
        pull: bool,
        /// An image archive (`podman save --format docker-archive`, plain or gzipped) on the controller, streamed into the engine.
        archive: Option<String>,
        /// An image archive on the target.
        load_path: Option<RemotePath>,
        /// The folder on the controller that the image is built from.
        path: Option<String>,
        /// How it is built.
        #[serde(default)]
        build: Option<Build>,
        /// Fetch or build the image again although it is there; remove it although containers use it.
        #[serde(default)]
        force: bool,
        /// Pull for this architecture, such as `amd64`.
        arch: Option<String>,
        /// The registry's user; without it the logins of the target's user count.
        username: Option<String>,
        #[schemars(with = "Option<String>")]
        #[serde(default, deserialize_with = "secret")]
        password: Option<Secret>,
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum State {
    #[default]
    Present,
    Build,
    Absent,
    Quadlet,
}

/// How an image is built.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Build {
    /// The Containerfile in that folder.
    file: Option<String>,
    /// Use layers of earlier builds.
    #[serde(default = "crate::args::yes")]
    cache: bool,
    /// The stage to build.
    target: Option<String>,
}

fn latest() -> String {
    "latest".into()
}

impl Twin for PodmanImage {
    const NAME: &'static str = "podman_image";
    const FQCN: &'static [&'static str] = &["containers.podman.podman_image"];
    type Docker = DockerImage;

    fn declare(self) -> Result<Declared, String> {
        if self.state == State::Quadlet {
            let Some(name) = self.quadlet_filename.clone() else {
                return Err(
                    "state=quadlet needs quadlet_filename: an image's name is none of a unit's".into()
                );
            };
            let place = self.place(&name);
            let mut unit = Unit::new(place, "Image", "image")?;
            unit.unmarked();
            unit.add("Image", reference(&self.name, &self.tag));
            unit.add_all("Arch", self.arch);
            return Ok(Declared::Unit(unit));
        }
        let builds = self.path.is_some() || self.build.is_some() || self.state == State::Build;
        let loads = self.archive.is_some() || self.load_path.is_some();
        let build = match (builds, self.path) {
            (true, None) => return Err("building wants path, the folder that the image is built from".into()),
            (true, Some(path)) => {
                let how = self.build.unwrap_or_default();
                Some(
                    json!({"path": path, "dockerfile": how.file, "nocache": !how.cache, "target": how.target}),
                )
            }
            (false, _) => None,
        };
        let source = if builds {
            "build"
        } else if loads {
            "load"
        } else if self.pull {
            "pull"
        } else {
            "local"
        };
        let args = json!({
            "name": self.name, "tag": self.tag, "source": source,
            "state": if self.state == State::Absent { "absent" } else { "present" },
            "archive": self.archive, "load_path": self.load_path.map(|p| p.to_string()), "build": build,
            "force_source": self.force, "force_absent": self.force,
            "platform": self.arch.map(|a| format!("linux/{a}")),
            "username": self.username, "password": self.password.map(|p| p.0),
        });
        Declared::engine(args, self.podman_host)
    }
}

#[cfg(test)]
mod tests {
    use super::super::twin::Podman;
    use super::*;
    use crate::value::Value;
    use crate::{Resource, from_args};

    #[test]
    fn an_image_comes_from_where_its_arguments_say() {
        for (args, expected) in [
            (json!({"name": "a"}), Ok("pull")),
            (json!({"name": "a", "pull": false}), Ok("local")),
            (json!({"name": "a", "archive": "a.tar"}), Ok("load")),
            (json!({"name": "a", "load_path": "/a.tar"}), Ok("load")),
            (json!({"name": "a", "path": "ctx", "build": {"file": "F", "cache": false}}), Ok("build")),
            (json!({"name": "a", "state": "build"}), Err("building wants path")),
            (json!({"name": "a", "state": "quadlet"}), Err("state=quadlet needs quadlet_filename")),
        ] {
            let Value::Object(map) = args.clone() else { panic!("an object") };
            match (from_args::<PodmanImage>(map.clone()).expect("arguments").declare(), expected) {
                (Ok(Declared::Engine(said, _)), Ok(source)) => {
                    assert_eq!(said["source"], json!(source), "{args}");
                    let module: Podman<PodmanImage> = from_args(map).expect("arguments that Docker's take");
                    module.validate().expect("valid");
                }
                (Err(error), Err(message)) => assert!(error.starts_with(message), "{args}: {error}"),
                _ => panic!("{args}"),
            }
        }
    }

    #[test]
    fn an_image_is_a_unit() {
        let args = json!({"name": "quay.io/a/b", "tag": "1", "state": "quadlet", "quadlet_filename": "b"});
        let Value::Object(args) = args else { panic!("an object") };
        let Ok(Declared::Unit(mut unit)) = from_args::<PodmanImage>(args).expect("arguments").declare()
        else {
            panic!("a unit")
        };
        // An image has no labels of ours.
        unit.mark("quaylab");
        assert_eq!(unit.text(), "# Written by quaylab.\n[Image]\nImage=quay.io/a/b:1\n");
    }
}
