use crate::host::{Content, Link, Reply, Script, Step};
use crate::value::{Map, Value};
use crate::{Diff, ModuleError, Plan, RemotePath, RunMode};

use super::attributes::{Attributes, Principals};
use super::difference;
use super::file::missing;
use super::inode::{Inode, Kind};
use super::probe::{Answer, Me, Probe};

/// The file that is edited, and how.
pub(super) struct Edited<'a> {
    pub(super) path: &'a RemotePath,
    pub(super) attributes: Attributes,
    pub(super) backup: bool,
    pub(super) validate: Option<&'a str>,
    /// Never shown in a difference.
    pub(super) secret: bool,
}

/// What an edit came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Edition {
    /// The new text; `None` leaves the file (or its absence) as it is.
    pub(super) text: Option<String>,
    pub(super) message: String,
    /// What else `register` sees.
    pub(super) result: Map,
}

/// A module that changes some lines of a text file.
pub(super) trait Edit {
    fn edited(&self) -> Edited<'_>;
    fn check_arguments(&self) -> Result<(), ModuleError> {
        Ok(())
    }
    /// Whether the result says nothing of the file itself, as Ansible's own line editors do.
    fn is_terse(&self) -> bool {
        false
    }
    /// Whether the result says `backup` where none was made.
    fn tells_backup(&self) -> bool {
        false
    }
    /// Pure: the file's text, or `None` where there is no file.
    fn edit(&self, before: Option<&str>) -> Result<Edition, ModuleError>;
}

/// A text file as it is now.
pub(super) struct Open {
    /// Behind links.
    inode: Option<Inode>,
    real: String,
    base: String,
    me: Option<Me>,
    ids: Principals,
    stamp: Option<String>,
    text: Option<String>,
}

pub(super) fn probe(edit: &impl Edit) -> Script {
    let edited = edit.edited();
    let path = edited.path.as_str();
    let probe = Probe::new().look("path", path).base("base", edited.path.parent()).me().stamp(edited.backup);
    edited.attributes.ask(probe).content(path).script()
}

pub(super) fn read(edit: &impl Edit, reply: &Reply) -> Result<Open, ModuleError> {
    let edited = edit.edited();
    let path = edited.path;
    let answer = Answer::read(reply)?;
    let inode = match answer.inode("path")? {
        Some(link) if link.is_link() => answer.inode("path.to")?,
        other => other,
    };
    if inode.as_ref().is_some_and(Inode::is_directory) {
        return Err(failed(256, format!("Path {path} is a directory !")));
    }
    if answer.get("unreadable").is_some() {
        return Err(ModuleError::failed(format!("{path} cannot be read")).hint("become: true may be missing"));
    }
    let text = match &answer.content {
        Some(bytes) => Some(String::from_utf8(bytes.clone()).map_err(|e| {
            let at = e.utf8_error().valid_up_to();
            ModuleError::failed(format!("{path} is not UTF-8 text (byte {at}); it is left alone"))
        })?),
        None => None,
    };
    Ok(Open {
        inode,
        real: answer.get("path.real").unwrap_or(path.as_str()).to_owned(),
        base: answer.get("base").unwrap_or("/").to_owned(),
        me: answer.me(),
        ids: edited.attributes.resolve(&answer),
        stamp: answer.get("stamp").map(Into::into),
        text,
    })
}

pub(super) fn plan(edit: &impl Edit, now: &Open, mode: RunMode) -> Result<Plan, ModuleError> {
    let Edited { path, attributes, validate, secret, .. } = edit.edited();
    attributes.judge(now.ids, mode)?;
    let edited_backup = edit.tells_backup();
    let edition = edit.edit(now.text.as_deref())?;
    let new = edition.text.filter(|t| now.text.as_ref() != Some(t));
    let mut plan = Plan::default();
    let mut result = edition.result;
    let mut message = edition.message;
    if !edit.is_terse() {
        result.insert("path".into(), path.as_str().into());
    }
    if edited_backup {
        result.insert("backup".into(), "".into());
    }

    let is_there = now.inode.is_some();
    let before = now.inode.clone().unwrap_or_else(|| Attributes::newborn(Kind::File, now.me.as_ref(), 0));
    let adjustment = attributes.adjust(path.as_str(), Link::Followed, &before, now.ids);
    let mut after = adjustment.after;
    if let Some(text) = new {
        after.size = text.len() as u64;
        if !secret {
            plan.diff.push(difference::contents(
                path.as_str(),
                now.text.as_ref().map(String::as_bytes),
                Some(text.as_bytes()),
            ));
        }
        if let (true, Some(stamp)) = (is_there, &now.stamp) {
            let copy = format!("{}.{stamp}", now.real);
            plan.steps.push(Step::Backup { path: path.to_string(), copy: copy.clone() });
            result.insert("backup".into(), copy.clone().into());
            result.insert("backup_file".into(), copy.into());
        }
        if !is_there {
            let folders = missing(&now.base, path.parent());
            plan.steps.extend(folders.into_iter().map(|path| Step::MakeDirectory {
                path,
                mode: None,
                owner: None,
                group: None,
            }));
        }
        plan.steps.push(Step::WriteFile {
            path: path.to_string(),
            content: Content::edited(text, now.text.as_deref()),
            mode: attributes.mode.is_some().then_some(after.mode),
            owner: attributes.owner,
            group: attributes.group,
            backup: false,
            validate: validate.map(Into::into),
        });
    } else if is_there {
        plan.steps = adjustment.steps;
    }
    if adjustment.before_text != adjustment.after_text {
        if is_there {
            plan.diff.push(Diff::new(
                &format!("{path} (attributes)"),
                adjustment.before_text,
                adjustment.after_text,
            ));
        }
        if !message.is_empty() {
            message.push_str(" and ");
        }
        message.push_str("ownership, perms or SE linux context changed");
    }
    if !edit.is_terse() && (is_there || !plan.steps.is_empty()) {
        after.describe(&mut result);
    }
    result.insert("msg".into(), message.into());
    Ok(Plan { result, ..plan })
}

/// A failure with the status that Ansible registers for it.
pub(super) fn failed(rc: i64, message: impl Into<String>) -> ModuleError {
    let mut result = Map::new();
    result.insert("rc".into(), Value::from(rc));
    ModuleError::failed(message).with_result(result)
}

/// The text as lines, each with its line end.
pub(super) fn lines_of(text: &str) -> Vec<String> {
    text.split_inclusive('\n').map(Into::into).collect()
}

/// Makes `Resource` of an `Edit`.
macro_rules! edits {
    ($type:ty, $name:literal, $fqcn:expr) => {
        impl crate::ShellResource for $type {
            const NAME: &'static str = $name;
            const FQCN: &'static [&'static str] = $fqcn;
            type Observed = super::edit::Open;

            fn validate(&self) -> Result<(), ModuleError> {
                super::edit::Edit::check_arguments(self)
            }

            fn probe(&self) -> crate::host::Script {
                super::edit::probe(self)
            }

            fn read(&self, reply: &crate::host::Reply) -> Result<Self::Observed, ModuleError> {
                super::edit::read(self, reply)
            }

            fn plan(&self, now: &Self::Observed, mode: crate::RunMode) -> Result<crate::Plan, ModuleError> {
                super::edit::plan(self, now, mode)
            }
        }
    };
}
pub(super) use edits;
