use super::xml::Element;
use super::{DomainState, Driver, Hypervisor, LabError, Mark};

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

/// The address of a VM: its newest lease, else what libvirt saw on the network.
pub fn address_of(driver: &dyn Driver, vm: &VmIdentity) -> Result<Option<String>, LabError> {
    let same = |mac: &str| mac.eq_ignore_ascii_case(&vm.mac);
    let leases = if vm.network.is_empty() { Vec::new() } else { driver.leases(&vm.network)? };
    // A guest has both families; the IPv4 address is the one that the inventory's network promises.
    let newest =
        leases.into_iter().filter(|l| same(&l.mac)).max_by_key(|l| (l.address.contains('.'), l.expires));
    if let Some(lease) = newest {
        return Ok(Some(lease.address));
    }
    let seen = driver.addresses(&vm.name).unwrap_or_default();
    Ok(seen.into_iter().find(|(mac, address)| same(mac) && address.contains('.')).map(|(_, address)| address))
}

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
    hypervisor
        .call(move |driver| {
            let mut all = Vec::new();
            for name in driver.domains()? {
                // One that vanished meanwhile is not there.
                let Some(domain) = driver.domain(&name)? else { continue };
                let xml = Element::parse(&domain.xml)?;
                if Mark::read(&xml).as_ref() != Some(&mark) {
                    continue;
                }
                let running = domain.state == DomainState::Running;
                let address =
                    if running { address_of(driver, &VmIdentity::from_element(&xml))? } else { None };
                all.push(VmStatus {
                    name,
                    state: domain.state,
                    address,
                    memory: domain.memory >> 10,
                    vcpus: domain.vcpus,
                });
            }
            all.sort_by(|a, b| a.name.cmp(&b.name));
            Ok(all)
        })
        .await
}
