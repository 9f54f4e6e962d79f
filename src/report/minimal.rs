//! The output of `ansible`: one result a host.

use super::classic::{Printed, clean_debug, without_internals};
use super::python_json::pretty;
use super::{Palette, Verbosity, diff};
use crate::engine::{Event, HostResult, Status, TaskLabel};
use crate::value::{Map, plain};

/// Modules whose output is shown as it is.
const RAW: [&str; 3] = ["command", "shell", "raw"];

/// Turns events into what `ansible` prints.
#[derive(Debug, Clone, Copy)]
pub struct Minimal {
    pub verbosity: Verbosity,
    pub palette: Palette,
    /// `-o`.
    pub one_line: bool,
}

impl Minimal {
    /// The text for one event; nothing for what is not printed.
    pub fn render(&self, event: &Event) -> Option<Printed> {
        match event {
            Event::Result { host, task, result } => Some(Printed::Out(self.result(host, task, result))),
            Event::Stopped(left) => Some(Printed::Err(self.palette.failed(&format!("[ERROR]: {left}")))),
            Event::Warning(warning) => {
                Some(Printed::Err(self.palette.warning(&format!("[WARNING]: {warning}"))))
            }
            _ => None,
        }
    }

    fn result(self, host: &str, task: &TaskLabel, result: &HostResult) -> String {
        let raw =
            RAW.contains(&task.action.as_str()) && !result.result.fields().contains_key("ansible_job_id");
        let (caption, paint): (&str, fn(Palette, &str) -> String) = match result.status {
            Status::Ok => ("SUCCESS", Palette::ok),
            Status::Changed => ("CHANGED", Palette::changed),
            Status::Skipped => return self.palette.skipped(&format!("{host} | SKIPPED")),
            Status::Failed if raw => ("FAILED", Palette::failed),
            Status::Failed => ("FAILED!", Palette::failed),
            Status::Unreachable => ("UNREACHABLE!", Palette::failed),
        };
        let text = if raw && result.status != Status::Unreachable {
            self.raw(host, caption, result.result.fields())
        } else {
            let mut shown = without_internals(result.result.fields(), self.verbosity);
            if task.action == "debug" && !self.one_line {
                clean_debug(&mut shown);
            }
            // On one line a debug task keeps its indentation, which is what the original does.
            let json = match (self.one_line, task.action.as_str()) {
                (false, _) => pretty(&shown),
                (true, "debug") => pretty(&shown).replace('\n', ""),
                (true, _) => pretty(&shown).lines().map(str::trim_start).collect(),
            };
            format!("{host} | {caption} => {json}")
        };
        let diffs: String =
            result.diff.iter().map(|one| format!("{}\n\n", diff::render(one, self.palette))).collect();
        format!("{diffs}{}", paint(self.palette, &text))
    }

    fn raw(self, host: &str, caption: &str, result: &Map) -> String {
        let text = |key: &str| result.get(key).map(plain).unwrap_or_default();
        let rc = result.get("rc").map_or_else(|| "-1".to_owned(), plain);
        if self.one_line {
            let out = text("stdout").replace('\n', "\\n").replace('\r', "\\r");
            let err = text("stderr").replace('\n', "\\n").replace('\r', "\\r");
            let err = if err.is_empty() { String::new() } else { format!(" (stderr) {err}") };
            return format!("{host} | {caption} | rc={rc} | (stdout) {out}{err}");
        }
        format!("{host} | {caption} | rc={rc} >>\n{}{}{}", text("stdout"), text("stderr"), text("msg"))
    }
}
