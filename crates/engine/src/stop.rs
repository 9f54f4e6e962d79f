//! How a run is asked to stop, and what it leaves then.

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use indexmap::IndexMap;
use tokio_util::sync::{CancellationToken, WaitForCancellationFuture};

use super::event::TaskLabel;
use crate::playbook::{Action, Entry, Play, Task};
use crate::yaml::Node;

/// How many names of tasks, plays and hosts are told of each kind.
const TOLD: usize = 5;

/// Asks a run to stop, from whatever thread, and says what it is at.
#[derive(Clone, Default)]
pub struct Stop {
    token: CancellationToken,
    board: Arc<Mutex<Board>>,
}

impl From<CancellationToken> for Stop {
    fn from(token: CancellationToken) -> Self {
        Self { token, board: Arc::default() }
    }
}

/// What is under way.
#[derive(Default)]
struct Board {
    at_work: IndexMap<String, Arc<TaskLabel>>,
    /// Hosts that a task which has begun has not come to.
    to_come: IndexMap<String, Arc<TaskLabel>>,
    play: Option<Arc<Play>>,
    name: String,
    /// Tasks of the play that have had their turn, by their place in memory.
    begun: HashSet<usize>,
    /// Plays that have not begun.
    plays: Vec<String>,
    handlers: Vec<String>,
    /// Hosts whose connections could not be closed in time.
    unclosed: Vec<String>,
}

impl Stop {
    pub fn ask(&self) {
        self.token.cancel();
    }

    pub fn is_cancelled(&self) -> bool {
        self.token.is_cancelled()
    }

    pub fn cancelled(&self) -> WaitForCancellationFuture<'_> {
        self.token.cancelled()
    }

    fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn plays(&self, all: impl Iterator<Item = String>) {
        self.board().plays = all.collect();
    }

    pub(super) fn begin_play(&self, play: &Arc<Play>, name: &str) {
        let mut board = self.board();
        board.begun.clear();
        board.play = Some(Arc::clone(play));
        name.clone_into(&mut board.name);
    }

    /// The next play has had its turn, whether it had hosts or not.
    pub(super) fn next_play(&self) {
        let mut board = self.board();
        if !board.plays.is_empty() {
            board.plays.remove(0);
        }
    }

    pub(super) fn begin_task(&self, task: &Arc<Task>) {
        self.board().begun.insert(Arc::as_ptr(task).addr());
    }

    /// A task will come to these hosts.
    pub(super) fn wait(&self, task: &Arc<TaskLabel>, hosts: &[String]) {
        self.board().to_come.extend(hosts.iter().map(|host| (host.clone(), Arc::clone(task))));
    }

    pub(super) fn begin(&self, host: &str, task: &Arc<TaskLabel>) {
        let mut board = self.board();
        board.to_come.swap_remove(host);
        board.at_work.insert(host.to_owned(), Arc::clone(task));
    }

    pub(super) fn end(&self, host: &str) {
        // What was at work when the stop was asked for stays on the board.
        if !self.is_cancelled() {
            self.board().at_work.swap_remove(host);
        }
    }

    pub(super) fn handlers(&self, waiting: Vec<String>) {
        self.board().handlers = waiting;
    }

    pub(super) fn unclosed(&self, hosts: Vec<String>) {
        self.board().unclosed = hosts;
    }

    /// What the run leaves where it is stopped now.
    pub fn left(&self) -> Left {
        let board = self.board();
        let mut tasks = Vec::new();
        for section in board.play.iter().flat_map(|play| &play.sections) {
            not_begun(section, &board.begun, &mut tasks);
        }
        Left {
            at_work: by_task(&board.at_work),
            to_come: by_task(&board.to_come),
            play: board.name.clone(),
            tasks,
            plays: board.plays.clone(),
            handlers: board.handlers.clone(),
            unclosed: board.unclosed.clone(),
        }
    }
}

/// Tasks with the hosts that stand at them.
fn by_task(hosts: &IndexMap<String, Arc<TaskLabel>>) -> Vec<(String, Vec<String>)> {
    let mut tasks: IndexMap<String, Vec<String>> = IndexMap::new();
    for (host, task) in hosts {
        tasks.entry(format!("{:?} ({})", task.name, task.origin)).or_default().push(host.clone());
    }
    tasks.into_iter().collect()
}

/// Tasks as written: a loop counts once, an include as one; what a rescue would do is not expected to run.
fn not_begun(entries: &[Entry], begun: &HashSet<usize>, found: &mut Vec<String>) {
    for entry in entries {
        match entry {
            Entry::Task(task)
                if task.action != Action::Meta && !begun.contains(&Arc::as_ptr(task).addr()) =>
            {
                found.push(task.name.as_ref().map_or_else(|| task.written.clone(), Node::key_text));
            }
            Entry::Task(_) => {}
            Entry::Block(block) => {
                not_begun(&block.tasks, begun, found);
                not_begun(&block.always, begun, found);
            }
        }
    }
}

/// What a run that was stopped leaves.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Left {
    /// What was broken off: tasks, and the hosts that were at them.
    pub at_work: Vec<(String, Vec<String>)>,
    /// The same tasks, and the hosts to which they had not come.
    pub to_come: Vec<(String, Vec<String>)>,
    pub play: String,
    /// Tasks of that play that have not begun.
    pub tasks: Vec<String>,
    /// Plays that have not begun.
    pub plays: Vec<String>,
    /// Handlers that were notified and have not run.
    pub handlers: Vec<String>,
    /// Hosts that did not answer any more: what was started there may go on.
    pub unclosed: Vec<String>,
}

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("what was left:")?;
        for (task, hosts) in &self.at_work {
            write!(f, "\n  broken off: {task} on {}", some(hosts))?;
        }
        for (task, hosts) in &self.to_come {
            write!(f, "\n  not begun: {task} on {}", some(hosts))?;
        }
        if self.at_work.is_empty() {
            f.write_str("\n  broken off: nothing, no task was at work")?;
        }
        for (what, names) in [
            (format!("not begun in the play {:?}", self.play), &self.tasks),
            ("plays not begun".to_owned(), &self.plays),
            ("notified and not run".to_owned(), &self.handlers),
            ("did not answer any more, so that what was started there may go on".to_owned(), &self.unclosed),
        ] {
            if !names.is_empty() {
                write!(f, "\n  {what}: {}", some(names))?;
            }
        }
        Ok(())
    }
}

/// The first names of a list, and how many more there are.
fn some(names: &[String]) -> String {
    let shown = names.iter().take(TOLD).map(String::as_str).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(TOLD) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_told_shortly() {
        let names = |n: usize| (0..n).map(|i| format!("n{i}")).collect::<Vec<_>>();
        let left = Left {
            at_work: vec![("\"Wait\" (p.yml:3:7)".into(), names(7))],
            to_come: vec![("\"Wait\" (p.yml:3:7)".into(), names(1))],
            play: "lab".into(),
            tasks: names(2),
            plays: names(1),
            handlers: Vec::new(),
            unclosed: names(1),
        };
        insta::assert_snapshot!(left, @r#"
        what was left:
          broken off: "Wait" (p.yml:3:7) on n0, n1, n2, n3, n4 and 2 more
          not begun: "Wait" (p.yml:3:7) on n0
          not begun in the play "lab": n0, n1
          plays not begun: n0
          did not answer any more, so that what was started there may go on: n0
        "#);
        insta::assert_snapshot!(Left::default(), @r"
        what was left:
          broken off: nothing, no task was at work
        ");
    }
}
