use std::fs::{Metadata, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;
use tempfile::NamedTempFile;
use tokio::io::AsyncWrite;

use crate::{Action, CheckMode, ModuleError, Outcome, RemotePath, TaskContext};

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
    #[serde(default = "crate::args::yes")]
    fail_on_missing: bool,
    /// Compare what came with what was there: a file that is written to meanwhile is refused.
    #[serde(default = "crate::args::yes")]
    validate_checksum: bool,
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
        let place = Place::of(self.destination(&cx.host)?)?;
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
        if cx.mode.check {
            return Ok(Outcome::changed(result(None)));
        }
        let part = place.beside()?;
        let file = part.reopen().map_err(|e| place.unwritable(&e))?;
        let progress = |text: &str| cx.controller.progress(text);
        let most = size.saturating_add(SLACK);
        let mut file = AtMost { inner: tokio::fs::File::from_std(file), left: most, exceeded: false };
        let read = cx.shell.read_file_to(path, size, &mut file, &progress).await;
        if file.exceeded {
            return Err(ModuleError::failed(format!(
                "{path} had {size} bytes when it was looked at, and more than {most} came: the rest was not taken"
            ))
            .hint("it may be written to at this moment: copy it on the target first, and fetch the copy"));
        }
        read?;
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

/// What may come more than the size that a file was said to have: it may have grown, and those of `/proc` are said to be empty.
const SLACK: u64 = 64 << 20;

/// Takes no more than was agreed on, whatever a target sends.
struct AtMost<W> {
    inner: W,
    left: u64,
    exceeded: bool,
}

impl<W: AsyncWrite + Unpin> AsyncWrite for AtMost<W> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if bytes.len() as u64 > self.left {
            self.exceeded = true;
            return Poll::Ready(Err(io::Error::other("it is larger than it was said to be")));
        }
        let written = ready!(Pin::new(&mut self.inner).poll_write(cx, bytes))?;
        self.left -= written as u64;
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
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
    /// Below `dest`, whatever the names are that came from a target or an inventory; with `flat` they are the user's own.
    fn destination(&self, host: &str) -> Result<PathBuf, ModuleError> {
        let dest = self.dest.trim_end_matches('/');
        let outside = || {
            ModuleError::failed(format!(
                "Detected directory traversal, expected to be contained in '{dest}' but got '{dest}/{host}{}'",
                self.src
            ))
            .hint("name the file without `..`")
        };
        if self.flat {
            return Ok(match (self.dest.ends_with('/'), base_name(self.src.as_str())) {
                (true, "" | "." | "..") => return Err(outside()),
                (true, name) => PathBuf::from(format!("{}{name}", self.dest)),
                (false, _) => PathBuf::from(&self.dest),
            });
        }
        if host.contains('/') || matches!(host, "" | "." | "..") {
            return Err(outside());
        }
        let mut names = Vec::new();
        for name in self.src.as_str().split('/') {
            match name {
                "" | "." => {}
                ".." => drop(names.pop().ok_or_else(outside)?),
                name => names.push(name),
            }
        }
        Ok(PathBuf::from(format!("{dest}/{host}/{}", names.join("/"))))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;

    use super::*;
    use crate::from_args;

    #[test]
    fn a_fetched_file_stays_below_its_folder() {
        for (host, src, flat, place) in [
            ("h", "/etc/a", false, Some("/d/h/etc/a")),
            ("h", "/etc/./x/../a", false, Some("/d/h/etc/a")),
            ("h", "/etc/../../a", false, None),
            ("h", "/tmp/../../../../../../tmp/payload", false, None),
            ("..", "/etc/a", false, None),
            ("../other", "/etc/a", false, None),
            ("h", "/etc/a", true, Some("/d/a")),
            ("h", "/etc/..", true, None),
        ] {
            let args = serde_json::json!({"src": src, "dest": "/d/", "flat": flat});
            let fetch: Fetch = from_args(args.as_object().cloned().unwrap_or_default()).expect("valid");
            let got = fetch.destination(host).ok();
            assert_eq!(got.as_deref(), place.map(Path::new), "{host} {src}");
        }
    }

    #[tokio::test]
    async fn no_more_is_taken_than_was_agreed_on() {
        let mut file = AtMost { inner: Vec::new(), left: 6, exceeded: false };
        file.write_all(b"123456").await.expect("room");
        assert!(file.write_all(b"7").await.is_err());
        assert_eq!((file.inner.as_slice(), file.exceeded), (b"123456".as_slice(), true));
    }
}
