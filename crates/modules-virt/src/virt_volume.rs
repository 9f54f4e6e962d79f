use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;

use super::common::{Image, check_name, connect, default_uri, ledger, plan_of};
use crate::args::Presence;
use crate::inventory::short_name;
use crate::lab::{
    DiskUser, Element, Filler, Mark, Owner, UsedDisk, VolumeContent, VolumeFormat, VolumeSpec, VolumeState,
    VolumeStep, below, plan_volume, used_disks, volume_warnings,
};
use crate::value::{Map, Value};
use crate::{ModuleError, Plan, Resource, RunMode, TaskContext};

/// A volume in a libvirt pool: an empty disk, an overlay on an image, or an image converted into a logical volume.
/// What holds data is never written over: a conversion happens once, and sizes only grow.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct VirtVolume {
    /// The volume's name.
    name: String,
    /// The pool that holds it.
    pool: String,
    #[serde(default)]
    state: Presence,
    /// The libvirt connection.
    #[serde(default = "default_uri")]
    uri: String,
    /// In GB, or with a unit (`512M`, `10G`, `1T`); an image's own size is the least.
    size: Option<String>,
    /// `qcow2` or `raw`; by default what the pool can hold.
    format: Option<Format>,
    /// The VM that it is a disk of: where another VM has it, it is left alone.
    vm: Option<String>,
    /// The image that it starts from, as `virt_image` returns it.
    image: Option<Image>,
    /// Convert the image into the volume instead of laying an overlay on it.
    #[serde(default)]
    convert: bool,
    #[serde(skip)]
    logical: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Format {
    Raw,
    Qcow2,
}

/// Reads a size: a number is gigabytes.
pub(super) fn size_of(text: &str) -> Result<u64, ModuleError> {
    let text = text.trim();
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let shift = match unit.trim().to_ascii_uppercase().trim_end_matches('B').trim_end_matches('I') {
        "K" => 10,
        "M" => 20,
        "" | "G" => 30,
        "T" => 40,
        _ => return Err(ModuleError::Arguments(format!("size {text:?}: the unit is one of K, M, G, T"))),
    };
    let bad = || ModuleError::Arguments(format!("size {text:?} is not a number with an optional unit"));
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let whole: u64 = whole.parse().map_err(|_| bad())?;
    let thousandths: u64 = format!("{fraction:0<3.3}").parse().map_err(|_| bad())?;
    whole
        .checked_shl(shift)
        .filter(|b| b >> shift == whole)
        .map(|b| b + ((thousandths << shift) / 1000))
        .ok_or_else(bad)
}

impl VirtVolume {
    fn spec(&self) -> Result<VolumeSpec, ModuleError> {
        let content = match &self.image {
            None => VolumeContent::Empty,
            Some(image) if self.convert || self.logical => VolumeContent::Converted(image.source()),
            Some(image) => VolumeContent::Overlay(image.source()),
        };
        let format = match (self.format, &content) {
            (_, VolumeContent::Overlay(_)) => VolumeFormat::Qcow2,
            (_, VolumeContent::Converted(_)) | (Some(Format::Raw), _) => VolumeFormat::Raw,
            (_, VolumeContent::Empty) if self.logical => VolumeFormat::Raw,
            (_, VolumeContent::Empty) => VolumeFormat::Qcow2,
        };
        let size = self.size.as_deref().map(size_of).transpose()?;
        Ok(VolumeSpec { pool: self.pool.clone(), name: self.name.clone(), size, format, content })
    }

    /// Whether anything would be done to what the volume holds.
    fn touches(&self, spec: &VolumeSpec, now: &VolumeState) -> Result<bool, ModuleError> {
        let absent = self.state == Presence::Absent;
        Ok(!plan_volume(spec, absent, self.vm.as_deref(), now)?.0.is_empty())
    }

    async fn filler(&self, cx: &TaskContext) -> Result<Filler, ModuleError> {
        let hypervisor = connect(&self.uri, cx).await?;
        let vm = self.vm.as_deref().unwrap_or_else(|| short_name(&cx.host));
        Ok(Filler::new(&hypervisor, ledger(&hypervisor, cx), vm))
    }
}

fn disk_user(used: &UsedDisk, through_overlay: bool) -> DiskUser {
    DiskUser {
        vm: used.vm.clone(),
        disk: used.disk.target.clone(),
        running: used.running,
        ours: used.ours,
        overlay: through_overlay.then(|| used.disk.path.clone()),
    }
}

#[async_trait]
impl Resource for VirtVolume {
    const NAME: &'static str = "virt_volume";
    const FQCN: &'static [&'static str] = &["quaylab.lab.virt_volume", "community.libvirt.virt_volume"];
    type Observed = VolumeState;
    type Step = VolumeStep;

    fn validate(&self) -> Result<(), ModuleError> {
        check_name("volume", &self.name)?;
        check_name("pool", &self.pool)?;
        if self.convert && self.image.is_none() {
            return Err(ModuleError::Arguments("convert needs an image".into()));
        }
        self.spec().map(drop)
    }

    async fn prepare(&mut self, cx: &TaskContext) -> Result<(), ModuleError> {
        let pool = self.pool.clone();
        let defined = connect(&self.uri, cx).await?.call(move |d| d.pool(&pool)).await?;
        match defined {
            Some(defined) => self.logical = Element::parse(&defined.xml)?.get("type") == Some("logical"),
            // In check mode the pool may be one that would have been made.
            None if cx.mode.check || self.state == Presence::Absent => {}
            None => {
                return Err(ModuleError::failed(format!("there is no pool {}", self.pool))
                    .hint("declare it in libvirt_pools, or name one that `virsh pool-list --all` shows"));
            }
        }
        Ok(())
    }

    async fn observe(&self, cx: &TaskContext) -> Result<VolumeState, ModuleError> {
        let filler = self.filler(cx).await?;
        let spec = self.spec()?;
        let base_ready = match &spec.content {
            VolumeContent::Overlay(image) => filler.base_ready(&spec.pool, image).await?,
            _ => false,
        };
        let owner = filler.owner(&spec.pool, &spec.name).await?;
        let mark = Mark::new(cx.controller.lab());
        let (pool, name) = (spec.pool.clone(), spec.name.clone());
        let (volume, used) = filler
            .hypervisor
            .call(move |d| {
                let volume = d.volume(&pool, &name)?;
                let used = if volume.is_some() { used_disks(d, &mark)? } else { Vec::new() };
                Ok((volume, used))
            })
            .await?;
        let (ours, source) = match owner {
            Owner::Us { source } if volume.is_some() => (true, source),
            _ => (false, None),
        };
        let mut state = VolumeState { volume, ours, source, base_ready, used_by: None };
        let Some(path) = state.volume.as_ref().map(|volume| volume.path.clone()) else { return Ok(state) };
        // Of several VMs that have it, the wrong one counts: it is the reason to leave it alone.
        let wrong = |used: &&UsedDisk| !used.ours || self.vm.as_ref().is_some_and(|vm| *vm != used.vm);
        let has: Vec<&UsedDisk> = used.iter().filter(|used| used.disk.path == path).collect();
        let direct = has.iter().find(|used| wrong(used)).or_else(|| has.first());
        state.used_by = direct.map(|used| disk_user(used, false));
        if state.used_by.is_none() && state.ours && self.touches(&spec, &state)? {
            let own = used.iter().filter(|used| used.ours && !used.disk.read_only);
            for used in own {
                if below(&filler.hypervisor, &used.disk).await.contains(&path) {
                    state.used_by = Some(disk_user(used, true));
                    break;
                }
            }
        }
        Ok(state)
    }

    fn warnings(&self, now: &VolumeState, _: RunMode) -> Vec<String> {
        match self.spec() {
            Ok(spec) if self.state == Presence::Present => volume_warnings(&spec, now),
            _ => Vec::new(),
        }
    }

    fn plan(&self, now: &VolumeState, _: RunMode) -> Result<Plan<VolumeStep>, ModuleError> {
        let absent = self.state == Presence::Absent;
        plan_of(plan_volume(&self.spec()?, absent, self.vm.as_deref(), now))
    }

    async fn apply(&self, step: &VolumeStep, cx: &TaskContext) -> Result<(), ModuleError> {
        let filler = self.filler(cx).await?;
        let spec = self.spec()?;
        let progress = |text: &str| cx.controller.progress(text);
        let (pool, name) = (spec.pool.clone(), spec.name.clone());
        match step {
            VolumeStep::UploadBase(image) => filler.upload_base(&pool, image, &progress).await?,
            VolumeStep::Create => {
                let base = match &spec.content {
                    VolumeContent::Overlay(image) => {
                        let base = image.base_name();
                        let volume = filler.volume(&pool, &base).await?.ok_or_else(|| {
                            ModuleError::failed(format!(
                                "volume {pool}/{base} vanished before the overlay on it was made"
                            ))
                            .hint("run again, which brings the image into the pool anew")
                        })?;
                        Some((volume.path, image.format))
                    }
                    _ => None,
                };
                let xml = spec.to_xml(base.as_ref().map(|(path, format)| (path.as_str(), format.word())));
                filler.create(&pool, &name, xml).await?;
            }
            VolumeStep::Convert(image) => filler.convert(&spec, image, &progress).await?,
            VolumeStep::Grow { bytes, told } => filler.grow(&pool, &name, *bytes, told.clone()).await?,
            VolumeStep::Delete => filler.remove(&pool, &name).await?,
        }
        Ok(())
    }

    fn result(&self, after: &VolumeState) -> Map {
        let mut map = Map::from_iter([
            ("pool".into(), Value::from(self.pool.clone())),
            ("volume".into(), self.name.clone().into()),
            ("full_name".into(), format!("{}/{}", self.pool, self.name).into()),
        ]);
        if let Some(volume) = &after.volume {
            map.insert("path".into(), volume.path.clone().into());
            map.insert("size".into(), volume.capacity.into());
        }
        map
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::GIB;

    #[test]
    fn sizes_are_gigabytes_unless_they_say_otherwise() {
        for (text, bytes) in [
            ("10", Some(10 * GIB)),
            ("10G", Some(10 * GIB)),
            ("512 MB", Some(GIB / 2)),
            ("1.5GiB", Some(GIB * 3 / 2)),
            ("1x", None),
            ("", None),
        ] {
            assert_eq!(size_of(text).ok(), bytes, "{text}");
        }
    }
}
