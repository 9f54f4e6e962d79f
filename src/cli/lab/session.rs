use std::future::Future;

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
    pub uris: Vec<String>,
    /// Whether its guests are reached in the private hypervisor's namespaces only.
    pub private: bool,
}

/// One VM of the lab with the hypervisor that runs it.
#[derive(Clone)]
pub(super) struct Found {
    pub hypervisor: Hypervisor,
    pub vm: VmStatus,
}

impl Session {
    /// Reads the inventory and joins its hypervisor. Call it before any thread exists.
    pub(super) fn open(sources: &[String]) -> Result<Self> {
        let inventory = read(sources)?;
        let entered = private::enter_if_running(wanted_private(&inventory)?)?;
        Ok(Self {
            lab: Lab::of(&inventory),
            uris: hypervisor_uris(&inventory),
            private: entered != private::Entered::System,
            inventory,
        })
    }

    /// The lab's VMs on all its hypervisors, each with its own.
    pub(super) async fn found(&self) -> Result<Vec<Found>> {
        let mut all = Vec::new();
        for uri in &self.uris {
            let hypervisor = Hypervisor::shared(uri).await?;
            let vms = lab_status(&hypervisor, &self.lab.name).await?;
            all.extend(vms.into_iter().map(|vm| Found { hypervisor: hypervisor.clone(), vm }));
        }
        Ok(all)
    }

    /// Those of the lab's VMs that are meant by these names; all of them without any.
    pub(super) async fn chosen(&self, names: &[String]) -> Result<Vec<Found>> {
        let all = self.found().await?;
        if all.is_empty() {
            return Err(Diagnostic::new(format!("the lab {} has no VMs", self.lab.name))
                .hint("bring it up with quaylab run")
                .into());
        }
        if names.is_empty() {
            return Ok(all);
        }
        let mut chosen = Vec::new();
        for name in names {
            let host = super::names::meant(&self.inventory, name)?;
            let short = super::names::short(&host);
            let found = all.iter().find(|f| f.vm.name == short).ok_or_else(|| {
                Diagnostic::new(format!("the lab {} has no VM for {host}", self.lab.name))
                    .hint("bring it up with quaylab run")
            })?;
            chosen.push(found.clone());
        }
        Ok(chosen)
    }
}

/// The inventory of these sources, or of the settings.
pub(super) fn read(sources: &[String]) -> Result<Inventory> {
    let settings = Settings::load()?;
    let sources = if sources.is_empty() { &settings.inventory } else { sources };
    if sources.is_empty() {
        return Err(Diagnostic::new("no inventory is given").hint("name the lab's inventory with -i").into());
    }
    Ok(Inventory::load(sources)?.0)
}

/// Runs what a command waits for; a call into libvirt that hangs does not hold the program up.
pub(super) fn run<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let done = runtime.block_on(work);
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    done
}
