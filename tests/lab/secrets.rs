//! What must not be seen of a lab.

use std::collections::BTreeSet;

use super::nspawn::{Host, Lab};
use super::site::Site;

/// The passwords and keys that quaylab made for a lab.
pub(crate) struct Secrets(Vec<(String, String)>);

impl Secrets {
    pub(crate) fn of(site: &Site) -> Self {
        let state = site.folder.path().join("state/quaylab");
        let labs = std::fs::read_dir(state).expect("the state folder").flatten();
        let files = labs.filter_map(|l| std::fs::read_dir(l.path().join("secrets")).ok()).flatten().flatten();
        let made = files.map(|file| {
            let text = std::fs::read_to_string(file.path()).expect("a secret");
            let secret = text.split_whitespace().next().unwrap_or_default().to_owned();
            (file.file_name().to_string_lossy().into_owned(), secret)
        });
        Self(made.collect())
    }

    /// None of them stands in a text; `what` says which text that is.
    pub(crate) fn are_not_in(&self, what: &str, text: &str) {
        for (name, secret) in &self.0 {
            if let Some(at) = text.find(secret) {
                let start = text[..at].rfind("\nTASK").unwrap_or(0);
                panic!("{name} is in {what}: {}", &text[start..at]);
            }
        }
    }

    /// None of them stands in what was told, or in a command line that anybody could see.
    pub(crate) fn are_not_shown(&self, told: &[&str], command_lines: &BTreeSet<String>) {
        assert!(self.0.len() >= 6, "{} secrets were made", self.0.len());
        assert!(command_lines.len() > 20, "{command_lines:?}");
        for text in told {
            self.are_not_in("what was told", text);
        }
        for line in command_lines {
            self.are_not_in("a command line", line);
        }
    }

    /// The files of a host that hold one of them, from the folder of all that it wrote.
    pub(crate) fn files(&self, site: &Site, lab: &Lab, host: Host) -> Vec<String> {
        let lines: Vec<&str> = self.0.iter().map(|(_, secret)| secret.as_str()).collect();
        site.write("secrets", &(lines.join("\n") + "\n"));
        let store = lab.files(host.0);
        let found = lab
            .inside("grep")
            .args(["-rlaF", "-D", "skip", "-f"])
            .arg(site.folder.path().join("secrets"))
            .args([store.join("upper"), store.join("docker"), store.join("boot.log")])
            .output()
            .expect("grep");
        let found = String::from_utf8_lossy(&found.stdout).into_owned();
        let own = format!("{}/", store.display());
        found.lines().filter_map(|line| line.strip_prefix(&own)).map(str::to_owned).collect()
    }
}
