use std::collections::{BTreeMap, HashMap};

use async_trait::async_trait;
use bollard::models::{Ipam, IpamConfig, NetworkCreateRequest, NetworkDisconnectRequest, NetworkInspect};
use bollard::query_parameters::InspectNetworkOptions;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::container::{marked, unlike};
use super::engine;
use crate::args::Presence;
use crate::value::Map;
use crate::{Diff, ModuleError, Plan, Recorded, Resource, RunMode, TaskContext, state_of};

/// A network of the target's container engine.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DockerNetwork {
    #[serde(alias = "network_name")]
    name: String,
    #[serde(default)]
    state: Presence,
    #[serde(default = "bridge")]
    driver: String,
    #[serde(default)]
    driver_options: BTreeMap<String, String>,
    /// No way out to other networks.
    internal: Option<bool>,
    attachable: Option<bool>,
    enable_ipv6: Option<bool>,
    #[serde(default)]
    ipam_config: Vec<Subnet>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    /// Disconnect the containers of a network that must be made anew or removed.
    #[serde(default)]
    force: bool,
    /// The engine's address as the target sees it.
    docker_host: Option<String>,
    #[serde(skip)]
    mark: String,
    /// Check mode: an earlier task would have made it.
    #[serde(skip)]
    foreseen: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_field_names, reason = "Ansible's name for it")]
struct Subnet {
    subnet: Option<String>,
    gateway: Option<String>,
    iprange: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    Disconnect(String),
    Remove,
    Create,
}

fn bridge() -> String {
    "bridge".into()
}

impl DockerNetwork {
    /// What was asked for and is otherwise: a line each for before and after.
    fn differences(&self, now: &NetworkInspect) -> (String, String) {
        let (mut before, mut after) = (String::new(), String::new());
        let mut note = |what: &str, was: Option<String>, asked: String| {
            let was = was.unwrap_or_else(|| "none".into());
            if was != asked {
                before = before.clone() + what + ": " + &was + "\n";
                after = after.clone() + what + ": " + &asked + "\n";
            }
        };
        note("driver", now.driver.clone(), self.driver.clone());
        for (what, asked, was) in [
            ("internal", self.internal, now.internal),
            ("attachable", self.attachable, now.attachable),
            ("enable_ipv6", self.enable_ipv6, now.enable_ipv6),
        ] {
            if let Some(asked) = asked {
                note(what, was.map(|w| w.to_string()), asked.to_string());
            }
        }
        let pairs = [(&self.driver_options, &now.options, "option"), (&self.labels, &now.labels, "label")];
        for (asked, was, what) in pairs {
            for (name, was, asked) in unlike(asked, was.as_ref()) {
                note(&format!("{what} {name}"), was.map(str::to_owned), asked.to_owned());
            }
        }
        let configs = now.ipam.as_ref().and_then(|i| i.config.as_deref()).unwrap_or_default();
        for subnet in &self.ipam_config {
            let same = configs.iter().find(|c| c.subnet == subnet.subnet);
            note("subnet", same.and_then(|c| c.subnet.clone()), subnet.subnet.clone().unwrap_or_default());
            for (what, asked, was) in [
                ("gateway", &subnet.gateway, same.and_then(|c| c.gateway.clone())),
                ("iprange", &subnet.iprange, same.and_then(|c| c.ip_range.clone())),
            ] {
                if let Some(asked) = asked {
                    note(what, was, asked.clone());
                }
            }
        }
        (before, after)
    }

    fn removal(&self, now: &NetworkInspect) -> Result<Vec<Step>, ModuleError> {
        let mut used: Vec<String> = now.containers.iter().flat_map(HashMap::keys).cloned().collect();
        used.sort();
        if !used.is_empty() && !self.force {
            let names: Vec<&str> =
                now.containers.iter().flat_map(HashMap::values).filter_map(|c| c.name.as_deref()).collect();
            return Err(ModuleError::failed(format!(
                "the network {} must be removed but is used by {}",
                self.name,
                names.join(", ")
            ))
            .hint("remove those containers first, or set force: true"));
        }
        Ok(used.into_iter().map(Step::Disconnect).chain([Step::Remove]).collect())
    }

    fn request(&self) -> NetworkCreateRequest {
        let configs: Vec<IpamConfig> = self
            .ipam_config
            .iter()
            .map(|s| IpamConfig {
                subnet: s.subnet.clone(),
                gateway: s.gateway.clone(),
                ip_range: s.iprange.clone(),
                auxiliary_addresses: None,
            })
            .collect();
        NetworkCreateRequest {
            name: self.name.clone(),
            driver: Some(self.driver.clone()),
            internal: self.internal,
            attachable: self.attachable,
            enable_ipv6: self.enable_ipv6,
            options: Some(self.driver_options.clone().into_iter().collect()),
            ipam: (!configs.is_empty()).then(|| Ipam { config: Some(configs), ..Ipam::default() }),
            labels: Some(marked(&self.labels, &self.mark)),
            ..NetworkCreateRequest::default()
        }
    }
}

#[async_trait]
impl Resource for DockerNetwork {
    const NAME: &'static str = "docker_network";
    const FQCN: &'static [&'static str] = &["community.docker.docker_network"];
    type Observed = Option<NetworkInspect>;
    type Step = Step;

    async fn prepare(&mut self, cx: &TaskContext) -> Result<(), ModuleError> {
        cx.controller.lab().clone_into(&mut self.mark);
        let (what, present) = (format!("network {}", self.name), self.state == Presence::Present);
        self.foreseen = engine::foreseen(cx, what, present).await;
        Ok(())
    }

    async fn observe(&self, cx: &TaskContext) -> Result<Self::Observed, ModuleError> {
        let Some(docker) = engine::look(cx, self.docker_host.as_deref()).await? else {
            return Ok(None);
        };
        let answer = docker.inspect_network(&self.name, None::<InspectNetworkOptions>).await;
        let network = engine::found(answer)
            .map_err(|e| engine::failure(&format!("looking for the network {}", self.name), &e))?;
        // The engine also finds networks by the beginning of their ID.
        Ok(network.filter(|n| n.name.as_deref() == Some(self.name.as_str())))
    }

    fn plan(&self, now: &Self::Observed, _: RunMode) -> Result<Plan<Step>, ModuleError> {
        let name = format!("network {}", self.name);
        Ok(match (self.state, now) {
            (Presence::Absent, None) => Plan::default(),
            (Presence::Present, None) if self.foreseen => Plan::default(),
            (Presence::Absent, Some(network)) => {
                Plan::new(self.removal(network)?, vec![Diff::new(&name, "present\n", "absent\n")])
            }
            (Presence::Present, None) => {
                Plan::new(vec![Step::Create], vec![Diff::new(&name, "absent\n", "present\n")])
            }
            (Presence::Present, Some(network)) => {
                let (before, after) = self.differences(network);
                if before == after {
                    return Ok(Plan::default());
                }
                let mut steps = self.removal(network)?;
                steps.push(Step::Create);
                Plan::new(steps, vec![Diff::new(&name, before, after)])
            }
        })
    }

    async fn apply(&self, step: &Step, cx: &TaskContext) -> Result<(), ModuleError> {
        let docker = engine::connect(cx, self.docker_host.as_deref()).await?;
        let done = match step {
            Step::Disconnect(container) => {
                let request = NetworkDisconnectRequest { container: container.clone(), force: Some(true) };
                docker.disconnect_network(&self.name, request).await
            }
            Step::Remove => docker.remove_network(&self.name).await,
            Step::Create => docker.create_network(self.request()).await.map(drop),
        };
        done.map_err(|e| engine::failure(&format!("changing the network {}", self.name), &e))
    }

    fn result(&self, after: &Self::Observed) -> Map {
        let network = after.as_ref().map_or(json!({}), |n| serde_json::to_value(n).unwrap_or_default());
        Map::from_iter([("network".to_owned(), network)])
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
    fn only_what_was_asked_is_compared() {
        let now: NetworkInspect = serde_json::from_value(json!({
            "Name": "n", "Driver": "bridge", "Internal": false,
            "IPAM": {"Config": [{"Subnet": "172.30.0.0/24", "Gateway": "172.30.0.1"}]},
            "Containers": {"c1": {"Name": "db"}}
        }))
        .expect("network");
        for (args, steps) in [
            (json!({"name": "n"}), Ok(vec![])),
            (json!({"name": "n", "ipam_config": [{"subnet": "172.30.0.0/24"}]}), Ok(vec![])),
            (json!({"name": "n", "internal": true}), Err("the network n must be removed but is used by db")),
            (
                json!({"name": "n", "internal": true, "force": true}),
                Ok(vec![Step::Disconnect("c1".into()), Step::Remove, Step::Create]),
            ),
        ] {
            let Value::Object(map) = args.clone() else { panic!("an object") };
            let network: DockerNetwork = from_args(map).expect("arguments");
            let plan = network
                .plan(&Some(now.clone()), RunMode::default())
                .map(|p| p.steps)
                .map_err(|e| e.to_string());
            assert_eq!(plan, steps.map_err(str::to_owned), "{args}");
        }
    }
}
