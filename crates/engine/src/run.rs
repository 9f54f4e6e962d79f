use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::time::{Duration, Instant};

use indexmap::IndexMap;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::event::{Event, Sink, Stats};
use super::jobs::Jobs;
use super::options::{Options, StepAnswer};
use super::play::PlayRun;
use super::speculate::Scouted;
use super::stop::Stop;
use super::{facts, preflight, select};
use crate::diag::{Diagnostic, Origin};
use crate::host::{ConnectionKind, ConnectionSpec, SshConfig, Target, Traffic, World};
use crate::inventory::{Inventory, VarsBeside};
use crate::playbook::{Loader, Play, Playbook};
use crate::template::{Templar, TemplarOptions};
use crate::vars::Vars;

/// How long tasks have to let go of what they wait for once the run was stopped. The whole run ends within a second.
const LETTING_GO: Duration = Duration::from_millis(200);

/// How long hosts have after that to end what is at work there.
const CLOSING: Duration = Duration::from_millis(500);

/// Everything that lives as long as a run.
pub(super) struct Run {
    pub options: Options,
    pub inventory: RwLock<Inventory>,
    pub loader: Loader,
    pub templar: Templar,
    pub sink: Sink,
    /// Set when the user wants to stop.
    pub stop: Stop,
    /// No play is at work any more.
    wound_up: CancellationToken,
    /// All has been told.
    over: AtomicBool,
    pub jobs: Jobs,
    /// `--start-at-task` has found its task; `--step` asks no more.
    started: AtomicBool,
    unasked: AtomicBool,
    hosts: Mutex<IndexMap<String, Arc<Host>>>,
    /// What lies beside playbooks, by their folders.
    beside: Mutex<HashMap<PathBuf, Arc<VarsBeside>>>,
    targets: Mutex<HashMap<ConnectionSpec, Target>>,
    /// Read once a host is to be reached by SSH.
    ssh_config: OnceLock<SshConfig>,
    /// Which observations are still true.
    pub world: World,
    /// Whether any play may use facts.
    pub uses_facts: bool,
    /// How many entries and items were passed by for probes ahead.
    pub looked_ahead: AtomicU64,
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
    /// How many tasks and items were looked at before their turn.
    pub looked_ahead: u64,
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
    /// The variables of a playbook's folder, read once.
    pub(super) fn beside(&self, folder: &Path) -> Arc<VarsBeside> {
        let mut known = self.beside.lock().unwrap_or_else(PoisonError::into_inner);
        let vars = || Arc::new(VarsBeside::new(folder));
        Arc::clone(known.entry(folder.to_owned()).or_insert_with(vars))
    }

    /// Tells an event; nothing after the run's own end, when what was broken off may still be computing.
    pub(super) fn emit(&self, event: Event) {
        let is_last = matches!(event, Event::Finished { .. });
        let over =
            if is_last { self.over.swap(true, Ordering::AcqRel) } else { self.over.load(Ordering::Acquire) };
        if !over {
            (self.sink)(event);
        }
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
        if let Some(target) = targets.get(&spec) {
            return target.clone();
        }
        if spec.kind == ConnectionKind::Ssh {
            for passed_over in self.ssh_config.get_or_init(SshConfig::load).passed_over(&spec) {
                self.warn(
                    Diagnostic::new(passed_over)
                        .hint("say it in the inventory: ansible_host, ansible_port, ansible_user, ansible_ssh_private_key_file, ansible_ssh_common_args"),
                );
            }
        }
        let target = Target::new_in(spec.clone(), &self.world);
        targets.insert(spec, target.clone());
        target
    }

    fn targets(&self) -> Vec<Target> {
        self.targets.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Waits for the stop, and ends what is at work on the hosts then.
    async fn break_off(self: Arc<Self>) {
        self.stop.cancelled().await;
        self.jobs.abort();
        // A task that is let go has its own way to end what it started, for which it needs the connection.
        let _busy = tokio::time::timeout(LETTING_GO, self.wound_up.cancelled()).await;
        let targets: Vec<Target> = self.targets().into_iter().chain(self.jobs.targets()).collect();
        let closing = targets.iter().map(|target| async {
            let closed = tokio::time::timeout(CLOSING, target.close()).await;
            closed.is_err().then(|| target.spec().name.clone())
        });
        let mut unclosed: Vec<String> =
            futures_util::future::join_all(closing).await.into_iter().flatten().collect();
        unclosed.sort();
        unclosed.dedup();
        self.stop.unclosed(unclosed);
    }

    async fn stopped_long_ago(&self) {
        self.stop.cancelled().await;
        tokio::time::sleep(LETTING_GO).await;
    }

    /// The handlers that hosts were notified of and that did not run.
    fn waiting_handlers(&self) -> Vec<String> {
        let hosts: Vec<Arc<Host>> =
            self.hosts.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
        let mut names = Vec::new();
        for host in hosts {
            for (name, _) in &host.state().notified {
                if !names.contains(name) {
                    names.push(name.clone());
                }
            }
        }
        names
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

async fn all_plays(run: &Arc<Run>, plays: &[Arc<Play>]) -> Result<(), Diagnostic> {
    preflight::check(run, plays)?;
    for play in plays {
        if run.stop.is_cancelled() {
            return Ok(());
        }
        run.stop.next_play();
        let go_on = PlayRun::run(run, play).await?;
        if !go_on {
            break;
        }
    }
    run.jobs.finish().await;
    Ok(())
}

/// Runs a playbook that has been read and checked.
///
/// Errors are what is wrong with the input; what goes wrong on hosts is in the summary.
pub async fn run(
    playbook: Playbook,
    loader: Loader,
    options: Options,
    sink: Sink,
    stop: impl Into<Stop>,
) -> Result<Summary, Diagnostic> {
    let started = Instant::now();
    let search_paths = playbook.plays.iter().filter_map(|p| p.folder.path()).map(ToOwned::to_owned).collect();
    let working_dir = playbook.working_dir();
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
        stop: stop.into(),
        wound_up: CancellationToken::new(),
        over: AtomicBool::new(false),
        jobs: Jobs::default(),
        started: AtomicBool::new(false),
        unasked: AtomicBool::new(false),
        hosts: Mutex::default(),
        beside: Mutex::default(),
        targets: Mutex::default(),
        ssh_config: OnceLock::new(),
        world: World::default(),
        looked_ahead: AtomicU64::new(0),
    });
    for warning in &playbook.warnings {
        run.warn(warning.clone());
    }
    let plays: Vec<Arc<Play>> = playbook.plays.into_iter().map(Arc::new).collect();
    run.stop.plays(plays.iter().map(|play| play.name.as_ref().unwrap_or(&play.hosts).key_text()));
    // On a thread of its own: while a template is computed here, nothing else is done here.
    let breaking_off = AbortOnDropHandle::new(tokio::spawn(Arc::clone(&run).break_off()));
    let ended = tokio::select! {
        biased;
        ended = all_plays(&run, &plays) => ended,
        // Whatever hangs, what was at work has been ended by now or cannot be.
        () = run.stopped_long_ago() => Ok(()),
    };
    run.wound_up.cancel();
    if run.stop.is_cancelled() {
        // It never panics; where it did, there would be nothing left to close.
        let _closed = breaking_off.await;
    }
    ended?;
    let targets = run.targets();
    if !run.stop.is_cancelled() {
        tokio::select! {
            _ = futures_util::future::join_all(targets.iter().map(Target::close)) => {}
            () = run.stopped_long_ago() => {}
        }
    }
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
    if run.stop.is_cancelled() {
        run.stop.handlers(run.waiting_handlers());
        run.emit(Event::Stopped(run.stop.left()));
    }
    let summary = Summary {
        no_start,
        stats: run.stats(),
        interrupted: run.stop.is_cancelled(),
        traffic,
        looked_ahead: run.looked_ahead.load(Ordering::Relaxed),
        failed,
    };
    run.emit(Event::Finished {
        stats: summary.stats.clone(),
        elapsed: started.elapsed(),
        interrupted: summary.interrupted,
    });
    Ok(summary)
}
