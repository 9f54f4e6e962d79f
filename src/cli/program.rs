//! The program's own name: called as one of Ansible's, quaylab behaves as that one.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

use super::adhoc::{self, AdHocArgs};
use super::here;
use super::inventory::{self, InventoryArgs};
use super::reporter::report;
use super::run::{self, RunArgs};
use super::say::{print, show};
use super::vault::{self, VaultCli};

/// The release whose behaviour is followed.
const CORE: &str = "2.19.14";

/// Under which name the program was called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Program {
    Quaylab,
    Playbook,
    Inventory,
    Vault,
    AdHoc,
}

impl Program {
    const NAMES: [(&'static str, Self); 4] = [
        ("ansible-playbook", Self::Playbook),
        ("ansible-inventory", Self::Inventory),
        ("ansible-vault", Self::Vault),
        ("ansible", Self::AdHoc),
    ];

    fn of(name: &Path) -> Self {
        let name = name.file_name().unwrap_or_default();
        Self::NAMES.iter().find(|(known, _)| *known == name).map_or(Self::Quaylab, |(_, program)| *program)
    }

    pub(super) fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, program)| *program == self).map_or("quaylab", |(name, _)| name)
    }
}

#[derive(Debug, Parser)]
#[command(
    disable_version_flag = true,
    about = "Runs Ansible playbooks, executing the tasks on the targeted hosts."
)]
struct PlaybookCli {
    #[command(flatten)]
    args: RunArgs,
}

#[derive(Debug, Parser)]
#[command(disable_version_flag = true, about = "Shows Ansible inventory information.")]
struct InventoryCli {
    #[command(flatten)]
    args: InventoryArgs,
}

#[derive(Debug, Parser)]
#[command(disable_version_flag = true, about = "Defines and runs a single task against a set of hosts.")]
struct AdHocCli {
    #[command(flatten)]
    args: AdHocArgs,
}

/// The program that this one was called as.
pub(super) fn called() -> Program {
    std::env::args_os().next().map_or(Program::Quaylab, |name| Program::of(Path::new(&name)))
}

/// Does what the name asks for; `None` where the name is quaylab's own.
pub(super) fn main() -> Option<ExitCode> {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let program = Program::of(Path::new(arguments.first()?));
    if program == Program::Quaylab {
        return None;
    }
    let done = if arguments.get(1).is_some_and(|a| a == "--version") {
        version(program)
    } else {
        dispatch(program, &arguments)
    };
    Some(done.unwrap_or_else(|error| report(&error, program)))
}

fn dispatch(program: Program, arguments: &[OsString]) -> Result<ExitCode> {
    let parsed = match program {
        Program::Playbook => parse::<PlaybookCli>(program, arguments).map(|c| run::run(&c.args, program)),
        Program::Inventory => parse::<InventoryCli>(program, arguments).map(|c| inventory::run(&c.args)),
        Program::Vault => parse::<VaultCli>(program, arguments).map(|c| vault::run(&c.command)),
        Program::AdHoc | Program::Quaylab => {
            parse::<AdHocCli>(program, arguments).map(|c| adhoc::run(&c.args))
        }
    };
    parsed.unwrap_or_else(|told| {
        print(&told);
        // What is wrong on the command line gives 2, as Python's parser has it.
        Ok(if told.use_stderr() { ExitCode::from(2) } else { ExitCode::SUCCESS })
    })
}

fn parse<P: Parser>(program: Program, arguments: &[OsString]) -> Result<P, clap::Error> {
    let command = P::command().name(program.name()).bin_name(program.name());
    P::from_arg_matches(&command.try_get_matches_from(arguments)?)
}

/// The first line is what programs that look for a version read.
fn version(program: Program) -> Result<ExitCode> {
    let settings = here::settings()?;
    let config = settings.files.first().and_then(|f| std::path::absolute(f).ok());
    let place = std::env::current_exe().map(|p| p.display().to_string()).unwrap_or_default();
    show(&format!(
        "{} [core {CORE}]\n  config file = {}\n  executable location = {place}\n  quaylab version = {}\n",
        program.name(),
        config.map_or_else(|| "None".to_owned(), |c| c.display().to_string()),
        env!("CARGO_PKG_VERSION"),
    ))?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_name_decides() {
        for (name, program) in [
            ("/usr/bin/ansible-playbook", Program::Playbook),
            ("ansible", Program::AdHoc),
            ("./quaylab", Program::Quaylab),
            ("ansible-doc", Program::Quaylab),
        ] {
            assert_eq!(Program::of(Path::new(name)), program, "{name}");
        }
    }

    #[test]
    fn every_command_line_is_well_formed() {
        PlaybookCli::command().debug_assert();
        InventoryCli::command().debug_assert();
        AdHocCli::command().debug_assert();
        VaultCli::command().debug_assert();
    }
}
