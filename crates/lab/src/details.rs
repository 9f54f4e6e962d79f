use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::xml::Element;
use super::{Hypervisor, LabError, MadeKind, Registry};

/// What `status` tells of a VM besides how it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VmDetails {
    pub disks: Vec<VmDisk>,
    /// Since it was started; `None` where it does not run, or nobody knows.
    pub uptime: Option<Duration>,
    /// Its memory was saved: it goes on from there when it is started.
    pub saved: bool,
    pub autostart: bool,
}

/// One disk of a VM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VmDisk {
    /// `vda`.
    pub target: String,
    pub path: String,
    /// `None` for a volume that this lab did not make.
    pub capacity: Option<u64>,
    pub read_only: bool,
}

/// Where libvirt notes the process of a VM that it runs.
const PROCESSES: &str = "/run/libvirt/qemu";

/// The details of a VM.
pub async fn vm_details(
    hypervisor: &Hypervisor,
    state_dir: &Path,
    name: &str,
) -> Result<VmDetails, LabError> {
    let uri = hypervisor.uri().to_owned();
    let made = Registry::new(state_dir).all()?;
    let local = hypervisor.is_local();
    let name = name.to_owned();
    hypervisor
        .call(move |d| {
            let Some(now) = d.domain(&name)? else { return Ok(VmDetails::default()) };
            let mut capacities = HashMap::new();
            let volumes = made.iter().filter(|m| m.uri == uri && m.kind == MadeKind::Volume);
            for (pool, volume) in volumes.filter_map(|m| m.name.split_once('/')) {
                if let Some(volume) = d.volume(pool, volume)? {
                    capacities.insert(volume.path, volume.capacity);
                }
            }
            let disks = disks(&Element::parse(&now.xml)?)
                .into_iter()
                .map(|disk| VmDisk { capacity: capacities.get(&disk.path).copied(), ..disk })
                .collect();
            let running = now.state == super::DomainState::Running;
            Ok(VmDetails {
                disks,
                uptime: if running && local { started(&name) } else { None },
                saved: !running && d.has_saved_domain(&name).unwrap_or(false),
                autostart: now.autostart,
            })
        })
        .await
}

/// The disks of a definition.
pub fn disks(domain: &Element) -> Vec<VmDisk> {
    let all = domain.find("devices").into_iter().flat_map(|d| d.all("disk"));
    all.filter_map(|disk| {
        let source = disk.find("source")?;
        Some(VmDisk {
            target: disk.path_attr("target", "dev")?.to_owned(),
            path: source.get("file").or_else(|| source.get("dev"))?.to_owned(),
            capacity: None,
            read_only: disk.find("readonly").is_some(),
        })
    })
    .collect()
}

/// How long ago libvirt wrote down the VM's process.
fn started(name: &str) -> Option<Duration> {
    let noted = std::fs::metadata(format!("{PROCESSES}/{name}.pid")).ok()?.modified().ok()?;
    SystemTime::now().duration_since(noted).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disks_are_read_from_a_definition() {
        let xml = "<domain><devices>\
            <disk><source file='/p/a'/><target dev='vda'/></disk>\
            <disk><source dev='/dev/vg/b'/><target dev='vdb'/><readonly/></disk>\
            <disk device='cdrom'><target dev='sda'/></disk></devices></domain>";
        let found = disks(&Element::parse(xml).expect("xml"));
        let seen: Vec<_> = found.iter().map(|d| (d.target.as_str(), d.path.as_str(), d.read_only)).collect();
        assert_eq!(seen, [("vda", "/p/a", false), ("vdb", "/dev/vg/b", true)]);
    }
}
