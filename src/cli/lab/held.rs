//! A lab's lock: who changes a lab is alone with it.

use std::io::ErrorKind;
use std::ops::Deref;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use clap::Args;

use super::Lab;
use crate::cli::tell;
use crate::inventory::Inventory;
use crate::lab::LabError;
use crate::report::span;
use crate::store::{FileLock, Holder, Share, host};

/// The file in the lab's folder that is locked.
pub(super) const LOCK: &str = "lock";

/// How long it takes to look again whether a lab is free.
const PAUSE: Duration = Duration::from_millis(200);

/// How long after the last word of waiting there is another.
const AGAIN: Duration = Duration::from_secs(60);

/// Whether another command is waited for.
#[derive(Debug, Clone, Copy, Args)]
pub(in crate::cli) struct WaitArgs {
    /// Fail at once where another command is changing the lab, instead of waiting for it.
    #[arg(long)]
    no_wait: bool,
}

/// A lab that is held until this is dropped.
#[derive(Debug)]
pub(in crate::cli) struct Held {
    lab: Lab,
    /// Missing where there is nothing to hold, or where who holds it waits for this.
    lock: Option<FileLock>,
    changes: bool,
}

impl Deref for Held {
    type Target = Lab;

    fn deref(&self) -> &Lab {
        &self.lab
    }
}

impl Held {
    /// The lab of an inventory, for a command that changes it: nobody else does meanwhile.
    pub(in crate::cli) fn change(inventory: &Inventory, doing: &str, wait: WaitArgs) -> Result<Self> {
        loop {
            let mut held = Self::alone(Lab::of(inventory)?, doing, wait)?;
            // Who had it may have made it another inventory's.
            let lab = Lab::of(inventory)?;
            if lab.name == held.name {
                held.lab = lab;
                return Ok(held);
            }
        }
    }

    /// The same for a lab that is known already.
    pub(in crate::cli) fn alone(lab: Lab, doing: &str, wait: WaitArgs) -> Result<Self> {
        let lock = Self::wait_for(&lab, Share::Nobody, doing, wait)?;
        Ok(Self { lab, lock, changes: true })
    }

    /// A lab for a command that only looks: it does not wait for one that changes, but says that there is one.
    pub(in crate::cli) fn look(lab: Lab, doing: &str) -> Result<Self> {
        let lock = match FileLock::try_take(&lab.state_dir.join(LOCK), Share::Others) {
            Ok(Some(lock)) => {
                sign(&lock, doing, &lab);
                Some(lock)
            }
            Ok(None) => {
                let by = told(&Holder::all(&lab.state_dir.join(LOCK)));
                tell(&format!(
                    "the lab {} is being changed by {by}: what is shown may be over already",
                    lab.name
                ));
                None
            }
            // A lab that is not there, or whose folder is not ours to write, is not changed from here.
            Err(e)
                if [ErrorKind::NotFound, ErrorKind::PermissionDenied, ErrorKind::ReadOnlyFilesystem]
                    .contains(&e.kind()) =>
            {
                None
            }
            Err(error) => {
                return Err(error).with_context(|| format!("cannot lock {}", lab.state_dir.display()));
            }
        };
        Ok(Self { lab, lock, changes: false })
    }

    /// Every lab that is remembered here, for a command on what they stand on.
    pub(in crate::cli) fn all(doing: &str, wait: WaitArgs) -> Result<Vec<Self>> {
        let hold = |lab: Lab| {
            let lock = Self::wait_for(&lab, Share::Others, doing, wait)?;
            Ok(Self { lab, lock, changes: false })
        };
        Lab::all()?.into_iter().map(hold).collect()
    }

    /// Says and notes whose the lab is, where a run brings it up or it is there.
    pub(in crate::cli) fn claimed(self, brings_it_up: bool) -> Result<Self> {
        if let Some(news) = self.lab.news() {
            tell(&news);
        }
        if brings_it_up || self.lab.remembers() {
            self.lab.claim()?;
        }
        Ok(self)
    }

    fn wait_for(lab: &Lab, share: Share, doing: &str, wait: WaitArgs) -> Result<Option<FileLock>> {
        let path = lab.state_dir.join(LOCK);
        let began = Instant::now();
        let mut said: Option<Instant> = None;
        loop {
            lab.prepare()?;
            match FileLock::try_take(&path, share) {
                Ok(Some(lock)) => {
                    sign(&lock, doing, lab);
                    if said.is_some() {
                        tell(&format!("waited {} for the lab {}", span(began.elapsed().as_secs()), lab.name));
                    }
                    return Ok(Some(lock));
                }
                Ok(None) => {}
                // Another one removed the folder just now.
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => return Err(error).with_context(|| format!("cannot lock {}", path.display())),
            }
            let holders = Holder::all(&path);
            // A command of a run's own tasks: the run waits for it.
            if holders.iter().any(Holder::is_above) {
                return Ok(None);
            }
            if wait.no_wait {
                return Err(LabError::failed(
                    format!("the lab {}", lab.name),
                    format!("it is in use by {}", told(&holders)),
                )
                .with_hint("without --no-wait it is waited for")
                .into());
            }
            if said.is_none_or(|at| at.elapsed() >= AGAIN) {
                let again = if said.is_some() { "still " } else { "" };
                tell(&format!("{again}waiting for the lab {}: it is in use by {}", lab.name, told(&holders)));
                said = Some(Instant::now());
            }
            std::thread::sleep(PAUSE);
        }
    }
}

/// Holders as a person reads them.
fn told(holders: &[Holder]) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    let here = host();
    let one = |holder: &Holder| {
        let at = if holder.host == here { String::new() } else { format!(" on {}", holder.host) };
        let since = span(now.saturating_sub(holder.since));
        format!("{} of {} (process {}{at}, for {since})", holder.doing, holder.user, holder.pid)
    };
    match holders {
        // Between taking a lock and signing it, and on file systems that tell others late.
        [] => "another command".to_owned(),
        some => some.iter().map(one).collect::<Vec<_>>().join(", "),
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let Some(lock) = self.lock.take() else { return };
        if self.changes {
            if self.lab.remembers() {
                // What cannot be noted now is noted by the next run.
                let _later = self.lab.claim();
            }
            self.lab.tidy();
        }
        lock.remove();
        // A run that had nothing to remember leaves no folder.
        self.lab.tidy_folders();
    }
}

/// Writes into a lock who holds it. It holds without that too: on a full disk a lab can still be looked at, and destroyed.
fn sign(lock: &FileLock, doing: &str, lab: &Lab) {
    if let Err(error) = Holder::this(doing).sign(lock) {
        let folder = lab.state_dir.display();
        tell(&format!(
            "others are not told who is at work on the lab {}: cannot write in {folder}: {error}",
            lab.name
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_reads_who_holds_it() {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after the epoch").as_secs();
        let here = Holder {
            pid: 7,
            began: 1,
            host: host(),
            user: "ann".into(),
            doing: "quaylab run".into(),
            since: now - 200,
        };
        let there = Holder { host: "far".into(), doing: "quaylab destroy".into(), ..here.clone() };
        assert_eq!(told(std::slice::from_ref(&here)), "quaylab run of ann (process 7, for 3 min)");
        assert_eq!(
            told(&[here, there]),
            "quaylab run of ann (process 7, for 3 min), quaylab destroy of ann (process 7 on far, for 3 min)"
        );
        assert_eq!(told(&[]), "another command");
    }
}
