use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::twin::{Declared, Twin};
use super::unit::{Unit, with_quadlet};
use super::unit_words::pair;
use crate::docker_network::DockerNetwork;

with_quadlet! {
    /// A network of podman's, or with state=quadlet the unit of one.
    pub(super) struct PodmanNetwork {
        name: String,
        #[serde(default)]
        state: State,
        driver: Option<String>,
        /// Options of the driver.
        #[serde(default)]
        opt: BTreeMap<String, String>,
        /// No way out to other networks.
        internal: Option<bool>,
        ipv6: Option<bool>,
        subnet: Option<String>,
        gateway: Option<String>,
        ip_range: Option<String>,
        /// Disconnect the containers of a network that must be made anew or removed.
        #[serde(default)]
        force: bool,
    }
}

/// What a network, a volume or an image may be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum State {
    #[default]
    Present,
    Absent,
    Quadlet,
}

impl State {
    /// In Docker's words, which have no units.
    pub(super) fn word(self) -> &'static str {
        if self == Self::Absent { "absent" } else { "present" }
    }
}

impl Twin for PodmanNetwork {
    const NAME: &'static str = "podman_network";
    const FQCN: &'static [&'static str] = &["containers.podman.podman_network"];
    type Docker = DockerNetwork;

    fn declare(self) -> Result<Declared, String> {
        if self.state != State::Quadlet {
            let subnet = json!({"subnet": self.subnet, "gateway": self.gateway, "iprange": self.ip_range});
            let given = self.subnet.is_some() || self.gateway.is_some() || self.ip_range.is_some();
            let args = json!({
                "name": self.name, "state": self.state.word(), "driver": self.driver,
                "driver_options": self.opt, "internal": self.internal, "enable_ipv6": self.ipv6,
                "ipam_config": if given { vec![subnet] } else { Vec::new() }, "force": self.force,
            });
            return Declared::engine(args, self.podman_host);
        }
        let place = self.place(&self.name);
        let mut unit = Unit::new(place, "Network", "network")?;
        unit.add("NetworkName", self.name);
        let flag = |value: Option<bool>| value.map(|v| v.to_string());
        unit.add_all("Driver", self.driver);
        unit.add_all("Subnet", self.subnet);
        unit.add_all("Gateway", self.gateway);
        unit.add_all("IPRange", self.ip_range);
        unit.add_all("Internal", flag(self.internal));
        unit.add_all("IPv6", flag(self.ipv6));
        unit.add_all("Options", self.opt.iter().map(|(name, value)| pair(name, value)));
        Ok(Declared::Unit(unit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::from_args;
    use crate::value::Value;

    fn declared(args: Value) -> Declared {
        let Value::Object(args) = args else { panic!("an object") };
        from_args::<PodmanNetwork>(args).expect("arguments").declare().expect("a network")
    }

    #[test]
    fn a_network_is_dockers_or_a_unit() {
        let args = json!({"name": "lab", "subnet": "10.9.0.0/24", "opt": {"isolate": "true"}});
        let Declared::Engine(said, None) = declared(args.clone()) else { panic!("the engine's") };
        let config = json!([{"subnet": "10.9.0.0/24", "gateway": null, "iprange": null}]);
        assert_eq!((&said["ipam_config"], &said["state"]), (&config, &json!("present")));
        let mut args = args;
        args["state"] = json!("quadlet");
        let Declared::Unit(unit) = declared(args) else { panic!("a unit") };
        insta::assert_snapshot!(unit.text(), @r"
        # Written by quaylab.
        [Network]
        NetworkName=lab
        Subnet=10.9.0.0/24
        Options=isolate=true
        ");
    }
}
