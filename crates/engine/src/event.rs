use std::sync::Arc;
use std::time::Duration;

use indexmap::IndexMap;

use super::stop::Left;
use crate::diag::{Diagnostic, Origin};
use crate::diff::Diff;
use crate::vars::Known;

/// What happens in a run, in order. Renderers print it; the engine prints nothing.
#[derive(Debug, Clone)]
pub enum Event {
    PlayStarted {
        name: String,
        hosts: usize,
    },
    /// Nothing to do in a play, and why.
    PlaySkipped {
        name: String,
        reason: String,
    },
    TaskStarted {
        task: Arc<TaskLabel>,
        hosts: usize,
    },
    /// The play's own course, decided for one host.
    Meta {
        task: Arc<TaskLabel>,
        host: String,
        /// Its condition did not hold.
        skipped: bool,
    },
    /// What a running task waits for.
    Progress {
        host: String,
        message: String,
    },
    /// What was noticed about a host; for those who asked for so many `-v`.
    Remark {
        host: String,
        message: String,
        verbosity: u8,
    },
    /// One item of a loop is done.
    Item {
        host: String,
        task: Arc<TaskLabel>,
        item: String,
        result: HostResult,
    },
    /// One host is done with a task.
    Result {
        host: String,
        task: Arc<TaskLabel>,
        result: HostResult,
    },
    /// A task file or role that hosts go through now; each host's own result is told as well.
    Included {
        file: String,
        hosts: Vec<String>,
        /// The loop's item, where there is a loop.
        item: Option<String>,
        task: Arc<TaskLabel>,
    },
    /// A failed attempt that will be tried again.
    Retry {
        host: String,
        task: Arc<TaskLabel>,
        left: u32,
    },
    Warning(Diagnostic),
    /// Every host of the play is out, and tasks are left.
    NoMoreHosts,
    /// The user stopped the run.
    Stopped(Left),
    Finished {
        stats: IndexMap<String, Stats>,
        elapsed: Duration,
        interrupted: bool,
    },
}

/// A task as people see it.
#[derive(Debug, Clone)]
pub struct TaskLabel {
    /// `role : name`, or the module's name.
    pub name: String,
    pub action: String,
    pub origin: Origin,
    pub handler: bool,
    /// It has a loop.
    pub looped: bool,
    /// It wants nothing said of it where all is well (`quiet` of assert).
    pub quiet: bool,
    /// It is a module's, and not the engine's own.
    pub module: bool,
}

/// How a task (or one item) went on one host.
#[derive(Debug, Clone)]
pub struct HostResult {
    pub status: Status,
    /// What `register` sees; censored where the task says `no_log`.
    pub result: Known,
    pub diff: Vec<Diff>,
    /// The host on which it ran, where that is another one.
    pub delegated: Option<String>,
    /// What to try, where it failed.
    pub hint: Option<String>,
    pub ignored: bool,
    pub elapsed: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    Ok,
    Changed,
    Skipped,
    Failed,
    Unreachable,
}

/// A host's line in the recap.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    pub ok: u32,
    pub changed: u32,
    pub unreachable: u32,
    pub failed: u32,
    pub skipped: u32,
    pub rescued: u32,
    pub ignored: u32,
}

/// Where events go.
pub type Sink = Arc<dyn Fn(Event) + Send + Sync>;
