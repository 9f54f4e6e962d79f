//! What somebody did to a VM's definition by hand (an external snapshot, a disk that was attached, moved or copied), told
//! apart from what was declared before, so that no run throws it away.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::xml::Element;
use super::{DomainSpec, LabError};

/// What is known of the files behind a VM's disks, as far as it had to be asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DiskFiles {
    /// What lies below a disk's file, the nearest first.
    pub below: BTreeMap<String, Vec<String>>,
    /// The files and devices of volumes that this lab made.
    pub ours: BTreeSet<String>,
}

/// One thing about a VM that is neither as declared nor as anything declared it before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ByHand {
    /// What was written since lies in a file on top of the declared volume.
    Overlay { disk: String, path: String, on: String },
    /// The disk is another file than the declared volume.
    Swapped { disk: String, path: String, declared: String },
    /// The declared volume has another name in the guest.
    Renamed { disk: String, path: String, declared: String },
    /// A disk, or a drive for media, that nothing declares.
    Disk { disk: String, path: String },
    /// A network card that nothing declares.
    Card { mac: String, network: String },
}

impl fmt::Display for ByHand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Overlay { disk, path, on } => {
                write!(f, "{disk} is {path}, an overlay (external snapshot) on the declared {on}")
            }
            Self::Swapped { disk, path, declared } => {
                write!(f, "{disk} is {path} and not the declared {declared}")
            }
            Self::Renamed { disk, path, declared } => {
                write!(f, "the declared {path} is {disk} and not {declared}")
            }
            Self::Disk { disk, path } if path.is_empty() => write!(f, "the drive {disk} is not declared"),
            Self::Disk { disk, path } => write!(f, "{disk}, {path}, is not declared"),
            Self::Card { mac, network } => write!(f, "the card {mac} in {network} is not declared"),
        }
    }
}

impl ByHand {
    /// Whether defining the VM anew would take what is in its disks out of its sight.
    fn is_in_the_way(&self) -> bool {
        matches!(self, Self::Overlay { .. } | Self::Swapped { .. } | Self::Renamed { .. })
    }

    /// What brings the VM back to what is declared, without losing anything.
    fn remedy(&self, vm: &str) -> String {
        match self {
            Self::Overlay { disk, on, .. } => format!(
                "`virsh blockcommit {vm} {disk} --active --pivot --verbose`, while the VM runs, puts what was written since into {on}; `virsh snapshot-delete {vm} NAME --metadata` then forgets the snapshot"
            ),
            Self::Swapped { disk, declared, .. } => format!(
                "`virsh blockcopy {vm} {disk} {declared} --reuse-external --wait --pivot` brings its content back into the declared volume (and overwrites what that holds), or declare what it is now"
            ),
            Self::Renamed { declared, .. } => {
                format!("`virsh edit {vm}` gives the disk its declared name {declared} back")
            }
            Self::Disk { disk, .. } => format!("`virsh detach-disk {vm} {disk} --config` takes it off"),
            Self::Card { mac, .. } => {
                format!("`virsh detach-interface {vm} network --mac {mac} --config` takes it off")
            }
        }
    }
}

/// One disk as a definition has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskNow {
    pub target: String,
    /// Empty where no medium is in the drive.
    pub path: String,
    /// `qcow2`, `raw`.
    pub format: String,
    pub read_only: bool,
    /// What the definition itself says lies below, the nearest first.
    pub below: Vec<String>,
}

/// The disks of a definition.
pub fn disks_now(domain: &Element) -> Vec<DiskNow> {
    domain.find("devices").into_iter().flat_map(|d| d.all("disk")).map(disk_now).collect()
}

fn disk_now(disk: &Element) -> DiskNow {
    let mut below = Vec::new();
    let mut at = disk.find("backingStore");
    while let Some(store) = at {
        below.extend(path_of(store).map(str::to_owned));
        at = store.find("backingStore");
    }
    DiskNow {
        target: disk.path_attr("target", "dev").unwrap_or_default().to_owned(),
        path: path_of(disk).unwrap_or_default().to_owned(),
        format: disk.path_attr("driver", "type").unwrap_or("raw").to_owned(),
        read_only: disk.find("readonly").is_some() || matches!(disk.get("device"), Some("cdrom" | "floppy")),
        below,
    }
}

/// The file or device of a disk or of what lies below one.
fn path_of(disk: &Element) -> Option<&str> {
    let source = disk.find("source")?;
    source.get("file").or_else(|| source.get("dev")).or_else(|| source.get("name"))
}

/// The disks of these definitions whose files have to be looked into before anybody can say what they are.
pub fn unexpected(definitions: &[Element], spec: &DomainSpec) -> Vec<DiskNow> {
    let mut all: Vec<DiskNow> = Vec::new();
    for disk in definitions.iter().flat_map(disks_now) {
        let expected = spec.disks.iter().enumerate().any(|(index, declared)| {
            declared.path == disk.path && (declared.read_only || declared.target(index) == disk.target)
        });
        if !expected && !all.contains(&disk) {
            all.push(disk);
        }
    }
    all
}

/// A definition as it would be without what was done by hand, and what that is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Told {
    pub plain: Element,
    pub by_hand: Vec<ByHand>,
}

/// Tells what was done by hand to a definition from what was declared, now or before.
pub(super) fn tell(domain: &Element, spec: &DomainSpec, files: &DiskFiles) -> Told {
    let mut told = Told { plain: domain.clone(), by_hand: Vec::new() };
    let Some(devices) = told.plain.children.iter_mut().find(|e| e.name == "devices") else { return told };
    let cards = devices.all("interface").count();
    let known_card =
        devices.all("interface").any(|i| mac(i).is_some_and(|m| m.eq_ignore_ascii_case(&spec.mac)));
    let children = std::mem::take(&mut devices.children);
    for mut device in children {
        let by_hand = match device.name.as_str() {
            "disk" => disk_by_hand(&device, spec, files),
            // With one card declared and one there, it is that one, whatever its address was.
            "interface" if cards > 1 && known_card => mac(&device)
                .filter(|mac| !mac.eq_ignore_ascii_case(&spec.mac))
                .map(|mac| ByHand::Card { mac: mac.to_owned(), network: network_of(&device) }),
            _ => None,
        };
        match &by_hand {
            None => devices.children.push(device),
            Some(ByHand::Overlay { on: declared, .. } | ByHand::Swapped { declared, .. }) => {
                set_path(&mut device, declared);
                devices.children.push(device);
            }
            Some(ByHand::Renamed { declared, .. }) => {
                set_target(&mut device, declared);
                devices.children.push(device);
            }
            Some(ByHand::Disk { .. } | ByHand::Card { .. }) => {}
        }
        told.by_hand.extend(by_hand);
    }
    told
}

fn disk_by_hand(device: &Element, spec: &DomainSpec, files: &DiskFiles) -> Option<ByHand> {
    let DiskNow { target: disk, path, below, .. } = disk_now(device);
    let declared = |wanted: &str| spec.disks.iter().enumerate().find(|(i, d)| d.target(*i) == wanted);
    if let Some((index, same)) = spec.disks.iter().enumerate().find(|(_, d)| d.path == path) {
        // The seed has its place for quaylab's own reasons.
        let renamed = !same.read_only && same.target(index) != disk;
        return renamed.then(|| ByHand::Renamed { disk, path, declared: same.target(index) });
    }
    let below = || below.iter().chain(files.below.get(&path).into_iter().flatten());
    let on = spec.disks.iter().find(|d| below().any(|lower| *lower == d.path));
    match (on, declared(&disk)) {
        (Some(on), _) => Some(ByHand::Overlay { disk, path, on: on.path.clone() }),
        // It was declared before: the lab made it.
        _ if files.ours.contains(&path) => None,
        (None, Some((_, declared))) => Some(ByHand::Swapped { disk, path, declared: declared.path.clone() }),
        (None, None) => Some(ByHand::Disk { disk, path }),
    }
}

fn mac(interface: &Element) -> Option<&str> {
    interface.path_attr("mac", "address")
}

fn network_of(interface: &Element) -> String {
    let source = interface.find("source");
    let of = |name: &str| source.and_then(|s| s.get(name)).map(|value| format!("{name} {value}"));
    of("network").or_else(|| of("bridge")).or_else(|| of("dev")).unwrap_or_else(|| "no network".into())
}

fn set(element: &mut Element, name: &str, value: &str) {
    element.attributes.retain(|(known, _)| known != name);
    element.attributes.push((name.to_owned(), value.to_owned()));
}

fn set_path(disk: &mut Element, path: &str) {
    for source in disk.children.iter_mut().filter(|e| e.name == "source") {
        let name = if source.get("dev").is_some() { "dev" } else { "file" };
        set(source, name, path);
    }
}

fn set_target(disk: &mut Element, name: &str) {
    for target in disk.children.iter_mut().filter(|e| e.name == "target") {
        set(target, "dev", name);
    }
}

/// Refuses to define a VM anew over what would then be out of sight.
pub(super) fn refuse(vm: &str, by_hand: &[ByHand], wanted: &str) -> Result<(), LabError> {
    let in_the_way: Vec<&ByHand> = by_hand.iter().filter(|one| one.is_in_the_way()).collect();
    let Some(first) = in_the_way.first() else { return Ok(()) };
    let all: Vec<String> = in_the_way.iter().map(ToString::to_string).collect();
    Err(LabError::failed(
        format!("VM {vm}"),
        format!("{}; so it is not changed to what is declared: {wanted}", all.join("; ")),
    )
    .with_hint(first.remedy(vm)))
}

/// What a person is told of a VM that is left as somebody made it.
pub fn left_alone(vm: &str, by_hand: &[ByHand]) -> Vec<String> {
    by_hand
        .iter()
        .map(|one| format!("VM {vm}: {one}; that was done by hand and is left as it is; {}", one.remedy(vm)))
        .collect()
}

/// The definition that a VM gets which is there already: what quaylab owns as declared, all else as somebody left it.
pub(super) fn redefined(now: &Element, spec: &DomainSpec, mine: &Element, by_hand: &[ByHand]) -> Element {
    let same =
        |path: &str, attribute: &str| now.path_attr(path, attribute) == mine.path_attr(path, attribute);
    let kernel = |domain: &Element| domain.path_text("os/kernel").map(str::to_owned);
    // What a machine is made of at its root is not mended piece by piece.
    let anew = now.get("type") != mine.get("type") || !same("os", "firmware") || kernel(now) != kernel(mine);
    let mut domain = if anew { mine.clone() } else { now.clone() };
    let kept = |device: &Element| match device.name.as_str() {
        "disk" => by_hand.iter().any(
            |one| matches!(one, ByHand::Disk { disk, .. } if device.path_attr("target", "dev") == Some(disk)),
        ),
        "interface" => {
            by_hand.iter().any(|one| matches!(one, ByHand::Card { mac: own, .. } if mac(device) == Some(own)))
        }
        _ => false,
    };
    let there: Vec<&Element> = now.find("devices").map(|d| d.children.iter().collect()).unwrap_or_default();
    let declared = mine.find("devices").map(|d| d.children.clone()).unwrap_or_default();
    // Where the guest sees the same thing at the same place, its definition stays to the letter.
    let as_it_is = |wanted: &Element| {
        there.iter().copied().find(|has| match wanted.name.as_str() {
            "disk" => {
                has.name == "disk"
                    && path_of(has) == path_of(wanted)
                    && has.path_attr("target", "dev") == wanted.path_attr("target", "dev")
            }
            "interface" => {
                has.name == "interface" && mac(has) == mac(wanted) && network_of(has) == network_of(wanted)
            }
            _ => false,
        })
    };
    let is_ours = |device: &Element| matches!(device.name.as_str(), "disk" | "interface");
    let ours = declared.iter().filter(|d| is_ours(d)).map(|wanted| match as_it_is(wanted) {
        Some(has) if !anew => has.clone(),
        _ => wanted.clone(),
    });
    let strange = there.iter().copied().filter(|d| kept(d)).map(|device| {
        let mut device = device.clone();
        if anew {
            // Its place was one in the old machine.
            device.children.retain(|e| !matches!(e.name.as_str(), "address" | "alias"));
        }
        device
    });
    let first: Vec<Element> = ours.chain(strange).collect();
    // What an older version did not give its VMs.
    let channel = |device: &Element| device.path_attr("target", "name").map(str::to_owned);
    let newer = declared.iter().filter(|d| d.name == "channel" && !anew);
    let newer =
        newer.filter(|d| !there.iter().any(|has| has.name == "channel" && channel(has) == channel(d)));
    let newer: Vec<Element> = newer.cloned().collect();
    if let Some(devices) = domain.children.iter_mut().find(|e| e.name == "devices") {
        devices.children.retain(|d| !is_ours(d));
        devices.children.splice(0..0, first);
        devices.children.extend(newer);
    }
    if anew {
        return domain;
    }
    domain.children.retain(|e| e.name != "currentMemory");
    for child in &mut domain.children {
        match child.name.as_str() {
            "memory" => *child = Element::new("memory").attr("unit", "MiB").text(spec.memory),
            "vcpu" => {
                child.attributes.retain(|(name, _)| name != "current");
                child.text = spec.vcpus.to_string();
            }
            _ => {}
        }
    }
    domain
}

#[cfg(test)]
mod tests {
    use super::super::domain::facts_of;
    use super::super::domain::tests::{mark, spec};
    use super::*;

    fn there(edit: impl Fn(String) -> String) -> Element {
        Element::parse(&edit(spec().to_xml(&mark(), Some("u-u-i-d")))).expect("xml")
    }

    fn hand(domain: &Element, files: &DiskFiles) -> Vec<String> {
        let told = tell(domain, &spec(), files);
        assert_eq!(facts_of(&told.plain), spec().facts(), "without it all is as declared");
        told.by_hand.iter().map(ToString::to_string).collect()
    }

    const DISK: &str = "<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='/x/more'/><target dev='vdc' bus='virtio'/></disk>";
    const DRIVE: &str = "<disk type='file' device='cdrom'><target dev='sda' bus='sata'/><readonly/></disk>";
    const CARD: &str =
        "<interface type='bridge'><mac address='52:54:00:09:09:09'/><source bridge='br0'/></interface>";
    const DEVICE: &str = "<hostdev mode='subsystem' type='usb'/>";

    #[test]
    fn overlays_copies_and_renamed_disks_are_told_from_what_was_declared() {
        assert!(hand(&there(|xml| xml), &DiskFiles::default()).is_empty());
        let overlay = there(|xml| xml.replace("'/pool/quay.qcow2'", "'/pool/quay.s2'"));
        let chain = ["/pool/quay.s1", "/pool/quay.qcow2", "/pool/base"].map(str::to_owned).to_vec();
        let files = DiskFiles { below: [("/pool/quay.s2".to_owned(), chain)].into(), ..DiskFiles::default() };
        assert_eq!(
            hand(&overlay, &files),
            ["vda is /pool/quay.s2, an overlay (external snapshot) on the declared /pool/quay.qcow2"]
        );
        // libvirt's own word for it.
        let told = "'/pool/quay.s1'/><backingStore><source file='/pool/quay.qcow2'/></backingStore>";
        let overlay = there(|xml| xml.replace("'/pool/quay.qcow2'/>", told));
        assert_eq!(hand(&overlay, &DiskFiles::default()).len(), 1);
        // Nothing is known of what lies below.
        let copied = there(|xml| xml.replace("/pool/quay-vdb", "/fast/copy"));
        assert_eq!(
            hand(&copied, &DiskFiles::default()),
            ["vdb is /fast/copy and not the declared /pool/quay-vdb"]
        );
        let renamed = there(|xml| xml.replace("'vdb'", "'sdb'"));
        assert_eq!(hand(&renamed, &DiskFiles::default()), ["the declared /pool/quay-vdb is sdb and not vdb"]);
        let more = there(|xml| xml.replace("<interface", &format!("{DISK}{DRIVE}{CARD}<interface")));
        assert_eq!(
            hand(&more, &DiskFiles::default()),
            [
                "vdc, /x/more, is not declared",
                "the drive sda is not declared",
                "the card 52:54:00:09:09:09 in bridge br0 is not declared"
            ]
        );
    }

    #[test]
    fn what_this_lab_made_was_declared_before() {
        let files = DiskFiles { ours: ["/x/more".to_owned()].into(), ..DiskFiles::default() };
        let more = there(|xml| xml.replace("<interface", &format!("{DISK}<interface")));
        let told = tell(&more, &spec(), &files);
        assert!(told.by_hand.is_empty());
        assert!(facts_of(&told.plain).contains("disk vdc: /x/more"), "it is a change like any other");
        // One card for another is a declaration that changed.
        let card = there(|xml| xml.replace("52:54:00:01:02:03", "52:54:00:01:02:04"));
        assert!(tell(&card, &spec(), &files).by_hand.is_empty());
        assert_eq!(unexpected(&[more], &spec()).len(), 1);
        assert!(unexpected(&[there(|xml| xml)], &spec()).is_empty());
    }

    #[test]
    fn a_vm_that_is_defined_anew_keeps_what_people_gave_it() {
        let given = format!("{DISK}{CARD}{DEVICE}<interface");
        let now = there(|xml| {
            xml.replace("<interface", &given)
                .replace(
                    "<target dev='vda' bus='virtio'/>",
                    "<target dev='vda' bus='virtio'/><address bus='7'/>",
                )
                .replace("<vcpu>2</vcpu>", "<vcpu current='1'>2</vcpu><currentMemory>4</currentMemory>")
        });
        let mut bigger = DomainSpec { vcpus: 4, memory: 16384, ..spec() };
        let mut third = bigger.disks[1].clone();
        (third.volume, third.path) = ("quay-vdc".into(), "/pool/quay-vdc".into());
        bigger.disks.insert(2, third);
        let Told { by_hand, .. } = tell(&now, &bigger, &DiskFiles::default());
        // vdc is taken by hand, so there it is in the way; elsewhere it is not.
        assert!(
            refuse("quay", &by_hand, "vcpus: 4").expect_err("refused").to_string().contains("vdc is /x/more")
        );
        bigger.disks.remove(2);
        let Told { by_hand, .. } = tell(&now, &bigger, &DiskFiles::default());
        refuse("quay", &by_hand, "vcpus: 4").expect("nothing is in the way");
        let mine = Element::parse(&bigger.to_xml(&mark(), Some("u-u-i-d"))).expect("xml");
        let defined = redefined(&now, &bigger, &mine, &by_hand);
        let text = defined.to_string();
        for kept in ["/x/more", "52:54:00:09:09:09", "<hostdev", "bus='7'", "u-u-i-d", "quaylab:lab"] {
            assert!(text.contains(kept), "{kept}: {text}");
        }
        assert_eq!(facts_of(&tell(&defined, &bigger, &DiskFiles::default()).plain), bigger.facts());
        // With firmware of another kind it is another machine; disks and cards go along.
        let uefi = DomainSpec { firmware: super::super::Firmware::Uefi, ..spec() };
        let mine = Element::parse(&uefi.to_xml(&mark(), Some("u-u-i-d"))).expect("xml");
        let text = redefined(&now, &uefi, &mine, &by_hand).to_string();
        assert!(
            text.contains("/x/more") && text.contains("br0") && text.contains("firmware='efi'"),
            "{text}"
        );
    }

    #[test]
    fn nothing_is_defined_over_what_was_written_since() {
        let overlay = ByHand::Overlay {
            disk: "vda".into(),
            path: "/pool/quay.s1".into(),
            on: "/pool/quay.qcow2".into(),
        };
        let told = refuse("quay", std::slice::from_ref(&overlay), "vcpus: 4").expect_err("refused");
        assert!(told.to_string().contains("is not changed to what is declared: vcpus: 4"), "{told}");
        assert!(told.hint().is_some_and(|h| h.starts_with("`virsh blockcommit quay vda --active --pivot")));
        let left = left_alone("quay", &[overlay]);
        assert!(
            left[0].contains("left as it is") && left[0].contains("virsh blockcommit quay vda"),
            "{left:?}"
        );
    }
}
