use std::fmt::Write as _;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Args;

use super::guests::login_user;
use super::identity::text;
use super::named::LabArgs;
use super::session::{self, Found, Session};
use crate::cli::say::show;
use crate::diag::Diagnostic;
use crate::inventory::short_name;
use crate::lab::{VmStatus, host_dir, host_key, login_key, write_private};
use crate::store::write_named;

/// Options of `quaylab ssh-config`.
#[derive(Debug, Args)]
pub(in crate::cli) struct SshConfigArgs {
    #[command(flatten)]
    of: LabArgs,
    /// Write it into this file instead of printing it.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Options of the hidden `quaylab connect`, which is a `ProxyCommand`.
#[derive(Debug, Args)]
pub(in crate::cli) struct ConnectArgs {
    #[command(flatten)]
    of: LabArgs,
    /// A host of the inventory, by its full or short name.
    host: String,
    #[arg(default_value_t = 22)]
    port: u16,
}

/// One host as OpenSSH needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    host: String,
    address: Option<String>,
    port: Option<String>,
    user: Option<String>,
    key: Option<PathBuf>,
    /// The file with the host key that quaylab made.
    known_hosts: Option<PathBuf>,
    proxy: Option<String>,
}

/// Prints the configuration.
pub(in crate::cli) fn run(args: &SshConfigArgs) -> Result<ExitCode> {
    let session = Session::open(&args.of)?;
    let entries = entries(&session)?;
    let config = render(&session.lab.name, &entries);
    match &args.out {
        Some(file) => {
            write_named(file, config.as_bytes())
                .with_context(|| format!("cannot write {}", file.display()))?;
        }
        None => show(&config)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The file of the lab's host keys, written anew from the keys that quaylab made.
pub(super) fn known_hosts(session: &Session, vms: &[VmStatus]) -> Result<PathBuf> {
    let state = &session.lab.state_dir;
    let file = state.join("known_hosts");
    let mut lines = String::new();
    for host in session.inventory.hosts() {
        let Some(vm) = session.names.vm_of(host) else { continue };
        if vms.iter().any(|v| v.name == vm) && host_dir(state, vm).is_dir() {
            let _ = writeln!(lines, "{host} {}", host_key(state, vm)?.public.trim_end());
        }
    }
    write_private(&file, lines.as_bytes())?;
    Ok(file)
}

fn entries(session: &Session) -> Result<Vec<Entry>> {
    let found = session::run(session.found())?;
    let vms: Vec<VmStatus> = found.iter().map(|f| f.vm.clone()).collect();
    let state = &session.lab.state_dir;
    let known = if vms.is_empty() { None } else { Some(known_hosts(session, &vms)?) };
    let key = if vms.is_empty() { None } else { Some(login_key(state, &session.lab.name)?.file) };
    let mut entries = Vec::new();
    for host in session.inventory.hosts() {
        let var = |name: &str| text(&session.inventory, host, name);
        if var("ansible_connection").as_deref() == Some("local") {
            continue;
        }
        let vm = vms.iter().find(|vm| session.names.vm_of(host) == Some(vm.name.as_str()));
        let own_key = var("ansible_ssh_private_key_file").map(PathBuf::from);
        let user = var("ansible_user");
        entries.push(match vm {
            Some(vm) => Entry {
                host: host.to_owned(),
                address: vm.address.clone(),
                port: var("ansible_port"),
                user: Some(login_user(&session.inventory, host)),
                key: key.clone(),
                known_hosts: known.clone().filter(|_| host_dir(state, &vm.name).is_dir()),
                proxy: if session.private || behind(&found, &vm.name) {
                    Some(proxy_command(session, host)?)
                } else {
                    None
                },
            },
            None => Entry {
                host: host.to_owned(),
                address: var("ansible_host"),
                port: var("ansible_port"),
                user,
                key: own_key,
                known_hosts: None,
                proxy: None,
            },
        });
    }
    Ok(entries)
}

/// Whether a guest is reached through its hypervisor only.
pub(super) fn behind(found: &[Found], vm: &str) -> bool {
    found.iter().any(|f| f.vm.name == vm && f.hypervisor.way().is_some())
}

/// The program and options that lead to guests which this machine does not reach itself: those of the private
/// hypervisor, and those behind another machine.
pub(super) fn proxy_command(session: &Session, host: &str) -> Result<String> {
    let program = std::env::current_exe().context("cannot find this program's own path")?;
    let mut command = format!("{} connect", quoted(&program)?);
    for source in session.inventory.sources() {
        let path = Path::new(source);
        // A list of hosts is no file.
        let absolute = if source.contains(',') { path.to_owned() } else { std::path::absolute(path)? };
        let _ = write!(command, " -i {}", quoted(&absolute)?);
    }
    let _ = write!(command, " {} %p", quoted(Path::new(host))?);
    Ok(command)
}

fn quoted(path: &Path) -> Result<String> {
    let path = path.to_str().context("OpenSSH's configuration takes UTF-8 paths only")?;
    // A percent sign would be a token of ssh.
    Ok(crate::host::quote(path).replace('%', "%%"))
}

fn render(lab: &str, entries: &[Entry]) -> String {
    let mut config = format!(
        "# The lab {lab}, by quaylab ssh-config. Use it with `ssh -F FILE`, or with `Include FILE` at the top of ~/.ssh/config.\n"
    );
    for entry in entries {
        let short = short_name(&entry.host);
        let both = if short == entry.host { entry.host.clone() } else { format!("{short} {}", entry.host) };
        let mut line = |text: String| {
            let _ = writeln!(config, "{text}");
        };
        line(format!("\nHost {both}"));
        // Of a guest behind the proxy, the proxy knows the address.
        match (&entry.proxy, &entry.address) {
            (Some(_), _) => line(format!("    HostName {}", entry.host)),
            (None, Some(address)) => line(format!("    HostName {address}")),
            (None, None) => line("    # It has no address: is it running?".into()),
        }
        if let Some(port) = &entry.port {
            line(format!("    Port {port}"));
        }
        if let Some(user) = &entry.user {
            line(format!("    User {user}"));
        }
        if let Some(key) = &entry.key {
            line(format!("    IdentityFile \"{}\"\n    IdentitiesOnly yes", key.display()));
        }
        if let Some(file) = &entry.known_hosts {
            line(format!(
                "    UserKnownHostsFile \"{}\"\n    HostKeyAlias {}\n    StrictHostKeyChecking yes",
                file.display(),
                entry.host
            ));
        }
        if let Some(proxy) = &entry.proxy {
            line(format!("    ProxyCommand {proxy}"));
        }
    }
    config
}

/// Joins standard input and output with a VM's SSH port, wherever it is reached from.
pub(in crate::cli) fn connect(args: &ConnectArgs) -> Result<ExitCode> {
    let session = Session::open(&args.of)?;
    let host = session.names.meant(&args.host)?;
    let own = session.names.own_vm(&host)?;
    let work = async {
        let found = session.found().await?.into_iter().find(|f| f.vm.name == own);
        let no_address =
            || Diagnostic::new(format!("{host} has no address; is it running?")).hint("quaylab status tells");
        let found = found.ok_or_else(no_address)?;
        let address = found.vm.address.as_deref().ok_or_else(no_address)?;
        let there = found
            .dial(args.port)
            .await
            .with_context(|| format!("cannot reach {address}, port {}", args.port))?;
        let (mut from, mut to) = tokio::io::split(there);
        let (mut input, mut output) = (unbuffered(std::io::stdin())?, unbuffered(std::io::stdout())?);
        // Whichever side ends first, ssh has no more to say.
        tokio::select! {
            sent = tokio::io::copy(&mut input, &mut to) => sent,
            received = tokio::io::copy(&mut from, &mut output) => received,
        }
        .context("the connection broke")?;
        Ok(ExitCode::SUCCESS)
    };
    session::run(work)
}

/// Standard input or output as it is, whatever it is: a pipe, a socket, a terminal.
fn unbuffered(standard: impl AsFd) -> Result<tokio::fs::File> {
    let own = standard.as_fd().try_clone_to_owned().context("cannot use standard input and output")?;
    Ok(tokio::fs::File::from_std(std::fs::File::from(own)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openssh_gets_all_that_it_needs() {
        let vm = Entry {
            host: "quay.quaylab.lan".into(),
            address: Some("192.168.254.12".into()),
            port: None,
            user: Some("debian".into()),
            key: Some("/state/my lab/id_ed25519".into()),
            known_hosts: Some("/state/my lab/known_hosts".into()),
            proxy: None,
        };
        let private = Entry {
            host: "db".into(),
            proxy: Some("/usr/bin/quaylab connect -i '/a b/quay.inv' db %p".into()),
            known_hosts: None,
            ..vm.clone()
        };
        let ready = Entry {
            host: "there".into(),
            address: Some("10.0.0.9".into()),
            port: Some("2222".into()),
            user: None,
            key: None,
            known_hosts: None,
            proxy: None,
        };
        insta::assert_snapshot!(render("quay", &[vm, private, ready]), @r#"
        # The lab quay, by quaylab ssh-config. Use it with `ssh -F FILE`, or with `Include FILE` at the top of ~/.ssh/config.

        Host quay quay.quaylab.lan
            HostName 192.168.254.12
            User debian
            IdentityFile "/state/my lab/id_ed25519"
            IdentitiesOnly yes
            UserKnownHostsFile "/state/my lab/known_hosts"
            HostKeyAlias quay.quaylab.lan
            StrictHostKeyChecking yes

        Host db
            HostName db
            User debian
            IdentityFile "/state/my lab/id_ed25519"
            IdentitiesOnly yes
            ProxyCommand /usr/bin/quaylab connect -i '/a b/quay.inv' db %p

        Host there
            HostName 10.0.0.9
            Port 2222
        "#);
    }
}
