//! Facts about memory, processors, disks, mounts and what the machine is.

use std::collections::{BTreeSet, HashMap};

use serde_json::json;

use super::fstab::unescape;
use super::sections::Sections;
use crate::value::{Map, Value};

fn memory(sections: &Sections, facts: &mut Map) {
    let kib: HashMap<&str, u64> = sections
        .lines("meminfo")
        .filter_map(|l| {
            let (key, rest) = l.split_once(':')?;
            Some((key, rest.split_whitespace().next()?.parse().ok()?))
        })
        .collect();
    let mib = |key: &str| kib.get(key).copied().unwrap_or(0) / 1024;
    let (total, free, swap, swap_free) = (mib("MemTotal"), mib("MemFree"), mib("SwapTotal"), mib("SwapFree"));
    let nocache = (kib.get("MemFree").unwrap_or(&0)
        + kib.get("Cached").unwrap_or(&0)
        + kib.get("Buffers").unwrap_or(&0))
        / 1024;
    facts.insert("memtotal_mb".into(), json!(total));
    facts.insert("memfree_mb".into(), json!(free));
    facts.insert("swaptotal_mb".into(), json!(swap));
    facts.insert("swapfree_mb".into(), json!(swap_free));
    facts.insert(
        "memory_mb".into(),
        json!({
            "real": {"total": total, "free": free, "used": total.saturating_sub(free)},
            "nocache": {"free": nocache, "used": total.saturating_sub(nocache)},
            "swap": {"total": swap, "free": swap_free, "used": swap.saturating_sub(swap_free), "cached": mib("SwapCached")},
        }),
    );
}

fn processors(sections: &Sections, facts: &mut Map) {
    let mut list = Vec::new();
    let mut sockets = BTreeSet::new();
    let (mut count, mut siblings, mut cores) = (0_u64, 0_u64, 0_u64);
    for line in sections.lines("cpuinfo") {
        let Some((key, value)) = line.split_once(':').map(|(k, v)| (k.trim(), v.trim())) else { continue };
        match key {
            "processor" => {
                count += 1;
                list.push(json!(value));
            }
            "vendor_id" | "model name" | "Processor" | "cpu" => list.push(json!(value)),
            "physical id" => {
                sockets.insert(value.to_owned());
            }
            "siblings" => siblings = value.parse().unwrap_or(0),
            "cpu cores" => cores = value.parse().unwrap_or(0),
            _ => {}
        }
    }
    let sockets = if sockets.is_empty() { count.max(1) } else { sockets.len() as u64 };
    let cores = if cores == 0 { 1 } else { cores };
    let threads = if siblings == 0 { 1 } else { (siblings / cores).max(1) };
    facts.insert("processor".into(), Value::Array(list));
    facts.insert("processor_count".into(), json!(sockets));
    facts.insert("processor_cores".into(), json!(cores));
    facts.insert("processor_threads_per_core".into(), json!(threads));
    facts.insert("processor_vcpus".into(), json!(sockets * cores * threads));
    let online: u64 = sections.text("nproc").parse().unwrap_or(count);
    facts.insert("processor_nproc".into(), json!(online));
}

/// df's numbers by mount point: total and available.
fn usage(sections: &Sections, name: &str) -> HashMap<String, (u64, u64)> {
    sections
        .lines(name)
        .skip(1)
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let numbers = (fields.get(1)?.parse().ok()?, fields.get(3)?.parse().ok()?);
            Some((fields.get(5..)?.join(" "), numbers))
        })
        .collect()
}

fn mounts(sections: &Sections) -> Value {
    let (blocks, inodes) = (usage(sections, "df"), usage(sections, "df-inodes"));
    let uuids: HashMap<&str, &str> =
        sections.lines("uuids").filter_map(|l| l.split_once(' ').map(|(u, d)| (d, u))).collect();
    let mut list = Vec::new();
    for line in sections.lines("mounts") {
        let fields: Vec<String> = line.split(' ').map(unescape).collect();
        let [device, path, kind, options, ..] = fields.as_slice() else { continue };
        if !(device.starts_with('/') || device.contains(":/")) || kind == "none" {
            continue;
        }
        let mut mount = Map::new();
        mount.insert("mount".into(), json!(path));
        mount.insert("device".into(), json!(device));
        mount.insert("fstype".into(), json!(kind));
        mount.insert("options".into(), json!(options));
        mount.insert("dump".into(), json!(0));
        mount.insert("passno".into(), json!(0));
        mount.insert("uuid".into(), json!(uuids.get(device.as_str()).copied().unwrap_or("N/A")));
        if let Some((total, available)) = blocks.get(path) {
            mount.insert("size_total".into(), json!(total * 1024));
            mount.insert("size_available".into(), json!(available * 1024));
        }
        if let Some((total, available)) = inodes.get(path) {
            mount.insert("inode_total".into(), json!(total));
            mount.insert("inode_available".into(), json!(available));
            mount.insert("inode_used".into(), json!(total.saturating_sub(*available)));
        }
        list.push(Value::Object(mount));
    }
    Value::Array(list)
}

/// A size as Ansible writes it: two decimals and a unit of 1024.
fn human(bytes: u64) -> String {
    let units = [(1_u64 << 40, "TB"), (1 << 30, "GB"), (1 << 20, "MB"), (1 << 10, "KB")];
    let (unit, name) = units.into_iter().find(|(u, _)| bytes >= *u).unwrap_or((1, "Bytes"));
    #[expect(clippy::cast_precision_loss, reason = "two decimals are shown")]
    let number = bytes as f64 / unit as f64;
    format!("{number:.2} {name}")
}

fn devices(sections: &Sections) -> Value {
    let mut all = Map::new();
    for line in sections.lines("devices") {
        let fields: Vec<&str> = line.split('|').map(str::trim).collect();
        match fields.as_slice() {
            ["disk", name, size, sector, removable, rotational, model, vendor] => {
                let sectors: u64 = size.parse().unwrap_or(0);
                let text = |t: &str| if t.is_empty() { Value::Null } else { json!(t) };
                all.insert(
                    (*name).to_owned(),
                    json!({
                        // The kernel counts in 512 bytes whatever the disk's own sectors are.
                        "size": human(sectors * 512), "sectors": sectors, "sectorsize": sector,
                        "removable": removable, "rotational": rotational, "model": text(model),
                        "vendor": text(vendor), "partitions": {}, "holders": [],
                    }),
                );
            }
            ["part", disk, name, size, start] => {
                let sectors: u64 = size.parse().unwrap_or(0);
                let partition = json!({
                    "size": human(sectors * 512), "sectors": sectors, "sectorsize": 512, "start": start,
                });
                if let Some(Value::Object(partitions)) =
                    all.get_mut(*disk).and_then(|d| d.get_mut("partitions"))
                {
                    partitions.insert((*name).to_owned(), partition);
                }
            }
            ["holder", disk, name] => {
                if let Some(Value::Array(holders)) = all.get_mut(*disk).and_then(|d| d.get_mut("holders")) {
                    holders.push(json!(name));
                }
            }
            _ => {}
        }
    }
    Value::Object(all)
}

fn lvm(sections: &Sections) -> Value {
    let rows = |name: &str| -> Vec<Vec<String>> {
        sections
            .lines(name)
            .map(|l| l.split('|').map(|f| f.trim().to_owned()).collect::<Vec<String>>())
            .filter(|r| r.len() >= 3)
            .collect()
    };
    let mut vgs = Map::new();
    for row in rows("vgs") {
        if let [name, size, free, lvs, pvs] = row.as_slice() {
            vgs.insert(name.clone(), json!({"size_g": size, "free_g": free, "num_lvs": lvs, "num_pvs": pvs}));
        }
    }
    let mut lvs = Map::new();
    for row in rows("lvs") {
        if let [name, size, vg] = row.as_slice() {
            lvs.insert(name.clone(), json!({"size_g": size, "vg": vg}));
        }
    }
    let mut pvs = Map::new();
    for row in rows("pvs") {
        if let [name, size, free, vg] = row.as_slice() {
            pvs.insert(name.clone(), json!({"size_g": size, "free_g": free, "vg": vg}));
        }
    }
    json!({"vgs": vgs, "lvs": lvs, "pvs": pvs})
}

pub(super) fn hardware(sections: &Sections) -> Map {
    let mut facts = Map::new();
    memory(sections, &mut facts);
    processors(sections, &mut facts);
    facts.insert("mounts".into(), mounts(sections));
    facts.insert("devices".into(), devices(sections));
    if sections.has("vgs") {
        facts.insert("lvm".into(), lvm(sections));
    }
    let uptime = sections.text("uptime").split('.').next().and_then(|s| s.parse::<u64>().ok());
    facts.extend(uptime.map(|s| ("uptime_seconds".to_owned(), json!(s))));
    for (key, file) in [
        ("product_name", "product_name"),
        ("product_version", "product_version"),
        ("product_serial", "product_serial"),
        ("product_uuid", "product_uuid"),
        ("system_vendor", "sys_vendor"),
        ("bios_version", "bios_version"),
        ("bios_date", "bios_date"),
        ("board_name", "board_name"),
        ("board_vendor", "board_vendor"),
        ("chassis_vendor", "chassis_vendor"),
    ] {
        let text = sections.text(&format!("dmi:{file}"));
        facts.insert(key.into(), json!(if text.is_empty() { "NA" } else { text }));
    }
    facts
}

/// Whether this is a guest or a host of others, and of which kind.
pub(super) fn virtual_facts(sections: &Sections) -> Map {
    let container = sections.lines("container").next().map(str::trim);
    let machine = sections.text("hardware").to_lowercase();
    let detected = sections.text("virt");
    let (kind, role) = match (container, detected) {
        (Some("docker"), _) => ("docker", "guest"),
        (Some("podman" | "oci"), _) => ("podman", "guest"),
        (Some("lxc"), _) => ("lxc", "guest"),
        (Some("systemd-nspawn"), _) => ("systemd-nspawn", "guest"),
        (Some(_), _) => ("container", "guest"),
        (None, "kvm" | "qemu" | "amazon") => ("kvm", "guest"),
        (None, "vmware") => ("VMware", "guest"),
        (None, "oracle") => ("virtualbox", "guest"),
        (None, "xen") => ("xen", "guest"),
        (None, "microsoft") => ("VirtualPC", "guest"),
        (None, "docker" | "podman" | "lxc" | "systemd-nspawn") => (detected, "guest"),
        (None, _) if ["kvm", "qemu", "bochs", "openstack", "rhev"].iter().any(|n| machine.contains(n)) => {
            ("kvm", "guest")
        }
        (None, _) if machine.contains("vmware") => ("VMware", "guest"),
        (None, _) if machine.contains("virtualbox") => ("virtualbox", "guest"),
        (None, _) if machine.contains("xen") => ("xen", "guest"),
        (None, _) if sections.text("kvm") == "1" => ("kvm", "host"),
        (None, _) => ("NA", "NA"),
    };
    let named = |is: &str| if role == is { vec![kind] } else { vec![] };
    [
        ("virtualization_type", json!(kind)),
        ("virtualization_role", json!(role)),
        ("virtualization_tech_guest", json!(named("guest"))),
        ("virtualization_tech_host", json!(named("host"))),
    ]
    .map(|(k, v)| (k.to_owned(), v))
    .into_iter()
    .collect()
}

#[cfg(test)]
mod tests {
    use super::super::sections::testing::answer;
    use super::*;

    #[test]
    fn a_machine() {
        let cpu = "processor\t: 0\nvendor_id\t: X\nmodel name\t: Y\nphysical id\t: 0\nsiblings\t: 4\ncpu cores\t: 2\n";
        let reply = answer(&[
            ("meminfo", "MemTotal:  2048000 kB\nMemFree: 1024 kB"),
            ("cpuinfo", &cpu.repeat(4)),
            ("mounts", "/dev/vda1 /my\\040data ext4 rw 0 0\nproc /proc proc rw 0 0\nnas:/x /n nfs rw 0 0"),
            (
                "df",
                "Filesystem 1024-blocks Used Available Capacity Mounted on\n/dev/vda1 100 40 60 40% /my data",
            ),
            ("uuids", "abc /dev/vda1"),
            ("devices", "disk|vdb|20971520|512|0|1||0x1af4\npart|vdb|vdb1|2048|2048\nholder|vdb|dm-0"),
            ("vgs", "  docker-vg|9.99|0|1|1"),
            ("pvs", "/dev/vdb1|9.99|0|docker-vg"),
        ]);
        let facts = hardware(&Sections::read(&reply).expect("readable"));
        assert_eq!(facts["memtotal_mb"], 2000);
        assert_eq!(
            ["processor_count", "processor_cores", "processor_threads_per_core", "processor_vcpus"]
                .map(|k| facts[k].as_u64()),
            [Some(1), Some(2), Some(2), Some(4)]
        );
        assert_eq!(facts["mounts"][0]["mount"], "/my data");
        assert_eq!(facts["mounts"][0]["size_available"], 61440);
        assert_eq!(facts["mounts"].as_array().map(Vec::len), Some(2));
        assert_eq!(facts["devices"]["vdb"]["size"], "10.00 GB");
        assert_eq!(facts["devices"]["vdb"]["partitions"]["vdb1"]["start"], "2048");
        assert_eq!(facts["lvm"]["vgs"]["docker-vg"]["num_lvs"], "1");
    }

    #[test]
    fn guests_and_hosts() {
        for (sections, expected) in [
            (vec![("virt", "kvm"), ("container", ""), ("hardware", "")], ("kvm", "guest")),
            (vec![("virt", "none"), ("container", "docker"), ("hardware", "KVM")], ("docker", "guest")),
            (vec![("virt", "none"), ("hardware", "Bochs\nBochs")], ("kvm", "guest")),
            (vec![("virt", "none"), ("kvm", "1")], ("kvm", "host")),
            (vec![], ("NA", "NA")),
        ] {
            let facts = virtual_facts(&Sections::read(&answer(&sections)).expect("readable"));
            assert_eq!(facts["virtualization_type"], expected.0);
            assert_eq!(facts["virtualization_role"], expected.1);
        }
    }
}
