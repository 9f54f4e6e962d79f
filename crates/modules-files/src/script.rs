use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::host::{quote, sheltered};
use crate::{Action, CheckMode, FileKind, ModuleError, Outcome, TaskContext, Touch};

use super::execution::{Execution, split};

/// A script of the controller, run on the target.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ControllerScript {
    /// The script's name, with its arguments behind it.
    #[serde(rename = "_raw_params", alias = "free_form", alias = "cmd")]
    raw: String,
    chdir: Option<String>,
    /// Do not run where this file (or glob) is.
    creates: Option<String>,
    /// Do not run where this file (or glob) is not.
    removes: Option<String>,
    /// What runs the script; without it the script's own first line says so.
    executable: Option<String>,
}

#[async_trait]
impl Action for ControllerScript {
    const NAME: &'static str = "script";
    const FQCN: &'static [&'static str] = &["ansible.builtin.script", "ansible.legacy.script"];
    const FREE_FORM: bool = true;
    const CHECK: CheckMode = CheckMode::Runs;
    const TOUCH: Touch = Touch::Shell;

    async fn run(self, cx: &TaskContext) -> Result<Outcome, ModuleError> {
        let words = split(&self.raw)?;
        let Some((name, arguments)) = words.split_first() else {
            return Err(ModuleError::Arguments("no script given".into()));
        };
        let (_, bytes) = cx.controller.load(FileKind::Files, name)?;
        let bytes = cx.controller.open(bytes)?;
        let run = self.executable.map(|e| quote(&e) + " ").unwrap_or_default();
        let arguments: String = arguments.iter().map(|a| format!(" {}", quote(a))).collect();
        // The script arrives on standard input and is gone when it has run; its own input is empty.
        let text = format!(
            "t=$w/script\ncat >\"$t\" && chmod 700 \"$t\" || exit\n{run}\"$t\"{arguments} </dev/null"
        );
        Execution {
            text: sheltered(&text),
            cmd: self.raw.into(),
            chdir: self.chdir,
            creates: self.creates,
            removes: self.removes,
            stdin: bytes,
            strip_empty_ends: true,
        }
        .run(cx)
        .await
    }
}
