//! What the arguments about a VM have in common.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::host::Secret;
use crate::lab::{
    Accelerator, DiskSpec, Driver, Element, Firmware, Hypervisor, LabError, Ledger, MadeKind, VolumeFormat,
    disk_format, kvm_of,
};
use crate::value::Value;
use crate::{ModuleError, TaskContext};

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

/// Refuses a network without a name, which a template makes easily.
pub(super) fn check_network(network: Option<&str>) -> Result<(), ModuleError> {
    if network.is_some_and(|name| name.trim().is_empty()) {
        return Err(ModuleError::Arguments("network is empty".into())
            .hint("name one of libvirt's networks, or leave it out for the one called default"));
    }
    Ok(())
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

/// Commands: a text is one, whatever is in it; a list is many, each a text or a list of words.
pub(super) fn commands<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<Value>, D::Error> {
    match Value::deserialize(deserializer)? {
        Value::Array(all) => Ok(all),
        Value::String(one) if one.trim().is_empty() => Ok(Vec::new()),
        Value::String(one) => Ok(vec![Value::String(one)]),
        other => Err(serde::de::Error::custom(format!(
            "run_cmds: {other} is neither a command nor a list of them"
        ))),
    }
}

/// Keys: a text has one a line, and may hold commas in its options.
pub(super) fn keys<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let lines =
        |text: &str| text.lines().map(|l| l.trim().to_owned()).filter(|l| !l.is_empty()).collect::<Vec<_>>();
    let bad = |other: &Value| serde::de::Error::custom(format!("ssh_pub_key: {other} is no key"));
    match Value::deserialize(deserializer)? {
        Value::String(text) => Ok(lines(&text)),
        Value::Array(all) => {
            let each = all.iter().map(|key| key.as_str().map(lines).ok_or_else(|| bad(key)));
            Ok(each.collect::<Result<Vec<_>, D::Error>>()?.concat())
        }
        other => Err(bad(&other)),
    }
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

/// How disks are attached: as they are, as the definition has them or as they were made. What libvirt finds at the start of
/// a raw disk may be what its guest wrote there, to be given another file; it counts only where nothing else is known.
pub(super) async fn settle_formats(
    disks: &mut [DiskSpec],
    there: Option<&Element>,
    ledger: &Ledger,
) -> Result<(), LabError> {
    for disk in disks.iter_mut().filter(|disk| !disk.block && !disk.read_only) {
        let full = format!("{}/{}", disk.pool, disk.volume);
        if let Some(defined) = there.and_then(|xml| disk_format(xml, &disk.path)) {
            defined.clone_into(&mut disk.format);
            continue;
        }
        let made = ledger.get(MadeKind::Volume, &full).await?.and_then(|made| made.format);
        let found = match disk.format.as_str() {
            "unknown" | "iso" => Some(VolumeFormat::Raw),
            other => VolumeFormat::of(other),
        };
        let Some(format) = made.or(found) else {
            return Err(LabError::failed(
                format!("volume {full}"),
                format!("it is {}, and only raw and qcow2 disks are attached", disk.format),
            )
            .with_hint(format!(
                "if you trust who made it, write it anew with `qemu-img convert -f {} -O qcow2`",
                disk.format
            )));
        };
        format.word().clone_into(&mut disk.format);
    }
    Ok(())
}
