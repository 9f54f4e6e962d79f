//! What an inventory declares of a lab, judged before anything is made: by `doctor`, `plan` and `run` alike.

use serde_json::json;

use super::host_vars::HostVars;
use super::unread::unread;
use crate::diag::{Diagnostic, closest};
use crate::inventory::{Inventory, VarMap};
use crate::lab::{GuestSpec, HypervisorSpec, NetworkSpec, Placed, check_address, guest_hostname};
use crate::modules::{ModuleError, declared_network, registry};
use crate::playbook::{Playbook, Role};
use crate::value::{Map, plain};

/// The role that makes networks and pools.
const HYPERVISOR: &str = "hypervisor";

/// The role that makes a VM.
const VM: &str = "vm";

/// What came of it.
#[derive(Debug, Default)]
pub(in crate::cli) struct Judged {
    /// What cannot be made as it is written.
    pub refused: Vec<Diagnostic>,
    /// What is written and means nothing.
    pub warnings: Vec<Diagnostic>,
}

/// What is judged: an inventory, the playbook whose roles bring its lab up, and what was given over both.
#[derive(Debug, Clone, Copy)]
pub(in crate::cli) struct Declared<'a> {
    pub inventory: &'a Inventory,
    pub playbook: &'a Playbook,
    pub extra: &'a VarMap,
}

impl Declared<'_> {
    /// Judges what is declared for these hosts.
    pub(in crate::cli) fn judge(self, hosts: &[String]) -> Judged {
        let mut judged = Judged::default();
        let (hypervisors, lab) = (self.members(HYPERVISOR), self.members("lab"));
        let hypervisor_role = self.role(HYPERVISOR, "libvirt_bridges");
        let vm_role = self.role(VM, "vm_libvirt_uri").filter(|_| !hypervisors.is_empty());
        let guests: Vec<(&String, HostVars)> = lab
            .iter()
            .filter(|_| vm_role.is_some())
            .map(|host| (host, self.vars(host)))
            .filter(|(_, vars)| GuestSpec::is_made(vars).unwrap_or(true))
            .collect();
        let mut networks = Vec::new();
        for host in hypervisor_role.iter().flat_map(|_| &hypervisors) {
            let mut found = Findings { host, vars: &self.vars(host), all: Vec::new() };
            if let Some(role) = hypervisor_role {
                found.role(role);
            }
            // What cannot be told before a run is judged in it.
            if let Ok(spec) = HypervisorSpec::read(host, found.vars) {
                networks.extend(found.networks(&spec));
                found.pools(&spec);
                found.session(&spec, !guests.is_empty());
            }
            if hosts.contains(host) {
                judged.refused.extend(found.all);
            }
        }
        for (host, vars) in guests.iter().filter(|(host, _)| hosts.contains(host)) {
            let mut found = Findings { host, vars, all: Vec::new() };
            if let Some(role) = vm_role {
                found.role(role);
            }
            if found.all.is_empty() {
                found.vm(&networks);
            }
            judged.refused.extend(found.all);
            judged.warnings.extend(hostname(host, vars));
        }
        if hypervisor_role.is_some() || vm_role.is_some() {
            let meant = hypervisors.iter().chain(&lab).filter(|host| hosts.contains(host));
            judged.warnings.extend(unread(self.inventory, self.playbook, self.extra, meant));
        }
        judged
    }

    fn members(self, group: &str) -> Vec<String> {
        let mut groups = self.inventory.groups().into_iter();
        groups.find(|(name, _)| name == group).map(|(_, hosts)| hosts).unwrap_or_default()
    }

    /// A role of quaylab's, which is known by a default that it has: others may have roles of that name.
    fn role(&self, name: &str, default: &str) -> Option<&Role> {
        self.playbook
            .plays
            .iter()
            .flat_map(|play| &play.roles)
            .find(|role| role.name == name && role.defaults.contains_key(default))
            .map(|role| &**role)
    }

    fn vars(self, host: &str) -> HostVars {
        HostVars::with_extra(self.inventory, self.playbook, host, self.extra)
    }
}

/// A name that a guest cannot have.
fn hostname(host: &str, vars: &HostVars) -> Option<Diagnostic> {
    let is = guest_hostname(host);
    if is == host {
        return None;
    }
    let told = Diagnostic::new(format!(
        "{host} is no name for a machine, where `_` has no place: the guest is called {is}"
    ))
    .hint("name the host with `-`, so that all know it by one name");
    Some(match vars.origin("inventory_hostname") {
        Some(origin) => told.at(&origin),
        None => told,
    })
}

/// The variable that the module's words are about, by how they begin.
const VM_PLACES: [(&str, &str); 6] = [
    ("ip", "ip"),
    ("user_data", "cloud_init"),
    ("run_cmds", "run_cmds"),
    ("network", "resources.network"),
    ("memory", "resources.ram"),
    ("vcpus", "resources.vcpus"),
];

fn hint_of(error: &ModuleError) -> Option<String> {
    match error {
        ModuleError::Failed { hint, .. } => hint.clone(),
        _ => None,
    }
}

/// What is wrong with one host.
struct Findings<'a> {
    host: &'a str,
    vars: &'a HostVars,
    all: Vec<Diagnostic>,
}

impl Findings<'_> {
    fn refuse(&mut self, place: &str, message: &str, hint: Option<String>) {
        let mut told = Diagnostic::new(format!("{}: {message}", self.host)).hint_opt(hint);
        if let Some(origin) = self.vars.origin(place) {
            told = told.at(&origin);
        }
        self.all.push(told);
    }

    /// What the role's own description of its variables does not allow; what is missing a task may still set.
    fn role(&mut self, role: &Role) {
        let Some(spec) = &role.spec else { return };
        let args: Map =
            spec.names().filter_map(|name| Some((name.to_owned(), self.vars.known(name)?))).collect();
        for error in spec.check(&args) {
            let top_level = |name: &str| spec.names().any(|known| known == name);
            if error.strip_prefix("missing required argument: ").is_some_and(top_level) {
                continue;
            }
            // Its path is the word that begins with a variable's name.
            let begins = |word: &&str| top_level(word.split(['.', '[']).next().unwrap_or_default());
            let path = error.split([' ', ':', ';', ',']).find(begins).unwrap_or_default().to_owned();
            let mut told = Diagnostic::new(format!("role {} on {}: {error}", role.name, self.host)).note(
                format!("what it takes is written in {}", role.folder.describe("meta/argument_specs.yml")),
            );
            if let Some(origin) = self.vars.origin(&path) {
                told = told.at(&origin);
            }
            self.all.push(told);
        }
    }

    /// Judges a module's arguments by the module itself.
    fn module(&mut self, place: &str, name: &str, args: &Map) -> bool {
        let Some(module) = registry().get(name) else { return true };
        match module.check(args) {
            Ok(()) => true,
            Err(error) => {
                self.refuse(place, &format!("{place}: {error}"), hint_of(&error));
                false
            }
        }
    }

    /// The networks that are declared and can be made.
    fn networks(&mut self, spec: &HypervisorSpec) -> Vec<NetworkSpec> {
        let mut specs = Vec::new();
        for Placed { value: args, path, .. } in &spec.networks {
            // What the role does not know it refuses by itself.
            if args.contains_key("name") && self.module(path, "virt_net", args) {
                specs.extend(declared_network(args));
            }
        }
        specs
    }

    fn pools(&mut self, spec: &HypervisorSpec) {
        for Placed { value: pool, path: place, .. } in &spec.pools {
            let Some(given) = pool.given.as_object() else {
                self.refuse(
                    place,
                    &format!("{place} is no mapping"),
                    Some("write {type: dir, path: FOLDER}".into()),
                );
                continue;
            };
            let unknown = given.keys().find(|key| !["type", "path"].contains(&key.as_str()));
            if let Some(key) = unknown {
                let near = closest(key, ["type", "path"]).map(|near| format!("did you mean {near}?"));
                let takes = "a pool here takes type and path; any other is made with community.libvirt.virt_pool and its xml";
                self.refuse(
                    &format!("{place}.{key}"),
                    &format!("{place}: unknown option {key}"),
                    near.or_else(|| Some(takes.into())),
                );
                continue;
            }
            let mut args = given.clone();
            args.insert("name".into(), json!(pool.name));
            self.module(place, "virt_pool", &args);
        }
    }

    /// libvirt of a user has no networks that this machine reaches.
    fn session(&mut self, spec: &HypervisorSpec, guests: bool) {
        let Some(uri) = &spec.uri else { return };
        let path = uri.split(['?', '#']).next().unwrap_or_default();
        let reaches = guests || !spec.networks.is_empty();
        if path.starts_with("qemu") && path.ends_with("/session") && reaches {
            self.refuse(
                "libvirt_uri",
                &format!(
                    "{uri} is a user's own libvirt, which has no networks: a guest there is out of reach"
                ),
                Some("use qemu:///system, or `libvirt_private=true` as root, which needs no daemon".into()),
            );
        }
    }

    fn vm(&mut self, networks: &[NetworkSpec]) {
        let vm = self.vars.known("vm_name");
        let vm = vm.map_or_else(|| crate::inventory::short_name(self.host).to_owned(), |name| plain(&name));
        // What cannot be told before a run is judged in it.
        let Ok(guest) = GuestSpec::read(self.host, &vm, self.vars) else { return };
        let installed = guest.is_installed;
        let given = |name: &str, argument: &str| Some((argument.to_owned(), self.vars.known(name)?));
        let mut args = Map::from_iter([
            ("name".to_owned(), json!(vm)),
            ("fqdn".to_owned(), json!(self.host)),
            ("network".to_owned(), json!(guest.network)),
            ("cloud_init".to_owned(), json!(!installed)),
            ("disks".to_owned(), json!(["pool/volume"])),
        ]);
        args.extend(guest.vcpus.map(|vcpus| ("vcpus".to_owned(), vcpus)));
        args.extend(guest.ram.map(|ram| ("memory".to_owned(), ram)));
        args.extend(given("ip", "ip"));
        args.extend(given("run_cmds", "run_cmds"));
        if !installed {
            args.extend(given("cloud_init", "user_data"));
        }
        if installed && self.vars.known("cloud_init").is_some() {
            self.refuse(
                "cloud_init",
                "cloud_init is for images with cloud-init in them; an ISO is installed by its kickstart",
                Some("take it out for this host; run_cmds and install_packages hold for both, kickstart_template for an ISO".into()),
            );
        }
        if let Some(error) = registry().get("virt_domain").and_then(|module| module.check(&args).err()) {
            let text = error.to_string();
            let place = VM_PLACES.iter().find(|(begin, _)| text.starts_with(begin));
            self.refuse(place.map_or("vm_name", |(_, place)| place), &text, hint_of(&error));
            return;
        }
        let Some(ip) = guest.ip else { return };
        for spec in networks.iter().filter(|spec| spec.name == guest.network) {
            if let Err(error) = check_address(spec, ip) {
                self.refuse("ip", &error.to_string(), error.hint());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::playbook::{Folder, Loader};

    const HYPERVISOR_OF_ALL: &str = "[hypervisor]\nhv ansible_connection=local\n[hypervisor:vars]\n";

    /// An inventory of a network, a pool and a VM, with these instead.
    fn inventory(of_hypervisor: &str, host: &str, of_lab: &str) -> String {
        let network = "libvirt_bridges=[{'name': 'n1', 'forward': 'nat', 'domain': 'n1.lan', 'ip_address': '10.9.1.1', 'dhcp_start': '10.9.1.10', 'dhcp_end': '10.9.1.99'}]";
        let pool = "libvirt_pools=[{'p': {'type': 'dir', 'path': '/srv/p'}}]";
        let resources =
            "resources={'vcpus': 1, 'ram': 64, 'network': 'n1', 'disks': [{'size': '16M', 'pool': 'p'}]}";
        format!(
            "{HYPERVISOR_OF_ALL}{network}\n{pool}\n{of_hypervisor}\n[lab]\n{host}\n[lab:vars]\nimage_uri=/i.qcow2\n{resources}\n{of_lab}\n"
        )
    }

    fn judge(text: &str) -> Judged {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("lab.inv");
        std::fs::write(&file, text).expect("written");
        let (inventory, _) = Inventory::load(&[file.to_string_lossy().into_owned()]).expect("read");
        let loader = Loader::new(Vec::new());
        let playbook = loader.playbook(&Folder::Embedded("playbooks".into()), "quaylab.yml").expect("read");
        let hosts: Vec<String> = inventory.hosts().map(str::to_owned).collect();
        let extra = VarMap::new();
        Declared { inventory: &inventory, playbook: &playbook, extra: &extra }.judge(&hosts)
    }

    fn texts(all: &[Diagnostic]) -> String {
        all.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn what_is_right_passes() {
        let samples = [
            include_str!("../../../inventories/quay.inv_sample"),
            include_str!("../../../inventories/quickstart.inv"),
        ];
        for text in samples.into_iter().chain([inventory("", "vm1.n1.lan ip=10.9.1.50", "").as_str()]) {
            let judged = judge(text);
            assert_eq!((texts(&judged.refused), texts(&judged.warnings)), Default::default(), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_made_is_refused_with_its_place() {
        let bridge = |more: &str| format!("libvirt_bridges=[{{'name': 'n1', {more}}}]");
        let pool = |more: &str| format!("libvirt_pools=[{{'p': {more}}}]");
        let resources = |more: &str| format!("resources={{'vcpus': 1, {more}}}");
        for (of_hypervisor, host, of_lab, part) in [
            (
                bridge("'forward': 'bridge', 'forward_dev': 'eth0'"),
                "vm1.n1.lan",
                String::new(),
                "unknown option libvirt_bridges[0].forward_dev",
            ),
            (
                bridge("'forward': 'bridge'"),
                "vm1.n1.lan",
                String::new(),
                "needs the bridge that the guests are put on",
            ),
            (
                bridge("'forward': 'bridge', 'bridge': 'br0', 'domain': 'd'"),
                "vm1.n1.lan",
                String::new(),
                "so domain cannot hold there",
            ),
            (bridge("'mtu': 9000"), "vm1.n1.lan", String::new(), "unknown option libvirt_bridges[0].mtu"),
            (bridge("'forward': 'nat'"), "vm1.n1.lan", String::new(), "`forward: nat` needs an address"),
            (
                "libvirt_bridges={'name': 'n1'}".into(),
                "vm1.n1.lan",
                String::new(),
                "argument libvirt_bridges must be of type list",
            ),
            (
                pool("{'type': 'netfs', 'path': '/x'}"),
                "vm1.n1.lan",
                String::new(),
                "\"netfs\" is not one of dir, lvm, logical",
            ),
            (
                pool("{'type': 'dir', 'path': '/x', 'host': 'h'}"),
                "vm1.n1.lan",
                String::new(),
                "libvirt_pools[0].p: unknown option host",
            ),
            (pool("{'type': 'dir', 'pahts': '/x'}"), "vm1.n1.lan", String::new(), "unknown option pahts"),
            (pool("'/x'"), "vm1.n1.lan", String::new(), "libvirt_pools[0].p is no mapping"),
            (
                "libvirt_uri=qemu:///session".into(),
                "vm1.n1.lan",
                String::new(),
                "qemu:///session is a user's own libvirt",
            ),
            (bridge("'bridge': 'virbr-n1'"), "vm1.n1.lan ip=10.9.1.5", String::new(), "has no addresses"),
            (
                bridge("'ip_address': '10.9.1.1'"),
                "vm1.n1.lan ip=10.9.1.5",
                String::new(),
                "cannot be kept: the network has no DHCP range",
            ),
            (String::new(), "vm1.n1.lan ip=10.9.2.5", String::new(), "is in none of its subnets"),
            (String::new(), "vm1.n1.lan ip=10.9.1", String::new(), "ip: \"10.9.1\" is not an IP address"),
            (String::new(), "büro.n1.lan", String::new(), "VM \"büro\" may only hold"),
            (String::new(), "vm1.n1.lan", resources("'network': ''"), "network is empty"),
            (
                String::new(),
                "vm1.n1.lan",
                resources("'networks': ['a', 'b']"),
                "unknown option resources.networks; did you mean network?",
            ),
            (
                String::new(),
                "vm1.n1.lan",
                resources("'ram': '8GB'"),
                "argument resources.ram must be of type int",
            ),
            (
                String::new(),
                "vm1.n1.lan",
                resources("'disks': [{'size': '1', 'bus': 'scsi'}]"),
                "unknown option resources.disks[0].bus",
            ),
            (
                String::new(),
                "vm1.n1.lan",
                "cloud_init={'network': {'ethernets': {}}}".into(),
                "network of cloud-init needs a version",
            ),
            (
                String::new(),
                "vm1.n1.lan",
                "image_uri=/x/os.iso\ncloud_init={'timezone': 'UTC'}".into(),
                "cloud_init is for images",
            ),
        ] {
            let judged = judge(&inventory(&of_hypervisor, host, &of_lab));
            let told = texts(&judged.refused);
            assert!(told.contains(part), "{part}: {told}");
            assert!(
                part.contains("büro") || part.contains("may only") || told.contains("lab.inv:"),
                "with its place: {told}"
            );
        }
    }

    #[test]
    fn what_nothing_reads_is_told() {
        let judged = judge(&inventory(
            "libvirt_bridge=[]",
            "vm1.n1.lan",
            "vm_graphics=vnc\nvm_autostrat=true\nquaylab_lab=x\nvm_base=/srv\nvm_source={{ vm_base }}/i\nimage_checksum={{ vm_source }}",
        ));
        let told = texts(&judged.warnings);
        for part in [
            "libvirt_bridge is set, but nothing in quaylab reads it",
            "did you mean libvirt_bridges?",
            "vm_graphics is set",
            "did you mean vm_autostart?",
            "lab.inv:",
        ] {
            assert!(told.contains(part), "{part}: {told}");
        }
        for part in ["quaylab_lab", "vm_base", "vm_source"] {
            assert!(!told.contains(&format!("{part} is set")), "{part}: {told}");
        }
        let told = texts(&judge(&inventory("", "my_host.n1.lan", "")).warnings);
        assert!(told.contains("the guest is called my-host.n1.lan"), "{told}");
    }
}
