use std::future::Future;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::net::TcpStream;

use super::identity::hypervisor_uris;
use super::named::LabArgs;
use super::names::VmNames;
use super::{Held, Lab, WaitArgs, refuse_anothers, wanted_private};
use crate::diag::Diagnostic;
use crate::host::{ByteStream, Endpoint};
use crate::inventory::Inventory;
use crate::lab::{Hypervisor, Hypervisors, VmStatus, lab_status, private};

/// How long one attempt to reach a guest may take.
const KNOCK: Duration = Duration::from_secs(1);

/// How long a guest that goes on may be out of reach: spanning tree takes four seconds.
const REACHABLE: Duration = Duration::from_secs(15);

/// A lab that exists, as a command about it finds it: its private hypervisor is joined where one runs.
pub(super) struct Session {
    pub inventory: Inventory,
    pub names: VmNames,
    pub lab: Lab,
    pub uris: Vec<String>,
    /// Whether its guests are reached in the private hypervisor's namespaces only.
    pub private: bool,
    pub hypervisors: Hypervisors,
    changes: bool,
    _held: Option<Held>,
}

/// One VM of the lab with the hypervisor that runs it.
#[derive(Clone)]
pub(super) struct Found {
    pub hypervisor: Hypervisor,
    pub vm: VmStatus,
}

impl Session {
    /// Reads the inventory and joins its hypervisor. Call it before any thread exists.
    pub(super) fn open(of: &LabArgs) -> Result<Self> {
        let inventory = of.read()?;
        let lab = Lab::of(&inventory)?;
        Self::join(inventory, lab, None, false)
    }

    /// The same for a command that shows what is there: where another changes it, that is said.
    pub(super) fn looking(of: &LabArgs, doing: &str) -> Result<Self> {
        let inventory = of.read()?;
        let held = Held::look(Lab::of(&inventory)?, doing)?;
        Self::join(inventory, held.clone(), Some(held), false)
    }

    /// The same for a command that changes the lab, and is alone with it as long as the session lasts.
    pub(super) fn changing(of: &LabArgs, doing: &str, wait: WaitArgs) -> Result<Self> {
        let inventory = of.read()?;
        let held = Held::change(&inventory, doing, wait)?.claimed(false)?;
        Self::join(inventory, held.clone(), Some(held), true)
    }

    fn join(inventory: Inventory, lab: Lab, held: Option<Held>, changes: bool) -> Result<Self> {
        let entered = private::enter_if_running(wanted_private(&inventory)?)?;
        Ok(Self {
            names: VmNames::of(&inventory),
            hypervisors: Hypervisors::default(),
            lab,
            changes,
            _held: held,
            uris: hypervisor_uris(&inventory),
            private: entered != private::Entered::System,
            inventory,
        })
    }

    /// The lab's VMs on all its hypervisors, each with its own.
    pub(super) async fn found(&self) -> Result<Vec<Found>> {
        if self.changes {
            refuse_anothers(&self.lab, &self.uris, &self.hypervisors).await?;
        }
        let mut all = Vec::new();
        for uri in &self.uris {
            let hypervisor = self.hypervisors.get(uri).await?;
            let vms = lab_status(&hypervisor.clone().only_asked(), &self.lab.name).await?;
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
            let host = self.names.meant(name)?;
            let vm = self.names.own_vm(&host)?;
            let found = all.iter().find(|f| f.vm.name == vm).ok_or_else(|| {
                Diagnostic::new(format!("the lab {} has no VM for {host}", self.lab.name))
                    .hint("bring it up with quaylab run")
            })?;
            chosen.push(found.clone());
        }
        Ok(chosen)
    }
}

impl Found {
    /// A connection to a port of the guest, by the way that leads there.
    pub(super) async fn dial(&self, port: u16) -> std::io::Result<Box<dyn ByteStream>> {
        let address = self.vm.address.clone().ok_or(std::io::ErrorKind::AddrNotAvailable)?;
        match self.hypervisor.shell().filter(|_| self.hypervisor.way().is_some()) {
            Some(shell) => {
                let endpoint = Endpoint::Tcp { host: address, port };
                shell.dial(&endpoint).await.map_err(std::io::Error::other)
            }
            None => Ok(Box::new(TcpStream::connect((address, port)).await?)),
        }
    }

    /// Waits until anything answers at the guest's address, as long as that may take: a bridge carries nothing for a new member's first seconds.
    pub(super) async fn until_reachable(&self) -> bool {
        let behind = self.hypervisor.way().is_some();
        let knocking = async {
            loop {
                match tokio::time::timeout(KNOCK, self.dial(22)).await {
                    Ok(Ok(_)) => return,
                    // Refused: by the guest itself. The way through a hypervisor does not tell, but says at once what a guest says.
                    Ok(Err(error)) if behind || error.kind() == std::io::ErrorKind::ConnectionRefused => {
                        return;
                    }
                    _ => tokio::time::sleep(KNOCK / 5).await,
                }
            }
        };
        self.vm.address.is_none() || tokio::time::timeout(REACHABLE, knocking).await.is_ok()
    }
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
