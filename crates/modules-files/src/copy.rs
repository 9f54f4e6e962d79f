use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::host::{Reply, Script};
use crate::value::Value;
use crate::{Mode, ModuleError, Plan, RunMode, ShellResource, TaskContext};

use super::content::{Entry, Found, Source, base_name, find, text_of};
use super::placement::{CopyMode, Destination, Item, Placement, Seen, check_validate};
use super::remote_copy::{RemoteCopy, RemoteSeen};

/// A text, a file or a folder of the controller (or of the target itself) at a place on the target.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Copy {
    /// A file or folder of the role's or play's `files`; a folder with a trailing slash means what is in it.
    src: Option<String>,
    /// The text itself; mappings and lists become JSON.
    content: Option<Value>,
    /// The file on the target, or a folder that takes it under its own name.
    dest: Destination,
    mode: Option<CopyMode>,
    /// The mode of folders that are made.
    directory_mode: Option<Mode>,
    owner: Option<String>,
    group: Option<String>,
    #[serde(default)]
    backup: bool,
    /// Replace a file that differs.
    #[serde(default = "crate::args::yes", alias = "thirsty")]
    force: bool,
    /// Write through a link at the destination, instead of replacing it.
    #[serde(default)]
    follow: bool,
    /// `src` is on the target.
    #[serde(default)]
    remote_src: bool,
    /// Open files that are encrypted with the vault.
    #[serde(default = "crate::args::yes")]
    decrypt: bool,
    /// A command that must accept the new file; `%s` is its name.
    validate: Option<String>,
    /// The SHA-1 that the file must have.
    checksum: Option<String>,
    #[serde(skip)]
    job: Option<Job>,
}

#[derive(Debug, Clone)]
enum Job {
    Place(Box<Placement>),
    Remote(RemoteCopy),
}

pub(super) enum CopySeen {
    Place(Box<Seen>),
    Remote(Box<RemoteSeen>),
}

#[async_trait]
impl ShellResource for Copy {
    const NAME: &'static str = "copy";
    const FQCN: &'static [&'static str] = &["ansible.builtin.copy", "ansible.legacy.copy"];
    type Observed = CopySeen;

    fn validate(&self) -> Result<(), ModuleError> {
        check_validate(self.validate.as_deref())?;
        let refuse = |message: &str| Err(ModuleError::Arguments(message.into()));
        match (&self.src, &self.content) {
            (None, None) => refuse("src (or content) is required"),
            (Some(_), Some(_)) => refuse("src and content are mutually exclusive"),
            (None, Some(_)) if self.dest.is_folder => refuse("can not use content with a dir as dest"),
            (Some(src), _) if self.remote_src && !src.starts_with('/') => {
                refuse("with remote_src, src is an absolute path on the target")
            }
            _ => Ok(()),
        }
    }

    async fn prepare(&mut self, cx: &TaskContext) -> Result<(), ModuleError> {
        let mut is_tree = false;
        let items = match (&self.content, &self.src) {
            (Some(content), _) => {
                let source = Source::bytes(text_of(content).into_bytes());
                vec![Item { name: None, entry: Entry::File(source) }]
            }
            (None, Some(src)) if self.remote_src => {
                self.job = Some(Job::Remote(RemoteCopy {
                    src: src.clone(),
                    dest: self.dest.clone(),
                    mode: self.mode.clone(),
                    owner: self.owner.clone(),
                    group: self.group.clone(),
                    backup: self.backup,
                    force: self.force,
                    validate: self.validate.clone(),
                    checksum: self.checksum.clone(),
                }));
                return Ok(());
            }
            (None, src) => {
                let src = src.as_deref().unwrap_or_default();
                match find(cx, src, self.decrypt).await? {
                    Found::One(source) => {
                        vec![Item { name: Some(base_name(src).to_owned()), entry: Entry::File(source) }]
                    }
                    Found::Tree(entries) => {
                        is_tree = true;
                        entries.into_iter().map(|(name, entry)| Item { name: Some(name), entry }).collect()
                    }
                }
            }
        };
        if let (Some(wanted), [Item { entry: Entry::File(source), .. }]) = (&self.checksum, items.as_slice())
            && !wanted.eq_ignore_ascii_case(&source.sha1)
        {
            return Err(ModuleError::failed(format!(
                "Copied file does not match the expected checksum. Transfer failed: it is {}, not {wanted}",
                source.sha1
            )));
        }
        self.job = Some(Job::Place(Box::new(Placement {
            dest: self.dest.clone(),
            items,
            is_tree,
            mode: self.mode.clone(),
            directory_mode: self.directory_mode.clone(),
            owner: self.owner.clone(),
            group: self.group.clone(),
            backup: self.backup,
            force: self.force,
            follow: self.follow && !is_tree,
            validate: self.validate.clone(),
            diff: cx.mode.diff,
        })));
        Ok(())
    }

    fn probe(&self) -> Script {
        match &self.job {
            Some(Job::Place(placement)) => placement.probe(),
            Some(Job::Remote(remote)) => remote.probe(),
            None => Script::default(),
        }
    }

    fn read(&self, reply: &Reply) -> Result<CopySeen, ModuleError> {
        match &self.job {
            Some(Job::Place(placement)) => placement.read(reply).map(|seen| CopySeen::Place(Box::new(seen))),
            Some(Job::Remote(remote)) => remote.read(reply).map(|seen| CopySeen::Remote(Box::new(seen))),
            None => Err(unprepared()),
        }
    }

    fn plan(&self, now: &CopySeen, mode: RunMode) -> Result<Plan, ModuleError> {
        match (&self.job, now) {
            (Some(Job::Place(placement)), CopySeen::Place(seen)) => placement.plan(seen, mode),
            (Some(Job::Remote(remote)), CopySeen::Remote(seen)) => remote.plan(seen, mode),
            _ => Err(unprepared()),
        }
    }
}

fn unprepared() -> ModuleError {
    ModuleError::failed("the source was not read")
}
