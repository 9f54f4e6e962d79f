use anyhow::{Context as _, Result};

use super::identity::hypervisor_uris;
use super::{Lab, wanted_private};
use crate::diag::Diagnostic;
use crate::inventory::Inventory;
use crate::lab::{Hypervisor, VmStatus, lab_status, private};
use crate::settings::Settings;

/// A lab that exists, as a command about it finds it: its private hypervisor is joined where one runs.
pub(super) struct Session {
    pub inventory: Inventory,
    pub lab: Lab,
    uris: Vec<String>,
}

impl Session {
    /// Reads the inventory and joins its hypervisor. Call it before any thread exists.
    pub(super) fn open(sources: &[String]) -> Result<Self> {
        let settings = Settings::load()?;
        let sources = if sources.is_empty() { &settings.inventory } else { sources };
        if sources.is_empty() {
            return Err(Diagnostic::new("no inventory is given")
                .hint("name the lab's inventory with -i")
                .into());
        }
        let (inventory, _) = Inventory::load(sources)?;
        private::enter_if_running(wanted_private(&inventory)?)?;
        Ok(Self { lab: Lab::of(&inventory), uris: hypervisor_uris(&inventory), inventory })
    }

    /// The lab's VMs on all its hypervisors.
    pub(super) fn vms(&self) -> Result<Vec<VmStatus>> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .context("cannot start the runtime")?;
        runtime.block_on(async {
            let mut all = Vec::new();
            for uri in &self.uris {
                let hypervisor = Hypervisor::open(uri).await?;
                all.extend(lab_status(&hypervisor, &self.lab.name).await?);
            }
            Ok(all)
        })
    }
}
