use futures_util::future::join_all;

use super::Lab;
use super::identity::{hypervisors, text};
use super::names::VmNames;
use crate::diag::{Diagnostic, Origin};
use crate::inventory::{Inventory, VarMap};
use crate::lab::{Hypervisors, LabError, VmStatus, host_dir, host_key, lab_status, login_key};
use crate::yaml::Node;

/// Who logs in to a guest where the inventory does not say it.
pub(super) const DEFAULT_USER: &str = "cloud-user";

/// Who logs in to a guest.
pub(super) fn login_user(inventory: &Inventory, host: &str) -> String {
    let said = USER.iter().chain(&["vm_user"]).find_map(|var| text(inventory, host, var));
    // The role's own default is a template, and says the same.
    said.filter(|user| !user.contains("{{")).unwrap_or_else(|| DEFAULT_USER.to_owned())
}

/// Seconds for a login to a guest once it answers, which may be busy with its boot.
const GUEST_LOGIN: &str = "60";

const HOST: [&str; 2] = ["ansible_host", "ansible_ssh_host"];
const USER: [&str; 2] = ["ansible_user", "ansible_ssh_user"];
const LOGIN: [&str; 5] = [
    "ansible_password",
    "ansible_ssh_password",
    "ansible_ssh_pass",
    "ansible_private_key_file",
    "ansible_ssh_private_key_file",
];

/// What the command line says of logins, which a guest's own take no precedence over.
#[derive(Debug, Clone, Copy)]
pub(in crate::cli) struct Given {
    pub user: bool,
    pub key: bool,
}

/// Whether one of the hosts may be a guest that quaylab made and whose address nobody says.
pub(in crate::cli) fn among(inventory: &Inventory, lab: &Lab, names: &VmNames, hosts: &[String]) -> bool {
    hosts.iter().any(|host| is_guest(inventory, lab, names, host))
}

fn is_guest(inventory: &Inventory, lab: &Lab, names: &VmNames, host: &str) -> bool {
    names.vm_of(host).is_some_and(|vm| host_dir(&lab.state_dir, vm).is_dir()) && !says(inventory, host, &HOST)
}

fn says(inventory: &Inventory, host: &str, vars: &[&str]) -> bool {
    vars.iter().any(|var| text(inventory, host, var).is_some())
}

/// Gives the hosts that are guests of the lab the connection that the role `vm` would find out, so that playbooks which do not bring the lab up
/// reach them as well. What the inventory and the command line say stays.
///
/// A hypervisor that does not answer is a warning.
pub(in crate::cli) async fn introduce(
    inventory: &mut Inventory,
    lab: &Lab,
    names: &VmNames,
    (given, asked): (Given, &Hypervisors),
) -> Vec<Diagnostic> {
    let hosts: Vec<String> = inventory.hosts().map(str::to_owned).collect();
    let guests: Vec<(String, String)> = hosts
        .into_iter()
        .filter(|host| is_guest(inventory, lab, names, host))
        .filter_map(|host| Some((host.clone(), names.vm_of(&host)?.to_owned())))
        .collect();
    // Side by side: one that does not answer holds the others up no longer than itself.
    let looks = hypervisors(inventory).into_iter().map(|(name, uri)| async move {
        let look = async {
            let hypervisor = asked.get(&uri).await?.only_asked();
            let vms = lab_status(&hypervisor, &lab.name).await?;
            Ok(Seen { via: hypervisor.way().map(|_| name.clone()), vms })
        };
        let seen: Result<Seen, LabError> = look.await;
        (name, seen)
    });
    let mut warnings = Vec::new();
    for (name, seen) in join_all(looks).await {
        let done = seen.and_then(|seen| introduce_those_of(inventory, lab, (&guests, given), &seen));
        if let Err(error) = done {
            let warning = Diagnostic::new(format!("the guests of {name} are not looked up: {error}"));
            warnings.push(warning.hint_opt(error.hint()));
        }
    }
    warnings
}

/// The lab's VMs on one hypervisor.
struct Seen {
    /// The hypervisor's host, where its guests are reached through it.
    via: Option<String>,
    vms: Vec<VmStatus>,
}

fn introduce_those_of(
    inventory: &mut Inventory,
    lab: &Lab,
    (guests, given): (&[(String, String)], Given),
    Seen { via, vms }: &Seen,
) -> Result<(), LabError> {
    for (host, vm) in guests {
        let Some(address) = vms.iter().find(|v| v.name == *vm).and_then(|v| v.address.clone()) else {
            continue;
        };
        let user = (!given.user && !says(inventory, host, &USER)).then(|| login_user(inventory, host));
        let key = if given.key || says(inventory, host, &LOGIN) {
            None
        } else {
            Some(login_key(&lab.state_dir, &lab.name)?.file.display().to_string())
        };
        let own = |var: &str, value: String| (!says(inventory, host, &[var])).then_some(value);
        let found = [
            ("ansible_host", Some(address)),
            ("ansible_user", user),
            ("ansible_ssh_private_key_file", key),
            ("quaylab_ssh_host_key", own("quaylab_ssh_host_key", host_key(&lab.state_dir, vm)?.public)),
            ("quaylab_ssh_login_timeout", own("quaylab_ssh_login_timeout", GUEST_LOGIN.to_owned())),
            ("quaylab_ssh_via", via.as_ref().and_then(|via| own("quaylab_ssh_via", via.clone()))),
        ];
        let origin = Origin::synthetic("<the lab>");
        let vars: VarMap = found
            .into_iter()
            .filter_map(|(var, value)| Some((var.to_owned(), Node::known(&value?.into(), &origin))))
            .collect();
        inventory.add_host(host, &[], vars);
    }
    Ok(())
}
