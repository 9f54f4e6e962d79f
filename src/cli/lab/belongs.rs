//! Which lab an inventory means: a lab belongs to its inventory's identity, not to a file name.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::identity::text;
use crate::diag::Diagnostic;
use crate::inventory::Inventory;
use crate::store::{LabName, NoHome, state_home, write_private};

/// The file in a lab's folder that says whose it is.
pub(super) const IDENTITY: &str = "inventory.json";

/// Whose a lab is, as its folder remembers it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Identity {
    pub(super) inventories: BTreeMap<String, Claim>,
}

/// How one inventory came to the lab.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Claim {
    /// Whether it names the lab (`quaylab_lab`), rather than that the lab is called after its file.
    pub(super) said: bool,
    /// A digest of the hosts that it names.
    pub(super) hosts: String,
}

/// A lab that has a folder here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) name: LabName,
    /// Missing for one of a quaylab that did not note it.
    pub(super) identity: Option<Identity>,
    /// The hosts that it has keys of.
    pub(super) hosts: Vec<String>,
}

/// What an inventory says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Asking {
    /// `quaylab_lab`.
    pub(super) said: Option<LabName>,
    /// Its first source: an absolute path, or a list of hosts as it is.
    pub(super) source: String,
    pub(super) hosts: Vec<String>,
}

/// How the lab stands to the inventory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Bond {
    /// It is this inventory's, or will be.
    Own,
    /// The name of the file is another lab's, which belongs to another inventory.
    InsteadOf { name: LabName, inventories: Vec<String> },
    /// It was that of an inventory which is not there any more and named the same hosts.
    Moved { from: String },
    /// Other inventories, which are there, say the same name.
    Shared { with: Vec<String> },
}

/// A lab and how it stands to the inventory that asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Settled {
    pub(super) name: LabName,
    pub(super) bond: Bond,
}

impl Asking {
    pub(super) fn of(inventory: &Inventory) -> Result<Self> {
        let mut said: Option<(String, String)> = None;
        for host in inventory.hosts() {
            let Some(name) = text(inventory, host, "quaylab_lab") else { continue };
            match &said {
                Some((first, other)) if *other != name => {
                    return Err(Diagnostic::new(format!(
                        "quaylab_lab is {other:?} for {first} and {name:?} for {host}, and a lab has one name"
                    ))
                    .hint("say it once, in [all:vars]")
                    .into());
                }
                _ => said = Some((host.to_owned(), name)),
            }
        }
        let named = |(host, name): (String, String)| {
            LabName::new(&name).map_err(|e| {
                Diagnostic::new(format!("quaylab_lab of {host}: {e}")).hint(
                    "a lab's name is one word such as `quickstart`: it names a folder and marks what is made",
                )
            })
        };
        let source = inventory.sources().first().map_or("lab", String::as_str);
        let source = place(Path::new(source)).unwrap_or_else(|| source.trim_end_matches(',').to_owned());
        let mut hosts: Vec<String> = inventory.hosts().map(str::to_owned).collect();
        hosts.sort();
        Ok(Self { said: said.map(named).transpose()?, source, hosts })
    }

    /// The name of the file without its ending.
    fn stem(&self) -> LabName {
        let stem = Path::new(&self.source).file_stem();
        LabName::like(&stem.map_or_else(|| self.source.clone(), |s| s.to_string_lossy().into_owned()))
    }

    /// What tells it from others of its name.
    fn told_apart(&self) -> LabName {
        LabName::like(&format!("{}-{}", self.stem(), &digest(&self.source)[..6]))
    }

    fn print(&self) -> String {
        digest(&self.hosts.join("\n"))
    }

    /// Whether this is a lab that hosts of this inventory have keys in, or none at all.
    fn is_like(&self, known: &Known) -> bool {
        let short = |host: &str| host.split('.').next().unwrap_or(host).to_owned();
        let own: Vec<String> = self.hosts.iter().flat_map(|host| [host.clone(), short(host)]).collect();
        known.hosts.is_empty() || known.hosts.iter().any(|host| own.contains(host))
    }
}

/// Where an inventory lies, under its own name: a link to another's is one of its own. `None` for a list of hosts.
fn place(path: &Path) -> Option<String> {
    if !path.exists() {
        return None;
    }
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let whole = match path.file_name() {
        Some(name) => folder.canonicalize().map(|folder| folder.join(name)),
        None => path.canonicalize(),
    };
    Some(whole.unwrap_or_else(|_| path.to_owned()).display().to_string())
}

fn digest(text: &str) -> String {
    let mut hex = String::new();
    for byte in Sha256::digest(text) {
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}

/// Which of the labs is meant. `stands` says whether an inventory is still there.
pub(super) fn settle(asking: &Asking, labs: &[Known], stands: &dyn Fn(&str) -> bool) -> Settled {
    let others = |identity: &Identity| -> Vec<String> {
        identity.inventories.keys().filter(|s| **s != asking.source && stands(s)).cloned().collect()
    };
    let gone = |identity: &Identity| {
        let mut gone = identity.inventories.iter().filter(|(source, _)| !stands(source));
        gone.next().map(|(source, claim)| (source.clone(), claim.clone()))
    };
    let by_name = |name: &LabName| labs.iter().find(|lab| lab.name == *name);
    if let Some(name) = &asking.said {
        let bond = match by_name(name).and_then(|lab| lab.identity.as_ref()) {
            Some(identity) => match (others(identity), gone(identity)) {
                (with, _) if !with.is_empty() => Bond::Shared { with },
                (_, Some((from, _))) if !identity.inventories.contains_key(&asking.source) => {
                    Bond::Moved { from }
                }
                _ => Bond::Own,
            },
            None => Bond::Own,
        };
        return Settled { name: name.clone(), bond };
    }
    let stem = asking.stem();
    let own = |lab: &&Known| {
        let claim = lab.identity.as_ref().and_then(|identity| identity.inventories.get(&asking.source));
        claim.is_some_and(|claim| !claim.said || lab.name == stem)
    };
    if let Some(lab) = labs.iter().find(own) {
        return Settled { name: lab.name.clone(), bond: Bond::Own };
    }
    let of_name = |lab: &&Known| {
        let rest = lab.name.strip_prefix(stem.as_str());
        rest.is_some_and(|rest| rest.is_empty() || rest.len() == 7 && rest.starts_with('-'))
    };
    let mut moved = labs.iter().filter(of_name).filter_map(|lab| {
        let identity = lab.identity.as_ref()?;
        let (from, claim) = gone(identity)?;
        let same = !claim.said && claim.hosts == asking.print() && others(identity).is_empty();
        same.then(|| (lab.name.clone(), from))
    });
    // Of two that may be meant, neither is taken.
    if let (Some((name, from)), None) = (moved.next(), moved.next()) {
        return Settled { name, bond: Bond::Moved { from } };
    }
    match by_name(&stem) {
        None => Settled { name: stem, bond: Bond::Own },
        Some(lab) if lab.identity.is_none() && asking.is_like(lab) => Settled { name: stem, bond: Bond::Own },
        Some(lab) => Settled {
            name: asking.told_apart(),
            bond: Bond::InsteadOf {
                name: stem,
                inventories: lab.identity.iter().flat_map(|i| i.inventories.keys().cloned()).collect(),
            },
        },
    }
}

/// Every lab that has a folder here. A folder with nothing in it but a lock is none.
pub(super) fn known(home: &Path) -> Result<Vec<Known>> {
    let entries = match std::fs::read_dir(home) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", home.display())),
    };
    let mut all = Vec::new();
    for folder in entries.flatten().map(|entry| entry.path()) {
        let Some(Ok(name)) = folder.file_name().and_then(|n| n.to_str()).map(LabName::new) else { continue };
        let inside = names_in(&folder);
        if inside.iter().all(|name| name == super::held::LOCK || name.starts_with('.')) {
            continue;
        }
        all.push(Known { identity: read(&folder)?, hosts: names_in(&folder.join("hosts")), name });
    }
    all.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(all)
}

fn names_in(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

/// What a lab's folder says of whose it is.
pub(super) fn read(state_dir: &Path) -> Result<Option<Identity>> {
    let file = state_dir.join(IDENTITY);
    let text = match std::fs::read(&file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", file.display())),
    };
    serde_json::from_slice(&text).map(Some).map_err(|error| {
        Diagnostic::new(format!("{} cannot be read: {error}", file.display()))
            .hint("quaylab wrote this file; without it, the lab belongs to the next inventory of its name")
            .into()
    })
}

/// Notes that the lab is this inventory's too; those that are not there any more are forgotten.
pub(super) fn note(state_dir: &Path, asking: &Asking, stands: &dyn Fn(&str) -> bool) -> Result<()> {
    let before = read(state_dir)?;
    let mut now = before.clone().unwrap_or_default();
    now.inventories.retain(|source, _| stands(source));
    let claim = Claim { said: asking.said.is_some(), hosts: asking.print() };
    now.inventories.insert(asking.source.clone(), claim);
    if before.as_ref() == Some(&now) {
        return Ok(());
    }
    let file = state_dir.join(IDENTITY);
    let text = serde_json::to_vec_pretty(&now).context("cannot note whose the lab is")?;
    write_private(&file, &text).with_context(|| format!("cannot write {}", file.display()))
}

/// Whether an inventory is still there; a list of hosts always is.
pub(super) fn stands(source: &str) -> bool {
    !source.starts_with('/') || Path::new(source).exists()
}

/// The folder with a folder a lab.
pub(in crate::cli) fn labs_home() -> Result<PathBuf> {
    let home = state_home().map_err(|e| Diagnostic::new(e.to_string()).hint(NoHome::HINT))?;
    Ok(home.join("quaylab"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asking(said: Option<&str>, source: &str, hosts: &[&str]) -> Asking {
        Asking {
            said: said.map(|name| LabName::new(name).expect("a name")),
            source: source.into(),
            hosts: hosts.iter().map(|h| (*h).to_owned()).collect(),
        }
    }

    fn lab(name: &str, said: bool, of: &[&Asking]) -> Known {
        let inventories = of.iter().map(|a| (a.source.clone(), Claim { said, hosts: a.print() })).collect();
        let identity = (!of.is_empty()).then_some(Identity { inventories });
        Known { name: LabName::new(name).expect("a name"), identity, hosts: vec!["quay".into()] }
    }

    #[test]
    fn a_lab_belongs_to_its_inventory_and_not_to_a_file_name() {
        let here = asking(None, "/a/hosts", &["quay.lan"]);
        let there = asking(None, "/b/hosts", &["quay.lan"]);
        let gone = asking(None, "/gone/hosts", &["quay.lan"]);
        let other = asking(None, "/gone/too/hosts", &["db.lan"]);
        let said = asking(Some("team"), "/a/x.inv", &["quay.lan"]);
        let apart = here.told_apart();
        let instead = |of: &[&Asking]| Bond::InsteadOf {
            name: LabName::new("hosts").expect("a name"),
            inventories: of.iter().map(|a| a.source.clone()).collect(),
        };
        let moved = |from: &Asking| Bond::Moved { from: from.source.clone() };
        for (what, asking, labs, name, bond) in [
            ("the first of its name", &here, vec![], "hosts", Bond::Own),
            ("its own", &here, vec![lab("hosts", false, &[&here])], "hosts", Bond::Own),
            ("another's", &here, vec![lab("hosts", false, &[&there])], &*apart, instead(&[&there])),
            (
                "its own beside another's",
                &here,
                vec![lab("hosts", false, &[&there]), lab(&apart, false, &[&here])],
                &*apart,
                Bond::Own,
            ),
            ("its own, the other's gone", &here, vec![lab(&apart, false, &[&here])], &*apart, Bond::Own),
            ("moved", &here, vec![lab("hosts", false, &[&gone])], "hosts", moved(&gone)),
            (
                "moved, under its longer name",
                &here,
                vec![lab("hosts-123456", false, &[&gone])],
                "hosts-123456",
                moved(&gone),
            ),
            (
                "gone, with other hosts",
                &here,
                vec![lab("hosts", false, &[&other])],
                &*apart,
                instead(&[&other]),
            ),
            (
                "two may be meant",
                &here,
                vec![lab("hosts", false, &[&gone]), lab("hosts-123456", false, &[&gone])],
                &*apart,
                instead(&[&gone]),
            ),
            ("from before", &here, vec![lab("hosts", false, &[])], "hosts", Bond::Own),
            (
                "from before, of other hosts",
                &other,
                vec![lab("hosts", false, &[])],
                &*other.told_apart(),
                instead(&[]),
            ),
            ("named", &said, vec![], "team", Bond::Own),
            ("named, its own", &said, vec![lab("team", true, &[&said])], "team", Bond::Own),
            (
                "named by two",
                &said,
                vec![lab("team", true, &[&here, &said])],
                "team",
                Bond::Shared { with: vec!["/a/hosts".into()] },
            ),
            ("named by one that is gone", &said, vec![lab("team", true, &[&gone])], "team", moved(&gone)),
            (
                "a named lab is no file's",
                &here,
                vec![lab("hosts", true, &[&there])],
                &*apart,
                instead(&[&there]),
            ),
        ] {
            let settled = settle(asking, &labs, &|source| !source.starts_with("/gone"));
            assert_eq!((settled.name.as_str(), settled.bond), (name, bond), "{what}");
        }
    }

    #[test]
    fn whose_a_lab_is_is_noted_once() {
        let home = tempfile::tempdir().expect("a folder");
        let state = home.path().join("hosts");
        let (here, gone) = (asking(None, "/a/hosts", &["q"]), asking(None, "/gone/hosts", &["q"]));
        let stands = |source: &str| !source.starts_with("/gone");
        for one in [&gone, &here, &here] {
            note(&state, one, &stands).expect("noted");
        }
        let all = known(home.path()).expect("read");
        assert_eq!(all.len(), 1);
        let identity = all[0].identity.clone().expect("noted");
        assert_eq!(identity.inventories.into_keys().collect::<Vec<_>>(), ["/a/hosts"]);
    }
}
