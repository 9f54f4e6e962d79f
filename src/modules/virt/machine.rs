//! What the arguments about a VM have in common.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::host::Secret;
use crate::lab::{Accelerator, DiskSpec, Driver, Element, Firmware, Hypervisor, LabError, kvm_of};
use crate::modules::TaskContext;

/// What starts the guest's boot loader.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Boot {
    #[default]
    Bios,
    Uefi,
}

impl From<Boot> for Firmware {
    fn from(boot: Boot) -> Self {
        match boot {
            Boot::Bios => Self::Bios,
            Boot::Uefi => Self::Uefi,
        }
    }
}

/// `POOL/VOLUME`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
#[schemars(with = "String")]
pub(super) struct Disk {
    pub(super) pool: String,
    pub(super) volume: String,
}

impl TryFrom<String> for Disk {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.split_once('/') {
            Some((pool, volume)) if !pool.is_empty() && !volume.is_empty() && !volume.contains('/') => {
                Ok(Self { pool: pool.to_owned(), volume: volume.to_owned() })
            }
            _ => Err(format!("disk {text:?} is not POOL/VOLUME")),
        }
    }
}

/// How a VM runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Choice {
    #[default]
    Auto,
    Kvm,
    Qemu,
}

pub(super) fn one() -> u32 {
    1
}

pub(super) fn default_memory() -> u64 {
    512
}

pub(super) fn default_user() -> String {
    "cloud-user".to_owned()
}

pub(super) fn default_log_dir() -> String {
    "/var/log/libvirt/qemu".to_owned()
}

pub(super) fn secret<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Secret>, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.filter(|s| !s.is_empty()).map(Secret))
}

/// How it runs: a VM that is there keeps its way, a new one gets what the probe found.
pub(super) async fn accelerator(
    choice: Choice,
    hypervisor: &Hypervisor,
    there: Option<&Element>,
    cx: &TaskContext,
) -> Result<(Accelerator, String), LabError> {
    Ok(match (choice, there.and_then(|x| x.get("type"))) {
        (Choice::Kvm, _) => (Accelerator::Kvm, "asked for".into()),
        (Choice::Qemu, _) => (Accelerator::Emulation, "asked for".into()),
        (Choice::Auto, Some("kvm")) => (Accelerator::Kvm, "the VM has it".into()),
        (Choice::Auto, Some("qemu" | "test")) => (Accelerator::Emulation, "the VM has it".into()),
        (Choice::Auto, _) => {
            cx.controller.progress("finding out whether KVM boots a guest");
            let probe = kvm_of(hypervisor, cx.controller.state_dir()).await?;
            (probe.accelerator, probe.reason)
        }
    })
}

/// A disk as the definition needs it; a volume that is not there yet gets the path that it will have.
pub(super) fn resolve(driver: &dyn Driver, disk: &Disk, read_only: bool) -> Result<DiskSpec, LabError> {
    let pool = driver.pool(&disk.pool)?;
    let pool = pool.map(|p| Element::parse(&p.xml)).transpose()?;
    let block = pool.as_ref().and_then(|p| p.get("type")) == Some("logical");
    let volume = driver.volume(&disk.pool, &disk.volume)?;
    let path = if let Some(volume) = &volume {
        volume.path.clone()
    } else {
        let folder = pool.as_ref().and_then(|p| p.path_text("target/path")).unwrap_or_default();
        format!("{}/{}", folder.trim_end_matches('/'), disk.volume)
    };
    let format = match volume.and_then(|v| v.format) {
        _ if block || read_only => "raw".to_owned(),
        Some(format) => format,
        None => "qcow2".to_owned(),
    };
    Ok(DiskSpec { pool: disk.pool.clone(), volume: disk.volume.clone(), format, read_only, path, block })
}
