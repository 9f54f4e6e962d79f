//! `quaylab plan`: what a run would change, over all layers, with nothing touched.

use std::collections::HashSet;
use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget};

use super::execute::Exit;
use super::program::Program;
use super::run::{LabRun, Read, RunArgs};
use super::tell;
use crate::cli::say::{show, show_exactly};
use crate::diag::Diagnostic;
use crate::engine::{Event, Sink, Summary};
use crate::inventory::Inventory;
use crate::playbook::{Action, Block, Entry, Play, Playbook};
use crate::report::{Follows, INFRASTRUCTURE, LabPlan, Palette, PlanCollector, visible};
use crate::store::{write_closed, write_named};
use crate::template::Templated;
use crate::yaml::Node;

/// Options of `quaylab plan`: those of `quaylab run`, and how the plan is told.
#[derive(Debug, Args)]
pub(super) struct PlanArgs {
    #[command(flatten)]
    run: RunArgs,
    /// Exit with 0 when nothing would change, 2 when something would, 1 when that could not be found out.
    #[arg(long)]
    detailed_exitcode: bool,
    /// Print the plan as JSON.
    #[arg(long)]
    json: bool,
    /// Write the plan as JSON into this file, besides printing it.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Shows what a run would change.
pub(super) fn run(args: &PlanArgs) -> Result<ExitCode> {
    match planned(args) {
        // What 2 means is asked for: errors must not look like changes.
        Err(error) if args.detailed_exitcode => {
            let bad_input = error.downcast_ref::<Diagnostic>().is_some();
            tell(&if bad_input { format!("error: {error}") } else { format!("error: {error:#}") });
            Ok(ExitCode::FAILURE)
        }
        other => other,
    }
}

fn planned(args: &PlanArgs) -> Result<ExitCode> {
    let read = Read::new(&args.run, Program::Quaylab)?;
    if let Some(answered) = read.listed(&args.run, Program::Quaylab)? {
        return Ok(answered);
    }
    let run = LabRun::open(&args.run, &read, Program::Quaylab, true)?;
    for warning in &run.warnings {
        tell(&format!("[WARNING]: {warning}"));
    }
    let (plan, summary) = collect(&run)?;
    let json = serde_json::to_string_pretty(&plan).context("cannot write the plan")?;
    if let Some(file) = &args.out {
        write_plan(file, &format!("{json}\n")).with_context(|| format!("cannot write {}", file.display()))?;
    }
    if args.json {
        show(&(json + "\n"))?;
    } else {
        show_exactly(plan.render(Palette::detect()).as_bytes())?;
    }
    if !args.detailed_exitcode {
        return Ok(if plan.failures.is_empty() && !summary.interrupted {
            ExitCode::SUCCESS
        } else {
            Exit::of(&summary).code(Program::Quaylab)
        });
    }
    Ok(match (plan.failures.is_empty() && !summary.interrupted, plan.changes) {
        (false, _) => ExitCode::FAILURE,
        (true, true) => ExitCode::from(2),
        (true, false) => ExitCode::SUCCESS,
    })
}

/// Writes the plan whole, for its owner alone: what a run would write to hosts stands in it. What is no file (a pipe, a terminal) is written to as it is.
fn write_plan(file: &Path, text: &str) -> std::io::Result<()> {
    if file.exists() && !file.is_file() {
        return write_named(file, text.as_bytes());
    }
    write_closed(file, text.as_bytes())
}

/// Runs the playbook in check mode and gathers what it would change.
fn collect(run: &LabRun<'_>) -> Result<(LabPlan, Summary)> {
    let collector = Arc::new(PlanCollector::default());
    let seeing = Arc::clone(&collector);
    let bar = std::io::stderr()
        .is_terminal()
        .then(|| ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr()));
    let shown = bar.clone();
    let sink: Sink = Arc::new(move |event| {
        match (&event, &shown) {
            (Event::TaskStarted { task, .. }, Some(bar)) => {
                bar.enable_steady_tick(Duration::from_millis(120));
                bar.set_message(visible(&task.name).into_owned());
            }
            (Event::Progress { host, message }, Some(bar)) => {
                bar.set_message(visible(&format!("{host}: {message}")).into_owned());
            }
            (Event::Stopped(left), _) => tell(&left.to_string()),
            (Event::Warning(warning), None) => tell(&format!("[WARNING]: {warning}")),
            (Event::Warning(warning), Some(bar)) => bar.suspend(|| tell(&format!("[WARNING]: {warning}"))),
            _ => {}
        }
        seeing.see(&event);
    });
    let written = run.playbook();
    let summary = run.execution.run(written.clone(), run.execution.foretelling(), sink)?;
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    let options = &run.execution.options;
    let by_tags = !options.tags.is_empty() || !options.skip_tags.is_empty();
    let mut plan = collector.finish(&run.execution.lab.name, |host, seen| {
        // With tags it is the engine's business what of it runs.
        (!by_tags)
            .then(|| follows(&written, &run.read.prepared.inventory, host, seen))
            .filter(|f| f.tasks > 0)
    });
    plan.replacing(!run.args.replace.is_empty());
    plan.unclaimed = run.execution.unclaimed()?;
    Ok((plan, summary))
}

/// What is written for a host in the plays that are for it, without the tasks that it has come by.
fn follows(playbook: &Playbook, inventory: &Inventory, host: &str, seen: &HashSet<String>) -> Follows {
    let mut all = Follows::default();
    for play in &playbook.plays {
        let for_host =
            inventory.select(&play.pattern()).is_ok_and(|(hosts, _)| hosts.iter().any(|h| h == host));
        if for_host {
            for section in &play.sections {
                count(section, None, seen, &mut all);
            }
        }
    }
    all
}

fn count(entries: &[Entry], role: Option<&str>, seen: &HashSet<String>, all: &mut Follows) {
    for entry in entries {
        match entry {
            Entry::Task(task) if task.action != Action::Meta && !seen.contains(&task.origin.to_string()) => {
                all.tasks += 1;
                if let Some(role) = role.filter(|r| !all.roles.iter().any(|known| known == r)) {
                    all.roles.push(role.to_owned());
                }
            }
            Entry::Task(_) => {}
            Entry::Block(block) => {
                let role = block.role.as_ref().map(|r| r.name.as_str()).or(role);
                // What a rescue would do is not part of the plan.
                count(&block.tasks, role, seen, all);
                count(&block.always, role, seen, all);
            }
        }
    }
}

/// What was answered before a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Go {
    On,
    /// With what would be restarted.
    OnWithRestarts,
    Nowhere,
    /// A signal ended it before there was an answer.
    Stopped,
}

/// Before a run: says what it would change of the infrastructure, and asks where that would restart or replace
/// something.
pub(super) fn announce(run: &LabRun<'_>) -> Result<Go> {
    let mut playbook = run.playbook();
    playbook.warnings.clear();
    playbook.plays.retain_mut(only_infrastructure);
    if playbook.plays.is_empty() {
        return Ok(Go::On);
    }
    let collector = Arc::new(PlanCollector::default());
    let seeing = Arc::clone(&collector);
    let sink: Sink = Arc::new(move |event| seeing.see(&event));
    let summary = run.execution.run(playbook, run.execution.foretelling(), sink)?;
    if summary.interrupted {
        return Ok(Go::Stopped);
    }
    let mut plan = collector.finish(&run.execution.lab.name, |_, _| None);
    plan.replacing(!run.args.replace.is_empty());
    if plan.infrastructure.is_empty() {
        return Ok(Go::On);
    }
    // What else is in the hosts, and what fails, the run itself tells.
    plan.failures.clear();
    show_exactly(plan.render_brief(Palette::detect()).as_bytes())?;
    if plan.summary.replace > 0
        && !run.args.yes
        && !confirmed("go on, and lose what the marked ones hold?", "--yes")?
    {
        return Ok(Go::Nowhere);
    }
    if plan.summary.restart == 0 || run.args.allow_restart {
        return Ok(Go::On);
    }
    if run.args.yes || confirmed("go on, and restart what is marked?", "--allow-restart or --yes")? {
        return Ok(Go::OnWithRestarts);
    }
    Ok(Go::Nowhere)
}

/// Asks on the terminal; without one, refuses and names the option that answers.
pub(super) fn confirmed(question: &str, option: &str) -> Result<bool> {
    if !std::io::stdin().is_terminal() {
        return Err(Diagnostic::new(format!("there is no terminal to ask on: {question}"))
            .hint(format!("give {option} to answer yes"))
            .into());
    }
    let mut out = std::io::stderr();
    out.write_all(format!("{question} [y/N] ").as_bytes())?;
    out.flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

/// Leaves only the tasks that look after the infrastructure; `false` where a play has none. What a play asks for or
/// gathers cannot be known before it runs, so such plays are not foretold.
fn only_infrastructure(play: &mut Play) -> bool {
    if !play.prompts.is_empty() {
        return false;
    }
    let mut found = false;
    for section in &mut play.sections {
        *section = filtered(section);
        found |= !section.is_empty();
    }
    play.handlers.clear();
    play.gather_facts = Some(Templated::new("gather_facts", Node::word("false", &play.origin)));
    found
}

/// Modules that decide where the infrastructure goes; they only look.
const DECIDING: [&str; 2] = ["virt_capacity", "virt_place"];

fn filtered(entries: &[Entry]) -> Vec<Entry> {
    let foretold = |name: &str| INFRASTRUCTURE.contains(&name) || DECIDING.contains(&name);
    // What stands beside them and only notes something belongs to them.
    let beside = entries.iter().any(
        |entry| matches!(entry, Entry::Task(task) if matches!(&task.action, Action::Module(name) if foretold(name))),
    );
    let keep = |entry: &Entry| match entry {
        Entry::Task(task) => match &task.action {
            Action::Module(name) if foretold(name) => Some(entry.clone()),
            Action::SetFact if beside => Some(entry.clone()),
            _ => None,
        },
        Entry::Block(block) => {
            let tasks = filtered(&block.tasks);
            (!tasks.is_empty()).then(|| {
                let (rescue, always) = (Vec::new(), Vec::new());
                Entry::Block(Arc::new(Block { tasks, rescue, always, ..Block::clone(block) }))
            })
        }
    };
    entries.iter().filter_map(keep).collect()
}
