//! The private hypervisor: libvirt in network and mount namespaces of its own, for machines where no daemon answers.
//!
//! Joining the namespaces changes the calling process for good, so it happens before any thread exists; from then on
//! plain `qemu:///system` and the guests' addresses work, and the machine's own files and interfaces are as they were.

mod daemons;
mod error;
mod namespaces;
mod person;

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use rustix::mount::{UnmountFlags, unmount};

pub use error::PrivateError;
use namespaces::Namespaces;

use crate::store::{FileLock, Share};

/// What the inventory says about a private hypervisor (`libvirt_private`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Only the machine's own daemon.
    Never,
    /// A private one where the machine's own does not answer.
    Auto,
    /// A private one in any case.
    Always,
}

/// Which libvirt `qemu:///system` now means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entered {
    /// The machine's own.
    System,
    /// The private one; `fresh` when this call started it.
    Private { fresh: bool },
}

/// Sockets on which a libvirt daemon answers `qemu:///system`: the one daemon, or the split ones.
const SOCKETS: [&str; 2] = ["/run/libvirt/libvirt-sock", "/run/libvirt/virtqemud-sock"];

/// Joins the private hypervisor where it is wanted, starting it if need be. Call it before any thread exists.
pub fn ensure_and_enter(wanted: Wanted) -> Result<Entered, PrivateError> {
    PrivateHypervisor::default().ensure_and_enter(wanted)
}

/// Joins the private hypervisor if one runs, and starts none. Call it before any thread exists.
pub fn enter_if_running(wanted: Wanted) -> Result<Entered, PrivateError> {
    PrivateHypervisor::default().enter_if_running(wanted)
}

/// Whether a private hypervisor runs or left files behind.
pub fn remains() -> bool {
    let hypervisor = PrivateHypervisor::default();
    hypervisor.state.exists() || hypervisor.run.exists()
}

/// Whether a private hypervisor could be brought up.
pub fn possible() -> Result<(), PrivateError> {
    if !rustix::process::geteuid().is_root() {
        return Err(PrivateError::NotRoot);
    }
    daemons::check_programs()
}

/// Whether a private hypervisor runs.
pub fn running() -> bool {
    PrivateHypervisor::default().running().is_some()
}

/// Stops the private hypervisor with every guest in it, and removes its files. Nothing to stop is no error.
pub fn down() -> Result<(), PrivateError> {
    PrivateHypervisor::default().down()
}

/// One private hypervisor: where it keeps its files.
#[derive(Clone, Debug)]
pub struct PrivateHypervisor {
    /// What outlives a reboot: libvirt's configuration, state and logs.
    pub state: PathBuf,
    /// What does not: locks, process ids, the names of the namespaces.
    pub run: PathBuf,
}

impl Default for PrivateHypervisor {
    fn default() -> Self {
        Self { state: "/var/lib/quaylab/private".into(), run: "/run/quaylab/private".into() }
    }
}

impl PrivateHypervisor {
    /// See [`ensure_and_enter`].
    pub fn ensure_and_enter(&self, wanted: Wanted) -> Result<Entered, PrivateError> {
        if wanted == Wanted::Never {
            return Ok(Entered::System);
        }
        if let Some(running) = self.running() {
            return self.join(&running, false);
        }
        if wanted == Wanted::Auto && system_answers() {
            return Ok(Entered::System);
        }
        if !rustix::process::geteuid().is_root() {
            return Err(PrivateError::NotRoot);
        }
        daemons::check_programs()?;
        let _lock = self.lock()?;
        // Another run may have started it while this one waited for the lock.
        if let Some(running) = self.running() {
            return self.join_locked(&running, false);
        }
        self.clear()?;
        let namespaces = daemons::start_holder(self)?;
        self.join_locked(&namespaces, true)
    }

    /// See [`enter_if_running`].
    pub fn enter_if_running(&self, wanted: Wanted) -> Result<Entered, PrivateError> {
        match self.running() {
            Some(running) if wanted != Wanted::Never => self.join(&running, false),
            _ => Ok(Entered::System),
        }
    }

    /// See [`down`].
    pub fn down(&self) -> Result<(), PrivateError> {
        if !self.run.exists() && !self.state.exists() {
            return Ok(());
        }
        if !rustix::process::geteuid().is_root() {
            return Err(PrivateError::NotRoot);
        }
        let _lock = self.lock()?;
        self.clear()?;
        let made_run = self.made_run().exists();
        remove_tree(&self.state)?;
        // Where this process lives in the namespaces, the device for guests is still mounted.
        let _not_here = unmount(self.run.join("dev"), UnmountFlags::DETACH);
        remove_tree(&self.run)?;
        // The folders above go where nothing else is in them; the lock's file first, which is still held.
        remove_file(&self.lock_file())?;
        for folder in [&self.state, &self.run].into_iter().filter_map(|path| path.parent()) {
            let _kept = fs::remove_dir(folder);
        }
        if made_run {
            // While it is mounted over where this process lives it cannot go. An empty folder that stays until the next
            // boot is no reason to fail.
            let _unmounted = unmount("/run/libvirt", UnmountFlags::DETACH);
            let _gone = fs::remove_dir("/run/libvirt");
        }
        Ok(())
    }

    /// Says that `/run/libvirt` was made as a mount point, because the machine had none.
    fn made_run(&self) -> PathBuf {
        self.run.join("made-run-libvirt")
    }

    fn running(&self) -> Option<Namespaces> {
        Namespaces::read(&self.names()).filter(|n| n.ready && n.member().is_some())
    }

    fn join(&self, namespaces: &Namespaces, fresh: bool) -> Result<Entered, PrivateError> {
        if !rustix::process::geteuid().is_root() {
            return Err(PrivateError::NotRoot);
        }
        let _lock = self.lock()?;
        self.join_locked(namespaces, fresh)
    }

    fn join_locked(&self, namespaces: &Namespaces, fresh: bool) -> Result<Entered, PrivateError> {
        // The uplink runs outside, so it comes before entering.
        daemons::ensure_uplink(self, namespaces)?;
        namespaces.enter()?;
        daemons::ensure_network()?;
        daemons::ensure_libvirt(self)?;
        Ok(Entered::Private { fresh })
    }

    /// Stops what an earlier run left, whole or half.
    fn clear(&self) -> Result<(), PrivateError> {
        daemons::stop_uplink(self);
        if let Some(old) = Namespaces::read(&self.names()) {
            old.stop_members()?;
        }
        remove_file(&self.names())?;
        remove_file(&self.half_names())
    }

    fn lock_file(&self) -> PathBuf {
        self.run.with_extension("lock")
    }

    fn lock(&self) -> Result<FileLock, PrivateError> {
        let path = self.lock_file();
        loop {
            let folder = path.parent().unwrap_or(&path);
            fs::create_dir_all(folder).map_err(|e| PrivateError::file("make", folder, e))?;
            match FileLock::take(&path, Share::Nobody) {
                // Another one removed the folder just now.
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
                other => return other.map_err(|e| PrivateError::file("lock", &path, e)),
            }
        }
    }

    /// The file that names the namespaces.
    fn names(&self) -> PathBuf {
        self.run.join("namespaces")
    }

    fn half_names(&self) -> PathBuf {
        self.run.join("namespaces.new")
    }
}

/// Whether the machine's own daemon answers at `qemu:///system`.
pub fn system_answers() -> bool {
    SOCKETS.iter().any(|socket| UnixStream::connect(socket).is_ok())
}

fn remove_tree(path: &Path) -> Result<(), PrivateError> {
    match fs::remove_dir_all(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(PrivateError::file("remove", path, e)),
        _ => Ok(()),
    }
}

fn remove_file(path: &Path) -> Result<(), PrivateError> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(PrivateError::file("remove", path, e)),
        _ => Ok(()),
    }
}
