use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::case::Case;
use super::oracle;

/// Everything that a run left behind.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Outcome {
    pub(crate) exit: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    /// Mode and content of each file that was not there before, or is not as it was.
    pub(crate) files: BTreeMap<String, (u32, String)>,
}

/// A program that takes ansible-playbook's arguments.
pub(crate) enum Runner<'a> {
    Ansible(&'a Path),
    Quaylab,
}

/// ansible-playbook's outcome, remembered from one run of the suite to the next.
pub(crate) fn theirs(case: &Case, python: &Path) -> Outcome {
    let key = hex::encode(Sha256::digest(format!("{}\n{}", oracle::CORE, case.text)));
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("conformance");
    let file = folder.join(format!("{key}.json"));
    if let Some(known) = fs::read(&file).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()) {
        return known;
    }
    let outcome = run(case, &Runner::Ansible(python));
    fs::create_dir_all(&folder).expect("the build's folder can be written");
    fs::write(&file, serde_json::to_vec(&outcome).expect("plain data")).expect("it can be written");
    outcome
}

/// Runs a case in a fresh folder.
pub(crate) fn run(case: &Case, runner: &Runner<'_>) -> Outcome {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let root = fs::canonicalize(folder.path()).expect("it was just made");
    let place = root.join("case");
    let home = root.join("home");
    fs::create_dir_all(&home).expect("it can be written");
    for (name, text) in case.files() {
        let path = place.join(name);
        fs::create_dir_all(path.parent().expect("it is in a folder")).expect("it can be made");
        fs::write(&path, text).expect("it can be written");
    }
    // A program that hangs is a difference, not the end of the suite.
    let mut command = Command::new("timeout");
    command.args(["--kill-after=5", "90"]);
    match runner {
        Runner::Ansible(python) => {
            command.arg(python.with_file_name("ansible-playbook"));
        }
        Runner::Quaylab => {
            command.args([env!("CARGO_BIN_EXE_quaylab"), "run"]);
        }
    }
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("ANSIBLE_") {
            command.env_remove(name);
        }
    }
    command.args(["-i", "hosts"]).args(&case.spec.arguments).arg("site.yml").current_dir(&place);
    command.env("HOME", &home).env("XDG_STATE_HOME", home.join("state")).env("LC_ALL", "C.UTF-8");
    if let Runner::Ansible(python) = runner {
        let config = home.join("ansible.cfg");
        fs::write(&config, "").expect("it can be written");
        command.env("ANSIBLE_NOCOLOR", "1").env("ANSIBLE_CONFIG", config).env("ANSIBLE_PIPELINING", "1");
        command.env("ANSIBLE_PYTHON_INTERPRETER", python).env("ANSIBLE_LOCALHOST_WARNING", "0");
        command.env("ANSIBLE_DEPRECATION_WARNINGS", "0");
    }
    let done = command.stdin(Stdio::null()).output().expect("timeout is a part of coreutils");
    let shown = |bytes: &[u8]| hide(&String::from_utf8_lossy(bytes), &root);
    let mut files = BTreeMap::new();
    collect(&place, &place, &mut files);
    for (name, text) in case.files() {
        if files.get(name).is_some_and(|(_, now)| now == text) {
            files.remove(name);
        }
    }
    for (_, text) in files.values_mut() {
        *text = hide(text, &root);
    }
    Outcome { exit: done.status.code(), stdout: shown(&done.stdout), stderr: shown(&done.stderr), files }
}

fn hide(text: &str, root: &Path) -> String {
    text.replace(&*root.join("case").to_string_lossy(), "<case>").replace(&*root.to_string_lossy(), "<root>")
}

fn collect(root: &Path, folder: &Path, files: &mut BTreeMap<String, (u32, String)>) {
    let entries: Vec<PathBuf> =
        fs::read_dir(folder).into_iter().flatten().filter_map(|e| e.ok().map(|e| e.path())).collect();
    for path in entries {
        let Ok(found) = fs::symlink_metadata(&path) else { continue };
        let name = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
        let mode = found.permissions().mode() & 0o7777;
        if found.is_symlink() {
            let target = fs::read_link(&path).unwrap_or_default();
            files.insert(name, (0o777, format!("-> {}", target.display())));
        } else if found.is_dir() {
            collect(root, &path, files);
        } else {
            let content = fs::read(&path).unwrap_or_default();
            files.insert(name, (mode, String::from_utf8_lossy(&content).into_owned()));
        }
    }
}
