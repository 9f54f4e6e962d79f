use std::io::{Read as _, Write as _};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::FileLock;

/// Who holds a lock, and since when. It stands in the locked file, a line a holder, for those who wait.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    pub pid: u32,
    /// When the process began, as the kernel counts: numbers of processes come again.
    pub began: u64,
    pub host: String,
    pub user: String,
    /// What is being done: `quaylab run`.
    pub doing: String,
    /// In seconds since the epoch.
    pub since: u64,
}

impl Holder {
    /// This process, from now on.
    pub fn this(doing: &str) -> Self {
        let pid = std::process::id();
        Self {
            pid,
            began: began(pid).unwrap_or_default(),
            host: host(),
            user: user(),
            doing: doing.to_owned(),
            since: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs()),
        }
    }

    /// Writes it into the file of a lock that is held.
    pub fn sign(&self, lock: &FileLock) -> std::io::Result<()> {
        let line = serde_json::to_string(self).map_err(std::io::Error::other)?;
        let mut file = lock.file();
        if lock.is_alone() {
            file.set_len(0)?;
        }
        // One write at the end, so that holders who come at once do not mix their lines.
        file.write_all(format!("{line}\n").as_bytes())
    }

    /// Who holds the lock on a file. Those that have ended are left out: of another machine that is not known.
    pub fn all(path: &Path) -> Vec<Self> {
        let read = || {
            let file = std::fs::File::open(path)?;
            let mut text = String::new();
            file.take(1 << 20).read_to_string(&mut text)?;
            std::io::Result::Ok(text)
        };
        let here = host();
        let lives = |holder: &Self| holder.host != here || began(holder.pid) == Some(holder.began);
        let text = read().unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).filter(lives).collect()
    }

    /// Whether this process was started, through whatever number of others, by the holder, which then waits for it.
    pub fn is_above(&self) -> bool {
        let mut pid = std::process::id();
        // Circles there are none, but what is read meanwhile may change.
        for _ in 0..64 {
            if self.pid == pid {
                return self.host == host() && began(pid) == Some(self.began);
            }
            match parent(pid) {
                Some(above) if above > 0 => pid = above,
                _ => return false,
            }
        }
        false
    }
}

/// The name of this machine.
pub fn host() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned()
}

/// The user's name, else the number.
fn user() -> String {
    let id = rustix::process::geteuid().as_raw();
    let named = std::fs::read_to_string("/etc/passwd").ok().and_then(|text| {
        let mut lines = text.lines().map(|line| line.split(':').collect::<Vec<_>>());
        lines.find(|fields| fields.get(2).is_some_and(|uid| *uid == id.to_string())).map(|f| f[0].to_owned())
    });
    let said = || std::env::var("USER").ok().filter(|name| !name.is_empty());
    named.or_else(said).unwrap_or_else(|| id.to_string())
}

/// The fields of `/proc/PID/stat` behind the program's name, which may hold anything: state, parent, ...
fn stat(pid: u32) -> Option<Vec<String>> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = text.rsplit_once(')')?;
    Some(rest.split_whitespace().map(str::to_owned).collect())
}

fn parent(pid: u32) -> Option<u32> {
    stat(pid)?.get(1)?.parse().ok()
}

fn began(pid: u32) -> Option<u64> {
    let fields = stat(pid)?;
    // One that has ended and was not asked after yet holds nothing.
    (fields.first()? != "Z").then_some(())?;
    fields.get(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::super::Share;
    use super::*;

    #[test]
    fn who_holds_a_lock_is_known_until_it_ends() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("lock");
        let lock = FileLock::take(&path, Share::Others).expect("held");
        let own = Holder::this("test");
        own.sign(&lock).expect("written");
        let mut child = std::process::Command::new("sleep").arg("60").spawn().expect("started");
        let other = Holder { pid: child.id(), began: began(child.id()).expect("known"), ..own.clone() };
        other.sign(&lock).expect("written");
        let before = Holder { began: own.began + 1, ..own.clone() };
        before.sign(&lock).expect("written");
        let far = Holder { host: "elsewhere".into(), ..before };
        far.sign(&lock).expect("written");
        assert_eq!(Holder::all(&path), [own.clone(), other.clone(), far.clone()]);
        assert!(own.is_above() && !other.is_above() && !far.is_above());
        child.kill().expect("ended");
        child.wait().expect("ended");
        assert_eq!(Holder::all(&path), [own, far]);
    }
}
