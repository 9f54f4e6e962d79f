//! The output of ansible-playbook's default callback, line by line.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use indexmap::IndexMap;

use super::python_json::{compact, pretty};
use super::{Palette, Verbosity, diff, recap, visible};
use crate::engine::{Event, HostResult, Stats, Status, TaskLabel};
use crate::value::{Map, Value};

/// A text and where it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Printed {
    Out(String),
    Err(String),
}

/// Turns events into what ansible-playbook prints.
#[derive(Debug)]
pub struct Classic {
    verbosity: Verbosity,
    palette: Palette,
    /// Columns of a heading.
    width: usize,
    /// Errors that were told; each is told once.
    told: Mutex<HashSet<String>>,
}

/// What a debug task shows besides its message is left out.
const HIDDEN_IN_DEBUG: [&str; 8] = [
    "changed",
    "failed",
    "skipped",
    "invocation",
    "skip_reason",
    "ansible_loop_var",
    "ansible_index_var",
    "ansible_loop",
];

impl Classic {
    pub fn new(verbosity: Verbosity, palette: Palette, width: usize) -> Self {
        Self { verbosity, palette, width, told: Mutex::default() }
    }

    /// The text for one event; nothing for what is not printed.
    pub fn render(&self, event: &Event) -> Option<Printed> {
        Some(Printed::Out(match event {
            Event::PlayStarted { name, .. } => self.banner(&play(name)),
            Event::PlaySkipped { name, .. } => {
                format!(
                    "{}\n{}",
                    self.banner(&play(name)),
                    self.palette.skipped("skipping: no hosts matched")
                )
            }
            Event::TaskStarted { task, .. } => {
                let kind = if task.handler { "RUNNING HANDLER" } else { "TASK" };
                let mut text = self.banner(&format!("{kind} [{}]", task.name.trim()));
                if self.verbosity >= Verbosity(2) {
                    let path = format!("\ntask path: {}:{}", task.origin.file.name, task.origin.line);
                    text.push_str(&visible(&path));
                }
                text
            }
            Event::Included { file, hosts, item, .. } => {
                let item = item.as_ref().map(|i| format!(" => (item={i})")).unwrap_or_default();
                self.palette.skipped(&format!("included: {file} for {}{item}", hosts.join(", ")))
            }
            Event::Item { host, item, result, task } => self.item(host, item, task, result)?,
            Event::Result { host, task, result } => self.result(host, task, result)?,
            Event::Retry { host, task, left } => self
                .palette
                .faint(&format!("FAILED - RETRYING: [{host}]: {} ({left} retries left).", task.name)),
            // It is said when the limit is passed, and again when nobody is left.
            Event::NoMoreHosts => {
                [self.banner("NO MORE HOSTS LEFT"), self.banner("NO MORE HOSTS LEFT")].join("\n")
            }
            Event::Meta { task, host, skipped } => {
                let kind = if task.handler { "RUNNING HANDLER" } else { "TASK" };
                let text = self.banner(&format!("{kind} [{}]", task.name.trim()));
                if *skipped {
                    format!("{text}\n{}", self.palette.skipped(&format!("skipping: [{host}]")))
                } else {
                    text
                }
            }
            Event::Remark { host, message, verbosity } => {
                if self.verbosity < Verbosity(*verbosity) {
                    return None;
                }
                visible(&format!("<{host}> {message}")).into_owned()
            }
            Event::Progress { .. } => return None,
            Event::Warning(warning) => {
                return Some(Printed::Err(self.palette.warning(&format!("[WARNING]: {warning}"))));
            }
            Event::Stopped(left) => {
                return Some(Printed::Err(self.palette.failed(&format!("[ERROR]: {left}"))));
            }
            Event::Finished { stats, .. } => self.recap(stats),
        }))
    }

    fn banner(&self, text: &str) -> String {
        let stars = self.width.saturating_sub(text.chars().count()).max(3);
        format!("\n{} {}", self.palette.heading(text), "*".repeat(stars))
    }

    fn who(host: &str, result: &HostResult) -> String {
        result.delegated.as_ref().map_or_else(|| host.to_owned(), |other| format!("{host} -> {other}"))
    }

    fn item(&self, host: &str, item: &str, task: &TaskLabel, result: &HostResult) -> Option<String> {
        let who = Self::who(host, result);
        let more = || self.shown(task, result, 0).map(|j| format!(" => {j}")).unwrap_or_default();
        Some(match result.status {
            _ if is_include(task) => return None,
            Status::Ok => self.palette.ok(&format!("ok: [{who}] => (item={item}){}", more())),
            Status::Changed => {
                let line = self.palette.changed(&format!("changed: [{who}] => (item={item}){}", more()));
                self.with_diff(line, result)
            }
            Status::Skipped => {
                self.palette.skipped(&format!("skipping: [{host}] => (item={item}) {}", more()))
            }
            Status::Failed | Status::Unreachable => {
                let line = format!("failed: [{who}] (item={item}) => {}", self.failure(task, result));
                format!("{}{}", self.error(task, result), self.palette.failed(&line))
            }
        })
    }

    fn result(&self, host: &str, task: &TaskLabel, result: &HostResult) -> Option<String> {
        let who = Self::who(host, result);
        let items = task.looped && result.result.fields().contains_key("results");
        let more = || self.shown(task, result, 0).map(|j| format!(" => {j}")).unwrap_or_default();
        let text = match result.status {
            Status::Ok | Status::Changed if is_include(task) || items => return None,
            Status::Ok => self.palette.ok(&format!("ok: [{who}]{}", more())),
            Status::Changed => {
                let line = self.palette.changed(&format!("changed: [{who}]{}", more()));
                self.with_diff(line, result)
            }
            Status::Skipped => self.palette.skipped(&format!("skipping: [{host}]{}", more())),
            Status::Unreachable => self.palette.failed(&format!(
                "fatal: [{who}]: UNREACHABLE! => {}",
                self.dump(task, result.result.fields(), false)
            )),
            Status::Failed if items => {
                return result.ignored.then(|| self.palette.skipped("...ignoring"));
            }
            Status::Failed => {
                let line = format!("fatal: [{who}]: FAILED! => {}", self.failure(task, result));
                format!("{}{}", self.error(task, result), self.palette.failed(&line))
            }
        };
        let bad = matches!(result.status, Status::Failed | Status::Unreachable);
        Some(if bad && result.ignored {
            format!("{text}\n{}", self.palette.skipped("...ignoring"))
        } else {
            text
        })
    }

    /// A result that is there to be read: of debug and assert always, of others where more is asked for.
    fn shown(&self, task: &TaskLabel, result: &HostResult, least: u8) -> Option<String> {
        let good = matches!(result.status, Status::Ok | Status::Changed);
        let hidden = result.result.fields().contains_key("censored");
        let quiet = task.action == "assert" && task.quiet;
        let always = good && !hidden && !quiet && matches!(task.action.as_str(), "debug" | "assert");
        let never = task.action == "setup" || task.action == "gather_facts";
        ((self.verbosity > Verbosity(least) || always) && !never)
            .then(|| self.dump(task, result.result.fields(), always))
    }

    fn failure(&self, task: &TaskLabel, result: &HostResult) -> String {
        let always =
            task.action == "assert" && !task.quiet && !result.result.fields().contains_key("censored");
        self.dump(task, result.result.fields(), always)
    }

    /// What went wrong and where, with the lines of the file; nothing where that was told before.
    fn error(&self, task: &TaskLabel, result: &HostResult) -> String {
        let message = match result.result.fields().get("msg") {
            Some(Value::Bool(true)) => "True".to_owned(),
            Some(Value::Bool(false)) => "False".to_owned(),
            other => other.map(crate::value::plain).unwrap_or_default(),
        };
        let kind = if task.module { "Module failed" } else { "Action failed" };
        let origin = &task.origin;
        let place = std::path::absolute(&origin.file.name).unwrap_or_else(|_| (&origin.file.name).into());
        let mut text = format!("[ERROR]: Task failed: {kind}: {message}");
        if !origin.file.text.is_empty() && !origin.file.name.starts_with('<') {
            text.push_str(&format!("\nOrigin: {}:{}:{}\n", place.display(), origin.line, origin.column));
            let digits = origin.line.to_string().len();
            for number in origin.line.saturating_sub(2).max(1)..=origin.line {
                let line = origin.file.line(number).unwrap_or_default();
                text.push_str(format!("\n{number:>digits$} {line}").trim_end());
            }
            let indent = " ".repeat(digits + origin.column as usize);
            text.push_str(&format!("\n{indent}^ column {}\n", origin.column));
        }
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.insert(text.clone()) { format!("{}\n", self.palette.failed(&text)) } else { String::new() }
    }

    fn dump(&self, task: &TaskLabel, result: &Map, always: bool) -> String {
        let mut shown = without_internals(result, self.verbosity);
        if task.action == "debug" {
            clean_debug(&mut shown);
        }
        if always || self.verbosity > Verbosity(2) { pretty(&shown) } else { compact(&shown) }
    }

    fn with_diff(&self, line: String, result: &HostResult) -> String {
        let diffs: Vec<String> =
            result.diff.iter().map(|one| format!("{}\n", diff::render(one, self.palette))).collect();
        if diffs.is_empty() { line } else { format!("{}\n{line}", diffs.join("\n")) }
    }

    fn recap(&self, stats: &IndexMap<String, Stats>) -> String {
        let mut text = self.banner("PLAY RECAP");
        let mut hosts: Vec<_> = stats.iter().collect();
        hosts.sort_by(|a, b| a.0.cmp(b.0));
        for (host, s) in hosts {
            text.push_str(&format!("\n{}", recap::line(self.palette, host, 26, s)));
        }
        text.push('\n');
        text
    }
}

fn play(name: &str) -> String {
    let name = name.trim();
    if name.is_empty() { "PLAY".to_owned() } else { format!("PLAY [{name}]") }
}

fn is_include(task: &TaskLabel) -> bool {
    matches!(task.action.as_str(), "include_tasks" | "include_role")
}

/// A result as people see it: without what is Ansible's own business.
pub(super) fn without_internals(result: &Map, verbosity: Verbosity) -> Map {
    let hidden = ["failed", "skipped", "exception", "warnings", "deprecations"];
    let detail = ["invocation", "diff"];
    result
        .iter()
        .filter(|(key, _)| !key.starts_with("_ansible_") && !hidden.contains(&key.as_str()))
        .filter(|(key, _)| verbosity > Verbosity(2) || !detail.contains(&key.as_str()))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

/// Of a debug task its message, or its variable.
pub(super) fn clean_debug(result: &mut Map) {
    let looped = result.get("ansible_loop_var").and_then(Value::as_str).map(str::to_owned);
    if result.contains_key("msg") {
        result.retain(|key, _| key == "msg");
    } else {
        result.retain(|key, _| !HIDDEN_IN_DEBUG.contains(&key.as_str()));
        if let Some(name) = looped {
            result.shift_remove(&name);
        }
    }
}
