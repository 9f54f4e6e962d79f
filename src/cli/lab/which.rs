use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::belongs::{Asking, Bond, IDENTITY, Settled, known, labs_home, note, read, settle, stands};
use super::held::LOCK;
use crate::diag::Diagnostic;
use crate::inventory::Inventory;
use crate::store::{LabName, halves};

/// How long a file may be half written before its writer is taken for gone.
const ABANDONED: Duration = Duration::from_secs(600);

/// The lab that an inventory describes: its name, and where quaylab remembers what belongs to it.
#[derive(Debug, Clone)]
pub(in crate::cli) struct Lab {
    pub name: LabName,
    pub state_dir: PathBuf,
    /// The inventory that asks, and how it stands to the lab.
    asking: Option<(Asking, Bond)>,
}

impl Lab {
    /// `quaylab_lab` of the inventory, else the lab that belongs to its first file.
    pub(in crate::cli) fn of(inventory: &Inventory) -> Result<Self> {
        let asking = Asking::of(inventory)?;
        let home = labs_home()?;
        let Settled { name, bond } = settle(&asking, &known(&home)?, &stands);
        Ok(Self { state_dir: name.within(&home), name, asking: Some((asking, bond)) })
    }

    /// A lab by its name, for when its inventory is gone.
    pub(in crate::cli) fn named(name: &str) -> Result<Self> {
        let name = LabName::new(name).map_err(|e| {
            Diagnostic::new(e.to_string()).hint(
                "it is `quaylab_lab` of the inventory, else the inventory file's name without its ending",
            )
        })?;
        Ok(Self { state_dir: name.within(&labs_home()?), name, asking: None })
    }

    /// Every lab that is remembered here.
    pub(in crate::cli) fn all() -> Result<Vec<Self>> {
        let home = labs_home()?;
        let lab = |name: LabName| Self { state_dir: name.within(&home), name, asking: None };
        Ok(known(&home)?.into_iter().map(|lab| lab.name).map(lab).collect())
    }

    /// Makes the state folder, for its owner only.
    pub(in crate::cli) fn prepare(&self) -> Result<()> {
        use std::os::unix::fs::DirBuilderExt as _;
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.state_dir)
            .with_context(|| format!("cannot make the state folder {}", self.state_dir.display()))
    }

    /// What a person should know of whose the lab is, before it is changed.
    pub(super) fn news(&self) -> Option<String> {
        let (asking, bond) = self.asking.as_ref()?;
        let (name, source) = (&self.name, &asking.source);
        match bond {
            Bond::InsteadOf { name: other, inventories } if !self.remembers() => {
                let whose = match inventories.as_slice() {
                    [] => "of other hosts".to_owned(),
                    some => format!("that of {}", some.join(" and ")),
                };
                Some(format!(
                    "the lab {other} is {whose}, so the lab of {source} is called {name}; quaylab_lab in an inventory names its lab"
                ))
            }
            Bond::Moved { from } => {
                Some(format!("the lab {name} goes on with {source}: {from} is not there any more"))
            }
            Bond::Own | Bond::InsteadOf { .. } | Bond::Shared { .. } => None,
        }
    }

    /// The inventories besides the asking one that the lab belongs to.
    pub(super) fn others(&self) -> Result<Vec<String>> {
        Ok(match &self.asking {
            Some((_, Bond::Shared { with })) => with.clone(),
            Some(_) => Vec::new(),
            None => {
                let identity = read(&self.state_dir)?.unwrap_or_default();
                identity.inventories.into_keys().filter(|source| stands(source)).collect()
            }
        })
    }

    /// The inventory that asks.
    pub(super) fn source(&self) -> Option<&str> {
        self.asking.as_ref().map(|(asking, _)| asking.source.as_str())
    }

    /// Notes that the lab is the asking inventory's.
    pub(super) fn claim(&self) -> Result<()> {
        match &self.asking {
            Some((asking, _)) => note(&self.state_dir, asking, &stands),
            None => Ok(()),
        }
    }

    /// Whether what carries its name on a hypervisor may be its own: it was named by a person, or it is remembered.
    pub(super) fn may_own(&self) -> bool {
        self.asking.as_ref().is_none_or(|(asking, _)| asking.said.is_some()) || self.remembers()
    }

    /// Whether the folder holds anything of a lab.
    pub(super) fn remembers(&self) -> bool {
        let entries = std::fs::read_dir(&self.state_dir).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name()).any(|name| name != IDENTITY && name != LOCK)
    }

    /// Removes what is left of a lab that nothing is remembered of.
    pub(super) fn tidy(&self) {
        // Programs that are called by Ansible's names do not wait: what they are just writing is theirs.
        let abandoned = |file: &PathBuf| {
            let written = std::fs::metadata(file).and_then(|about| about.modified());
            written.is_ok_and(|when| when.elapsed().is_ok_and(|ago| ago > ABANDONED))
        };
        for half in halves(&self.state_dir).filter(abandoned) {
            let _stays = std::fs::remove_file(half);
        }
        if !self.remembers() {
            let _not_there = std::fs::remove_file(self.state_dir.join(IDENTITY));
        }
    }

    /// A lab in a folder of labs.
    #[cfg(test)]
    pub(super) fn for_test(home: &std::path::Path, name: &str, said: bool) -> Self {
        let name = LabName::like(name);
        let asking =
            Asking { said: said.then(|| name.clone()), source: "/x/hosts".into(), hosts: Vec::new() };
        Self { state_dir: name.within(home), name, asking: Some((asking, Bond::Own)) }
    }

    /// Removes the state folder, and quaylab's above it, where they are empty.
    pub(super) fn tidy_folders(&self) {
        for folder in self.state_dir.ancestors().take(2) {
            let _kept = std::fs::remove_dir(folder);
        }
    }
}
