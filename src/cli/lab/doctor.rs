use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use serde::Serialize;

use super::Lab;
use super::declared::Declared;
use super::host_vars::HostVars;
use super::identity::hypervisor_uris;
use super::named::LabArgs;
use super::names::VmNames;
use super::session;
use super::unclaimed::unclaimed_on;
use super::wanted_private;
use crate::cli::here;
use crate::cli::say::{show_exactly, show_json};
use crate::diag::Diagnostic;
use crate::inventory::{Inventory, VarMap};
use crate::lab::{
    Accelerator, DeclaredNetwork, Element, Finding, GuestDisk, GuestSpec, HostDns, Hypervisor,
    HypervisorSpec, ImageRequest, LabError, Level, Resolver, Subnet, default_cache_dir, kvm_of, lab_status,
    listeners, memory_budget, network_findings, port_findings, prefix_of, private, probe_kvm, qemu_person,
    routes, space_budget, traversable,
};
use crate::playbook::{Folder, Loader};
use crate::report::{Palette, unclaimed_hint, visible};
use crate::value::{Map, plain};

/// Options of `quaylab doctor`.
#[derive(Debug, Args)]
pub(in crate::cli) struct DoctorArgs {
    #[command(flatten)]
    of: LabArgs,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// What `--json` prints; fields are only ever added.
#[derive(Debug, Serialize)]
struct Report<'a> {
    lab: &'a str,
    /// The worst of the findings.
    level: Level,
    findings: &'a [Finding],
}

/// What the inventory wants of the machine.
#[derive(Debug, Default)]
struct Wanted {
    networks: Vec<DeclaredNetwork>,
    /// Pools by name: their kind and path.
    pools: BTreeMap<String, (String, String)>,
    guests: Vec<GuestSpec>,
    images: BTreeMap<String, Option<String>>,
    /// Services by host, each with the variable that names its port.
    ports: Vec<(String, Vec<(String, u16)>)>,
    keys: Vec<(String, PathBuf)>,
    findings: Vec<Finding>,
}

/// Variables that name the port of a service in a guest.
const PORTS: [&str; 4] = ["postgresql_port", "redis_port", "registry_port", "quay_http_port"];

/// Looks at everything that a run would need.
pub(in crate::cli) fn run(args: &DoctorArgs) -> Result<ExitCode> {
    let inventory = args.of.read()?;
    let lab = Lab::of(&inventory)?;
    let private_wanted = wanted_private(&inventory)?;
    let entered = private::enter_if_running(private_wanted)?;
    let wanted = wanted(&inventory)?;
    let to_come = entered == private::Entered::System
        && (private_wanted == private::Wanted::Always
            || private_wanted == private::Wanted::Auto && !private::system_answers());
    let findings = session::run(look(&inventory, &lab, wanted, to_come, entered))?;
    let level = findings.iter().map(|f| f.level).max().unwrap_or(Level::Ok);
    if args.json {
        let report = Report { lab: &lab.name, level, findings: &findings };
        show_json(&report)?;
    } else {
        show_exactly(render(&findings, Palette::detect()).as_bytes())?;
    }
    Ok(if level == Level::Problem { ExitCode::from(2) } else { ExitCode::SUCCESS })
}

/// Reads what the inventory declares, with the roles' defaults.
fn wanted(inventory: &Inventory) -> Result<Wanted> {
    let playbook = Loader::new(here::roles().into_iter().collect())
        .playbook(&Folder::Embedded("playbooks".into()), "quaylab.yml")?;
    let groups: BTreeMap<String, Vec<String>> = inventory.groups().into_iter().collect();
    let members = |group: &str| groups.get(group).cloned().unwrap_or_default();
    let names = VmNames::of(inventory);
    let mut wanted = Wanted::default();
    let hosts: Vec<String> = inventory.hosts().map(str::to_owned).collect();
    let judged = Declared { inventory, playbook: &playbook, extra: &VarMap::new() }.judge(&hosts);
    wanted.findings.extend(judged.refused.into_iter().map(|told| declared(told, Finding::problem)));
    wanted.findings.extend(judged.warnings.into_iter().map(|told| declared(told, Finding::warning)));
    let faults = names.faults().into_iter();
    wanted.findings.extend(faults.map(|(found, remedy)| Finding::problem("vm", found, remedy)));
    for host in members("hypervisor") {
        let spec = HypervisorSpec::read(&host, &HostVars::new(inventory, &playbook, &host))?;
        wanted.networks.extend(spec.networks.iter().map(|declared| network(&declared.value)));
        let pools = spec.pools.into_iter().map(|pool| pool.value);
        wanted.pools.extend(pools.map(|pool| (pool.name.clone(), (pool.kind(), pool.path()))));
    }
    for host in members("lab") {
        let vars = HostVars::new(inventory, &playbook, &host);
        let port = |name: &&str| {
            let port = vars.text(name).ok()??.parse().ok()?;
            Some(((*name).to_owned(), port))
        };
        wanted.ports.push((host.clone(), PORTS.iter().filter_map(port).collect()));
        for name in ["ansible_ssh_private_key_file", "ansible_private_key_file"] {
            if let Some(file) = vars.text(name)? {
                wanted.keys.push((host.clone(), crate::store::expanded(&file)));
            }
        }
        if GuestSpec::is_made(&vars)? && !members("hypervisor").is_empty() {
            let guest = GuestSpec::read(&host, names.vm_of(&host).unwrap_or(&host), &vars)?;
            match &guest.image {
                Some(image) => drop(wanted.images.insert(image.uri.clone(), image.checksum.clone())),
                None => wanted.findings.push(Finding::problem(
                    "image",
                    format!("{host} has no image_uri"),
                    "set it, or provision=false when the host exists already",
                )),
            }
            wanted.guests.push(guest);
        }
    }
    Ok(wanted)
}

/// What is wrong with a declaration, as a finding.
fn declared(mut told: Diagnostic, finding: fn(&str, String, String) -> Finding) -> Finding {
    let remedy = told.hint.take().unwrap_or_else(|| "mend what is written there".to_owned());
    finding("inventory", told.to_string(), remedy)
}

fn network(bridge: &Map) -> DeclaredNetwork {
    let of = |key: &str| bridge.get(key).map(plain).filter(|t| !t.is_empty());
    let subnet = of("ip_address").and_then(|a| a.parse().ok()).map(|address| Subnet {
        address,
        prefix: of("ip_netmask").and_then(|m| prefix_of(&m)).unwrap_or(24),
        dhcp: None,
    });
    DeclaredNetwork { name: of("name").unwrap_or_default(), bridge: of("bridge"), subnet, active: false }
}

async fn look(
    inventory: &Inventory,
    lab: &Lab,
    mut wanted: Wanted,
    to_come: bool,
    entered: private::Entered,
) -> Result<Vec<Finding>> {
    let mut all = std::mem::take(&mut wanted.findings);
    let mut hypervisors = Vec::new();
    if to_come {
        all.push(private_to_come());
    } else {
        for uri in hypervisor_uris(inventory) {
            match Hypervisor::open(&uri).await {
                Ok(hypervisor) => {
                    all.push(Finding::ok("libvirt", format!("{uri} answers")));
                    let hypervisor = hypervisor.only_asked();
                    let left =
                        unclaimed_on(&hypervisor, lab, &VmNames::of(inventory)).await.unwrap_or_default();
                    all.extend(left.into_iter().map(|vm| {
                        let found = format!("VM {vm} is of this lab and of no host in the inventory");
                        Finding::warning("vm", found, unclaimed_hint(&vm))
                    }));
                    hypervisors.push(hypervisor);
                }
                Err(error) => all.push(failed("libvirt", &error)),
            }
        }
    }
    all.push(kvm(lab, &hypervisors, to_come).await);
    all.extend(budget(lab, &mut wanted, &hypervisors, to_come).await);
    let here = to_come || hypervisors.iter().any(Hypervisor::is_local);
    if here {
        let read = |file: &str| std::fs::read_to_string(file).unwrap_or_default();
        // In namespaces of its own nothing is taken.
        let (table, listening) = if to_come {
            (Vec::new(), Vec::new())
        } else {
            let tables = ["tcp", "tcp6", "udp", "udp6"].map(|t| read(&format!("/proc/net/{t}")));
            (routes(&read("/proc/net/route")), tables.iter().flat_map(|t| listeners(t)).collect())
        };
        all.extend(network_findings(&wanted.networks, &table));
        all.extend(port_findings(&wanted.networks, &listening, &wanted.ports));
        if entered == private::Entered::System && !to_come {
            let person =
                qemu_person(&read("/etc/libvirt/qemu.conf"), &read("/etc/passwd"), &read("/etc/group"));
            if let Some(person) = person {
                let look = |path: &Path| {
                    let meta = std::fs::metadata(path).ok()?;
                    Some((meta.mode(), meta.uid(), meta.gid()))
                };
                for (_, path) in wanted.pools.values().filter(|(kind, _)| kind == "dir") {
                    all.push(traversable(&crate::store::expanded(path), &person, look));
                }
            }
        }
        all.push(resolver(&wanted, to_come || entered != private::Entered::System));
    } else {
        all.extend(network_findings(&wanted.networks, &[]));
    }
    for (uri, checksum) in &wanted.images {
        all.push(image(uri, checksum.as_deref()).await);
    }
    for (host, file) in &wanted.keys {
        all.push(key(host, file));
    }
    Ok(all)
}

fn failed(check: &str, error: &LabError) -> Finding {
    let remedy = error.hint().unwrap_or_else(|| "the line above is what libvirt said".into());
    Finding::problem(check, error.to_string(), remedy)
}

fn private_to_come() -> Finding {
    match private::possible() {
        Ok(()) => Finding::ok(
            "libvirt",
            "no daemon answers at qemu:///system; a run brings up a private one (libvirt_private)",
        ),
        Err(error) => Finding::problem(
            "libvirt",
            format!("no daemon answers at qemu:///system, and no private one can be brought up: {error}"),
            error.hint().unwrap_or_else(|| "start libvirt".into()),
        ),
    }
}

async fn kvm(lab: &Lab, hypervisors: &[Hypervisor], to_come: bool) -> Finding {
    // A lab that does not exist yet must not begin to exist by this.
    let passing = tempfile::tempdir();
    let folder = match &passing {
        Ok(folder) if !lab.state_dir.exists() => folder.path(),
        _ => &lab.state_dir,
    };
    let probe = if to_come || hypervisors.iter().any(Hypervisor::is_local) {
        probe_kvm(folder).await
    } else if let Some(hypervisor) = hypervisors.first() {
        kvm_of(hypervisor, folder).await
    } else {
        return Finding::warning("kvm", "not looked at, because no libvirt answers", "mend that first");
    };
    match probe {
        Ok(probe) if probe.accelerator == Accelerator::Kvm => Finding::ok("kvm", probe.reason),
        Ok(probe) => Finding::warning(
            "kvm",
            format!("guests are emulated, which is about ten times slower: {}", probe.reason),
            "switch on virtualization in the firmware, or nested virtualization where this is a VM itself; load kvm_intel or kvm_amd",
        ),
        Err(error) => failed("kvm", &error),
    }
}

/// Memory and disks that are still to be made, against what there is; also learns which networks run.
async fn budget(lab: &Lab, wanted: &mut Wanted, hypervisors: &[Hypervisor], to_come: bool) -> Vec<Finding> {
    let mut all = Vec::new();
    let mut running = Vec::new();
    for hypervisor in hypervisors {
        match lab_status(hypervisor, &lab.name).await {
            Ok(vms) => running.extend(
                vms.into_iter().filter(|vm| vm.state == crate::lab::DomainState::Running).map(|vm| vm.name),
            ),
            Err(error) => all.push(failed("libvirt", &error)),
        }
    }
    let first = hypervisors.first();
    let to_start: Vec<(String, u64)> = wanted
        .guests
        .iter()
        .filter(|guest| !running.contains(&guest.vm))
        .map(|guest| (guest.vm.clone(), guest.ram_mib()))
        .collect();
    let free = match first {
        Some(hypervisor) if !hypervisor.is_local() => hypervisor.call(|d| d.free_memory()).await.ok(),
        _ if to_come || first.is_some() => available(),
        _ => None,
    };
    if let Some(free) = free.filter(|_| !wanted.guests.is_empty()) {
        all.push(memory_budget(&to_start, free));
    }
    if let Some(hypervisor) = first {
        for network in &mut wanted.networks {
            let name = network.name.clone();
            let there = hypervisor.call(move |d| d.network(&name)).await;
            network.active = there.is_ok_and(|n| n.is_some_and(|n| n.active));
        }
    }
    let mut by_pool: BTreeMap<String, u64> = BTreeMap::new();
    for GuestDisk { volume, pool, bytes } in wanted.guests.iter().flat_map(|guest| &guest.disks) {
        let there = match first {
            Some(hypervisor) => {
                let (pool, volume) = (pool.clone(), volume.clone());
                hypervisor.call(move |d| d.volume(&pool, &volume)).await.is_ok_and(|v| v.is_some())
            }
            None => false,
        };
        if !there {
            *by_pool.entry(pool.clone()).or_default() += bytes;
        }
    }
    for (pool, bytes) in by_pool {
        let known = match first {
            Some(hypervisor) => {
                let name = pool.clone();
                hypervisor.call(move |d| d.pool(&name)).await.ok().flatten()
            }
            None => None,
        };
        let xml = known.and_then(|p| Element::parse(&p.xml).ok());
        let declared = wanted.pools.get(&pool);
        let path = match (&xml, declared) {
            (Some(xml), _) if xml.get("type") == Some("dir") => {
                xml.path_text("target/path").map(crate::store::expanded)
            }
            (None, Some((kind, path))) if kind == "dir" => Some(crate::store::expanded(path)),
            _ => None,
        };
        let local = to_come || first.is_some_and(Hypervisor::is_local);
        let told = xml.as_ref().and_then(|x| x.path_text("available")?.parse::<u64>().ok());
        if let Some(free) = path.filter(|_| local).and_then(|p| room(&p)) {
            all.push(space_budget(&pool, bytes, free, true));
        } else if let Some(free) = told {
            all.push(space_budget(&pool, bytes, free, false));
        } else if xml.is_none() && declared.is_none() {
            all.push(Finding::problem(
                "disk",
                format!("there is no pool {pool}, and none is declared"),
                "declare it in libvirt_pools, or name one that exists",
            ));
        }
    }
    all
}

/// Memory that new processes may have, in bytes.
fn available() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|l| l.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib << 10)
}

/// Free bytes of the file system that a path is, or would be, on.
fn room(path: &Path) -> Option<u64> {
    let there = path.ancestors().find(|p| p.exists())?;
    let stat = rustix::fs::statvfs(there).ok()?;
    Some(stat.f_bavail * stat.f_frsize)
}

fn resolver(wanted: &Wanted, private: bool) -> Finding {
    let kind = HostDns::default().resolver();
    let domains = !wanted.networks.is_empty();
    match kind {
        _ if private => Finding::ok("names", "guests of a private hypervisor are reached with quaylab ssh"),
        Resolver::Hosts if domains => Finding::ok(
            "names",
            "this machine has no resolver that can be told; --host-dns would write into /etc/hosts",
        ),
        other => Finding::ok("names", format!("--host-dns would tell {}", other.word())),
    }
}

async fn image(uri: &str, checksum: Option<&str>) -> Finding {
    let request = ImageRequest {
        uri: uri.to_owned(),
        checksum: checksum.map(str::to_owned),
        cache_dir: default_cache_dir(),
    };
    if let Err(error) = request.check() {
        let hint = error.hint().unwrap_or_else(|| "mend image_uri or image_checksum".into());
        return Finding::problem("image", error.to_string(), hint);
    }
    if let Ok(Some(_)) = request.cached().await {
        return Finding::ok("image", format!("{uri} is in the cache"));
    }
    if !uri.starts_with("http") {
        let path = request.path();
        return match std::fs::File::open(&path) {
            Ok(_) => Finding::ok("image", format!("{uri} is there")),
            Err(error) => Finding::problem(
                "image",
                format!("{}: {error}", path.display()),
                "fetch or build it (quaylab image build debian), or mend image_uri",
            ),
        };
    }
    match request.answer().await {
        Ok(200..300) => Finding::ok("image", format!("{uri} can be fetched")),
        Ok(405) => Finding::ok("image", format!("{uri}: its server answers")),
        Ok(status) => Finding::problem(
            "image",
            format!("{uri}: its server answers {status}"),
            "is image_uri right, and does it need a login?",
        ),
        Err(error) => Finding::problem(
            "image",
            format!("{uri} cannot be reached: {error}"),
            "is the machine online, and is a proxy needed (https_proxy)?",
        ),
    }
}

fn key(host: &str, file: &Path) -> Finding {
    let shown = file.display();
    let meta = match std::fs::File::open(file).and_then(|f| f.metadata()) {
        Ok(meta) => meta,
        Err(error) => {
            return Finding::problem(
                "key",
                format!("{host}: {shown}: {error}"),
                "mend ansible_ssh_private_key_file, or the file's owner",
            );
        }
    };
    if meta.mode() & 0o077 != 0 {
        return Finding::warning(
            "key",
            format!("{host}: others may read {shown}, so ssh itself refuses it"),
            format!("chmod 600 {shown}"),
        );
    }
    Finding::ok("key", format!("{host}: {shown} can be read"))
}

fn render(findings: &[Finding], palette: Palette) -> String {
    let width = findings.iter().map(|f| f.check.len()).max().unwrap_or(0);
    let mut text = String::new();
    for finding in findings {
        let level = match finding.level {
            Level::Ok => palette.ok("ok     "),
            Level::Warning => palette.changed("warning"),
            Level::Problem => palette.failed("problem"),
        };
        let indent = format!("\n         {:width$}  ", "");
        text += &format!(
            "{level}  {:<width$}  {}\n",
            finding.check,
            visible(&finding.found).replace('\n', &indent)
        );
        if let Some(remedy) = &finding.remedy {
            text += &format!("         {:width$}  -> {}\n", "", visible(remedy).replace('\n', &indent));
        }
    }
    let count = |level| findings.iter().filter(|f| f.level == level).count();
    let (problems, warnings) = (count(Level::Problem), count(Level::Warning));
    text + &match (problems, warnings) {
        (0, 0) => "\nnothing is in the lab's way\n".to_owned(),
        (0, _) => format!("\nnothing is in the lab's way; warnings: {warnings}\n"),
        _ => format!("\nproblems: {problems}, warnings: {warnings}\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_come_with_their_remedies() {
        let findings = [
            Finding::ok("libvirt", "qemu:///system answers"),
            Finding::warning("kvm", "guests are emulated", "load kvm_intel"),
            Finding::problem("memory", "8192 MiB are wanted, 4096 MiB are free", "lower `ram`"),
        ];
        insta::assert_snapshot!(render(&findings, Palette::PLAIN), @r"
        ok       libvirt  qemu:///system answers
        warning  kvm      guests are emulated
                          -> load kvm_intel
        problem  memory   8192 MiB are wanted, 4096 MiB are free
                          -> lower `ram`

        problems: 1, warnings: 1
        ");
    }

    #[test]
    fn the_seeds_inventory_is_understood() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("quay.inv");
        let text = include_str!("../../../inventories/quay.inv_sample");
        std::fs::write(&file, text).expect("written");
        let (inventory, _) = Inventory::load(&[file.to_string_lossy().into_owned()]).expect("read");
        let wanted = wanted(&inventory).expect("understood");
        assert_eq!(wanted.networks[0].bridge.as_deref(), Some("virbr-900"));
        assert_eq!(wanted.pools["virt-pool"], ("lvm".to_owned(), "/dev/nvme0n1p2".to_owned()));
        let guest = &wanted.guests[0];
        assert_eq!((guest.vm.as_str(), guest.ram_mib()), ("quay", 8192));
        let shown = |disk: &GuestDisk| (disk.volume.clone(), disk.pool.clone(), disk.bytes >> 30);
        let disks: Vec<_> = guest.disks.iter().map(shown).collect();
        assert_eq!(
            disks,
            [("quay", 0), ("quay-vdb", 10), ("quay-vdc", 10)].map(|(volume, gb)| (
                volume.to_owned(),
                "virt-pool".to_owned(),
                gb
            ))
        );
        assert_eq!(wanted.images.len(), 1);
    }
}
