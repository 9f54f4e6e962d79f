//! A folder to run in, with nothing of the user's settings, and a program that is still at work.

use std::io::Read;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// How long anything that is waited for may take on a machine that has other things to do.
const PATIENCE: Duration = Duration::from_secs(100);

pub(crate) struct Bench {
    pub(crate) folder: tempfile::TempDir,
}

impl Bench {
    pub(crate) fn new(files: &[(&str, &str)]) -> Self {
        let bench = Self { folder: tempfile::tempdir().unwrap() };
        bench.file("here.inv", "[lab]\nhere ansible_connection=local\nthere ansible_connection=local\n");
        for (name, text) in files {
            bench.file(name, text);
        }
        bench
    }

    pub(crate) fn file(&self, name: &str, text: &str) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn command(&self, program: &str) -> Command {
        let home = self.folder.path();
        let mut command = Command::new(program);
        command
            .current_dir(home)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("HOME", home)
            .env("XDG_STATE_HOME", home.join("state"))
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn quaylab(&self) -> Command {
        self.command(env!("CARGO_BIN_EXE_quaylab"))
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        Ran::of(&self.quaylab().args(arguments).output().unwrap(), self.folder.path())
    }

    /// Runs a playbook on the host `here`.
    pub(crate) fn play(&self, tasks: &str, arguments: &[&str]) -> Ran {
        self.file("site.yml", &playbook(tasks));
        self.run(&[&["run", "-i", "here.inv", "-l", "here", "site.yml"], arguments].concat())
    }
}

pub(crate) fn playbook(tasks: &str) -> String {
    format!("- hosts: lab\n  gather_facts: false\n  tasks:\n{tasks}")
}

pub(crate) struct Ran {
    /// The exit code, 128 + signal where a signal ended it.
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    pub(crate) fn of(output: &Output, folder: &Path) -> Self {
        let text =
            |bytes: &[u8]| String::from_utf8_lossy(bytes).replace(&*folder.to_string_lossy(), "FOLDER");
        let status = output.status;
        Self {
            code: status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default()),
            out: text(&output.stdout),
            err: text(&output.stderr),
        }
    }

    pub(crate) fn all(&self) -> String {
        format!("{}{}", self.out, self.err)
    }
}

/// A program at work; killed where the test does not end it.
pub(crate) struct Live {
    child: Child,
    said: Arc<Mutex<String>>,
    readers: Vec<std::thread::JoinHandle<()>>,
}

pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) after: Duration,
    pub(crate) said: String,
}

impl Live {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let said = Arc::new(Mutex::new(String::new()));
        let streams: [Box<dyn Read + Send>; 2] =
            [Box::new(child.stdout.take().unwrap()), Box::new(child.stderr.take().unwrap())];
        let readers = streams.map(|mut stream| {
            let said = Arc::clone(&said);
            std::thread::spawn(move || {
                let mut buffer = [0; 4096];
                while let Ok(count @ 1..) = stream.read(&mut buffer) {
                    said.lock().unwrap().push_str(&String::from_utf8_lossy(&buffer[..count]));
                }
            })
        });
        Self { child, said, readers: readers.into() }
    }

    pub(crate) fn said(&self) -> String {
        self.said.lock().unwrap().clone()
    }

    pub(crate) fn until(&self, what: &str, mut there: impl FnMut(&Self) -> bool) {
        let since = Instant::now();
        while !there(self) {
            assert!(since.elapsed() < PATIENCE, "{what} did not come about: {}", self.said());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub(crate) fn until_said(&self, text: &str) {
        self.until(text, |live| live.said().contains(text));
    }

    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([format!("-{name}"), pid]).status().unwrap().success());
    }

    pub(crate) fn is_at_work(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Sends a signal and waits for the end.
    pub(crate) fn end(self, signal: &str) -> Ended {
        self.signal(signal);
        self.ended()
    }

    /// Waits until it has ended by itself.
    pub(crate) fn ended(mut self) -> Ended {
        let since = Instant::now();
        while self.is_at_work() {
            assert!(since.elapsed() < PATIENCE, "it does not end: {}", self.said());
            std::thread::sleep(Duration::from_millis(5));
        }
        let after = since.elapsed();
        let status = self.child.wait().unwrap();
        for reader in self.readers.drain(..) {
            reader.join().unwrap();
        }
        let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default());
        Ended { code, after, said: self.said() }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        // It has ended where all went well.
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}
