use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bollard::Docker;
use bollard::auth::DockerCredentials;
use bollard::query_parameters::BuildImageOptionsBuilder;
use bytes::Bytes;
use futures_util::StreamExt;
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::sync::mpsc;

use super::git::GitContext;
use super::ignore::Ignore;
use super::pull::own_credentials;
use super::registry_of;
use crate::engine;
use crate::{FileKind, ModuleError, TaskContext};

/// What is sent at once, and how many of those wait.
const CHUNK: usize = 256 << 10;
const WAITING: usize = 4;

/// How many of the engine's last lines a failed build tells.
const LAST_LINES: usize = 12;

/// What an image is built from.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Build {
    /// The context: a folder on the controller, or a git repository's `URL#REF:FOLDER` that the controller fetches;
    /// `.dockerignore` counts.
    path: String,
    /// The Dockerfile in that folder; by default `Dockerfile`, else `Containerfile`.
    dockerfile: Option<String>,
    /// Values of `ARG`. They stay readable in the image's history.
    #[serde(default)]
    args: BTreeMap<String, String>,
    /// Ask for newer versions of the images it starts from.
    #[serde(default)]
    pull: bool,
    /// The stage to build.
    target: Option<String>,
    /// Use nothing of earlier builds.
    #[serde(default)]
    nocache: bool,
    /// Remove the containers that it was built in.
    #[serde(default = "crate::args::yes")]
    rm: bool,
    /// Labels of the image.
    #[serde(default)]
    labels: BTreeMap<String, String>,
    /// The network of the steps.
    network: Option<String>,
}

/// Where a build's context is.
#[derive(Debug, Clone)]
pub(crate) enum Context {
    Here(Folder),
    /// Fetched when it is built, as an image that is there needs nothing.
    Git(GitContext),
}

/// A build's folder on the controller, once it is found.
#[derive(Debug, Clone)]
pub(crate) struct Folder {
    path: PathBuf,
    dockerfile: String,
    /// The images that it starts from.
    starts_from: Vec<String>,
}

impl Build {
    /// Finds a folder and reads its Dockerfile; of a repository only the address.
    pub(crate) fn context(&self, cx: &TaskContext) -> Result<Context, ModuleError> {
        if let Some(git) = GitContext::parse(&self.path)? {
            self.dockerfile.as_deref().map(inside).transpose()?;
            return Ok(Context::Git(git));
        }
        self.folder(&cx.controller.locate(FileKind::Files, &self.path)?).map(Context::Here)
    }

    fn folder(&self, path: &Path) -> Result<Folder, ModuleError> {
        let names = match &self.dockerfile {
            Some(name) => vec![inside(name)?],
            None => vec!["Dockerfile".to_owned(), "Containerfile".to_owned()],
        };
        let found = names.iter().find(|name| path.join(name).is_file()).ok_or_else(|| {
            ModuleError::failed(format!("{} holds no {}", self.place(path), names.join(" and no ")))
                .hint("path is the folder of the build's context, dockerfile a file in it")
        })?;
        let text = std::fs::read(path.join(found))
            .map_err(|e| ModuleError::failed(format!("{}: {e}", path.join(found).display())))?;
        let starts_from = starts_from(&String::from_utf8_lossy(&text));
        Ok(Folder { dockerfile: found.clone(), path: path.to_owned(), starts_from })
    }

    /// What a user calls the folder: a repository's was made for this build.
    fn place(&self, path: &Path) -> String {
        match GitContext::parse(&self.path) {
            Ok(Some(_)) => self.path.clone(),
            _ => path.display().to_string(),
        }
    }
}

/// A Dockerfile's path in its context.
fn inside(name: &str) -> Result<String, ModuleError> {
    let clean = name.trim_start_matches("./");
    if clean.starts_with('/') || clean.split('/').any(|part| part == "..") {
        return Err(ModuleError::Arguments(format!(
            "dockerfile {name:?} is not in the build's path; give it from there, such as docker/Dockerfile"
        )));
    }
    Ok(clean.to_owned())
}

/// The images that the stages of a Dockerfile start from, as far as they are named without variables.
fn starts_from(dockerfile: &str) -> Vec<String> {
    let mut images = Vec::new();
    for line in dockerfile.lines() {
        let mut words = line.split_whitespace();
        if !words.next().is_some_and(|word| word.eq_ignore_ascii_case("from")) {
            continue;
        }
        if let Some(image) = words.find(|word| !word.starts_with("--")) {
            images.push(image.to_owned());
        }
    }
    images.retain(|image| image != "scratch" && !image.contains('$'));
    images
}

/// Lets the engine build an image from what the context holds, streamed as it is read.
pub(crate) async fn build(
    cx: &TaskContext,
    docker: &Docker,
    name: &str,
    build: &Build,
    context: &Context,
    platform: Option<&str>,
) -> Result<(), ModuleError> {
    match context {
        Context::Here(folder) => build_folder(cx, docker, name, build, folder, platform).await,
        Context::Git(git) => {
            let fetched = git.fetch(cx).await?;
            let folder = build.folder(&fetched.folder)?;
            build_folder(cx, docker, name, build, &folder, platform).await
        }
    }
}

async fn build_folder(
    cx: &TaskContext,
    docker: &Docker,
    name: &str,
    build: &Build,
    context: &Folder,
    platform: Option<&str>,
) -> Result<(), ModuleError> {
    let mut credentials = HashMap::new();
    for image in &context.starts_from {
        let registry = registry_of(image);
        if let Some((user, password)) = own_credentials(cx, registry).await? {
            let given = DockerCredentials {
                username: Some(user),
                password: Some(password.0),
                serveraddress: Some(registry.to_owned()),
                ..DockerCredentials::default()
            };
            credentials.insert(registry.to_owned(), given);
        }
    }
    let mut options = BuildImageOptionsBuilder::new()
        .t(name)
        .dockerfile(&context.dockerfile)
        .rm(build.rm)
        .forcerm(build.rm)
        .nocache(build.nocache)
        .buildargs(&build.args.clone().into_iter().collect::<HashMap<_, _>>())
        .labels(&build.labels.clone().into_iter().collect::<HashMap<_, _>>());
    if build.pull {
        options = options.pull("1");
    }
    for (value, set) in [
        (build.target.as_deref(), BuildImageOptionsBuilder::target as fn(_, &str) -> _),
        (build.network.as_deref(), BuildImageOptionsBuilder::networkmode),
        (platform, BuildImageOptionsBuilder::platform),
    ] {
        if let Some(value) = value {
            options = set(options, value);
        }
    }
    cx.controller.progress(&format!("building {name}"));
    let wrong = Arc::new(Mutex::new(None));
    let body = bollard::body_try_stream(sent(context.clone(), Arc::clone(&wrong)));
    let mut answers = std::pin::pin!(docker.build_image(options.build(), Some(credentials), Some(body)));
    let mut said: Vec<String> = Vec::new();
    while let Some(answer) = answers.next().await {
        let info = answer.map_err(|e| {
            let unread = wrong.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(why) = unread {
                return ModuleError::failed(format!("{name} cannot be built: {why}"));
            }
            let lines: String = said.iter().map(|line| format!("\n  {line}")).collect();
            ModuleError::failed(format!("{name} cannot be built: {}{lines}", engine::reason(&e)))
                .hint("the lines above are what the engine said last")
        })?;
        let text = info.stream.or(info.status).unwrap_or_default();
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            cx.controller.progress(&format!("building {name}: {line}"));
            if said.len() == LAST_LINES {
                said.remove(0);
            }
            said.push(line.to_owned());
        }
    }
    Ok(())
}

/// The context as a tar, read on a thread of its own and no faster than it is sent.
fn sent(
    context: Folder,
    wrong: Arc<Mutex<Option<String>>>,
) -> impl futures_util::Stream<Item = std::io::Result<Bytes>> + Send + 'static {
    let (sender, receiver) = mpsc::channel(WAITING);
    tokio::task::spawn_blocking(move || {
        let out = std::io::BufWriter::with_capacity(CHUNK, Sending(sender.clone()));
        let done = pack(&context, out).and_then(|mut out| out.flush().map_err(|e| e.to_string()));
        if let Err(why) = done {
            *wrong.lock().unwrap_or_else(PoisonError::into_inner) = Some(why.clone());
            // Where nobody listens any more, the engine has said why.
            let _ended = sender.blocking_send(Err(std::io::Error::other(why)));
        }
    });
    futures_util::stream::unfold(receiver, |mut receiver| async {
        receiver.recv().await.map(|chunk| (chunk, receiver))
    })
}

struct Sending(mpsc::Sender<std::io::Result<Bytes>>);

impl Write for Sending {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0
            .blocking_send(Ok(Bytes::copy_from_slice(bytes)))
            .map_err(|_| std::io::Error::from(std::io::ErrorKind::BrokenPipe))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn pack<W: Write>(context: &Folder, out: W) -> Result<W, String> {
    let folder = &context.path;
    let ignore = match std::fs::read_to_string(folder.join(".dockerignore")) {
        Ok(text) => Ignore::parse(&text)?,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ignore::default(),
        Err(e) => return Err(format!("{}: {e}", folder.join(".dockerignore").display())),
    };
    let mut names = Vec::new();
    walk(folder, "", &ignore, &context.dockerfile, &mut names)?;
    names.sort();
    let mut tar = tar::Builder::new(out);
    for name in names {
        let path = folder.join(&name);
        append(&mut tar, &path, &name).map_err(|e| format!("{}: {e}", path.display()))?;
    }
    tar.into_inner().map_err(|e| e.to_string())
}

/// The engine needs these also where they are left out; it leaves them out itself then.
fn is_needed(name: &str, dockerfile: &str) -> bool {
    name == dockerfile || name == ".dockerignore"
}

fn walk(
    folder: &Path,
    below: &str,
    ignore: &Ignore,
    dockerfile: &str,
    names: &mut Vec<String>,
) -> Result<(), String> {
    let problem = |e: std::io::Error| format!("{}: {e}", folder.display());
    for entry in std::fs::read_dir(folder).map_err(problem)? {
        let entry = entry.map_err(problem)?;
        let name = entry.file_name();
        let name =
            name.to_str().ok_or_else(|| format!("{}: its name is not UTF-8", entry.path().display()))?;
        let path = if below.is_empty() { name.to_owned() } else { format!("{below}/{name}") };
        let out = ignore.excludes(&path);
        let kind = entry.file_type().map_err(problem)?;
        if !out && (kind.is_dir() || kind.is_file() || kind.is_symlink()) || is_needed(&path, dockerfile) {
            names.push(path.clone());
        }
        let leads_on = dockerfile.strip_prefix(&path).is_some_and(|rest| rest.starts_with('/'));
        if kind.is_dir() && (!out || ignore.takes_in_again() || leads_on) {
            walk(&entry.path(), &path, ignore, dockerfile, names)?;
        }
    }
    Ok(())
}

/// As root's, whoever has it here; links stay links.
fn append<W: Write>(tar: &mut tar::Builder<W>, path: &Path, name: &str) -> std::io::Result<()> {
    let meta = path.symlink_metadata()?;
    let mut header = tar::Header::new_gnu();
    header.set_metadata_in_mode(&meta, tar::HeaderMode::Complete);
    header.set_mode(meta.permissions().mode() & 0o7777);
    header.set_uid(0);
    header.set_gid(0);
    if meta.is_symlink() {
        header.set_size(0);
        return tar.append_link(&mut header, name, std::fs::read_link(path)?);
    }
    if meta.is_dir() {
        header.set_size(0);
        return tar.append_data(&mut header, name, std::io::empty());
    }
    let file = std::fs::File::open(path)?;
    // A file that grows meanwhile must not run into the next one.
    tar.append_data(&mut header, name, std::io::Read::take(file, meta.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_context_holds_what_is_not_left_out() {
        let dir = tempfile::tempdir().expect("a folder");
        let put = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            std::fs::write(path, text).expect("written");
        };
        put(".dockerignore", "docker\nlogs\n!logs/keep\n*.key\n.dockerignore\n");
        for name in ["docker/Dockerfile", "docker/other", "logs/keep", "logs/lose", "a.key", "app/run"] {
            put(name, name);
        }
        std::os::unix::fs::symlink("run", dir.path().join("app/link")).expect("linked");
        let executable = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(dir.path().join("app/run"), executable).expect("set");
        let context = Folder {
            path: dir.path().to_owned(),
            dockerfile: "docker/Dockerfile".into(),
            starts_from: Vec::new(),
        };
        let bytes = pack(&context, Vec::new()).expect("packed");
        let mut archive = tar::Archive::new(&bytes[..]);
        let seen: Vec<String> = archive
            .entries()
            .expect("entries")
            .map(|entry| {
                let entry = entry.expect("an entry");
                let header = entry.header();
                let (kind, mode) = (header.entry_type(), header.mode().expect("a mode"));
                assert_eq!((header.uid().ok(), header.gid().ok()), (Some(0), Some(0)));
                let mark = match kind {
                    tar::EntryType::Directory => "/",
                    tar::EntryType::Symlink => "@",
                    _ if mode & 0o111 != 0 => "*",
                    _ => "",
                };
                format!("{}{mark}", entry.path().expect("a path").display())
            })
            .collect();
        assert_eq!(
            seen,
            [".dockerignore", "app/", "app/link@", "app/run*", "docker/Dockerfile", "logs/keep"]
        );
    }

    #[test]
    fn the_images_that_a_build_starts_from_are_known() {
        let text = "ARG X=1\nFROM --platform=linux/amd64 quay.io/a/b:1 AS one\nfrom scratch\nFROM $X\nRUN x\nFROM one\n";
        assert_eq!(starts_from(text), ["quay.io/a/b:1", "one"]);
        assert!(inside("../Dockerfile").is_err() && inside("/x").is_err());
        assert_eq!(inside("./docker/x").expect("inside"), "docker/x");
    }
}
