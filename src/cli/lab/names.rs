use std::collections::{HashMap, HashSet};

use super::host_vars::HostVars;
use crate::diag::{Diagnostic, closest};
use crate::inventory::{Inventory, VarMap, short_name};
use crate::lab::GuestSpec;
use crate::playbook::Playbook;
use crate::value::plain;

/// The variable that names a host's VM.
const VM_NAME: &str = "vm_name";

/// Which VM is which host's: the one that `vm_name` names, else the one of the host's short name. This is the one place
/// that says so; the default of the role `vm` says the same.
#[derive(Debug, Clone, Default)]
pub(in crate::cli) struct VmNames {
    /// Every host of the inventory with the name that its VM has, or would have.
    all: Vec<(String, String)>,
    /// The hosts for which a run of quaylab's own playbook makes VMs.
    made: HashSet<String>,
    /// Why the name of a host's VM cannot be known.
    unknown: HashMap<String, Diagnostic>,
}

impl VmNames {
    /// What an inventory says.
    pub(in crate::cli) fn of(inventory: &Inventory) -> Self {
        Self::with(inventory, &VarMap::new())
    }

    /// What an inventory says, under variables of the command line.
    pub(in crate::cli) fn with(inventory: &Inventory, extra: &VarMap) -> Self {
        let of_all = extra.get(VM_NAME).map(|node| plain(&node.to_value()));
        let name = |host: &str| match &of_all {
            Some(name) if !name.contains("{{") => Ok(name.clone()),
            _ => vm_name(inventory, extra, host),
        };
        let (mut all, mut unknown) = (Vec::new(), HashMap::new());
        for host in inventory.hosts() {
            match name(host) {
                Ok(vm) => all.push((host.to_owned(), vm)),
                Err(why) => drop(unknown.insert(host.to_owned(), why)),
            }
        }
        let members = |group: &str| {
            let groups = inventory.groups().into_iter().find(|(name, _)| name == group);
            groups.map(|(_, hosts)| hosts).unwrap_or_default()
        };
        let lab = members("lab").into_iter();
        let made = if members("hypervisor").is_empty() {
            HashSet::new()
        } else {
            lab.filter(|host| is_provisioned(inventory, host)).collect()
        };
        Self { all, made, unknown }
    }

    /// The hosts for which a run of quaylab's own playbook makes VMs.
    pub(super) fn made(&self) -> impl Iterator<Item = &str> {
        self.hosts().filter(|host| self.made.contains(*host))
    }

    fn hosts(&self) -> impl Iterator<Item = &str> {
        self.all.iter().map(|(host, _)| host).chain(self.unknown.keys()).map(String::as_str)
    }

    /// What all of the inventory's VMs are called, or would be.
    pub(super) fn vms(&self) -> impl Iterator<Item = &str> {
        self.all.iter().map(|(_, vm)| vm.as_str())
    }

    /// The host's VM; `None` where the VM of that name is another host's.
    pub(super) fn vm_of(&self, host: &str) -> Option<&str> {
        let (_, vm) = self.all.iter().find(|(known, _)| known == host)?;
        (self.host_of(vm) == Some(host)).then_some(vm)
    }

    /// The host whose VM this is. Of hosts that share a name it is the first for which a VM is made.
    pub(super) fn host_of(&self, vm: &str) -> Option<&str> {
        let sharing = || self.all.iter().filter(|(_, name)| name == vm).map(|(host, _)| host.as_str());
        sharing().find(|host| self.made.contains(*host)).or_else(|| sharing().next())
    }

    /// The VM of a host that a person named: refuses one that has to share its VM.
    pub(super) fn own_vm(&self, host: &str) -> Result<&str, Diagnostic> {
        if let Some(why) = self.unknown.get(host) {
            return Err(why.clone());
        }
        self.vm_of(host).ok_or_else(|| {
            let vm = self.all.iter().find(|(known, _)| known == host).map_or("?", |(_, vm)| vm);
            let owner = self.host_of(vm).unwrap_or("another host");
            Diagnostic::new(format!("{host} has no VM of its own: {vm} is the VM of {owner}")).hint(HINT)
        })
    }

    /// Refuses hosts among these that would have to share a VM.
    pub(in crate::cli) fn unique(&self, hosts: &[String], inventory: &Inventory) -> Result<(), Diagnostic> {
        if let Some(why) = hosts.iter().find_map(|host| self.unknown.get(host)) {
            return Err(why.clone());
        }
        match self.shared(hosts).into_iter().next() {
            None => Ok(()),
            Some((vm, sharing)) => {
                let given = sharing.iter().find_map(|host| inventory.host_var(host, VM_NAME));
                let told = Diagnostic::new(shared_words(vm, &sharing)).hint(HINT);
                Err(given.map_or(told.clone(), |node| told.at(&node.origin)))
            }
        }
    }

    /// The names that several of these hosts would give their VMs.
    fn shared(&self, hosts: &[String]) -> Vec<(&str, Vec<&str>)> {
        let mut shared: Vec<(&str, Vec<&str>)> = Vec::new();
        for (host, vm) in self.all.iter().filter(|(host, _)| hosts.contains(host)) {
            match shared.iter_mut().find(|(name, _)| name == vm) {
                Some((_, sharing)) => sharing.push(host),
                None => shared.push((vm, vec![host])),
            }
        }
        shared.retain(|(_, sharing)| sharing.len() > 1);
        shared
    }

    /// What is wrong with the names, and what to do about it, a pair each.
    pub(super) fn faults(&self) -> Vec<(String, String)> {
        let made: Vec<String> = self.made().map(str::to_owned).collect();
        let unknown = made.iter().filter_map(|host| self.unknown.get(host));
        let unknown =
            unknown.map(|why| (why.message.clone(), why.hint.clone().unwrap_or_else(|| KNOWN.to_owned())));
        let shared = self.shared(&made).into_iter();
        shared.map(|(vm, sharing)| (shared_words(vm, &sharing), HINT.to_owned())).chain(unknown).collect()
    }

    /// The host of the inventory that a person means by its full name, its short name, or its VM's.
    pub(in crate::cli) fn meant(&self, given: &str) -> Result<String, Diagnostic> {
        let hosts = || self.hosts();
        if hosts().any(|host| host == given) {
            return Ok(given.to_owned());
        }
        let of_vm: Vec<&str> = self
            .all
            .iter()
            .filter(|(host, vm)| vm == given && short_name(host) != given)
            .map(|(h, _)| h.as_str())
            .collect();
        let by_short: Vec<&str> = hosts().filter(|host| short_name(host) == given).collect();
        match (of_vm.as_slice(), by_short.as_slice()) {
            // Where one host's VM has another host's short name, it is the VM that commands are about.
            ([one], _) | ([], [one]) => Ok((*one).to_owned()),
            ([], []) => {
                let known = self.all.iter().flat_map(|(host, vm)| [host.as_str(), short_name(host), vm]);
                let near = closest(given, known).map(|name| format!("did you mean {name}?"));
                let all = format!("the inventory has {}", hosts().collect::<Vec<_>>().join(", "));
                Err(Diagnostic::new(format!("the inventory has no host {given:?}")).hint(near.unwrap_or(all)))
            }
            (of_vm, by_short) => {
                let several = if of_vm.is_empty() { by_short } else { of_vm };
                Err(Diagnostic::new(format!("{given:?} is short for more than one host"))
                    .hint(format!("name one of {}", several.join(", "))))
            }
        }
    }
}

/// What to do about a name that only a run could find out.
const KNOWN: &str = "every command finds a VM by its vm_name: use what the inventory says";

/// What to do about hosts that would share a VM.
const HINT: &str = "give each host a VM of its own: vm_name=\"{{ inventory_hostname }}\" for the whole name, or any other name";

/// Whether the role `vm` makes a VM for the host, where there is a hypervisor.
pub(in crate::cli) fn is_provisioned(inventory: &Inventory, host: &str) -> bool {
    let given = inventory.host_var(host, "provision").is_some();
    // What cannot be told before a run shows in it.
    !given || GuestSpec::is_made(&HostVars::new(inventory, &no_playbook(), host)).unwrap_or(true)
}

fn shared_words(vm: &str, hosts: &[&str]) -> String {
    format!("{} would all be the VM {vm}", hosts.join(" and "))
}

/// For variables of the inventory's alone.
fn no_playbook() -> Playbook {
    Playbook { folder: None, plays: Vec::new(), warnings: Vec::new() }
}

fn vm_name(inventory: &Inventory, extra: &VarMap, host: &str) -> Result<String, Diagnostic> {
    let own = inventory.host_var(host, VM_NAME);
    let Some(node) = extra.get(VM_NAME).or(own.as_ref()) else { return Ok(short_name(host).to_owned()) };
    let name = HostVars::with_extra(inventory, &no_playbook(), host, extra).text(VM_NAME).map_err(|e| {
        let told = e.at_least(&node.origin).note(format!("{VM_NAME} of {host} cannot be known before a run"));
        if told.hint.is_none() { told.hint(KNOWN) } else { told }
    })?;
    Ok(name.filter(|name| !name.is_empty()).unwrap_or_else(|| short_name(host).to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inventory(text: &str) -> Inventory {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("lab.inv");
        std::fs::write(&file, text).expect("written");
        Inventory::load(&[file.to_string_lossy().into_owned()]).expect("read").0
    }

    fn names(text: &str) -> VmNames {
        VmNames::of(&inventory(text))
    }

    #[test]
    fn short_names_and_slips_are_understood() {
        let hosts = "quay.a.lan,db.a.lan,db.b.lan,10.1.2.3,";
        let (inventory, _) = Inventory::load(&[hosts.to_owned()]).expect("hosts");
        let names = VmNames::of(&inventory);
        assert_eq!(names.meant("quay").as_deref(), Ok("quay.a.lan"));
        assert_eq!(names.meant("db.b.lan").as_deref(), Ok("db.b.lan"));
        assert_eq!(names.meant("10.1.2.3").as_deref(), Ok("10.1.2.3"));
        for (given, hint) in [
            ("qauy", "did you mean quay?"),
            ("quay.a.lam", "did you mean quay.a.lan?"),
            ("db", "name one of db.a.lan, db.b.lan"),
            ("nothing-like-it", "the inventory has quay.a.lan, db.a.lan, db.b.lan, 10.1.2.3"),
        ] {
            assert_eq!(names.meant(given).expect_err("refused").hint.as_deref(), Some(hint), "{given}");
        }
    }

    #[test]
    fn a_host_named_by_an_address_has_a_vm_of_that_name() {
        let names = names("[hypervisor]\nhv\n[lab]\n10.77.1.21\n10.77.1.22\n");
        assert_eq!(names.vm_of("10.77.1.21"), Some("10.77.1.21"));
        assert_eq!(names.host_of("10.77.1.22"), Some("10.77.1.22"));
        assert_eq!(names.faults(), []);
    }

    #[test]
    fn hosts_that_would_share_a_vm_are_refused() {
        let text = "[hypervisor]\nhv\n[lab]\nnode1.east.lan\nnode1.west.lan\nnode2.east.lan\n";
        let (read, shared) = (inventory(text), names(text));
        let made: Vec<String> = shared.made().map(str::to_owned).collect();
        let told = shared.unique(&made, &read).expect_err("refused");
        assert_eq!(told.message, "node1.east.lan and node1.west.lan would all be the VM node1");
        assert!(told.hint.is_some_and(|h| h.contains("vm_name=\"{{ inventory_hostname }}\"")));
        assert_eq!(shared.vm_of("node1.east.lan"), Some("node1"));
        assert_eq!(shared.vm_of("node1.west.lan"), None, "it is the other's");
        assert!(shared.own_vm("node1.west.lan").expect_err("refused").message.contains("node1.east.lan"));

        let whole = format!("{text}[lab:vars]\nvm_name={{{{ inventory_hostname }}}}\n");
        let (read, whole) = (inventory(&whole), names(&whole));
        assert!(whole.unique(&made, &read).is_ok());
        assert_eq!(whole.vm_of("node1.west.lan"), Some("node1.west.lan"));
        assert_eq!(whole.host_of("node1.east.lan"), Some("node1.east.lan"));

        let same = names("[hypervisor]\nhv\n[lab]\na vm_name=x\nb vm_name=x\n");
        assert_eq!(same.faults().len(), 1);
        // A machine that is there already is no VM, whatever it is called.
        let there = names("[hypervisor]\nhv\n[lab]\nn.a provision=false\nn.b\n");
        assert_eq!((there.faults().len(), there.host_of("n"), there.vm_of("n.a")), (0, Some("n.b"), None));
    }

    #[test]
    fn a_vm_is_meant_by_its_own_name_too() {
        let names = names("[hypervisor]\nhv\n[lab]\nquay.a.lan vm_name=registry-1\ndb.a.lan\n");
        for given in ["quay.a.lan", "quay", "registry-1"] {
            assert_eq!(names.meant(given).as_deref(), Ok("quay.a.lan"), "{given}");
        }
        assert_eq!(names.vm_of("quay.a.lan"), Some("registry-1"));
    }

    #[test]
    fn a_name_that_only_a_run_knows_is_refused_where_it_is_needed() {
        let text = "[hypervisor]\nhv\n[lab]\na vm_name='{{ some_fact }}'\nb\n";
        let (read, names) = (inventory(text), names(text));
        assert_eq!((names.vm_of("a"), names.vm_of("b")), (None, Some("b")));
        assert!(names.own_vm("a").is_err());
        assert!(names.unique(&["a".into(), "b".into()], &read).is_err());
        assert!(names.unique(&["b".into()], &read).is_ok());
        assert_eq!(names.faults().len(), 1);
    }
}
