//! A run of the program, as who started it sees it.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

pub(crate) struct Run {
    pub(crate) code: Option<i32>,
    pub(crate) text: String,
}

impl Run {
    /// By a command that starts the program, in a folder that is its home as well.
    pub(crate) fn by(mut program: Command, folder: &Path, words: &[&str]) -> Self {
        let started = Instant::now();
        let output = program
            .args(words)
            .current_dir(folder)
            .env("HOME", folder)
            .env("XDG_STATE_HOME", folder.join("state"))
            .env_remove("QUAYLAB_CONFIG")
            .stdin(Stdio::null())
            .output()
            .expect("quaylab");
        let text = [output.stdout, output.stderr].map(|b| String::from_utf8_lossy(&b).into_owned()).concat();
        eprintln!("quaylab {}: {:.1} s", words.join(" "), started.elapsed().as_secs_f64());
        Self { code: output.status.code(), text }
    }

    pub(crate) fn succeeded(&self) {
        assert_eq!(self.code, Some(0), "{}", self.text);
    }

    pub(crate) fn says(&self, parts: &[&str]) {
        for part in parts {
            assert!(self.text.contains(part), "no {part:?} in {}", self.text);
        }
    }

    /// A number of a host's line in the recap.
    pub(crate) fn count(&self, host: &str, what: &str) -> u32 {
        let line = self.text.lines().rev().find(|l| l.starts_with(host) && l.contains(" : ok="));
        let word = line.and_then(|l| l.split_whitespace().find_map(|w| w.strip_prefix(&format!("{what}="))));
        word.and_then(|w| w.parse().ok()).unwrap_or_else(|| panic!("no {what} of {host} in {}", self.text))
    }
}
