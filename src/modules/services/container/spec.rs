use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::modules::services::words::Words;

/// What was asked of a container; `None` and empty mean: whatever it is.
#[derive(Debug, Clone, Default)]
pub(in crate::modules::services) struct ContainerSpec {
    pub(in crate::modules::services) image: String,
    pub(in crate::modules::services) env: BTreeMap<String, String>,
    pub(in crate::modules::services) published_ports: Vec<String>,
    pub(in crate::modules::services) volumes: Vec<String>,
    pub(in crate::modules::services) tmpfs: Vec<String>,
    pub(in crate::modules::services) networks: Vec<NetworkArg>,
    pub(in crate::modules::services) network_mode: Option<String>,
    pub(in crate::modules::services) restart_policy: Option<RestartPolicyArg>,
    pub(in crate::modules::services) restart_retries: Option<i64>,
    pub(in crate::modules::services) command: Option<Words>,
    pub(in crate::modules::services) entrypoint: Option<Words>,
    pub(in crate::modules::services) user: Option<String>,
    pub(in crate::modules::services) hostname: Option<String>,
    pub(in crate::modules::services) working_dir: Option<String>,
    pub(in crate::modules::services) privileged: Option<bool>,
    pub(in crate::modules::services) init: Option<bool>,
    pub(in crate::modules::services) read_only: Option<bool>,
    pub(in crate::modules::services) capabilities: Vec<String>,
    pub(in crate::modules::services) cap_drop: Vec<String>,
    pub(in crate::modules::services) security_opts: Vec<String>,
    pub(in crate::modules::services) sysctls: BTreeMap<String, String>,
    pub(in crate::modules::services) etc_hosts: BTreeMap<String, String>,
    pub(in crate::modules::services) log_driver: Option<String>,
    pub(in crate::modules::services) log_options: BTreeMap<String, String>,
    /// Bytes.
    pub(in crate::modules::services) memory: Option<i64>,
    /// Bytes.
    pub(in crate::modules::services) shm_size: Option<i64>,
    pub(in crate::modules::services) labels: BTreeMap<String, String>,
}

/// A network that a container is on.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::modules::services) struct NetworkArg {
    pub(in crate::modules::services) name: String,
    #[serde(default)]
    pub(in crate::modules::services) aliases: Vec<String>,
    pub(in crate::modules::services) ipv4_address: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(in crate::modules::services) enum RestartPolicyArg {
    No,
    OnFailure,
    Always,
    UnlessStopped,
}

impl RestartPolicyArg {
    pub(in crate::modules::services) fn word(self) -> &'static str {
        match self {
            Self::No => "no",
            Self::OnFailure => "on-failure",
            Self::Always => "always",
            Self::UnlessStopped => "unless-stopped",
        }
    }
}
