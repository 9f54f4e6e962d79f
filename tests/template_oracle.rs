//! Templates, beside what ansible-core makes of them: the same cases through its own Templar, in one process.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use indexmap::IndexMap;
use quaylab::diag::SourceFile;
use quaylab::template::{Templar, TemplarOptions};
use quaylab::vars::{Layers, Level, Scope, Var};
use quaylab::yaml::{self, Node};
use serde::Deserialize;
use serde_json::{Value, json};

#[path = "support/oracle.rs"]
mod oracle;

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

/// A value as a file of variables would have it, templates and all.
fn written(value: &Value) -> Node {
    let file = SourceFile::new("cases", value.to_string());
    yaml::load_one(&file).expect("JSON is YAML").0
}

fn ours(cases: &Cases) -> Vec<Value> {
    let vars: IndexMap<String, Var> =
        cases.vars.iter().map(|(name, value)| (name.clone(), Var::Raw(written(value)))).collect();
    let scope: Arc<dyn Scope> = Arc::new(Layers::new().with(Level::Play, Arc::new(vars)));
    let templar = Templar::new(TemplarOptions::default());
    cases
        .cases
        .iter()
        .map(|case| match templar.render(&written(&json!(case.text())), &scope) {
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
    let python = match oracle::python() {
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
