//! Lab hosts without VMs: systemd-nspawn machines with systemd, sshd and a container engine, each with an address of its own in a
//! network namespace that only this test sees.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// How long hosts may take until their sshd lets somebody in.
const BOOT_SECONDS: u64 = 90;

/// A host: its name and its address in the lab's network.
pub(crate) type Host<'a> = (&'a str, &'a str);

/// What hosts stand on: the container engine, and Debian's release (`host-tree.sh`).
pub(crate) type Tree<'a> = (&'a str, &'a str);

/// Running hosts. They end with the value, and with this process, however it ends.
pub(crate) struct Lab {
    runner: Child,
    folder: tempfile::TempDir,
    store: PathBuf,
}

impl Drop for Lab {
    fn drop(&mut self) {
        // The runner reads its standard input until it is closed; then it stops the hosts and clears up.
        drop(self.runner.stdin.take());
        let _ = self.runner.wait();
    }
}

impl Lab {
    /// Boots the hosts; `None`, with the reason printed, where that cannot be done.
    pub(crate) fn start(tree: Tree, hosts: &[Host]) -> Option<Self> {
        if let Some(reason) = missing() {
            super::skipped(&reason);
            return None;
        }
        let tree = match files_of(tree) {
            Ok(tree) => tree,
            Err(reason) => {
                super::skipped(&format!("the tree of the lab hosts cannot be made: {reason}"));
                return None;
            }
        };
        let folder = tempfile::tempdir().expect("a folder");
        let key = folder.path().join("key");
        let made =
            Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key).status();
        assert!(made.expect("ssh-keygen").success(), "ssh-keygen");
        let mut runner = Command::new("unshare")
            .args(["--net", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child", "--"])
            .arg(script("test-host-run.sh"))
            .arg(&tree)
            .arg(key.with_extension("pub"))
            .args(hosts.iter().map(|(name, address)| format!("{name}={address}")))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare");
        let mut said = String::new();
        let read = BufReader::new(runner.stdout.take().expect("its output")).read_line(&mut said);
        let lab = Self {
            runner,
            folder,
            store: said.trim().strip_prefix("up ").map(PathBuf::from).unwrap_or_default(),
        };
        read.expect("the runner's word");
        assert!(said.starts_with("up "), "the lab hosts do not start: {said}");
        for (name, address) in hosts {
            lab.wait_for(name, address);
        }
        Some(lab)
    }

    fn wait_for(&self, name: &str, address: &str) {
        let end = Instant::now() + Duration::from_secs(BOOT_SECONDS);
        loop {
            // Not before the boot has ended: until then systemd refuses logins of users.
            let state = self.on(address, "systemctl is-system-running --wait 2>/dev/null");
            let said = String::from_utf8_lossy(&state.stdout).trim().to_owned();
            if ["running", "degraded"].contains(&said.as_str()) {
                return;
            }
            assert!(
                Instant::now() < end,
                "{name} does not boot: {}",
                self.inside("tail")
                    .arg(self.store.join(name).join("boot.log"))
                    .output()
                    .map_or_else(|e| e.to_string(), |o| String::from_utf8_lossy(&o.stdout).into_owned())
            );
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// The private key that root and debian let in.
    pub(crate) fn key(&self) -> PathBuf {
        self.folder.path().join("key")
    }

    /// A command of this machine that sees the lab's network.
    pub(crate) fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/proc/{}/ns/net", self.runner.id())).arg("--").arg(program);
        command
    }

    /// A command of this machine that sees the hosts' files, below [`Lab::files`], too.
    pub(crate) fn inside(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--mount=/proc/{}/ns/mnt", self.runner.id())).arg("--").arg(program);
        command
    }

    /// What a host wrote, beyond the tree that all hosts share.
    pub(crate) fn files(&self, host: &str) -> PathBuf {
        self.store.join(host)
    }

    /// Runs a command on a host as root.
    pub(crate) fn on(&self, address: &str, text: &str) -> Output {
        self.command("ssh")
            .arg("-i")
            .arg(self.key())
            .args(["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"])
            .args(["-o", "LogLevel=ERROR", "-o", "ConnectTimeout=5", "-o", "BatchMode=yes"])
            .arg(format!("root@{address}"))
            .arg(text)
            .stdin(Stdio::null())
            .output()
            .expect("ssh")
    }
}

/// Where the files of a tree lie, which are made where they are not.
pub(crate) fn files_of((engine, release): Tree) -> Result<PathBuf, String> {
    made_by(Command::new(script("host-tree.sh")).args([engine, release]))
}

/// Runs a script that makes something and prints its path on its last line.
pub(crate) fn made_by(script: &mut Command) -> Result<PathBuf, String> {
    let made = script.stdin(Stdio::null()).output().map_err(|e| e.to_string())?;
    let last =
        |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().lines().last().unwrap_or_default().to_owned();
    if made.status.success() {
        Ok(PathBuf::from(last(&made.stdout)))
    } else {
        Err(String::from_utf8_lossy(&made.stderr).trim().replace('\n', "; "))
    }
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lab").join(name)
}

/// Why hosts cannot be made here.
fn missing() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("lab hosts need root".to_owned());
    }
    for program in ["systemd-nspawn", "unshare", "nsenter", "ip", "ssh", "ssh-keygen", "mmdebstrap"] {
        let found =
            ["/usr/sbin", "/usr/bin", "/sbin", "/bin"].iter().any(|f| Path::new(f).join(program).exists());
        if !found {
            return Some(format!("{program} is not installed"));
        }
    }
    let file_systems = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
    if !file_systems.lines().any(|l| l.ends_with("\toverlay")) {
        return Some("this kernel has no overlayfs".to_owned());
    }
    let namespaces = Command::new("unshare")
        .args(["--net", "--mount", "--pid", "--fork", "--mount-proc", "true"])
        .stderr(Stdio::null())
        .status();
    (!namespaces.is_ok_and(|s| s.success())).then(|| "this machine lets nobody make namespaces".to_owned())
}
