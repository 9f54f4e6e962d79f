//! A libvirtd in namespaces of its own, and commands that run in them.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// All of it ends when this is dropped, or when the test dies.
pub(crate) struct Namespace {
    child: Child,
    pub work: tempfile::TempDir,
}

impl Drop for Namespace {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

impl Namespace {
    /// Starts it; the reason where that cannot be done here.
    pub(crate) fn start() -> Result<Self, String> {
        for tool in
            ["libvirtd", "qemu-system-x86_64", "qemu-img", "dnsmasq", "unshare", "nsenter", "iptables"]
        {
            let found =
                Command::new("sh").args(["-c", "command -v \"$0\"", tool]).stdout(Stdio::null()).status();
            if !found.is_ok_and(|s| s.success()) {
                return Err(format!("{tool} is not installed"));
            }
        }
        let namespaces =
            Command::new("unshare").args(["--net", "--mount", "--pid", "--fork", "true"]).status();
        if !namespaces.is_ok_and(|s| s.success()) {
            return Err("this user may not make namespaces".into());
        }
        let work = tempfile::tempdir().expect("a folder");
        let child = Command::new("sh")
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/lab/namespace.sh"))
            .arg(work.path())
            .stdin(Stdio::piped())
            .spawn()
            .expect("a shell");
        let this = Self { child, work };
        let end = Instant::now() + Duration::from_secs(90);
        while std::os::unix::net::UnixStream::connect(this.path("sock/libvirt-sock")).is_err() {
            let log = || std::fs::read_to_string(this.path("libvirtd.log")).unwrap_or_default();
            assert!(Instant::now() < end, "libvirtd did not start: {}", log());
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(this)
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.work.path().join(name).to_string_lossy().into_owned()
    }

    pub(crate) fn uri(&self) -> String {
        format!("qemu+unix:///system?socket={}", self.path("sock/libvirt-sock"))
    }

    /// A command in the namespaces, where libvirt's own folders are the daemon's.
    pub(crate) fn command(&self, program: &str) -> Command {
        // The process that `unshare --fork` made is the first of the new ones.
        let outer = self.child.id();
        let inner =
            std::fs::read_to_string(format!("/proc/{outer}/task/{outer}/children")).unwrap_or_default();
        let inner = inner.split_whitespace().next().expect("the namespaces' first process").to_owned();
        let mut command = Command::new("nsenter");
        let here = format!("--wd={}", self.work.path().display());
        command.args(["--target", &inner, "--mount", "--net", "--pid", &here, "--"]).arg(program);
        command
    }

    /// What `virsh` prints, in lines.
    pub(crate) fn virsh(&self, arguments: &[&str]) -> Vec<String> {
        let output =
            Command::new("virsh").args(["-q", "-c", &self.uri()]).args(arguments).output().expect("virsh");
        assert!(output.status.success(), "virsh {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8_lossy(&output.stdout);
        text.lines().map(str::trim).filter(|l| !l.is_empty()).map(str::to_owned).collect()
    }

    /// Everything that libvirt knows, a line a thing.
    pub(crate) fn all(&self) -> Vec<String> {
        let mut all = Vec::new();
        for list in ["list", "net-list", "pool-list"] {
            all.extend(
                self.virsh(&[list, "--all", "--name"]).into_iter().map(|name| format!("{list} {name}")),
            );
        }
        for pool in self.virsh(&["pool-list", "--name"]) {
            let volumes = self.virsh(&["vol-list", &pool]);
            all.extend(
                volumes
                    .iter()
                    .map(|v| format!("volume {pool}/{}", v.split_whitespace().next().unwrap_or_default())),
            );
        }
        all.sort();
        all
    }
}
