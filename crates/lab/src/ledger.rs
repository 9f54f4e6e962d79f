use std::collections::BTreeMap;
use std::path::Path;

use super::sidecar::Sidecars;
use super::{Hypervisor, LabError, Made, MadeKind, Registry, VolumeFormat};

/// What a lab made on one hypervisor where libvirt has no room for a mark: kept in the lab's state folder, and beside it
/// on the hypervisor itself where quaylab may write there, so that either is enough.
#[derive(Debug, Clone)]
pub struct Ledger {
    hypervisor: Hypervisor,
    registry: Registry,
    lab: String,
}

impl Ledger {
    pub fn new(hypervisor: &Hypervisor, state_dir: &Path, lab: &str) -> Self {
        Self { hypervisor: hypervisor.clone(), registry: Registry::new(state_dir), lab: lab.to_owned() }
    }

    pub fn lab(&self) -> &str {
        &self.lab
    }

    fn uri(&self) -> &str {
        self.hypervisor.uri()
    }

    fn sidecars(&self) -> Option<Sidecars> {
        self.hypervisor.root().map(Sidecars::new)
    }

    pub async fn get(&self, kind: MadeKind, name: &str) -> Result<Option<Made>, LabError> {
        if let Some(known) = self.registry.get(self.uri(), kind, name)? {
            return Ok(Some(known));
        }
        Ok(self.marked().await.into_iter().find(|m| m.kind == kind && m.name == name))
    }

    pub async fn put(&self, kind: MadeKind, name: &str, source: Option<&str>) -> Result<(), LabError> {
        self.note(kind, name, source, None).await
    }

    /// The same of a volume, with how it was made.
    pub async fn put_volume(
        &self,
        name: &str,
        source: Option<&str>,
        format: Option<VolumeFormat>,
    ) -> Result<(), LabError> {
        self.note(MadeKind::Volume, name, source, format).await
    }

    async fn note(
        &self,
        kind: MadeKind,
        name: &str,
        source: Option<&str>,
        format: Option<VolumeFormat>,
    ) -> Result<(), LabError> {
        let made = Made {
            uri: self.uri().to_owned(),
            kind,
            name: name.to_owned(),
            source: source.map(str::to_owned),
            format,
        };
        self.registry.put(made.clone())?;
        if let Some(sidecars) = self.sidecars() {
            // Who may use libvirt but is not root there has the state folder alone.
            let _unmarked = sidecars.put(&self.lab, &made).await;
        }
        Ok(())
    }

    pub async fn remove(&self, kind: MadeKind, name: &str) -> Result<(), LabError> {
        if let Some(sidecars) = self.sidecars() {
            let _not_there = sidecars.remove(&self.lab, kind, name).await;
        }
        self.registry.remove(self.uri(), kind, name)
    }

    /// All that either side knows of.
    pub async fn all(&self) -> Result<Vec<Made>, LabError> {
        let mut all = BTreeMap::new();
        for made in self.marked().await.into_iter().chain(self.registry.all()?) {
            if made.uri == self.uri() {
                all.insert((made.kind, made.name.clone()), made);
            }
        }
        Ok(all.into_values().collect())
    }

    async fn marked(&self) -> Vec<Made> {
        match self.sidecars() {
            Some(sidecars) => sidecars.all(&self.lab, self.uri()).await.unwrap_or_default(),
            None => Vec::new(),
        }
    }
}
