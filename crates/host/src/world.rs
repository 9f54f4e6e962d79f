use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::spot::{Entry, Folder, Spot};

/// What tells one shell from another.
pub(super) type ShellId = u64;

/// What is known of changes to all the hosts of a run.
///
/// An observation may be used for as long as nothing that it looked at was changed since it was asked for. Hosts may be the same machine
/// under two names, so a change on one counts for all.
#[derive(Debug, Clone, Default)]
pub struct World {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    generation: u64,
    /// The last change that may have touched anything.
    anything: u64,
    /// The last change to each of the entries that were all of what a change touched, and to the folders that they are in.
    entries: HashMap<Entry, u64>,
    folders: HashMap<Folder, u64>,
    /// Who is changing what is not known, now; `None` is anything but a shell.
    changing: Vec<Option<ShellId>>,
}

/// What a change touches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Effect {
    Anything,
    /// One entry of a folder, which is neither a folder nor a link before, and nothing else.
    Entry(Entry),
}

/// Something is being changed, until this is dropped.
#[derive(Debug)]
#[must_use]
pub struct Change {
    world: World,
    by: Option<ShellId>,
    effect: Effect,
}

impl State {
    fn touch(&mut self, effect: &Effect) {
        self.generation += 1;
        match effect {
            Effect::Anything => {
                self.anything = self.generation;
                self.entries.clear();
                self.folders.clear();
            }
            Effect::Entry(entry) => {
                self.folders.insert(entry.folder, self.generation);
                self.entries.insert(entry.clone(), self.generation);
            }
        }
    }
}

impl World {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was observed before is out of date, and what is observed before the change ends would be.
    pub fn change(&self) -> Change {
        self.change_by(None, Effect::Anything)
    }

    /// A shell is about to be sent what changes something; what it is sent afterwards comes after the change.
    pub(super) fn change_by(&self, by: impl Into<Option<ShellId>>, effect: Effect) -> Change {
        let by = by.into();
        let mut state = self.state();
        state.touch(&effect);
        if effect == Effect::Anything {
            state.changing.push(by);
        }
        Change { world: self.clone(), by, effect }
    }

    /// How often something has been changed.
    pub fn generation(&self) -> u64 {
        self.state().generation
    }

    /// The generation that a shell would observe, unless a change elsewhere may still come before the observation.
    pub(super) fn observed_by(&self, shell: ShellId) -> Option<u64> {
        let state = self.state();
        state.changing.iter().all(|by| *by == Some(shell)).then_some(state.generation)
    }

    /// Whether nothing has been changed since that generation but what is known to have touched little.
    pub(super) fn is_calm_since(&self, generation: u64) -> bool {
        self.state().anything <= generation
    }

    /// Whether what was observed in these places at that generation is still so.
    pub(super) fn stands<'a>(&self, spots: impl IntoIterator<Item = &'a Spot>, since: u64) -> bool {
        let state = self.state();
        let later = |at: Option<&u64>| at.is_some_and(|&at| at > since);
        state.anything <= since
            && !spots.into_iter().any(|spot| {
                later(state.entries.get(&spot.entry))
                    || spot.own.is_some_and(|own| later(state.folders.get(&own)))
            })
    }
}

impl Drop for Change {
    fn drop(&mut self) {
        let mut state = self.world.state();
        if matches!(self.effect, Effect::Entry(_)) {
            // Others were not kept from observing meanwhile, and may have been too early.
            state.touch(&self.effect);
        } else if let Some(at) = state.changing.iter().position(|by| *by == self.by) {
            state.changing.swap_remove(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::spot::Standing;
    use super::*;

    #[test]
    fn a_change_elsewhere_forbids_observing() {
        let world = World::default();
        assert_eq!(world.observed_by(1), Some(0));
        let own = world.change_by(1, Effect::Anything);
        assert_eq!((world.observed_by(1), world.observed_by(2)), (Some(1), None));
        let outside = world.change();
        assert_eq!(world.observed_by(1), None);
        drop(outside);
        assert_eq!(world.observed_by(1), Some(2));
        drop(own);
        assert_eq!((world.observed_by(2), world.generation()), (Some(2), 2));
    }

    #[test]
    fn a_change_to_one_entry_leaves_the_others_as_they_were_seen() {
        let world = World::default();
        let spot = |folder: u64, name: &str, own: Option<u64>| Spot {
            entry: Entry { folder: Folder { device: 1, inode: folder }, name: name.into() },
            own: own.map(|inode| Folder { device: 1, inode }),
            standing: Standing::Other,
        };
        let change = world.change_by(1, Effect::Entry(spot(7, "a", None).entry));
        assert_eq!(world.observed_by(2), Some(1), "others go on");
        drop(change);
        for (seen, stands) in [
            (spot(7, "a", None), false),
            (spot(7, "b", None), true),
            (spot(8, "a", None), true),
            (spot(2, "folder", Some(7)), false),
            (spot(2, "folder", Some(8)), true),
        ] {
            assert_eq!(world.stands([&seen], 0), stands, "{seen:?}");
            assert!(world.stands([&seen], world.generation()));
        }
        assert!(!world.stands([&spot(7, "a", None)], 1), "seen while it was being changed");
        drop(world.change());
        assert!(!world.stands([&spot(7, "b", None)], 2));
    }
}
