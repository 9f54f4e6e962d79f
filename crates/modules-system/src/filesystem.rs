use schemars::JsonSchema;
use serde::Deserialize;

use super::disk::{DEVICE, Device, look};
use super::sections::{Sections, probe, run, script};
use crate::args::Presence;
use crate::host::{Reply, Script, Step, quote};
use crate::value::Map;
use crate::{Diff, Guess, ModuleError, Plan, RemotePath, RunMode, ShellResource};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Ext2,
    Ext3,
    Ext4,
    Xfs,
    Btrfs,
    Vfat,
    Swap,
    Lvm,
}

/// A file system on a device.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Filesystem {
    #[serde(alias = "device")]
    dev: RemotePath,
    #[serde(alias = "type")]
    fstype: Option<Kind>,
    /// `absent` wipes the signatures off the device.
    #[serde(default)]
    state: Presence,
    /// Overwrite another file system or a partition table.
    #[serde(default)]
    force: bool,
    /// Grow the file system to the device's size.
    #[serde(default)]
    resizefs: bool,
    /// Further options for mkfs.
    opts: Option<String>,
    uuid: Option<String>,
}

#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct OnDisk {
    device: Device,
    device_size: u64,
    filesystem_size: Option<u64>,
    /// Where it is mounted.
    mounted: Option<String>,
}

impl Kind {
    /// blkid's name for it.
    fn signature(self) -> &'static str {
        match self {
            Self::Ext2 => "ext2",
            Self::Ext3 => "ext3",
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
            Self::Btrfs => "btrfs",
            Self::Vfat => "vfat",
            Self::Swap => "swap",
            Self::Lvm => "LVM2_member",
        }
    }

    fn program(self) -> &'static str {
        match self {
            Self::Ext2 => "mkfs.ext2",
            Self::Ext3 => "mkfs.ext3",
            Self::Ext4 => "mkfs.ext4",
            Self::Xfs => "mkfs.xfs",
            Self::Btrfs => "mkfs.btrfs",
            Self::Vfat => "mkfs.vfat",
            Self::Swap => "mkswap",
            Self::Lvm => "pvcreate",
        }
    }

    /// The flag without which the program asks or refuses to overwrite. Whether to overwrite was decided before.
    fn overwrite(self) -> &'static [&'static str] {
        match self {
            Self::Ext2 | Self::Ext3 | Self::Ext4 => &["-F"],
            Self::Xfs | Self::Btrfs | Self::Swap => &["-f"],
            Self::Vfat => &["-I"],
            Self::Lvm => &["-f", "-y"],
        }
    }

    fn uuid(self, uuid: &str) -> Vec<String> {
        match self {
            Self::Xfs => vec!["-m".into(), format!("uuid={uuid}")],
            Self::Vfat => vec!["-i".into(), uuid.replace('-', "")],
            Self::Lvm => vec!["--norestorefile".into(), "--uuid".into(), uuid.into()],
            _ => vec!["-U".into(), uuid.into()],
        }
    }
}

/// Less than this is what rounding to blocks and groups leaves over.
const SLACK: u64 = 1 << 20;

impl Filesystem {
    fn grow(&self, kind: Kind, now: &OnDisk) -> Result<Option<Step>, ModuleError> {
        let dev = self.dev.as_str();
        let Some(size) = now.filesystem_size else {
            return Err(ModuleError::failed(format!(
                "the size of the {} on {dev} cannot be read, so it cannot be grown",
                kind.signature()
            ))
            .hint("resizefs knows ext2, ext3, ext4 and xfs; is the file system's own tool installed?"));
        };
        if size.saturating_add(SLACK) > now.device_size {
            return Ok(None);
        }
        Ok(Some(match (kind, &now.mounted) {
            (Kind::Xfs, Some(path)) => run(["xfs_growfs", path]),
            // XFS grows only while it is mounted.
            (Kind::Xfs, None) => script(&format!(
                "t=$(mktemp -d) || exit 1
mount -t xfs {d} \"$t\" || {{ rmdir \"$t\"; exit 1; }}
xfs_growfs \"$t\"; r=$?
umount \"$t\" && rmdir \"$t\"
exit $r",
                d = quote(dev)
            )),
            (_, Some(_)) => run(["resize2fs", dev]),
            // resize2fs wants a check of what is not mounted; 1 means that it was mended.
            (_, None) => {
                script(&format!("e2fsck -f -p {d}; [ $? -le 1 ] || exit 1\nresize2fs {d}", d = quote(dev)))
            }
        }))
    }
}

impl ShellResource for Filesystem {
    const NAME: &'static str = "filesystem";
    const FQCN: &'static [&'static str] = &["community.general.filesystem"];
    const GUESS: Guess = Guess::Dear;
    type Observed = OnDisk;

    fn validate(&self) -> Result<(), ModuleError> {
        match (self.state, self.fstype) {
            (Presence::Present, None) => Err(ModuleError::Arguments("state present needs fstype".into())),
            (Presence::Present, Some(_)) if self.resizefs && self.uuid.is_some() => {
                Err(ModuleError::Arguments("resizefs and uuid exclude each other".into()))
            }
            _ => Ok(()),
        }
    }

    fn probe(&self) -> Script {
        let dev = quote(self.dev.as_str());
        let sizes = match self.fstype {
            Some(Kind::Ext2 | Kind::Ext3 | Kind::Ext4) if self.resizefs => format!(
                "dumpe2fs -h {dev} 2>/dev/null | while IFS=: read -r k v; do case $k in 'Block count') echo count $v;; 'Block size') echo size $v;; esac; done"
            ),
            // What is mounted is asked of the kernel: on the device its size may be an older one for half a minute.
            Some(Kind::Xfs) if self.resizefs => format!(
                "p=$(while read -r s p x; do case $s in /*) [ \"$(readlink -f -- \"$s\" 2>/dev/null)\" = \"$r\" ] && {{ printf '%b' \"$p\"; break; }};; esac; done </proc/self/mounts)
if [ -n \"$p\" ]; then xfs_info \"$p\" 2>/dev/null | sed -n '/^data/{{s/.*bsize=\\([0-9]*\\) *blocks=\\([0-9]*\\).*/size \\1\\ncount \\2/p;}}'
else xfs_db -r -c 'sb 0' -c 'p dblocks blocksize' {dev} 2>/dev/null | while read -r k e v; do case $k in dblocks) echo count $v;; blocksize) echo size $v;; esac; done; fi"
            ),
            _ => ":".to_owned(),
        };
        probe(&format!(
            "{DEVICE}{look}mark size; [ -z \"$r\" ] || blockdev --getsize64 \"$r\" 2>/dev/null || stat -c %s \"$r\"
mark blocks; [ -z \"$r\" ] || {{ {sizes}; }}",
            look = look(self.dev.as_str(), 0)
        ))
    }

    fn read(&self, reply: &Reply) -> Result<OnDisk, ModuleError> {
        let sections = Sections::read(reply)?;
        let device = Device::read(&sections, self.dev.as_str(), 0);
        let number = |key: &str| -> Option<u64> {
            sections.lines("blocks").find_map(|l| l.strip_prefix(key)?.trim().parse().ok())
        };
        Ok(OnDisk {
            device_size: sections.text("size").parse().unwrap_or(0),
            filesystem_size: number("count").zip(number("size")).and_then(|(c, s)| c.checked_mul(s)),
            mounted: device
                .in_use
                .as_deref()
                .and_then(|u| u.strip_prefix("mounted at "))
                .map(super::fstab::unescape),
            device,
        })
    }

    fn plan(&self, now: &OnDisk, mode: RunMode) -> Result<Plan, ModuleError> {
        let dev = self.dev.as_str();
        let mut plan = Plan::default();
        let content = now.device.content();
        if !now.device.exists() {
            if self.state == Presence::Absent {
                return Ok(plan);
            }
            if let (true, Some(kind)) = (mode.check, self.fstype) {
                plan.steps.push(run([kind.program(), dev]));
                plan.diff.push(Diff::new(dev, "nothing\n", format!("{}\n", kind.signature())));
                return Ok(plan);
            }
            return Err(ModuleError::failed(format!("{dev} is neither a device nor a file")));
        }
        let is = now.device.signature.as_deref();
        let keeps = match (self.state, self.fstype) {
            (Presence::Present, Some(kind)) => {
                Some(kind.signature()) == is && (!self.force || kind == Kind::Lvm)
            }
            _ => content.is_none(),
        };
        if let Some(busy) = &now.device.in_use
            && !keeps
        {
            return Err(ModuleError::failed(format!("{dev} is in use: {busy}")));
        }
        let Some(kind) = self.fstype.filter(|_| self.state == Presence::Present) else {
            if let Some(content) = content {
                plan.steps.push(run(["wipefs", "--all", dev]));
                plan.diff.push(Diff::new(dev, format!("{content}\n"), "nothing\n"));
            }
            return Ok(plan);
        };
        if keeps {
            if self.resizefs
                && let Some(step) = self.grow(kind, now)?
            {
                let was = format!("{} bytes\n", now.filesystem_size.unwrap_or(0));
                plan.steps.push(step);
                plan.diff.push(Diff::new(dev, was, format!("{} bytes\n", now.device_size)));
            }
            return Ok(plan);
        }
        if let Some(content) = &content
            && !self.force
        {
            return Err(ModuleError::failed(format!(
                "{dev} already holds {content}, and {} was asked for",
                kind.signature()
            ))
            .hint("force: true (docker_storage_wipe_signatures in that role) overwrites it; first make sure that it is the right device"));
        }
        if content.is_some() {
            plan.steps.push(run(["wipefs", "--all", dev]));
        }
        let mut argv = vec![kind.program().to_owned()];
        argv.extend(kind.overwrite().iter().map(|w| (*w).to_owned()));
        argv.extend(self.uuid.iter().flat_map(|u| kind.uuid(u)));
        argv.extend(self.opts.iter().flat_map(|o| o.split_whitespace()).map(str::to_owned));
        argv.push(dev.to_owned());
        plan.steps.push(run(argv));
        plan.diff.push(Diff::new(
            dev,
            format!("{}\n", content.unwrap_or_else(|| "nothing".into())),
            format!("{}\n", kind.signature()),
        ));
        Ok(plan)
    }

    fn result(&self, _now: &OnDisk) -> Map {
        Map::new()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::sections::testing::{answer, args, told};
    use super::*;

    #[test]
    fn plans() {
        let on = |blkid: &'static str, used: &'static str| {
            vec![("real0", "/dev/v"), ("blkid0", blkid), ("use0", used), ("size", "10485760000")]
        };
        let sized = |blkid, used, blocks| {
            let mut all = on(blkid, used);
            all.push(("blocks", blocks));
            all
        };
        for (arguments, observed, expected) in [
            (json!({"fstype": "xfs"}), on("TYPE=xfs", "mounted at /srv"), Ok(vec![])),
            (
                json!({"fstype": "xfs", "opts": "-n ftype=1"}),
                on("", ""),
                Ok(vec!["mkfs.xfs -f -n ftype=1 /dev/v"]),
            ),
            (
                json!({"fstype": "ext4"}),
                on("TYPE=xfs", ""),
                Err("/dev/v already holds a signature of xfs, and ext4 was asked for"),
            ),
            (
                json!({"fstype": "ext4"}),
                on("PTTYPE=dos", ""),
                Err("/dev/v already holds a partition table (dos), and ext4 was asked for"),
            ),
            (
                json!({"fstype": "ext4", "force": true}),
                on("TYPE=xfs", ""),
                Ok(vec!["wipefs --all /dev/v", "mkfs.ext4 -F /dev/v"]),
            ),
            (
                json!({"fstype": "ext4", "force": true}),
                on("TYPE=xfs", "mounted at /"),
                Err("/dev/v is in use: mounted at /"),
            ),
            (
                json!({"fstype": "xfs", "force": true}),
                on("TYPE=xfs", "mounted at /"),
                Err("/dev/v is in use: mounted at /"),
            ),
            (json!({"state": "absent"}), on("TYPE=xfs", ""), Ok(vec!["wipefs --all /dev/v"])),
            (json!({"state": "absent"}), on("", ""), Ok(vec![])),
            (
                json!({"fstype": "ext4", "resizefs": true}),
                sized("TYPE=ext4", "mounted at /srv", "count 1000\nsize 4096"),
                Ok(vec!["resize2fs /dev/v"]),
            ),
            (
                json!({"fstype": "xfs", "resizefs": true}),
                sized("TYPE=xfs", "mounted at /my\\040srv", "count 2559900\nsize 4096"),
                Ok(vec![]),
            ),
            (
                json!({"fstype": "xfs", "resizefs": true}),
                sized("TYPE=xfs", "mounted at /my\\040srv", "count 1000\nsize 4096"),
                Ok(vec!["xfs_growfs /my srv"]),
            ),
        ] {
            let mut arguments = arguments.clone();
            arguments["dev"] = json!("/dev/v");
            let filesystem: Filesystem = args(arguments.clone());
            filesystem.validate().expect("valid");
            let now = filesystem.read(&answer(&observed)).expect("readable");
            let plan =
                filesystem.plan(&now, RunMode::default()).map(|p| told(&p.steps)).map_err(|e| e.to_string());
            assert_eq!(
                plan.as_ref().map_err(String::as_str),
                expected
                    .map(|e: Vec<&str>| e.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>())
                    .as_ref()
                    .map_err(|e| *e),
                "{arguments}"
            );
        }
    }

    #[test]
    fn check_mode_foresees_a_file_system_on_a_device_to_come() {
        let filesystem: Filesystem = args(json!({"dev": "/dev/vg/data", "fstype": "xfs"}));
        let now = filesystem.read(&answer(&[("real0", "")])).expect("readable");
        assert!(filesystem.plan(&now, RunMode::default()).is_err());
        let check = RunMode { check: true, ..RunMode::default() };
        assert_eq!(told(&filesystem.plan(&now, check).expect("a plan").steps), ["mkfs.xfs /dev/vg/data"]);
    }
}
