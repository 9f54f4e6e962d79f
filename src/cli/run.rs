use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use clap::Args;

use super::common::{CommonArgs, Prepared};
use super::execute::{self, Execution, Exit, Output};
use super::lab::{Declared, Held, Lab, VmNames, WaitArgs, is_provisioned, wanted_private};
use super::plan::Go;
use super::program::Program;
use super::say::show;
use super::{ask, here, listing, tell};
use crate::diag::Diagnostic;
use crate::engine::{Event, Sink};
use crate::inventory::{VarMap, parse_extra_vars};
use crate::lab::{Converged, private};
use crate::playbook::{Folder, Loader, Playbook};
use crate::report::{RolesSeen, unclaimed_hint};
use crate::vars::Level;

/// Options of `quaylab run`, under ansible-playbook's names.
#[derive(Debug, Args)]
pub(super) struct RunArgs {
    /// Playbooks; without any, quaylab's own, which brings up the lab.
    playbooks: Vec<PathBuf>,
    #[command(flatten)]
    pub(super) common: CommonArgs,
    /// Only tasks with these tags.
    #[arg(short, long, value_delimiter = ',')]
    pub(super) tags: Vec<String>,
    /// No tasks with these tags.
    #[arg(long, value_delimiter = ',')]
    pub(super) skip_tags: Vec<String>,
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
    /// Restart VMs and networks of the lab that run, where what is declared cannot be changed while they do.
    #[arg(long)]
    pub(super) allow_restart: bool,
    /// Make this host's VM and its disks anew: what is on them is lost. May be given several times.
    #[arg(long, value_name = "HOST")]
    pub(super) replace: Vec<String>,
    /// Answer yes where something would be restarted or replaced.
    #[arg(short, long)]
    pub(super) yes: bool,
    /// Let this machine find the guests by name, until the lab is destroyed.
    #[arg(long)]
    host_dns: bool,
    #[command(flatten)]
    wait: WaitArgs,
}

impl RunArgs {
    /// What the roles may do to a lab that is there, as the variables in which they look for it.
    fn choices(&self, prepared: &Prepared) -> Result<VarMap> {
        let mut choices = serde_json::Map::new();
        if self.allow_restart {
            choices.insert(ALLOW_RESTART.into(), true.into());
        }
        if !self.replace.is_empty() {
            let names = VmNames::of(&prepared.inventory);
            let meant = |name: &String| names.meant(name);
            let hosts = self.replace.iter().map(meant).collect::<Result<Vec<_>, _>>()?;
            choices.insert("quaylab_replace".into(), hosts.into());
        }
        Ok(parse_extra_vars(&serde_json::Value::Object(choices).to_string(), &prepared.vault)?)
    }
}

/// The role that makes VMs.
const VM_ROLE: &str = "vm";

/// Where the roles look for whether they may restart.
const ALLOW_RESTART: &str = "quaylab_allow_restart";

/// What is read before anything is joined or touched.
pub(super) struct Read {
    pub(super) prepared: Prepared,
    loader: Loader,
    playbooks: Vec<(String, Playbook)>,
}

impl Read {
    pub(super) fn new(args: &RunArgs, program: Program) -> Result<Self> {
        let ansible = program != Program::Quaylab;
        let prepared = args.common.prepare(ansible.then_some("/etc/ansible/hosts"))?;
        let mut roles_path = prepared.settings.roles_path.clone();
        if ansible && roles_path.is_empty() {
            roles_path.extend(usual_roles());
        }
        roles_path.extend(here::roles());
        let loader = Loader::new(roles_path)
            .with_vault(prepared.vault.clone())
            .knowing(Level::Extra, &args.common.extra_vars(&prepared.vault)?);
        let playbooks = read_playbooks(&loader, &args.playbooks)?;
        Ok(Self { prepared, loader, playbooks })
    }

    /// Refuses what is declared of the lab and cannot be made, before anything is touched; returns what else is to be told.
    fn judged(&self, args: &RunArgs) -> Result<Vec<Diagnostic>> {
        let inventory = &self.prepared.inventory;
        let (extra, hosts) = (args.common.extra_vars(&self.prepared.vault)?, args.common.selected(inventory));
        let mut warnings = Vec::new();
        for (_, playbook) in &self.playbooks {
            let judged = Declared { inventory, playbook, extra: &extra }.judge(&hosts);
            if let Some(refused) = judged.refused.into_iter().next() {
                return Err(refused.into());
            }
            warnings.extend(judged.warnings);
        }
        Ok(warnings)
    }

    /// Refuses hosts that would share a VM, before anything is touched.
    fn one_vm_a_host(&self, args: &RunArgs) -> Result<()> {
        let inventory = &self.prepared.inventory;
        let plays = self.playbooks.iter().flat_map(|(_, playbook)| &playbook.plays);
        let mut hosts = Vec::new();
        for play in plays.filter(|play| play.roles.iter().any(|role| role.name == VM_ROLE)) {
            // A pattern that cannot be read yet is refused by the run itself.
            hosts.extend(inventory.select(&play.pattern()).map(|(hosts, _)| hosts).unwrap_or_default());
        }
        let hypervisors =
            inventory.groups().into_iter().any(|(group, all)| group == "hypervisor" && !all.is_empty());
        if hosts.is_empty() || !hypervisors {
            return Ok(());
        }
        let names = VmNames::with(inventory, &args.common.extra_vars(&self.prepared.vault)?);
        hosts.retain(|host| is_provisioned(inventory, host));
        Ok(names.unique(&hosts, inventory)?)
    }

    /// Answers the options that only ask what there is; `None` where none was given.
    pub(super) fn listed(&self, args: &RunArgs, program: Program) -> Result<Option<ExitCode>> {
        let asked = args.list_tasks || args.list_tags || args.common.list_hosts || args.syntax_check;
        asked.then(|| list(args, &self.prepared, &self.playbooks, program)).transpose()
    }
}

/// A run over a lab: its hypervisor is joined.
pub(super) struct LabRun<'a> {
    pub(super) args: &'a RunArgs,
    pub(super) read: &'a Read,
    pub(super) execution: Execution<'a>,
    pub(super) warnings: Vec<Diagnostic>,
    /// A private hypervisor that is there for a check only.
    passing_hypervisor: bool,
}

impl<'a> LabRun<'a> {
    /// Call it before any thread exists: namespaces may be joined.
    pub(super) fn open(args: &'a RunArgs, read: &'a Read, program: Program, check: bool) -> Result<Self> {
        let ansible = program != Program::Quaylab;
        let choices = args.choices(&read.prepared)?;
        read.one_vm_a_host(args)?;
        let judged = read.judged(args)?;
        let inventory = &read.prepared.inventory;
        let held = match (program, check) {
            (Program::Quaylab, false) => {
                Held::change(inventory, "quaylab run", args.wait)?.claimed(args.playbooks.is_empty())?
            }
            (Program::Quaylab, true) => Held::look(Lab::of(inventory)?, "quaylab plan")?,
            // Ansible's programs run side by side.
            _ => Held::look(Lab::of(inventory)?, program.name())?,
        };
        let private = wanted_private(inventory)?;
        let wants_lab = !ansible && args.playbooks.is_empty() || !matches!(private, private::Wanted::Never);
        let mut brought_up = false;
        if wants_lab {
            // One that was there before (a machine that was started anew) holds definitions, which must stay.
            let remained = private::remains();
            if let private::Entered::Private { fresh } = private::ensure_and_enter(private)? {
                brought_up = fresh && !remained;
                let how = if fresh { "brought one up" } else { "using the one that is running" };
                tell(&format!(
                    "no libvirt daemon answers at qemu:///system: {how} in namespaces of its own (libvirt_private)"
                ));
            }
        }
        let mut execution =
            Execution::open(&read.prepared, &args.common, &read.loader, held, (program, check || ansible))?;
        if wants_lab && args.playbooks.is_empty() {
            execution.refuse_anothers()?;
        }
        let mut warnings = read.prepared.warnings.clone();
        warnings.extend(judged);
        if !args.playbooks.is_empty() {
            warnings.extend(execution.introduce_guests(&args.common.selected(&read.prepared.inventory))?);
        }
        let options = &mut execution.options;
        options.extra_vars.extend(choices);
        options.tags.extend(args.tags.iter().cloned());
        options.skip_tags.extend(args.skip_tags.iter().cloned());
        options.force_handlers |= args.force_handlers;
        options.speculate = !args.no_speculate;
        options.course.start_at.clone_from(&args.start_at_task);
        options.course.step = args.step.then(ask::step);
        Ok(Self { args, read, execution, warnings, passing_hypervisor: check && brought_up })
    }

    /// All playbooks as one.
    pub(super) fn playbook(&self) -> Playbook {
        let first = self.read.playbooks.first();
        let folder = first.and_then(|(_, read)| read.folder.clone());
        let mut all = Playbook { folder, plays: Vec::new(), warnings: Vec::new() };
        for (_, read) in &self.read.playbooks {
            all.plays.extend(read.plays.iter().cloned());
            all.warnings.extend(read.warnings.iter().cloned());
        }
        all
    }
}

impl Drop for LabRun<'_> {
    fn drop(&mut self) {
        if self.passing_hypervisor
            && let Err(error) = private::down()
        {
            tell(&format!("the private libvirt, which was there for the check only, did not go: {error}"));
        }
    }
}

/// Runs playbooks.
pub(super) fn run(args: &RunArgs, program: Program) -> Result<ExitCode> {
    let read = Read::new(args, program)?;
    if let Some(answered) = read.listed(args, program)? {
        return Ok(answered);
    }
    let run = LabRun::open(args, &read, program, args.common.check)?;
    let exit = if program == Program::Quaylab { lab(&run)? } else { one_by_one(&run)? };
    Ok(exit.code(program))
}

/// All playbooks in one run, whose infrastructure is foretold and whose roles are remembered.
fn lab(run: &LabRun<'_>) -> Result<Exit> {
    let (args, execution) = (run.args, &run.execution);
    let check = args.common.check;
    let mut options = execution.options.clone();
    if !check {
        match super::plan::announce(run)? {
            Go::On => {}
            Go::OnWithRestarts => {
                let allow = format!("{{\"{ALLOW_RESTART}\": true}}");
                options.extra_vars.extend(parse_extra_vars(&allow, &run.read.prepared.vault)?);
            }
            Go::Stopped => return Ok(Exit::Interrupted),
            Go::Nowhere => {
                tell("nothing was changed");
                return Ok(Exit::Good);
            }
        }
    }
    let shown = execute::sink(Output::Quaylab, execution.options.verbosity);
    for warning in &run.warnings {
        shown(Event::Warning(warning.clone()));
    }
    let roles = Arc::new(RolesSeen::default());
    let seen = Arc::clone(&roles);
    let sink: Sink = Arc::new(move |event| {
        seen.see(&event);
        shown(event);
    });
    let mut summary = execution.run(run.playbook(), options, sink)?;
    if let Some(missed) = summary.no_start.take() {
        return Err(missed.into());
    }
    for vm in execution.unclaimed()? {
        tell(&format!(
            "[WARNING]: VM {vm} is of this lab and of no host in the inventory: {}",
            unclaimed_hint(&vm)
        ));
    }
    if !check {
        // With tags a role may have run in part, which says nothing about the whole of it.
        if execution.options.tags.is_empty() && execution.options.skip_tags.is_empty() {
            Converged::new(&execution.state_dir).record(&roles.finish())?;
        }
        if args.host_dns && !summary.failed() && !summary.interrupted {
            super::lab::host_dns::keep(&run.read.prepared.inventory, &execution.lab)?;
        }
    }
    Ok(Exit::of(&summary))
}

/// As ansible-playbook does: one playbook after the other, each with a recap of its own.
fn one_by_one(run: &LabRun<'_>) -> Result<Exit> {
    let sink = execute::sink(Output::Ansible, run.execution.options.verbosity);
    for warning in &run.warnings {
        sink(Event::Warning(warning.clone()));
    }
    let mut exit = Exit::Good;
    for (_, playbook) in &run.read.playbooks {
        let options = run.execution.options.clone();
        let sink = execute::sink(Output::Ansible, options.verbosity);
        let summary = run.execution.run(playbook.clone(), options, sink)?;
        if let Some(missed) = &summary.no_start {
            tell(&format!("[ERROR]: {missed}"));
        }
        exit = exit.max(Exit::of(&summary));
        if exit != Exit::Good {
            break;
        }
    }
    Ok(exit)
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
        show(&listing::playbook(name, playbook, &prepared.inventory, &wanted)?)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn read_playbooks(loader: &Loader, files: &[PathBuf]) -> Result<Vec<(String, Playbook)>> {
    let own: Vec<PathBuf> =
        if files.is_empty() { here::playbook().into_iter().collect() } else { Vec::new() };
    let named = if files.is_empty() { &own[..] } else { files };
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
