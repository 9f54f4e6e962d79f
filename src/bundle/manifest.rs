use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{BundleName, Kind, MemberPath, Sha256Hex};

/// What a bundle holds, as its first member says it. The others follow in this order, and nothing else does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    pub format: u32,
    pub name: BundleName,
    /// By path, each once.
    pub members: Vec<Member>,
    /// Which variables of the lab what is in here is for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub uses: Vec<Use>,
}

/// One file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Member {
    pub path: MemberPath,
    pub bytes: u64,
    pub sha256: Sha256Hex,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub executable: bool,
    /// The names of the images in an archive.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub holds: Vec<String>,
    /// The digest that the cache knows a guest image by, where that is not the file's own: of the packed one it came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub came_as: Option<Sha256Hex>,
}

/// A variable that leads to what is in the bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Use {
    #[serde(default, skip_serializing_if = "Hosts::is_all")]
    pub hosts: Hosts,
    pub setting: Setting,
}

/// Which hosts something is for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Hosts {
    #[default]
    All,
    Named(Vec<String>),
}

/// What such a variable is set to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub enum Setting {
    /// A variable that ends in `_image_archive`, and the archive.
    Archive { variable: String, member: MemberPath },
    /// The image that hosts are made from.
    Guest { member: MemberPath },
    /// `quay_images`.
    Pushes(Vec<Push>),
}

/// An image that is pushed to Quay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Push {
    /// What is said of it besides the archive.
    pub fields: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archive: Option<MemberPath>,
}

/// The most files that a bundle holds.
const MOST_MEMBERS: usize = 100_000;

/// What the names of variables for archives end in.
pub(super) const ARCHIVE: &str = "_image_archive";

impl Hosts {
    fn is_all(&self) -> bool {
        *self == Self::All
    }
}

impl Manifest {
    /// The format that this quaylab writes and reads.
    pub const FORMAT: u32 = 1;

    /// Puts members into their order.
    pub fn new(name: BundleName, mut members: Vec<Member>, uses: Vec<Use>) -> Self {
        members.sort_by(|a, b| a.path.cmp(&b.path));
        Self { format: Self::FORMAT, name, members, uses }
    }

    /// What all members are together.
    pub fn bytes(&self) -> u64 {
        self.members.iter().fold(0, |sum, member| sum.saturating_add(member.bytes))
    }

    pub fn of(&self, kind: Kind) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(move |member| member.path.kind() == kind)
    }

    /// Says what contradicts itself, which no bundle that was made here does.
    pub fn check(&self) -> Result<(), String> {
        if self.members.len() > MOST_MEMBERS {
            return Err(format!("it holds more than {MOST_MEMBERS} files"));
        }
        let mut files = BTreeSet::new();
        for member in &self.members {
            let path = member.path.as_str();
            if files.last().is_some_and(|last: &&str| *last >= path) {
                return Err(format!("{path} is listed twice or out of order"));
            }
            let above = path.match_indices('/').find_map(|(end, _)| files.get(&path[..end]));
            if let Some(above) = above {
                return Err(format!("{above} is listed as a file and as a folder"));
            }
            files.insert(path);
        }
        let known = |path: &MemberPath, kind: Kind| {
            let there = self.members.binary_search_by(|member| member.path.cmp(path)).is_ok();
            if there && path.kind() == kind { Ok(()) } else { Err(format!("{path} is used, but not listed")) }
        };
        for used in &self.uses {
            match &used.setting {
                Setting::Archive { variable, member } => {
                    if !is_archive_variable(variable) {
                        return Err(format!("{variable:?} is no variable for an archive"));
                    }
                    known(member, Kind::Image)?;
                }
                Setting::Guest { member } => known(member, Kind::Guest)?,
                Setting::Pushes(pushes) => {
                    for push in pushes {
                        if push.fields.keys().any(|name| !is_identifier(name)) {
                            return Err("an image to push has a field with a strange name".into());
                        }
                        push.archive.iter().try_for_each(|member| known(member, Kind::Image))?;
                    }
                }
            }
        }
        Ok(())
    }
}

fn is_identifier(text: &str) -> bool {
    let mut chars = text.chars();
    chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Whether a variable of this name says where an image's archive is.
pub(super) fn is_archive_variable(name: &str) -> bool {
    name.ends_with(ARCHIVE) && is_identifier(name)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(super) fn member(path: &str) -> Member {
        Member {
            path: MemberPath::parse(path).expect("a path"),
            bytes: 3,
            sha256: Sha256Hex::parse(&"a".repeat(64)).expect("a digest"),
            executable: false,
            holds: Vec::new(),
            came_as: None,
        }
    }

    fn manifest(paths: &[&str], uses: Vec<Use>) -> Manifest {
        let name = BundleName::parse("lab").expect("a name");
        let members = paths.iter().map(|p| member(p)).collect();
        Manifest { format: 1, name, members, uses }
    }

    fn archive(variable: &str, path: &str) -> Vec<Use> {
        let member = MemberPath::parse(path).expect("a path");
        vec![Use { hosts: Hosts::All, setting: Setting::Archive { variable: variable.into(), member } }]
    }

    #[test]
    fn contradictions_are_found() {
        for (paths, uses, wrong) in [
            (&["images/a.tar", "images/b.tar"][..], archive("redis_image_archive", "images/a.tar"), None),
            (&["images/b.tar", "images/a.tar"], vec![], Some("out of order")),
            (&["images/a.tar", "images/a.tar"], vec![], Some("twice")),
            (&["roles/a/b", "roles/a/b-x", "roles/a/b/c"], vec![], Some("as a file and as a folder")),
            (&["images/a.tar"], archive("redis_image_archive", "images/c.tar"), Some("not listed")),
            (&["packages/a.tar"], archive("redis_image_archive", "packages/a.tar"), Some("not listed")),
            (&["images/a.tar"], archive("ansible_become_password", "images/a.tar"), Some("no variable for")),
            (&["images/a.tar"], archive("x: y\n_image_archive", "images/a.tar"), Some("no variable for")),
        ] {
            let said = manifest(paths, uses).check().err();
            let fits = match (wrong, &said) {
                (None, None) => true,
                (Some(wrong), Some(said)) => said.contains(wrong),
                _ => false,
            };
            assert!(fits, "{paths:?}: {said:?}, not {wrong:?}");
        }
    }

    #[test]
    fn paths_that_leave_the_folder_are_no_manifest() {
        let good = serde_json::to_string(&manifest(&["images/a.tar"], Vec::new())).expect("written");
        assert!(serde_json::from_str::<Manifest>(&good).is_ok());
        for bad in ["/etc/passwd", "images/../../x", "../x", "images/a/../b"] {
            assert!(serde_json::from_str::<Manifest>(&good.replace("images/a.tar", bad)).is_err(), "{bad}");
        }
        for (from, to) in [("\"lab\"", "\"../lab\""), ("aaaa", "AAAA"), ("\"bytes\"", "\"size\"")] {
            assert!(serde_json::from_str::<Manifest>(&good.replace(from, to)).is_err(), "{to}");
        }
    }

    proptest! {
        /// What is written is read back as it was, whatever order the files came in.
        #[test]
        fn a_manifest_survives_its_way(names in proptest::collection::btree_set("[a-z]{1,8}( [a-z])?", 0..8), all in any::<bool>(), seed in any::<u64>()) {
            let mut members: Vec<Member> = names.iter().map(|n| member(&format!("images/{n}"))).collect();
            let ordered = Manifest::new(BundleName::parse("lab").expect("a name"), members.clone(), Vec::new());
            if !members.is_empty() {
                let by = usize::try_from(seed % members.len() as u64).expect("small");
                members.rotate_left(by);
            }
            let hosts = if all { Hosts::All } else { Hosts::Named(vec!["a".into(), "b".into()]) };
            let mut made = Manifest::new(BundleName::parse("lab").expect("a name"), members, Vec::new());
            prop_assert_eq!(&made, &ordered);
            if let Some(first) = made.members.first() {
                made.uses = vec![Use { hosts, setting: Setting::Archive { variable: "x_image_archive".into(), member: first.path.clone() } }];
            }
            prop_assert_eq!(made.check(), Ok(()));
            let text = serde_json::to_string(&made).expect("written");
            prop_assert_eq!(serde_json::from_str::<Manifest>(&text).expect("read"), made);
        }
    }
}
