use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::host::{BecomeMethod, Secret};
use crate::inventory::{Inventory, VarMap};

/// What a run is given besides the playbook.
pub struct Options {
    pub inventory: Inventory,
    pub limit: Option<String>,
    pub tags: Vec<String>,
    pub skip_tags: Vec<String>,
    pub extra_vars: VarMap,
    /// Only say what would change.
    pub check: bool,
    pub diff: bool,
    /// How many hosts are worked on at the same time, at least 1.
    pub forks: usize,
    pub remote_user: Option<String>,
    pub r#become: bool,
    pub become_user: Option<String>,
    pub become_method: BecomeMethod,
    pub become_password: Option<Secret>,
    pub ssh_password: Option<Secret>,
    pub private_key_file: Option<PathBuf>,
    pub host_key_checking: bool,
    pub timeout: Duration,
    pub verbosity: u8,
    pub force_handlers: bool,
    /// Send probes of later tasks ahead.
    pub speculate: bool,
    /// Where quaylab keeps what it must remember of this lab.
    pub state_dir: PathBuf,
    /// The lab's name.
    pub lab: String,
    /// How `vars_prompt` is answered.
    pub ask: Ask,
}

/// A question of a play's `vars_prompt`.
#[derive(Debug, Clone)]
pub struct Question {
    pub variable: String,
    pub text: String,
    pub default: Option<String>,
    pub private: bool,
    pub confirm: bool,
}

/// Answers a question, or says why it cannot be asked.
pub type Ask = Arc<dyn Fn(&Question) -> Result<String, String> + Send + Sync>;
