use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What tells one shell from another.
pub(super) type ShellId = u64;

/// What is known of changes to all the hosts of a run.
///
/// An observation may be used for as long as nothing was changed since it was asked for. Hosts may be the same machine under two names, or
/// share a file system, so a change on one counts for all.
#[derive(Debug, Clone, Default)]
pub struct World {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    generation: u64,
    /// Who is changing something now; `None` is anything but a shell.
    changing: Vec<Option<ShellId>>,
}

/// Something is being changed, until this is dropped.
#[derive(Debug)]
#[must_use]
pub struct Change {
    world: World,
    by: Option<ShellId>,
}

impl World {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was observed before is out of date, and what is observed before the change ends would be.
    pub fn change(&self) -> Change {
        self.change_by(None)
    }

    /// A shell is about to be sent what changes something; what it is sent afterwards comes after the change.
    pub(super) fn change_by(&self, by: impl Into<Option<ShellId>>) -> Change {
        let by = by.into();
        let mut state = self.state();
        state.generation += 1;
        state.changing.push(by);
        Change { world: self.clone(), by }
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
}

impl Drop for Change {
    fn drop(&mut self) {
        let mut state = self.world.state();
        if let Some(at) = state.changing.iter().position(|by| *by == self.by) {
            state.changing.swap_remove(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_elsewhere_forbids_observing() {
        let world = World::default();
        assert_eq!(world.observed_by(1), Some(0));
        let own = world.change_by(1);
        assert_eq!((world.observed_by(1), world.observed_by(2)), (Some(1), None));
        let outside = world.change();
        assert_eq!(world.observed_by(1), None);
        drop(outside);
        assert_eq!(world.observed_by(1), Some(2));
        drop(own);
        assert_eq!((world.observed_by(2), world.generation()), (Some(2), 2));
    }
}
