use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::words::Words;

/// What was asked of a container; `None` and empty mean: whatever it is.
#[derive(Debug, Clone, Default)]
pub(crate) struct ContainerSpec {
    pub(crate) image: String,
    pub(crate) env: BTreeMap<String, String>,
    pub(crate) published_ports: Vec<String>,
    pub(crate) volumes: Vec<String>,
    pub(crate) tmpfs: Vec<String>,
    pub(crate) networks: Vec<NetworkArg>,
    pub(crate) network_mode: Option<String>,
    pub(crate) restart_policy: Option<RestartPolicyArg>,
    pub(crate) restart_retries: Option<i64>,
    pub(crate) command: Option<Words>,
    pub(crate) entrypoint: Option<Words>,
    pub(crate) user: Option<String>,
    pub(crate) hostname: Option<String>,
    pub(crate) working_dir: Option<String>,
    pub(crate) privileged: Option<bool>,
    pub(crate) init: Option<bool>,
    pub(crate) read_only: Option<bool>,
    pub(crate) capabilities: Vec<String>,
    pub(crate) cap_drop: Vec<String>,
    pub(crate) security_opts: Vec<String>,
    pub(crate) sysctls: BTreeMap<String, String>,
    pub(crate) etc_hosts: BTreeMap<String, String>,
    pub(crate) log_driver: Option<String>,
    pub(crate) log_options: BTreeMap<String, String>,
    /// Bytes.
    pub(crate) memory: Option<i64>,
    /// Bytes.
    pub(crate) shm_size: Option<i64>,
    pub(crate) labels: BTreeMap<String, String>,
}

/// A network that a container is on.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NetworkArg {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) aliases: Vec<String>,
    pub(crate) ipv4_address: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum RestartPolicyArg {
    No,
    OnFailure,
    Always,
    UnlessStopped,
}

impl RestartPolicyArg {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::No => "no",
            Self::OnFailure => "on-failure",
            Self::Always => "always",
            Self::UnlessStopped => "unless-stopped",
        }
    }
}
