use schemars::JsonSchema;
use serde::Deserialize;

use crate::host::{Link, Reply, Script, Step, Times, quote};
use crate::value::Map;
use crate::{Diff, Mode, ModuleError, Plan, RemotePath, RunMode, ShellResource};

use super::attributes::{Attributes, Principals};
use super::inode::{Inode, Kind, octal};
use super::probe::{Answer, Me, Probe};

/// Files, folders and links, and their mode, owner and group.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    /// The path on the target.
    #[serde(alias = "dest", alias = "name")]
    path: RemotePath,
    /// What shall be there; without it, what is there stays, and only its attributes are set.
    state: Option<State>,
    /// What a link points to.
    src: Option<String>,
    mode: Option<Mode>,
    owner: Option<String>,
    group: Option<String>,
    /// Set the attributes of everything in the folder too.
    #[serde(default)]
    recurse: bool,
    /// Make a link although its target is missing, or in place of a file or an empty folder.
    #[serde(default)]
    force: bool,
    /// Set the attributes of what a link points to, not of the link.
    #[serde(default = "crate::args::yes")]
    follow: bool,
    /// What becomes of the time of modification: `preserve` or `now`.
    modification_time: Option<Time>,
    /// What becomes of the time of access: `preserve` or `now`.
    access_time: Option<Time>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum State {
    Absent,
    Directory,
    File,
    Hard,
    Link,
    Touch,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Time {
    Preserve,
    Now,
}

pub(super) struct Seen {
    path: Option<Inode>,
    link: Option<String>,
    real: Option<String>,
    /// Behind the link at the path.
    to: Option<Inode>,
    /// Behind `src`.
    source: Option<Inode>,
    /// The deepest folder above that exists.
    base: String,
    empty: bool,
    me: Option<Me>,
    ids: Principals,
    /// The different kinds of entries in the folder.
    tree: Vec<Inode>,
}

impl ShellResource for File {
    const NAME: &'static str = "file";
    const FQCN: &'static [&'static str] = &["ansible.builtin.file", "ansible.legacy.file"];
    type Observed = Seen;

    fn validate(&self) -> Result<(), ModuleError> {
        if self.recurse && self.state.is_some_and(|s| s != State::Directory) {
            return Err(ModuleError::Arguments("recurse option requires state to be 'directory'".into()));
        }
        if self.src.is_some() && !matches!(self.state, None | Some(State::Link | State::Hard)) {
            return Err(ModuleError::Arguments("src option requires state to be 'link' or 'hard'".into()));
        }
        Ok(())
    }

    fn probe(&self) -> Script {
        let path = self.path.as_str();
        let mut probe = Probe::new().look("path", path).base("base", path).me();
        if let Some(src) = &self.src {
            let at = |folder: &str| {
                if src.starts_with('/') {
                    src.clone()
                } else {
                    format!("{}/{src}", folder.trim_end_matches('/'))
                }
            };
            probe = probe.target(path, &at(path), &at(self.path.parent()));
        }
        if self.recurse {
            let q = quote(path);
            probe = probe.add(format!(
                r"if [ -d {q} ]; then find {q}/ -exec stat -c 'tree %f:%u:%g:0:0:0:0:0:0:0:0:%U:%G' {{}} + | sort -u; fi"
            ));
        }
        self.attributes().ask(probe).script()
    }

    fn read(&self, reply: &Reply) -> Result<Seen, ModuleError> {
        let answer = Answer::read(reply)?;
        Ok(Seen {
            path: answer.inode("path")?,
            link: answer.get("path.link").map(Into::into),
            real: answer.get("path.real").map(Into::into),
            to: answer.inode("path.to")?,
            source: answer.inode("src")?,
            base: answer.get("base").unwrap_or("/").to_owned(),
            empty: answer.get("empty").is_some(),
            me: answer.me(),
            ids: if self.state == Some(State::Absent) {
                Principals::default()
            } else {
                self.attributes().resolve(&answer)
            },
            tree: answer.all("tree").filter_map(Inode::parse).collect(),
        })
    }

    fn plan(&self, now: &Seen, mode: RunMode) -> Result<Plan, ModuleError> {
        if self.state != Some(State::Absent) {
            self.attributes().judge(now.ids, mode)?;
        }
        self.decide(now)
    }
}

/// What a decision is made of, while it is being made.
struct Draft<'a> {
    file: &'a File,
    now: &'a Seen,
    steps: Vec<Step>,
    before: String,
    after: String,
}

impl File {
    fn attributes(&self) -> Attributes {
        Attributes { mode: self.mode.clone(), owner: self.owner.clone(), group: self.group.clone() }
    }

    fn decide(&self, now: &Seen) -> Result<Plan, ModuleError> {
        let state = match (self.state, &now.path) {
            (Some(state), _) => state,
            (None, Some(inode)) => match inode.state() {
                "link" => State::Link,
                "directory" => State::Directory,
                _ => State::File,
            },
            (None, None) if self.recurse => State::Directory,
            (None, None) => State::File,
        };
        if self.src.is_some() && !matches!(state, State::Link | State::Hard) {
            return Err(ModuleError::Arguments("src option requires state to be 'link' or 'hard'".into()));
        }
        let draft = Draft { file: self, now, steps: Vec::new(), before: String::new(), after: String::new() };
        match state {
            State::Absent => Ok(draft.absent()),
            State::Directory => draft.directory(),
            State::File => draft.existing(),
            State::Touch => Ok(draft.touch()),
            State::Link => draft.link(),
            State::Hard => draft.hard(),
        }
    }
}

impl Draft<'_> {
    fn path(&self) -> &str {
        self.file.path.as_str()
    }

    fn state_changes(&mut self, from: &str, to: &str) {
        if from != to {
            self.before.push_str(&format!("state: {from}\n"));
            self.after.push_str(&format!("state: {to}\n"));
        }
    }

    fn was(&self) -> &'static str {
        self.now.path.as_ref().map_or("absent", Inode::state)
    }

    /// The path that attributes belong to and what stands there: the far end of a link that is followed.
    fn followed(&self) -> (String, Option<Inode>) {
        match (&self.now.path, &self.now.to, &self.now.real) {
            (Some(inode), Some(to), Some(real)) if inode.is_link() && self.file.follow => {
                (real.clone(), Some(to.clone()))
            }
            (inode, ..) => (self.path().to_owned(), inode.clone()),
        }
    }

    /// Which of the two attributes belong to where a link stands at the path: the link where it leads nowhere.
    fn meant(&self) -> Link {
        let leads = self.now.to.is_some() || !self.now.path.as_ref().is_some_and(Inode::is_link);
        if self.file.follow && leads { Link::Followed } else { Link::Itself }
    }

    fn adjust(&mut self, path: &str, link: Link, inode: &Inode) -> Inode {
        let adjustment = self.file.attributes().adjust(path, link, inode, self.now.ids);
        self.steps.extend(adjustment.steps);
        self.before.push_str(&adjustment.before_text);
        self.after.push_str(&adjustment.after_text);
        adjustment.after
    }

    fn adjust_meant(&mut self, inode: &Inode) -> Inode {
        let path = self.path().to_owned();
        self.adjust(&path, self.meant(), inode)
    }

    fn times(&mut self, otherwise: Time) {
        let modified = self.file.modification_time.unwrap_or(otherwise) == Time::Now;
        let accessed = self.file.access_time.unwrap_or(otherwise) == Time::Now;
        let times = match (modified, accessed) {
            (false, false) => return,
            (true, true) => Times::Both,
            (true, false) => Times::Modified,
            (false, true) => Times::Accessed,
        };
        self.steps.push(Step::Touch { path: self.path().to_owned(), times, link: self.meant() });
    }

    fn done(self, key: &str, path: String, inode: Option<&Inode>) -> Plan {
        let mut result = Map::new();
        result.insert(key.into(), path.into());
        match inode {
            Some(inode) => inode.describe(&mut result),
            None => {
                result.insert("state".into(), "absent".into());
            }
        }
        if let (Some(src), "dest") = (&self.file.src, key) {
            result.insert("src".into(), src.clone().into());
        }
        let diff = if self.before == self.after {
            Vec::new()
        } else {
            vec![Diff::new(self.file.path.as_str(), self.before, self.after)]
        };
        Plan { steps: self.steps, diff, result }
    }

    fn absent(mut self) -> Plan {
        if self.now.path.is_some() {
            self.state_changes(self.was(), "absent");
            self.steps.push(Step::Remove { path: self.path().to_owned() });
        }
        let path = self.path().to_owned();
        self.done("path", path, None)
    }

    fn existing(mut self) -> Result<Plan, ModuleError> {
        let (path, inode) = self.followed();
        match inode {
            Some(inode) if !matches!(inode.kind, Kind::Directory | Kind::Link) => {
                let after = self.adjust_meant(&inode);
                self.times(Time::Preserve);
                Ok(self.done("path", path, Some(&after)))
            }
            other => {
                let is = other.as_ref().map_or("absent", Inode::state);
                let error = ModuleError::failed(format!("file ({path}) is {is}, cannot continue"));
                Err(match is {
                    "absent" => error.hint("state=touch makes an empty file; copy and template write one"),
                    "directory" => error.hint("state=directory is for folders"),
                    _ => error,
                })
            }
        }
    }

    fn touch(mut self) -> Plan {
        let (path, inode) = self.followed();
        let made = inode.is_none();
        let inode = inode.unwrap_or_else(|| Attributes::newborn(Kind::File, self.now.me.as_ref(), 0));
        if made {
            self.state_changes("absent", "file");
            self.steps.push(Step::Touch {
                path: self.path().to_owned(),
                times: Times::Both,
                link: Link::Followed,
            });
        }
        let after = self.adjust_meant(&inode);
        if !made {
            self.times(Time::Now);
        }
        self.done("dest", path, Some(&after))
    }

    fn directory(mut self) -> Result<Plan, ModuleError> {
        let (path, inode) = self.followed();
        let after = match inode {
            Some(inode) if inode.is_directory() => self.adjust_meant(&inode),
            Some(other) => {
                return Err(ModuleError::failed(format!("{path} already exists as a {}", other.state()))
                    .hint("remove it first with state=absent"));
            }
            None => {
                self.state_changes("absent", "directory");
                let new = Attributes::newborn(Kind::Directory, self.now.me.as_ref(), 4096);
                let mut after = new.clone();
                for folder in missing(&self.now.base, &path) {
                    after = self.make_directory(&folder, &new);
                }
                after
            }
        };
        if self.file.recurse {
            let path = self.path().to_owned();
            self.recurse(&path);
        }
        self.times(Time::Preserve);
        Ok(self.done("path", path, Some(&after)))
    }

    fn make_directory(&mut self, path: &str, new: &Inode) -> Inode {
        let attributes = self.file.attributes();
        let after = attributes.predict(new, self.now.ids);
        let (owner, group) = attributes.to_give(new, &after);
        self.steps.push(Step::MakeDirectory {
            path: path.to_owned(),
            mode: self.file.mode.as_ref().map(|_| after.mode),
            owner,
            group,
        });
        after
    }

    /// The probe told which kinds of entries there are; if any would change, all are set.
    fn recurse(&mut self, path: &str) {
        let attributes = self.file.attributes();
        let ids = self.now.ids;
        let owners = self.now.tree.iter().any(|i| {
            let after = attributes.predict(i, ids);
            (after.uid, after.gid) != (i.uid, i.gid)
        });
        let modes = self.now.tree.iter().any(|i| attributes.predict(i, ids).mode != i.mode);
        if owners {
            let group = attributes.group.as_ref().map(|g| format!(":{g}")).unwrap_or_default();
            let who = format!("{}{group}", attributes.owner.clone().unwrap_or_default());
            self.steps.push(Step::SetOwners {
                path: path.to_owned(),
                owner: attributes.owner.clone(),
                group: attributes.group.clone(),
            });
            self.before.push_str("owners within: differ\n");
            self.after.push_str(&format!("owners within: {who}\n"));
        }
        if modes && let Some(mode) = &attributes.mode {
            let mode = match mode {
                Mode::Bits(bits) => octal(*bits),
                Mode::Symbolic(text) => text.clone(),
            };
            self.steps.push(Step::SetModes { path: path.to_owned(), mode: mode.clone() });
            self.before.push_str("modes within: differ\n");
            self.after.push_str(&format!("modes within: {mode}\n"));
        }
    }

    fn link(mut self) -> Result<Plan, ModuleError> {
        let path = self.path().to_owned();
        let was = self.was();
        let Some(src) = self.file.src.clone() else {
            if was != "link" {
                return Err(ModuleError::failed("src is required for creating new symlinks"));
            }
            let (_, inode) = self.followed();
            let after = inode.map(|inode| self.adjust_meant(&inode));
            return Ok(self.done("dest", path, after.as_ref()));
        };
        if !self.file.force && self.now.source.is_none() {
            return Err(ModuleError::failed(format!("src file does not exist: {src}"))
                .hint("force: true makes the link anyway"));
        }
        if !matches!(was, "absent" | "link") {
            if !self.file.force {
                return Err(ModuleError::failed(format!(
                    "refusing to convert from {was} to symlink for {path}"
                ))
                .hint("force: true replaces a file or an empty folder"));
            }
            if was == "directory" && !self.now.empty {
                return Err(ModuleError::failed(format!(
                    "the directory {path} is not empty, refusing to convert it"
                )));
            }
        }
        if was != "link" || self.now.link.as_deref() != Some(&src) {
            self.state_changes(was, "link");
            if let Some(old) = &self.now.link {
                self.before.push_str(&format!("src: {old}\n"));
            }
            self.after.push_str(&format!("src: {src}\n"));
            if !matches!(was, "absent" | "link") {
                self.steps.push(Step::Remove { path: path.clone() });
            }
            self.steps.push(Step::Symlink { path: path.clone(), target: src.clone() });
        }
        let itself = match &self.now.path {
            Some(inode) if inode.is_link() => inode.clone(),
            _ => Attributes::newborn(Kind::Link, self.now.me.as_ref(), src.len() as u64),
        };
        // A followed link's attributes are those of what it points to; it registers its own.
        let after = match (&self.now.source, self.file.follow) {
            (Some(source), true) => {
                let source = source.clone();
                let at =
                    if src.starts_with('/') { src } else { format!("{}/{src}", self.file.path.parent()) };
                self.adjust(&at, Link::Followed, &source);
                itself
            }
            (None, true) => itself,
            (_, false) => self.adjust(&path, Link::Itself, &itself),
        };
        Ok(self.done("dest", path, Some(&after)))
    }

    fn hard(mut self) -> Result<Plan, ModuleError> {
        let path = self.path().to_owned();
        let was = self.was();
        let Some(src) = self.file.src.clone() else {
            let Some(inode) = self.now.path.clone().filter(|_| was == "hard") else {
                return Err(ModuleError::failed("src is required for creating new hardlinks"));
            };
            let after = self.adjust(&path, Link::Itself, &inode);
            return Ok(self.done("dest", path, Some(&after)));
        };
        let Some(source) = self.now.source.clone() else {
            return Err(ModuleError::failed(format!("src does not exist: {src}")));
        };
        let same = self.now.path.as_ref().is_some_and(|p| p.is_same_file(&source));
        if !same {
            if was == "directory" || !matches!(was, "absent" | "link") && !self.file.force {
                return Err(ModuleError::failed(format!("Cannot link, {was} exists at destination"))
                    .hint("force: true replaces a file"));
            }
            self.state_changes(was, "hard");
            if was != "absent" {
                self.steps.push(Step::Remove { path: path.clone() });
            }
            let at = if src.starts_with('/') { src } else { format!("{}/{src}", self.file.path.parent()) };
            self.steps.push(Step::Hardlink { path: path.clone(), target: at });
        }
        let after = self.adjust(&path, Link::Itself, &Inode { links: source.links.max(2), ..source });
        Ok(self.done("dest", path, Some(&after)))
    }
}

/// The folders that are missing between one that exists and a path, outermost first, the path last.
pub(super) fn missing(base: &str, path: &str) -> Vec<String> {
    let Some(rest) = path.strip_prefix(base.trim_end_matches('/')) else { return vec![path.to_owned()] };
    let mut at = base.trim_end_matches('/').to_owned();
    rest.split('/')
        .filter(|name| !name.is_empty())
        .map(|name| {
            at = format!("{at}/{name}");
            at.clone()
        })
        .collect()
}
