use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result};
use clap::Args;

use super::guests::login_user;
use super::identity::text;
use super::named::LabArgs;
use super::session::{self, Session};
use super::ssh_config::{behind, known_hosts, proxy_command};
use crate::diag::Diagnostic;
use crate::lab::{VmStatus, host_dir, login_key};

/// Options of `quaylab ssh`.
#[derive(Debug, Args)]
pub(in crate::cli) struct SshArgs {
    #[command(flatten)]
    of: LabArgs,
    /// A host of the inventory, by its full or short name.
    host: String,
    /// What to run there instead of a login shell.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

/// Becomes an `ssh` to one of the lab's VMs, with the key that quaylab logs in with and the host key that it made.
pub(in crate::cli) fn run(args: &SshArgs) -> Result<ExitCode> {
    let session = Session::open(&args.of)?;
    let host = session.names.meant(&args.host)?;
    let own = session.names.own_vm(&host)?;
    let found = session::run(session.found())?;
    let vms: Vec<VmStatus> = found.iter().map(|f| f.vm.clone()).collect();
    let vm = vms.iter().find(|vm| vm.name == own).ok_or_else(|| {
        Diagnostic::new(format!("the lab {} has no VM for {host}", session.lab.name))
            .hint("bring it up with quaylab run, or use ssh itself for a machine that quaylab did not make")
    })?;
    let address = vm.address.as_ref().ok_or_else(|| {
        Diagnostic::new(format!("{host} has no address; is it running?")).hint("quaylab status tells")
    })?;
    let state = &session.lab.state_dir;
    let key = login_key(state, &session.lab.name)?;
    let mut ssh = Command::new("ssh");
    ssh.arg("-i").arg(&key.file);
    if host_dir(state, &vm.name).is_dir() {
        let known = known_hosts(&session, &vms)?;
        ssh.arg("-o").arg(format!("UserKnownHostsFile={}", known.display()));
        ssh.arg("-o").arg(format!("HostKeyAlias={host}")).args(["-o", "StrictHostKeyChecking=yes"]);
    }
    if behind(&found, &vm.name) {
        ssh.arg("-o").arg(format!("ProxyCommand={}", proxy_command(&session, &host)?));
    }
    let user = login_user(&session.inventory, &host);
    if let Some(port) = text(&session.inventory, &host, "ansible_port") {
        ssh.arg("-p").arg(port);
    }
    ssh.arg("-l").arg(user).arg(address);
    if !args.command.is_empty() {
        // ssh would take options after the host's name for its own.
        ssh.arg("--").args(&args.command);
    }
    Err(ssh.exec()).context("cannot start ssh")
}
