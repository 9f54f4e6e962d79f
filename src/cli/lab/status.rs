use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use serde_json::json;

use super::session::Session;
use crate::lab::VmStatus;

/// Options of `quaylab status`.
#[derive(Debug, Args)]
pub(in crate::cli) struct StatusArgs {
    /// The lab's inventory.
    #[arg(short, long, value_name = "SOURCE")]
    inventory: Vec<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Shows the lab's VMs.
#[expect(clippy::print_stdout, reason = "what the command has to say")]
pub(in crate::cli) fn run(args: &StatusArgs) -> Result<ExitCode> {
    let session = Session::open(&args.inventory)?;
    let vms = session.vms()?;
    if args.json {
        let vms: Vec<_> = vms
            .iter()
            .map(|vm| {
                json!({
                    "name": vm.name, "state": vm.state.word(), "address": vm.address,
                    "memory_mib": vm.memory, "vcpus": vm.vcpus,
                })
            })
            .collect();
        println!("{}", serde_json::to_string_pretty(&json!({"lab": session.lab.name, "vms": vms}))?);
    } else {
        print!("{}", table(&session.lab.name, &vms));
    }
    Ok(ExitCode::SUCCESS)
}

fn table(lab: &str, vms: &[VmStatus]) -> String {
    if vms.is_empty() {
        return format!("the lab {lab} has no VMs\n");
    }
    let width = vms.iter().map(|vm| vm.name.len()).max().unwrap_or(0).max(4);
    let mut text =
        format!("{:<width$}  {:<13}  {:<15}  {:>5}  {:>8}\n", "VM", "state", "address", "vcpus", "memory");
    for vm in vms {
        let address = vm.address.as_deref().unwrap_or("-");
        text += &format!(
            "{:<width$}  {:<13}  {address:<15}  {:>5}  {:>4} MiB\n",
            vm.name,
            vm.state.word(),
            vm.vcpus,
            vm.memory
        );
    }
    text
}
