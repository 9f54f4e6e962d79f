use std::fmt::Write as _;

use super::xml::Element;
use super::{LabError, VolumeNow};
use crate::modules::Diff;

pub const GIB: u64 = 1 << 30;

/// LVM rounds a size up to its extents, so sizes nearer than this are the same.
const EXTENT: u64 = 4 << 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VolumeFormat {
    Raw,
    Qcow2,
}

impl VolumeFormat {
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
    pub format: String,
    pub virtual_size: u64,
}

impl SourceImage {
    /// The name of the volume that holds the image unchanged, below all overlays on it.
    pub fn base_name(&self) -> String {
        let hex = self.digest.rsplit(':').next().unwrap_or_default();
        format!("quaylab-base-{}.{}", hex.get(..16).unwrap_or(hex), self.format)
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
    volume = volume.child(Element::new("target").child(Element::new("format").attr("type", format)));
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
    pub used_by: Option<String>,
}

/// One change to a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VolumeStep {
    /// Brings the image into the pool, where overlays can lie on it.
    UploadBase(SourceImage),
    Create,
    /// Fills the volume with the image, converted to raw.
    Convert(SourceImage),
    Grow(u64),
    Delete,
}

/// What has to be done to have a volume.
pub fn plan_volume(
    spec: &VolumeSpec,
    absent: bool,
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
            (_, _, Some(vm)) => {
                Err(LabError::Conflict(format!("volume {full} is a disk of {vm}, so it is not removed")))
            }
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
    let mut steps = Vec::new();
    let mut before = format!("size: {}\n", volume.capacity);
    let mut after = format!("size: {}\n", spec.bytes().max(volume.capacity));
    if let VolumeContent::Converted(image) = &spec.content {
        match (&now.source, &now.used_by) {
            // What was filled once, or belongs to a VM, is a disk with a life of its own: no image replaces it.
            (Some(_), _) | (None, Some(_)) => {}
            (None, None) if now.ours => {
                before += "content: unfinished\n";
                let _ = writeln!(after, "content: image {} converted", image.digest);
                steps.push(VolumeStep::Convert(image.clone()));
            }
            (None, None) => {
                return Err(LabError::Conflict(format!(
                    "volume {full} exists and was not made by this lab: the image is not written over it; remove the volume, or choose another pool"
                )));
            }
        }
    }
    let wanted = spec.bytes();
    if wanted > volume.capacity + EXTENT {
        if !now.ours {
            return Err(LabError::Conflict(format!(
                "volume {full} has {} bytes, {wanted} are declared, and it was not made by this lab",
                volume.capacity
            )));
        }
        if let Some(vm) = &now.used_by {
            // Growing a disk under a running VM is the VM's owner's decision.
            return Err(LabError::Conflict(format!(
                "volume {full} has {} bytes and {wanted} are declared; it is a disk of {vm}: shut the VM down and grow it, or declare its present size",
                volume.capacity
            )));
        }
        steps.push(VolumeStep::Grow(wanted));
    }
    let diff = (!steps.is_empty()).then(|| Diff::new(&title, before, after));
    Ok((steps, diff))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image() -> SourceImage {
        SourceImage {
            path: "/c/i.qcow2".into(),
            digest: "sha256:0123456789abcdef0123".into(),
            format: "qcow2".into(),
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
        plan_volume(spec, false, now).map(|p| p.0).map_err(|e| e.to_string())
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
        let used = VolumeState { used_by: Some("quay".into()), ours: false, ..there(4 * GIB) };
        assert_eq!(plan(&lv, &used), Ok(vec![]));
        let foreign = VolumeState { ours: false, ..there(4 * GIB) };
        assert!(plan(&lv, &foreign).expect_err("refused").contains("not written over"));
    }

    #[test]
    fn volumes_grow_but_never_shrink() {
        let empty = |size| spec(VolumeContent::Empty, Some(size));
        assert_eq!(plan(&empty(20 * GIB), &there(10 * GIB)), Ok(vec![VolumeStep::Grow(20 * GIB)]));
        assert_eq!(plan(&empty(5 * GIB), &there(10 * GIB)), Ok(vec![]));
        // LVM rounded up or down by less than an extent.
        assert_eq!(plan(&empty(10 * GIB + 512), &there(10 * GIB)), Ok(vec![]));
        let used = VolumeState { used_by: Some("quay".into()), ..there(10 * GIB) };
        assert!(plan(&empty(20 * GIB), &used).expect_err("refused").contains("a disk of quay"));
        assert!(plan(&spec(VolumeContent::Empty, None), &VolumeState::default()).is_err());
    }

    #[test]
    fn only_an_unused_volume_of_ours_is_removed() {
        let remove =
            |now: &VolumeState| plan_volume(&spec(VolumeContent::Empty, None), true, now).map(|p| p.0);
        assert_eq!(remove(&there(1)).expect("planned"), [VolumeStep::Delete]);
        assert!(remove(&VolumeState { ours: false, ..there(1) }).is_err());
        assert!(remove(&VolumeState { used_by: Some("x".into()), ..there(1) }).is_err());
        assert_eq!(remove(&VolumeState::default()).expect("planned"), []);
    }
}
