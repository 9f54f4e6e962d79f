//! How fast templates are computed and playbooks are read, with ansible-core's own reading beside it.
//!
//! `cargo bench --bench language`; exits with 1 where a limit is passed.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use indexmap::IndexMap;
use quaylab::diag::SourceFile;
use quaylab::playbook::{Folder, Loader};
use quaylab::template::{Templar, TemplarOptions};
use quaylab::vars::{Layers, Level, Scope, Var};
use quaylab::yaml::{self, Node};
use serde_json::json;

#[path = "../tests/support/oracle.rs"]
mod oracle;

const EXPRESSIONS: usize = 10_000;
const TASKS: usize = 2_000;
const MOST_TEMPLATING: Duration = Duration::from_secs(1);
const MOST_LOADING: Duration = Duration::from_millis(500);
const MOST_MEMORY_MIB: u64 = 100;

fn main() -> ExitCode {
    let memory_before = memory();
    let loading = loading();
    let grown = memory().saturating_sub(memory_before);
    let templating = templating();
    say(&format!("templating {EXPRESSIONS} expressions: {templating:.2?} (limit {MOST_TEMPLATING:?})"));
    say(&format!(
        "loading {TASKS} tasks: {:.2?} (limit {MOST_LOADING:?}), {grown} MiB (limit {MOST_MEMORY_MIB})",
        loading.0
    ));
    match loading.1 {
        Ok(theirs) => say(&format!(
            "ansible-playbook --syntax-check of the same: {theirs:.2?}, start of Python included"
        )),
        Err(why) => say(&format!("ansible-playbook is not there to compare with: {why}")),
    }
    if templating > MOST_TEMPLATING || loading.0 > MOST_LOADING || grown > MOST_MEMORY_MIB {
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

#[expect(clippy::print_stdout, reason = "a benchmark's figures")]
fn say(text: &str) {
    println!("{text}");
}

/// A value as a file of variables would have it, templates and all.
fn written(value: &serde_json::Value) -> Node {
    let file = SourceFile::new("bench", value.to_string());
    yaml::load_one(&file).expect("JSON is YAML").0
}

/// Different texts, so that none is found compiled already more than a few times.
fn templating() -> Duration {
    let vars = json!({"n": 5, "name": "quay", "list": [3, 1, 2], "map": {"a": {"b": 1}}, "users": [{"n": "a", "on": true}, {"n": "b", "on": false}]});
    let vars: IndexMap<String, Var> = vars
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, value)| (name.clone(), Var::Raw(written(value))))
        .collect();
    let scope: Arc<dyn Scope> = Arc::new(Layers::new().with(Level::Play, Arc::new(vars)));
    let templar = Templar::new(TemplarOptions::default());
    let kinds: [fn(usize) -> String; 5] = [
        |i| format!("{{{{ n + {} }}}}", i % 500),
        |i| format!("{{{{ name | upper }}}}-{} {{{{ map.a.b }}}}", i % 500),
        |i| format!("{{{{ list | sort | map('string') | join('{}') }}}}", i % 500),
        |i| {
            format!(
                "{{{{ users | selectattr('on') | map(attribute='n') | first | default('{}') }}}}",
                i % 500
            )
        },
        |i| {
            format!(
                "{{% if n > {} %}}{{{{ name | regex_replace('q', 'k') }}}}{{% else %}}no{{% endif %}}",
                i % 9
            )
        },
    ];
    let texts: Vec<String> = (0..EXPRESSIONS).map(|i| kinds[i % kinds.len()](i / kinds.len())).collect();
    let nodes: Vec<Node> = texts.iter().map(|text| written(&json!(text))).collect();
    let began = Instant::now();
    for node in &nodes {
        templar.render(node, &scope).expect("a template that can be computed");
    }
    began.elapsed()
}

fn loading() -> (Duration, Result<Duration, String>) {
    let folder = tempfile::tempdir().expect("a folder");
    let mut text = String::from("- hosts: all\n  gather_facts: false\n  tasks:\n");
    for index in 0..TASKS {
        write!(
            text,
            "    - name: task {index}\n      ansible.builtin.copy:\n        content: \"{{{{ item }}}} {index}\"\n        dest: /tmp/file{index}\n        mode: \"0644\"\n      loop: [a, b]\n      when: inventory_hostname != 'x{index}'\n      notify: handler\n"
        )
        .expect("a string takes everything");
    }
    text.push_str("  handlers:\n    - {name: handler, debug: {msg: x}}\n");
    fs::write(folder.path().join("site.yml"), text).expect("written");
    let began = Instant::now();
    let read = Loader::new(Vec::new()).playbook(&Folder::Disk(folder.path().to_owned()), "site.yml");
    let ours = began.elapsed();
    assert_eq!(read.expect("a playbook").plays.len(), 1);
    (ours, theirs(folder.path()))
}

fn theirs(folder: &Path) -> Result<Duration, String> {
    let program = oracle::python()?.with_file_name("ansible-playbook");
    let began = Instant::now();
    let status = Command::new(program)
        .args(["-i", "localhost,", "--syntax-check", "site.yml"])
        .current_dir(folder)
        .stdout(Stdio::null())
        .status()
        .map_err(|e| e.to_string())?;
    if status.success() { Ok(began.elapsed()) } else { Err("it refuses the playbook".into()) }
}

/// The memory that this process holds, in MiB.
fn memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or(0) / 1024
}
