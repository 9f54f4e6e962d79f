//! Templates, beside what ansible-core makes of them: the same cases through its own Templar, in one process.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use indexmap::IndexMap;
use quaylab::diag::Origin;
use quaylab::template::{Templar, TemplarOptions};
use quaylab::vars::{Layers, Level, Scope, Var};
use quaylab::yaml::Node;
use serde::Deserialize;
use serde_json::{Value, json};

/// The version that both are compared at.
const CORE: &str = "ansible-core==2.19.4";

#[derive(Deserialize)]
struct Cases {
    vars: serde_json::Map<String, Value>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Case {
    Same(String),
    Different { text: String, differs: String },
}

impl Case {
    fn text(&self) -> &str {
        match self {
            Self::Same(text) | Self::Different { text, .. } => text,
        }
    }
}

/// A Python with ansible-core, made once and kept; `Err` says why there is none.
fn python() -> Result<PathBuf, String> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    fs::create_dir_all(folder).map_err(|e| e.to_string())?;
    let lock = File::create(folder.join("ansible-core-venv.lock")).map_err(|e| e.to_string())?;
    // Another test file makes the same one.
    lock.lock().map_err(|e| e.to_string())?;
    let venv = folder.join("ansible-core-venv");
    let python = venv.join("bin/python");
    let ready = |python: &Path| {
        let found =
            Command::new(python).args(["-c", "import ansible.template"]).stderr(Stdio::null()).status();
        found.is_ok_and(|s| s.success())
    };
    if ready(&python) {
        return Ok(python);
    }
    let run = |program: &Path, args: &[&str]| -> Result<(), String> {
        let done =
            Command::new(program).args(args).output().map_err(|e| format!("{}: {e}", program.display()))?;
        if done.status.success() {
            Ok(())
        } else {
            Err(String::from_utf8_lossy(&done.stderr).trim().to_owned())
        }
    };
    run(Path::new("python3"), &["-m", "venv", &venv.to_string_lossy()])?;
    run(&python, &["-m", "pip", "install", "--quiet", CORE])?;
    if ready(&python) { Ok(python) } else { Err("ansible-core was installed but cannot be imported".into()) }
}

fn theirs(python: &Path, cases: &Cases) -> Vec<Value> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/template/oracle.py");
    let request =
        json!({"vars": cases.vars, "cases": cases.cases.iter().map(Case::text).collect::<Vec<_>>()});
    let mut child = Command::new(python)
        .arg(script)
        .env("ANSIBLE_DEPRECATION_WARNINGS", "false")
        .env("ANSIBLE_LOCALHOST_WARNING", "false")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the oracle starts");
    child.stdin.take().expect("stdin").write_all(request.to_string().as_bytes()).expect("the oracle reads");
    let done = child.wait_with_output().expect("the oracle ends");
    serde_json::from_slice(&done.stdout)
        .unwrap_or_else(|e| panic!("the oracle failed: {e}\n{}", String::from_utf8_lossy(&done.stderr)))
}

fn ours(cases: &Cases) -> Vec<Value> {
    let origin = Origin::synthetic("cases");
    let vars: IndexMap<String, Var> = cases
        .vars
        .iter()
        .map(|(name, value)| (name.clone(), Var::Raw(Node::from_value(value, &origin))))
        .collect();
    let scope: Arc<dyn Scope> = Arc::new(Layers::new().with(Level::Play, Arc::new(vars)));
    let templar = Templar::new(TemplarOptions::default());
    cases
        .cases
        .iter()
        .map(|case| match templar.render_str(case.text(), &origin, &scope) {
            Ok(value) => json!({"ok": value}),
            Err(error) => json!({"error": error.message}),
        })
        .collect()
}

/// Equal in value and type; of two errors only that they are errors.
fn same(a: &Value, b: &Value) -> bool {
    match (a.get("ok"), b.get("ok")) {
        (Some(a), Some(b)) => a == b,
        (None, None) => true,
        _ => false,
    }
}

#[test]
fn templates_give_what_ansible_core_gives() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/template/cases.yml");
    let cases: Cases =
        serde_yaml::from_str(&fs::read_to_string(path).expect("the cases")).expect("readable cases");
    assert!(cases.cases.len() >= 250, "only {} cases", cases.cases.len());
    let python = match python() {
        Ok(python) => python,
        Err(why) => {
            println!("skipped: there is no ansible-core to compare with: {why}");
            return;
        }
    };
    let mut wrong = Vec::new();
    for ((case, theirs), ours) in cases.cases.iter().zip(theirs(&python, &cases)).zip(ours(&cases)) {
        let equal = same(&theirs, &ours);
        match case {
            Case::Same(text) if !equal => {
                wrong.push(format!("{text:?}\n  ansible: {theirs}\n  quaylab: {ours}"));
            }
            Case::Different { text, differs } if equal => {
                wrong.push(format!("{text:?} is said to differ ({differs}), but does not: {ours}"));
            }
            _ => {}
        }
    }
    assert!(wrong.is_empty(), "{} of {} cases differ\n{}", wrong.len(), cases.cases.len(), wrong.join("\n"));
}
