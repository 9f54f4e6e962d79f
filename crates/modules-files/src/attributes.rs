use crate::host::{Link, Step};
use crate::{Mode, ModuleError, RunMode};

use super::inode::{Inode, Kind, octal};
use super::probe::{Answer, Me, Probe};

/// The mode, owner and group that are wanted of a path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Attributes {
    pub(super) mode: Option<Mode>,
    pub(super) owner: Option<String>,
    pub(super) group: Option<String>,
}

/// The numbers behind wanted names; `None` where nothing is wanted, or nobody is called so yet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Principals {
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
}

/// The steps towards wanted attributes, what the path will then be, and lines that describe the difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Adjustment {
    pub(super) steps: Vec<Step>,
    pub(super) after: Inode,
    pub(super) before_text: String,
    pub(super) after_text: String,
}

impl Attributes {
    pub(super) fn ask(&self, probe: Probe) -> Probe {
        probe.principals(self.owner.as_deref(), self.group.as_deref())
    }

    /// Finds the numbers in a probe's answer.
    pub(super) fn resolve(&self, answer: &Answer) -> Principals {
        let find = |name: &Option<String>, key: &str| {
            let name = name.as_ref()?;
            name.parse().ok().or_else(|| answer.number(key))
        };
        Principals { uid: find(&self.owner, "uid"), gid: find(&self.group, "gid") }
    }

    /// Refuses names that nobody bears; not in check mode: an earlier task may be what makes them.
    pub(super) fn judge(&self, ids: Principals, mode: RunMode) -> Result<(), ModuleError> {
        for (name, id, what, verb) in
            [(&self.owner, ids.uid, "user", "chown"), (&self.group, ids.gid, "group", "chgrp")]
        {
            if let (Some(name), None, false) = (name, id, mode.check) {
                return Err(ModuleError::failed(format!("{verb} failed: failed to look up {what} {name}"))
                    .hint(format!("create the {what} in an earlier task, or check its spelling")));
            }
        }
        Ok(())
    }

    /// The inode as it will be, by the wanted attributes.
    pub(super) fn predict(&self, now: &Inode, ids: Principals) -> Inode {
        let mut after = now.clone();
        if let Some(mode) = &self.mode
            && now.kind != Kind::Link
        {
            after.mode = mode.apply(now.mode, now.is_directory());
        }
        if let Some(owner) = &self.owner {
            let same = ids.uid == Some(now.uid);
            if !same {
                after.owner.clone_from(owner);
            }
            after.uid = ids.uid.unwrap_or(u32::MAX);
        }
        if let Some(group) = &self.group {
            if ids.gid != Some(now.gid) {
                after.group.clone_from(group);
            }
            after.gid = ids.gid.unwrap_or(u32::MAX);
        }
        after
    }

    /// The owner and the group that must be set, of those that are wanted.
    pub(super) fn to_give(&self, now: &Inode, after: &Inode) -> (Option<String>, Option<String>) {
        let owner = self.owner.clone().filter(|_| after.uid != now.uid);
        (owner, self.group.clone().filter(|_| after.gid != now.gid))
    }

    /// What must be done at `path`, where `now` stands, or behind a link that is followed.
    pub(super) fn adjust(&self, path: &str, link: Link, now: &Inode, ids: Principals) -> Adjustment {
        let after = self.predict(now, ids);
        let (mut before_text, mut after_text) = (String::new(), String::new());
        let mut steps = Vec::new();
        let mut compare = |name: &str, old: &str, new: &str| {
            if old != new {
                before_text.push_str(&format!("{name}: {old}\n"));
                after_text.push_str(&format!("{name}: {new}\n"));
            }
        };
        compare("owner", &named(&now.owner, now.uid), &named(&after.owner, after.uid));
        compare("group", &named(&now.group, now.gid), &named(&after.group, after.gid));
        compare("mode", &octal(now.mode), &octal(after.mode));
        let (owner, group) = self.to_give(now, &after);
        let owner_changes = owner.is_some() || group.is_some();
        if owner_changes {
            steps.push(Step::SetOwner { path: path.to_owned(), owner, group, link });
        }
        // Changing the owner clears the set-id bits, so the mode comes after it, and again if it has such bits.
        if after.mode != now.mode || owner_changes && after.mode & 0o6000 != 0 && now.kind != Kind::Link {
            steps.push(Step::SetMode { path: path.to_owned(), mode: after.mode });
        }
        Adjustment { steps, after, before_text, after_text }
    }

    /// What a new file or folder will be, before its attributes are set.
    pub(super) fn newborn(kind: Kind, me: Option<&Me>, size: u64) -> Inode {
        let umask = me.map_or(0o022, |m| m.umask);
        let mode = match kind {
            Kind::Directory => 0o777 & !umask,
            Kind::Link => 0o777,
            _ => 0o666 & !umask,
        };
        Inode {
            kind,
            mode,
            uid: me.map_or(0, |m| m.uid),
            gid: me.map_or(0, |m| m.gid),
            owner: me.map_or_else(|| "root".into(), |m| m.owner.clone()),
            group: me.map_or_else(|| "root".into(), |m| m.group.clone()),
            size,
            links: 1,
            number: 0,
            device: 0,
            atime: 0,
            mtime: 0,
            ctime: 0,
            blocks: 0,
        }
    }
}

fn named(name: &str, id: u32) -> String {
    if name == "UNKNOWN" || name.is_empty() { id.to_string() } else { name.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_is_set() {
        let now = Inode::parse("81a4:0:0:12:1:7:1:1:1:1:8:root:root").unwrap_or_else(|| panic!("line"));
        let wanted =
            |mode, owner: Option<&str>| Attributes { mode, owner: owner.map(Into::into), group: None };
        let root = Principals { uid: Some(0), gid: None };
        let quay = Principals { uid: Some(5), gid: None };
        assert_eq!(
            wanted(Some(Mode::Bits(0o644)), Some("root")).adjust("/f", Link::Itself, &now, root).steps,
            []
        );
        let both = wanted(Some(Mode::Bits(0o4600)), Some("quay")).adjust("/f", Link::Itself, &now, quay);
        assert_eq!(
            both.steps,
            [
                Step::SetOwner {
                    path: "/f".into(),
                    owner: Some("quay".into()),
                    group: None,
                    link: Link::Itself
                },
                Step::SetMode { path: "/f".into(), mode: 0o4600 }
            ]
        );
        assert_eq!(both.before_text, "owner: root\nmode: 0644\n");
        assert_eq!(both.after_text, "owner: quay\nmode: 04600\n");
        let symbolic = wanted(Some(Mode::Symbolic("g+w".into())), None).adjust(
            "/f",
            Link::Itself,
            &now,
            Principals::default(),
        );
        assert_eq!(symbolic.after.mode, 0o664);
    }
}
