use std::fs::{self, File};
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::PrivateError;

/// The two namespaces, by the names that the kernel gives them. They live as long as a process is in them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Namespaces {
    net: String,
    mnt: String,
    /// The process that was made to stay in them.
    holder: Option<i32>,
    /// Whether the mounts are in place.
    pub(super) ready: bool,
}

impl Namespaces {
    pub(super) fn read(path: &Path) -> Option<Self> {
        Self::parse(&fs::read_to_string(path).ok()?)
    }

    /// `net:[1] mnt:[2] PID` of the holder, and `ready` when that has finished.
    fn parse(text: &str) -> Option<Self> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let name = |at: usize, kind: &str| Some((*words.get(at).filter(|w| w.starts_with(kind))?).to_owned());
        let holder = words.get(2).and_then(|pid| pid.parse().ok());
        Some(Self {
            net: name(0, "net:[")?,
            mnt: name(1, "mnt:[")?,
            holder,
            ready: words.last() == Some(&"ready"),
        })
    }

    /// A process in both of them, other than this one: the holder, while it lives.
    pub(super) fn member(&self) -> Option<i32> {
        self.members().into_iter().next()
    }

    /// All processes in both of them but this one. The holder comes first: others may be runs that end at any moment.
    fn members(&self) -> Vec<i32> {
        let own = i32::try_from(std::process::id()).unwrap_or_default();
        let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
        let pids = entries.flatten().filter_map(|e| e.file_name().to_str()?.parse::<i32>().ok());
        let mut members: Vec<i32> = pids.filter(|pid| *pid != own && self.holds(*pid)).collect();
        members.sort_by_key(|pid| Some(*pid) != self.holder);
        members
    }

    fn holds(&self, pid: i32) -> bool {
        let is = |which: &str, name: &str| {
            fs::read_link(format!("/proc/{pid}/ns/{which}")).is_ok_and(|link| link == Path::new(name))
        };
        is("mnt", &self.mnt) && is("net", &self.net)
    }

    /// Moves this process, which must have one thread only, into both; the working directory stays.
    pub(super) fn enter(&self) -> Result<(), PrivateError> {
        let here = std::env::current_dir();
        // Both are opened before either is joined: /proc/PID is looked up in the mount namespace that is left.
        let (net, mnt) = self.open()?;
        move_into_link_name_space(net.as_fd(), Some(LinkNameSpaceType::Network))
            .map_err(|e| PrivateError::Join { which: "net", source: e.into() })?;
        move_into_link_name_space(mnt.as_fd(), Some(LinkNameSpaceType::Mount))
            .map_err(|e| PrivateError::Join { which: "mnt", source: e.into() })?;
        if let Ok(here) = here {
            std::env::set_current_dir(&here).map_err(|e| PrivateError::file("return to", &here, e))?;
        }
        Ok(())
    }

    /// The namespaces of a member, of the next one if that ends meanwhile.
    fn open(&self) -> Result<(File, File), PrivateError> {
        let mut failure = PrivateError::Failed {
            what: "joining the namespaces".into(),
            reason: "their last process is gone".into(),
        };
        for pid in self.members() {
            let open = |which: &'static str| {
                File::open(format!("/proc/{pid}/ns/{which}"))
                    .map_err(|source| PrivateError::Join { which, source })
            };
            match open("net").and_then(|net| Ok((net, open("mnt")?))) {
                Ok(both) => return Ok(both),
                Err(e) => failure = e,
            }
        }
        Err(failure)
    }

    /// Ends every process in them but this one: asked first, then forced.
    pub(super) fn stop_members(&self) -> Result<(), PrivateError> {
        for (signal, patience) in [(Signal::TERM, 5), (Signal::KILL, 5)] {
            let until = Instant::now() + Duration::from_secs(patience);
            for pid in self.members() {
                signal_process(pid, signal);
            }
            while Instant::now() < until {
                if self.members().is_empty() {
                    return Ok(());
                }
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        let pids: Vec<String> = self.members().iter().map(ToString::to_string).collect();
        if pids.is_empty() { Ok(()) } else { Err(PrivateError::Alive { pids: pids.join(" ") }) }
    }
}

/// A process that has gone meanwhile is what was wanted.
pub(super) fn signal_process(pid: i32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(pid) {
        let _gone = kill_process(pid, signal);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_of_the_namespaces_are_read_back() {
        let names =
            |ready| Namespaces { net: "net:[1]".into(), mnt: "mnt:[2]".into(), holder: Some(7), ready };
        assert_eq!(Namespaces::parse("net:[1] mnt:[2] 7\n"), Some(names(false)));
        assert_eq!(Namespaces::parse("net:[1] mnt:[2] 7 ready\n"), Some(names(true)));
        for half in ["", "net:[1]", "mnt:[2] net:[1]", "garbage here"] {
            assert_eq!(Namespaces::parse(half), None, "{half:?}");
        }
    }

    #[test]
    fn a_namespace_that_nobody_is_in_has_no_member() {
        assert_eq!(Namespaces::parse("net:[1] mnt:[2] ready").and_then(|n| n.member()), None);
    }
}
