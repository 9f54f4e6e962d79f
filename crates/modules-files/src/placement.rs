use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, de};

use crate::host::{Link, Place as Spot, Reply, Script, Step};
use crate::value::{Map, Value};
use crate::{Diff, Mode, ModuleError, Plan, RemotePath, RunMode};

use super::attributes::{Attributes, Principals};
use super::content::{Entry, Source};
use super::difference;
use super::file::missing;
use super::inode::{Inode, Kind};
use super::probe::{Answer, Me, Probe};

/// Where files go: a trailing slash says that it is a folder.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema)]
#[schemars(with = "String")]
pub(super) struct Destination {
    pub(super) path: RemotePath,
    pub(super) is_folder: bool,
}

impl<'de> Deserialize<'de> for Destination {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let is_folder = text.ends_with('/');
        Ok(Self { path: RemotePath::try_from(text).map_err(de::Error::custom)?, is_folder })
    }
}

/// A mode, or the mode of the file that is copied.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema)]
#[schemars(with = "String")]
pub(super) enum CopyMode {
    Preserve,
    Is(Mode),
}

impl<'de> Deserialize<'de> for CopyMode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::String(s) if s == "preserve" => Ok(Self::Preserve),
            other => Mode::deserialize(other).map(Self::Is).map_err(de::Error::custom),
        }
    }
}

/// One thing that shall stand below, or at, the destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Item {
    /// Relative to the destination; of a single file, its name in case the destination is a folder.
    pub(super) name: Option<String>,
    pub(super) entry: Entry,
}

/// What shall stand on the target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Placement {
    pub(super) dest: Destination,
    pub(super) items: Vec<Item>,
    /// The items lie below the destination, which is a folder.
    pub(super) is_tree: bool,
    pub(super) mode: Option<CopyMode>,
    pub(super) directory_mode: Option<Mode>,
    pub(super) owner: Option<String>,
    pub(super) group: Option<String>,
    pub(super) backup: bool,
    pub(super) force: bool,
    pub(super) follow: bool,
    pub(super) validate: Option<String>,
    pub(super) diff: bool,
}

pub(super) struct Place {
    at: String,
    dest_is_folder: bool,
    inode: Option<Inode>,
    link: Option<String>,
    real: Option<String>,
    to: Option<Inode>,
    sha1: Option<String>,
    base: String,
}

pub(super) struct Seen {
    places: Vec<Place>,
    me: Option<Me>,
    ids: Principals,
    stamp: Option<String>,
    /// The old content of a single file, where the difference is wanted and it is small.
    old: Option<Vec<u8>>,
}

impl Placement {
    fn attributes(&self, mode: Option<Mode>) -> Attributes {
        Attributes { mode, owner: self.owner.clone(), group: self.group.clone() }
    }

    fn file_mode(&self, source: &Source) -> Option<Mode> {
        match &self.mode {
            Some(CopyMode::Is(mode)) => Some(mode.clone()),
            Some(CopyMode::Preserve) => source.mode.map(Mode::Bits),
            None => None,
        }
    }

    pub(super) fn probe(&self) -> Script {
        let mut probe = Probe::new().me().stamp(self.backup);
        let dest = self.dest.path.as_str();
        for (n, item) in self.items.iter().enumerate() {
            let below = item.name.as_ref().map(|name| self.dest.path.join(name).to_string());
            let (path, below) = match below {
                Some(below) if self.is_tree || self.dest.is_folder => (below, None),
                below => (dest.to_owned(), below),
            };
            probe = probe.place(Spot {
                key: n.to_string(),
                path,
                below,
                tell_folder: item.name.is_none(),
                sum: matches!(item.entry, Entry::File(_)),
            });
        }
        probe = self.attributes(None).ask(probe);
        if let ([Item { entry: Entry::File(source), .. }], true) = (self.items.as_slice(), self.diff) {
            probe = probe.add(format!(
                "if [ -f \"$p\" ] && [ -r \"$p\" ] && [ \"${{s%% *}}\" != {} ] && [ \"$(wc -c <\"$p\")\" -le {} ]; then echo --; cat \"$p\"; fi",
                source.sha1,
                difference::LIMIT
            ));
        }
        probe.script()
    }

    pub(super) fn read(&self, reply: &Reply) -> Result<Seen, ModuleError> {
        let answer = Answer::read(reply)?;
        let mut places = Vec::new();
        for n in 0..self.items.len() {
            let get = |key: &str| answer.get(&format!("{n}{key}")).map(str::to_owned);
            places.push(Place {
                at: get(".at").unwrap_or_default(),
                dest_is_folder: get(".folder").is_some(),
                inode: answer.inode(&n.to_string())?,
                link: get(".link"),
                real: get(".real"),
                to: answer.inode(&format!("{n}.to"))?,
                sha1: get(".sum"),
                base: get(".base").unwrap_or_else(|| "/".into()),
            });
        }
        Ok(Seen {
            places,
            me: answer.me(),
            ids: self.attributes(None).resolve(&answer),
            stamp: answer.get("stamp").map(Into::into),
            old: answer.content,
        })
    }

    pub(super) fn plan(&self, now: &Seen, run: RunMode) -> Result<Plan, ModuleError> {
        self.attributes(None).judge(now.ids, run)?;
        let mut plan = Plan::default();
        let mut made = Vec::new();
        for (item, place) in self.items.iter().zip(&now.places) {
            match &item.entry {
                Entry::File(source) => self.file(source, place, now, run, &mut made, &mut plan)?,
                Entry::Directory => self.folder(place, now, &mut made, &mut plan)?,
                Entry::Link(target) => self.link(target, place, now, &mut made, &mut plan)?,
            }
        }
        if self.is_tree {
            plan.result = Map::new();
            plan.result.insert("dest".into(), format!("{}/", self.dest.path).into());
        }
        Ok(plan)
    }

    /// Makes the folders that are missing between what exists and `path`, each once.
    fn folders(&self, base: &str, path: &str, now: &Seen, made: &mut Vec<String>, plan: &mut Plan) {
        let attributes = self.attributes(self.directory_mode.clone());
        let new = Attributes::newborn(Kind::Directory, now.me.as_ref(), 4096);
        for folder in missing(base, path) {
            if made.contains(&folder) {
                continue;
            }
            let after = attributes.predict(&new, now.ids);
            let (owner, group) = attributes.to_give(&new, &after);
            plan.steps.push(Step::MakeDirectory {
                path: folder.clone(),
                mode: attributes.mode.as_ref().map(|_| after.mode),
                owner,
                group,
            });
            plan.diff.push(Diff::new(&folder, "state: absent\n", "state: directory\n"));
            made.push(folder);
        }
    }

    fn folder(
        &self,
        place: &Place,
        now: &Seen,
        made: &mut Vec<String>,
        plan: &mut Plan,
    ) -> Result<(), ModuleError> {
        let inode = place.to.as_ref().or(place.inode.as_ref());
        match inode {
            None => self.folders(&place.base, &place.at, now, made, plan),
            Some(inode) if inode.is_directory() => {
                let adjustment = self.attributes(self.directory_mode.clone()).adjust(
                    &place.at,
                    Link::Followed,
                    inode,
                    now.ids,
                );
                push(plan, &place.at, adjustment);
            }
            Some(other) => {
                return Err(ModuleError::failed(format!(
                    "{} already exists as a {}",
                    place.at,
                    other.state()
                )));
            }
        }
        Ok(())
    }

    fn link(
        &self,
        target: &str,
        place: &Place,
        now: &Seen,
        made: &mut Vec<String>,
        plan: &mut Plan,
    ) -> Result<(), ModuleError> {
        if place.link.as_deref() == Some(target) {
            return Ok(());
        }
        if place.inode.as_ref().is_some_and(Inode::is_directory) {
            return Err(ModuleError::failed(format!("{} is a directory, not a link to {target}", place.at)));
        }
        self.folders(&place.base, parent(&place.at), now, made, plan);
        if place.inode.as_ref().is_some_and(|i| !i.is_link()) {
            plan.steps.push(Step::Remove { path: place.at.clone() });
        }
        plan.steps.push(Step::Symlink { path: place.at.clone(), target: target.into() });
        let before = place.link.as_ref().map(|l| format!("src: {l}\n")).unwrap_or_default();
        plan.diff.push(Diff::new(&place.at, before, format!("src: {target}\n")));
        Ok(())
    }

    fn file(
        &self,
        source: &Source,
        place: &Place,
        now: &Seen,
        run: RunMode,
        made: &mut Vec<String>,
        plan: &mut Plan,
    ) -> Result<(), ModuleError> {
        if place.dest_is_folder {
            return Err(ModuleError::failed("can not use content with a dir as dest")
                .hint("name the file, not its folder"));
        }
        let is_link = place.inode.as_ref().is_some_and(Inode::is_link);
        let followed = is_link && self.follow && place.to.is_some();
        let link = if followed { Link::Followed } else { Link::Itself };
        let path = if followed { place.real.as_ref().unwrap_or(&place.at) } else { &place.at };
        let inode = if followed { place.to.as_ref() } else { place.inode.as_ref() };
        if inode.is_some_and(Inode::is_directory) {
            return Err(ModuleError::failed(format!(
                "cannot write the file {path}: a directory stands there"
            )));
        }
        plan.result.insert("dest".into(), path.clone().into());
        plan.result.insert("checksum".into(), source.sha1.clone().into());
        if let Some(inode) = inode.filter(|_| !self.force) {
            inode.describe(&mut plan.result);
            plan.result.insert("msg".into(), "file already exists".into());
            if let Some(sha1) = &place.sha1 {
                plan.result.insert("checksum".into(), sha1.clone().into());
            }
            return Ok(());
        }
        let attributes = self.attributes(self.file_mode(source));
        let same = (followed || !is_link) && place.sha1.as_ref() == Some(&source.sha1);
        if let Some(inode) = inode.filter(|_| same) {
            let adjustment = attributes.adjust(&place.at, link, inode, now.ids);
            // Where the content is right core leaves the rest to `file`, whose results have this.
            plan.result.insert("path".into(), path.clone().into());
            adjustment.after.describe(&mut plan.result);
            push(plan, path, adjustment);
            return Ok(());
        }

        let folder = parent(&place.at);
        if !missing(&place.base, folder).is_empty() {
            if self.is_tree || self.dest.is_folder {
                self.folders(&place.base, folder, now, made, plan);
            } else if !run.check {
                // In check mode an earlier task may be what makes it.
                return Err(ModuleError::failed(format!("Destination directory {folder} does not exist"))
                    .hint("make it with the file module (state=directory) first"));
            }
        }
        let kept = inode.filter(|i| !i.is_link()).cloned();
        let before =
            kept.clone().unwrap_or_else(|| Attributes::newborn(Kind::File, now.me.as_ref(), source.size));
        let adjustment = attributes.adjust(&place.at, link, &before, now.ids);
        let after = Inode { size: source.size, links: 1, ..adjustment.after };
        plan.diff.push(Self::difference(path, source, place, now, inode));
        if kept.is_some() && adjustment.before_text != adjustment.after_text {
            plan.diff.push(Diff::new(path, adjustment.before_text, adjustment.after_text));
        }
        if let (Some(_), Some(stamp)) = (inode, &now.stamp) {
            let copy = format!("{path}.{stamp}");
            plan.steps.push(Step::Backup { path: place.at.clone(), copy: copy.clone() });
            plan.result.insert("backup_file".into(), copy.into());
        }
        if is_link && !followed {
            plan.steps.push(Step::Remove { path: path.clone() });
        }
        plan.steps.push(Step::WriteFile {
            path: place.at.clone(),
            content: source.content.clone(),
            mode: attributes.mode.is_some().then_some(after.mode),
            owner: self.owner.clone(),
            group: self.group.clone(),
            backup: false,
            validate: self.validate.clone(),
        });
        after.describe(&mut plan.result);
        plan.result.insert("md5sum".into(), source.md5.clone().into());
        Ok(())
    }

    fn difference(path: &str, source: &Source, place: &Place, now: &Seen, inode: Option<&Inode>) -> Diff {
        match (source.in_memory(), inode, &now.old) {
            (Some(new), None, _) => difference::contents(path, None, Some(new)),
            (Some(new), Some(_), Some(old)) => difference::contents(path, Some(old), Some(new)),
            _ => {
                let line = |size: u64, sha1: &str| format!("({size} bytes, sha1 {sha1})\n");
                let before = inode
                    .map(|i| line(i.size, place.sha1.as_deref().unwrap_or("unknown")))
                    .unwrap_or_default();
                Diff::new(path, before, line(source.size, &source.sha1))
            }
        }
    }
}

fn push(plan: &mut Plan, path: &str, adjustment: super::attributes::Adjustment) {
    if !adjustment.steps.is_empty() {
        plan.diff.push(Diff::new(path, adjustment.before_text, adjustment.after_text));
        plan.steps.extend(adjustment.steps);
    }
}

pub(super) fn parent(path: &str) -> &str {
    match path.rfind('/') {
        Some(0) | None => "/",
        Some(at) => &path[..at],
    }
}

/// A validation command must say where the file's name goes.
pub(super) fn check_validate(command: Option<&str>) -> Result<(), ModuleError> {
    match command {
        Some(command) if !command.contains("%s") => {
            Err(ModuleError::Arguments(format!("validate must contain %s: {command}")))
        }
        _ => Ok(()),
    }
}
