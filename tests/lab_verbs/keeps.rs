//! What people did to a lab's VMs by hand, and hosts that look alike: nothing of it is thrown away or taken for another's.
//! The VMs run on an empty disk, for no guest is asked anything.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::tiny::{Ran, TinyLab};

/// A lab of quaylab's own playbook.
struct Lab(TinyLab);

impl Lab {
    #[expect(clippy::print_stderr, reason = "a test's skip is told where its output goes")]
    fn new(name: &str) -> Option<Self> {
        let bench = match TinyLab::new(name) {
            Ok(bench) => bench,
            Err(reason) => {
                eprintln!("skipped: {reason}");
                return None;
            }
        };
        for (file, size) in [("empty.qcow2", "64M"), ("more.qcow2", "1M")] {
            let path = bench.namespace.path(file);
            let made = Command::new("qemu-img").args(["create", "-q", "-f", "qcow2", &path, size]).status();
            assert!(made.unwrap().success());
        }
        Some(Self(bench))
    }

    /// Writes the inventory: hosts, a line each, and variables of all of them.
    fn declare(&self, hosts: &str, vars: &str) {
        let work = self.0.namespace.work.path().display();
        let text = format!(
            "[hypervisor]\nhv ansible_connection=local\n[hypervisor:vars]\n\
             libvirt_bridges=[{{'name': 'kept', 'forward': 'nat', 'bridge': 'virbr-903', 'domain': 'kept.lan', 'ip_address': '10.77.3.1', 'ip_netmask': '255.255.255.0', 'dhcp_start': '10.77.3.10', 'dhcp_end': '10.77.3.99'}}]\n\
             libvirt_pools=[{{'kept': {{'type': 'dir', 'path': '{work}/kept'}}}}]\n\
             [all:vars]\nlibvirt_uri={}\nquaylab_lab={}\n\
             [lab:vars]\nimage_uri={work}/empty.qcow2\nvm_accelerator=qemu\nvm_pool=kept\n{vars}\n[lab]\n{hosts}\n",
            self.0.namespace.uri(),
            self.0.name,
        );
        std::fs::write(self.0.namespace.path("kept.inv"), text).unwrap();
    }

    fn quaylab(&self, arguments: &[&str]) -> Ran {
        let (verb, rest) = arguments.split_first().unwrap();
        self.0.run(&[&[*verb, "-i", "kept.inv"], rest].concat())
    }

    /// What it said on both outputs, having done well.
    fn good(&self, arguments: &[&str]) -> String {
        let ran = self.quaylab(arguments);
        assert_eq!(ran.code, Some(0), "{arguments:?}\n{}\n{}", ran.out, ran.err);
        format!("{}\n{}", ran.out, ran.err)
    }

    /// What it said on both outputs, having ended with this code.
    fn ends(&self, code: i32, arguments: &[&str]) -> String {
        let ran = self.quaylab(arguments);
        assert_eq!(ran.code, Some(code), "{arguments:?}\n{}\n{}", ran.out, ran.err);
        format!("{}\n{}", ran.out, ran.err)
    }

    fn virsh(&self, arguments: &[&str]) -> Vec<String> {
        self.0.namespace.virsh(arguments)
    }

    /// The names and files of a VM's disks.
    fn disks(&self, vm: &str) -> String {
        let work = self.0.namespace.work.path().display().to_string();
        self.virsh(&["domblklist", vm]).join("\n").replace(&work, "WORK")
    }

    fn vms(&self) -> Vec<String> {
        let mut all = self.virsh(&["list", "--all", "--name"]);
        all.sort();
        all
    }

    fn sh(&self, script: &str) -> String {
        let output = self.0.namespace.command("sh").args(["-euc", script]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
        said
    }
}

fn has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is missing: {text}");
    }
}

/// One VM with an extra disk.
fn vars(vcpus: u32, size: &str) -> String {
    format!(
        "resources={{'vcpus': {vcpus}, 'ram': 64, 'network': 'kept', 'disks': [{{'size': '{size}', 'pool': 'kept'}}]}}\nvm_wait=false"
    )
}

#[test]
fn what_people_did_to_a_vm_stays() {
    let Some(lab) = Lab::new("hands") else { return };
    let usual = vars(1, "16M");
    lab.declare("vm1.kept.lan", &usual);
    lab.good(&["run"]);
    booting_is_not_waited_for(&lab);

    // An external snapshot, as virt-manager makes them, of a VM that is then switched off.
    lab.declare("vm1.kept.lan", &usual);
    lab.virsh(&["snapshot-create-as", "vm1", "s1", "--disk-only"]);
    lab.virsh(&["destroy", "vm1"]);
    let said = lab.good(&["run"]);
    has(
        &said,
        &["vda is", "vm1.s1, an overlay (external snapshot) on the declared", "virsh blockcommit vm1 vda"],
    );
    has(&lab.disks("vm1"), &["WORK/kept/vm1.s1", "WORK/kept/vm1-vdb.s1"]);
    assert_eq!(lab.virsh(&["domstate", "vm1"]), ["running"]);
    has(&lab.good(&["plan"]), &["No changes: the lab is as declared.", "is left as it is"]);
    // What would define it anew is refused, and so is what would change the volume below.
    lab.declare("vm1.kept.lan", &vars(2, "16M"));
    has(
        &lab.ends(2, &["run"]),
        &["is not changed to what is declared: vcpus: 2", "virsh blockcommit vm1 vda"],
    );
    lab.declare("vm1.kept.lan", &vars(1, "32M"));
    has(&lab.ends(2, &["run"]), &["vm1-vdb.s1, an overlay", "not made larger"]);
    has(&lab.disks("vm1"), &["WORK/kept/vm1.s1", "WORK/kept/vm1-vdb.s1"]);
    // What is told to do about it works.
    for disk in ["vda", "vdb"] {
        lab.virsh(&["blockcommit", "vm1", disk, "--active", "--pivot"]);
    }
    lab.virsh(&["snapshot-delete", "vm1", "s1", "--metadata"]);
    lab.sh("rm kept/*.s1");
    lab.declare("vm1.kept.lan", &usual);
    let said = lab.good(&["run"]);
    assert!(!said.contains("overlay"), "{said}");

    attached_things_stay(&lab);
    a_vm_under_another_name_is_told(&lab);
    a_host_that_is_gone_is_told(&lab);
    lab.good(&["destroy", "--yes"]);
}

/// There is no system on its disk, so it boots for ever.
fn booting_is_not_waited_for(lab: &Lab) {
    lab.declare("vm1.kept.lan", &vars(1, "16M").replace("vm_wait=false", "vm_wait=true"));
    let since = Instant::now();
    let said = lab.good(&["plan"]);
    assert!(since.elapsed() < Duration::from_secs(40), "{:?}", since.elapsed());
    has(&said, &["VM vm1 is booting (waiting for an address", "not known yet"]);
}

fn attached_things_stay(lab: &Lab) {
    let more = lab.0.namespace.path("more.qcow2");
    lab.virsh(&["attach-disk", "vm1", &more, "vdc", "--subdriver", "qcow2", "--config", "--live"]);
    lab.virsh(&["attach-interface", "vm1", "network", "kept", "--mac", "52:54:00:aa:bb:cc", "--config"]);
    has(&lab.good(&["run"]), &["vdc, ", "more.qcow2, is not declared", "52:54:00:aa:bb:cc in network kept"]);
    // Also where the VM is defined anew for something else.
    lab.declare("vm1.kept.lan", &vars(2, "16M"));
    lab.good(&["run"]);
    let defined = lab.virsh(&["dumpxml", "--inactive", "vm1"]).join("\n");
    has(&defined, &["more.qcow2", "52:54:00:aa:bb:cc", ">2</vcpu>"]);
    has(&lab.disks("vm1"), &["vdc"]);
}

fn a_vm_under_another_name_is_told(lab: &Lab) {
    lab.virsh(&["destroy", "vm1"]);
    lab.virsh(&["domrename", "vm1", "mine"]);
    let said = lab.ends(2, &["run"]);
    has(
        &said,
        &["a disk of the VM mine", "virsh domrename mine vm1", "VM mine is of this lab and of no host"],
    );
    assert_eq!(lab.vms(), ["mine"], "no second VM is put on its disks");
    has(&lab.good(&["status"]), &["vm1", "absent", "VM mine is of this lab and of no host in the inventory"]);
    // Its new name can be declared.
    lab.virsh(&["domrename", "mine", "vm1"]);
}

/// Its files go with it, and what somebody attached stays.
fn a_host_that_is_gone_is_told(lab: &Lab) {
    lab.virsh(&["start", "vm1"]);
    lab.virsh(&["snapshot-create-as", "vm1", "s2", "--disk-only", "--diskspec", "vdc,snapshot=no"]);
    let memory = format!("file={},snapshot=external", lab.0.namespace.path("kept/vm1.memory"));
    lab.virsh(&["snapshot-create-as", "vm1", "s3", "--memspec", &memory, "--diskspec", "vdc,snapshot=no"]);
    lab.declare("", &vars(2, "16M"));
    has(
        &lab.good(&["plan"]),
        &[
            "No changes: what is declared is as declared.",
            "VM vm1\n",
            "`quaylab destroy --host vm1` removes it",
        ],
    );
    has(&lab.good(&["run"]), &["VM vm1 is of this lab and of no host in the inventory"]);
    has(&lab.quaylab(&["doctor"]).out, &["VM vm1 is of this lab and of no host in the inventory"]);
    let listed = lab.good(&["destroy", "--host", "vm1", "--check"]);
    has(&listed, &["kept/vm1.s2 of VM vm1", "kept/vm1.s3 of VM vm1", "memory ", "kept/vm1.memory"]);
    let said = lab.good(&["destroy", "--host", "vm1", "--yes"]);
    has(&said, &["more.qcow2, which VM vm1 has and quaylab did not make"]);
    assert!(lab.vms().is_empty());
    assert!(std::path::Path::new(&lab.0.namespace.path("more.qcow2")).exists());
    let left = lab.sh("ls kept");
    assert!(left.starts_with("quaylab-base-") && !left.contains('\n'), "{left}");
    let slip = lab.ends(5, &["destroy", "--host", "vm7", "--yes"]);
    has(&slip, &["the inventory has no host \"vm7\""]);
}

#[test]
fn hosts_that_look_alike_have_vms_of_their_own() {
    let Some(lab) = Lab::new("names") else { return };
    let usual = vars(1, "16M");
    let twins = "node1.east.lan\nnode1.west.lan";
    lab.declare(twins, &usual);
    let would_share = "node1.east.lan and node1.west.lan would all be the VM node1";
    for verb in ["plan", "run"] {
        has(&lab.ends(5, &[verb]), &[would_share, "vm_name=\"{{ inventory_hostname }}\""]);
    }
    has(&lab.ends(2, &["doctor"]), &[would_share]);
    assert!(lab.vms().is_empty() && lab.virsh(&["net-list", "--all", "--name"]).is_empty());

    lab.declare(twins, &format!("{usual}\nvm_name={{{{ inventory_hostname }}}}"));
    lab.good(&["run"]);
    assert_eq!(lab.vms(), ["node1.east.lan", "node1.west.lan"]);
    has(&lab.good(&["run"]), &["changed=0"]);
    has(
        &lab.good(&["stop", "node1.west.lan", "--force", "--timeout", "1"]),
        &["node1.west.lan: switched off"],
    );
    lab.good(&["destroy", "--host", "node1.east.lan", "--yes"]);
    assert_eq!(lab.vms(), ["node1.west.lan"]);
    lab.good(&["destroy", "--yes"]);

    lab.declare("10.77.3.21\n10.77.3.22", &usual);
    lab.good(&["run"]);
    let status = lab.good(&["status"]);
    assert!(!status.contains("absent") && !status.contains("no host"), "{status}");
    has(&lab.good(&["stop", "10.77.3.21", "--force", "--timeout", "1"]), &["10.77.3.21: switched off"]);
    has(&lab.ends(5, &["ssh", "10.77.3.22", "true"]), &["10.77.3.22 has no address"]);
    lab.good(&["destroy", "--host", "10.77.3.21", "--yes"]);
    assert_eq!(lab.vms(), ["10.77.3.22"]);
    lab.good(&["destroy", "--yes"]);
    addresses_go_with_their_host(&lab);
    a_hypervisor_that_hangs_is_told(&lab);
}

fn addresses_go_with_their_host(lab: &Lab) {
    let usual = vars(1, "16M");
    lab.declare("a.kept.lan ip=10.77.3.50", &usual);
    lab.good(&["run"]);
    // The guest asks for nothing, so a client with its MAC asks in its place.
    let mac = lab.virsh(&["domiflist", "a"])[0].split_whitespace().last().unwrap().to_owned();
    lab.sh(&format!(
        "ip link add asks address {mac} type veth peer name asked; ip link set asked master virbr-903 up; ip link set asks up
         busybox udhcpc -i asks -n -q -t 20 -T 1 -s /bin/true >/dev/null 2>&1; ip link delete asks"
    ));
    has(&lab.virsh(&["net-dhcp-leases", "kept"]).join("\n"), &["10.77.3.50"]);
    // A checkpoint, which is what incremental backups begin with, is no reason that a VM cannot go.
    lab.virsh(&["checkpoint-create-as", "a", "c1"]);
    let said = lab.good(&["destroy", "--host", "a", "--yes"]);
    has(&said, &["address 10.77.3.50 in network kept"]);
    let network = lab.virsh(&["net-dumpxml", "kept"]).join("\n");
    assert!(!network.contains("10.77.3.50"), "{network}");
    let leases = lab.virsh(&["net-dhcp-leases", "kept"]).join("\n");
    let released = !leases.contains("10.77.3.50");
    let tool = lab.sh("command -v dhcp_release || true");
    assert_eq!(released, !tool.is_empty(), "{leases}");
    assert_eq!(said.contains("`dhcp_release` (package dnsmasq-utils)"), !released, "{said}");

    lab.declare("b.kept.lan ip=10.77.3.50", &usual);
    let said = lab.good(&["run"]);
    assert_eq!(said.contains("10.77.3.50 is lent to"), !released, "{said}");
    has(&lab.virsh(&["net-dumpxml", "kept"]).join("\n"), &["name='b' ip='10.77.3.50'"]);
    lab.good(&["destroy", "--yes"]);
}

fn a_hypervisor_that_hangs_is_told(lab: &Lab) {
    lab.declare("one.kept.lan\ntwo.kept.lan", &vars(1, "16M"));
    lab.sh("kill -STOP \"$(cat libvirtd.pid)\"");
    for (verb, code) in [("plan", 2), ("status", 1), ("doctor", 2)] {
        let since = Instant::now();
        let ran = lab.quaylab(&[verb]);
        let said = format!("{}\n{}", ran.out, ran.err);
        assert!(since.elapsed() < Duration::from_secs(90), "{verb}: {:?}", since.elapsed());
        assert_eq!(ran.code, Some(code), "{verb}: {said}");
        has(&said, &["did not answer within 20 s"]);
    }
    lab.sh("kill -CONT \"$(cat libvirtd.pid)\"");
}

/// What a VM runs on counts, and not only what it will have with its next boot.
#[test]
fn a_snapshot_holds_the_disks_that_run() {
    let Some(lab) = Lab::new("pending") else { return };
    lab.declare("vm1.kept.lan", &vars(1, "16M"));
    lab.good(&["run"]);
    lab.declare("vm1.kept.lan", "resources={'vcpus': 1, 'ram': 64, 'network': 'kept'}\nvm_wait=false");
    has(&lab.good(&["run"]), &["with its next boot: no more disk vdb"]);
    has(&lab.disks("vm1"), &["vdb"]);
    let made = lab.0.run(&["snapshot", "create", "-i", "kept.inv", "s1"]);
    assert_eq!(made.code, Some(0), "{}\n{}", made.out, made.err);
    has(&made.out, &["1 VMs, 2 disks"]);
    lab.virsh(&["destroy", "vm1"]);
    lab.sh("qemu-io -f qcow2 -c 'write -P 0x42 0 512' kept/vm1-vdb >/dev/null");
    let back = lab.0.run(&["snapshot", "restore", "-i", "kept.inv", "s1", "--yes"]);
    assert_eq!(back.code, Some(0), "{}\n{}", back.out, back.err);
    has(&lab.disks("vm1"), &["vdb"]);
    let read = lab.sh("qemu-io -r -U -f qcow2 -c 'read -P 0 0 512' kept/vm1-vdb");
    assert!(!read.contains("failed"), "the disk that ran is as it was: {read}");
    // One that is saved is not whole without its memory.
    lab.virsh(&["managedsave", "vm1"]);
    let saved = lab.0.run(&["snapshot", "create", "-i", "kept.inv", "s2"]);
    assert_eq!(saved.code, Some(1), "{}\n{}", saved.out, saved.err);
    has(&saved.err, &["VM vm1: it is saved", "quaylab start vm1"]);
    lab.good(&["destroy", "--yes"]);
}
