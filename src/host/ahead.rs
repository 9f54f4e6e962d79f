//! Probes that are sent before anyone asks for their answers.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::future::{BoxFuture, FutureExt as _, Shared};
use tokio::sync::oneshot;

use super::session::Session;
use super::world::{ShellId, World};
use super::{HostError, Reply, Script, merge};

/// Probes in flight at first, at most, and after it was given up.
const FIRST: usize = 32;
const MOST: usize = 256;
const AGAIN: usize = 4;

/// How often in a row nothing must have changed before it is tried again.
const CALM: u32 = 2;

/// How many answers must have been of use before probes that are dear are sent ahead.
const TRUSTED: usize = 3;

/// The probes that one shell was sent ahead, and how many more it may be.
#[derive(Debug)]
pub(super) struct Ahead {
    sent: HashMap<Script, Sent>,
    /// To be sent as soon as there is a shell.
    waiting: Vec<Script>,
    window: usize,
    /// Counts what was sent.
    next: u64,
    /// Answers used since the window grew, and since one was thrown away.
    used: usize,
    trust: usize,
    /// How many probes in a row saw the same generation.
    calm: u32,
    last: u64,
}

#[derive(Debug)]
struct Sent {
    generation: u64,
    number: u64,
    /// How often it was asked for: it answers the same question again as long as nothing has changed, but not for ever.
    uses: usize,
    answer: Answer,
}

/// An answer that is on its way.
#[derive(Debug)]
pub(super) enum Answer {
    One(oneshot::Receiver<Result<Reply, HostError>>),
    /// A part of a merged request's answer.
    Part(Shared<BoxFuture<'static, Arc<Vec<Option<Reply>>>>>, usize),
}

impl Answer {
    /// The reply; `None` where the probe has to be asked anew.
    pub(super) async fn reply(self) -> Option<Reply> {
        match self {
            Self::One(reply) => reply.await.ok()?.ok(),
            Self::Part(all, index) => all.await.get(index).cloned().flatten(),
        }
    }
}

impl Default for Ahead {
    fn default() -> Self {
        Self {
            sent: HashMap::new(),
            waiting: Vec::new(),
            window: FIRST,
            next: 0,
            used: 0,
            trust: 0,
            calm: 0,
            last: 0,
        }
    }
}

impl Ahead {
    /// Throws away what is out of date; much of it means that guessing does not pay here.
    fn forget(&mut self, generation: u64) {
        let before = self.unused();
        self.sent.retain(|_, sent| sent.generation == generation);
        if self.unused() < before {
            self.window = if self.window > AGAIN { (self.window / 8).max(AGAIN) } else { 0 };
            (self.used, self.trust, self.calm) = (0, 0, 0);
        }
    }

    fn unused(&self) -> usize {
        self.sent.values().filter(|sent| sent.uses == 0).count()
    }

    /// How many more probes may be sent now; none while there is still enough in flight.
    pub(super) fn room(&mut self, world: &World, shell: ShellId) -> usize {
        let Some(generation) = world.observed_by(shell) else { return 0 };
        self.forget(generation);
        let open = self.unused() + self.waiting.len();
        if open * 2 > self.window { 0 } else { self.window - open }
    }

    pub(super) fn is_trusted(&self) -> bool {
        self.trust >= TRUSTED
    }

    pub(super) fn knows(&self, script: &Script) -> bool {
        self.sent.contains_key(script) || self.waiting.contains(script)
    }

    pub(super) fn wait(&mut self, scripts: Vec<Script>) {
        for script in scripts {
            if !self.knows(&script) {
                self.waiting.push(script);
            }
        }
    }

    /// What waits for a shell, which is there now.
    pub(super) fn take_waiting(&mut self) -> Vec<Script> {
        std::mem::take(&mut self.waiting)
    }

    /// Sends probes, those of a kind as one request. What the shell may not observe yet is left out.
    pub(super) fn send(&mut self, session: &Session, world: &World, shell: ShellId, scripts: Vec<Script>) {
        let Some(generation) = world.observed_by(shell) else { return };
        self.forget(generation);
        let new: Vec<Script> = scripts.into_iter().filter(|s| !self.sent.contains_key(s)).collect();
        // Groups take probes out of the order of their tasks, by which it is told later what nobody will ask for.
        let turns: HashMap<Script, u64> = new.iter().cloned().zip(self.next..).collect();
        self.next += new.len() as u64;
        for group in merge::groups(new) {
            let turn = |script: &Script| turns.get(script).copied().unwrap_or_default();
            if let [script] = group.as_slice() {
                if let Some(reply) = session.send(script.clone(), true) {
                    self.keep(script.clone(), generation, turn(script), Answer::One(reply));
                }
                continue;
            }
            let Some(reply) = session.send(merge::merged(&group), true) else { continue };
            let scripts = group.clone();
            let all = async move {
                match reply.await {
                    Ok(Ok(reply)) => Arc::new(merge::split(&scripts, &reply)),
                    _ => Arc::new(vec![None; scripts.len()]),
                }
            };
            let all = all.boxed().shared();
            for (index, script) in group.into_iter().enumerate() {
                let number = turn(&script);
                self.keep(script, generation, number, Answer::Part(all.clone(), index));
            }
        }
    }

    fn keep(&mut self, script: Script, generation: u64, number: u64, answer: Answer) {
        self.sent.insert(script, Sent { generation, number, uses: 0, answer });
    }

    /// The answer to a probe that is asked for now, if it was sent ahead and nothing has changed since.
    pub(super) fn take(&mut self, script: &Script, generation: u64) -> Option<Answer> {
        self.calm = if generation == self.last { self.calm + 1 } else { 0 };
        self.last = generation;
        if self.window == 0 && self.calm >= CALM {
            self.window = AGAIN;
        }
        let sent = self.sent.remove(script)?;
        if sent.generation != generation {
            self.sent.insert(script.clone(), sent);
            self.forget(generation);
            return None;
        }
        // Tasks come in order: what was sent before this one and not asked for was a wrong guess.
        let oldest = sent.number.saturating_sub(MOST as u64);
        self.sent.retain(|_, other| other.number > sent.number || other.uses > 0 && other.number > oldest);
        if let (Answer::Part(all, index), true) = (&sent.answer, sent.uses < MOST) {
            let again = Sent { uses: sent.uses + 1, answer: Answer::Part(all.clone(), *index), ..sent };
            self.sent.insert(script.clone(), again);
        }
        if sent.uses > 0 {
            return Some(sent.answer);
        }
        self.used += 1;
        self.trust += 1;
        if self.used >= self.window {
            self.window = (self.window * 2).min(MOST);
            self.used = 0;
        }
        Some(sent.answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(ahead: &mut Ahead, name: &str, generation: u64) {
        let (_, reply) = oneshot::channel();
        let number = ahead.sent.len() as u64;
        ahead.keep(Script::new(name), generation, number, Answer::One(reply));
    }

    #[test]
    fn an_answer_is_used_only_while_nothing_has_changed() {
        let world = World::default();
        let mut ahead = Ahead::default();
        for name in ["a", "b"] {
            sent(&mut ahead, name, 0);
        }
        assert!(ahead.take(&Script::new("a"), world.generation()).is_some());
        assert!(ahead.take(&Script::new("a"), world.generation()).is_none());
        drop(world.change());
        assert!(ahead.take(&Script::new("b"), world.generation()).is_none());
        assert!(!ahead.knows(&Script::new("b")));
    }

    #[test]
    fn guesses_that_do_not_pay_are_given_up_and_tried_again_in_calm() {
        let world = World::default();
        let mut ahead = Ahead::default();
        assert_eq!(ahead.room(&world, 1), FIRST);
        for expected in [AGAIN, 0] {
            sent(&mut ahead, "x", world.generation());
            drop(world.change());
            assert_eq!(ahead.room(&world, 1), expected);
        }
        for round in 0..4 {
            assert!(ahead.take(&Script::new("y"), world.generation()).is_none());
            assert_eq!(ahead.room(&world, 1), if round < CALM { 0 } else { AGAIN }, "{round}");
        }
    }
}
