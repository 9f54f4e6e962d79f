use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::host::Script;
use crate::{Action, CheckMode, ModuleError, Outcome, RemotePath, TaskContext, Touch};

use super::inode::{Inode, Kind, map};
use super::probe::{Answer, Probe};

/// A file's content, in base64.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Slurp {
    #[serde(alias = "path")]
    src: RemotePath,
}

#[async_trait]
impl Action for Slurp {
    const NAME: &'static str = "slurp";
    const FQCN: &'static [&'static str] = &["ansible.builtin.slurp", "ansible.legacy.slurp"];
    const CHECK: CheckMode = CheckMode::Runs;
    const TOUCH: Touch = Touch::Nothing;

    fn ahead(&self, _cx: &TaskContext) -> Option<Script> {
        Some(probe(&self.src))
    }

    async fn run(self, cx: &TaskContext) -> Result<Outcome, ModuleError> {
        let bytes = read(cx, &self.src).await?;
        Ok(Outcome::ok(map([
            ("source", self.src.as_str().into()),
            ("content", STANDARD.encode(bytes).into()),
            ("encoding", "base64".into()),
        ])))
    }
}

fn probe(path: &RemotePath) -> Script {
    Probe::new().look("path", path.as_str()).content(path.as_str()).script()
}

/// Reads a regular file, with Ansible's words for why it cannot be read.
async fn read(cx: &TaskContext, path: &RemotePath) -> Result<Vec<u8>, ModuleError> {
    let answer = Answer::read(&cx.shell.probe(&probe(path)).await?)?;
    if let Some(bytes) = answer.content {
        return Ok(bytes);
    }
    regular(&answer, path)?;
    Err(unreadable(path))
}

/// The regular file that a look named `path` found, behind links; or why there is none to read.
pub(super) fn regular(answer: &Answer, path: &RemotePath) -> Result<Inode, ModuleError> {
    let at = if answer.get("path.to").is_some() { "path.to" } else { "path" };
    match answer.inode(at)? {
        None => Err(ModuleError::failed(format!("file not found: {path}"))),
        Some(inode) if inode.is_directory() => {
            Err(ModuleError::failed(format!("source is a directory and must be a file: {path}")))
        }
        Some(inode) if inode.kind == Kind::File => Ok(inode),
        Some(_) => Err(ModuleError::failed(format!("not a regular file: {path}"))),
    }
}

pub(super) fn unreadable(path: &RemotePath) -> ModuleError {
    ModuleError::failed(format!("file is not readable: {path}")).hint("become: true may be missing")
}
