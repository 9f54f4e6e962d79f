use std::time::Duration;

use futures_util::future::join_all;

use super::address::{Agent, leased_address, seen_address};
use super::xml::Element;
use super::{DomainState, Hypervisor, LabError, Mark};

/// What identifies a VM on its hypervisor and network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VmIdentity {
    pub name: String,
    pub network: String,
    pub mac: String,
    pub console_log: String,
}

impl VmIdentity {
    /// The identity that a definition gives its VM.
    pub fn from_element(domain: &Element) -> Self {
        let devices = domain.find("devices");
        let text = |found: Option<&str>| found.unwrap_or_default().to_owned();
        Self {
            name: text(domain.path_text("name")),
            network: text(devices.and_then(|d| d.path_attr("interface/source", "network"))),
            mac: text(devices.and_then(|d| d.path_attr("interface/mac", "address"))),
            console_log: text(devices.and_then(|d| d.path_attr("serial/log", "file"))),
        }
    }
}

/// How long a guest's agent may take where nobody waits for the guest.
const PATIENCE: Duration = Duration::from_secs(2);

/// One VM of a lab.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VmStatus {
    pub name: String,
    pub state: DomainState,
    pub address: Option<String>,
    /// In MiB.
    pub memory: u64,
    pub vcpus: u32,
}

/// The lab's VMs on a hypervisor, by name.
pub async fn lab_status(hypervisor: &Hypervisor, lab: &str) -> Result<Vec<VmStatus>, LabError> {
    let mark = Mark::new(lab);
    let found = hypervisor
        .call(move |driver| {
            let mut all = Vec::new();
            for name in driver.domains()? {
                // One that vanished meanwhile is not there.
                let Some(domain) = driver.domain(&name)? else { continue };
                let xml = Element::parse(&domain.xml)?;
                if Mark::read(&xml).as_ref() != Some(&mark) {
                    continue;
                }
                let identity = VmIdentity::from_element(&xml);
                let running = domain.state == DomainState::Running;
                let address = if running { leased_address(driver, &identity)? } else { None };
                let vm = VmStatus {
                    name,
                    state: domain.state,
                    address,
                    memory: domain.memory >> 10,
                    vcpus: domain.vcpus,
                };
                all.push((vm, identity));
            }
            Ok(all)
        })
        .await?;
    let mut all =
        join_all(found.into_iter().map(|(vm, identity)| with_address(hypervisor, vm, identity))).await;
    all.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(all)
}

/// A VM that runs, with the address that its agent tells or libvirt saw, where DHCP gave it none.
async fn with_address(hypervisor: &Hypervisor, mut vm: VmStatus, identity: VmIdentity) -> VmStatus {
    if vm.state == DomainState::Running && vm.address.is_none() {
        vm.address = Agent::default().ask(hypervisor, &identity, PATIENCE).await;
        if vm.address.is_none() {
            vm.address = hypervisor.call(move |d| Ok(seen_address(d, &identity))).await.unwrap_or_default();
        }
    }
    vm
}
