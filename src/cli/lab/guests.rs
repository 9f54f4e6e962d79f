use super::Lab;
use super::identity::{hypervisors, text};
use super::names::short;
use crate::diag::{Diagnostic, Origin};
use crate::inventory::{Inventory, VarMap};
use crate::lab::{Hypervisor, LabError, host_dir, host_key, lab_status, login_key};
use crate::yaml::Node;

/// Who logs in to a guest where the inventory does not say it.
pub(super) const DEFAULT_USER: &str = "cloud-user";

/// Who logs in to a guest.
pub(super) fn login_user(inventory: &Inventory, host: &str) -> String {
    let said = USER.iter().chain(&["vm_user"]).find_map(|var| text(inventory, host, var));
    // The role's own default is a template, and says the same.
    said.filter(|user| !user.contains("{{")).unwrap_or_else(|| DEFAULT_USER.to_owned())
}

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
pub(in crate::cli) fn among(inventory: &Inventory, lab: &Lab, hosts: &[String]) -> bool {
    hosts.iter().any(|host| is_guest(inventory, lab, host))
}

fn is_guest(inventory: &Inventory, lab: &Lab, host: &str) -> bool {
    host_dir(&lab.state_dir, short(host)).is_dir() && !says(inventory, host, &HOST)
}

fn says(inventory: &Inventory, host: &str, vars: &[&str]) -> bool {
    vars.iter().any(|var| text(inventory, host, var).is_some())
}

/// Gives the hosts that are guests of the lab the connection that the role `vm` would find out, so that playbooks which do not bring the lab up
/// reach them as well. What the inventory and the command line say stays.
///
/// A hypervisor that does not answer is a warning.
pub(in crate::cli) async fn introduce(inventory: &mut Inventory, lab: &Lab, given: Given) -> Vec<Diagnostic> {
    let hosts: Vec<String> = inventory.hosts().map(str::to_owned).collect();
    let guests: Vec<String> = hosts.into_iter().filter(|host| is_guest(inventory, lab, host)).collect();
    let mut warnings = Vec::new();
    for (name, uri) in hypervisors(inventory) {
        if let Err(error) = introduce_those_of(inventory, lab, (&guests, given), (&name, &uri)).await {
            let warning = Diagnostic::new(format!("the guests of {name} are not looked up: {error}"));
            warnings.push(warning.hint_opt(error.hint()));
        }
    }
    warnings
}

async fn introduce_those_of(
    inventory: &mut Inventory,
    lab: &Lab,
    (guests, given): (&[String], Given),
    (name, uri): (&str, &str),
) -> Result<(), LabError> {
    let hypervisor = Hypervisor::shared(uri).await?;
    let vms = lab_status(&hypervisor, &lab.name).await?;
    let via = hypervisor.way().map(|_| name);
    for host in guests {
        let vm = short(host);
        let Some(address) = vms.iter().find(|v| v.name == vm).and_then(|v| v.address.clone()) else {
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
            ("quaylab_ssh_via", via.and_then(|via| own("quaylab_ssh_via", via.to_owned()))),
        ];
        let origin = Origin::synthetic("<the lab>");
        let vars: VarMap = found
            .into_iter()
            .filter_map(|(var, value)| Some((var.to_owned(), Node::str(&value?, &origin))))
            .collect();
        inventory.add_host(host, &[], vars);
    }
    Ok(())
}
