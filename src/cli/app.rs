use std::process::ExitCode;

use anyhow::Result;
use clap::{CommandFactory as _, Parser, Subcommand};

use super::program::{self, Program};
use super::reporter::report;
use super::say::{print, show_exactly, unwritten};
use super::{inventory, quay_config, run, secrets, tell, vault};

/// Bad input: syntax, inventory, options.
pub(super) const EXIT_INPUT: u8 = 5;

#[derive(Debug, Parser)]
#[command(name = "quaylab", version, about, arg_required_else_help = true, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Bring up the lab that an inventory describes, or run playbooks on it.
    Run(run::RunArgs),
    /// Show what a run would change, and change nothing.
    Plan(super::plan::PlanArgs),
    /// Look for what would keep the lab from coming up, and say what to do about it.
    Doctor(super::lab::doctor::DoctorArgs),
    /// Remove what quaylab made for an inventory, and only that.
    Destroy(super::lab::destroy::DestroyArgs),
    /// Show the lab's VMs: state, address, size.
    Status(super::lab::status::StatusArgs),
    /// Open a shell in one of the lab's VMs, or run a command there.
    Ssh(super::lab::ssh::SshArgs),
    /// Print an OpenSSH configuration for the lab's VMs, for `ssh -F` or `Include`.
    SshConfig(super::lab::ssh_config::SshConfigArgs),
    /// Join standard input and output with a VM's SSH port; what `ssh-config` uses.
    #[command(hide = true)]
    Connect(super::lab::ssh_config::ConnectArgs),
    /// Talk to a VM's serial console; ^] ends.
    Console(super::lab::console::ConsoleArgs),
    /// Start VMs of the lab.
    Start(super::lab::power::StartArgs),
    /// Ask VMs of the lab to power off, and wait until they have.
    Stop(super::lab::power::StopArgs),
    /// Stop VMs of the lab and start them again.
    Restart(super::lab::power::StopArgs),
    /// Keep the whole lab as it is now, or go back to how it was.
    Snapshot(super::lab::snapshot::SnapshotArgs),
    /// Look after the images that VMs are made from.
    Image(super::lab::image::ImageArgs),
    /// Pack what a lab needs into one file, and unpack it where there is no internet.
    Bundle(super::bundle::BundleArgs),
    /// Let this machine find the lab's guests by name, also after a run.
    HostDns(super::lab::host_dns::HostDnsArgs),
    /// Show the inventory as ansible-inventory does.
    Inventory(inventory::InventoryArgs),
    /// Encrypt, decrypt, show and edit files as ansible-vault does.
    Vault {
        #[command(subcommand)]
        command: vault::VaultCommand,
    },
    /// Write the passwords that quaylab made for a lab into a vault file of variables.
    Secrets(secrets::SecretsArgs),
    /// Check Quay's configuration before Quay is started.
    QuayConfig(quay_config::QuayConfigArgs),
    /// Write what a running registry holds as inventory data.
    Registry(super::registry::RegistryArgs),
    /// Print a completion script for a shell.
    Completion { shell: clap_complete::Shell },
}

/// Runs the program; the exit code is in `docs/architecture.md`.
pub fn main() -> ExitCode {
    if std::env::var_os("RUST_BACKTRACE").is_none() {
        // The place alone: the words of a panic may quote a secret.
        std::panic::set_hook(Box::new(|panic| {
            let place = panic.location().map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
            tell(&format!("internal error at {place}; with RUST_BACKTRACE=1 it says more"));
        }));
    }
    let code = run();
    match unwritten() {
        // What went wrong before is the worse news, and was told.
        Some(why) if code == ExitCode::SUCCESS => {
            tell(&format!("error: {why}"));
            ExitCode::FAILURE
        }
        _ => code,
    }
}

fn run() -> ExitCode {
    // Ring is the one TLS provider; a second call would only say that it is there already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    if let Some(code) = program::main() {
        return code;
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        // Help and the version come as errors too; what really is one is bad input, not a task that failed.
        Err(told) => {
            print(&told);
            return if told.use_stderr() { ExitCode::from(EXIT_INPUT) } else { ExitCode::SUCCESS };
        }
    };
    match dispatch(cli) {
        Ok(code) => code,
        Err(error) => report(&error, Program::Quaylab),
    }
}

fn dispatch(cli: Cli) -> Result<ExitCode> {
    match cli.command {
        Command::Run(args) => run::run(&args, Program::Quaylab),
        Command::Plan(args) => super::plan::run(&args),
        Command::Doctor(args) => super::lab::doctor::run(&args),
        Command::SshConfig(args) => super::lab::ssh_config::run(&args),
        Command::Connect(args) => super::lab::ssh_config::connect(&args),
        Command::Console(args) => super::lab::console::run(&args),
        Command::Start(args) => super::lab::power::start(&args),
        Command::Stop(args) => super::lab::power::stop(&args),
        Command::Restart(args) => super::lab::power::restart(&args),
        Command::Snapshot(args) => super::lab::snapshot::run(&args),
        Command::Image(args) => super::lab::image::run(&args),
        Command::Bundle(args) => super::bundle::run(&args),
        Command::HostDns(args) => super::lab::host_dns::run(&args),
        Command::Destroy(args) => super::lab::destroy::run(&args),
        Command::Status(args) => super::lab::status::run(&args),
        Command::Ssh(args) => super::lab::ssh::run(&args),
        Command::Inventory(args) => inventory::run(&args),
        Command::Vault { command } => vault::run(&command),
        Command::Secrets(args) => secrets::run(&args),
        Command::QuayConfig(args) => quay_config::run(&args),
        Command::Registry(args) => super::registry::run(&args),
        Command::Completion { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "quaylab", &mut script);
            show_exactly(&script)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}
