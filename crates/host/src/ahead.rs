//! Probes that are sent before anyone asks for their answers.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::{BoxFuture, FutureExt as _, Shared};
use tokio::sync::oneshot;

use super::merge::Answered;
use super::session::{Session, Terms};
use super::spot::{Spot, Standing};
use super::world::{Effect, ShellId, World};
use super::{HostError, Reply, Script, Step, merge};

/// Probes in flight at first, at most, and after it was given up.
const FIRST: usize = 32;
const MOST: usize = 256;
const AGAIN: usize = 4;

/// What is sent ahead only reads, and may be wanted by more than one.
const PROBE: Terms = Terms { observes: true, ends_with_caller: false };

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
    /// Counts what was sent ahead, from one.
    next: u64,
    /// Answers used since the window grew, and since one was thrown away.
    used: usize,
    trust: usize,
    /// How many probes in a row saw the same generation.
    calm: u32,
    last: u64,
    /// Somebody sends probes ahead.
    wanted: bool,
    /// Where paths led when they were seen, and when that was.
    places: HashMap<String, (Spot, u64)>,
}

#[derive(Debug)]
struct Sent {
    /// What it was seen at, or was found to stand at later.
    generation: u64,
    number: u64,
    /// How often it was asked for: it answers the same question again as long as it stands, but not for ever.
    uses: usize,
    reply: Coming,
}

/// A reply that is on its way.
#[derive(Debug)]
enum Coming {
    One(oneshot::Receiver<Result<Reply, HostError>>),
    /// A part of a merged request's reply.
    Part(Parts, usize),
}

type Parts = Shared<BoxFuture<'static, Arc<Vec<Option<Answered>>>>>;

/// An answer that may be used, once it is there.
#[derive(Debug)]
pub(super) struct Answer {
    /// What it was seen at.
    since: u64,
    /// Something has been changed since, and whether that matters is to be seen when the reply is there.
    doubtful: bool,
    reply: Coming,
}

impl Answer {
    /// The reply; `None` where the probe has to be asked anew.
    pub(super) async fn get(self, slot: &Mutex<Ahead>, world: &World) -> Option<Reply> {
        match self.reply {
            Coming::One(reply) => reply.await.ok()?.ok(),
            Coming::Part(all, index) => {
                let answered = all.await.get(index).cloned().flatten()?;
                if self.doubtful && !answered.stands(world, self.since) {
                    return None;
                }
                let mut ahead = slot.lock().unwrap_or_else(PoisonError::into_inner);
                ahead.learn(answered.spots.unwrap_or_default(), self.since);
                Some(answered.reply)
            }
        }
    }
}

impl Answered {
    fn stands(&self, world: &World, since: u64) -> bool {
        self.spots.as_ref().is_some_and(|spots| world.stands(spots.iter().map(|(_, spot)| spot), since))
    }
}

impl Sent {
    /// Whether it still says how things are; what has not arrived yet is given the benefit of the doubt.
    fn stands(&mut self, world: &World) -> bool {
        let now = world.generation();
        if self.generation == now {
            return true;
        }
        let Coming::Part(all, index) = &self.reply else { return false };
        let Some(all) = all.clone().now_or_never() else { return world.is_calm_since(self.generation) };
        let answered = all.get(*index).and_then(Option::as_ref);
        let stands = answered.is_some_and(|answered| answered.stands(world, self.generation));
        if stands {
            self.generation = now;
        }
        stands
    }
}

impl Default for Ahead {
    fn default() -> Self {
        Self {
            sent: HashMap::new(),
            waiting: Vec::new(),
            window: FIRST,
            next: 1,
            used: 0,
            trust: 0,
            calm: 0,
            last: 0,
            wanted: false,
            places: HashMap::new(),
        }
    }
}

impl Ahead {
    /// Throws away what is out of date; where that is much, guessing does not pay.
    fn forget(&mut self, world: &World) {
        let before = self.unused();
        self.sent.retain(|_, sent| sent.stands(world));
        self.places.retain(|_, (_, seen)| world.is_calm_since(*seen));
        let after = self.unused();
        if after * 2 < before {
            self.window = if self.window > AGAIN { (self.window / 4).max(AGAIN) } else { 0 };
            (self.used, self.trust, self.calm) = (0, 0, 0);
        }
    }

    /// Keeps in mind where paths led.
    fn learn(&mut self, spots: Vec<(String, Spot)>, seen: u64) {
        self.places.extend(spots.into_iter().map(|(path, spot)| (path, (spot, seen))));
    }

    /// What a step touches, as far as that is known of the place.
    pub(super) fn effect(&self, step: &Step, world: &World) -> Effect {
        let (path, on_folder) = match step {
            Step::WriteFile { path, backup: false, validate: None, .. } | Step::Touch { path, .. } => {
                (path, false)
            }
            Step::MakeDirectory { path, .. } | Step::Symlink { path, .. } => (path, true),
            Step::SetMode { path, .. } | Step::SetOwner { path, .. } => (path, false),
            _ => return Effect::Anything,
        };
        let Some((spot, seen)) = self.places.get(path) else {
            return Effect::Anything;
        };
        let is_little = match spot.standing {
            Standing::Nothing => true,
            Standing::File => !on_folder,
            Standing::NoFolder | Standing::Other => false,
        };
        if is_little && world.stands([spot], *seen) {
            Effect::Entry(spot.entry.clone())
        } else {
            Effect::Anything
        }
    }

    fn unused(&self) -> usize {
        self.sent.values().filter(|sent| sent.uses == 0).count()
    }

    /// How many more probes may be sent now; none while there is still enough in flight.
    pub(super) fn room(&mut self, world: &World, shell: ShellId) -> usize {
        if world.observed_by(shell).is_none() {
            return 0;
        }
        self.forget(world);
        let open = self.unused() + self.waiting.len();
        if open * 2 > self.window { 0 } else { self.window - open }
    }

    /// Has answers kept.
    pub(super) fn want(&mut self) {
        self.wanted = true;
    }

    pub(super) fn is_wanted(&self) -> bool {
        self.wanted
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

    /// Sends a probe whose answer is wanted now and others ahead, those of a kind as one request. What the shell may not observe yet is left out.
    pub(super) fn send(
        &mut self,
        session: &Session,
        world: &World,
        shell: ShellId,
        (now, later): (Option<&Script>, Vec<Script>),
    ) {
        let Some(generation) = world.observed_by(shell) else { return };
        self.forget(world);
        let later: Vec<Script> =
            later.into_iter().filter(|s| now != Some(s) && !self.sent.contains_key(s)).collect();
        // Groups take probes out of the order of their tasks, by which it is told later what nobody will ask for; what is wanted now comes
        // before everything that is under way.
        let turns: HashMap<Script, u64> = later.iter().cloned().zip(self.next..).collect();
        self.next += later.len() as u64;
        for group in merge::groups(now.into_iter().cloned().chain(later).collect()) {
            let turn = |script: &Script| turns.get(script).copied().unwrap_or_default();
            if let [script] = group.as_slice()
                && !merge::fits(script)
            {
                if let Some(reply) = session.send(script.clone(), PROBE) {
                    self.keep(script.clone(), generation, turn(script), Coming::One(reply));
                }
                continue;
            }
            let Some(reply) = session.send(merge::merged(&group), PROBE) else { continue };
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
                self.keep(script, generation, number, Coming::Part(all.clone(), index));
            }
        }
    }

    fn keep(&mut self, script: Script, generation: u64, number: u64, reply: Coming) {
        self.sent.insert(script, Sent { generation, number, uses: 0, reply });
    }

    /// The answer to a probe that is asked for now, if it was sent ahead and nothing that it says has changed since.
    pub(super) fn take(&mut self, script: &Script, world: &World) -> Option<Answer> {
        let generation = world.generation();
        self.calm = if world.is_calm_since(self.last) { self.calm + 1 } else { 0 };
        self.last = generation;
        if self.window == 0 && self.calm >= CALM {
            self.window = AGAIN;
        }
        let mut sent = self.sent.remove(script)?;
        if !sent.stands(world) {
            self.sent.insert(script.clone(), sent);
            self.forget(world);
            return None;
        }
        // Tasks come in order: what was sent before this one and not asked for was a wrong guess.
        let oldest = sent.number.saturating_sub(MOST as u64);
        self.sent.retain(|_, other| other.number > sent.number || other.uses > 0 && other.number > oldest);
        let since = sent.generation;
        let is_first = sent.uses == 0;
        let reply = match sent.reply {
            Coming::Part(all, index) => {
                if sent.uses < MOST {
                    let again = Sent { uses: sent.uses + 1, reply: Coming::Part(all.clone(), index), ..sent };
                    self.sent.insert(script.clone(), again);
                }
                Coming::Part(all, index)
            }
            one @ Coming::One(_) => one,
        };
        if is_first {
            self.used += 1;
            self.trust += 1;
            if self.used >= self.window {
                self.window = (self.window * 2).min(MOST);
                self.used = 0;
            }
        }
        Some(Answer { since, doubtful: since != generation, reply })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(ahead: &mut Ahead, name: &str, generation: u64) {
        let (_, reply) = oneshot::channel();
        let number = ahead.sent.len() as u64;
        ahead.keep(Script::new(name), generation, number, Coming::One(reply));
    }

    #[test]
    fn an_answer_is_used_only_while_nothing_has_changed() {
        let world = World::default();
        let mut ahead = Ahead::default();
        for name in ["a", "b"] {
            sent(&mut ahead, name, 0);
        }
        assert!(ahead.take(&Script::new("a"), &world).is_some());
        assert!(ahead.take(&Script::new("a"), &world).is_none());
        drop(world.change());
        assert!(ahead.take(&Script::new("b"), &world).is_none());
        assert!(!ahead.knows(&Script::new("b")));
    }

    #[test]
    fn guesses_that_do_not_pay_are_given_up_and_tried_again_in_calm() {
        let world = World::default();
        let mut ahead = Ahead::default();
        assert_eq!(ahead.room(&world, 1), FIRST);
        for expected in [FIRST / 4, AGAIN, 0] {
            sent(&mut ahead, "x", world.generation());
            drop(world.change());
            assert_eq!(ahead.room(&world, 1), expected);
        }
        for round in 0..4 {
            assert!(ahead.take(&Script::new("y"), &world).is_none());
            assert_eq!(ahead.room(&world, 1), if round < CALM { 0 } else { AGAIN }, "{round}");
        }
    }
}
