//! The everyday verbs on a real libvirtd with tiny guests: plan, status, console, snapshot, start, stop, destroy.
#![cfg(feature = "libvirt")]
#![expect(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

#[path = "lab/namespace.rs"]
mod namespace;

use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use namespace::Namespace;

/// One VM on a qcow2 overlay, one on a raw disk of its own.
const PLAYBOOK: &str = r#"
- name: The hypervisor
  hosts: hypervisor
  gather_facts: false
  tasks:
    - name: Network
      community.libvirt.virt_net: {uri: "{{ libvirt_uri }}", name: tiny, bridge: virbr-902, domain: tiny.lan, ip_address: 192.168.252.254, ip_netmask: 255.255.255.0, dhcp_start: 192.168.252.1, dhcp_end: "{{ dhcp_end | default('192.168.252.9') }}", autostart: true}
    - name: Pool
      community.libvirt.virt_pool: {uri: "{{ libvirt_uri }}", name: tiny, type: dir, path: "{{ work }}/pool", autostart: true}
- name: VMs
  hosts: lab
  gather_facts: false
  vars: {uri: "{{ hostvars['hv'].libvirt_uri }}"}
  tasks:
    - name: Image
      quaylab.lab.virt_image: {image_uri: "{{ work }}/tiny.img", cache_dir: "{{ work }}/cache"}
      register: image
      delegate_to: hv
    - name: Disk
      quaylab.lab.virt_volume: {uri: "{{ uri }}", pool: tiny, name: "{{ inventory_hostname_short }}.qcow2", image: "{{ image }}", convert: "{{ raw | default(false) }}"}
      register: disk
      delegate_to: hv
    - name: VM
      quaylab.lab.virt_domain: {uri: "{{ uri }}", name: "{{ inventory_hostname_short }}", vcpus: 1, memory: "{{ ram | default(32) }}", disks: ["{{ disk.full_name }}"], network: tiny, cloud_init: false, accelerator: qemu, console_log_dir: "{{ work }}"}
      delegate_to: hv
"#;

struct Bench {
    namespace: Namespace,
}

struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Bench {
    fn new() -> Option<Self> {
        let namespace = match Namespace::start() {
            Ok(namespace) => namespace,
            Err(reason) => {
                eprintln!("skipped: {reason}");
                return None;
            }
        };
        let bench = Self { namespace };
        let mut image =
            std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/lab/tiny_guest.bin")).unwrap();
        image.resize(1 << 20, 0);
        std::fs::write(bench.namespace.path("tiny.img"), image).unwrap();
        bench.inventory("");
        std::fs::write(bench.namespace.path("lab.yml"), PLAYBOOK).unwrap();
        Some(bench)
    }

    fn inventory(&self, more: &str) {
        let text = format!(
            "[hypervisor]\nhv ansible_connection=local\n[lab]\none.tiny.lan\ntwo.tiny.lan raw=true\n[all:vars]\nquaylab_lab=tiny\nwork={}\nlibvirt_uri={}\n{more}",
            self.namespace.work.path().display(),
            self.namespace.uri()
        );
        std::fs::write(self.namespace.path("lab.inv"), text).unwrap();
    }

    fn start(&self, arguments: &[&str]) -> std::process::Child {
        self.namespace
            .command(env!("CARGO_BIN_EXE_quaylab"))
            .args(arguments)
            .env("XDG_STATE_HOME", self.namespace.path("state"))
            .env("NO_COLOR", "1")
            .current_dir(self.namespace.work.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        self.run_with(arguments, "")
    }

    fn run_with(&self, arguments: &[&str], input: &str) -> Ran {
        let mut child = self.start(arguments);
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let text = |bytes: &[u8]| {
            String::from_utf8_lossy(bytes)
                .replace(&*self.namespace.work.path().to_string_lossy(), "WORK")
                .trim_end()
                .to_owned()
        };
        Ran { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
    }

    /// Runs a command that must succeed; what it printed.
    fn good(&self, arguments: &[&str]) -> String {
        let ran = self.run(arguments);
        assert_eq!(ran.code, Some(0), "{arguments:?}\n{}\n{}", ran.out, ran.err);
        ran.out
    }

    /// What a guest answers.
    fn say(&self, host: &str, what: &str) -> String {
        let ran = self.run_with(&["console", "-i", "lab.inv", host], what);
        assert_eq!(ran.code, Some(0), "{}\n{}", ran.out, ran.err);
        ran.out.lines().last().unwrap_or_default().trim().to_owned()
    }

    /// Waits until the guest has booted: what it said to its console's log ends so.
    fn booted(&self, vm: &str, times: usize) {
        let log = self.namespace.path(&format!("{vm}-console.log"));
        let end = Instant::now() + Duration::from_secs(60);
        loop {
            let said = std::fs::read_to_string(&log).unwrap_or_default();
            if said.matches("ready").count() >= times {
                return;
            }
            assert!(Instant::now() < end, "{vm} did not boot {times} times: {said}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

#[test]
fn a_lab_of_tiny_guests_through_its_whole_life() {
    let Some(bench) = Bench::new() else { return };
    let before = bench.namespace.all();

    // What would be made; nothing is.
    let plan = ["plan", "-i", "lab.inv", "lab.yml", "--detailed-exitcode"];
    let planned = bench.run(&plan);
    assert_eq!(planned.code, Some(2), "{}\n{}", planned.out, planned.err);
    insta::assert_snapshot!(planned.out.lines().filter(|l| !l.contains(": ")).collect::<Vec<_>>().join("\n"), @r"
    Infrastructure
      + network tiny
      + pool tiny
      + image WORK/tiny.img
      + volume tiny/one.qcow2
      + volume tiny/two.qcow2
      + VM one
      + VM two
    ");
    assert!(planned.out.ends_with("Plan: 7 to add, 0 to change; 2 hosts to come."), "{}", planned.out);
    assert_eq!(bench.namespace.all(), before);
    assert!(!bench.namespace.work.path().join("state").exists(), "a plan leaves nothing behind");

    let made = bench.good(&["run", "-i", "lab.inv", "lab.yml"]);
    assert!(made.starts_with("  + network tiny\n"), "it begins with what it is going to do: {made}");
    let again = bench.run(&plan);
    assert_eq!(
        (again.code, again.out.as_str()),
        (Some(0), "No changes: the lab is as declared."),
        "{}",
        again.err
    );

    // One field changed is one line.
    bench.inventory("dhcp_end=192.168.252.5\n");
    let changed = bench.good(&["plan", "-i", "lab.inv", "lab.yml"]);
    assert!(
        changed.contains(
            "  ~ network tiny\n      dhcp: 192.168.252.1 to 192.168.252.9 -> 192.168.252.1 to 192.168.252.5\n"
        ),
        "{changed}"
    );
    assert!(changed.ends_with("Plan: 0 to add, 1 to change."), "{changed}");
    let out = bench.namespace.path("plan.json");
    bench.good(&["plan", "-i", "lab.inv", "lab.yml", "--json", "--out", &out]);
    let json: serde_json::Value = serde_json::from_slice(&std::fs::read(&out).unwrap()).unwrap();
    assert_eq!(json["summary"]["change"], 1);
    assert_eq!(json["infrastructure"][0]["keys"][0]["key"], "dhcp");
    bench.inventory("");

    bench.booted("one", 1);
    bench.booted("two", 1);
    verbs(&bench);
    snapshots(&bench);

    // One host goes, the other stays; without a terminal nothing goes unasked.
    let refused = bench.run(&["destroy", "-i", "lab.inv", "--host", "one"]);
    assert_eq!(refused.code, Some(5), "{}", refused.err);
    assert!(refused.err.contains("--yes"), "{}", refused.err);
    bench.good(&["destroy", "-i", "lab.inv", "--host", "one", "--yes"]);
    assert_eq!(bench.namespace.virsh(&["list", "--all", "--name"]), ["two"]);
    assert!(!bench.namespace.all().contains(&"volume tiny/one.qcow2".to_owned()));
    bench.good(&["snapshot", "create", "-i", "lab.inv", "last"]);
    bench.good(&["destroy", "-i", "lab.inv", "--yes"]);
    assert_eq!(bench.namespace.all(), before);
    assert!(!bench.namespace.has(Path::new("/var/lib/libvirt/qemu/quaylab")), "no memory is left behind");
    assert!(!bench.namespace.work.path().join("pool").exists());
    assert!(!bench.namespace.work.path().join("state/quaylab/tiny").exists());
}

fn verbs(bench: &Bench) {
    let status: serde_json::Value =
        serde_json::from_str(&bench.good(&["status", "-i", "lab.inv", "--json"])).unwrap();
    let one = &status["vms"][0];
    assert_eq!((one["name"].as_str(), one["state"].as_str()), (Some("one"), Some("running")));
    assert_eq!(one["disks"][0]["bytes"], 1 << 20);
    assert!(one["uptime_seconds"].as_u64().is_some_and(|s| s < 600), "{one}");

    assert_eq!(bench.say("one", "ab"), "r2 d2");
    let left = bench.run_with(&["console", "-i", "lab.inv", "one"], "\u{1d}never sent");
    assert_eq!(left.code, Some(0), "{}", left.err);
    assert_eq!(bench.say("one.tiny.lan", "c"), "r3 d3");
    let slip = bench.run(&["console", "-i", "lab.inv", "onne"]);
    assert_eq!(slip.code, Some(5));
    assert!(slip.err.contains("did you mean one?"), "{}", slip.err);

    let stopped = bench.good(&["stop", "-i", "lab.inv", "one"]);
    assert!(stopped.starts_with("one: powered off"), "{stopped}");
    let off = bench.run(&["console", "-i", "lab.inv", "one"]);
    assert!(off.err.contains("quaylab start one starts it"), "{}", off.err);
    // A guest that does not listen.
    bench.say("two", "k");
    let deaf = bench.run(&["stop", "-i", "lab.inv", "--timeout", "1"]);
    assert_eq!(deaf.code, Some(2), "{}", deaf.out);
    assert!(deaf.out.contains("one: is like that already"), "{}", deaf.out);
    assert!(deaf.err.contains("VM two: it did not power off within 1 s\n  hint: --force"), "{}", deaf.err);
    let forced = bench.good(&["restart", "-i", "lab.inv", "--timeout", "1", "--force"]);
    assert!(forced.contains("two: switched off and started"), "{forced}");
    bench.booted("one", 2);
    bench.booted("two", 2);
    // Memory is new, the disk is not.
    assert_eq!(bench.say("one", "d"), "r1 d4");
}

fn snapshots(bench: &Bench) {
    let snapshot = |arguments: &[&str]| {
        let (verb, rest) = arguments.split_first().unwrap();
        let mut all = vec!["snapshot", verb, "-i", "lab.inv"];
        all.extend(rest);
        bench.run(&all)
    };
    let created = snapshot(&["create", "clean"]);
    assert_eq!(created.code, Some(0), "{}\n{}", created.out, created.err);
    assert!(created.out.contains("snapshot clean: 2 VMs, 2 disks"), "{}", created.out);
    // They go on with what they had in memory.
    assert_eq!(bench.say("one", "e"), "r2 d5");
    assert_eq!(bench.say("two", "xy"), "r2 d3");
    let twice = snapshot(&["create", "clean"]);
    assert_eq!(twice.code, Some(1));
    assert!(twice.err.contains("there is a snapshot clean already"), "{}", twice.err);

    let cold = snapshot(&["create", "cold", "--no-memory"]);
    assert_eq!(cold.code, Some(0), "{}\n{}", cold.out, cold.err);
    bench.booted("one", 3);
    bench.booted("two", 3);
    assert_eq!(bench.say("one", "f"), "r1 d6");

    // Without a terminal nothing is thrown away unasked.
    let refused = snapshot(&["restore", "clean"]);
    assert_eq!(refused.code, Some(5), "{}", refused.err);
    let back = snapshot(&["restore", "clean", "--yes"]);
    assert_eq!(back.code, Some(0), "{}\n{}", back.out, back.err);
    assert_eq!(bench.say("one", "g"), "r2 d5", "memory and disk are as they were");
    assert_eq!(bench.say("two", "g"), "r1 d2");
    let listed = bench.good(&["snapshot", "ls", "-i", "lab.inv"]);
    assert!(listed.contains("one (running), two (running)") && listed.contains("one (boots)"), "{listed}");
    // A restored lab is the declared one.
    assert_eq!(bench.good(&["plan", "-i", "lab.inv", "lab.yml"]), "No changes: the lab is as declared.");

    let cold = snapshot(&["restore", "cold", "--yes"]);
    assert_eq!(cold.code, Some(0), "{}\n{}", cold.out, cold.err);
    bench.booted("one", 4);
    assert_eq!(bench.say("one", "h"), "r1 d6");
    // Removing it under running guests holds them, and no more.
    let removed = snapshot(&["rm", "cold"]);
    assert_eq!(removed.code, Some(0), "{}\n{}", removed.out, removed.err);
    assert_eq!(bench.say("one", "i"), "r2 d7");
    let gone = snapshot(&["restore", "clen", "--yes"]);
    assert!(gone.err.contains("did you mean clean?"), "{}", gone.err);
}
