//! Subscriptions of guests that are about to go: what is registered and gone stays in the account for ever.

use std::collections::HashSet;
use std::time::Duration;

use super::Lab;
use super::guests::DEFAULT_USER;
use super::identity::text;
use super::names::short;
use crate::cli::say::say;
use crate::host::{BecomeMethod, BecomeSpec, ConnectionKind, ConnectionSpec, HostKeyCheck, Script, Target};
use crate::inventory::Inventory;
use crate::lab::{Converged, Hypervisor, LabError, VmStatus, host_dir, host_key, lab_status, login_key};

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

/// Unregisters those of the VMs that run and on which the role `subscription` ran, and says so. One that cannot be asked holds nothing up: what is left in the
/// account is said.
pub(super) async fn take_back(
    lab: &Lab,
    inventory: Option<&Inventory>,
    hypervisor: &Hypervisor,
    vms: &HashSet<&str>,
) -> Result<(), LabError> {
    let roles = Converged::new(&lab.state_dir).all()?;
    let hosts: Vec<&String> = roles
        .iter()
        .filter(|(host, roles)| roles.contains_key(ROLE) && vms.contains(short(host)))
        .map(|(host, _)| host)
        .collect();
    if hosts.is_empty() {
        return Ok(());
    }
    let running = lab_status(hypervisor, &lab.name).await?;
    let guests = hosts.into_iter().filter_map(|host| {
        let vm = running.iter().find(|vm| vm.name == short(host))?;
        Some((host, vm.address.as_deref().filter(|_| host_dir(&lab.state_dir, &vm.name).is_dir())?, vm))
    });
    let asked = guests.map(|(host, address, vm)| async move {
        match unregister(lab, inventory, hypervisor, (host, address, vm)).await {
            Ok(true) => say(&format!("{host}: unregistered from its subscription")),
            Ok(false) => {}
            Err(reason) => say(&format!(
                "{host}: whether it is registered is not known ({reason}); a registration stays in the account until it is removed there"
            )),
        }
    });
    futures_util::future::join_all(asked).await;
    Ok(())
}

async fn unregister(
    lab: &Lab,
    inventory: Option<&Inventory>,
    hypervisor: &Hypervisor,
    (host, address, vm): (&str, &str, &VmStatus),
) -> Result<bool, String> {
    let user = inventory.and_then(|i| text(i, host, "ansible_user"));
    let key = login_key(&lab.state_dir, &lab.name).map_err(|e| e.to_string())?;
    let own_key = host_key(&lab.state_dir, &vm.name).map_err(|e| e.to_string())?;
    let target = Target::new(ConnectionSpec {
        name: host.to_owned(),
        kind: ConnectionKind::Ssh,
        address: address.to_owned(),
        port: 22,
        user: user.unwrap_or_else(|| DEFAULT_USER.to_owned()),
        password: None,
        private_key_file: Some(key.file),
        host_key: HostKeyCheck::Exactly(own_key.public),
        proxy_jump: hypervisor.way().map(ConnectionSpec::as_way).unwrap_or_default(),
        timeout: LOGIN,
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
