//! Every module on recorded answers: `fixtures/MODULE.yml` is a list of `{args, observed, plan}`.
//!
//! - `args`: what the task says.
//! - `observed`: what the host answers: a text is the probe's whole output, a mapping of texts its sections; for a module with
//!   a client of its own it is the state as the module keeps it.
//! - `check`: the task runs in check mode.
//! - `plan`: the steps, each as a person reads it; an empty list where nothing is to be done.
//! - `diff`: for each thing that changes, its lines before and after.
//! - `result`: what `register` sees at least.
//! - `refused`: the error instead of a plan.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use quaylab_base::run_context::RunContext;
use quaylab_host::{ConnectionSpec, Reply, Target};
use quaylab_module::{
    Controller, Effect, FileKind, Module, ModuleError, Plan, Recorded, RunMode, TaskContext,
};
use quaylab_modules::registry;
use serde::Deserialize;
use serde_json::{Map, Value, json};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    #[serde(default)]
    args: Map<String, Value>,
    #[serde(default)]
    observed: Value,
    #[serde(default)]
    check: bool,
    /// Files of the controller, by name.
    #[serde(default)]
    files: BTreeMap<String, String>,
    plan: Option<Vec<String>>,
    diff: Option<BTreeMap<String, [String; 2]>>,
    result: Option<Map<String, Value>>,
    refused: Option<String>,
}

/// A controller that has the case's files, and renders a template as it is.
struct Files(BTreeMap<String, String>, PathBuf);

#[async_trait]
impl Controller for Files {
    fn load(&self, _: FileKind, name: &str) -> Result<(String, Vec<u8>), ModuleError> {
        let text = self.0.get(name).ok_or_else(|| ModuleError::failed(format!("there is no file {name}")))?;
        Ok((name.to_owned(), text.clone().into_bytes()))
    }

    fn locate(&self, _: FileKind, name: &str) -> Result<PathBuf, ModuleError> {
        let path = self.1.join(name);
        let text = self.0.get(name).ok_or_else(|| ModuleError::failed(format!("there is no file {name}")))?;
        std::fs::write(&path, text).map_err(|error| ModuleError::failed(error.to_string()))?;
        Ok(path)
    }

    fn render(&self, _: &str, text: &str) -> Result<String, ModuleError> {
        Ok(text.to_owned())
    }

    /// Nothing may be asked of a host.
    fn is_guessing(&self) -> bool {
        true
    }

    fn progress(&self, _: &str) {}

    fn state_dir(&self) -> &Path {
        &self.1
    }

    fn lab(&self) -> &'static str {
        "lab-1"
    }
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// The answer to a probe: sections stand below a heading each.
fn reply(observed: &Value) -> Reply {
    let out = match observed {
        Value::Object(sections) => {
            let line_end = |body: &str| if body.is_empty() || body.ends_with('\n') { "" } else { "\n" };
            let part = |name: &String, body: String| format!("\u{1e}{name}\n{body}{}", line_end(&body));
            sections.iter().map(|(name, body)| part(name, text(body))).collect()
        }
        Value::Null => String::new(),
        other => text(other),
    };
    Reply { stdout: out.into_bytes(), ..Reply::default() }
}

/// What a step says, without the helpers that every script of a family begins with.
fn step(text: &str) -> String {
    let helpers = "has() { command -v \"$1\" >/dev/null 2>&1; }\n";
    match (text.strip_prefix("sh: "), text.split_once(helpers)) {
        (Some(_), Some((_, own))) => format!("sh: {own}"),
        _ => text.to_owned(),
    }
}

async fn rehearse(module: &dyn Module, case: &Case) -> Option<Result<Plan<String>, ModuleError>> {
    let folder = tempfile::tempdir().expect("a folder");
    let cx = TaskContext {
        shell: Target::new(ConnectionSpec::local("nobody-is-asked")).shell(None),
        host: "here".into(),
        mode: RunMode { check: case.check, diff: true },
        environment: Vec::new(),
        run: RunContext::default(),
        controller: Arc::new(Files(case.files.clone(), folder.path().to_owned())),
    };
    let answered = Recorded::Reply(reply(&case.observed));
    match module.rehearse(case.args.clone(), &answered, &cx).await {
        None => module.rehearse(case.args.clone(), &Recorded::Value(case.observed.clone()), &cx).await,
        known => known,
    }
}

/// How an outcome differs from what the case says.
fn differences(case: &Case, outcome: Result<Plan<String>, ModuleError>) -> Vec<String> {
    let mut told = Vec::new();
    let mut compare = |what: &str, wanted: Value, is: Value| {
        if wanted != is {
            told.push(format!("{what}: wanted {wanted}\n{what}: got    {is}"));
        }
    };
    match outcome {
        Err(error) => compare("refused", json!(case.refused), json!(error.to_string())),
        Ok(plan) => {
            compare("refused", json!(case.refused), Value::Null);
            let steps: Vec<String> = plan.steps.iter().map(|text| step(text)).collect();
            if let Some(wanted) = &case.plan {
                compare("plan", json!(wanted), json!(steps));
            }
            if let Some(wanted) = &case.diff {
                let is: BTreeMap<&str, [&str; 2]> = plan
                    .diff
                    .iter()
                    .map(|diff| {
                        let name = diff.before_header.trim_start_matches("before: ");
                        (name, [diff.before.as_str(), diff.after.as_str()])
                    })
                    .collect();
                compare("diff", json!(wanted), json!(is));
            }
            for (key, wanted) in case.result.iter().flatten() {
                let is = plan.result.get(key).cloned().unwrap_or_default();
                compare(&format!("result.{key}"), wanted.clone(), is);
            }
        }
    }
    told
}

fn file_of(module: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(format!("{module}.yml"))
}

#[tokio::test]
async fn every_module_plans_as_its_fixtures_say() {
    let mut wrong = Vec::new();
    for module in registry().iter() {
        let name = module.spec().name;
        let Ok(text) = std::fs::read_to_string(file_of(name)) else { continue };
        let cases: Vec<Case> = serde_yaml::from_str(&text).unwrap_or_else(|e| panic!("{name}.yml: {e}"));
        assert!(!cases.is_empty(), "{name}.yml has no cases");
        for (number, case) in cases.iter().enumerate() {
            let says_something = case.plan.is_some() || case.diff.is_some() || case.refused.is_some();
            assert!(says_something, "{name}.yml, case {}: it says nothing to compare", number + 1);
            let place = format!("{name}.yml, case {}: {}", number + 1, json!(case.args));
            match rehearse(module, case).await {
                None => wrong.push(format!("{place}: fixtures cannot say what it observes")),
                Some(outcome) => {
                    let told = differences(case, outcome);
                    if !told.is_empty() {
                        wrong.push(format!("{place}\n{}", told.join("\n")));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// The states whose observation is a client's own object, with what tests them.
const ELSEWHERE: &[(&str, &str)] = &[
    ("ceph_rgw_user", "tests/role_ceph.rs, on a real gateway"),
    ("docker_login", "tests/modules_services.rs, on a real engine"),
    ("lab_certificate", "its own unit tests: it makes keys"),
    ("postgresql_user", "its own unit tests: verifiers hold salts"),
    ("quay_robot", "its own unit tests, and tests/roles.rs"),
    ("s3_lifecycle", "tests/role_ceph.rs, on a real gateway"),
    ("virt_domain", "tests/lab_libvirt.rs, on a real libvirt"),
    ("virt_image", "tests/lab_libvirt_images.rs"),
    ("virt_install", "tests/vm/installed.sh"),
    ("virt_net", "tests/lab_libvirt.rs, on a real libvirt"),
    ("virt_pool", "tests/lab_libvirt.rs, on a real libvirt"),
    ("virt_volume", "tests/lab_libvirt.rs, on a real libvirt"),
];

#[test]
fn every_declared_state_has_fixtures() {
    let elsewhere = |name: &str| ELSEWHERE.iter().any(|(module, _)| *module == name);
    let states = registry().iter().filter(|module| module.effect() == Effect::Keeps);
    let without: Vec<&str> = states
        .map(|module| module.spec().name)
        .filter(|name| !file_of(name).is_file() && !elsewhere(name))
        .collect();
    assert!(without.is_empty(), "without fixtures: {}", without.join(", "));
}

#[test]
fn every_fixture_is_of_a_module() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    for entry in std::fs::read_dir(folder).expect("the fixtures") {
        let name = entry.expect("an entry").file_name().to_string_lossy().into_owned();
        let module = name.trim_end_matches(".yml");
        assert!(registry().get(module).is_some(), "{name} is of no module");
    }
}
