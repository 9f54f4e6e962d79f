use std::fs::{Metadata, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;
use tempfile::NamedTempFile;

use crate::modules::{Action, CheckMode, ModuleError, Outcome, RemotePath, TaskContext};

use super::content::{Source, base_name};
use super::inode::map;
use super::probe::{Answer, Probe};
use super::slurp::{regular, unreadable};

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
    /// Compare what came with what was there: a file that is written to meanwhile is refused.
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
        let path = self.src.as_str();
        let probe = Probe::new().look("path", path).access(path).sum("sum", "sha1", path, true);
        let answer = Answer::read(&cx.shell.probe(&probe.script()).await?)?;
        let size = match regular(&answer, &self.src) {
            Ok(inode) if answer.get("r").is_some() => inode.size,
            other => match other.err().unwrap_or_else(|| unreadable(&self.src)) {
                ModuleError::Failed { message, .. } if !self.fail_on_missing => {
                    let message = format!("{message}, ignored");
                    return Ok(Outcome::ok(map([("msg", message.into()), ("file", path.into())])));
                }
                error => return Err(error),
            },
        };
        // A target without a program for checksums does not say it.
        let there = answer.get("sum").filter(|sum| !sum.is_empty());
        let place = Place::of(self.destination(&cx.host))?;
        let old = place.content().await?;
        let result = |sums: Option<&Source>| {
            let sha1 = sums.map(|s| s.sha1.as_str()).or(there);
            map([
                ("src", path.into()),
                ("file", path.into()),
                ("dest", place.named.display().to_string().into()),
                ("checksum", sha1.into()),
                ("md5sum", sums.and_then(|s| s.md5.clone()).into()),
                ("remote_checksum", there.or(sha1).into()),
            ])
        };
        if old.as_ref().is_some_and(|old| Some(old.sha1.as_str()) == there) {
            return Ok(Outcome::ok(result(old.as_ref())));
        }
        if cx.check {
            return Ok(Outcome::changed(result(None)));
        }
        let part = place.beside()?;
        let file = part.reopen().map_err(|e| place.unwritable(&e))?;
        let progress = |text: &str| cx.controller.progress(text);
        cx.shell.read_file_to(path, size, &mut tokio::fs::File::from_std(file), &progress).await?;
        let new = hashed(part.path()).await?;
        if old.is_some_and(|old| old.sha1 == new.sha1) {
            return Ok(Outcome::ok(result(Some(&new))));
        }
        if let Some(there) = there.filter(|there| self.validate_checksum && *there != new.sha1) {
            return Err(ModuleError::failed(format!(
                "checksum mismatch: {path} was {there} when it was looked at, what came is {}",
                new.sha1
            ))
            .hint("it may be written to at this moment; validate_checksum: false takes it as it comes"));
        }
        part.persist(&place.file).map_err(|e| place.unwritable(&e.error))?;
        Ok(Outcome::changed(result(Some(&new))))
    }
}

/// Where a file shall come on the controller.
struct Place {
    named: PathBuf,
    /// The file itself where the name is a link: the link stays.
    file: PathBuf,
    old: Option<Metadata>,
}

impl Place {
    fn of(named: PathBuf) -> Result<Self, ModuleError> {
        let Ok(meta) = std::fs::metadata(&named) else {
            // A link that leads nowhere says where the file shall be.
            let target = std::fs::read_link(&named).ok();
            let file =
                target.map_or_else(|| named.clone(), |t| named.parent().unwrap_or(Path::new("")).join(t));
            return Ok(Self { named, file, old: None });
        };
        let shown = named.display();
        if meta.is_dir() {
            return Err(ModuleError::failed(format!("dest {shown} is an existing directory"))
                .hint("a trailing slash fetches src into that directory"));
        }
        if !meta.is_file() {
            return Err(ModuleError::failed(format!("dest {shown} is not a regular file")));
        }
        let file = named.canonicalize().unwrap_or_else(|_| named.clone());
        Ok(Self { named, file, old: Some(meta) })
    }

    async fn content(&self) -> Result<Option<Source>, ModuleError> {
        match self.old {
            Some(_) => hashed(&self.file).await.map(Some),
            None => Ok(None),
        }
    }

    /// A new file in the same folder, which takes the place once it is complete.
    fn beside(&self) -> Result<NamedTempFile, ModuleError> {
        let folder = self.file.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let made = std::fs::create_dir_all(folder).and_then(|()| {
            let new = Permissions::from_mode(0o666);
            let part = tempfile::Builder::new().prefix(".quaylab-").permissions(new).tempfile_in(folder)?;
            if let Some(old) = &self.old {
                // Only root may give a file away; for others it is theirs as before.
                let _own = fchown(part.as_file(), Some(old.uid()), Some(old.gid()));
                part.as_file().set_permissions(old.permissions())?;
            }
            Ok(part)
        });
        made.map_err(|e| self.unwritable(&e))
    }

    fn unwritable(&self, error: &std::io::Error) -> ModuleError {
        ModuleError::failed(format!("cannot write {}: {error}", self.named.display()))
    }
}

/// A file's checksums; a large one would hold up the other hosts.
async fn hashed(file: &Path) -> Result<Source, ModuleError> {
    let file = file.to_owned();
    tokio::task::spawn_blocking(move || Source::file(&file))
        .await
        .map_err(|e| ModuleError::failed(format!("hashing was interrupted: {e}")))?
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
