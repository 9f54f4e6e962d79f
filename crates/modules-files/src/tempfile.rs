use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::host::{Script, quote};
use crate::{Action, CheckMode, ModuleError, Outcome, RemotePath, TaskContext};

use super::inode::{Inode, map};
use super::probe::{Answer, Probe};

/// A new file or folder with a name of its own.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TempFile {
    #[serde(default)]
    state: TempState,
    /// The folder that holds it; `$TMPDIR` or `/tmp` without it.
    path: Option<RemotePath>,
    #[serde(default = "ansible")]
    prefix: String,
    #[serde(default)]
    suffix: String,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum TempState {
    #[default]
    File,
    Directory,
}

fn ansible() -> String {
    "ansible.".into()
}

#[async_trait]
impl Action for TempFile {
    const NAME: &'static str = "tempfile";
    const FQCN: &'static [&'static str] = &["ansible.builtin.tempfile", "ansible.legacy.tempfile"];
    const CHECK: CheckMode = CheckMode::Skips;

    fn validate(&self) -> Result<(), ModuleError> {
        for (what, name) in [("prefix", &self.prefix), ("suffix", &self.suffix)] {
            if name.contains('/') {
                return Err(ModuleError::Arguments(format!(
                    "{what} must be a valid file name component, got {name:?}"
                )));
            }
        }
        Ok(())
    }

    async fn run(self, cx: &TaskContext) -> Result<Outcome, ModuleError> {
        let folder = match &self.path {
            Some(path) => quote(path.as_str()),
            None => "\"${TMPDIR:-/tmp}\"".into(),
        };
        let option = if self.state == TempState::Directory { "-d " } else { "" };
        let (prefix, suffix) = (quote(&self.prefix), quote(&self.suffix));
        // Not every mktemp takes a suffix, so a made name is renamed; `ln` and `mkdir` never overwrite. Not every `mkdir -m` sets the mode
        // of what it made, whatever stands there by then.
        let make = if self.suffix.is_empty() {
            format!("p=$(mktemp {option}\"$d\"/{prefix}XXXXXXXX) || exit")
        } else {
            let new = if self.state == TempState::Directory {
                "(umask 077; mkdir \"$p\") && rmdir \"$t\""
            } else {
                "[ ! -L \"$p\" ] && ln \"$t\" \"$p\" && rm -f \"$t\" && [ -f \"$p\" ] && [ ! -L \"$p\" ] && [ -O \"$p\" ]"
            };
            format!("t=$(mktemp {option}\"$d\"/{prefix}XXXXXXXX) || exit\np=$t{suffix}\n{new} || exit")
        };
        let probe = Probe::new().add(format!("d={folder}\n{make}\nsay made \"$p\"; i path \"$p\""));
        let reply = cx.shell.run(&Script { environment: cx.environment.clone(), ..probe.script() }).await?;
        let failed =
            || ModuleError::failed(format!("making a temporary file failed: {}", reply.err().trim()));
        if !reply.ok() {
            return Err(failed());
        }
        let answer = Answer::read(&reply)?;
        let mut result = map([("path", answer.get("made").ok_or_else(failed)?.into())]);
        if let Some(inode) = answer.inode("path")?.as_ref() {
            Inode::describe(inode, &mut result);
        }
        Ok(Outcome::changed(result))
    }
}
