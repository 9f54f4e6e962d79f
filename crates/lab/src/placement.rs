use std::collections::BTreeMap;

use super::LabError;
use crate::diag::closest;

/// A hypervisor, and what is free on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    pub name: String,
    /// In MiB.
    pub free_memory: u64,
    /// Free bytes of each active pool.
    pub pools: BTreeMap<String, u64>,
    /// The VMs that are defined there.
    pub vms: Vec<String>,
}

/// A VM that needs a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guest {
    pub name: String,
    /// In MiB.
    pub memory: u64,
    /// Pools and bytes.
    pub disks: Vec<(String, u64)>,
    /// The hypervisor that was asked for.
    pub wanted: Option<String>,
}

/// A place for every guest: where it is already, else where it was asked for, else where most memory is free among
/// those whose pools have room. Equal inputs give equal places, so every guest may ask for itself.
pub fn place(candidates: &[Candidate], guests: &[Guest]) -> Result<BTreeMap<String, String>, LabError> {
    let mut free: Vec<Candidate> = candidates.to_vec();
    let mut places = BTreeMap::new();
    let mut homeless = Vec::new();
    for guest in guests {
        let at = free.iter().position(|c| c.vms.contains(&guest.name));
        match (at, &guest.wanted) {
            (Some(at), Some(wanted)) if free[at].name != *wanted => {
                return Err(LabError::Conflict(format!(
                    "VM {} is on {}, and hypervisor={wanted} is declared: a VM is not moved; remove it there first (`--replace` does not move it either)",
                    guest.name, free[at].name
                )));
            }
            // What it has is not free any more: nothing is to be counted twice.
            (Some(at), _) => {
                places.insert(guest.name.clone(), free[at].name.clone());
            }
            (None, Some(wanted)) => {
                let Some(candidate) = free.iter_mut().find(|c| c.name == *wanted) else {
                    let names = candidates.iter().map(|c| c.name.as_str());
                    let near =
                        closest(wanted, names).map(|n| format!("; did you mean {n}?")).unwrap_or_default();
                    return Err(LabError::Invalid(format!(
                        "VM {}: hypervisor={wanted} is not in the group hypervisor{near}",
                        guest.name
                    )));
                };
                candidate.take(guest);
                places.insert(guest.name.clone(), wanted.clone());
            }
            (None, None) => homeless.push(guest),
        }
    }
    for guest in homeless {
        let best = free
            .iter_mut()
            .filter(|c| c.lacks(guest).is_none())
            // Of equals the first: `max_by_key` would take the last.
            .rev()
            .max_by_key(|c| c.free_memory);
        let Some(candidate) = best else {
            let why: Vec<String> =
                free.iter().map(|c| format!("{}: {}", c.name, c.lacks(guest).unwrap_or_default())).collect();
            return Err(LabError::failed(
                format!("no hypervisor has room for the VM {}", guest.name),
                why.join("; "),
            )
            .with_hint("free some, declare less, or name one with hypervisor= on the host's line"));
        };
        candidate.take(guest);
        places.insert(guest.name.clone(), candidate.name.clone());
    }
    Ok(places)
}

impl Candidate {
    /// What it has too little of.
    fn lacks(&self, guest: &Guest) -> Option<String> {
        if self.free_memory < guest.memory {
            return Some(format!("{} MiB of memory are free, {} are needed", self.free_memory, guest.memory));
        }
        let mut needed: BTreeMap<&str, u64> = BTreeMap::new();
        for (pool, bytes) in &guest.disks {
            *needed.entry(pool).or_default() += bytes;
        }
        needed.into_iter().find_map(|(pool, bytes)| match self.pools.get(pool) {
            None => Some(format!("it has no active pool {pool}")),
            Some(free) if *free < bytes => {
                Some(format!("pool {pool} has {} MiB free, {} are needed", free >> 20, bytes >> 20))
            }
            Some(_) => None,
        })
    }

    fn take(&mut self, guest: &Guest) {
        self.free_memory = self.free_memory.saturating_sub(guest.memory);
        for (pool, bytes) in &guest.disks {
            if let Some(free) = self.pools.get_mut(pool) {
                *free = free.saturating_sub(*bytes);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hypervisor(name: &str, free_memory: u64, free_mib: u64, vms: &[&str]) -> Candidate {
        Candidate {
            name: name.into(),
            free_memory,
            pools: BTreeMap::from([("p".into(), free_mib << 20)]),
            vms: vms.iter().map(|v| (*v).to_owned()).collect(),
        }
    }

    fn guest(name: &str, memory: u64, mib: u64, wanted: Option<&str>) -> Guest {
        Guest {
            name: name.into(),
            memory,
            disks: vec![("p".into(), mib << 20)],
            wanted: wanted.map(str::to_owned),
        }
    }

    fn placed(candidates: &[Candidate], guests: &[Guest]) -> Result<String, String> {
        place(candidates, guests)
            .map(|p| p.into_iter().map(|(vm, hv)| format!("{vm}@{hv}")).collect::<Vec<_>>().join(" "))
            .map_err(|e| e.to_string())
    }

    #[test]
    fn guests_spread_over_what_is_free() {
        let two = [hypervisor("a", 4096, 100, &[]), hypervisor("b", 4096, 100, &[])];
        let guests = ["x", "y", "z"].map(|n| guest(n, 1024, 10, None));
        assert_eq!(placed(&two, &guests).as_deref(), Ok("x@a y@b z@a"));
        // One that is there stays, one that is asked for goes there, and the rest counts with both.
        let two = [hypervisor("a", 2048, 100, &["x"]), hypervisor("b", 4096, 100, &[])];
        let guests =
            [guest("x", 1024, 10, None), guest("y", 3000, 10, Some("b")), guest("z", 1024, 10, None)];
        assert_eq!(placed(&two, &guests).as_deref(), Ok("x@a y@b z@a"));
        // Memory is there, room is not.
        let two = [hypervisor("a", 4096, 5, &[]), hypervisor("b", 2048, 100, &[])];
        assert_eq!(placed(&two, &[guest("x", 1024, 10, None)]).as_deref(), Ok("x@b"));
    }

    #[test]
    fn what_does_not_fit_is_explained() {
        let two = [hypervisor("alpha", 512, 100, &["x"]), hypervisor("beta", 4096, 5, &[])];
        for (guest, part) in [
            (
                guest("y", 1024, 10, None),
                "alpha: 512 MiB of memory are free, 1024 are needed; beta: pool p has 5 MiB",
            ),
            (guest("y", 1, 1, Some("bata")), "did you mean beta?"),
            (guest("x", 1, 1, Some("beta")), "VM x is on alpha"),
        ] {
            let error = placed(&two, &[guest]).expect_err("refused");
            assert!(error.contains(part), "{error}");
        }
    }
}
