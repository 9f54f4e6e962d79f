use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use fancy_regex::Regex;
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

/// What ansible-playbook did with a case, kept beside the cases.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    /// Of the case's text and ansible-core's version.
    key: String,
    outcome: Outcome,
}

/// How often the real ansible-playbook is asked again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asking {
    /// Only where nothing fitting is kept.
    New,
    /// Also a part of the cases, another one each day.
    OneIn(u64),
    All,
}

impl Asking {
    /// `CONFORMANCE_ASK`: `new`, `all`, or one in so many.
    pub(crate) fn wanted() -> Self {
        match std::env::var("CONFORMANCE_ASK").as_deref() {
            Ok("all") => Self::All,
            Ok("new") => Self::New,
            Ok(part) => Self::OneIn(part.parse().expect("CONFORMANCE_ASK is new, all or a number")),
            Err(_) => Self::OneIn(20),
        }
    }

    fn again(self, name: &str) -> bool {
        let Self::OneIn(part) = self else { return self == Self::All };
        let day = std::time::SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs() / 86_400);
        let number = Sha256::digest(name).iter().take(4).fold(0, |n, byte| n << 8 | u64::from(*byte));
        (number + day).is_multiple_of(part.max(1))
    }
}

/// ansible-playbook's outcome: kept from an earlier run, or asked for now.
pub(crate) fn theirs(case: &Case, python: Option<&Path>, asking: Asking) -> Result<Outcome, String> {
    let key = hex::encode(Sha256::digest(format!("{}\n{}", oracle::CORE, case.text)));
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/conformance/expected")
        .join(format!("{}.json", case.name()));
    let kept = fs::read(&file).ok().and_then(|bytes| serde_json::from_slice::<Kept>(&bytes).ok());
    let kept = kept.filter(|kept| kept.key == key && !case.spec.of_the_machine);
    match (kept, python) {
        (Some(kept), Some(_)) if !asking.again(&case.name()) => Ok(kept.outcome),
        (Some(kept), None) => Ok(kept.outcome),
        (None, None) => Err("nothing is kept of what ansible-core does with it".into()),
        (kept, Some(python)) => {
            let mut outcome = run(case, &Runner::Ansible(python));
            outcome.stderr = outcome.stderr.chars().take(600).collect();
            if kept.is_none() && !case.spec.of_the_machine {
                fs::create_dir_all(file.parent().expect("it is in a folder")).expect("it can be made");
                let kept = Kept { key, outcome: outcome.clone() };
                let text = serde_json::to_string_pretty(&kept).expect("plain data");
                fs::write(&file, text + "\n").expect("it can be written");
            }
            Ok(outcome)
        }
    }
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
    let limit = if matches!(runner, Runner::Quaylab) { "90" } else { "600" };
    command.args(["--kill-after=5", limit]);
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
        command
            .env("ANSIBLE_PYTHON_INTERPRETER", python)
            .env("ANSIBLE_ASYNC_DIR", home.join("jobs"))
            .env("ANSIBLE_LOCALHOST_WARNING", "0");
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
    static PASSING: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r#"[^"\s]*/\.ansible/tmp/ansible-tmp-[0-9.]+-\d+-\d+"#).expect("a fixed pattern")
    });
    let text = text.replace(&*root.join("case").to_string_lossy(), "<case>");
    let text = text.replace(&*root.to_string_lossy(), "<root>");
    PASSING.replace_all(&text, "<tmp>/.ansible/tmp/x").into_owned()
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
