//! Subscriptions of guests that are about to go: what is registered and gone stays in the account for ever.

use std::collections::HashSet;
use std::time::Duration;

use super::Lab;
use super::guests::{DEFAULT_USER, login_user};
use super::identity::text;
use super::names::VmNames;
use crate::cli::say::say;
use crate::host::{
    BecomeMethod, BecomeSpec, ConnectionKind, ConnectionSpec, HostKeyCheck, Limits, Script, SshOptions,
    Target,
};
use crate::inventory::{Inventory, short_name};
use crate::lab::{Converged, Hypervisor, VmStatus, host_dir, host_key, lab_status, login_key};

/// The role that registers.
const ROLE: &str = "subscription";

/// How long a guest may take to be logged in to.
const LOGIN: Duration = Duration::from_secs(10);

/// How long the subscription's server may take to answer.
const ANSWER: Duration = Duration::from_secs(60);

/// Says that it has unregistered, and nothing where there is nothing to unregister.
const UNREGISTER: &str = "command -v subscription-manager >/dev/null || exit 0
subscription-manager identity >/dev/null 2>&1 || exit 0
subscription-manager unregister >&2 && echo unregistered";

/// Unregisters those of the VMs that run and on which the role `subscription` ran, and says so. Nothing of it holds a removal up: where a guest that may be
/// registered cannot be asked, it is said that something may be left in the account.
pub(super) async fn take_back(
    lab: &Lab,
    inventory: Option<&Inventory>,
    hypervisor: &Hypervisor,
    vms: &HashSet<&str>,
) {
    let roles = match Converged::new(&lab.state_dir).all() {
        Ok(roles) => roles,
        Err(error) => return say(&format!("which guests are registered is not known: {error}")),
    };
    // Without an inventory a VM is called as its host is.
    let names = inventory.map(VmNames::of);
    let vm_of = |host: &str| match &names {
        Some(names) => names.vm_of(host).unwrap_or_default().to_owned(),
        None => short_name(host).to_owned(),
    };
    let hosts: Vec<&String> = roles
        .iter()
        .filter(|(host, roles)| roles.contains_key(ROLE) && vms.contains(vm_of(host).as_str()))
        .map(|(host, _)| host)
        .collect();
    if hosts.is_empty() {
        return;
    }
    let running = match lab_status(hypervisor, &lab.name).await {
        Ok(running) => running,
        Err(error) => return say(&format!("which guests are registered cannot be asked: {error}")),
    };
    let asked = hosts.into_iter().map(|host| {
        let own = vm_of(host);
        let vm = running.iter().find(|vm| vm.name == own);
        async move {
            let done = match vm.and_then(|vm| Some((vm, vm.address.as_deref()?))) {
                Some((vm, address)) => unregister(lab, inventory, hypervisor, (host, address, vm)).await,
                None => Err("it does not run".to_owned()),
            };
            match done {
                Ok(true) => say(&format!("{host}: unregistered from its subscription")),
                Err(reason) if may_be_registered(inventory, host) => say(&format!(
                    "{host}: not unregistered: {reason}; what is registered stays in the account until it is removed there"
                )),
                _ => {}
            }
        }
    });
    futures_util::future::join_all(asked).await;
}

/// Whether the inventory, as far as there is one, gives the role anything to register with.
fn may_be_registered(inventory: Option<&Inventory>, host: &str) -> bool {
    let with = ["rhsm_username", "rhsm_activationkey"];
    inventory.is_none_or(|i| with.iter().any(|var| text(i, host, var).is_some_and(|t| !t.is_empty())))
}

async fn unregister(
    lab: &Lab,
    inventory: Option<&Inventory>,
    hypervisor: &Hypervisor,
    (host, address, vm): (&str, &str, &VmStatus),
) -> Result<bool, String> {
    // A key that is made now is none that the guest has.
    if !host_dir(&lab.state_dir, &vm.name).is_dir() {
        return Err("its keys are gone".to_owned());
    }
    let user = inventory.map_or_else(|| DEFAULT_USER.to_owned(), |i| login_user(i, host));
    let port = inventory.and_then(|i| text(i, host, "ansible_port")).and_then(|p| p.parse().ok());
    let key = login_key(&lab.state_dir, &lab.name).map_err(|e| e.to_string())?;
    let own_key = host_key(&lab.state_dir, &vm.name).map_err(|e| e.to_string())?;
    let target = Target::new(ConnectionSpec {
        name: host.to_owned(),
        kind: ConnectionKind::Ssh,
        address: address.to_owned(),
        port: port.unwrap_or(22),
        user,
        password: None,
        private_key_file: Some(key.file),
        host_key: HostKeyCheck::Exactly(own_key.public),
        proxy_jump: hypervisor.way().map(ConnectionSpec::as_way).unwrap_or_default(),
        timeout: LOGIN,
        limits: Limits::default(),
        ssh: SshOptions::default(),
    });
    let root = BecomeSpec::new("root", BecomeMethod::Sudo);
    let reply =
        target.shell(Some(&root)).run(&Script { timeout: Some(ANSWER), ..Script::new(UNREGISTER) }).await;
    target.close().await;
    match reply {
        Ok(reply) if reply.ok() => Ok(!reply.stdout.is_empty()),
        Ok(reply) => Err(reply.err().trim().to_owned()),
        Err(error) => Err(error.to_string()),
    }
}
