use std::collections::BTreeMap;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;

use super::common::check_name;
use super::virt_volume::size_of;
use crate::lab::{Candidate, Guest, place};
use crate::value::{Map, Value, plain};
use crate::{Action, CheckMode, ModuleError, Outcome, TaskContext};

/// Chooses the hypervisor for a VM: where it is already, else the one that was asked for, else by free memory and room in
/// the pools, all the lab's VMs considered.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct VirtPlace {
    /// The VM.
    name: String,
    /// What `virt_capacity` said of each hypervisor, with its name as `candidate`.
    hypervisors: Vec<Free>,
    /// All VMs that need a place: `name`, `memory` in MB, `disks` of `size` and `pool`, `hypervisor` where one was asked for.
    guests: Vec<Needs>,
}

#[derive(Debug, Deserialize, JsonSchema)]
struct Free {
    candidate: String,
    #[serde(rename = "free_memory")]
    memory: u64,
    pools: BTreeMap<String, u64>,
    vms: Vec<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Needs {
    name: String,
    #[serde(default)]
    memory: Value,
    #[serde(default)]
    disks: Vec<NeedsDisk>,
    hypervisor: Option<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
struct NeedsDisk {
    size: Value,
    /// Without one it lies where the VM's first disk does, and is not counted.
    pool: Option<String>,
}

impl VirtPlace {
    fn guests(&self) -> Result<Vec<Guest>, ModuleError> {
        let guest = |needs: &Needs| {
            let disks = needs.disks.iter().filter_map(|d| Some((d.pool.clone()?, &d.size)));
            let disks = disks.map(|(pool, size)| Ok((pool, size_of(&plain(size))?)));
            let memory = plain(&needs.memory);
            Ok(Guest {
                name: needs.name.clone(),
                memory: memory.trim().parse().map_err(|_| {
                    ModuleError::Arguments(format!(
                        "VM {}: memory {memory:?} is not a number of MB",
                        needs.name
                    ))
                })?,
                disks: disks.collect::<Result<_, ModuleError>>()?,
                wanted: needs.hypervisor.clone().filter(|h| !h.is_empty()),
            })
        };
        self.guests.iter().map(guest).collect()
    }
}

#[async_trait]
impl Action for VirtPlace {
    const NAME: &'static str = "virt_place";
    const FQCN: &'static [&'static str] = &["quaylab.lab.virt_place"];
    const CHECK: CheckMode = CheckMode::Runs;

    fn validate(&self) -> Result<(), ModuleError> {
        check_name("VM", &self.name)
    }

    async fn run(self, _cx: &TaskContext) -> Result<Outcome, ModuleError> {
        let guests = self.guests()?;
        let candidates: Vec<Candidate> = self
            .hypervisors
            .into_iter()
            .map(|h| Candidate { name: h.candidate, free_memory: h.memory, pools: h.pools, vms: h.vms })
            .collect();
        let mut places = place(&candidates, &guests)?;
        let Some(hypervisor) = places.remove(&self.name) else {
            return Err(ModuleError::Arguments(format!("guests does not name {}", self.name)));
        };
        Ok(Outcome::ok(Map::from_iter([
            ("msg".into(), Value::from(format!("{} on {hypervisor}", self.name))),
            ("hypervisor".into(), hypervisor.into()),
        ])))
    }
}
