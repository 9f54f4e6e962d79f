//! The whole lab as it is at one moment: what is kept of each VM, and the commands that keep and bring back its disks.
//!
//! Why it is done like this is in `docs/decisions/0050-snapshots.md`.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::xml::Element;
use super::{LabError, RoleStates, Tags, write_private};
use crate::host::quote;
use crate::store::FileName;

/// A snapshot of a lab.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    pub name: String,
    /// Seconds since the epoch.
    pub created: u64,
    /// Whether all of it is there; one that broke off can only be removed.
    pub complete: bool,
    pub vms: Vec<SnapshotVm>,
    /// Which roles had converged.
    pub roles: RoleStates,
}

/// One VM in a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotVm {
    pub uri: String,
    pub name: String,
    /// The definition that it had.
    pub xml: String,
    pub running: bool,
    /// The file on the hypervisor that holds its memory.
    pub memory: Option<String>,
    pub disks: Vec<SnapshotDisk>,
    /// UEFI's variables, and the copy of them.
    pub nvram: Option<(String, String)>,
}

/// One writable disk in a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotDisk {
    pub path: String,
    pub kind: DiskKind,
}

/// What a disk is kept in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DiskKind {
    /// A qcow2 file: a snapshot inside it.
    Qcow2,
    /// A raw file: a copy beside it, which shares blocks where the file system can.
    Raw,
    /// A logical volume: a copy-on-write volume in its group.
    Logical,
}

/// Where the hypervisor keeps the memory of snapshots.
const MEMORY_FOLDER: &str = "/var/lib/libvirt/qemu/quaylab";

/// Where libvirt puts the memory of a VM that is saved and not running.
const SAVED_FOLDER: &str = "/var/lib/libvirt/qemu/save";

/// A snapshot's name becomes part of file names, of LVM names and of commands.
pub fn check_snapshot_name(name: &str) -> Result<(), LabError> {
    let fine = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if name.is_empty() || name.len() > 40 || name.starts_with(['.', '-']) || !name.chars().all(fine) {
        return Err(LabError::Invalid(format!(
            "the snapshot's name {name:?} may only hold up to 40 letters, digits, dots, dashes and underscores"
        )));
    }
    Ok(())
}

impl SnapshotVm {
    /// What a snapshot of this VM is made of. Its disks are those that run, and those that come with its next boot.
    pub fn of(
        uri: &str,
        lab: &str,
        snapshot: &str,
        (xml, live): (&str, Option<&str>),
        memory: bool,
    ) -> Result<Self, LabError> {
        let running = live.is_some();
        let domain = Element::parse(xml)?;
        let name = domain.path_text("name").unwrap_or_default().to_owned();
        let folder = folder(lab, snapshot);
        let nvram = domain.path_text("os/nvram").filter(|path| !path.is_empty());
        let mut disks = match live {
            Some(live) => writable(&Element::parse(live)?, &name)?,
            None => Vec::new(),
        };
        for disk in writable(&domain, &name)? {
            if !disks.contains(&disk) {
                disks.push(disk);
            }
        }
        Ok(Self {
            uri: uri.to_owned(),
            disks,
            memory: (running && memory).then(|| format!("{folder}/{name}.memory")),
            nvram: nvram.map(|path| (path.to_owned(), format!("{folder}/{name}.nvram"))),
            xml: xml.to_owned(),
            running,
            name,
        })
    }

    /// Keeps the disks of a VM that is off or saved, and its memory where that belongs to it.
    pub fn create_script(&self, lab: &str, snapshot: &str) -> String {
        let mut script = format!("set -eu\nmkdir -p {}\n", quote(&folder(lab, snapshot)));
        if let Some(memory) = &self.memory {
            let saved = format!("{SAVED_FOLDER}/{}.save", self.name);
            script += &format!("cp --reflink=auto --sparse=always -- {} {}\n", quote(&saved), quote(memory));
        }
        if let Some((from, to)) = &self.nvram {
            // A VM that never ran has no variables yet.
            script += &format!("if [ -e {0} ]; then cp -p -- {0} {1}; fi\n", quote(from), quote(to));
        }
        for disk in &self.disks {
            script += &disk.create(lab, snapshot);
        }
        script
    }

    /// Makes sure that all of it is there, so that nothing is brought back by half. The VM may run.
    pub fn check_script(&self, snapshot: &str) -> String {
        let mut script = "set -eu\n".to_owned();
        for disk in &self.disks {
            script += &disk.check(snapshot);
        }
        if let Some(memory) = &self.memory {
            script += &format!("[ -e {0} ] || {{ echo {0} is missing >&2; exit 1; }}\n", quote(memory));
        }
        script
    }

    /// Brings the disks back as they were. The VM is off.
    pub fn restore_script(&self, lab: &str, snapshot: &str) -> String {
        let mut script = "set -eu\n".to_owned();
        for disk in &self.disks {
            script += &disk.restore(lab, snapshot);
        }
        if let Some((to, from)) = &self.nvram {
            script += &format!("if [ -e {0} ]; then cp -p -- {0} {1}; fi\n", quote(from), quote(to));
        }
        script
    }

    /// Removes what was kept, also of a snapshot that broke off.
    pub fn remove_script(&self, lab: &str, snapshot: &str) -> String {
        let mut script = "set -u\nstatus=0\n".to_owned();
        for disk in &self.disks {
            script += &disk.remove(snapshot);
        }
        let kept = self.memory.iter().chain(self.nvram.iter().map(|(_, copy)| copy));
        for file in kept {
            script += &format!("rm -f -- {} || status=1\n", quote(file));
        }
        let folder = folder(lab, snapshot);
        let above = folder.rsplit_once('/').map_or(folder.as_str(), |(above, _)| above);
        // Those that others still use stay.
        for empty in [folder.as_str(), above, MEMORY_FOLDER] {
            script += &format!("rmdir -- {} 2>/dev/null || true\n", quote(empty));
        }
        script + "exit $status\n"
    }

    /// Whether removing the snapshot needs the VM to let go of its disks.
    pub fn holds_its_snapshot(&self) -> bool {
        self.disks.iter().any(|d| d.kind == DiskKind::Qcow2)
    }
}

fn folder(lab: &str, snapshot: &str) -> String {
    format!("{MEMORY_FOLDER}/{lab}/{snapshot}")
}

fn writable(domain: &Element, name: &str) -> Result<Vec<SnapshotDisk>, LabError> {
    let all = domain.find("devices").into_iter().flat_map(|d| d.all("disk"));
    let mut disks = Vec::new();
    for disk in all {
        let drive = matches!(disk.get("device"), None | Some("disk"));
        if !drive || disk.find("readonly").is_some() {
            continue;
        }
        let Some(source) = disk.find("source") else { continue };
        let format = disk.path_attr("driver", "type").unwrap_or("raw");
        let target = disk.path_attr("target", "dev").unwrap_or("?");
        let found = match (source.get("file"), source.get("dev")) {
            (Some(path), _) if format == "qcow2" => (path, DiskKind::Qcow2),
            (Some(path), _) if format == "raw" => (path, DiskKind::Raw),
            (None, Some(path)) if lv_of(path).is_some() => (path, DiskKind::Logical),
            _ => {
                return Err(LabError::failed(
                    format!("VM {name}"),
                    format!("its disk {target} is neither a qcow2 or raw file nor a logical volume"),
                ));
            }
        };
        disks.push(SnapshotDisk { path: found.0.to_owned(), kind: found.1 });
    }
    Ok(disks)
}

/// Volume group and volume of `/dev/GROUP/VOLUME`.
fn lv_of(path: &str) -> Option<(&str, &str)> {
    let (group, volume) = path.strip_prefix("/dev/")?.split_once('/')?;
    (!volume.contains('/') && !["mapper", "disk", "block"].contains(&group)).then_some((group, volume))
}

impl SnapshotDisk {
    /// A qcow2 file as `qemu-img snapshot` takes it, which knows no `-f`: told what it is, QEMU does not look into it to
    /// find out.
    fn opened(&self) -> String {
        // A comma in a name is written twice.
        let path = self.path.replace(',', ",,");
        format!("--image-opts {}", quote(&format!("driver=qcow2,file.driver=file,file.filename={path}")))
    }

    /// The copy of a raw file.
    fn copy(&self, snapshot: &str) -> String {
        quote(&format!("{}.at-{snapshot}", self.path))
    }

    /// `GROUP/VOLUME` of the copy-on-write volume, and its name alone.
    fn cow(&self, snapshot: &str) -> (String, String) {
        let (group, volume) = lv_of(&self.path).unwrap_or_default();
        let name = format!("{volume}.at-{snapshot}");
        (quote(&format!("{group}/{name}")), quote(&name))
    }

    fn take_cow(&self, lab: &str, snapshot: &str) -> String {
        let (_, name) = self.cow(snapshot);
        let tags = Tags { lab: Some(lab.to_owned()), ..Tags::default() };
        let tags: Vec<String> = tags.arguments().iter().map(|word| quote(word)).collect();
        // As large as its origin: one that runs full is worthless, and nobody is told when it does.
        format!(
            "lvcreate --quiet --yes --snapshot --extents 100%ORIGIN {} --name {name} {}\n",
            tags.join(" "),
            quote(&self.path)
        )
    }

    fn create(&self, lab: &str, snapshot: &str) -> String {
        let path = quote(&self.path);
        match self.kind {
            DiskKind::Qcow2 => format!("qemu-img snapshot -c {} {}\n", quote(snapshot), self.opened()),
            DiskKind::Raw => {
                format!("cp --reflink=auto --sparse=always -p -- {path} {}\n", self.copy(snapshot))
            }
            DiskKind::Logical => self.take_cow(lab, snapshot),
        }
    }

    fn check(&self, snapshot: &str) -> String {
        let path = quote(&self.path);
        let test = match self.kind {
            DiskKind::Qcow2 => format!(
                "qemu-img snapshot -l -U {} | awk 'NR > 2 {{ print $2 }}' | grep -Fqx -- {}",
                self.opened(),
                quote(snapshot)
            ),
            DiskKind::Raw => format!("[ -e {} ]", self.copy(snapshot)),
            DiskKind::Logical => format!("lvs {} >/dev/null 2>&1", self.cow(snapshot).0),
        };
        format!("{test} || {{ echo {path} has no snapshot {} any more >&2; exit 1; }}\n", quote(snapshot))
    }

    fn restore(&self, lab: &str, snapshot: &str) -> String {
        let path = quote(&self.path);
        match self.kind {
            DiskKind::Qcow2 => format!("qemu-img snapshot -a {} {}\n", quote(snapshot), self.opened()),
            DiskKind::Raw => {
                format!("cp --reflink=auto --sparse=always -p -- {} {path}\n", self.copy(snapshot))
            }
            // Merging uses the snapshot up, so it is taken anew of what is the same again.
            DiskKind::Logical => {
                format!("lvconvert --quiet --yes --merge {}\n", self.cow(snapshot).0)
                    + &self.take_cow(lab, snapshot)
            }
        }
    }

    fn remove(&self, snapshot: &str) -> String {
        let path = quote(&self.path);
        match self.kind {
            // One that broke off may lack it, and so may one whose disk is gone.
            DiskKind::Qcow2 => format!(
                "if [ -e {path} ] && {{ {} ; }} 2>/dev/null; then qemu-img snapshot -d {} {} || status=1; fi\n",
                format_args!(
                    "qemu-img snapshot -l -U {} | awk 'NR > 2 {{ print $2 }}' | grep -Fqx -- {}",
                    self.opened(),
                    quote(snapshot)
                ),
                quote(snapshot),
                self.opened()
            ),
            DiskKind::Raw => format!("rm -f -- {} || status=1\n", self.copy(snapshot)),
            DiskKind::Logical => format!(
                "if lvs {0} >/dev/null 2>&1; then lvremove --quiet --yes --force {0} || status=1; fi\n",
                self.cow(snapshot).0
            ),
        }
    }
}

/// The snapshots that a lab's state folder knows.
#[derive(Debug, Clone)]
pub struct Snapshots {
    folder: PathBuf,
}

impl Snapshots {
    pub const FOLDER: &'static str = "snapshots";

    pub fn new(state_dir: &Path) -> Self {
        Self { folder: state_dir.join(Self::FOLDER) }
    }

    fn file(&self, name: &str) -> PathBuf {
        FileName::escaped(name).ending(&self.folder, "json")
    }

    /// All of them, the oldest first.
    pub fn all(&self) -> Result<Vec<Snapshot>, LabError> {
        let entries = match std::fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(LabError::io(format!("reading {}", self.folder.display()))(e)),
        };
        let mut all = Vec::new();
        for path in entries.flatten().map(|e| e.path()).filter(|p| p.extension().is_some_and(|e| e == "json"))
        {
            let reading = || format!("reading {}", path.display());
            let text = std::fs::read(&path).map_err(LabError::io(reading()))?;
            let one: Snapshot =
                serde_json::from_slice(&text).map_err(|e| LabError::failed(reading(), e.to_string()))?;
            all.push(one);
        }
        all.sort_by(|a, b| (a.created, &a.name).cmp(&(b.created, &b.name)));
        Ok(all)
    }

    pub fn get(&self, name: &str) -> Result<Option<Snapshot>, LabError> {
        Ok(self.all()?.into_iter().find(|s| s.name == name))
    }

    pub fn put(&self, snapshot: &Snapshot) -> Result<(), LabError> {
        let text = serde_json::to_vec_pretty(snapshot)
            .map_err(|e| LabError::failed("writing the snapshot", e.to_string()))?;
        write_private(&self.file(&snapshot.name), &text)
    }

    pub fn forget(&self, name: &str) -> Result<(), LabError> {
        let file = self.file(name);
        std::fs::remove_file(&file).map_err(LabError::io(format!("removing {}", file.display())))?;
        // The last one takes the folder with it.
        let _others = std::fs::remove_dir(&self.folder);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const XML: &str = "<domain><name>quay</name><os><nvram>/nv/quay_VARS.fd</nvram></os><devices>\
        <disk device='disk'><driver type='qcow2'/><source file='/p/quay.qcow2'/><target dev='vda'/></disk>\
        <disk device='disk'><driver type='raw'/><source dev='/dev/vg/quay-vdb'/><target dev='vdb'/></disk>\
        <disk device='disk'><driver type='raw'/><source file='/p/a b'/><target dev='vdc'/></disk>\
        <disk device='disk'><driver type='raw'/><source file='/p/seed'/><target dev='vdd'/><readonly/></disk>\
        <disk device='cdrom'><target dev='sda'/></disk></devices></domain>";

    #[test]
    fn every_kind_of_disk_is_kept_in_its_own_way() {
        let vm = SnapshotVm::of("u", "lab", "clean", (XML, Some(XML)), true).expect("read");
        insta::assert_snapshot!(vm.create_script("lab", "clean"), @r"
        set -eu
        mkdir -p /var/lib/libvirt/qemu/quaylab/lab/clean
        cp --reflink=auto --sparse=always -- /var/lib/libvirt/qemu/save/quay.save /var/lib/libvirt/qemu/quaylab/lab/clean/quay.memory
        if [ -e /nv/quay_VARS.fd ]; then cp -p -- /nv/quay_VARS.fd /var/lib/libvirt/qemu/quaylab/lab/clean/quay.nvram; fi
        qemu-img snapshot -c clean --image-opts driver=qcow2,file.driver=file,file.filename=/p/quay.qcow2
        lvcreate --quiet --yes --snapshot --extents 100%ORIGIN --addtag quaylab:lab=lab --name quay-vdb.at-clean /dev/vg/quay-vdb
        cp --reflink=auto --sparse=always -p -- '/p/a b' '/p/a b.at-clean'
        ");
        let (check, back) = (vm.check_script("clean"), vm.restore_script("lab", "clean"));
        assert!(check.contains("lvs vg/quay-vdb.at-clean") && check.contains("quay.memory"), "{check}");
        insta::assert_snapshot!(back, @r"
        set -eu
        qemu-img snapshot -a clean --image-opts driver=qcow2,file.driver=file,file.filename=/p/quay.qcow2
        lvconvert --quiet --yes --merge vg/quay-vdb.at-clean
        lvcreate --quiet --yes --snapshot --extents 100%ORIGIN --addtag quaylab:lab=lab --name quay-vdb.at-clean /dev/vg/quay-vdb
        cp --reflink=auto --sparse=always -p -- '/p/a b.at-clean' '/p/a b'
        if [ -e /var/lib/libvirt/qemu/quaylab/lab/clean/quay.nvram ]; then cp -p -- /var/lib/libvirt/qemu/quaylab/lab/clean/quay.nvram /nv/quay_VARS.fd; fi
        ");
        assert!(
            vm.remove_script("lab", "clean").contains("lvremove --quiet --yes --force vg/quay-vdb.at-clean")
        );
        let off = SnapshotVm::of("u", "lab", "clean", (XML, None), true).expect("read");
        assert_eq!(off.memory, None);
    }

    #[test]
    fn the_disks_that_run_and_those_that_come_with_the_next_boot_are_kept() {
        let disk = |path: &str, target: &str| {
            format!("<disk><driver type='qcow2'/><source file='{path}'/><target dev='{target}'/></disk>")
        };
        let domain = |disks: &str| format!("<domain><name>q</name><devices>{disks}</devices></domain>");
        let running = domain(&(disk("/p/a", "vda") + &disk("/p/going", "vdb")));
        let defined = domain(&(disk("/p/a", "vda") + &disk("/p/coming", "vdb")));
        let paths = |live: Option<&str>| {
            let vm = SnapshotVm::of("u", "l", "s", (&defined, live), true).expect("read");
            vm.disks.into_iter().map(|d| d.path).collect::<Vec<_>>()
        };
        assert_eq!(paths(Some(&running)), ["/p/a", "/p/going", "/p/coming"]);
        assert_eq!(paths(None), ["/p/a", "/p/coming"]);
    }

    #[test]
    fn what_cannot_be_kept_is_refused() {
        for source in
            ["<source dev='/dev/sdb'/>", "<source dev='/dev/mapper/x'/>", "<source protocol='rbd'/>"]
        {
            let xml = format!(
                "<domain><name>q</name><devices><disk><driver type='raw'/>{source}<target dev='vda'/></disk></devices></domain>"
            );
            let error = SnapshotVm::of("u", "l", "s", (&xml, None), false).expect_err("refused");
            assert!(error.to_string().contains("its disk vda is neither"), "{error}");
        }
        for name in ["", "a/b", "-x", ".x", "a b", "x; rm"] {
            assert!(check_snapshot_name(name).is_err(), "{name:?}");
        }
        assert!(check_snapshot_name("2026-11-21.clean_1").is_ok());
    }

    #[test]
    fn snapshots_are_remembered_in_their_order() {
        let dir = tempfile::tempdir().expect("a folder");
        let store = Snapshots::new(dir.path());
        let one = |name: &str, created| Snapshot {
            name: name.into(),
            created,
            complete: true,
            vms: Vec::new(),
            roles: RoleStates::new(),
        };
        store.put(&one("b", 1)).expect("written");
        store.put(&one("a", 2)).expect("written");
        let names = || store.all().expect("read").into_iter().map(|s| s.name).collect::<Vec<_>>();
        assert_eq!(names(), ["b", "a"]);
        store.forget("b").expect("removed");
        assert_eq!(names(), ["a"]);
        store.forget("a").expect("removed");
        assert!(!dir.path().join("snapshots").exists());
    }
}
