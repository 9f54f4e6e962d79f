use std::fmt::Write as _;

use super::kvm::Accelerator;
use super::network::differences;
use super::xml::Element;
use super::{DomainNow, DomainState, LabError, Mark};
use crate::modules::Diff;

/// A disk of a VM: a volume in a pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskSpec {
    pub pool: String,
    pub volume: String,
    pub format: String,
    pub read_only: bool,
    /// The volume's path on the hypervisor.
    pub path: String,
    /// A device (an LV) rather than a file.
    pub block: bool,
}

/// A kernel that is booted without a boot loader.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DirectBoot {
    pub kernel: String,
    pub initrd: Option<String>,
    pub cmdline: Option<String>,
}

/// A VM: the parts that quaylab declares and compares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DomainSpec {
    pub name: String,
    pub vcpus: u32,
    /// In MiB.
    pub memory: u64,
    /// In order: vda, vdb, ...
    pub disks: Vec<DiskSpec>,
    pub network: Option<String>,
    pub mac: String,
    pub accelerator: Accelerator,
    pub boot: Option<DirectBoot>,
    /// Where the hypervisor keeps what the guest writes to its serial console.
    pub console_log: String,
}

/// `vda`, `vdb`, ... `vdz`, `vdaa`, ...
pub fn disk_name(index: usize) -> String {
    let letter = |i: usize| char::from(b'a' + u8::try_from(i % 26).unwrap_or(0));
    match index {
        0..26 => format!("vd{}", letter(index)),
        _ => format!("vd{}{}", letter(index / 26 - 1), letter(index)),
    }
}

impl DomainSpec {
    /// The definition that is given to libvirt; `uuid` keeps a VM the same VM when it is defined anew.
    pub fn to_xml(&self, mark: &Mark, uuid: Option<&str>) -> String {
        let mut os = Element::new("os")
            .child(Element::new("type").attr("arch", "x86_64").attr("machine", "q35").text("hvm"));
        if let Some(boot) = &self.boot {
            os = os.child(Element::new("kernel").text(&boot.kernel));
            os = os.children_of(boot.initrd.iter().map(|i| Element::new("initrd").text(i)));
            os = os.children_of(boot.cmdline.iter().map(|c| Element::new("cmdline").text(c)));
        } else {
            os = os.child(Element::new("boot").attr("dev", "hd"));
        }
        let cpu = match self.accelerator {
            Accelerator::Kvm => Element::new("cpu").attr("mode", "host-passthrough"),
            // Emulating a newer model is no faster, and this one has all that x86-64-v2 guests ask for.
            Accelerator::Emulation => Element::new("cpu")
                .attr("mode", "custom")
                .attr("match", "exact")
                .child(Element::new("model").attr("fallback", "allow").text("Nehalem")),
        };
        Element::new("domain")
            .attr("type", self.accelerator.domain_type())
            .child(Element::new("name").text(&self.name))
            .children_of(uuid.map(|u| Element::new("uuid").text(u)))
            .child(mark.element())
            .child(Element::new("memory").attr("unit", "MiB").text(self.memory))
            .child(Element::new("vcpu").text(self.vcpus))
            .child(os)
            .child(Element::new("features").child(Element::new("acpi")).child(Element::new("apic")))
            .child(cpu)
            .child(Element::new("clock").attr("offset", "utc"))
            .child(Element::new("on_poweroff").text("destroy"))
            .child(Element::new("on_reboot").text("restart"))
            .child(Element::new("on_crash").text("destroy"))
            .child(self.devices())
            .to_string()
    }

    fn devices(&self) -> Element {
        let disks = self.disks.iter().enumerate().map(|(index, disk)| disk.element(index));
        let network = self.network.iter().map(|network| {
            Element::new("interface")
                .attr("type", "network")
                .child(Element::new("mac").attr("address", &self.mac))
                .child(Element::new("source").attr("network", network))
                .child(Element::new("model").attr("type", "virtio"))
        });
        let log = Element::new("log").attr("file", &self.console_log).attr("append", "on");
        Element::new("devices")
            .children_of(disks)
            .children_of(network)
            .child(
                Element::new("serial")
                    .attr("type", "pty")
                    .child(log)
                    .child(Element::new("target").attr("port", 0)),
            )
            .child(
                Element::new("console")
                    .attr("type", "pty")
                    .child(Element::new("target").attr("type", "serial")),
            )
            .child(
                Element::new("rng")
                    .attr("model", "virtio")
                    .child(Element::new("backend").attr("model", "random").text("/dev/urandom")),
            )
            .child(Element::new("memballoon").attr("model", "virtio"))
    }

    /// The parts that quaylab owns, a line each: what is compared, and what a person reads.
    fn facts(&self) -> String {
        let disks = self.disks.iter().enumerate().map(|(i, d)| format!("disk {}: {}", disk_name(i), d.path));
        let network = self.network.iter().map(|n| format!("network: {n} {}", self.mac));
        let boot = self.boot.iter().map(|b| format!("kernel: {}", b.kernel));
        [
            format!("type: {}", self.accelerator.domain_type()),
            format!("vcpus: {}", self.vcpus),
            format!("memory: {} MiB", self.memory),
        ]
        .into_iter()
        .chain(disks)
        .chain(network)
        .chain(boot)
        .collect::<Vec<_>>()
        .join("\n")
            + "\n"
    }
}

impl DiskSpec {
    fn element(&self, index: usize) -> Element {
        // By path rather than by volume: AppArmor's helper does not know volumes.
        let (kind, attribute) = if self.block { ("block", "dev") } else { ("file", "file") };
        let mut driver = Element::new("driver").attr("name", "qemu").attr("type", &self.format);
        if self.block {
            driver = driver.attr("cache", "none").attr("io", "native");
        }
        let disk = Element::new("disk")
            .attr("type", kind)
            .attr("device", "disk")
            .child(driver.attr("discard", "unmap"))
            .child(Element::new("source").attr(attribute, &self.path))
            .child(Element::new("target").attr("dev", disk_name(index)).attr("bus", "virtio"));
        if self.read_only { disk.child(Element::new("readonly")) } else { disk }
    }
}

/// The facts of a definition that libvirt gave, in the same words as `DomainSpec::facts`.
fn facts_of(domain: &Element) -> String {
    let mut lines = vec![format!("type: {}", domain.get("type").unwrap_or("unknown"))];
    lines.push(format!("vcpus: {}", domain.path_text("vcpu").unwrap_or("?")));
    let memory = domain.find("memory").and_then(|m| {
        let amount: u64 = m.text.parse().ok()?;
        Some(match m.get("unit") {
            Some("MiB") => amount,
            Some("GiB") => amount << 10,
            Some("bytes" | "b") => amount >> 20,
            _ => amount >> 10,
        })
    });
    lines.push(format!("memory: {} MiB", memory.unwrap_or(0)));
    if let Some(devices) = domain.find("devices") {
        for disk in devices.all("disk") {
            let source = disk.find("source");
            let path = source.and_then(|s| s.get("file").or_else(|| s.get("dev"))).unwrap_or("?");
            lines.push(format!("disk {}: {path}", disk.path_attr("target", "dev").unwrap_or("?")));
        }
        for interface in devices.all("interface") {
            let network = interface.path_attr("source", "network").unwrap_or("?");
            let mac = interface.path_attr("mac", "address").unwrap_or("?");
            lines.push(format!("network: {network} {mac}"));
        }
    }
    lines.extend(domain.path_text("os/kernel").map(|k| format!("kernel: {k}")));
    lines.join("\n") + "\n"
}

/// The paths of a definition's disks.
pub fn disk_paths(domain: &Element) -> Vec<String> {
    let disks = domain.find("devices").into_iter().flat_map(|d| d.all("disk"));
    disks
        .filter_map(|disk| disk.find("source"))
        .filter_map(|source| source.get("file").or_else(|| source.get("dev")))
        .map(str::to_owned)
        .collect()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VmState {
    Running,
    Stopped,
    Absent,
}

/// One change to a VM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DomainStep {
    /// Brings the cloud-init seed into its volume.
    WriteSeed,
    Define(String),
    Autostart(bool),
    Start,
    /// Asks the guest to power off and waits until it has.
    Shutdown,
    SwitchOff,
    Undefine,
}

/// What a VM is, as far as planning needs it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DomainObserved {
    pub domain: Option<DomainNow>,
    /// Whether the seed volume holds the declared seed.
    pub seed_ready: bool,
    /// Whether there is a seed at all to hold.
    pub has_seed: bool,
}

/// What has to be done to have a VM.
pub fn plan_domain(
    spec: &DomainSpec,
    state: VmState,
    autostart: bool,
    observed: &DomainObserved,
    mark: &Mark,
) -> Result<(Vec<DomainStep>, Option<Diff>), LabError> {
    let name = &spec.name;
    let title = format!("VM {name}");
    let seed = (observed.has_seed && !observed.seed_ready && state != VmState::Absent)
        .then_some(DomainStep::WriteSeed);
    let Some(now) = &observed.domain else {
        if state == VmState::Absent {
            return Ok((Vec::new(), None));
        }
        let mut steps: Vec<_> = seed.into_iter().collect();
        steps.push(DomainStep::Define(spec.to_xml(mark, None)));
        if autostart {
            steps.push(DomainStep::Autostart(true));
        }
        if state == VmState::Running {
            steps.push(DomainStep::Start);
        }
        return Ok((steps, Some(Diff::new(&title, "", spec.facts()))));
    };
    let there = Element::parse(&now.xml)?;
    let ours = Mark::read(&there).as_ref() == Some(mark);
    if !ours {
        return Err(LabError::Conflict(match Mark::read(&there) {
            Some(other) => format!("VM {name} belongs to the lab {}, so it is left alone", other.lab),
            None => format!(
                "VM {name} was not made by quaylab, so it is left alone; rename it, or choose another name"
            ),
        }));
    }
    let on = now.state != DomainState::Off && now.state != DomainState::Crashed;
    if state == VmState::Absent {
        let mut steps = if on { vec![DomainStep::SwitchOff] } else { Vec::new() };
        steps.push(DomainStep::Undefine);
        return Ok((steps, Some(Diff::new(&title, facts_of(&there), ""))));
    }
    let (is, wanted) = (facts_of(&there), spec.facts());
    let mut steps: Vec<_> = seed.into_iter().collect();
    let mut before = is.clone();
    let mut after = wanted.clone();
    if steps.contains(&DomainStep::WriteSeed) {
        before += "cloud-init seed: older\n";
        after += "cloud-init seed: as declared (a guest that has booted does not run it again)\n";
    }
    if is != wanted {
        if on && state == VmState::Running {
            return Err(LabError::Conflict(format!(
                "VM {name} runs and differs from what is declared:\n{}\nshut it down, and the next run changes it and starts it again",
                differences(&is, &wanted)
            )));
        }
        if on {
            steps.push(DomainStep::Shutdown);
        }
        steps.push(DomainStep::Define(spec.to_xml(mark, Some(&now.uuid))));
    }
    if now.autostart != autostart {
        steps.push(DomainStep::Autostart(autostart));
        let _ = writeln!(before, "autostart: {}", now.autostart);
        let _ = writeln!(after, "autostart: {autostart}");
    }
    match (on, state) {
        (false, VmState::Running) => steps.push(DomainStep::Start),
        (true, VmState::Stopped) if !steps.contains(&DomainStep::Shutdown) => {
            steps.push(DomainStep::Shutdown);
        }
        _ => {}
    }
    if on != (state == VmState::Running) {
        let _ = writeln!(before, "state: {}", now.state.word());
        after += if state == VmState::Running { "state: running\n" } else { "state: shut off\n" };
    }
    let diff = (!steps.is_empty()).then(|| Diff::new(&title, before, after));
    Ok((steps, diff))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> DomainSpec {
        let disk = |volume: &str, read_only| DiskSpec {
            pool: "p".into(),
            volume: volume.into(),
            format: if read_only { "raw" } else { "qcow2" }.into(),
            read_only,
            path: format!("/pool/{volume}"),
            block: false,
        };
        DomainSpec {
            name: "quay".into(),
            vcpus: 2,
            memory: 8192,
            disks: vec![disk("quay.qcow2", false), disk("quay-vdb", false), disk("quay-seed.img", true)],
            network: Some("quaylab".into()),
            mac: "52:54:00:01:02:03".into(),
            accelerator: Accelerator::Emulation,
            boot: None,
            console_log: "/var/log/libvirt/qemu/quay-console.log".into(),
        }
    }

    fn mark() -> Mark {
        Mark::new("lab")
    }

    fn there(spec: &DomainSpec, state: DomainState) -> DomainObserved {
        let domain = DomainNow {
            xml: spec.to_xml(&mark(), Some("u-u-i-d")),
            state,
            autostart: false,
            uuid: "u-u-i-d".into(),
            memory: spec.memory << 10,
            vcpus: spec.vcpus,
        };
        DomainObserved { domain: Some(domain), seed_ready: true, has_seed: true }
    }

    fn plan(spec: &DomainSpec, state: VmState, now: &DomainObserved) -> Result<Vec<DomainStep>, String> {
        plan_domain(spec, state, false, now, &mark()).map(|p| p.0).map_err(|e| e.to_string())
    }

    #[test]
    fn a_vm_as_libvirt_gets_it() {
        insta::assert_snapshot!(spec().to_xml(&mark(), None), @r"
        <domain type='qemu'>
          <name>quay</name>
          <metadata>
            <quaylab:lab xmlns:quaylab='https://quaylab.dev/xmlns/1' name='lab' made-by='quaylab 0.1.0'/>
          </metadata>
          <memory unit='MiB'>8192</memory>
          <vcpu>2</vcpu>
          <os>
            <type arch='x86_64' machine='q35'>hvm</type>
            <boot dev='hd'/>
          </os>
          <features>
            <acpi/>
            <apic/>
          </features>
          <cpu mode='custom' match='exact'>
            <model fallback='allow'>Nehalem</model>
          </cpu>
          <clock offset='utc'/>
          <on_poweroff>destroy</on_poweroff>
          <on_reboot>restart</on_reboot>
          <on_crash>destroy</on_crash>
          <devices>
            <disk type='file' device='disk'>
              <driver name='qemu' type='qcow2' discard='unmap'/>
              <source file='/pool/quay.qcow2'/>
              <target dev='vda' bus='virtio'/>
            </disk>
            <disk type='file' device='disk'>
              <driver name='qemu' type='qcow2' discard='unmap'/>
              <source file='/pool/quay-vdb'/>
              <target dev='vdb' bus='virtio'/>
            </disk>
            <disk type='file' device='disk'>
              <driver name='qemu' type='raw' discard='unmap'/>
              <source file='/pool/quay-seed.img'/>
              <target dev='vdc' bus='virtio'/>
              <readonly/>
            </disk>
            <interface type='network'>
              <mac address='52:54:00:01:02:03'/>
              <source network='quaylab'/>
              <model type='virtio'/>
            </interface>
            <serial type='pty'>
              <log file='/var/log/libvirt/qemu/quay-console.log' append='on'/>
              <target port='0'/>
            </serial>
            <console type='pty'>
              <target type='serial'/>
            </console>
            <rng model='virtio'>
              <backend model='random'>/dev/urandom</backend>
            </rng>
            <memballoon model='virtio'/>
          </devices>
        </domain>
        ");
    }

    #[test]
    fn a_missing_vm_gets_its_seed_first() {
        let nothing = DomainObserved { has_seed: true, ..DomainObserved::default() };
        let steps = plan(&spec(), VmState::Running, &nothing).expect("planned");
        assert!(
            matches!(&steps[..], [DomainStep::WriteSeed, DomainStep::Define(_), DomainStep::Start]),
            "{steps:?}"
        );
    }

    #[test]
    fn what_runs_as_declared_is_left_alone() {
        assert_eq!(plan(&spec(), VmState::Running, &there(&spec(), DomainState::Running)), Ok(vec![]));
        assert_eq!(
            plan(&spec(), VmState::Running, &there(&spec(), DomainState::Off)),
            Ok(vec![DomainStep::Start])
        );
        assert_eq!(
            plan(&spec(), VmState::Stopped, &there(&spec(), DomainState::Running)),
            Ok(vec![DomainStep::Shutdown])
        );
    }

    #[test]
    fn a_running_vm_is_never_changed_under_its_user() {
        let bigger = DomainSpec { memory: 16384, ..spec() };
        insta::assert_snapshot!(
            plan(&bigger, VmState::Running, &there(&spec(), DomainState::Running)).expect_err("refused"), @r"
        VM quay runs and differs from what is declared:
          is       memory: 8192 MiB
          declared memory: 16384 MiB
        shut it down, and the next run changes it and starts it again
        ");
        let steps = plan(&bigger, VmState::Running, &there(&spec(), DomainState::Off)).expect("planned");
        assert!(
            matches!(&steps[..], [DomainStep::Define(xml), DomainStep::Start] if xml.contains("u-u-i-d"))
        );
    }

    #[test]
    fn a_foreign_vm_is_left_alone() {
        for (labs_mark, part) in
            [(Some(Mark::new("other")), "belongs to the lab other"), (None, "not made by quaylab")]
        {
            let mut now = there(&spec(), DomainState::Off);
            let domain = now.domain.as_mut().expect("defined");
            domain.xml = match labs_mark {
                Some(mark) => spec().to_xml(&mark, None),
                None => "<domain type='qemu'><name>quay</name></domain>".into(),
            };
            for state in [VmState::Running, VmState::Absent] {
                assert!(plan(&spec(), state, &now).expect_err("refused").contains(part));
            }
        }
    }

    #[test]
    fn disks_are_named_in_order() {
        for (index, name) in [(0, "vda"), (1, "vdb"), (25, "vdz"), (26, "vdaa"), (27, "vdab")] {
            assert_eq!(disk_name(index), name);
        }
    }
}
