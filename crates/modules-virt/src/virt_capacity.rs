use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;

use super::common::{connect, default_uri};
use crate::value::{Map, Value};
use crate::{Action, CheckMode, ModuleError, Outcome, TaskContext};

/// What a hypervisor has free: memory, and room in its active pools; and which VMs are defined there.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct VirtCapacity {
    /// The libvirt connection.
    #[serde(default = "default_uri")]
    uri: String,
}

#[async_trait]
impl Action for VirtCapacity {
    const NAME: &'static str = "virt_capacity";
    const FQCN: &'static [&'static str] = &["quaylab.lab.virt_capacity"];
    const CHECK: CheckMode = CheckMode::Runs;

    async fn run(self, cx: &TaskContext) -> Result<Outcome, ModuleError> {
        let (free, pools, vms) = connect(&self.uri, cx)
            .await?
            .call(|d| {
                let mut pools = Map::new();
                for name in d.pools()? {
                    if let Some(free) = d.pool_space(&name)? {
                        pools.insert(name, Value::from(free));
                    }
                }
                Ok((d.free_memory()?, pools, d.domains()?))
            })
            .await?;
        Ok(Outcome::ok(Map::from_iter([
            ("free_memory".into(), Value::from(free >> 20)),
            ("pools".into(), pools.into()),
            ("vms".into(), vms.into()),
        ])))
    }
}
