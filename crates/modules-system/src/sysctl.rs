use schemars::JsonSchema;
use serde::Deserialize;

use super::sections::{Sections, probe, run, script};
use crate::args::Presence;
use crate::host::{Reply, Script, Step, contents, quote};
use crate::value::Map;
use crate::{Diff, ModuleError, Plan, RemotePath, RunMode, ShellResource};

/// A kernel setting: its line in a file and, with `sysctl_set`, its value now.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_field_names, reason = "the names are Ansible's")]
pub(super) struct Sysctl {
    #[serde(alias = "key")]
    name: String,
    #[serde(alias = "val")]
    value: Option<String>,
    #[serde(default)]
    state: Presence,
    /// Do not mind a key that this kernel does not have.
    #[serde(default)]
    ignoreerrors: bool,
    /// Load the file when it was changed.
    #[serde(default = "crate::args::yes")]
    reload: bool,
    /// Default `/etc/sysctl.conf`.
    sysctl_file: Option<RemotePath>,
    /// Look at the running value as well, and set it.
    #[serde(default)]
    sysctl_set: bool,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Settings {
    file: String,
    running: Option<String>,
}

/// Tabs and runs of spaces are one space: the kernel prints tabs where people write spaces.
fn normal(value: &str) -> String {
    let value = match value.to_ascii_lowercase().as_str() {
        "true" | "yes" => "1".to_owned(),
        "false" | "no" => "0".to_owned(),
        _ => value.to_owned(),
    };
    value.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn assignment(line: &str) -> Option<(&str, &str)> {
    let line = line.trim();
    if line.starts_with(['#', ';']) {
        return None;
    }
    let (key, value) = line.split_once('=')?;
    Some((key.trim().trim_start_matches('-'), value.trim()))
}

/// `net/ipv4/x` and `net.ipv4.x` are the same key.
fn key(name: &str) -> String {
    match name.find(['.', '/']) {
        Some(i) if name[i..].starts_with('/') => name
            .chars()
            .map(|c| match c {
                '/' => '.',
                '.' => '/',
                c => c,
            })
            .collect(),
        _ => name.to_owned(),
    }
}

impl Sysctl {
    fn path(&self) -> &str {
        self.sysctl_file.as_ref().map_or("/etc/sysctl.conf", RemotePath::as_str)
    }

    /// The file as it shall be.
    fn edited(&self, file: &str) -> String {
        let mine = |line: &str| assignment(line).is_some_and(|(k, _)| key(k) == key(&self.name));
        let wanted = self.value.as_deref().map(normal).unwrap_or_default();
        let mut lines: Vec<String> = Vec::new();
        let mut written = false;
        for line in file.lines() {
            if !mine(line) {
                lines.push(line.to_owned());
            } else if self.state == Presence::Present && !written {
                let same = assignment(line).is_some_and(|(_, v)| normal(v) == wanted);
                lines.push(if same { line.to_owned() } else { format!("{}={wanted}", self.name) });
                written = true;
            }
        }
        if self.state == Presence::Present && !written {
            lines.push(format!("{}={wanted}", self.name));
        }
        let text = lines.join("\n");
        if text == file || text.is_empty() { text } else { text + "\n" }
    }
}

impl ShellResource for Sysctl {
    const NAME: &'static str = "sysctl";
    const FQCN: &'static [&'static str] = &["ansible.posix.sysctl"];
    type Observed = Settings;

    fn validate(&self) -> Result<(), ModuleError> {
        if self.name.is_empty() || self.name.starts_with('-') || self.name.contains(['=', '\n', ' ']) {
            return Err(ModuleError::Arguments(format!("{:?} is not a kernel setting's name", self.name)));
        }
        match &self.value {
            None if self.state == Presence::Present => {
                Err(ModuleError::Arguments("state present needs a value".into()))
            }
            Some(value) if value.contains('\n') || value.trim().is_empty() => {
                Err(ModuleError::Arguments("value must be one line that is not empty".into()))
            }
            _ => Ok(()),
        }
    }

    fn probe(&self) -> Script {
        probe(&format!(
            "mark file; ({}) 2>/dev/null\nmark running; sysctl -n {} 2>/dev/null",
            contents(&quote(self.path())),
            quote(&self.name)
        ))
    }

    fn read(&self, reply: &Reply) -> Result<Settings, ModuleError> {
        let sections = Sections::read(reply)?;
        let running = sections.text("running");
        Ok(Settings {
            file: sections.raw("file").to_owned(),
            running: (!running.is_empty()).then(|| normal(running)),
        })
    }

    fn plan(&self, now: &Settings, _: RunMode) -> Result<Plan, ModuleError> {
        let mut plan = Plan::default();
        let text = self.edited(&now.file);
        let ignore = self.ignoreerrors.then_some("-e");
        if let Some(value) =
            self.value.as_deref().map(normal).filter(|_| self.sysctl_set && self.state == Presence::Present)
            && now.running.as_ref() != Some(&value)
        {
            let setting = format!("{}={value}", self.name);
            plan.steps.push(run(["sysctl"].into_iter().chain(ignore).chain(["-w", &setting])));
            plan.diff.push(Diff::new(
                &self.name,
                format!("{}\n", now.running.as_deref().unwrap_or("not there")),
                format!("{value}\n"),
            ));
        }
        if text != now.file {
            plan.diff.push(Diff::new(self.path(), &now.file, &text));
            plan.steps.push(Step::write_file(self.path(), text, None));
            if self.reload {
                let ignore = if self.ignoreerrors { "-e " } else { "" };
                plan.steps.push(script(&format!("sysctl {ignore}-p {} >/dev/null", quote(self.path()))));
            }
        }
        Ok(plan)
    }

    fn result(&self, _now: &Settings) -> Map {
        Map::new()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::sections::testing::{answer, args, told};
    use super::*;

    #[test]
    fn plans() {
        for (arguments, file, running, expected) in [
            (json!({"value": 1}), "# a\nvm.x = 1", "1", vec![]),
            (json!({"value": true}), "vm.x=1", "0", vec![]),
            (json!({"value": 1, "sysctl_set": true}), "vm.x=1", "0", vec!["sysctl -w vm.x=1"]),
            (
                json!({"value": "4096 1", "reload": false}),
                "# a\nvm.x=2\nvm.x=3\nvm.y=1",
                "",
                vec!["write /f: # a\nvm.x=4096 1\nvm.y=1\n"],
            ),
            (json!({"value": "4096 1", "sysctl_set": true}), "vm/x=4096\t1", "4096\t1", vec![]),
            (json!({"state": "absent", "reload": false}), "vm.x=2\nvm.y=1", "", vec!["write /f: vm.y=1\n"]),
            (json!({"state": "absent"}), "", "", vec![]),
        ] {
            let mut arguments = arguments.clone();
            arguments["name"] = json!("vm.x");
            arguments["sysctl_file"] = json!("/f");
            let sysctl: Sysctl = args(arguments.clone());
            sysctl.validate().expect("valid");
            let mut reply = answer(&[("running", running)]);
            // A file's text ends where it ends.
            reply.stdout.extend(format!("\u{1e}file\n{file}").into_bytes());
            let now = sysctl.read(&reply).expect("readable");
            assert_eq!(
                told(&sysctl.plan(&now, RunMode::default()).expect("a plan").steps),
                expected,
                "{arguments}"
            );
        }
    }
}
