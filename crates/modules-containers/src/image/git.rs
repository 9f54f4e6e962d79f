use std::path::{Path, PathBuf};
use std::process::Stdio;

use tempfile::TempDir;
use tokio::process::Command;

use crate::{ModuleError, TaskContext};

/// How many of git's last lines a failure tells.
const LAST_LINES: usize = 4;

/// What begins the address of a repository; those of the web end in `.git` besides.
const SCHEMES: [&str; 4] = ["git://", "ssh://", "file://", "git@"];
const WEB: [&str; 2] = ["https://", "http://"];

/// What git says, in the C locale, of a name that a repository does not have.
const NO_SUCH_REF: &str = "couldn't find remote ref";

/// Whether a reference can be a commit's abbreviated number, which a repository does not list.
fn may_be_a_commit(reference: &str) -> bool {
    reference.len() >= 4 && reference.bytes().all(|b| b.is_ascii_hexdigit())
}

/// A build's context in a git repository: `URL`, `URL#REF`, `URL#REF:FOLDER` or `URL#:FOLDER`,
/// as the engine's own client writes it (<https://docs.docker.com/build/concepts/context/#git-repositories>).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GitContext {
    url: String,
    /// A branch, a tag or a commit; without it, what the repository's HEAD is.
    reference: Option<String>,
    folder: Option<String>,
}

/// What was fetched of a repository; it is removed with this.
#[derive(Debug)]
pub(super) struct Fetched {
    _kept: TempDir,
    pub folder: PathBuf,
}

impl GitContext {
    /// None where a path is no address of a repository.
    pub(super) fn parse(path: &str) -> Result<Option<Self>, ModuleError> {
        let (url, fragment) = path.split_once('#').unwrap_or((path, ""));
        let is_web = WEB.iter().any(|scheme| url.starts_with(scheme));
        if !is_web && !SCHEMES.iter().any(|scheme| url.starts_with(scheme)) {
            return Ok(None);
        }
        let wrong =
            |why: &str, hint: &str| Err(ModuleError::failed(format!("path {url:?} {why}")).hint(hint));
        if is_web && url.strip_suffix(".git").is_none() {
            return wrong(
                "is neither a folder nor a repository",
                "the address of a git repository ends in .git, and may go on with #BRANCH:FOLDER",
            );
        }
        let user = url.split_once("://").and_then(|(_, rest)| rest.split('/').next()?.rsplit_once('@'));
        if user.is_some_and(|(user, _)| user.contains(':')) {
            return Err(ModuleError::failed(
                "path holds a password, which everybody on the controller could read in the list of processes",
            )
            .hint("leave it out of the address, and let git know it: git help credentials"));
        }
        let (reference, folder) = fragment.split_once(':').unwrap_or((fragment, ""));
        if reference.starts_with('-') {
            return wrong("names no branch, tag or commit behind #", "write #BRANCH, #TAG or #COMMIT");
        }
        if folder.starts_with('/') || folder.split('/').any(|part| part == "..") {
            return wrong(
                "names a folder that is not in the repository",
                "give it from the repository's top, such as #main:images/redis",
            );
        }
        let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Ok(Some(Self { url: url.to_owned(), reference: given(reference), folder: given(folder) }))
    }

    /// Fetches one commit with its submodules, by the controller's git: the target needs none.
    pub(super) async fn fetch(&self, cx: &TaskContext) -> Result<Fetched, ModuleError> {
        cx.controller.progress(&format!("fetching {}", self.url));
        let kept = tempfile::Builder::new()
            .prefix("quaylab-git.")
            .tempdir()
            .map_err(|e| ModuleError::failed(format!("a folder for {}: {e}", self.url)))?;
        let top = kept.path();
        self.git(top, &["init", "-q", "."]).await?;
        self.git(top, &["remote", "add", "origin", &self.url]).await?;
        let wanted = self.reference.as_deref().unwrap_or("HEAD");
        match self.git(top, &["fetch", "-q", "--depth", "1", "origin", wanted]).await {
            Ok(()) => self.git(top, &["checkout", "-q", "--detach", "FETCH_HEAD"]).await?,
            Err(e) if e.to_string().contains(NO_SUCH_REF) && !may_be_a_commit(wanted) => {
                return Err(self.no_reference(wanted));
            }
            // A server may give no single commit, and an abbreviated one is found only among all of them.
            Err(_) => {
                self.git(top, &self.everything()).await?;
                self.checkout_any(top).await?;
            }
        }
        if top.join(".gitmodules").exists() {
            self.git(top, &["submodule", "-q", "update", "--init", "--recursive", "--depth", "1"]).await?;
        }
        let folder = self.folder_in(top)?;
        tokio::fs::remove_dir_all(top.join(".git"))
            .await
            .map_err(|e| ModuleError::failed(format!("{}: {e}", top.display())))?;
        Ok(Fetched { folder, _kept: kept })
    }

    fn everything(&self) -> Vec<&str> {
        let refs: &[&str] = match self.reference {
            Some(_) => &["+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*"],
            None => &["HEAD"],
        };
        ["fetch", "-q", "origin"].iter().chain(refs).copied().collect()
    }

    async fn checkout_any(&self, top: &Path) -> Result<(), ModuleError> {
        let Some(reference) = &self.reference else {
            return self.git(top, &["checkout", "-q", "--detach", "FETCH_HEAD"]).await;
        };
        let branch = format!("refs/remotes/origin/{reference}");
        if self.git(top, &["checkout", "-q", "--detach", &branch]).await.is_ok() {
            return Ok(());
        }
        self.git(top, &["checkout", "-q", "--detach", reference])
            .await
            .map_err(|_| self.no_reference(reference))
    }

    fn no_reference(&self, reference: &str) -> ModuleError {
        ModuleError::failed(format!("{} has no branch, tag or commit {reference}", self.url))
            .hint("git ls-remote lists what it has")
    }

    /// A link in the repository must not lead to another folder of the controller.
    fn folder_in(&self, top: &Path) -> Result<PathBuf, ModuleError> {
        let wanted = self.folder.as_deref().unwrap_or(".");
        let real = |path: &Path| path.canonicalize().ok();
        match (real(&top.join(wanted)), real(top)) {
            (Some(folder), Some(top)) if folder.is_dir() && folder.starts_with(&top) => Ok(folder),
            _ => Err(ModuleError::failed(format!("{} has no folder {wanted}", self.url))
                .hint("the folder stands behind the colon: #BRANCH:FOLDER")),
        }
    }

    async fn git(&self, at: &Path, args: &[&str]) -> Result<(), ModuleError> {
        let mut command = Command::new("git");
        command.args(args).current_dir(at).stdin(Stdio::null()).kill_on_drop(true);
        command.env("LC_ALL", "C").env("GIT_TERMINAL_PROMPT", "0");
        if std::env::var_os("GIT_SSH_COMMAND").is_none() {
            command.env("GIT_SSH_COMMAND", "ssh -o BatchMode=yes");
        }
        // Set where this runs in a hook of another repository.
        for other in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY"] {
            command.env_remove(other);
        }
        let done = command.output().await.map_err(|e| {
            let error = ModuleError::failed(format!("{} cannot be fetched: git: {e}", self.url));
            let missing = e.kind() == std::io::ErrorKind::NotFound;
            if missing { error.hint("install git on the controller") } else { error }
        })?;
        if done.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&done.stderr);
        let lines: Vec<&str> = said.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
        let last = lines.get(lines.len().saturating_sub(LAST_LINES)..).unwrap_or_default().join("\n  ");
        Err(ModuleError::failed(format!("{} cannot be fetched:\n  {last}", self.url)).hint(
            "the controller's git must reach it without a question: see that git ls-remote answers there",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_told_from_folders() {
        let git = |url: &str, reference: Option<&str>, folder: Option<&str>| {
            let own = |text: &str| text.to_owned();
            Some(GitContext { url: url.into(), reference: reference.map(own), folder: folder.map(own) })
        };
        for (path, expected) in [
            ("images/redis", None),
            ("/srv/images.git", None),
            ("./https:/x.git", None),
            ("https://a/b.git", git("https://a/b.git", None, None)),
            ("https://me@a/b.git#v1", git("https://me@a/b.git", Some("v1"), None)),
            ("http://a:8080/b.git#v1:x/y", git("http://a:8080/b.git", Some("v1"), Some("x/y"))),
            ("git@a:b/c.git#:x", git("git@a:b/c.git", None, Some("x"))),
            ("git://a/b#", git("git://a/b", None, None)),
            ("ssh://git@a:22/b", git("ssh://git@a:22/b", None, None)),
            ("file:///srv/b.git#main", git("file:///srv/b.git", Some("main"), None)),
        ] {
            assert_eq!(GitContext::parse(path).expect("read"), expected, "{path}");
        }
    }

    #[test]
    fn what_is_no_address_is_said() {
        for (path, why) in [
            ("https://a/b", "path \"https://a/b\" is neither a folder nor a repository"),
            (
                "https://me:secret@a/b.git",
                "path holds a password, which everybody on the controller could read in the list of processes",
            ),
            ("git://a/b#--upload-pack=x", "path \"git://a/b\" names no branch, tag or commit behind #"),
            ("git://a/b#v1:../x", "path \"git://a/b\" names a folder that is not in the repository"),
            ("git://a/b#:/x", "path \"git://a/b\" names a folder that is not in the repository"),
        ] {
            assert_eq!(GitContext::parse(path).expect_err("refused").to_string(), why);
        }
    }
}
