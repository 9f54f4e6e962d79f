use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use indexmap::IndexMap;
use serde::Serialize;

use super::named::LabArgs;
use super::session::{self, Session};
use crate::cli::say::{show, show_json};
use crate::lab::{Converged, RoleState, VmDetails, VmStatus, vm_details};
use crate::report::{bytes, span, table, unclaimed_hint};

/// Options of `quaylab status`.
#[derive(Debug, Args)]
pub(in crate::cli) struct StatusArgs {
    #[command(flatten)]
    of: LabArgs,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// The lab as `--json` shows it; fields are only ever added.
#[derive(Debug, Serialize)]
struct Report {
    lab: String,
    vms: Vec<Row>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
struct Row {
    name: String,
    /// The inventory's host; missing for a VM that the inventory names no more.
    host: Option<String>,
    /// `absent` where the inventory wants a VM that is not there.
    state: String,
    address: Option<String>,
    memory_mib: u64,
    vcpus: u32,
    uptime_seconds: Option<u64>,
    autostart: bool,
    disks: Vec<Disk>,
    roles: IndexMap<String, RoleState>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Disk {
    target: String,
    path: String,
    bytes: Option<u64>,
}

/// Shows the lab's VMs.
pub(in crate::cli) fn run(args: &StatusArgs) -> Result<ExitCode> {
    let session = Session::looking(&args.of, "quaylab status")?;
    let mut roles = Converged::new(&session.lab.state_dir).all()?;
    let found = session::run(async {
        let mut all = Vec::new();
        for found in session.found().await? {
            let details = vm_details(&found.hypervisor, &session.lab.state_dir, &found.vm.name).await?;
            all.push((found.vm, details));
        }
        Ok(all)
    })?;
    let mut vms: Vec<Row> = found
        .into_iter()
        .map(|(vm, details)| {
            let host = session.names.host_of(&vm.name).map(str::to_owned);
            let roles = host.as_ref().and_then(|host| roles.shift_remove(host)).unwrap_or_default();
            row(vm, details, host, roles)
        })
        .collect();
    let made: Vec<String> = vms.iter().filter_map(|vm| vm.host.clone()).collect();
    let absent = session.names.made().filter(|host| !made.iter().any(|there| there == host));
    vms.extend(absent.filter_map(|host| Some((host, session.names.vm_of(host)?))).map(|(host, vm)| Row {
        name: vm.to_owned(),
        host: Some(host.to_owned()),
        state: "absent".into(),
        ..Row::default()
    }));
    if args.json {
        show_json(&Report { lab: session.lab.name.to_string(), vms })?;
    } else {
        show(&(render(&session.lab.name, &vms) + &notes(&vms)))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn row(vm: VmStatus, details: VmDetails, host: Option<String>, roles: IndexMap<String, RoleState>) -> Row {
    let disks = details.disks.into_iter().filter(|d| !d.read_only);
    Row {
        name: vm.name,
        host,
        state: if details.saved { "saved".into() } else { vm.state.word().into() },
        address: vm.address,
        memory_mib: vm.memory,
        vcpus: vm.vcpus,
        uptime_seconds: details.uptime.map(|u| u.as_secs()),
        autostart: details.autostart,
        disks: disks.map(|d| Disk { target: d.target, path: d.path, bytes: d.capacity }).collect(),
        roles,
    }
}

fn render(lab: &str, vms: &[Row]) -> String {
    if vms.is_empty() {
        return format!("the lab {lab} has no VMs\n");
    }
    let rows: Vec<Vec<String>> = vms.iter().map(cells).collect();
    table(&["VM", "state", "address", "up", "vcpus", "memory", "disks", "roles"], &rows)
}

/// What a person is to know besides the table.
fn notes(vms: &[Row]) -> String {
    let unclaimed = vms.iter().filter(|vm| vm.host.is_none());
    unclaimed
        .map(|vm| {
            format!(
                "\nVM {} is of this lab and of no host in the inventory: {}\n",
                vm.name,
                unclaimed_hint(&vm.name)
            )
        })
        .collect()
}

fn cells(vm: &Row) -> Vec<String> {
    let none = || "-".to_owned();
    let there = vm.state != "absent";
    let disks: Vec<String> = vm
        .disks
        .iter()
        .map(|d| d.bytes.map_or_else(|| d.target.clone(), |b| format!("{} {}", d.target, bytes(b))))
        .collect();
    let roles: Vec<String> = vm
        .roles
        .iter()
        .map(|(role, state)| if state.converged { role.clone() } else { format!("{role} (not finished)") })
        .collect();
    let or_none = |words: Vec<String>| if words.is_empty() { none() } else { words.join(", ") };
    vec![
        vm.name.clone(),
        vm.state.clone(),
        vm.address.clone().unwrap_or_else(none),
        vm.uptime_seconds.map_or_else(none, span),
        if there { vm.vcpus.to_string() } else { none() },
        if there { format!("{} MiB", vm.memory_mib) } else { none() },
        or_none(disks),
        or_none(roles),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_sees_the_whole_lab() {
        let role = |converged| RoleState { converged, at: 0 };
        let quay = Row {
            name: "quay".into(),
            state: "running".into(),
            address: Some("192.168.254.12".into()),
            memory_mib: 2048,
            vcpus: 2,
            uptime_seconds: Some(7_500),
            disks: vec![
                Disk { target: "vda".into(), path: "/p/a".into(), bytes: Some(4 << 30) },
                Disk { target: "vdb".into(), path: "/p/b".into(), bytes: None },
            ],
            roles: IndexMap::from([("docker".into(), role(true)), ("quay".into(), role(false))]),
            ..Row::default()
        };
        let absent = Row { name: "db".into(), state: "absent".into(), ..Row::default() };
        insta::assert_snapshot!(render("quay", &[quay, absent]), @r"
        VM    state    address         up         vcpus  memory    disks           roles
        quay  running  192.168.254.12  2 h 5 min  2      2048 MiB  vda 4 GiB, vdb  docker, quay (not finished)
        db    absent   -               -          -      -         -               -
        ");
        assert_eq!(render("quay", &[]), "the lab quay has no VMs\n");
    }
}
