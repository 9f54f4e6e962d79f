use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::private_file::{read_private, turn};
use super::{LabError, write_private};

/// What is remembered of one role on one host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleState {
    /// Whether the last run that came by it brought it to its end.
    pub converged: bool,
    /// When that was, in seconds since the epoch.
    pub at: u64,
}

/// Hosts, and the roles of each in the order in which they run.
pub type RoleStates = IndexMap<String, IndexMap<String, RoleState>>;

/// Which roles had converged on which host, by the lab's state folder.
#[derive(Debug, Clone)]
pub struct Converged {
    file: PathBuf,
}

impl Converged {
    pub const FILE: &'static str = "roles.json";

    pub fn new(state_dir: &Path) -> Self {
        Self { file: state_dir.join(Self::FILE) }
    }

    /// What is remembered; nothing where nothing was.
    pub fn all(&self) -> Result<RoleStates, LabError> {
        let Some(text) = read_private(&self.file)? else { return Ok(RoleStates::new()) };
        serde_json::from_slice(&text).map_err(|e| {
            LabError::failed(format!("reading {}", self.file.display()), e.to_string())
                .with_hint("quaylab wrote this file; without it, the next run notes anew what converged")
        })
    }

    /// Notes how a run went; what it did not come by stays as it was.
    pub fn record(&self, ends: &IndexMap<String, IndexMap<String, bool>>) -> Result<(), LabError> {
        if ends.values().all(IndexMap::is_empty) {
            return Ok(());
        }
        let _turn = turn(self.file.parent().unwrap_or(Path::new(".")))?;
        let mut all = self.all()?;
        let at = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
        for (host, roles) in ends {
            let known = all.entry(host.clone()).or_default();
            for (role, converged) in roles {
                known.insert(role.clone(), RoleState { converged: *converged, at });
            }
        }
        self.replace(&all)
    }

    /// Writes what is remembered anew.
    pub fn replace(&self, all: &RoleStates) -> Result<(), LabError> {
        let text = serde_json::to_vec_pretty(all)
            .map_err(|e| LabError::failed("writing what has converged", e.to_string()))?;
        write_private(&self.file, &text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_run_did_not_come_by_stays_known() {
        let dir = tempfile::tempdir().expect("a folder");
        let converged = Converged::new(dir.path());
        let ends =
            |role: &str, end| IndexMap::from([("quay".to_owned(), IndexMap::from([(role.to_owned(), end)]))]);
        converged.record(&ends("docker", true)).expect("written");
        converged.record(&ends("redis", false)).expect("written");
        let all = converged.all().expect("read");
        let of: Vec<_> = all["quay"].iter().map(|(role, s)| (role.as_str(), s.converged)).collect();
        assert_eq!(of, [("docker", true), ("redis", false)]);
        converged.record(&IndexMap::new()).expect("nothing to write");
        assert_eq!(converged.all().expect("read"), all);
    }
}
