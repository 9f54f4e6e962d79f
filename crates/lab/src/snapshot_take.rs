use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::future::join_all;

use super::{
    Converged, DomainState, Hypervisor, LabError, Snapshot, SnapshotVm, Snapshots, check_snapshot_name,
    start_vm, stop_vm,
};
use crate::host::{Script, Shell};

/// A lab whose snapshots are looked after.
#[derive(Debug, Clone)]
pub struct SnapshotLab {
    pub lab: String,
    pub state_dir: std::path::PathBuf,
    pub hypervisors: Vec<Hypervisor>,
    /// Its VMs, each with the hypervisor that runs it.
    pub vms: Vec<(Hypervisor, String)>,
}

/// How running VMs are held still for a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// Paused, with their memory in the snapshot: a restore goes on where they were.
    WithMemory,
    /// Asked to power off before; a restore boots them.
    PoweredOff { patience: Duration },
}

type Tell<'a> = &'a (dyn Fn(&str) + Send + Sync);

impl SnapshotLab {
    fn store(&self) -> Snapshots {
        Snapshots::new(&self.state_dir)
    }

    fn hypervisor(&self, uri: &str) -> Result<&Hypervisor, LabError> {
        let found = self.hypervisors.iter().find(|h| h.uri() == uri);
        found.ok_or_else(|| {
            LabError::failed("the snapshot", format!("the inventory names no hypervisor {uri}"))
        })
    }

    /// Keeps the lab as it is now. All VMs are held at one moment, so their disks fit together.
    pub async fn create(&self, name: &str, hold: Hold, tell: Tell<'_>) -> Result<Snapshot, LabError> {
        check_snapshot_name(name)?;
        match self.store().get(name)? {
            Some(there) if there.complete => {
                return Err(LabError::Conflict(format!(
                    "there is a snapshot {name} already; remove it, or choose another name"
                )));
            }
            Some(_) => {
                tell(&format!("removing what is left of a snapshot {name} that broke off"));
                self.remove(name, tell).await?;
            }
            None => {}
        }
        let memory = hold == Hold::WithMemory;
        let mut vms = Vec::new();
        for (hypervisor, vm) in &self.vms {
            shell(hypervisor)?;
            let asked = vm.clone();
            let (now, saved) = hypervisor
                .call(move |d| {
                    let now = d.domain(&asked)?;
                    let off = now.as_ref().is_some_and(|now| now.live.is_none());
                    Ok((now, off && d.has_saved_domain(&asked).unwrap_or(false)))
                })
                .await?;
            let Some(now) = now else { continue };
            if saved {
                // Its disks alone are those of a machine whose power was cut, and a restore would forget the rest.
                return Err(LabError::failed(
                    format!("VM {vm}"),
                    "it is saved, with its memory beside its disks, so a snapshot of it would not be whole",
                )
                .with_hint(format!("`quaylab start {vm}` lets it go on first")));
            }
            vms.push(SnapshotVm::of(
                hypervisor.uri(),
                &self.lab,
                name,
                (&now.xml, now.live.as_deref()),
                memory,
            )?);
        }
        let created = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
        let roles = Converged::new(&self.state_dir).all()?;
        let mut snapshot = Snapshot { name: name.to_owned(), created, complete: false, vms, roles };
        // Remembered before anything is there, so that what breaks off can be cleaned up after.
        self.store().put(&snapshot)?;
        let taken = self.take(&snapshot, hold, tell).await;
        let resumed = self.resume(&snapshot, tell).await;
        if let Err(error) = taken {
            // The VMs run again and the disks are as they were; what was kept by half goes.
            let _left = self.remove(name, tell).await;
            return Err(error);
        }
        resumed?;
        snapshot.complete = true;
        self.store().put(&snapshot)?;
        Ok(snapshot)
    }

    async fn take(&self, snapshot: &Snapshot, hold: Hold, tell: Tell<'_>) -> Result<(), LabError> {
        let running: Vec<&SnapshotVm> = snapshot.vms.iter().filter(|vm| vm.running).collect();
        match hold {
            Hold::WithMemory => self.save(&running, tell).await?,
            Hold::PoweredOff { patience } => {
                let stops = join_all(running.iter().map(|vm| async move {
                    tell(&format!("{}: powering off", vm.name));
                    stop_vm(self.hypervisor(&vm.uri)?, &vm.name, patience, false).await.map(drop)
                }));
                stops.await.into_iter().collect::<Result<(), _>>()?;
            }
        }
        for vm in &snapshot.vms {
            tell(&format!("{}: keeping its disks", vm.name));
            self.sh(
                &vm.uri,
                &vm.create_script(&self.lab, &snapshot.name),
                &format!("snapshot of {}", vm.name),
            )
            .await?;
        }
        Ok(())
    }

    /// Pauses all, then writes their memory down and lets go of their disks.
    async fn save(&self, vms: &[&SnapshotVm], tell: Tell<'_>) -> Result<(), LabError> {
        for vm in vms {
            let name = vm.name.clone();
            self.hypervisor(&vm.uri)?.call(move |d| d.suspend_domain(&name)).await?;
        }
        let saves = join_all(vms.iter().map(|vm| async move {
            tell(&format!("{}: held, writing its memory", vm.name));
            let name = vm.name.clone();
            self.hypervisor(&vm.uri)?.call(move |d| d.save_domain(&name)).await
        }));
        saves.await.into_iter().collect()
    }

    /// Lets those that ran go on.
    async fn resume(&self, snapshot: &Snapshot, tell: Tell<'_>) -> Result<(), LabError> {
        let starts = join_all(snapshot.vms.iter().filter(|vm| vm.running).map(|vm| async move {
            start_vm(self.hypervisor(&vm.uri)?, &vm.name).await?;
            tell(&format!("{}: goes on", vm.name));
            Ok(())
        }));
        starts.await.into_iter().collect()
    }

    /// Brings the lab back to how it was. What happened since is lost.
    pub async fn restore(&self, name: &str, tell: Tell<'_>) -> Result<(), LabError> {
        let snapshot = self.known(name)?;
        if !snapshot.complete {
            return Err(LabError::failed(
                format!("snapshot {name}"),
                "it broke off while it was made, so there is nothing whole to go back to",
            )
            .with_hint(format!("quaylab snapshot rm {name} removes what is left of it")));
        }
        // Before the first VM is switched off.
        for vm in &snapshot.vms {
            let what = format!("restoring {}", vm.name);
            self.sh(&vm.uri, &vm.check_script(&snapshot.name), &what).await?;
        }
        for vm in &snapshot.vms {
            let hypervisor = self.hypervisor(&vm.uri)?;
            let (name, xml) = (vm.name.clone(), vm.xml.clone());
            tell(&format!("{}: off, and its disks back", vm.name));
            hypervisor
                .call(move |d| {
                    if let Some(now) = d.domain(&name)? {
                        if !matches!(now.state, DomainState::Off | DomainState::Crashed) {
                            d.destroy_domain(&name)?;
                        }
                        if d.has_saved_domain(&name)? {
                            d.forget_saved_domain(&name)?;
                        }
                    }
                    d.define_domain(&xml)
                })
                .await?;
            self.sh(
                &vm.uri,
                &vm.restore_script(&self.lab, &snapshot.name),
                &format!("restoring {}", vm.name),
            )
            .await?;
        }
        let starts = join_all(snapshot.vms.iter().filter(|vm| vm.running).map(|vm| async move {
            let hypervisor = self.hypervisor(&vm.uri)?;
            if let Some(memory) = vm.memory.clone() {
                hypervisor.call(move |d| d.restore_domain(&memory)).await?;
                tell(&format!("{}: goes on where it was", vm.name));
            } else {
                start_vm(hypervisor, &vm.name).await?;
                tell(&format!("{}: boots", vm.name));
            }
            Ok::<_, LabError>(())
        }));
        starts.await.into_iter().collect::<Result<(), _>>()?;
        Converged::new(&self.state_dir).replace(&snapshot.roles)
    }

    /// Removes a snapshot. Running VMs whose disks hold it are held for as long as that takes.
    pub async fn remove(&self, name: &str, tell: Tell<'_>) -> Result<(), LabError> {
        let snapshot = self.known(name)?;
        let mut held = Vec::new();
        for vm in snapshot.vms.iter().filter(|vm| vm.holds_its_snapshot()) {
            let asked = vm.name.clone();
            let state =
                self.hypervisor(&vm.uri)?.call(move |d| Ok(d.domain(&asked)?.map(|now| now.state))).await?;
            if matches!(state, Some(DomainState::Running | DomainState::Paused)) {
                held.push(vm);
            }
        }
        let mut done = self.save(&held, tell).await;
        if done.is_ok() {
            for vm in &snapshot.vms {
                let script = vm.remove_script(&self.lab, name);
                let removed =
                    self.sh(&vm.uri, &script, &format!("removing the snapshot of {}", vm.name)).await;
                done = done.and(removed);
            }
        }
        for vm in held {
            start_vm(self.hypervisor(&vm.uri)?, &vm.name).await?;
        }
        done?;
        self.store().forget(name)
    }

    fn known(&self, name: &str) -> Result<Snapshot, LabError> {
        let store = self.store();
        store.get(name)?.ok_or_else(|| {
            let names: Vec<String> = store.all().unwrap_or_default().into_iter().map(|s| s.name).collect();
            let near = crate::diag::closest(name, names.iter().map(String::as_str));
            let hint = match (near, names.is_empty()) {
                (Some(near), _) => format!("did you mean {near}?"),
                (None, true) => "quaylab snapshot create makes one".into(),
                (None, false) => format!("there are {}", names.join(", ")),
            };
            LabError::failed(format!("snapshot {name}"), "there is none of that name").with_hint(hint)
        })
    }

    async fn sh(&self, uri: &str, script: &str, what: &str) -> Result<(), LabError> {
        let failed = |reason: String| LabError::failed(what, reason);
        let shell = shell(self.hypervisor(uri)?)?;
        let reply = shell.run(&Script::new(script)).await.map_err(|e| failed(e.to_string()))?;
        if reply.ok() {
            return Ok(());
        }
        let said = reply.err().trim().to_owned();
        let hint = if said.contains("insufficient free space") || said.contains("extents") {
            "a snapshot of a logical volume needs as much room in its volume group as the volume itself"
        } else {
            "snapshots work on the hypervisor's disks as root; the line above is what its tools said"
        };
        Err(failed(said).with_hint(hint))
    }
}

/// Where the hypervisor's disks are files and devices.
fn shell(hypervisor: &Hypervisor) -> Result<Shell, LabError> {
    hypervisor.root().ok_or_else(|| {
        LabError::failed(
            format!("snapshots on {}", hypervisor.uri()),
            "libvirt is all that is reached of it, and not its disks",
        )
    })
}
