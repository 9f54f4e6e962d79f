use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Args;

use super::common::{CommonArgs, Prepared};
use super::execute::{self, Exit, Output};
use super::lab::wanted_private;
use super::program::Program;
use super::{ask, listing, tell};
use crate::diag::Diagnostic;
use crate::lab::private;
use crate::playbook::{Folder, Loader, Playbook};

/// Options of `quaylab run`, under ansible-playbook's names.
#[derive(Debug, Args)]
pub(super) struct RunArgs {
    /// Playbooks; without any, quaylab's own, which brings up the lab.
    playbooks: Vec<PathBuf>,
    #[command(flatten)]
    common: CommonArgs,
    /// Only tasks with these tags.
    #[arg(short, long, value_delimiter = ',')]
    tags: Vec<String>,
    /// No tasks with these tags.
    #[arg(long, value_delimiter = ',')]
    skip_tags: Vec<String>,
    /// Begin at the task of this name.
    #[arg(long, value_name = "NAME")]
    start_at_task: Option<String>,
    /// Ask before each task.
    #[arg(long)]
    step: bool,
    /// Run notified handlers even on hosts where a task failed.
    #[arg(long)]
    force_handlers: bool,
    /// Send no probes of later tasks ahead: every task is looked at when it has its turn.
    #[arg(long)]
    no_speculate: bool,
    /// Read and check everything, then stop.
    #[arg(long)]
    syntax_check: bool,
    /// Say which tasks would run, and stop.
    #[arg(long)]
    list_tasks: bool,
    /// Say which tags there are, and stop.
    #[arg(long)]
    list_tags: bool,
}

/// Runs playbooks.
pub(super) fn run(args: &RunArgs, program: Program) -> Result<ExitCode> {
    let ansible = program != Program::Quaylab;
    let prepared = args.common.prepare(ansible.then_some("/etc/ansible/hosts"))?;
    let mut roles_path = prepared.settings.roles_path.clone();
    if ansible && roles_path.is_empty() {
        roles_path.extend(usual_roles());
    }
    roles_path.push(PathBuf::from("roles"));
    let loader = Loader::new(roles_path).with_vault(prepared.vault.clone());
    let playbooks = read_playbooks(&loader, &args.playbooks)?;
    if args.list_tasks || args.list_tags || args.common.list_hosts || args.syntax_check {
        return list(args, &prepared, &playbooks, program);
    }
    // Namespaces are joined while there is still one thread only.
    let wants_lab = !ansible && args.playbooks.is_empty()
        || !matches!(wanted_private(&prepared.inventory)?, private::Wanted::Never);
    let mut brought_up = false;
    if wants_lab
        && let private::Entered::Private { fresh } =
            private::ensure_and_enter(wanted_private(&prepared.inventory)?)?
    {
        brought_up = fresh;
        let how = if fresh { "brought one up" } else { "using the one that is running" };
        tell(&format!(
            "no libvirt daemon answers at qemu:///system: {how} in namespaces of its own (libvirt_private)"
        ));
    }
    let output = if ansible { Output::Ansible } else { Output::Quaylab };
    let mut exit = None;
    for playbook in together(playbooks, ansible) {
        let summary = execute::run(&prepared, &args.common, &loader, playbook, output, |options| {
            options.tags.extend(args.tags.iter().cloned());
            options.skip_tags.extend(args.skip_tags.iter().cloned());
            options.force_handlers |= args.force_handlers;
            options.speculate = !args.no_speculate;
            options.course.start_at.clone_from(&args.start_at_task);
            options.course.step = args.step.then(ask::step);
        })?;
        let this = Exit::of(&summary);
        exit = exit.max(Some(this));
        if this != Exit::Good {
            break;
        }
    }
    if args.common.check && brought_up {
        // Only saying what would change changes nothing: what had to be there for it goes again.
        private::down()?;
    }
    Ok(exit.unwrap_or(Exit::Good).code(program))
}

/// ansible-playbook runs one playbook after the other, each with a recap of its own; quaylab runs all as one.
fn together(playbooks: Vec<(String, Playbook)>, apart: bool) -> Vec<Playbook> {
    if apart {
        return playbooks.into_iter().map(|(_, playbook)| playbook).collect();
    }
    let mut all = Playbook { plays: Vec::new(), warnings: Vec::new() };
    for (_, read) in playbooks {
        all.plays.extend(read.plays);
        all.warnings.extend(read.warnings);
    }
    vec![all]
}

/// Where ansible-playbook looks for roles unless it is told.
fn usual_roles() -> Vec<PathBuf> {
    let home = std::env::var_os("HOME").map(|home| Path::new(&home).join(".ansible/roles"));
    home.into_iter()
        .chain([PathBuf::from("/usr/share/ansible/roles"), PathBuf::from("/etc/ansible/roles")])
        .collect()
}

fn list(
    args: &RunArgs,
    prepared: &Prepared,
    playbooks: &[(String, Playbook)],
    program: Program,
) -> Result<ExitCode> {
    let plays: usize = playbooks.iter().map(|(_, p)| p.plays.len()).sum();
    if args.syntax_check && program == Program::Quaylab {
        tell(&format!("{plays} plays are well formed"));
        return Ok(ExitCode::SUCCESS);
    }
    let wanted = listing::Wanted {
        hosts: args.common.list_hosts,
        tasks: args.list_tasks && !args.syntax_check,
        tags: args.list_tags && !args.syntax_check,
        only: [&prepared.settings.run_tags[..], &args.tags].concat(),
        skip: [&prepared.settings.skip_tags[..], &args.skip_tags].concat(),
        limit: args.common.limit.clone(),
    };
    for (name, playbook) in playbooks {
        execute::print(&listing::playbook(name, playbook, &prepared.inventory, &wanted)?);
    }
    Ok(ExitCode::SUCCESS)
}

fn read_playbooks(loader: &Loader, files: &[PathBuf]) -> Result<Vec<(String, Playbook)>> {
    let own = [PathBuf::from("playbooks/quaylab.yml")];
    let named = if files.is_empty() && own[0].is_file() { &own[..] } else { files };
    if named.is_empty() {
        let playbook = loader.playbook(&Folder::Embedded("playbooks".into()), "quaylab.yml")?;
        return Ok(vec![("playbooks/quaylab.yml".into(), playbook)]);
    }
    named
        .iter()
        .map(|file| {
            let folder = file.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
            let name = file.file_name().with_context(|| format!("{} is not a playbook", file.display()))?;
            if !file.exists() {
                return Err(
                    Diagnostic::new(format!("the playbook: {} could not be found", file.display())).into()
                );
            }
            let read = loader.playbook(&Folder::Disk(folder.to_owned()), &name.to_string_lossy())?;
            Ok((file.display().to_string(), read))
        })
        .collect()
}
