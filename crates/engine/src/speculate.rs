//! Guesses which probes the next tasks will ask, and has them sent ahead.
//!
//! A wrong guess costs time and nothing else: an answer is used only for the very same question, of the same user, and only while
//! nothing has been changed since (`host::World`).

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::looping::{self, LoopNames};
use super::play::PlayRun;
use super::scope::{Context, HostScope};
use super::{action, task};
use crate::host::{Script, Shell};
use crate::modules::{Effect, registry};
use crate::playbook::{Action, Entry, Task};
use crate::value::Value;

/// The most tasks and items that are looked at for one place in the shell's window.
const LOOKED_AT: usize = 4;

/// How much is guessed before there is a shell that knows better.
const FIRST_ROOM: usize = 32;

/// The most entries that are passed by at one time, so that what is looked at grows with a play and not with its square.
const MOST_STEPS: usize = 400;

/// What comes after a task: the rest of its list and, in the list's context, what comes after the list.
#[derive(Debug)]
pub(super) struct Rest {
    entries: Arc<[Entry]>,
    from: usize,
    context: Context,
}

impl Rest {
    /// The context of one entry of a list.
    pub(super) fn after(entries: &Arc<[Entry]>, index: usize, list: &Context) -> Context {
        let rest = Self { entries: Arc::clone(entries), from: index + 1, context: list.clone() };
        Context { rest: Some(Arc::new(rest)), ..list.clone() }
    }

    /// The contexts of lists that come one after the other.
    pub(super) fn chain<const N: usize>(lists: [&Vec<Entry>; N], context: &Context) -> Vec<Context> {
        let mut contexts = vec![context.clone()];
        for list in lists.into_iter().skip(1).rev() {
            let after = contexts.last().cloned().unwrap_or_default();
            let rest = Self { entries: list.as_slice().into(), from: 0, context: after };
            contexts.push(Context { rest: Some(Arc::new(rest)), ..context.clone() });
        }
        contexts.reverse();
        contexts
    }
}

/// What is left of a task's loop.
pub(super) struct Loop<'a> {
    pub task: &'a Arc<Task>,
    pub names: &'a LoopNames,
    pub items: &'a [Value],
    pub next: usize,
}

/// What has been guessed for a host already.
#[derive(Debug, Default)]
pub(super) struct Scouted {
    /// Where the host's last task asked.
    pub(super) shell: Option<Shell>,
    generation: u64,
    /// Tasks, each by its place in memory, and items of their loops.
    seen: HashSet<(usize, usize)>,
    /// The task whose loop has its turn, and the first of its items that was not looked at.
    reached: Option<(usize, usize)>,
}

/// Whether an action of the engine leaves every host as it was.
pub(super) fn is_harmless(action: &Action) -> bool {
    matches!(
        action,
        Action::SetFact
            | Action::Debug
            | Action::Assert
            | Action::Fail
            | Action::IncludeVars
            | Action::AddHost
            | Action::GroupBy
            | Action::ValidateArgumentSpec
    )
}

/// Something may have come about by itself.
pub(super) fn time_has_passed(play: &PlayRun) {
    drop(play.run.world.change());
}

/// Keeps in mind which shell a host's tasks use.
pub(super) fn remember(play: &PlayRun, host: &str, shell: &Shell) {
    let host = play.run.host(host);
    let mut scouted = host.scouted();
    if scouted.shell.as_ref().is_none_or(|known| !known.is(shell)) {
        scouted.shell = Some(shell.clone());
    }
}

/// Sends the probes of what comes after the present task (or item) ahead, as far as they are known and there is room.
pub(super) async fn look_ahead(play: &Arc<PlayRun>, host: &str, context: &Context, left: Option<Loop<'_>>) {
    // Who is asked before each task does not want later ones to be begun.
    if !play.run.options.speculate || play.run.options.course.step.is_some() {
        return;
    }
    // Items that ask nothing take no time: what comes after them is looked at once.
    if left.as_ref().is_some_and(|left| left.next > 1 && !matches!(left.task.action, Action::Module(_))) {
        return;
    }
    let state = play.run.host(host);
    let (room, seen) = {
        let mut scouted = state.scouted();
        let room = scouted.shell.as_ref().map_or(FIRST_ROOM, Shell::room_ahead);
        if room == 0 {
            return;
        }
        let generation = play.run.world.generation();
        if scouted.generation != generation {
            scouted.generation = generation;
            scouted.seen.clear();
            scouted.reached = None;
        }
        (room, std::mem::take(&mut scouted.seen))
    };
    let patience = room * LOOKED_AT;
    let mut scout = Scout { play, host, room, patience, steps: MOST_STEPS, seen, found: Vec::new() };
    let mut goes_on = true;
    if let Some(left) = left {
        // A loop that waits between its items, or may end early, is not run ahead of.
        goes_on = left.names.pause.is_zero() && left.names.break_when.is_empty();
        if goes_on && matches!(left.task.action, Action::Module(_)) {
            let scope = HostScope::new(play, host, context).guessing();
            let task = place(left.task, 0).0;
            let reached = state.scouted().reached.filter(|(of, _)| *of == task).map_or(0, |(_, item)| item);
            let mut next = left.next.max(reached);
            while goes_on && next < left.items.len() {
                let one = next..next + 1;
                goes_on = scout.items(left.task, context, &scope, left.names, left.items, one).await;
                next += usize::from(goes_on);
            }
            state.scouted().reached = Some((task, next));
        }
    }
    let mut rest = context.rest.clone();
    while let Some(now) = rest.take().filter(|_| goes_on) {
        goes_on = scout.entries(now.entries.get(now.from..).unwrap_or_default(), &now.context).await;
        rest.clone_from(&now.context.rest);
    }
    let Scout { seen, found, .. } = scout;
    let present = {
        let mut scouted = state.scouted();
        scouted.seen = seen;
        scouted.shell.clone()
    };
    for (shell, scripts) in found {
        match &present {
            // The present task most likely asks there as well.
            Some(present) if present.is(&shell) => shell.send_along(scripts),
            _ => shell.send_ahead(scripts),
        }
    }
}

struct Scout<'a> {
    play: &'a Arc<PlayRun>,
    host: &'a str,
    room: usize,
    patience: usize,
    /// How many more entries and items are passed by.
    steps: usize,
    seen: HashSet<(usize, usize)>,
    found: Vec<(Shell, Vec<Script>)>,
}

impl Scout<'_> {
    /// Goes through a list; `false` where nothing behind it should be guessed.
    async fn entries(&mut self, entries: &[Entry], context: &Context) -> bool {
        for entry in entries {
            if !self.step() {
                return false;
            }
            let goes_on = match entry {
                Entry::Block(block) => {
                    let inner = context.inside(&block.keywords, block.role.as_ref());
                    // Boxed, since blocks stand in blocks.
                    Box::pin(self.entries(&block.tasks, &inner)).await
                        && Box::pin(self.entries(&block.always, &inner)).await
                }
                Entry::Task(task) => self.task(task, context).await,
            };
            if !goes_on {
                return false;
            }
        }
        true
    }

    /// Whether one more entry may be passed by.
    fn step(&mut self) -> bool {
        self.play.run.looked_ahead.fetch_add(1, Ordering::Relaxed);
        self.steps = self.steps.saturating_sub(1);
        self.steps > 0
    }

    async fn task(&mut self, task: &Arc<Task>, context: &Context) -> bool {
        if self.room == 0 || self.patience == 0 {
            return false;
        }
        match &task.action {
            Action::Module(_) => {}
            Action::Meta => return passes(task),
            other => return is_harmless(other),
        }
        if task.looping.is_none() && self.seen.contains(&place(task, 0)) {
            return true;
        }
        self.patience -= 1;
        let full = context.inside(&task.keywords, None);
        let outer = HostScope::new(self.play, self.host, &full).guessing();
        let shared = outer.clone().shared();
        if !context.handler && !task::chosen(self.play, task, context, &shared).unwrap_or(false) {
            return true;
        }
        let once = full.nearest(|k| k.run_once.as_ref());
        if once
            .is_some_and(|once| once.render(&self.play.run.templar, &shared).ok().flatten().unwrap_or(true))
        {
            return true;
        }
        match looping::items(&self.play.run.templar, task, &outer) {
            Ok(None) => self.guess(task, &full, &outer, 0).await,
            Ok(Some(items)) => match LoopNames::of(&self.play.run.templar, task, &shared) {
                Ok(names) if names.pause.is_zero() && names.break_when.is_empty() => {
                    self.items(task, &full, &outer, &names, &items, 0..items.len()).await
                }
                _ => false,
            },
            // It goes over what an earlier task will find out.
            Err(_) => !acts(task),
        }
    }

    async fn items(
        &mut self,
        task: &Arc<Task>,
        context: &Context,
        outer: &HostScope,
        names: &LoopNames,
        items: &[Value],
        which: Range<usize>,
    ) -> bool {
        for index in which {
            if !self.step() {
                return false;
            }
            if self.seen.contains(&place(task, index)) {
                continue;
            }
            let scope = outer.with_locals(names.locals(items, index));
            if !self.guess(task, context, &scope, index).await {
                return false;
            }
        }
        true
    }

    /// Guesses one task or item. `context` ends with the task's own keywords.
    async fn guess(&mut self, task: &Arc<Task>, context: &Context, scope: &HostScope, item: usize) -> bool {
        let Action::Module(name) = &task.action else { return true };
        let Some(module) = registry().get(name) else { return false };
        if self.room == 0 || self.patience == 0 || !task.until.is_empty() || task.retries.is_some() {
            return false;
        }
        self.patience -= 1;
        let templar = &self.play.run.templar;
        let shared = scope.clone().shared();
        for condition in context.keywords.iter().flat_map(|k| &k.when) {
            match templar.condition(condition, &shared) {
                Ok(true) => {}
                // What a condition asks for may not be known yet; most often it says that there is nothing to do.
                Ok(false) | Err(_) => return true,
            }
        }
        let acts = module.effect() == Effect::Acts;
        let Ok(delegated) = action::delegate(self.play, context, &shared) else { return !acts };
        let delegated = delegated.filter(|other| other != self.host);
        let Ok(args) = action::arguments(self.play, task, context, name, &shared) else { return !acts };
        let on = (self.host, delegated.as_deref());
        if task.background.is_some() {
            return false;
        }
        let Ok((cx, _)) = action::surroundings(self.play, task, context, on, scope, true) else {
            return false;
        };
        let Some(ahead) = module.ahead(args, &cx).await else { return !acts };
        if ahead.dear && !cx.shell.is_predictable() {
            return false;
        }
        self.seen.insert(place(task, item));
        if cx.shell.is_ahead(&ahead.script) {
            return true;
        }
        self.room -= 1;
        match self.found.last_mut().filter(|(shell, _)| shell.is(&cx.shell)) {
            Some((_, scripts)) => scripts.push(ahead.script),
            None => self.found.push((cx.shell, vec![ahead.script])),
        }
        true
    }
}

/// What tells a task (or one item of its loop) from the others of a run.
fn place(task: &Arc<Task>, item: usize) -> (usize, usize) {
    (Arc::as_ptr(task).addr(), item)
}

/// Whether a task may change anything, however things are.
pub(super) fn acts(task: &Task) -> bool {
    match &task.action {
        Action::Module(name) => registry().get(name).is_none_or(|m| m.effect() == Effect::Acts),
        other => !is_harmless(other),
    }
}

/// Whether the play most likely goes on behind a `meta` task.
fn passes(task: &Task) -> bool {
    let what = task.args.as_map().and_then(|m| m.get("_raw_params").or_else(|| m.get("free_form")));
    what.is_some_and(|node| matches!(node.key_text().as_str(), "noop" | "flush_handlers"))
}
