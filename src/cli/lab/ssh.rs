use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result};
use clap::Args;

use super::identity::text;
use super::session::Session;
use crate::diag::{Diagnostic, closest};
use crate::lab::{host_dir, host_key, login_key, write_private};

/// Options of `quaylab ssh`.
#[derive(Debug, Args)]
pub(in crate::cli) struct SshArgs {
    /// The lab's inventory.
    #[arg(short, long, value_name = "SOURCE")]
    inventory: Vec<String>,
    /// A host of the inventory, by its full or short name.
    host: String,
    /// What to run there instead of a login shell.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

/// Becomes an `ssh` to one of the lab's VMs, with the key that quaylab logs in with and the host key that it made.
pub(in crate::cli) fn run(args: &SshArgs) -> Result<ExitCode> {
    let session = Session::open(&args.inventory)?;
    let short = |name: &str| name.split('.').next().unwrap_or(name).to_owned();
    let hosts: Vec<String> = session.inventory.hosts().map(str::to_owned).collect();
    let host =
        hosts.iter().find(|h| **h == args.host || short(h) == args.host).cloned().ok_or_else(|| {
            let near =
                closest(&args.host, hosts.iter().map(String::as_str)).map(|n| format!("did you mean {n}?"));
            Diagnostic::new(format!("the inventory has no host {:?}", args.host)).hint_opt(near)
        })?;
    let vm = session.vms()?.into_iter().find(|vm| vm.name == short(&host)).ok_or_else(|| {
        Diagnostic::new(format!("the lab {} has no VM for {host}", session.lab.name))
            .hint("bring it up with quaylab run, or use ssh itself for a machine that quaylab did not make")
    })?;
    let address =
        vm.address.ok_or_else(|| Diagnostic::new(format!("{host} has no address; is it running?")))?;
    let state = &session.lab.state_dir;
    let key = login_key(state, &session.lab.name)?;
    let mut ssh = Command::new("ssh");
    ssh.arg("-i").arg(&key.file);
    if host_dir(state, &vm.name).is_dir() {
        let known = state.join("known_hosts");
        write_private(
            &known,
            format!("{host} {}\n", host_key(state, &vm.name)?.public.trim_end()).as_bytes(),
        )?;
        ssh.arg("-o").arg(format!("UserKnownHostsFile={}", known.display()));
        ssh.arg("-o").arg(format!("HostKeyAlias={host}")).args(["-o", "StrictHostKeyChecking=yes"]);
    }
    let user = text(&session.inventory, &host, "ansible_user").unwrap_or_else(|| "cloud-user".into());
    ssh.arg(format!("{user}@{address}")).args(&args.command);
    Err(ssh.exec()).context("cannot start ssh")
}
