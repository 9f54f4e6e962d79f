use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use super::leftovers::{self, Defined};
use super::xml::Element;
use super::{
    Converged, DiskNow, DomainState, Hypervisor, LabError, Ledger, LogicalVolume, MadeKind, Mark, Tags,
    VmIdentity, guest_hostname, mac_address, used_disks,
};
use crate::host::{Script, quote};
use crate::store;

/// Something of the lab that `destroy` removes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Doomed {
    Vm {
        name: String,
        running: bool,
    },
    /// A file that an external snapshot of a VM made.
    File {
        vm: String,
        path: String,
        kind: SnapshotFile,
    },
    /// A disk that somebody else gave a VM: it stays when the VM goes.
    Foreign {
        vm: String,
        path: String,
    },
    /// An address that a network keeps for a VM, or has lent to it.
    Address {
        network: String,
        mac: String,
        address: String,
    },
    Volume {
        pool: String,
        name: String,
    },
    /// A logical volume that libvirt does not see: its pool is gone or was never started.
    LogicalVolume {
        group: String,
        name: String,
    },
    /// With the folder where quaylab made that too.
    Pool {
        name: String,
        stands_on: StandsOn,
    },
    /// A volume group that carries the lab's tag.
    VolumeGroup {
        name: String,
    },
    Network {
        name: String,
        active: bool,
    },
    /// A file or folder that remembers something of the lab.
    State(PathBuf),
}

/// What an external snapshot wrote into a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SnapshotFile {
    /// What was written to a disk since.
    Overlay,
    Memory,
}

/// What a pool stands on, as far as it goes with the pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum StandsOn {
    /// A volume group that quaylab made where it could put no tag on it; it is no reason to lose volumes of others.
    VolumeGroup,
    /// A folder that quaylab made; it stays when something else lies in it.
    Folder,
    /// Something that was there before.
    Other,
}

impl fmt::Display for Doomed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Vm { name, .. } => write!(f, "VM {name}"),
            Self::File { vm, path, kind: SnapshotFile::Overlay } => {
                write!(f, "overlay {path} of VM {vm} (external snapshot)")
            }
            Self::File { vm, path, kind: SnapshotFile::Memory } => {
                write!(f, "memory {path} of VM {vm} (external snapshot)")
            }
            Self::Foreign { vm, path } => {
                write!(f, "disk {path}, which VM {vm} has and quaylab did not make")
            }
            Self::Address { network, address, .. } => write!(f, "address {address} in network {network}"),
            Self::Volume { pool, name } => write!(f, "volume {pool}/{name}"),
            Self::Pool { name, stands_on: StandsOn::VolumeGroup } => {
                write!(f, "pool {name} with its volume group")
            }
            Self::Pool { name, .. } => write!(f, "pool {name}"),
            Self::LogicalVolume { group, name } => write!(f, "logical volume {group}/{name}"),
            Self::VolumeGroup { name } => write!(f, "volume group {name}"),
            Self::Network { name, .. } => write!(f, "network {name}"),
            Self::State(path) => write!(f, "{}", path.display()),
        }
    }
}

/// What was removed, and what could not be.
#[derive(Debug, Default)]
pub struct Destroyed {
    pub removed: Vec<Doomed>,
    pub failed: Vec<(Doomed, LabError)>,
    /// What stays on purpose, and why.
    pub kept: Vec<(Doomed, String)>,
}

/// What carries this lab's mark on a hypervisor, in the order in which it can be removed. The marks are enough: the lab's
/// own memory only adds to them.
pub async fn plan_destroy(
    hypervisor: &Hypervisor,
    lab: &str,
    state_dir: &Path,
) -> Result<Vec<Doomed>, LabError> {
    let mark = Mark::new(lab);
    let ledger = Ledger::new(hypervisor, state_dir, lab);
    let made = ledger.all().await?;
    let (groups, logical) = match on_lvm(hypervisor).await {
        Ok(known) => known,
        // LVM that does not answer matters only to a lab that has to do with it.
        Err(error) if made.iter().any(|m| m.source.as_deref() == Some(BUILT_VOLUME_GROUP)) => {
            return Err(error);
        }
        Err(_) => (Vec::new(), Vec::new()),
    };
    let devices =
        logical.iter().filter(|v| v.tags.is_of(lab)).map(|v| format!("/dev/{}/{}", v.group, v.name));
    let devices: BTreeSet<String> = devices.collect();
    let tagged: Vec<LogicalVolume> = logical.iter().filter(|v| v.tags.is_of(lab)).cloned().collect();
    let (mut doomed, vms) = hypervisor
        .call(move |driver| {
            let marked =
                |xml: &str| Ok::<_, LabError>(Mark::read(&Element::parse(xml)?).as_ref() == Some(&mark));
            let (mut doomed, mut vms) = (BTreeSet::new(), Vec::new());
            for name in driver.domains()? {
                if let Some(vm) = driver.domain(&name)?
                    && marked(&vm.xml)?
                {
                    let running = !matches!(vm.state, DomainState::Off | DomainState::Crashed);
                    vms.extend(Defined::read(driver, &name)?);
                    doomed.insert(Doomed::Vm { name, running });
                }
            }
            // Which active pool stands on which volume group.
            let mut pools = Vec::new();
            for name in driver.pools()? {
                let Some(pool) = driver.pool(&name)? else { continue };
                let xml = Element::parse(&pool.xml)?;
                if xml.get("type") == Some("logical") {
                    let group = xml.path_text("source/name").unwrap_or(&name).to_owned();
                    pools.push((name, group, pool.active));
                }
            }
            for volume in &tagged {
                let seen = pools.iter().find(|(_, group, active)| *group == volume.group && *active);
                doomed.insert(match seen {
                    Some((pool, ..)) if driver.volume(pool, &volume.name)?.is_some() => {
                        Doomed::Volume { pool: pool.clone(), name: volume.name.clone() }
                    }
                    _ => Doomed::LogicalVolume { group: volume.group.clone(), name: volume.name.clone() },
                });
            }
            for thing in &made {
                match (thing.kind, thing.name.split_once('/')) {
                    (MadeKind::Volume, Some((pool, name))) => {
                        // Of a logical volume only its tags say whose it is; without LVM the list has to do.
                        let group = pools.iter().find(|(known, ..)| known == pool).map(|(_, group, _)| group);
                        let foreign = logical
                            .iter()
                            .any(|v| Some(&v.group) == group && v.name == name && !v.tags.is_of(&mark.lab));
                        if !foreign && driver.volume(pool, name)?.is_some() {
                            doomed.insert(Doomed::Volume { pool: pool.to_owned(), name: name.to_owned() });
                        }
                    }
                    (MadeKind::Pool, _) if driver.pool(&thing.name)?.is_some() => {
                        let known = groups.iter().any(|(group, _)| *group == thing.name);
                        let stands_on = match thing.source.as_deref() {
                            // Where LVM can be asked, the tag on the volume group decides, further down.
                            Some(BUILT_VOLUME_GROUP)
                                if !known && driver.pool(&thing.name)?.is_some_and(|p| p.active) =>
                            {
                                StandsOn::VolumeGroup
                            }
                            Some(BUILT_FOLDER) => StandsOn::Folder,
                            _ => StandsOn::Other,
                        };
                        doomed.insert(Doomed::Pool { name: thing.name.clone(), stands_on });
                    }
                    _ => {}
                }
            }
            for (name, tags) in groups {
                if tags.is_of(&mark.lab) {
                    doomed.insert(Doomed::VolumeGroup { name });
                }
            }
            for name in driver.networks()? {
                if let Some(network) = driver.network(&name)?
                    && marked(&network.xml)?
                {
                    doomed.insert(Doomed::Network { name, active: network.active });
                }
            }
            doomed.extend(leftovers::addresses_elsewhere(driver, &doomed, &vms, &mark)?);
            Ok((doomed.into_iter().collect::<Vec<_>>(), vms))
        })
        .await?;
    doomed.extend(leftovers::files(hypervisor, &ledger, devices, &vms).await?);
    // Overlays go before what they lie on.
    doomed.sort_by_key(|d| (d.rank(), is_base(d)));
    doomed.extend(remembered(state_dir));
    Ok(doomed)
}

/// The addresses of one VM in all networks, those of the lab's own too: what goes with it where the networks stay. Its MAC is known where the VM is gone.
pub async fn plan_addresses(hypervisor: &Hypervisor, lab: &str, vm: &str) -> Result<Vec<Doomed>, LabError> {
    let (mark, vm) = (Mark::new(lab), vm.to_owned());
    hypervisor
        .call(move |driver| {
            let cards = Defined::read(driver, &vm)?.map(|vm| vm.cards()).unwrap_or_default();
            let own = mac_address(&mark.lab, &vm);
            let named = [(guest_hostname(&vm), own.clone())].into();
            let macs = cards.into_iter().map(|(_, mac)| mac).chain([own]).collect();
            leftovers::addresses(driver, &macs, &named, &mark, |_| true)
        })
        .await
}

async fn on_lvm(hypervisor: &Hypervisor) -> Result<(Vec<(String, Tags)>, Vec<LogicalVolume>), LabError> {
    match hypervisor.lvm().await {
        Some(lvm) => Ok((lvm.groups().await?, lvm.volumes().await?)),
        None => Ok((Vec::new(), Vec::new())),
    }
}

/// The files that remember something of the lab, and those that were being written when quaylab was killed.
fn remembered(state_dir: &Path) -> impl Iterator<Item = Doomed> {
    ["hosts", "id_ed25519", "known_hosts", "secrets", "tls", "made.json", "kvm-probe", Converged::FILE]
        .map(|name| state_dir.join(name))
        .into_iter()
        .filter(|path| path.exists())
        .chain(store::halves(state_dir))
        .map(Doomed::State)
}

/// What the registry notes of a pool whose volume group quaylab made.
pub const BUILT_VOLUME_GROUP: &str = "volume group";

/// What it notes of a pool whose folder quaylab made.
pub const BUILT_FOLDER: &str = "folder";

fn is_base(doomed: &Doomed) -> bool {
    matches!(doomed, Doomed::Volume { name, .. } if name.starts_with("quaylab-base-"))
}

impl Doomed {
    fn rank(&self) -> u8 {
        match self {
            Self::Vm { .. } => 0,
            Self::File { .. } | Self::Foreign { .. } => 1,
            Self::Address { .. } => 2,
            Self::Volume { .. } => 3,
            Self::LogicalVolume { .. } => 4,
            Self::Pool { .. } => 5,
            Self::VolumeGroup { .. } => 6,
            Self::Network { .. } => 7,
            Self::State(_) => 8,
        }
    }
}

/// What is defined on a hypervisor, whoever made it.
pub async fn defined(hypervisor: &Hypervisor) -> Result<Vec<String>, LabError> {
    hypervisor
        .call(|d| {
            let named = |what: &str, names: Vec<String>| {
                names.into_iter().map(|name| format!("{what} {name}")).collect::<Vec<_>>()
            };
            Ok([named("VM", d.domains()?), named("pool", d.pools()?), named("network", d.networks()?)]
                .concat())
        })
        .await
}

/// Removes what was planned; goes on after a failure, and then keeps what is remembered of the lab.
pub async fn destroy(
    hypervisor: &Hypervisor,
    plan: Vec<Doomed>,
    ledger: &Ledger,
    progress: &(dyn Fn(&str) + Send + Sync),
) -> Destroyed {
    let mut done = Destroyed::default();
    for doomed in plan {
        if matches!(doomed, Doomed::State(_)) && !done.failed.is_empty() {
            continue;
        }
        if !matches!(doomed, Doomed::Foreign { .. }) {
            progress(&format!("removing {doomed}"));
        }
        match remove(hypervisor, &doomed, ledger).await {
            Ok(None) => done.removed.push(doomed),
            Ok(Some(why)) => done.kept.push((doomed, why)),
            Err(error) => done.failed.push((doomed, error)),
        }
    }
    done
}

/// Removes one thing; the answer is why it stays, where that is right.
async fn remove(
    hypervisor: &Hypervisor,
    doomed: &Doomed,
    ledger: &Ledger,
) -> Result<Option<String>, LabError> {
    match doomed.clone() {
        Doomed::Vm { name, running } => remove_vm(hypervisor, name, running).await?,
        Doomed::File { path, .. } => return leftovers::remove_file(hypervisor, &path).await,
        Doomed::Foreign { .. } => {
            return Ok(Some("nothing of the lab lies below it".into()));
        }
        Doomed::Address { network, mac, address } => {
            let mark = Mark::new(ledger.lab());
            return leftovers::give_back(hypervisor, &mark, (&network, &mac, &address)).await;
        }
        Doomed::Volume { pool, name } => {
            let full = format!("{pool}/{name}");
            if let Some(vm) = user_of(hypervisor, &pool, &name, ledger.lab()).await? {
                return Ok(Some(format!("it is a disk of the VM {vm}")));
            }
            hypervisor.call(move |d| d.delete_volume(&pool, &name)).await?;
            ledger.remove(MadeKind::Volume, &full).await?;
        }
        Doomed::LogicalVolume { group, name } => {
            let Some(lvm) = hypervisor.lvm().await else { return Ok(None) };
            lvm.remove(&group, &name).await?;
        }
        Doomed::Pool { name, stands_on } => {
            let pool = name.clone();
            hypervisor.call(move |d| remove_pool(d, &name, stands_on)).await?;
            ledger.remove(MadeKind::Pool, &pool).await?;
        }
        Doomed::VolumeGroup { name } => {
            let Some(lvm) = hypervisor.lvm().await else { return Ok(None) };
            let foreign: Vec<String> =
                lvm.volumes().await?.into_iter().filter(|v| v.group == name).map(|v| v.name).collect();
            if !foreign.is_empty() {
                lvm.release_group(&name, ledger.lab()).await?;
                return Ok(Some(format!(
                    "it holds what this lab did not make ({}), and carries the lab's tag no more",
                    foreign.join(", ")
                )));
            }
            lvm.remove_group(&name).await?;
        }
        Doomed::Network { name, active } => {
            hypervisor
                .call(move |d| {
                    if active {
                        d.set_network_active(&name, false)?;
                    }
                    d.undefine_network(&name)
                })
                .await?;
        }
        Doomed::State(path) => {
            let removing = format!("removing {}", path.display());
            let result =
                if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
            match result {
                // What was listed last in it may have taken the file along.
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
                other => other.map_err(LabError::io(removing))?,
            }
        }
    }
    Ok(None)
}

/// A VM that has a volume as a disk, or below one: those of the lab have gone before.
async fn user_of(
    hypervisor: &Hypervisor,
    pool: &str,
    name: &str,
    lab: &str,
) -> Result<Option<String>, LabError> {
    let (pool, name, mark) = (pool.to_owned(), name.to_owned(), Mark::new(lab));
    hypervisor
        .call(move |d| {
            let Some(volume) = d.volume(&pool, &name)? else { return Ok(None) };
            let has = |disk: &DiskNow| disk.path == volume.path || disk.below.contains(&volume.path);
            Ok(used_disks(d, &mark)?.into_iter().find(|used| has(&used.disk)).map(|used| used.vm))
        })
        .await
}

async fn remove_vm(hypervisor: &Hypervisor, name: String, running: bool) -> Result<(), LabError> {
    let console = hypervisor
        .call(move |d| {
            let console = d
                .domain(&name)?
                .and_then(|vm| Element::parse(&vm.xml).ok())
                .map(|xml| VmIdentity::from_element(&xml).console_log)
                .filter(|log| log.ends_with(&format!("/{name}-console.log")));
            if running {
                d.destroy_domain(&name)?;
            }
            d.undefine_domain(&name)?;
            Ok(console)
        })
        .await?;
    if let (Some(log), Some(root)) = (console, hypervisor.root()) {
        // The log is only kept for a wait that fails; that it stays is no failure.
        let log = quote(&log);
        let _stays = root.run(&Script::new(format!("rm -f {log} {log}.[0-9]"))).await;
    }
    Ok(())
}

fn remove_pool(d: &dyn super::Driver, name: &str, stands_on: StandsOn) -> Result<(), LabError> {
    let Some(now) = d.pool(name)? else { return Ok(()) };
    if stands_on == StandsOn::VolumeGroup && now.active {
        let foreign = d.volumes(name)?;
        if !foreign.is_empty() {
            return Err(LabError::Conflict(format!(
                "pool {name} holds volumes that quaylab did not make ({}), so its volume group stays",
                foreign.join(", ")
            )));
        }
    }
    if now.active {
        d.set_pool_active(name, false)?;
    }
    match stands_on {
        StandsOn::VolumeGroup => d.delete_pool(name)?,
        // Only an empty folder can be removed, and one with files of others is not to be.
        StandsOn::Folder => drop(d.delete_pool(name)),
        StandsOn::Other => {}
    }
    d.undefine_pool(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_being_written_when_quaylab_was_killed_goes_too() {
        let folder = tempfile::tempdir().expect("a folder");
        for name in ["made.json", ".quaylab-half-x1", "notes of somebody"] {
            std::fs::write(folder.path().join(name), "").expect("written");
        }
        let found: Vec<Doomed> = remembered(folder.path()).collect();
        let expected = ["made.json", ".quaylab-half-x1"].map(|name| Doomed::State(folder.path().join(name)));
        assert_eq!(found, expected);
    }
}
