use super::network::differences;
use super::pool_written::WrittenPool;
use super::xml::Element;
use super::{Defined, LabError};
use crate::diff::Diff;

/// What a pool stands on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PoolKind {
    /// A folder of image files.
    Dir,
    /// An LVM volume group, named like the pool.
    Logical,
}

impl PoolKind {
    fn word(self) -> &'static str {
        match self {
            Self::Dir => "dir",
            Self::Logical => "logical",
        }
    }
}

/// A storage pool: the parts that quaylab declares and compares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolSpec {
    pub name: String,
    pub kind: PoolKind,
    /// The folder, or the device on which the volume group is made.
    pub path: String,
}

impl PoolSpec {
    fn target(&self) -> String {
        match self.kind {
            PoolKind::Dir => self.path.clone(),
            PoolKind::Logical => format!("/dev/{}", self.name),
        }
    }

    pub fn to_xml(&self) -> String {
        let mut pool =
            Element::new("pool").attr("type", self.kind.word()).child(Element::new("name").text(&self.name));
        if self.kind == PoolKind::Logical {
            pool = pool.child(
                Element::new("source")
                    .child(Element::new("device").attr("path", &self.path))
                    .child(Element::new("name").text(&self.name))
                    .child(Element::new("format").attr("type", "lvm2")),
            );
        }
        pool.child(Element::new("target").child(Element::new("path").text(self.target()))).to_string()
    }

    /// What `path` a pool has in libvirt's own description; `None` for a kind that quaylab does not make.
    pub fn from_element(pool: &Element) -> Option<Self> {
        let name = pool.path_text("name")?.to_owned();
        match pool.get("type")? {
            "dir" => {
                Some(Self { name, kind: PoolKind::Dir, path: pool.path_text("target/path")?.to_owned() })
            }
            "logical" => {
                let path = pool.path_attr("source/device", "path").unwrap_or_default().to_owned();
                Some(Self { name, kind: PoolKind::Logical, path })
            }
            _ => None,
        }
    }

    pub fn describe(&self) -> String {
        format!("type: {}\npath: {}\n", self.kind.word(), self.path)
    }

    /// Whether a pool that is there serves as this one; a volume group that was there may name no device.
    fn served_by(&self, now: &Self) -> bool {
        let same = |a: &str, b: &str| a.trim_end_matches('/') == b.trim_end_matches('/');
        self.kind == now.kind
            && (same(&self.path, &now.path) || (self.kind == PoolKind::Logical && now.path.is_empty()))
    }
}

/// What a pool shall be made of.
#[derive(Debug, Clone, Copy)]
pub enum PoolWanted<'a> {
    /// Its kind and what it stands on; whatever else it has is left as it is.
    Parts(&'a PoolSpec),
    /// A whole definition.
    Whole(&'a WrittenPool),
}

impl PoolWanted<'_> {
    fn name(&self) -> &str {
        match self {
            Self::Parts(spec) => &spec.name,
            Self::Whole(written) => written.name(),
        }
    }

    fn to_xml(self) -> String {
        match self {
            Self::Parts(spec) => spec.to_xml(),
            Self::Whole(written) => written.to_xml(),
        }
    }

    fn describe(&self) -> String {
        match self {
            Self::Parts(spec) => spec.describe(),
            Self::Whole(written) => written.describe(),
        }
    }

    /// Makes what the pool stands on, where it is quaylab that does: folders, and volume groups that are not there.
    fn build(&self, now: &PoolNow) -> Option<PoolStep> {
        let volume_group = |device: &str| {
            (!now.volume_group).then(|| PoolStep::BuildVolumeGroup { device: device.to_owned() })
        };
        match self {
            Self::Parts(spec) if spec.kind == PoolKind::Logical => volume_group(&spec.path),
            Self::Parts(_) => Some(PoolStep::BuildFolder),
            Self::Whole(written) => match written.kind() {
                "dir" | "fs" | "netfs" => Some(PoolStep::BuildFolder),
                "logical" => volume_group(written.device()?),
                _ => None,
            },
        }
    }
}

/// A pool as it is on the hypervisor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolNow {
    pub defined: Option<Defined>,
    /// Whether this lab made it.
    pub ours: bool,
    /// Whether a volume group of this name exists.
    pub volume_group: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PoolState {
    Active,
    Inactive,
    Absent,
}

/// One change to a pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PoolStep {
    Define(String),
    /// Makes the folder.
    BuildFolder,
    /// Makes the volume group, on a device that holds nothing.
    BuildVolumeGroup {
        device: String,
    },
    Start,
    Stop,
    Autostart(bool),
    /// Forgets the pool; its folder or volume group and the volumes stay.
    Undefine,
}

/// What has to be done to a pool.
pub fn plan_pool(
    wanted: PoolWanted<'_>,
    state: PoolState,
    autostart: bool,
    now: &PoolNow,
) -> Result<(Vec<PoolStep>, Option<Diff>), LabError> {
    let name = wanted.name();
    let title = format!("pool {name}");
    let Some(defined) = &now.defined else {
        if state == PoolState::Absent {
            return Ok((Vec::new(), None));
        }
        let mut steps = vec![PoolStep::Define(wanted.to_xml())];
        steps.extend(wanted.build(now));
        if autostart {
            steps.push(PoolStep::Autostart(true));
        }
        if state == PoolState::Active {
            steps.push(PoolStep::Start);
        }
        return Ok((steps, Some(Diff::new(&title, "", wanted.describe()))));
    };
    if state == PoolState::Absent {
        if !now.ours {
            return Err(LabError::Conflict(format!(
                "pool {name} was not made by this lab, so it is not removed"
            )));
        }
        let mut steps = if defined.active { vec![PoolStep::Stop] } else { Vec::new() };
        steps.push(PoolStep::Undefine);
        return Ok((steps, Some(Diff::new(&title, wanted.describe(), ""))));
    }
    let mut steps = Vec::new();
    let active = state == PoolState::Active;
    let (is, differs) = against(wanted, now, defined)?;
    if differs {
        // Who may use its folder is all that differs: that is brought about by making the folder once more.
        if defined.active {
            steps.push(PoolStep::Stop);
        }
        steps.push(PoolStep::Define(wanted.to_xml()));
        steps.extend(wanted.build(now));
    }
    let autostart = if now.ours { autostart } else { defined.autostart };
    if now.ours && !defined.active && active && !differs {
        // A run may have broken off between defining it and making what it stands on.
        steps.extend(wanted.build(now));
    }
    if defined.autostart != autostart {
        steps.push(PoolStep::Autostart(autostart));
    }
    match (defined.active && !differs, active) {
        (false, true) => steps.push(PoolStep::Start),
        (true, false) if now.ours => steps.push(PoolStep::Stop),
        (true, false) => {
            return Err(LabError::Conflict(format!(
                "pool {name} was not made by this lab, so it is not stopped"
            )));
        }
        _ => {}
    }
    if steps.is_empty() {
        return Ok((steps, None));
    }
    let lines = |what: &str, autostart: bool, active: bool| {
        format!("{what}autostart: {autostart}\nactive: {active}\n")
    };
    let before = lines(&is, defined.autostart, defined.active);
    let diff = Diff::new(&title, before, lines(&wanted.describe(), autostart, active));
    Ok((steps, Some(diff)))
}

/// What a pool is as a person reads it, and whether it has to be defined anew; refuses what would take its volumes away.
fn against(wanted: PoolWanted<'_>, now: &PoolNow, defined: &Defined) -> Result<(String, bool), LabError> {
    let (is, same, may_change) = match wanted {
        PoolWanted::Parts(spec) => {
            let there = Element::parse(&defined.xml)?;
            let current = PoolSpec::from_element(&there);
            let same = current.as_ref().is_some_and(|c| spec.served_by(c));
            let other = || format!("type: {}\n", there.get("type").unwrap_or("unknown"));
            let is = if same { spec.describe() } else { current.map_or_else(other, |c| c.describe()) };
            (is, same, false)
        }
        PoolWanted::Whole(written) => {
            (written.describe_there(), written.is_there(), now.ours && written.differs_in_permissions())
        }
    };
    if same || may_change {
        return Ok((is, !same));
    }
    Err(LabError::Conflict(format!(
        "pool {} exists and differs from what is declared; its volumes would be lost from sight, so it is left alone:\n{}",
        wanted.name(),
        differences(&is, &wanted.describe())
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dir(path: &str) -> PoolSpec {
        PoolSpec { name: "p".into(), kind: PoolKind::Dir, path: path.into() }
    }

    fn vg() -> PoolSpec {
        PoolSpec { name: "virt-pool".into(), kind: PoolKind::Logical, path: "/dev/nvme0n1p2".into() }
    }

    fn now(spec: Option<&PoolSpec>, ours: bool, volume_group: bool) -> PoolNow {
        let defined = spec.map(|s| Defined { xml: s.to_xml(), active: true, autostart: true });
        PoolNow { defined, ours, volume_group }
    }

    fn plan(spec: &PoolSpec, now: &PoolNow) -> Result<Vec<PoolStep>, String> {
        plan_pool(PoolWanted::Parts(spec), PoolState::Active, true, now)
            .map(|p| p.0)
            .map_err(|e| e.to_string())
    }

    #[test]
    fn a_logical_pool_as_libvirt_gets_it() {
        insta::assert_snapshot!(vg().to_xml(), @r"
        <pool type='logical'>
          <name>virt-pool</name>
          <source>
            <device path='/dev/nvme0n1p2'/>
            <name>virt-pool</name>
            <format type='lvm2'/>
          </source>
          <target>
            <path>/dev/virt-pool</path>
          </target>
        </pool>
        ");
    }

    #[test]
    fn a_volume_group_is_made_only_where_none_is() {
        let made = PoolStep::BuildVolumeGroup { device: "/dev/nvme0n1p2".into() };
        assert!(plan(&vg(), &now(None, false, false)).expect("planned").contains(&made));
        assert!(!plan(&vg(), &now(None, false, true)).expect("planned").contains(&made));
        assert!(
            plan(&dir("/d"), &now(None, false, false)).expect("planned").contains(&PoolStep::BuildFolder)
        );
    }

    #[test]
    fn a_matching_pool_is_used_whoever_made_it() {
        for ours in [true, false] {
            assert_eq!(plan(&dir("/d/"), &now(Some(&dir("/d")), ours, false)), Ok(vec![]));
        }
        let nameless = PoolSpec { path: String::new(), ..vg() };
        assert_eq!(plan(&vg(), &now(Some(&nameless), false, true)), Ok(vec![]));
    }

    #[test]
    fn a_pool_elsewhere_is_refused() {
        insta::assert_snapshot!(plan(&dir("/new"), &now(Some(&dir("/old")), true, false)).expect_err("refused"), @r"
        pool p exists and differs from what is declared; its volumes would be lost from sight, so it is left alone:
          is       path: /old
          declared path: /new
        ");
    }

    #[test]
    fn a_stopped_pool_is_started_and_a_foreign_one_not_removed() {
        let mut stopped = now(Some(&dir("/d")), true, false);
        stopped.defined.as_mut().expect("defined").active = false;
        assert_eq!(plan(&dir("/d"), &stopped), Ok(vec![PoolStep::BuildFolder, PoolStep::Start]));
        stopped.ours = false;
        assert_eq!(plan(&dir("/d"), &stopped), Ok(vec![PoolStep::Start]));
        let remove = |ours| {
            plan_pool(
                PoolWanted::Parts(&dir("/d")),
                PoolState::Absent,
                true,
                &now(Some(&dir("/d")), ours, false),
            )
        };
        assert_eq!(remove(true).expect("planned").0, [PoolStep::Stop, PoolStep::Undefine]);
        assert!(remove(false).is_err());
    }
}
