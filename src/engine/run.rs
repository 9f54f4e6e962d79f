use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Instant;

use indexmap::IndexMap;
use tokio_util::sync::CancellationToken;

use super::event::{Event, Sink, Stats};
use super::jobs::Jobs;
use super::options::{Options, StepAnswer};
use super::play::PlayRun;
use super::scope::Vars;
use super::speculate::Scouted;
use super::{facts, preflight, select};
use crate::diag::{Diagnostic, Origin};
use crate::host::{ConnectionSpec, Target, Traffic, World};
use crate::inventory::Inventory;
use crate::playbook::{Loader, Playbook};
use crate::template::{Templar, TemplarOptions};

/// Everything that lives as long as a run.
pub(super) struct Run {
    pub options: Options,
    pub inventory: RwLock<Inventory>,
    pub loader: Loader,
    pub templar: Templar,
    pub sink: Sink,
    /// Set when the user wants to stop.
    pub stop: CancellationToken,
    pub jobs: Jobs,
    /// `--start-at-task` has found its task; `--step` asks no more.
    started: AtomicBool,
    unasked: AtomicBool,
    hosts: Mutex<IndexMap<String, Arc<Host>>>,
    targets: Mutex<HashMap<ConnectionSpec, Target>>,
    /// Which observations are still true.
    pub world: World,
    /// Whether any play may use facts.
    pub uses_facts: bool,
}

/// What a run knows of one host.
#[derive(Debug, Default)]
pub(super) struct Host {
    state: Mutex<HostState>,
    scouted: Mutex<Scouted>,
}

#[derive(Debug, Default)]
pub(super) struct HostState {
    pub facts: Arc<Vars>,
    /// `set_fact` and registered results.
    pub set: Arc<Vars>,
    /// `include_vars`.
    pub included: Arc<Vars>,
    /// Out of the run: a task failed and nobody rescued it.
    pub failed: bool,
    pub unreachable: bool,
    /// `meta: end_host`.
    pub ended: bool,
    /// `meta: end_role`: out of the tasks of the role it is in.
    pub left_role: bool,
    /// Names, and where they were notified.
    pub notified: Vec<(String, Origin)>,
    pub stats: Stats,
    /// Counts in the recap once something ran there.
    pub seen: bool,
}

impl Host {
    pub(super) fn state(&self) -> MutexGuard<'_, HostState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn scouted(&self) -> MutexGuard<'_, Scouted> {
        self.scouted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn active(&self) -> bool {
        let state = self.state();
        !(state.failed || state.unreachable || state.ended)
    }
}

/// How a run went.
#[derive(Debug)]
pub struct Summary {
    pub stats: IndexMap<String, Stats>,
    pub interrupted: bool,
    /// What all hosts were sent.
    pub traffic: Traffic,
    /// `--start-at-task` names a task that was never come by.
    pub no_start: Option<Diagnostic>,
    /// A host is out because of a task that failed there.
    failed: bool,
}

impl Summary {
    pub fn failed(&self) -> bool {
        self.failed
    }

    pub fn unreachable(&self) -> bool {
        self.stats.values().any(|s| s.unreachable > 0)
    }
}

impl Run {
    pub(super) fn emit(&self, event: Event) {
        (self.sink)(event);
    }

    pub(super) fn warn(&self, warning: Diagnostic) {
        self.emit(Event::Warning(warning));
    }

    /// Whether tasks run by now: there is no `--start-at-task`, or its task was met.
    pub(super) fn has_started(&self) -> bool {
        self.options.course.start_at.is_none() || self.started.load(Ordering::Relaxed)
    }

    /// Whether a task of one of these names runs: it is the first, or behind it.
    pub(super) fn starts_at(&self, names: &[Option<&str>]) -> bool {
        if let (false, Some(wanted)) = (self.has_started(), &self.options.course.start_at) {
            let met = names.iter().flatten().any(|name| *name == wanted || select::fits(wanted, name));
            self.started.store(met, Ordering::Relaxed);
        }
        self.has_started()
    }

    /// Whether the person at the terminal wants this task.
    pub(super) fn agreed(&self, name: &str) -> bool {
        let Some(step) = self.options.course.step.as_ref().filter(|_| !self.unasked.load(Ordering::Relaxed))
        else {
            return true;
        };
        let answer = step(&format!("TASK: {name}"));
        self.unasked.store(answer == StepAnswer::Continue, Ordering::Relaxed);
        answer != StepAnswer::Skip
    }

    pub(super) fn host(&self, name: &str) -> Arc<Host> {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(hosts.entry(name.to_owned()).or_default())
    }

    /// One connection for each way to reach a host, however many tasks use it.
    pub(super) fn target(&self, spec: ConnectionSpec) -> Target {
        let mut targets = self.targets.lock().unwrap_or_else(PoisonError::into_inner);
        targets.entry(spec).or_insert_with_key(|spec| Target::new_in(spec.clone(), &self.world)).clone()
    }

    fn stats(&self) -> IndexMap<String, Stats> {
        let hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        hosts
            .iter()
            .filter(|(_, h)| h.state().seen)
            .map(|(name, h)| (name.clone(), h.state().stats))
            .collect()
    }
}

/// Runs a playbook that has been read and checked.
///
/// Errors are what is wrong with the input; what goes wrong on hosts is in the summary.
pub async fn run(
    playbook: Playbook,
    loader: Loader,
    options: Options,
    sink: Sink,
    stop: CancellationToken,
) -> Result<Summary, Diagnostic> {
    let started = Instant::now();
    let search_paths = playbook.plays.iter().filter_map(|p| p.folder.path()).map(ToOwned::to_owned).collect();
    let working_dir = std::env::current_dir().unwrap_or_default();
    let run = Arc::new(Run {
        uses_facts: playbook.plays.iter().any(facts::in_play),
        inventory: RwLock::new(options.inventory.clone()),
        templar: Templar::new(TemplarOptions {
            search_paths,
            working_dir,
            vault: Arc::clone(&options.vault),
        }),
        options,
        loader,
        sink,
        stop,
        jobs: Jobs::default(),
        started: AtomicBool::new(false),
        unasked: AtomicBool::new(false),
        hosts: Mutex::default(),
        targets: Mutex::default(),
        world: World::default(),
    });
    for warning in &playbook.warnings {
        run.warn(warning.clone());
    }
    let plays: Vec<Arc<_>> = playbook.plays.into_iter().map(Arc::new).collect();
    preflight::check(&run, &plays)?;
    for play in &plays {
        if run.stop.is_cancelled() {
            break;
        }
        let go_on = PlayRun::run(&run, play).await?;
        if !go_on {
            break;
        }
    }
    if run.stop.is_cancelled() {
        run.jobs.abort();
    } else {
        run.jobs.finish().await;
    }
    let targets: Vec<Target> =
        run.targets.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
    futures_util::future::join_all(targets.iter().map(Target::close)).await;
    let traffic = targets.iter().map(Target::traffic).fold(Traffic::default(), Traffic::and);
    let failed = {
        let hosts = run.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        hosts.values().any(|h| h.state().failed)
    };
    let no_start = run.options.course.start_at.as_ref().filter(|_| !run.has_started()).map(|name| {
        Diagnostic::new(format!("no task is called {name:?}"))
            .note("--start-at-task finds tasks that are there before the run, not those of includes")
            .hint("--list-tasks shows them")
    });
    let summary =
        Summary { no_start, stats: run.stats(), interrupted: run.stop.is_cancelled(), traffic, failed };
    run.emit(Event::Finished {
        stats: summary.stats.clone(),
        elapsed: started.elapsed(),
        interrupted: summary.interrupted,
    });
    Ok(summary)
}
