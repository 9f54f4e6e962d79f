use std::sync::Arc;

use async_trait::async_trait;

use super::ModuleError;
use crate::host::{Content, Script, Shell, Step};
use crate::run_context::RunContext;

/// Which of a role's folders a file is looked for in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    Files,
    Templates,
}

/// What a module may ask of the controller, for one task on one host.
#[async_trait]
pub trait Controller: Send + Sync {
    /// Finds a file as Ansible does (role's `files/` or `templates/`, then the play's folder) and reads it.
    /// Returns its full name for messages and its bytes.
    fn load(&self, kind: FileKind, name: &str) -> Result<(String, Vec<u8>), ModuleError>;
    /// Finds a file that is too large to load; fails for one that is embedded in the binary.
    fn locate(&self, kind: FileKind, name: &str) -> Result<std::path::PathBuf, ModuleError>;
    /// Opens what is encrypted as a whole; other bytes stay as they are.
    fn open(&self, bytes: Vec<u8>) -> Result<Vec<u8>, ModuleError> {
        Ok(bytes)
    }
    /// Renders a template's text with the task's variables.
    fn render(&self, name: &str, text: &str) -> Result<String, ModuleError>;
    /// Whether this is only a guess at what the task will ask: nothing may take long, and no host may be asked anything.
    fn is_guessing(&self) -> bool {
        false
    }
    /// Tells the user what is being waited for; shown beside the running task.
    fn progress(&self, message: &str);
    /// The folder in which quaylab keeps what it must remember of this lab (host keys, passwords), mode 0700.
    fn state_dir(&self) -> &std::path::Path;
    /// The lab's name, part of every mark.
    fn lab(&self) -> &str;
}

/// How a task is asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RunMode {
    /// Only say what would change.
    pub check: bool,
    /// Differences are wanted.
    pub diff: bool,
}

/// Everything that a module may use.
#[derive(Clone)]
pub struct TaskContext {
    /// The target, as the task's (become) user.
    pub shell: Shell,
    /// The inventory's name of the host.
    pub host: String,
    pub mode: RunMode,
    /// The task's `environment`.
    pub environment: Vec<(String, String)>,
    /// What all tasks of the run share.
    pub run: RunContext,
    pub controller: Arc<dyn Controller>,
}

impl TaskContext {
    /// A script in the task's environment.
    #[must_use]
    pub fn within(&self, mut script: Script) -> Script {
        script.environment.extend(self.environment.iter().cloned());
        script
    }

    /// A step in the task's environment, where it is one that runs a program.
    #[must_use]
    pub fn step_within(&self, step: &Step) -> Step {
        let mut step = step.clone();
        let environment = match &mut step {
            Step::Run { environment, .. } => environment,
            Step::WriteFile { content: Content::Printed { script, .. }, .. } => &mut script.environment,
            _ => return step,
        };
        environment.extend(self.environment.iter().cloned());
        step
    }
}
