use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::host::Script;
use crate::value::Map;
use crate::{Action, CheckMode, ModuleError, Outcome, TaskContext, Touch};

use super::execution::fill;

/// A command line given to the target's shell as it stands.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Raw {
    /// The command line.
    #[serde(rename = "_raw_params", alias = "free_form", alias = "cmd")]
    raw: String,
    /// The shell, `/bin/sh` without it.
    executable: Option<String>,
}

#[async_trait]
impl Action for Raw {
    const NAME: &'static str = "raw";
    const FQCN: &'static [&'static str] = &["ansible.builtin.raw", "ansible.legacy.raw"];
    const FREE_FORM: bool = true;
    const CHECK: CheckMode = CheckMode::Skips;
    const TOUCH: Touch = Touch::Shell;

    async fn run(self, cx: &TaskContext) -> Result<Outcome, ModuleError> {
        let executable = self.executable.unwrap_or_else(|| "/bin/sh".into());
        let mut script = Script::argv([executable.as_str(), "-c", &self.raw]);
        script.text = format!("exec {}", script.text);
        script.environment.clone_from(&cx.environment);
        let reply = cx.shell.run(&script).await?;
        let mut result = Map::new();
        fill(&mut result, reply.status, &reply.out(), &reply.err());
        if reply.ok() {
            return Ok(Outcome::changed(result));
        }
        result.insert("msg".into(), "non-zero return code".into());
        Ok(Outcome { changed: true, ..Outcome::failed("non-zero return code", result) })
    }
}
