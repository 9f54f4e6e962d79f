//! A real sshd on a free port of this machine, with keys and configuration of its own.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use quaylab::host::{ConnectionKind, ConnectionSpec, HostKeyCheck};

/// Ends with the value.
pub(crate) struct Sshd {
    child: Child,
    folder: Arc<tempfile::TempDir>,
    port: u16,
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Sshd {
    /// Starts it with further lines of `sshd_config`; `None`, with the reason printed, where that cannot be done.
    pub(crate) fn start(config: &str) -> Option<Self> {
        Self::start_with(|sshd| Command::new(sshd), config)
    }

    /// The same; `command` makes the command that runs sshd, so that it may run in surroundings of its own.
    pub(crate) fn start_with(command: impl Fn(&str) -> Command, config: &str) -> Option<Self> {
        let sshd = "/usr/sbin/sshd";
        if !Path::new(sshd).exists() {
            super::skipped(&format!("{sshd} is not installed"));
            return None;
        }
        if user() == "root" {
            // sshd of root wants the folder that its service would make.
            std::fs::create_dir_all("/run/sshd").expect("/run/sshd");
        }
        let folder = Arc::new(tempfile::tempdir().expect("a folder"));
        let path = |name: &str| folder.path().join(name).display().to_string();
        for key in ["host_key", "user_key"] {
            let made =
                Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f", &path(key)]).status();
            assert!(made.expect("ssh-keygen").success());
        }
        // Another process may take the port that was free, so sshd's own word is what counts.
        for _ in 0..5 {
            let port =
                TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a free port").port();
            let text = format!(
                "{config}\nListenAddress 127.0.0.1:{port}\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\nStrictModes no\n\
                 UsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin yes\n\
                 MaxStartups 100\nLogLevel INFO\n",
                path("host_key"),
                path("user_key.pub"),
            );
            std::fs::write(path("config"), text).expect("sshd's configuration");
            let log = std::fs::File::create(path("log")).expect("sshd's log");
            let child = command(sshd)
                .args(["-D", "-e", "-f", &path("config")])
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(log)
                .spawn()
                .expect("sshd");
            // Ends the child when it is of no use.
            let mut server = Self { child, folder: Arc::clone(&folder), port };
            let end = Instant::now() + Duration::from_secs(20);
            loop {
                if server.read("log").contains("Server listening on") {
                    return Some(server);
                }
                if server.child.try_wait().expect("sshd's state").is_some() {
                    break;
                }
                assert!(Instant::now() < end, "sshd does not answer: {}", server.read("log"));
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        panic!("sshd does not start: {}", std::fs::read_to_string(path("log")).unwrap_or_default());
    }

    /// How it is reached: with the right key, and its own host key expected.
    pub(crate) fn spec(&self) -> ConnectionSpec {
        ConnectionSpec {
            kind: ConnectionKind::Ssh,
            address: "127.0.0.1".to_owned(),
            port: self.port,
            user: user(),
            private_key_file: Some(self.folder.path().join("user_key")),
            host_key: HostKeyCheck::Exactly(self.read("host_key.pub")),
            timeout: Duration::from_secs(20),
            ..ConnectionSpec::local("lab")
        }
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.path().join(name)).expect("sshd's own file")
    }
}

fn user() -> String {
    let id = Command::new("id").arg("-un").output().expect("id");
    String::from_utf8_lossy(&id.stdout).trim().to_owned()
}
