//! What lies behind the disks of VMs: which files are overlays of which, and which of them this lab made.

use std::collections::BTreeSet;
use std::time::Duration;

use super::by_hand::{DiskFiles, DiskNow, disks_now};
use super::xml::Element;
use super::{DomainState, Driver, Hypervisor, LabError, Ledger, MadeKind, Mark};
use crate::host::{Script, quote};

/// How long looking into one image may take.
const LOOK: Duration = Duration::from_secs(20);

/// What has to be known of these disks to say where they come from.
pub async fn disk_files(
    hypervisor: &Hypervisor,
    ledger: &Ledger,
    disks: &[DiskNow],
) -> Result<DiskFiles, LabError> {
    let mut files = DiskFiles { ours: own_files(hypervisor, ledger).await?, ..DiskFiles::default() };
    for disk in disks.iter().filter(|disk| !files.ours.contains(&disk.path)) {
        files.below.insert(disk.path.clone(), below(hypervisor, disk).await);
    }
    Ok(files)
}

/// The files and devices of the volumes that this lab made on a hypervisor.
pub async fn own_files(hypervisor: &Hypervisor, ledger: &Ledger) -> Result<BTreeSet<String>, LabError> {
    let made = ledger.all().await?;
    hypervisor
        .call(move |d| {
            let mut paths = BTreeSet::new();
            for volume in made.iter().filter(|m| m.kind == MadeKind::Volume) {
                let Some((pool, name)) = volume.name.split_once('/') else { continue };
                paths.extend(d.volume(pool, name)?.map(|v| v.path));
            }
            Ok(paths)
        })
        .await
}

/// What lies below a disk's file, the nearest first: from the VM's definition, else from the images' own headers, as far as they can be read.
pub async fn below(hypervisor: &Hypervisor, disk: &DiskNow) -> Vec<String> {
    if !disk.below.is_empty() || disk.path.is_empty() || disk.format == "raw" {
        return disk.below.clone();
    }
    let Some(root) = hypervisor.root() else { return Vec::new() };
    // The format is the one that the VM uses: what a guest wrote into a raw disk is no header.
    let script = format!(
        "qemu-img info -U --backing-chain --output=json -f {} {}",
        quote(&disk.format),
        quote(&disk.path)
    );
    let reply = root.run(&Script { timeout: Some(LOOK), ..Script::new(script) }).await;
    reply.ok().filter(crate::host::Reply::ok).map(|r| chain(&r.out())).unwrap_or_default()
}

/// The files of `qemu-img info --backing-chain`, without the first.
fn chain(json: &str) -> Vec<String> {
    let images: Vec<serde_json::Value> = serde_json::from_str(json).unwrap_or_default();
    let file = |image: &serde_json::Value| image.get("filename")?.as_str().map(str::to_owned);
    images.iter().skip(1).filter_map(file).collect()
}

/// A disk of a VM, with what it lies on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsedDisk {
    pub vm: String,
    pub running: bool,
    /// Whether the VM carries this lab's mark.
    pub ours: bool,
    pub disk: DiskNow,
}

/// The writable disks of all VMs of a hypervisor, as they are and as they will be with the next boot.
pub fn used_disks(driver: &dyn Driver, mark: &Mark) -> Result<Vec<UsedDisk>, LabError> {
    let mut all: Vec<UsedDisk> = Vec::new();
    for vm in driver.domains()? {
        let Some(now) = driver.domain(&vm)? else { continue };
        let running = matches!(now.state, DomainState::Running | DomainState::Paused);
        // The running one first: it says what lies below its disks.
        for xml in now.live.iter().chain([&now.xml]) {
            let xml = Element::parse(xml)?;
            let ours = Mark::read(&xml).as_ref() == Some(mark);
            for disk in disks_now(&xml).into_iter().filter(|disk| !disk.path.is_empty()) {
                if !all.iter().any(|known| known.vm == vm && known.disk.path == disk.path) {
                    all.push(UsedDisk { vm: vm.clone(), running, ours, disk });
                }
            }
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::chain;

    #[test]
    fn a_chain_is_read_as_far_as_it_goes() {
        let told = r#"[{"filename": "/p/vm.s1", "backing-filename": "vm.qcow2"},
            {"filename": "/p/vm.qcow2"}, {"filename": "/p/base"}]"#;
        assert_eq!(chain(told), ["/p/vm.qcow2", "/p/base"]);
        for nothing in ["", "{}", "[]", "[{}]", "[1, 2]"] {
            assert!(chain(nothing).is_empty(), "{nothing}");
        }
    }
}
