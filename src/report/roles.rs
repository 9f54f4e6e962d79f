use std::sync::{Mutex, PoisonError};

use indexmap::IndexMap;

use crate::engine::{Event, Status};

/// Roles of a host in the order in which they came, and whether each came to its end.
pub type RoleEnds = IndexMap<String, IndexMap<String, bool>>;

/// Notes from a run's events which roles came to their end on which host.
#[derive(Debug, Default)]
pub struct RolesSeen {
    ends: Mutex<RoleEnds>,
}

impl RolesSeen {
    /// Takes in one event.
    pub fn see(&self, event: &Event) {
        let mut ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Result { host, task, result } if !task.handler => {
                let Some((role, _)) = task.name.split_once(" : ") else { return };
                let roles = ends.entry(host.clone()).or_default();
                // A role of which every task was skipped did nothing.
                if result.status == Status::Skipped && !roles.contains_key(role) {
                    return;
                }
                // The last of a host is the one in which it stopped, if it did.
                roles.shift_remove(role);
                roles.insert(role.to_owned(), true);
            }
            Event::Finished { stats, interrupted, .. } => {
                for (host, roles) in ends.iter_mut() {
                    let stopped =
                        *interrupted || stats.get(host).is_some_and(|s| s.failed + s.unreachable > 0);
                    if let Some((_, whole)) = roles.last_mut() {
                        *whole = !stopped;
                    }
                }
            }
            _ => {}
        }
    }

    pub fn finish(&self) -> RoleEnds {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::diag::Origin;
    use crate::engine::{HostResult, Stats, TaskLabel};
    use crate::value::Map;

    #[test]
    fn the_role_in_which_a_host_stopped_has_not_converged() {
        let seen = RolesSeen::default();
        let result = |host: &str, name: &str, status| Event::Result {
            host: host.into(),
            task: Arc::new(TaskLabel {
                name: name.into(),
                action: "x".into(),
                origin: Origin::synthetic("t"),
                handler: false,
                looped: false,
                quiet: false,
                module: true,
            }),
            result: HostResult {
                status,
                result: Map::new().into(),
                diff: Vec::new(),
                delegated: None,
                hint: None,
                ignored: false,
                elapsed: Duration::ZERO,
            },
        };
        for host in ["a", "b"] {
            seen.see(&result(host, "docker : Install", Status::Changed));
            seen.see(&result(host, "rhsm : Register", Status::Skipped));
            seen.see(&result(host, "a task of the play", Status::Ok));
        }
        seen.see(&result("a", "quay : Start", Status::Ok));
        seen.see(&result("b", "quay : Start", Status::Failed));
        let stats = IndexMap::from([
            ("a".to_owned(), Stats::default()),
            ("b".to_owned(), Stats { failed: 1, ..Stats::default() }),
        ]);
        seen.see(&Event::Finished { stats, elapsed: Duration::ZERO, interrupted: false });
        let ends = seen.finish();
        let of = |host: &str| ends[host].iter().map(|(r, e)| (r.as_str(), *e)).collect::<Vec<_>>();
        assert_eq!(of("a"), [("docker", true), ("quay", true)]);
        assert_eq!(of("b"), [("docker", true), ("quay", false)]);
    }
}
