use super::Lab;
use super::identity::{hypervisors, text};
use super::names::short;
use crate::diag::{Diagnostic, Origin};
use crate::inventory::{Inventory, VarMap};
use crate::lab::{Hypervisor, LabError, host_dir, host_key, lab_status, login_key};
use crate::yaml::Node;

/// Who logs in to a guest where the inventory does not say it.
pub(super) const DEFAULT_USER: &str = "cloud-user";

/// Gives the hosts that are guests of the lab the connection that the role `vm` would find out, so that playbooks which do not bring the lab up
/// reach them as well. What the inventory says itself stays.
///
/// Nothing is asked where quaylab made no guest of these hosts. A hypervisor that does not answer is a warning.
pub(in crate::cli) async fn introduce(inventory: &mut Inventory, lab: &Lab) -> Vec<Diagnostic> {
    let hosts: Vec<String> = inventory.hosts().map(str::to_owned).collect();
    let unknown = |host: &String| {
        host_dir(&lab.state_dir, short(host)).is_dir() && text(inventory, host, "ansible_host").is_none()
    };
    let unknown: Vec<String> = hosts.into_iter().filter(unknown).collect();
    let mut warnings = Vec::new();
    if unknown.is_empty() {
        return warnings;
    }
    for (name, uri) in hypervisors(inventory) {
        if let Err(error) = introduce_those_of(inventory, lab, &unknown, (&name, &uri)).await {
            let warning = Diagnostic::new(format!("the guests of {name} are not looked up: {error}"));
            warnings.push(warning.hint_opt(error.hint()));
        }
    }
    warnings
}

async fn introduce_those_of(
    inventory: &mut Inventory,
    lab: &Lab,
    hosts: &[String],
    (name, uri): (&str, &str),
) -> Result<(), LabError> {
    let hypervisor = Hypervisor::shared(uri).await?;
    let vms = lab_status(&hypervisor, &lab.name).await?;
    let via = hypervisor.way().map(|_| name);
    for host in hosts {
        let vm = short(host);
        let Some(address) = vms.iter().find(|v| v.name == vm).and_then(|v| v.address.as_deref()) else {
            continue;
        };
        let own_login =
            ["ansible_password", "ansible_ssh_password", "ansible_ssh_pass", "ansible_private_key_file"];
        let has_own = own_login.iter().any(|var| text(inventory, host, var).is_some());
        let key = if has_own {
            None
        } else {
            Some(login_key(&lab.state_dir, &lab.name)?.file.display().to_string())
        };
        let found = [
            ("ansible_host", Some(address.to_owned())),
            ("ansible_user", Some(DEFAULT_USER.to_owned())),
            ("ansible_ssh_private_key_file", key),
            ("quaylab_ssh_host_key", Some(host_key(&lab.state_dir, vm)?.public)),
            ("quaylab_ssh_via", via.map(str::to_owned)),
        ];
        let origin = Origin::synthetic("<the lab>");
        let vars: VarMap = found
            .into_iter()
            .filter(|(var, _)| text(inventory, host, var).is_none())
            .filter_map(|(var, value)| Some((var.to_owned(), Node::str(&value?, &origin))))
            .collect();
        inventory.add_host(host, &[], vars);
    }
    Ok(())
}
