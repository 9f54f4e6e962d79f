use super::Mark;
use super::kvm::Accelerator;
use super::xml::Element;

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

/// What starts the guest's boot loader.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Firmware {
    #[default]
    Bios,
    Uefi,
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
    pub firmware: Firmware,
    pub boot: Option<DirectBoot>,
    /// The ISO, on the hypervisor, that an operating system is installed from. The guest's restart then ends the VM.
    pub install_from: Option<String>,
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
        let mut os = Element::new("os");
        if self.firmware == Firmware::Uefi {
            os = os.attr("firmware", "efi");
        }
        os = os.child(Element::new("type").attr("arch", "x86_64").attr("machine", "q35").text("hvm"));
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
            .child(Element::new("on_reboot").text(if self.install_from.is_some() {
                "destroy"
            } else {
                "restart"
            }))
            .child(Element::new("on_crash").text("destroy"))
            .child(self.devices())
            .to_string()
    }

    fn devices(&self) -> Element {
        let disks = self.disks.iter().enumerate().map(|(index, disk)| disk.element(&disk.target(index)));
        let iso = self.install_from.iter().map(|iso| {
            Element::new("disk")
                .attr("type", "file")
                .attr("device", "cdrom")
                .child(Element::new("driver").attr("name", "qemu").attr("type", "raw"))
                .child(Element::new("source").attr("file", iso))
                .child(Element::new("target").attr("dev", "sda").attr("bus", "sata"))
                .child(Element::new("readonly"))
        });
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
            .children_of(iso)
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
            .child(agent_channel())
            .child(
                Element::new("rng")
                    .attr("model", "virtio")
                    .child(Element::new("backend").attr("model", "random").text("/dev/urandom")),
            )
            .child(Element::new("memballoon").attr("model", "virtio"))
    }

    /// The parts that quaylab owns, a line each: what is compared, and what a person reads.
    pub(super) fn facts(&self) -> String {
        let disks = self.disks.iter().enumerate().map(|(i, d)| format!("disk {}: {}", d.target(i), d.path));
        let network = self.network.iter().map(|n| format!("network: {n} {}", self.mac));
        let firmware = (self.firmware == Firmware::Uefi).then(|| "firmware: uefi".to_owned());
        let boot = firmware.into_iter().chain(self.boot.iter().map(|b| format!("kernel: {}", b.kernel)));
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

/// The name under which a guest's agent finds its way out.
const AGENT: &str = "org.qemu.guest_agent.0";

/// What the guest's agent speaks through, where the guest has one.
fn agent_channel() -> Element {
    Element::new("channel")
        .attr("type", "unix")
        .child(Element::new("target").attr("type", "virtio").attr("name", AGENT))
}

/// Whether a definition has the agent's channel.
pub(super) fn has_agent_channel(domain: &Element) -> bool {
    let mut channels = domain.find("devices").into_iter().flat_map(|d| d.all("channel"));
    channels.any(|channel| channel.path_attr("target", "name") == Some(AGENT))
}

impl DiskSpec {
    /// The disk's name in the definition. The seed is out of the way of disks that are added later.
    pub(super) fn target(&self, index: usize) -> String {
        if self.read_only { "vdz".to_owned() } else { disk_name(index) }
    }

    pub(super) fn element(&self, target: &str) -> Element {
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
            .child(Element::new("target").attr("dev", target).attr("bus", "virtio"));
        if self.read_only { disk.child(Element::new("readonly")) } else { disk }
    }
}

/// The facts of a definition that libvirt gave, in the same words as `DomainSpec::facts`.
pub(super) fn facts_of(domain: &Element) -> String {
    let mut lines = vec![format!("type: {}", domain.get("type").unwrap_or("unknown"))];
    let vcpus = domain.find("vcpu").map(|v| v.get("current").unwrap_or(&v.text));
    lines.push(format!("vcpus: {}", vcpus.unwrap_or("?")));
    let memory = domain.find("currentMemory").or_else(|| domain.find("memory")).and_then(mebibytes);
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
    if domain.path_attr("os", "firmware") == Some("efi") {
        lines.push("firmware: uefi".to_owned());
    }
    lines.extend(domain.path_text("os/kernel").map(|k| format!("kernel: {k}")));
    lines.join("\n") + "\n"
}

/// An amount of memory as libvirt writes it, in MiB.
pub(super) fn mebibytes(memory: &Element) -> Option<u64> {
    let amount: u64 = memory.text.parse().ok()?;
    Some(match memory.get("unit") {
        Some("MiB") => amount,
        Some("GiB") => amount << 10,
        Some("bytes" | "b") => amount >> 20,
        _ => amount >> 10,
    })
}

/// The names (`vda`) and paths of a definition's disks.
pub fn disks_of(domain: &Element) -> Vec<(String, String)> {
    let disks = domain.find("devices").into_iter().flat_map(|d| d.all("disk"));
    disks
        .filter_map(|disk| {
            let source = disk.find("source")?;
            let path = source.get("file").or_else(|| source.get("dev"))?;
            Some((disk.path_attr("target", "dev").unwrap_or_default().to_owned(), path.to_owned()))
        })
        .collect()
}

/// The format that a definition says of the disk at a path.
pub fn disk_format<'a>(domain: &'a Element, path: &str) -> Option<&'a str> {
    let mut disks = domain.find("devices").into_iter().flat_map(|d| d.all("disk"));
    let at = |disk: &&Element| {
        let source = disk.find("source");
        source.and_then(|s| s.get("file").or_else(|| s.get("dev"))) == Some(path)
    };
    disks.find(at)?.path_attr("driver", "type")
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(crate) fn spec() -> DomainSpec {
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
            firmware: Firmware::Bios,
            boot: None,
            install_from: None,
            console_log: "/var/log/libvirt/qemu/quay-console.log".into(),
        }
    }

    pub(crate) fn mark() -> Mark {
        Mark::new("lab")
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
              <target dev='vdz' bus='virtio'/>
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
            <channel type='unix'>
              <target type='virtio' name='org.qemu.guest_agent.0'/>
            </channel>
            <rng model='virtio'>
              <backend model='random'>/dev/urandom</backend>
            </rng>
            <memballoon model='virtio'/>
          </devices>
        </domain>
        ");
    }

    #[test]
    fn an_installation_ends_where_the_guest_would_restart() {
        let boot = DirectBoot { kernel: "/pool/kernel".into(), ..DirectBoot::default() };
        let installing = DomainSpec { install_from: Some("/pool/os.iso".into()), boot: Some(boot), ..spec() };
        let read = Element::parse(&installing.to_xml(&mark(), None)).expect("xml");
        assert_eq!(read.path_text("on_reboot"), Some("destroy"));
        assert!(disks_of(&read).contains(&("sda".into(), "/pool/os.iso".into())));
        assert_eq!(read.path_text("os/kernel"), Some("/pool/kernel"));
    }

    #[test]
    fn a_definition_has_the_facts_that_it_was_made_of() {
        for spec in [spec(), DomainSpec { firmware: Firmware::Uefi, ..spec() }] {
            let read = Element::parse(&spec.to_xml(&mark(), None)).expect("xml");
            assert_eq!(facts_of(&read), spec.facts());
        }
        let ballooned = Element::parse(
            "<domain type='kvm'><vcpu current='1'>4</vcpu><memory unit='KiB'>4096</memory><currentMemory unit='KiB'>2048</currentMemory></domain>",
        )
        .expect("xml");
        assert_eq!(facts_of(&ballooned), "type: kvm\nvcpus: 1\nmemory: 2 MiB\n");
    }

    #[test]
    fn disks_are_named_in_order() {
        for (index, name) in [(0, "vda"), (1, "vdb"), (25, "vdz"), (26, "vdaa"), (27, "vdab")] {
            assert_eq!(disk_name(index), name);
        }
    }
}
