use std::fmt::Write as _;
use std::time::Duration;

use super::{Palette, diff, recap};
use crate::engine::{Event, HostResult, Stats, Status, TaskLabel};
use crate::value::{Map, Value, plain};

/// How much is told: the number of `-v`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Verbosity(pub u8);

/// Turns events into lines in the shape of Ansible's default output.
#[derive(Debug, Clone, Copy)]
pub struct Lines {
    pub verbosity: Verbosity,
    pub palette: Palette,
    /// Columns of a heading.
    pub width: usize,
}

/// Keys of a result that the line itself already shows.
const SHOWN: [&str; 5] = ["changed", "failed", "skipped", "unreachable", "invocation"];

impl Lines {
    /// The text for one event, without its last line end; nothing for what is not printed.
    pub fn render(&self, event: &Event) -> Option<String> {
        match event {
            Event::PlayStarted { name, .. } => Some(format!("\n{}", self.heading("PLAY", name))),
            Event::PlaySkipped { name, reason } => Some(format!(
                "\n{}\n{}",
                self.heading("PLAY", name),
                self.palette.skipped(&format!("skipping: {reason}"))
            )),
            Event::TaskStarted { task, .. } => {
                let kind = if task.handler { "RUNNING HANDLER" } else { "TASK" };
                let mut text = format!("\n{}", self.heading(kind, &task.name));
                if self.verbosity >= Verbosity(2) {
                    let _ = write!(text, "\n{}", self.palette.faint(&format!("task path: {}", task.origin)));
                }
                Some(text)
            }
            Event::Item { host, item, result, task } => self.item(host, item, &task.action, result),
            Event::Result { host, task, result } => Some(self.result(host, task, result)),
            // Each host's own line says it already.
            Event::Included { .. } | Event::Meta { .. } | Event::NoMoreHosts => None,
            Event::Stopped(left) => Some(format!("\n{}", self.palette.warning(&left.to_string()))),
            Event::Retry { host, task, left } => Some(
                self.palette
                    .faint(&format!("FAILED - RETRYING: [{host}]: {} ({left} retries left).", task.name)),
            ),
            Event::Progress { host, message } => {
                (self.verbosity >= Verbosity(1)).then(|| self.palette.faint(&format!("  [{host}] {message}")))
            }
            Event::Remark { host, message, verbosity } => (self.verbosity >= Verbosity(*verbosity))
                .then(|| self.palette.faint(&format!("<{host}> {message}"))),
            Event::Warning(warning) => Some(self.palette.warning(&format!("[WARNING]: {warning}"))),
            Event::Finished { stats, elapsed, interrupted } => {
                Some(self.recap(stats, *elapsed, *interrupted))
            }
        }
    }

    fn heading(&self, kind: &str, name: &str) -> String {
        let text = if name.is_empty() { kind.to_owned() } else { format!("{kind} [{name}]") };
        let stars = self.width.saturating_sub(text.chars().count() + 1).max(3);
        self.palette.heading(&format!("{text} {}", "*".repeat(stars)))
    }

    fn who(host: &str, result: &HostResult) -> String {
        result.delegated.as_ref().map_or_else(|| format!("[{host}]"), |other| format!("[{host} -> {other}]"))
    }

    fn item(&self, host: &str, item: &str, action: &str, result: &HostResult) -> Option<String> {
        let who = Self::who(host, result);
        let item = format!("(item={item})");
        let text = match result.status {
            Status::Ok if tells(action, result) => {
                let mut said = result.result.fields().clone();
                // The item is in the line already.
                if let Some(name) = said.shift_remove("ansible_loop_var") {
                    said.shift_remove(&plain(&name));
                }
                if let Some(name) = said.shift_remove("ansible_index_var") {
                    said.shift_remove(&plain(&name));
                }
                said.shift_remove("_ansible_item_label");
                self.palette.ok(&format!("ok: {who} => {item} => {}", message(&said)))
            }
            Status::Ok => self.palette.ok(&format!("ok: {who} => {item}")),
            Status::Changed => self.palette.changed(&format!("changed: {who} => {item}")),
            Status::Skipped => {
                return (self.verbosity >= Verbosity(1))
                    .then(|| self.palette.skipped(&format!("skipping: {who} => {item}")));
            }
            Status::Failed | Status::Unreachable => {
                let text = format!("failed: {who} {item}{}", Self::failure(result));
                if result.ignored { self.palette.skipped(&text) } else { self.palette.failed(&text) }
            }
        };
        Some(self.with_extras(text, result))
    }

    fn result(&self, host: &str, task: &TaskLabel, result: &HostResult) -> String {
        let (action, origin, quiet) = (&task.action, &task.origin, task.quiet);
        let who = Self::who(host, result);
        let text = match result.status {
            Status::Ok if tells(action, result) && !quiet => {
                self.palette.ok(&format!("ok: {who} => {}", message(result.result.fields())))
            }
            Status::Ok => self.palette.ok(&format!("ok: {who}")),
            Status::Changed => self.palette.changed(&format!("changed: {who}")),
            Status::Skipped => {
                let reason = ["skip_reason", "skipped_reason"]
                    .iter()
                    .find_map(|k| result.result.fields().get(*k))
                    .map(plain)
                    .filter(|r| !r.is_empty() && self.explains(r));
                self.palette.skipped(&format!(
                    "skipping: {who}{}",
                    reason.map(|r| format!(" ({r})")).unwrap_or_default()
                ))
            }
            Status::Unreachable => {
                self.palette.failed(&format!("fatal: {who}: UNREACHABLE!{}", Self::failure(result)))
            }
            Status::Failed => {
                let word = if result.result.fields().contains_key("interrupted") {
                    "INTERRUPTED!"
                } else {
                    "FAILED!"
                };
                let text = format!("fatal: {who}: {word}{}\n    task: {origin}", Self::failure(result));
                if result.ignored {
                    format!("{}\n...ignoring", self.palette.skipped(&text))
                } else {
                    self.palette.failed(&text)
                }
            }
        };
        self.with_extras(text, result)
    }

    /// A false condition is what skipping usually means; other reasons are always told.
    fn explains(&self, reason: &str) -> bool {
        self.verbosity >= Verbosity(1) || reason != "Conditional result was False"
    }

    fn failure(result: &HostResult) -> String {
        let mut text = String::new();
        for key in ["msg", "censored", "assertion", "rc", "stderr", "stdout", "results_failed"] {
            let Some(value) = result.result.fields().get(key).map(plain).filter(|v| !v.is_empty()) else {
                continue;
            };
            let _ = write!(text, "\n    {key}: {}", value.trim_end().replace('\n', "\n         "));
        }
        if let Some(hint) = &result.hint {
            let _ = write!(text, "\n    hint: {}", hint.replace('\n', "\n         "));
        }
        text
    }

    fn with_extras(&self, mut text: String, result: &HostResult) -> String {
        for one in &result.diff {
            let _ = write!(text, "\n{}", diff::render(one, self.palette));
        }
        if self.verbosity >= Verbosity(1) {
            let shown: Map = result
                .result
                .fields()
                .iter()
                .filter(|(k, _)| !SHOWN.contains(&k.as_str()))
                .map(|(k, v)| (k.clone(), v.clone()))
                .collect();
            if !shown.is_empty() {
                let json = serde_json::to_string_pretty(&shown).unwrap_or_default();
                let _ = write!(text, " => {}", self.palette.faint(&json));
            }
        }
        text
    }

    fn recap(
        &self,
        stats: &indexmap::IndexMap<String, Stats>,
        elapsed: Duration,
        interrupted: bool,
    ) -> String {
        let mut text = format!("\n{}", self.heading("PLAY RECAP", "").replace(" []", ""));
        let width = stats.keys().map(|h| h.chars().count()).max().unwrap_or(0).max(26);
        for (host, s) in stats {
            let _ = write!(text, "\n{}", recap::line(self.palette, host, width, s).trim_end());
        }
        let _ = write!(
            text,
            "\n\n{} in {:.1} s",
            if interrupted { "interrupted" } else { "finished" },
            elapsed.as_secs_f64()
        );
        text
    }
}

/// Whether a result is there to be read.
fn tells(action: &str, result: &HostResult) -> bool {
    matches!(action, "debug" | "assert") && !result.result.fields().contains_key("censored")
}

/// A debug task's message: text as it stands, everything else as JSON.
fn message(result: &Map) -> String {
    let shown: Vec<(&String, &Value)> = result.iter().filter(|(k, _)| !SHOWN.contains(&k.as_str())).collect();
    let indent = |text: &str| format!("\n    {}", text.trim_end().replace('\n', "\n    "));
    match shown.as_slice() {
        [(key, Value::String(text))] if *key == "msg" => indent(text),
        [(key, Value::Array(lines))] if *key == "msg" && lines.iter().all(Value::is_string) => {
            lines.iter().map(|l| indent(&plain(l))).collect()
        }
        [(key, value)] => format!("{key}: {}", serde_json::to_string_pretty(value).unwrap_or_default()),
        _ => serde_json::to_string_pretty(result).unwrap_or_default(),
    }
}
