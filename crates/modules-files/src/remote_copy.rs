use crate::host::{Content, Link, Reply, Script, Step, quote};
use crate::value::Map;
use crate::{Diff, Mode, ModuleError, Plan, RunMode};

use super::attributes::{Attributes, Principals};
use super::content::base_name;
use super::file::missing;
use super::inode::{Inode, Kind};
use super::placement::{CopyMode, Destination, parent};
use super::probe::{Answer, Me, Probe};

/// A copy from one place on the target to another.
#[derive(Debug, Clone)]
pub(super) struct RemoteCopy {
    pub(super) src: String,
    pub(super) dest: Destination,
    pub(super) mode: Option<CopyMode>,
    pub(super) owner: Option<String>,
    pub(super) group: Option<String>,
    pub(super) backup: bool,
    pub(super) force: bool,
    pub(super) validate: Option<String>,
    pub(super) checksum: Option<String>,
}

pub(super) struct RemoteSeen {
    source: Option<Inode>,
    source_sum: Option<String>,
    at: String,
    inode: Option<Inode>,
    sum: Option<String>,
    parent_is_there: bool,
    /// The deepest folder above the destination that exists.
    base: String,
    /// Of folders: everything in the source is at the destination as well.
    same_tree: bool,
    me: Option<Me>,
    ids: Principals,
    stamp: Option<String>,
}

impl RemoteCopy {
    fn names(&self) -> Attributes {
        Attributes { mode: None, owner: self.owner.clone(), group: self.group.clone() }
    }

    fn attributes(&self, source: &Inode) -> Attributes {
        let mode = match &self.mode {
            Some(CopyMode::Is(mode)) => Some(mode.clone()),
            Some(CopyMode::Preserve) => Some(Mode::Bits(source.mode)),
            None => None,
        };
        Attributes { mode, owner: self.owner.clone(), group: self.group.clone() }
    }

    pub(super) fn probe(&self) -> Script {
        let src = quote(self.src.trim_end_matches('/'));
        let dest = quote(self.dest.path.as_str());
        let below = quote(self.dest.path.join(base_name(&self.src)).as_str());
        let joined = if self.dest.is_folder { "true".to_owned() } else { format!("[ -d {dest} ]") };
        // A folder keeps its own name below the destination, unless a trailing slash means its content.
        let joined = if self.src.ends_with('/') {
            format!("[ ! -d {src} ] && {joined}")
        } else {
            format!("[ -d {src} ] || {joined}")
        };
        let probe = Probe::new()
            .add(format!("p={dest}; if {joined}; then p={below}; fi; say at \"$p\""))
            .add(format!("j src {src}; i dest \"$p\"; [ -d \"${{p%/*}}/\" ] && echo parent yes; base base \"${{p%/*}}\""))
            .add(format!("if [ -f {src} ]; then sum srcsum sha1 {src}; [ -f \"$p\" ] && sum sum sha1 \"$p\"; fi"))
            .add(format!(
                r#"if [ -d {src} ] && [ -d "$p" ]; then
  (cd {src} && find . -type f -exec sha1sum {{}} +) | (cd "$p" && sha1sum -c) >/dev/null 2>&1 && f=1 || f=0
  [ -z "$(cd {src} && find . -type f | head -n 1)" ] && f=1
  d=$(cd {src} && find . ! -type f -exec sh -c 'for n; do [ -e "$0/$n" ] || [ -L "$0/$n" ] || echo missing; done' "$p" {{}} +)
  [ $f = 1 ] && [ -z "$d" ] && echo same yes
fi"#
            ))
            .me()
            .stamp(self.backup)
            .principals(self.owner.as_deref(), self.group.as_deref());
        probe.script()
    }

    pub(super) fn read(&self, reply: &Reply) -> Result<RemoteSeen, ModuleError> {
        let answer = Answer::read(reply)?;
        Ok(RemoteSeen {
            source: answer.inode("src")?,
            source_sum: answer.get("srcsum").map(Into::into),
            at: answer.get("at").unwrap_or_default().to_owned(),
            inode: answer.inode("dest")?,
            sum: answer.get("sum").map(Into::into),
            parent_is_there: answer.get("parent").is_some(),
            base: answer.get("base").unwrap_or("/").to_owned(),
            same_tree: answer.get("same").is_some(),
            me: answer.me(),
            ids: self.names().resolve(&answer),
            stamp: answer.get("stamp").map(Into::into),
        })
    }

    pub(super) fn plan(&self, now: &RemoteSeen, run: RunMode) -> Result<Plan, ModuleError> {
        self.names().judge(now.ids, run)?;
        let Some(source) = &now.source else {
            return Err(ModuleError::failed(format!("Source {} not found", self.src)));
        };
        let mut result = Map::new();
        result.insert("src".into(), self.src.clone().into());
        result.insert("dest".into(), now.at.clone().into());
        if source.kind == Kind::Fifo {
            return Err(ModuleError::failed(format!("{} is a named pipe, which is not read", self.src)));
        }
        if source.is_directory() {
            return Ok(self.folder(source, now, result));
        }
        if let (Some(wanted), Some(is)) = (&self.checksum, &now.source_sum)
            && !wanted.eq_ignore_ascii_case(is)
        {
            let message =
                format!("Copied file does not match the expected checksum. Transfer failed: it is {is}");
            return Err(ModuleError::failed(message));
        }
        if let Some(sum) = &now.source_sum {
            result.insert("checksum".into(), sum.clone().into());
        }
        if let Some(inode) = now.inode.as_ref().filter(|_| !self.force) {
            inode.describe(&mut result);
            result.insert("msg".into(), "file already exists".into());
            return Ok(Plan { result, ..Plan::default() });
        }
        let attributes = self.attributes(source);
        if let Some(inode) = now.inode.as_ref().filter(|i| i.kind == Kind::File && now.sum == now.source_sum)
        {
            return Ok(settle(attributes.adjust(&now.at, Link::Followed, inode, now.ids), &now.at, result));
        }
        if now.inode.as_ref().is_some_and(Inode::is_directory) {
            return Err(ModuleError::failed(format!("{} is a directory", now.at)));
        }
        let folder = parent(&now.at);
        if !now.parent_is_there && !self.dest.is_folder && !run.check {
            return Err(ModuleError::failed(format!("Destination directory {folder} does not exist")));
        }
        let mut plan = Plan::default();
        plan.steps.extend(missing(&now.base, folder).into_iter().map(|path| Step::MakeDirectory {
            path,
            mode: None,
            owner: None,
            group: None,
        }));
        if let (Some(_), Some(stamp)) = (&now.inode, &now.stamp) {
            let copy = format!("{}.{stamp}", now.at);
            plan.steps.push(Step::Backup { path: now.at.clone(), copy: copy.clone() });
            result.insert("backup_file".into(), copy.into());
        }
        if now.inode.as_ref().is_some_and(Inode::is_link) {
            plan.steps.push(Step::Remove { path: now.at.clone() });
        }
        let there = now.inode.as_ref().filter(|i| i.kind == Kind::File);
        let born = there.cloned().unwrap_or_else(|| Attributes::newborn(Kind::File, now.me.as_ref(), 0));
        let after = attributes.predict(&Inode { size: source.size, ..born }, now.ids);
        after.describe(&mut result);
        plan.steps.push(Step::WriteFile {
            path: now.at.clone(),
            content: Content::Copied(self.src.clone()),
            mode: attributes.mode.is_some().then_some(after.mode),
            owner: self.owner.clone(),
            group: self.group.clone(),
            backup: false,
            validate: self.validate.clone(),
        });
        let before = now.inode.as_ref().map(|i| summary(i, now.sum.as_deref())).unwrap_or_default();
        plan.diff = vec![Diff::new(&now.at, before, summary(source, now.source_sum.as_deref()))];
        Ok(Plan { result, ..plan })
    }

    fn folder(&self, source: &Inode, now: &RemoteSeen, mut result: Map) -> Plan {
        if let Some(inode) = now.inode.as_ref().filter(|_| now.same_tree) {
            inode.describe(&mut result);
            let adjustment = self.attributes(source).adjust(&now.at, Link::Followed, inode, now.ids);
            return settle(adjustment, &now.at, result);
        }
        let mut plan = Plan::default();
        plan.steps.extend(missing(&now.base, parent(&now.at)).into_iter().map(|path| Step::MakeDirectory {
            path,
            mode: None,
            owner: None,
            group: None,
        }));
        plan.steps.push(Step::CopyTree {
            from: self.src.trim_end_matches('/').to_owned(),
            path: now.at.clone(),
            owner: self.owner.clone(),
            group: self.group.clone(),
        });
        let born =
            Inode { mode: source.mode, ..Attributes::newborn(Kind::Directory, now.me.as_ref(), source.size) };
        let adjustment = self.attributes(source).adjust(&now.at, Link::Followed, &born, now.ids);
        adjustment.after.describe(&mut result);
        plan.steps.extend(adjustment.steps);
        let before = if now.inode.is_some() { "files: differ\n" } else { "state: absent\n" };
        plan.diff = vec![Diff::new(&now.at, before, format!("copy of: {}\n", self.src))];
        Plan { result, ..plan }
    }
}

fn summary(inode: &Inode, sum: Option<&str>) -> String {
    format!("({} bytes, sha1 {})\n", inode.size, sum.unwrap_or("unknown"))
}

fn settle(adjustment: super::attributes::Adjustment, at: &str, mut result: Map) -> Plan {
    adjustment.after.describe(&mut result);
    let mut plan = Plan::new(adjustment.steps, Vec::new());
    if !plan.steps.is_empty() {
        plan.diff.push(Diff::new(at, adjustment.before_text, adjustment.after_text));
    }
    Plan { result, ..plan }
}
