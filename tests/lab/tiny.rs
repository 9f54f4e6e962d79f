//! Two tiny guests on a libvirtd in namespaces, and the program to work on them.
#![expect(dead_code, reason = "each test uses what it needs of it")]

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::namespace::Namespace;

/// One VM on a qcow2 overlay, one on a raw disk of its own.
const PLAYBOOK: &str = r#"
- name: The hypervisor
  hosts: hypervisor
  gather_facts: false
  tasks:
    - name: Network
      community.libvirt.virt_net: {uri: "{{ libvirt_uri }}", name: tiny, bridge: virbr-902, domain: "{{ domain | default('tiny.lan') }}", ip_address: 192.168.252.254, ip_netmask: 255.255.255.0, dhcp_start: 192.168.252.1, dhcp_end: "{{ dhcp_end | default('192.168.252.9') }}", autostart: true, allow_restart: "{{ quaylab_allow_restart | default(false) }}"}
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
      quaylab.lab.virt_domain: {uri: "{{ uri }}", name: "{{ inventory_hostname_short }}", vcpus: 1, memory: "{{ ram | default(32) }}", disks: ["{{ disk.full_name }}"], network: tiny, firmware: "{{ firmware | default('bios') }}", cloud_init: false, accelerator: qemu, console_log_dir: "{{ work }}"}
      delegate_to: hv
"#;

/// A folder to run in, with a libvirtd of its own and an inventory of two tiny guests.
pub(crate) struct TinyLab {
    pub namespace: Namespace,
    /// Marks on the machine are by this name.
    pub name: String,
}

impl Drop for TinyLab {
    /// A test that failed has not destroyed its lab.
    fn drop(&mut self) {
        let marks = Path::new("/var/lib/quaylab/marks");
        let _gone = std::fs::remove_dir_all(marks.join(&self.name));
        for folder in marks.ancestors().take(2) {
            let _kept = std::fs::remove_dir(folder);
        }
    }
}

pub(crate) struct Ran {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl TinyLab {
    /// Starts it; the reason where that cannot be done here.
    pub(crate) fn new(name: &str) -> Result<Self, String> {
        let namespace = Namespace::start()?;
        let bench = Self { namespace, name: format!("tiny-{name}-{}", std::process::id()) };
        let mut image =
            std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/lab/tiny_guest.bin")).unwrap();
        image.resize(1 << 20, 0);
        std::fs::write(bench.namespace.path("tiny.img"), image).unwrap();
        bench.inventory("");
        std::fs::write(bench.namespace.path("lab.yml"), PLAYBOOK).unwrap();
        Ok(bench)
    }

    pub(crate) fn inventory(&self, more: &str) {
        let text = format!(
            "[hypervisor]\nhv ansible_connection=local\n[lab]\none.tiny.lan\ntwo.tiny.lan raw=true\n[all:vars]\nquaylab_lab={}\nwork={}\nlibvirt_uri={}\n{more}",
            self.name,
            self.namespace.work.path().display(),
            self.namespace.uri()
        );
        std::fs::write(self.namespace.path("lab.inv"), text).unwrap();
    }

    /// The program outside of the namespaces, where it can be killed by itself.
    pub(crate) fn outside(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_quaylab"));
        command
            .args(arguments)
            .env("XDG_STATE_HOME", self.namespace.path("state"))
            .env("NO_COLOR", "1")
            .current_dir(self.namespace.work.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    }

    pub(crate) fn start(&self, arguments: &[&str]) -> std::process::Child {
        // One that hangs fails the test, and does not hold up all others.
        self.namespace
            .command("timeout")
            .args(["300", env!("CARGO_BIN_EXE_quaylab")])
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

    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        self.run_with(arguments, "")
    }

    pub(crate) fn run_with(&self, arguments: &[&str], input: &str) -> Ran {
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

    /// Runs it on a terminal, where `input` is typed; what it printed there.
    pub(crate) fn on_terminal(&self, arguments: &[&str], input: &str) -> Ran {
        let words = arguments.iter().map(|a| format!(" '{a}'")).collect::<String>();
        let mut child = self
            .namespace
            .command("script")
            .args(["-qefc", &format!("{}{words}", env!("CARGO_BIN_EXE_quaylab")), "/dev/null"])
            .env("XDG_STATE_HOME", self.namespace.path("state"))
            .env("NO_COLOR", "1")
            .current_dir(self.namespace.work.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let out = String::from_utf8_lossy(&output.stdout).replace('\r', "");
        Ran { code: output.status.code(), out, err: String::new() }
    }

    /// Runs a command that must succeed; what it printed.
    pub(crate) fn good(&self, arguments: &[&str]) -> String {
        let ran = self.run(arguments);
        assert_eq!(ran.code, Some(0), "{arguments:?}\n{}\n{}", ran.out, ran.err);
        ran.out
    }

    /// What a guest answers.
    pub(crate) fn say(&self, host: &str, what: &str) -> String {
        let ran = self.run_with(&["console", "-i", "lab.inv", host], what);
        assert_eq!(ran.code, Some(0), "{}\n{}", ran.out, ran.err);
        ran.out.lines().last().unwrap_or_default().trim().to_owned()
    }

    /// Waits until the guest has booted: what it said to its console's log ends so.
    pub(crate) fn booted(&self, vm: &str, times: usize) {
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
