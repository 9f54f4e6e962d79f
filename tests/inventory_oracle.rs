//! Inventories against the real ansible-core: the same files through both, and both results compared.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use quaylab::inventory::{Inventory, json_text, render_graph, render_list};
use serde::Deserialize;
use serde_json::{Value, json};
use similar::TextDiff;

#[path = "support/oracle.rs"]
mod oracle;

/// What is given with `-i`, relative to `tests/data/inventory`.
const CASES: [&[&str]; 25] = [
    &["../../../inventories/quay.inv_sample"],
    &["plain/groups.ini"],
    &["plain/ranges.ini"],
    &["plain/values.ini"],
    &["plain/sections.inv"],
    &["plain/priority.ini"],
    &["plain/diamond.ini"],
    &["plain/ungrouped"],
    &["plain/repeated.ini"],
    &["plain/pending.ini"],
    &["plain/empty.ini"],
    &["plain/hostnames.ini"],
    &["yaml/simple.yml"],
    &["yaml/anchors.yaml"],
    &["yaml/inventory.json"],
    &["yaml/bare"],
    &["yaml/vault.yml"],
    &["plain/patterns.ini"],
    &["beside/hosts.ini"],
    &["layers"],
    &["layers", "mixed/hosts"],
    &["mixed/hosts", "layers"],
    &["one.example,two:2222,10.0.0.1,"],
    &["localhost,", "plain/ungrouped"],
    &["plain/groups.ini", "plain/diamond.ini", "yaml/simple.yml"],
];

const OUTPUTS: [&[&str]; 3] = [&["--list"], &["--graph"], &["--graph", "--vars"]];

/// Patterns, each with a limit, that are tried on `plain/patterns.ini`.
const SELECTIONS: [(&str, Option<&str>); 52] = [
    ("all", None),
    ("*", None),
    ("web", None),
    ("web:db", None),
    ("web,db", None),
    ("web:!web03", None),
    ("web:&eu", None),
    ("web:db:&eu:!db1", None),
    ("!web", None),
    ("&eu", None),
    ("!web:db", None),
    ("web01", None),
    ("web0[1:3]", None),
    ("web0[1-3]", None),
    ("web0[!1-3]", None),
    ("web0?", None),
    ("w*:!*3", None),
    ("~web0[24]", None),
    ("~(web|db)0?1", None),
    ("~^w.*[56]$", None),
    ("web[0]", None),
    ("web[-1]", None),
    ("web[-2]", None),
    ("web[1:3]", None),
    ("web[2:]", None),
    ("web[0:0]", None),
    ("web[1:0]", None),
    ("web[4:99]", None),
    ("web[99]", None),
    ("web[9:10]", None),
    ("prod", None),
    ("prod[0]", None),
    ("*.example.com", None),
    ("a.example.com", None),
    ("*e*", None),
    ("all[0]", None),
    ("all[-1]", None),
    ("ungrouped", None),
    ("nowhere", None),
    ("nowhere:web01", None),
    ("localhost", None),
    ("127.0.0.1", None),
    ("fe80::1", None),
    ("web01,web01,web02", None),
    (" web01 , db ", None),
    ("all", Some("web")),
    ("all", Some("db:!web03")),
    ("web", Some("eu")),
    ("all", Some("@../limit.txt")),
    ("all", Some("!web")),
    ("web", Some("web[0:1],db")),
    ("all", Some("nowhere")),
];

#[test]
fn ansible_core_agrees() {
    let python = match oracle::python() {
        Ok(python) => python,
        Err(reason) => {
            // Straight to the stream, since a passing test's own output is kept back.
            writeln!(std::io::stderr(), "skipped: inventories are not compared with ansible-core: {reason}")
                .expect("standard error is open");
            return;
        }
    };
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/inventory/plain");
    // Names of files in the cases and in limits are relative, as a person writes them.
    std::env::set_current_dir(&data).expect("the test's data");
    let cases: Vec<Vec<String>> =
        CASES.iter().map(|case| case.iter().map(|source| place(source)).collect()).collect();
    let runs: Vec<Vec<&str>> = cases
        .iter()
        .flat_map(|case| {
            let sources: Vec<&str> = case.iter().flat_map(|source| ["-i", source]).collect();
            OUTPUTS.iter().map(move |output| [output.to_vec(), sources.clone()].concat())
        })
        .collect();
    let selections: Vec<_> =
        SELECTIONS.iter().map(|(pattern, limit)| json!([["patterns.ini"], pattern, limit])).collect();
    let answer = ask(&python, &json!({"runs": runs, "selections": selections}));
    assert_eq!((answer.printed.len(), answer.selected.len()), (runs.len(), SELECTIONS.len()));
    let mut wrong = String::new();
    for (case, theirs) in cases.iter().zip(answer.printed.chunks(OUTPUTS.len())) {
        wrong.push_str(&compare(case, theirs));
    }
    let (inventory, _) = Inventory::load(&["patterns.ini".to_owned()]).expect("the patterns' inventory");
    for ((pattern, limit), theirs) in SELECTIONS.iter().zip(&answer.selected) {
        let ours = inventory.select_limited(pattern, *limit).ok().map(|(hosts, _)| hosts);
        if ours != *theirs {
            writeln!(wrong, "== {pattern:?} limited to {limit:?}\n-{theirs:?}\n+{ours:?}")
                .expect("a string takes everything");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// A source as it is given from inside `plain/`.
fn place(source: &str) -> String {
    match source.strip_prefix("plain/") {
        Some(name) => name.to_owned(),
        None if source.contains(',') => source.to_owned(),
        None => format!("../{source}"),
    }
}

#[derive(Deserialize)]
struct Answer {
    printed: Vec<Printed>,
    selected: Vec<Option<Vec<String>>>,
}

/// What ansible-inventory printed.
#[derive(Deserialize)]
struct Printed {
    stdout: String,
    stderr: String,
}

fn ask(python: &Path, question: &Value) -> Answer {
    let config = Path::new(env!("CARGO_TARGET_TMPDIR")).join("ansible.cfg");
    fs::write(&config, "").expect("the build's directory can be written");
    let mut child = Command::new(python)
        .arg("../oracle.py")
        .env("ANSIBLE_CONFIG", &config)
        .env("ANSIBLE_NOCOLOR", "1")
        .env("LC_ALL", "C.UTF-8")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python starts");
    let mut stdin = child.stdin.take().expect("it was asked for");
    stdin.write_all(question.to_string().as_bytes()).expect("python reads");
    drop(stdin);
    let output = child.wait_with_output().expect("python ends");
    serde_json::from_slice(&output.stdout).expect("what the script prints")
}

/// Empty if both sides agree.
fn compare(case: &[String], theirs: &[Printed]) -> String {
    let inventory = match Inventory::load(case) {
        Ok((inventory, _)) => inventory,
        Err(error) => return format!("== {case:?} does not load\n{error}\n"),
    };
    let hosts: Vec<String> = inventory.hosts().map(str::to_owned).collect();
    let ours = [
        json_text(&render_list(&inventory, &hosts)),
        render_graph(&inventory, "all", false).unwrap_or_default(),
        render_graph(&inventory, "all", true).unwrap_or_default(),
    ];
    let mut wrong = String::new();
    for ((what, ours), theirs) in OUTPUTS.iter().zip(ours).zip(theirs) {
        // Without the password, ansible-core prints no tree with encrypted values.
        if case.iter().any(|source| source.ends_with("vault.yml")) && what.contains(&"--vars") {
            continue;
        }
        let expected = theirs.stdout.trim_end();
        if ours != expected {
            let diff = TextDiff::from_lines(expected, ours.as_str());
            let diff = diff.unified_diff().header("ansible-core", "quaylab").to_string();
            writeln!(wrong, "== {case:?} {what:?}\n{diff}\n{}", theirs.stderr)
                .expect("a string takes everything");
        }
    }
    wrong
}
