use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

/// What a case's hosts are unless it says otherwise.
const INVENTORY: &str = "[web]\na\nb\n[db]\nc\n[all:vars]\nansible_connection=local\n";

/// One playbook with what belongs to it.
#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) area: String,
    pub(crate) title: String,
    pub(crate) spec: Spec,
    /// The file as it stands, which the oracle's answer is remembered by.
    pub(crate) text: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Spec {
    playbook: String,
    #[serde(default)]
    pub(crate) arguments: Vec<String>,
    inventory: Option<String>,
    #[serde(default)]
    files: BTreeMap<String, String>,
    /// Tasks are told in no fixed order (`strategy: free`).
    #[serde(default)]
    pub(crate) unordered: bool,
    /// Every play is a case of its own, called by the play's name: many cases share one process.
    #[serde(default)]
    pub(crate) plays_are_cases: bool,
    /// Both refuse it before anything runs; how that is numbered is each program's own affair.
    #[serde(default)]
    pub(crate) refused: bool,
    /// What it tells is this machine's, on this day: both are asked each time, and nothing is kept.
    #[serde(default)]
    pub(crate) of_the_machine: bool,
    /// How it differs, where that is a mistake that is not mended yet.
    pub(crate) open: Option<String>,
    /// Why it differs, where that is on purpose; then it has to.
    pub(crate) differs: Option<String>,
}

impl Case {
    /// Every `<area>/<case>.yml`, by name.
    pub(crate) fn all(folder: &Path) -> Vec<Self> {
        let mut cases: Vec<Self> = entries(folder)
            .iter()
            .flat_map(|area| entries(area).into_iter().map(|file| Self::read(area, &file)))
            .collect();
        cases.sort_by_key(Self::name);
        cases
    }

    fn read(area: &Path, file: &Path) -> Self {
        let text = fs::read_to_string(file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        let spec = serde_yaml::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        let name = |p: Option<&std::ffi::OsStr>| p.unwrap_or_default().to_string_lossy().into_owned();
        Self { area: name(area.file_name()), title: name(file.file_stem()), spec, text }
    }

    pub(crate) fn name(&self) -> String {
        format!("{}/{}", self.area, self.title)
    }

    /// What is in the folder before the run.
    pub(crate) fn files(&self) -> BTreeMap<&str, &str> {
        let mut files: BTreeMap<&str, &str> =
            self.spec.files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
        files.insert("site.yml", &self.spec.playbook);
        files.insert("hosts", self.spec.inventory.as_deref().unwrap_or(INVENTORY));
        files
    }
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let read = fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    read.map(|entry| entry.expect("a readable folder").path()).collect()
}
