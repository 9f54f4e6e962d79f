use std::process::ExitCode;

use anyhow::Result;
use clap::{CommandFactory as _, Parser, Subcommand};

use super::program::{self, Program};
use super::{inventory, quay_config, run, vault};
use crate::diag::Diagnostic;
use crate::lab::LabError;
use crate::lab::private::PrivateError;

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
    /// Remove what quaylab made for an inventory, and only that.
    Destroy(super::lab::destroy::DestroyArgs),
    /// Show the lab's VMs: state, address, size.
    Status(super::lab::status::StatusArgs),
    /// Open a shell in one of the lab's VMs, or run a command there.
    Ssh(super::lab::ssh::SshArgs),
    /// Show the inventory as ansible-inventory does.
    Inventory(inventory::InventoryArgs),
    /// Encrypt, decrypt, show and edit files as ansible-vault does.
    Vault {
        #[command(subcommand)]
        command: vault::VaultCommand,
    },
    /// Check Quay's configuration before Quay is started.
    QuayConfig(quay_config::QuayConfigArgs),
    /// Print a completion script for a shell.
    Completion { shell: clap_complete::Shell },
}

/// Runs the program; the exit code is in `docs/architecture.md`.
pub fn main() -> ExitCode {
    // Ring is the one TLS provider; a second call would only say that it is there already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    if let Some(code) = program::main() {
        return code;
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        // Help and the version come as errors too; what really is one is bad input, not a task that failed.
        Err(told) => {
            let _closed = told.print();
            return if told.use_stderr() { ExitCode::from(EXIT_INPUT) } else { ExitCode::SUCCESS };
        }
    };
    match dispatch(cli) {
        Ok(code) => code,
        Err(error) => report(&error),
    }
}

fn dispatch(cli: Cli) -> Result<ExitCode> {
    match cli.command {
        Command::Run(args) => run::run(&args, Program::Quaylab),
        Command::Destroy(args) => super::lab::destroy::run(&args),
        Command::Status(args) => super::lab::status::run(&args),
        Command::Ssh(args) => super::lab::ssh::run(&args),
        Command::Inventory(args) => inventory::run(&args),
        Command::Vault { command } => vault::run(&command),
        Command::QuayConfig(args) => quay_config::run(&args),
        Command::Completion { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "quaylab", &mut std::io::stdout());
            Ok(ExitCode::SUCCESS)
        }
    }
}

#[expect(clippy::print_stderr, reason = "the one place where errors are told")]
fn report(error: &anyhow::Error) -> ExitCode {
    if let Some(diagnostic) = error.downcast_ref::<Diagnostic>() {
        eprintln!("error: {diagnostic}");
        return ExitCode::from(EXIT_INPUT);
    }
    eprintln!("error: {error:#}");
    if let Some(hint) = error.downcast_ref::<PrivateError>().and_then(PrivateError::hint) {
        eprintln!("  hint: {hint}");
    }
    if let Some(hint) = error.downcast_ref::<LabError>().and_then(LabError::hint) {
        eprintln!("  hint: {hint}");
    }
    ExitCode::from(1)
}
