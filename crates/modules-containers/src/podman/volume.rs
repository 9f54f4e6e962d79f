use std::collections::BTreeMap;

use serde_json::json;

use super::network::State;
use super::twin::{Declared, Twin};
use super::unit::{Unit, with_quadlet};
use super::unit_words::pair;
use crate::docker_volume::DockerVolume;
use crate::value::Map;

with_quadlet! {
    /// A named volume of podman's, or with state=quadlet the unit of one.
    pub(super) struct PodmanVolume {
        name: String,
        #[serde(default)]
        state: State,
        driver: Option<String>,
        /// Options of the driver, as `NAME=VALUE`.
        #[serde(default)]
        options: Vec<String>,
        #[serde(default, alias = "labels")]
        label: BTreeMap<String, String>,
        /// Remove a volume that is there, with its data, and make it anew.
        #[serde(default)]
        recreate: bool,
    }
}

impl PodmanVolume {
    fn options(&self) -> Result<Vec<(&str, &str)>, String> {
        let wrong = |option: &str| format!("options: {option:?} is not NAME=VALUE");
        self.options.iter().map(|o| o.split_once('=').ok_or_else(|| wrong(o))).collect()
    }
}

impl Twin for PodmanVolume {
    const NAME: &'static str = "podman_volume";
    const FQCN: &'static [&'static str] = &["containers.podman.podman_volume"];
    type Docker = DockerVolume;

    fn declare(self) -> Result<Declared, String> {
        let options: Map =
            self.options()?.into_iter().map(|(name, value)| (name.to_owned(), json!(value))).collect();
        if self.state != State::Quadlet {
            let args = json!({
                "volume_name": self.name, "state": self.state.word(), "driver": self.driver,
                "driver_options": options, "labels": self.label,
                "recreate": if self.recreate { "always" } else { "never" },
            });
            return Declared::engine(args, self.podman_host);
        }
        let place = self.place(&self.name);
        let mut unit = Unit::new(place, "Volume", "volume")?;
        unit.add("VolumeName", self.name);
        unit.add_all("Driver", self.driver);
        for (name, value) in options {
            let value = value.as_str().unwrap_or_default().to_owned();
            match name.as_str() {
                "device" => unit.add("Device", value),
                "type" => unit.add("Type", value),
                "o" => unit.add("Options", value),
                _ => {
                    return Err(format!(
                        "a volume's unit has no option {name}; quadlet_options takes any line"
                    ));
                }
            }
        }
        unit.add_all("Label", self.label.iter().map(|(name, value)| pair(name, value)));
        Ok(Declared::Unit(unit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::from_args;
    use crate::value::Value;

    fn declared(args: Value) -> Result<Declared, String> {
        let Value::Object(args) = args else { panic!("an object") };
        from_args::<PodmanVolume>(args).expect("arguments").declare()
    }

    #[test]
    fn a_volume_is_dockers_or_a_unit() {
        let args =
            json!({"name": "data", "options": ["type=tmpfs", "o=size=1m,uid=5"], "label": {"a": "b c"}});
        let Ok(Declared::Engine(said, None)) = declared(args.clone()) else { panic!("the engine's") };
        assert_eq!(said["driver_options"], json!({"type": "tmpfs", "o": "size=1m,uid=5"}));
        assert_eq!(said["recreate"], json!("never"));
        let mut args = args;
        args["state"] = json!("quadlet");
        let Ok(Declared::Unit(unit)) = declared(args) else { panic!("a unit") };
        insta::assert_snapshot!(unit.text(), @r#"
        # Written by quaylab.
        [Volume]
        VolumeName=data
        Type=tmpfs
        Options=size=1m,uid=5
        Label="a=b c"
        "#);
        assert!(declared(json!({"name": "data", "options": ["size"]})).is_err());
        assert!(declared(json!({"name": "data", "options": ["size=1"], "state": "quadlet"})).is_err());
    }
}
