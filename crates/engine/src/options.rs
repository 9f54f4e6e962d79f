use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::host::{BecomeMethod, Limits, Secret};
use crate::inventory::{Inventory, VarMap};
use crate::run_context::RunContext;
use crate::vault::Vault;

/// What a run is given besides the playbook.
#[derive(Clone)]
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
    pub become_exe: Option<String>,
    pub become_flags: Option<String>,
    pub become_password: Option<Secret>,
    pub ssh_password: Option<Secret>,
    pub private_key_file: Option<PathBuf>,
    pub host_key_checking: bool,
    pub timeout: Duration,
    /// How much a host may answer at once.
    pub limits: Limits,
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
    /// Opens what is encrypted.
    pub vault: Arc<Vault>,
    pub course: Course,
    /// State that the run's tasks share with each other and with whoever started the run.
    pub context: RunContext,
}

impl Options {
    /// A run over an inventory with Ansible's own defaults, in which a question is an error.
    pub fn new(inventory: Inventory, lab: impl Into<String>, state_dir: PathBuf) -> Self {
        Self {
            inventory,
            limit: None,
            tags: Vec::new(),
            skip_tags: Vec::new(),
            extra_vars: VarMap::new(),
            check: false,
            diff: false,
            forks: 5,
            remote_user: None,
            r#become: false,
            become_user: None,
            become_method: BecomeMethod::Sudo,
            become_exe: None,
            become_flags: None,
            become_password: None,
            ssh_password: None,
            private_key_file: None,
            host_key_checking: true,
            timeout: Duration::from_secs(10),
            limits: Limits::default(),
            verbosity: 0,
            force_handlers: false,
            speculate: true,
            state_dir,
            lab: lab.into(),
            ask: Arc::new(|question| Err(format!("{} was asked for", question.variable))),
            vault: Arc::default(),
            course: Course::default(),
            context: RunContext::default(),
        }
    }
}

/// What settings and flags say about the course of a run, besides what tags choose.
#[derive(Clone, Default)]
pub struct Course {
    /// Nothing before the task of this name (or pattern of names).
    pub start_at: Option<String>,
    /// Asked before each task.
    pub step: Option<Step>,
    /// When facts are gathered in plays that do not say it.
    pub gathering: Gathering,
    /// The strategy of plays that name none.
    pub strategy: Option<String>,
    pub any_errors_fatal: bool,
    /// Kind of connection where neither variables nor keywords say it.
    pub connection: Option<String>,
    pub port: Option<u16>,
    /// OpenSSH's arguments besides those in variables.
    pub ssh_arguments: String,
}

/// Asked with a task's name before it runs.
pub type Step = Arc<dyn Fn(&str) -> StepAnswer + Send + Sync>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepAnswer {
    Run,
    Skip,
    /// Run this and all others without asking.
    Continue,
}

/// The setting `gathering`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Gathering {
    #[default]
    Implicit,
    Explicit,
    /// Only for hosts whose facts are not known yet.
    Smart,
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
