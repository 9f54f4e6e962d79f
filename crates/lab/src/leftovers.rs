//! What belongs to a VM without being a volume that was declared: the files of external snapshots, and the addresses that networks keep for it.

use std::collections::{BTreeMap, BTreeSet};

use super::by_hand::disks_now;
use super::disk_files::below;
use super::xml::Element;
use super::{
    DiskNow, Doomed, Driver, Hypervisor, LabError, Lease, Ledger, Mark, NetworkUpdate, SnapshotFile,
    UpdateCommand, UpdateSection, own_files,
};
use crate::host::{Script, quote};

/// A VM with its definitions and those of its snapshots.
#[derive(Debug, Clone)]
pub(super) struct Defined {
    pub name: String,
    /// What it is now and, where it runs, what it will be.
    pub definitions: Vec<Element>,
    pub snapshots: Vec<Element>,
}

impl Defined {
    pub(super) fn read(driver: &dyn Driver, name: &str) -> Result<Option<Self>, LabError> {
        let Some(now) = driver.domain(name)? else { return Ok(None) };
        let parse = |xml: &String| Element::parse(xml);
        Ok(Some(Self {
            name: name.to_owned(),
            definitions: now.live.iter().chain([&now.xml]).map(parse).collect::<Result<_, _>>()?,
            snapshots: driver.snapshots(name)?.iter().map(parse).collect::<Result<_, _>>()?,
        }))
    }

    /// Its network cards, as network and MAC.
    pub(super) fn cards(&self) -> BTreeSet<(String, String)> {
        let devices = self.definitions.iter().filter_map(|d| d.find("devices"));
        devices
            .flat_map(|d| d.all("interface"))
            .filter_map(|card| {
                let network = card.path_attr("source", "network")?;
                Some((network.to_owned(), card.path_attr("mac", "address")?.to_ascii_lowercase()))
            })
            .collect()
    }

    /// The files that external snapshots wrote memory into, and those that they made the disks.
    fn snapshot_files(&self) -> (BTreeSet<String>, Vec<DiskNow>) {
        let (mut memory, mut overlays) = (BTreeSet::new(), Vec::new());
        for snapshot in &self.snapshots {
            if let Some(file) = snapshot.path_attr("memory", "file") {
                memory.insert(file.to_owned());
            }
            let disks = snapshot.find("disks").into_iter().flat_map(|disks| disks.all("disk"));
            for disk in disks.filter(|disk| disk.get("snapshot") == Some("external")) {
                let Some(path) = disk.path_attr("source", "file") else { continue };
                overlays.push(DiskNow {
                    target: disk.get("name").unwrap_or_default().to_owned(),
                    path: path.to_owned(),
                    format: disk.path_attr("driver", "type").unwrap_or("qcow2").to_owned(),
                    read_only: false,
                    below: Vec::new(),
                });
            }
        }
        (memory, overlays)
    }
}

/// The files of a lab's VMs that are no volumes of its: overlays on them and memory go with the VM, what else somebody
/// attached stays. `devices` are the logical volumes that carry its tag.
pub(super) async fn files(
    hypervisor: &Hypervisor,
    ledger: &Ledger,
    devices: BTreeSet<String>,
    vms: &[Defined],
) -> Result<Vec<Doomed>, LabError> {
    let strange = |ours: &BTreeSet<String>, disk: &DiskNow| {
        !disk.read_only && !disk.path.is_empty() && !ours.contains(&disk.path)
    };
    let disks: Vec<(&str, DiskNow)> = vms
        .iter()
        .flat_map(|vm| vm.definitions.iter().flat_map(disks_now).map(|disk| (vm.name.as_str(), disk)))
        .collect();
    if vms.iter().all(|vm| vm.snapshots.is_empty()) && disks.iter().all(|(_, disk)| disk.read_only) {
        return Ok(Vec::new());
    }
    let mut ours = own_files(hypervisor, ledger).await?;
    ours.extend(devices);
    let mut doomed = BTreeSet::new();
    let mut told = BTreeSet::new();
    for (vm, disk) in disks.iter().filter(|(_, disk)| strange(&ours, disk)) {
        let chain = std::iter::once(disk.path.clone()).chain(below(hypervisor, disk).await);
        let chain: Vec<String> = chain.collect();
        match chain.iter().position(|file| ours.contains(file)) {
            Some(at) => doomed.extend(
                chain.into_iter().take(at).map(|path| ((*vm).to_owned(), path, SnapshotFile::Overlay)),
            ),
            None => {
                told.insert(((*vm).to_owned(), disk.path.clone()));
            }
        }
    }
    for vm in vms {
        let (memory, overlays) = vm.snapshot_files();
        for path in memory {
            if is_there(hypervisor, &path).await {
                doomed.insert((vm.name.clone(), path, SnapshotFile::Memory));
            }
        }
        for overlay in overlays.iter().filter(|disk| strange(&ours, disk)) {
            // What lies on a volume of the lab has no use without it.
            let chain = below(hypervisor, overlay).await;
            if chain.iter().any(|file| ours.contains(file)) {
                doomed.insert((vm.name.clone(), overlay.path.clone(), SnapshotFile::Overlay));
            }
        }
    }
    let stays = told.into_iter().map(|(vm, path)| Doomed::Foreign { vm, path });
    let goes = doomed.into_iter().map(|(vm, path, kind)| Doomed::File { vm, path, kind });
    Ok(goes.chain(stays).collect())
}

async fn is_there(hypervisor: &Hypervisor, path: &str) -> bool {
    let Some(root) = hypervisor.root() else { return false };
    root.run(&Script::new(format!("[ -f {} ]", quote(path)))).await.is_ok_and(|r| r.ok())
}

/// Removes a file of an external snapshot; the answer is why it stays.
pub(super) async fn remove_file(hypervisor: &Hypervisor, path: &str) -> Result<Option<String>, LabError> {
    let Some(root) = hypervisor.root() else {
        return Ok(Some("libvirt is all that is reached of the hypervisor, and not its files".into()));
    };
    let reply = root.run(&Script::new(format!("rm -f -- {}", quote(path)))).await?;
    if reply.ok() {
        Ok(None)
    } else {
        Err(LabError::failed(format!("removing {path}"), reply.err().trim().to_owned()))
    }
}

/// The addresses of VMs in networks that stay when their lab goes; one of the lab's own takes its addresses with it.
pub(super) fn addresses_elsewhere(
    driver: &dyn Driver,
    doomed: &BTreeSet<Doomed>,
    vms: &[Defined],
    mark: &Mark,
) -> Result<Vec<Doomed>, LabError> {
    let goes = |network: &str| {
        doomed.iter().any(|thing| matches!(thing, Doomed::Network { name, .. } if name == network))
    };
    let macs = vms.iter().flat_map(Defined::cards).map(|(_, mac)| mac).collect();
    addresses(driver, &macs, &BTreeMap::new(), mark, |network| !goes(network))
}

/// An address that a network's DHCP keeps, with the place of its subnet.
struct Kept<'a> {
    ip: usize,
    host: &'a Element,
}

impl Kept<'_> {
    fn is_of(&self, mac: &str, address: &str) -> bool {
        // An IPv6 address is kept for a name.
        let same = match self.host.get("mac") {
            Some(known) => known.eq_ignore_ascii_case(mac),
            None => self.host.get("id").is_none(),
        };
        same && self.host.get("ip") == Some(address)
    }

    fn taken_back(&self) -> NetworkUpdate {
        NetworkUpdate {
            command: UpdateCommand::Delete,
            section: UpdateSection::DhcpHost,
            ip: Some(self.ip),
            xml: self.host.to_string(),
        }
    }
}

fn kept(network: &Element) -> impl Iterator<Item = Kept<'_>> {
    network.all("ip").enumerate().flat_map(|(ip, element)| {
        let hosts = element.find("dhcp").into_iter().flat_map(|dhcp| dhcp.all("host"));
        hosts.map(move |host| Kept { ip, host })
    })
}

/// The addresses that networks keep for these MACs, or have lent to them; of the networks that `of` takes. `named` are
/// the guests for whose names IPv6 addresses are kept, with the MAC of each.
pub(super) fn addresses(
    driver: &dyn Driver,
    macs: &BTreeSet<String>,
    named: &BTreeMap<String, String>,
    mark: &Mark,
    of: impl Fn(&str) -> bool,
) -> Result<Vec<Doomed>, LabError> {
    let mut all = BTreeSet::new();
    for network in driver.networks()? {
        let Some(now) = driver.network(&network)?.filter(|_| of(&network)) else { continue };
        let xml = Element::parse(&now.xml)?;
        // What others reserved in their own networks is not ours to take.
        for Kept { host, .. } in kept(&xml).filter(|_| Mark::read(&xml).as_ref() == Some(mark)) {
            let Some(address) = host.get("ip") else { continue };
            let by_name = host.get("mac").is_none() && host.get("id").is_none();
            let mac = match host.get("name").filter(|_| by_name).and_then(|name| named.get(name)) {
                Some(mac) => Some(mac.as_str()),
                None => host.get("mac"),
            };
            all.extend(mac.map(|mac| (network.clone(), mac.to_ascii_lowercase(), address.to_owned())));
        }
        if now.active {
            let leases = driver.leases(&network).unwrap_or_default();
            all.extend(leases.into_iter().map(|l| (network.clone(), l.mac.to_ascii_lowercase(), l.address)));
        }
    }
    let own = all.into_iter().filter(|(_, mac, _)| macs.contains(mac));
    Ok(own.map(|(network, mac, address)| Doomed::Address { network, mac, address }).collect())
}

/// Gives an address back: what the network keeps for the MAC, and the lease. The answer is why it stays.
pub(super) async fn give_back(
    hypervisor: &Hypervisor,
    mark: &Mark,
    (network, mac, address): (&str, &str, &str),
) -> Result<Option<String>, LabError> {
    let (name, own, kept_for, mark) = (network.to_owned(), mac.to_owned(), address.to_owned(), mark.clone());
    let bridge = hypervisor
        .call(move |d| {
            let Some(now) = d.network(&name)? else { return Ok(None) };
            let xml = Element::parse(&now.xml)?;
            if Mark::read(&xml).as_ref() == Some(&mark) {
                for update in
                    kept(&xml).filter(|kept| kept.is_of(&own, &kept_for)).map(|kept| kept.taken_back())
                {
                    d.update_network(&name, &update)?;
                }
            }
            Ok(xml.path_attr("bridge", "name").map(str::to_owned))
        })
        .await?;
    let Some(lease) = lease_of(hypervisor, network, mac, address).await? else { return Ok(None) };
    release(hypervisor, bridge.as_deref(), &lease).await?;
    let Some(lease) = lease_of(hypervisor, network, mac, address).await? else { return Ok(None) };
    Ok(Some(format!(
        "its lease lasts until {}; `dhcp_release` (package dnsmasq-utils) on the hypervisor would give it back at once",
        until(&lease)
    )))
}

/// Asks the network's DHCP server to take a lease back, where the tool for that is there.
async fn release(hypervisor: &Hypervisor, bridge: Option<&str>, lease: &Lease) -> Result<(), LabError> {
    let (Some(root), Some(bridge)) = (hypervisor.root(), bridge) else { return Ok(()) };
    // It knows no other addresses, and says nothing of whether it was heard.
    if lease.address.contains('.') {
        let (address, mac) = (quote(&lease.address), quote(&lease.mac));
        let client = lease.client.as_deref().map(quote).unwrap_or_default();
        let script = format!(
            "PATH=$PATH:/usr/sbin:/sbin
command -v dhcp_release >/dev/null && dhcp_release {} {address} {mac} {client} && sleep 0.5",
            quote(bridge)
        );
        let _not_there = root.run(&Script::new(script)).await?;
    }
    Ok(())
}

async fn lease_of(
    hypervisor: &Hypervisor,
    network: &str,
    mac: &str,
    address: &str,
) -> Result<Option<Lease>, LabError> {
    let (network, mac, address) = (network.to_owned(), mac.to_owned(), address.to_owned());
    hypervisor
        .call(move |d| {
            let leases = d.leases(&network).unwrap_or_default();
            Ok(leases.into_iter().find(|l| l.mac.eq_ignore_ascii_case(&mac) && l.address == address))
        })
        .await
}

/// That somebody has an address, until when, and what ends it before.
pub fn lent(lease: &Lease) -> String {
    let name = lease.hostname.as_ref().map(|name| format!(" ({name})")).unwrap_or_default();
    format!(
        "{address} is lent to {mac}{name} until {}, which `dhcp_release BRIDGE {address} {mac}` (package dnsmasq-utils) on the hypervisor ends at once",
        until(lease),
        address = lease.address,
        mac = lease.mac,
    )
}

/// When a lease ends, in local time.
fn until(lease: &Lease) -> String {
    let end = jiff::Timestamp::from_second(lease.expires).unwrap_or_default();
    end.to_zoned(jiff::tz::TimeZone::system()).strftime("%H:%M:%S").to_string()
}
