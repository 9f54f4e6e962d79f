use std::fmt::Write as _;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::xml::Element;
use super::{LabError, VolumeNow};
use crate::diff::Diff;

pub const GIB: u64 = 1 << 30;

/// LVM rounds a size up to its extents, so sizes nearer than this are the same.
pub(super) const EXTENT: u64 = 4 << 20;

/// How a disk is stored. Others are neither made nor attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum VolumeFormat {
    Raw,
    Qcow2,
}

impl VolumeFormat {
    /// By libvirt's name of it; `None` for any other format.
    pub fn of(word: &str) -> Option<Self> {
        [Self::Raw, Self::Qcow2].into_iter().find(|format| format.word() == word)
    }

    pub fn word(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
        }
    }
}

/// An image that is in the controller's cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceImage {
    pub path: std::path::PathBuf,
    /// `sha256:...` of the whole file.
    pub digest: String,
    pub format: VolumeFormat,
    pub virtual_size: u64,
}

impl SourceImage {
    /// The name of the volume that holds the image unchanged, below all overlays on it.
    pub fn base_name(&self) -> String {
        let hex = self.digest.rsplit(':').next().unwrap_or_default();
        format!("quaylab-base-{}.{}", hex.get(..16).unwrap_or(hex), self.format.word())
    }
}

/// What a volume holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VolumeContent {
    /// Nothing: a blank disk.
    Empty,
    /// An overlay over the image, which lies in the same pool as a base volume.
    Overlay(SourceImage),
    /// The image itself, converted to raw: for volume groups, which have no overlays.
    Converted(SourceImage),
}

/// A volume as declared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeSpec {
    pub pool: String,
    pub name: String,
    /// In bytes; an image's own size is the least.
    pub size: Option<u64>,
    pub format: VolumeFormat,
    pub content: VolumeContent,
}

impl VolumeSpec {
    pub fn full_name(&self) -> String {
        format!("{}/{}", self.pool, self.name)
    }

    /// The size that the volume gets.
    pub fn bytes(&self) -> u64 {
        let least = match &self.content {
            VolumeContent::Empty => 0,
            VolumeContent::Overlay(image) | VolumeContent::Converted(image) => image.virtual_size,
        };
        self.size.unwrap_or(least).max(least)
    }

    pub fn to_xml(&self, base: Option<(&str, &str)>) -> String {
        volume_xml(&self.name, self.bytes(), self.format.word(), base)
    }

    fn describe(&self) -> String {
        let content = match &self.content {
            VolumeContent::Empty => "empty".to_owned(),
            VolumeContent::Overlay(image) => format!("overlay on image {}", image.digest),
            VolumeContent::Converted(image) => format!("image {} converted", image.digest),
        };
        format!("size: {}\nformat: {}\ncontent: {content}\n", self.bytes(), self.format.word())
    }
}

/// A volume's definition. `base` is the path and format of what lies below it.
pub fn volume_xml(name: &str, bytes: u64, format: &str, base: Option<(&str, &str)>) -> String {
    let mut volume = Element::new("volume")
        .child(Element::new("name").text(name))
        .child(Element::new("capacity").attr("unit", "bytes").text(bytes));
    if format == VolumeFormat::Qcow2.word() {
        // Blocks are taken as they are written.
        volume = volume.child(Element::new("allocation").text(0));
    }
    let mut target = Element::new("target").child(Element::new("format").attr("type", format));
    if format == VolumeFormat::Qcow2.word() {
        // libvirt's own default is the layout of 2009, which knows no dirty bitmaps and so no incremental backup.
        target = target.child(Element::new("compat").text("1.1"));
    }
    volume = volume.child(target);
    if let Some((path, format)) = base {
        volume = volume.child(
            Element::new("backingStore")
                .child(Element::new("path").text(path))
                .child(Element::new("format").attr("type", format)),
        );
    }
    volume.to_string()
}

/// A volume as it is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct VolumeState {
    pub volume: Option<VolumeNow>,
    /// Whether this lab made it.
    pub ours: bool,
    /// The digest of what it was filled from, once that was finished.
    pub source: Option<String>,
    /// Whether the base volume of an overlay is there, complete.
    pub base_ready: bool,
    /// The defined VM that has it as a disk.
    pub used_by: Option<DiskUser>,
}

/// A VM that has a volume as a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskUser {
    pub vm: String,
    /// The disk's name in the definition (`vdb`).
    pub disk: String,
    pub running: bool,
    /// Whether it carries this lab's mark.
    pub ours: bool,
    /// The file on top of the volume, where the VM has it through an external snapshot.
    pub overlay: Option<String>,
}

impl DiskUser {
    /// Why nothing is done to the volume.
    fn refuse(&self, full: &str, doing: &str) -> LabError {
        match &self.overlay {
            Some(overlay) => LabError::failed(
                format!("volume {full}"),
                format!("{} of the VM {} is {overlay}, an overlay (external snapshot) on it, so it is {doing}", self.disk, self.vm),
            )
            .with_hint(format!(
                "`virsh blockcommit {} {} --active --pivot --verbose`, while the VM runs, puts what was written since into the volume",
                self.vm, self.disk
            )),
            None => LabError::Conflict(format!("volume {full} is a disk of {}, so it is {doing}", self.vm)),
        }
    }
}

/// One change to a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VolumeStep {
    /// Brings the image into the pool, where overlays can lie on it.
    UploadBase(SourceImage),
    Create,
    /// Fills the volume with the image, converted to raw.
    Convert(SourceImage),
    Grow {
        bytes: u64,
        /// The running VM and its disk that are told.
        told: Option<(String, String)>,
    },
    Delete,
}

/// What has to be done to have a volume; `vm` is the VM that it is for, where that is known.
pub fn plan_volume(
    spec: &VolumeSpec,
    absent: bool,
    vm: Option<&str>,
    now: &VolumeState,
) -> Result<(Vec<VolumeStep>, Option<Diff>), LabError> {
    let full = spec.full_name();
    let title = format!("volume {full}");
    if absent {
        return match (&now.volume, now.ours, &now.used_by) {
            (None, ..) => Ok((Vec::new(), None)),
            (_, false, _) => Err(LabError::Conflict(format!(
                "volume {full} was not made by this lab, so it is not removed"
            ))),
            (_, _, Some(user)) => Err(user.refuse(&full, "not removed")),
            _ => Ok((vec![VolumeStep::Delete], Some(Diff::new(&title, spec.describe(), "")))),
        };
    }
    let Some(volume) = &now.volume else {
        let mut steps = Vec::new();
        if let VolumeContent::Overlay(image) = &spec.content
            && !now.base_ready
        {
            steps.push(VolumeStep::UploadBase(image.clone()));
        }
        if spec.bytes() == 0 {
            return Err(LabError::Invalid(format!("volume {full} needs a size")));
        }
        steps.push(VolumeStep::Create);
        if let VolumeContent::Converted(image) = &spec.content {
            steps.push(VolumeStep::Convert(image.clone()));
        }
        return Ok((steps, Some(Diff::new(&title, "", spec.describe()))));
    };
    match &now.used_by {
        Some(user) if !user.ours => {
            return Err(LabError::Conflict(format!(
                "volume {full} is a disk of the VM {}, which this lab did not make; choose another pool or name",
                user.vm
            )));
        }
        Some(user) if vm.is_some_and(|vm| vm != user.vm) => {
            let vm = vm.unwrap_or_default();
            return Err(LabError::failed(
                format!("volume {full}"),
                format!("it is a disk of the VM {} of this lab, so it is not one of {vm} too", user.vm),
            )
            .with_hint(format!(
                "where {0} is {vm} under a new name, `virsh domrename {0} {vm}` gives the old one back, or vm_name={0} declares the new one; else detach the disk there",
                user.vm
            )));
        }
        None if !now.ours => {
            return Err(LabError::Conflict(format!(
                "volume {full} exists and was not made by this lab: it is neither used nor written over; remove the volume, or choose another pool"
            )));
        }
        _ => {}
    }
    let mut steps = Vec::new();
    let mut before = format!("size: {}\n", volume.capacity);
    let mut after = format!("size: {}\n", spec.bytes().max(volume.capacity));
    if let VolumeContent::Converted(image) = &spec.content
        // What was filled once, or belongs to a VM, is a disk with a life of its own: no image replaces it.
        && now.source.is_none()
        && now.used_by.is_none()
    {
        before += "content: unfinished\n";
        let _ = writeln!(after, "content: image {} converted", image.digest);
        steps.push(VolumeStep::Convert(image.clone()));
    }
    let wanted = spec.bytes();
    if wanted > volume.capacity + EXTENT {
        if !now.ours {
            return Err(LabError::Conflict(format!(
                "volume {full} has {} bytes, {wanted} are declared, and it was not made by this lab",
                volume.capacity
            )));
        }
        if let Some(user) = now.used_by.as_ref().filter(|user| user.overlay.is_some()) {
            return Err(user.refuse(&full, "not made larger"));
        }
        let told = now.used_by.as_ref().filter(|u| u.running).map(|u| (u.vm.clone(), u.disk.clone()));
        steps.push(VolumeStep::Grow { bytes: wanted, told });
    }
    let diff = (!steps.is_empty()).then(|| Diff::new(&title, before, after));
    Ok((steps, diff))
}

/// What a declaration asks for that is never done to what holds data.
pub fn volume_warnings(spec: &VolumeSpec, now: &VolumeState) -> Vec<String> {
    let smaller = now.volume.as_ref().filter(|v| spec.bytes() + EXTENT < v.capacity);
    smaller
        .map(|v| {
            format!(
                "volume {} has {} MiB and {} are declared: a disk never shrinks; `--replace HOST` makes the VM and its disks anew",
                spec.full_name(),
                v.capacity >> 20,
                spec.bytes() >> 20
            )
        })
        .into_iter()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(running: bool, ours: bool) -> DiskUser {
        DiskUser { vm: "quay".into(), disk: "vda".into(), running, ours, overlay: None }
    }

    fn image() -> SourceImage {
        SourceImage {
            path: "/c/i.qcow2".into(),
            digest: "sha256:0123456789abcdef0123".into(),
            format: VolumeFormat::Qcow2,
            virtual_size: 4 * GIB,
        }
    }

    fn spec(content: VolumeContent, size: Option<u64>) -> VolumeSpec {
        VolumeSpec { pool: "p".into(), name: "v".into(), size, format: VolumeFormat::Qcow2, content }
    }

    fn there(capacity: u64) -> VolumeState {
        let volume = VolumeNow { path: "/p/v".into(), capacity, format: None, backing: None };
        VolumeState { volume: Some(volume), ours: true, ..VolumeState::default() }
    }

    fn plan(spec: &VolumeSpec, now: &VolumeState) -> Result<Vec<VolumeStep>, String> {
        plan_volume(spec, false, Some("quay"), now).map(|p| p.0).map_err(|e| e.to_string())
    }

    #[test]
    fn an_overlay_needs_its_base_first() {
        let overlay = spec(VolumeContent::Overlay(image()), None);
        assert_eq!(
            plan(&overlay, &VolumeState::default()),
            Ok(vec![VolumeStep::UploadBase(image()), VolumeStep::Create])
        );
        let based = VolumeState { base_ready: true, ..VolumeState::default() };
        assert_eq!(plan(&overlay, &based), Ok(vec![VolumeStep::Create]));
        assert_eq!(plan(&overlay, &there(4 * GIB)), Ok(vec![]));
        assert_eq!(image().base_name(), "quaylab-base-0123456789abcdef.qcow2");
        insta::assert_snapshot!(overlay.to_xml(Some(("/p/b", "qcow2"))), @r"
        <volume>
          <name>v</name>
          <capacity unit='bytes'>4294967296</capacity>
          <allocation>0</allocation>
          <target>
            <format type='qcow2'/>
            <compat>1.1</compat>
          </target>
          <backingStore>
            <path>/p/b</path>
            <format type='qcow2'/>
          </backingStore>
        </volume>
        ");
    }

    #[test]
    fn a_conversion_happens_once_and_never_under_a_vm() {
        let lv = spec(VolumeContent::Converted(image()), None);
        assert_eq!(
            plan(&lv, &VolumeState::default()),
            Ok(vec![VolumeStep::Create, VolumeStep::Convert(image())])
        );
        let broken_off = there(4 * GIB);
        assert_eq!(plan(&lv, &broken_off), Ok(vec![VolumeStep::Convert(image())]));
        let finished = VolumeState { source: Some("sha256:older".into()), ..there(4 * GIB) };
        assert_eq!(plan(&lv, &finished), Ok(vec![]));
        for running in [true, false] {
            let used = VolumeState { used_by: Some(user(running, true)), ..there(4 * GIB) };
            assert_eq!(plan(&lv, &used), Ok(vec![]));
        }
        let foreign = VolumeState { ours: false, ..there(4 * GIB) };
        assert!(plan(&lv, &foreign).expect_err("refused").contains("nor written over"));
        assert!(plan(&spec(VolumeContent::Empty, Some(GIB)), &foreign).is_err(), "nor is it used");
        let anothers = VolumeState { used_by: Some(user(false, false)), ..there(4 * GIB) };
        assert!(plan(&lv, &anothers).expect_err("refused").contains("a disk of the VM quay"));
    }

    #[test]
    fn volumes_grow_but_never_shrink() {
        let empty = |size| spec(VolumeContent::Empty, Some(size));
        let grow = |told| Ok(vec![VolumeStep::Grow { bytes: 20 * GIB, told }]);
        assert_eq!(plan(&empty(20 * GIB), &there(10 * GIB)), grow(None));
        assert_eq!(plan(&empty(5 * GIB), &there(10 * GIB)), Ok(vec![]));
        // LVM rounded up or down by less than an extent.
        assert_eq!(plan(&empty(10 * GIB + 512), &there(10 * GIB)), Ok(vec![]));
        let used = |running| VolumeState { used_by: Some(user(running, true)), ..there(10 * GIB) };
        assert_eq!(plan(&empty(20 * GIB), &used(false)), grow(None));
        assert_eq!(plan(&empty(20 * GIB), &used(true)), grow(Some(("quay".into(), "vda".into()))));
        assert!(volume_warnings(&empty(5 * GIB), &there(10 * GIB))[0].contains("never shrinks"));
        assert!(volume_warnings(&empty(20 * GIB), &there(10 * GIB)).is_empty());
        assert!(plan(&spec(VolumeContent::Empty, None), &VolumeState::default()).is_err());
    }

    #[test]
    fn what_another_vm_has_or_an_overlay_lies_on_is_left_alone() {
        let empty = |size| spec(VolumeContent::Empty, Some(size));
        let renamed = DiskUser { vm: "quay-old".into(), ..user(true, true) };
        let used = VolumeState { used_by: Some(renamed), ..there(10 * GIB) };
        let told = plan_volume(&empty(10 * GIB), false, Some("quay"), &used).expect_err("refused");
        assert!(told.to_string().contains("a disk of the VM quay-old"), "{told}");
        assert!(told.hint().is_some_and(|h| h.contains("virsh domrename quay-old quay")));
        assert!(plan_volume(&empty(10 * GIB), false, None, &used).is_ok(), "nobody said whose it is to be");
        let below = DiskUser { overlay: Some("/p/v.s1".into()), ..user(true, true) };
        let below = VolumeState { used_by: Some(below), ..there(10 * GIB) };
        assert_eq!(plan(&empty(10 * GIB), &below), Ok(vec![]));
        for refused in [
            plan_volume(&empty(20 * GIB), false, Some("quay"), &below),
            plan_volume(&empty(20 * GIB), true, Some("quay"), &below),
        ] {
            let told = refused.expect_err("refused");
            assert!(told.to_string().contains("/p/v.s1, an overlay"), "{told}");
            assert!(told.hint().is_some_and(|h| h.contains("virsh blockcommit quay vda")));
        }
    }

    #[test]
    fn only_an_unused_volume_of_ours_is_removed() {
        let remove =
            |now: &VolumeState| plan_volume(&spec(VolumeContent::Empty, None), true, None, now).map(|p| p.0);
        assert_eq!(remove(&there(1)).expect("planned"), [VolumeStep::Delete]);
        assert!(remove(&VolumeState { ours: false, ..there(1) }).is_err());
        assert!(remove(&VolumeState { used_by: Some(user(false, true)), ..there(1) }).is_err());
        assert_eq!(remove(&VolumeState::default()).expect("planned"), []);
    }
}
