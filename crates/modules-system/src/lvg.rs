use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::disk::{DEVICE, Device, look};
use super::sections::{Sections, probe, run};
use crate::host::{Reply, Script, quote};
use crate::value::Map;
use crate::{Diff, Guess, ModuleError, Plan, RemotePath, RunMode, ShellResource};

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum GroupState {
    #[default]
    Present,
    Absent,
    Active,
    Inactive,
}

fn four() -> String {
    "4".into()
}

/// An LVM volume group.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Lvg {
    vg: String,
    /// Devices that make it up. One that holds anything else is refused.
    #[serde(default)]
    pvs: Vec<RemotePath>,
    /// Size of an extent when the group is made; MiB without a unit.
    #[serde(default = "four")]
    pesize: String,
    #[serde(default)]
    pv_options: String,
    #[serde(default)]
    vg_options: String,
    /// Let physical volumes grow to their device's size.
    #[serde(default)]
    pvresize: bool,
    #[serde(default)]
    state: GroupState,
    /// Overwrite what stands on a device; remove a group that has volumes.
    #[serde(default)]
    force: bool,
    /// Take devices that are not named out of the group.
    #[serde(default = "crate::args::yes")]
    remove_extra_pvs: bool,
}

#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Groups {
    devices: Vec<Device>,
    /// Every physical volume, its group (empty for none) and how far its device outgrew it in bytes.
    physical: BTreeMap<String, (String, u64)>,
    exists: bool,
    volumes: u64,
    active: u64,
    extent: u64,
    lacks_lvm: bool,
}

/// Whether LVM is there, in a section of its own.
pub(super) const LVM: &str = "mark lvm; has lvs && echo there\n";

/// Whether LVM is missing; an answer that does not say has it.
pub(super) fn lacks_lvm(sections: &Sections) -> bool {
    sections.has("lvm") && sections.text("lvm").is_empty()
}

/// In check mode an earlier task may be what installs it.
pub(super) fn wants_lvm(lacking: bool, mode: RunMode) -> Result<(), ModuleError> {
    if lacking && !mode.check {
        return Err(ModuleError::failed("this host has no LVM").hint("install the package lvm2"));
    }
    Ok(())
}

/// Names as LVM allows them, so that none is taken for an option or a path.
pub(super) fn lvm_name(name: &str) -> Result<(), ModuleError> {
    let good = |c: char| c.is_ascii_alphanumeric() || "+_.-".contains(c);
    if name.is_empty() || name.starts_with(['-', '.']) || !name.chars().all(good) {
        return Err(ModuleError::Arguments(format!("{name:?} cannot be the name of a group or volume")));
    }
    Ok(())
}

impl Lvg {
    /// The named devices that must become physical volumes, unless what they hold forbids it.
    fn check_device(&self, device: &Device, now: &Groups) -> Result<(), ModuleError> {
        let name = &device.given;
        if !device.exists() {
            return Err(ModuleError::failed(format!("the device {name} is not there"))
                .hint("`lsblk` on the host lists its disks"));
        }
        if let Some((group, _)) = now.physical.get(&device.real) {
            return if group.is_empty() || *group == self.vg {
                Ok(())
            } else {
                Err(ModuleError::failed(format!("{name} is already in the volume group {group}")))
            };
        }
        if let Some(busy) = &device.in_use {
            return Err(ModuleError::failed(format!("{name} is in use: {busy}")));
        }
        match device.content() {
            Some(content) if !self.force => Err(ModuleError::failed(format!(
                "{name} holds {content}, so it is not taken for {}",
                self.vg
            ))
            .hint("force: true (docker_storage_wipe_signatures in that role) overwrites it; first make sure that it is the right disk")),
            _ => Ok(()),
        }
    }
}

impl ShellResource for Lvg {
    const NAME: &'static str = "lvg";
    const FQCN: &'static [&'static str] = &["community.general.lvg"];
    const GUESS: Guess = Guess::Dear;
    type Observed = Groups;

    fn validate(&self) -> Result<(), ModuleError> {
        lvm_name(&self.vg)
    }

    fn probe(&self) -> Script {
        let devices: String = self.pvs.iter().enumerate().map(|(i, d)| look(d.as_str(), i)).collect();
        let vg = quote(&self.vg);
        probe(&format!(
            "{LVM}{DEVICE}{devices}mark pvs
pvs --noheadings --nosuffix --units b --separator ';' -o pv_name,vg_name,dev_size,pv_size,pe_start 2>/dev/null |
while IFS=';' read -r p g d s e; do
  p=${{p#\"${{p%%[! ]*}}\"}}
  printf '%s;%s;%s;%s;%s\\n' \"$(readlink -f -- \"$p\")\" \"$g\" \"$d\" \"$s\" \"$e\"
done
mark vg; vgs --noheadings --nosuffix --units b --separator ';' -o vg_name,lv_count,vg_extent_size {vg} 2>/dev/null
mark active; lvs --noheadings -o lv_active {vg} 2>/dev/null"
        ))
    }

    fn read(&self, reply: &Reply) -> Result<Groups, ModuleError> {
        let sections = Sections::read(reply)?;
        let devices =
            self.pvs.iter().enumerate().map(|(i, d)| Device::read(&sections, d.as_str(), i)).collect();
        let mut physical = BTreeMap::new();
        for line in sections.lines("pvs") {
            let fields: Vec<&str> = line.split(';').map(str::trim).collect();
            if let [name, group, device, size, start] = fields.as_slice() {
                let number = |text: &str| text.parse::<u64>().unwrap_or(0);
                let spare = number(device).saturating_sub(number(size) + number(start));
                physical.insert((*name).to_owned(), ((*group).to_owned(), spare));
            }
        }
        let vg: Vec<&str> = sections.text("vg").split(';').map(str::trim).collect();
        Ok(Groups {
            lacks_lvm: lacks_lvm(&sections),
            devices,
            physical,
            exists: vg.first() == Some(&self.vg.as_str()),
            volumes: vg.get(1).and_then(|n| n.parse().ok()).unwrap_or(0),
            extent: vg.get(2).and_then(|n| n.parse().ok()).unwrap_or(4 << 20),
            active: sections.lines("active").filter(|l| l.trim() == "active").count() as u64,
        })
    }

    fn plan(&self, now: &Groups, mode: RunMode) -> Result<Plan, ModuleError> {
        wants_lvm(now.lacks_lvm, mode)?;
        let mut plan = Plan::default();
        let vg = self.vg.as_str();
        let members: Vec<&String> =
            now.physical.iter().filter(|(_, (g, _))| now.exists && g == vg).map(|(p, _)| p).collect();
        if self.state == GroupState::Absent {
            if now.exists {
                if now.volumes > 0 && !self.force {
                    return Err(ModuleError::failed(format!(
                        "the volume group {vg} has {} logical volumes, so it is not removed",
                        now.volumes
                    ))
                    .hint("force: true removes them with it"));
                }
                plan.steps.push(run(["vgremove", "--force", "--yes", vg]));
                plan.diff.push(Diff::new(&format!("volume group {vg}"), "present\n", "absent\n"));
            }
            return Ok(plan);
        }
        if !now.exists && self.pvs.is_empty() {
            return Err(ModuleError::failed(format!(
                "there is no volume group {vg}, and no pvs to make it of"
            )));
        }
        let mut fresh = Vec::new();
        for device in &now.devices {
            self.check_device(device, now)?;
            let (group, spare) = now.physical.get(&device.real).cloned().unwrap_or_default();
            if !now.physical.contains_key(&device.real) {
                if device.content().is_some() {
                    plan.steps.push(run(["wipefs", "--all", &device.real]));
                }
                let mut argv = vec!["pvcreate".to_owned(), "-f".into(), "-y".into()];
                argv.extend(self.pv_options.split_whitespace().map(str::to_owned));
                argv.push(device.given.clone());
                plan.steps.push(run(argv));
            } else if self.pvresize && spare > now.extent {
                plan.steps.push(run(["pvresize", &device.given]));
            }
            if !now.exists || group != vg {
                fresh.push(device.given.clone());
            }
        }
        if !now.exists {
            let mut argv = vec!["vgcreate".to_owned()];
            argv.extend(self.vg_options.split_whitespace().map(str::to_owned));
            let unit = if self.pesize.ends_with(|c: char| c.is_ascii_digit()) { "m" } else { "" };
            argv.extend(["-s".into(), format!("{}{unit}", self.pesize), vg.to_owned()]);
            argv.extend(fresh.clone());
            plan.steps.push(run(argv));
        } else if !fresh.is_empty() {
            plan.steps.push(run(["vgextend".to_owned(), vg.to_owned()].into_iter().chain(fresh.clone())));
        }
        let extra: Vec<String> = members
            .iter()
            .filter(|m| !now.devices.iter().any(|d| d.real == ***m))
            .map(|m| (**m).clone())
            .collect();
        if !self.pvs.is_empty() && self.remove_extra_pvs && !extra.is_empty() {
            plan.steps.push(run(["vgreduce".to_owned(), vg.to_owned()].into_iter().chain(extra.clone())));
        }
        match self.state {
            GroupState::Active if now.exists && now.active < now.volumes => {
                plan.steps.push(run(["vgchange", "--activate", "y", vg]));
            }
            GroupState::Inactive if now.active > 0 => {
                plan.steps.push(run(["vgchange", "--activate", "n", vg]));
            }
            _ => {}
        }
        if !plan.steps.is_empty() {
            let list =
                |names: Vec<&String>| names.into_iter().flat_map(|n| [n.as_str(), "\n"]).collect::<String>();
            let after = members.iter().copied().filter(|m| !extra.contains(m)).chain(&fresh).collect();
            plan.diff.push(Diff::new(&format!("volume group {vg}"), list(members), list(after)));
        }
        Ok(plan)
    }

    fn result(&self, _now: &Groups) -> Map {
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
        const B: [(&str, &str); 1] = [("real0", "/dev/vdb")];
        const MINE: &str = "/dev/vdb;docker-vg;100000000;10000000;1048576";
        for (arguments, observed, expected) in [
            (
                json!({"pvs": "/dev/vdb"}),
                B.to_vec(),
                Ok(vec!["pvcreate -f -y /dev/vdb", "vgcreate -s 4m docker-vg /dev/vdb"]),
            ),
            (
                json!({"pvs": "/dev/vdb"}),
                vec![B[0], ("blkid0", "TYPE=LVM2_member"), ("pvs", MINE), ("vg", "docker-vg;1;4194304")],
                Ok(vec![]),
            ),
            (
                json!({"pvs": "/dev/vdb", "pvresize": true}),
                vec![B[0], ("blkid0", "TYPE=LVM2_member"), ("pvs", MINE), ("vg", "docker-vg;1;4194304")],
                Ok(vec!["pvresize /dev/vdb"]),
            ),
            (
                json!({"pvs": "/dev/vdb"}),
                vec![B[0], ("blkid0", "TYPE=ext4")],
                Err("/dev/vdb holds a signature of ext4, so it is not taken for docker-vg"),
            ),
            (
                json!({"pvs": "/dev/vdb", "force": true, "pesize": "8m"}),
                vec![B[0], ("blkid0", "PTTYPE=gpt")],
                Ok(vec![
                    "wipefs --all /dev/vdb",
                    "pvcreate -f -y /dev/vdb",
                    "vgcreate -s 8m docker-vg /dev/vdb",
                ]),
            ),
            (
                json!({"pvs": "/dev/vdb", "force": true}),
                vec![B[0], ("use0", "held by dm-0")],
                Err("/dev/vdb is in use: held by dm-0"),
            ),
            (
                json!({"pvs": "/dev/vdb", "force": true}),
                vec![B[0], ("pvs", "/dev/vdb;other;1;1;1")],
                Err("/dev/vdb is already in the volume group other"),
            ),
            (json!({"pvs": "/dev/vdz"}), vec![("real0", "")], Err("the device /dev/vdz is not there")),
            (
                json!({"pvs": "/dev/vdb,/dev/vdc"}),
                vec![B[0], ("real1", "/dev/vdc"), ("pvs", MINE), ("vg", "docker-vg;0;4194304")],
                Ok(vec!["pvcreate -f -y /dev/vdc", "vgextend docker-vg /dev/vdc"]),
            ),
            (
                json!({"pvs": "/dev/vdb"}),
                vec![
                    B[0],
                    ("pvs", "/dev/vdb;docker-vg;1;1;1\n/dev/vdc;docker-vg;1;1;1"),
                    ("vg", "docker-vg;0;4194304"),
                ],
                Ok(vec!["vgreduce docker-vg /dev/vdc"]),
            ),
            (
                json!({"state": "absent"}),
                vec![("vg", "docker-vg;2;4194304")],
                Err("the volume group docker-vg has 2 logical volumes, so it is not removed"),
            ),
            (
                json!({"state": "absent"}),
                vec![("vg", "docker-vg;0;4194304")],
                Ok(vec!["vgremove --force --yes docker-vg"]),
            ),
            (json!({"state": "absent"}), vec![], Ok(vec![])),
        ] {
            let mut arguments = arguments.clone();
            arguments["vg"] = json!("docker-vg");
            let lvg: Lvg = args(arguments.clone());
            lvg.validate().expect("valid");
            let now = lvg.read(&answer(&observed)).expect("readable");
            let plan = lvg.plan(&now, RunMode::default()).map(|p| told(&p.steps)).map_err(|e| e.to_string());
            let expected = expected.map(|e: Vec<&str>| e.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>());
            assert_eq!(plan, expected.map_err(str::to_owned), "{arguments}");
        }
    }
}
