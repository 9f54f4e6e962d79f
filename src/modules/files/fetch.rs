use std::path::PathBuf;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::modules::{Action, CheckMode, ModuleError, Outcome, RemotePath, TaskContext};

use super::content::{Source, base_name};
use super::inode::map;
use super::slurp::read;

/// A file of the target, brought to the controller.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Fetch {
    src: RemotePath,
    /// A folder on the controller, under which files lie by host and path; with `flat`, the file itself, or its folder
    /// with a trailing slash.
    dest: String,
    #[serde(default)]
    flat: bool,
    #[serde(default = "yes")]
    fail_on_missing: bool,
    /// Compare what was written with what was read.
    #[serde(default = "yes")]
    validate_checksum: bool,
}

fn yes() -> bool {
    true
}

#[async_trait]
impl Action for Fetch {
    const NAME: &'static str = "fetch";
    const FQCN: &'static [&'static str] = &["ansible.builtin.fetch", "ansible.legacy.fetch"];
    const CHECK: CheckMode = CheckMode::Runs;

    async fn run(self, cx: &TaskContext) -> Result<Outcome, ModuleError> {
        let bytes = match read(cx, &self.src).await {
            Ok(bytes) => bytes,
            Err(ModuleError::Failed { message, .. }) if !self.fail_on_missing => {
                let message = format!("{message}, ignored");
                return Ok(Outcome::ok(map([("msg", message.into()), ("file", self.src.as_str().into())])));
            }
            Err(error) => return Err(error),
        };
        let dest = self.destination(&cx.host);
        let wanted = Source::bytes(bytes);
        let old = tokio::fs::read(&dest).await.ok().map(Source::bytes);
        let shown = dest.display().to_string();
        let result = map([
            ("src", self.src.as_str().into()),
            ("file", self.src.as_str().into()),
            ("dest", shown.clone().into()),
            ("checksum", wanted.sha1.clone().into()),
            ("md5sum", wanted.md5.clone().into()),
            ("remote_checksum", wanted.sha1.clone().into()),
        ]);
        if old.as_ref().is_some_and(|o| o.sha1 == wanted.sha1) {
            return Ok(Outcome::ok(result));
        }
        if !cx.check {
            let failed = |e: std::io::Error| ModuleError::failed(format!("cannot write {shown}: {e}"));
            if let Some(folder) = dest.parent() {
                tokio::fs::create_dir_all(folder).await.map_err(failed)?;
            }
            tokio::fs::write(&dest, wanted.in_memory().unwrap_or_default()).await.map_err(failed)?;
            if self.validate_checksum {
                let written = Source::bytes(tokio::fs::read(&dest).await.map_err(failed)?);
                if written.sha1 != wanted.sha1 {
                    return Err(ModuleError::failed(format!(
                        "checksum mismatch: {shown} is {}",
                        written.sha1
                    )));
                }
            }
        }
        Ok(Outcome::changed(result))
    }
}

impl Fetch {
    fn destination(&self, host: &str) -> PathBuf {
        if !self.flat {
            return PathBuf::from(format!("{}/{host}{}", self.dest.trim_end_matches('/'), self.src));
        }
        if self.dest.ends_with('/') {
            return PathBuf::from(format!("{}{}", self.dest, base_name(self.src.as_str())));
        }
        PathBuf::from(&self.dest)
    }
}
