use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::sections::{Sections, probe, run};
use crate::args::{Presence, require_name};
use crate::host::{Reply, Script, Step, contents, quote};
use crate::value::Map;
use crate::{Diff, ModuleError, Plan, RunMode, ShellResource};

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Persistence {
    #[default]
    Disabled,
    Present,
    Absent,
}

/// A kernel module.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Modprobe {
    name: String,
    #[serde(default)]
    state: Presence,
    /// Parameters to load it with.
    #[serde(default)]
    params: String,
    /// Whether it is loaded at boot: `present`, `absent`, or not looked at.
    #[serde(default)]
    persistent: Persistence,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Loaded {
    running: bool,
    builtin: bool,
    at_boot: String,
    options: String,
}

impl Modprobe {
    fn at_boot(&self) -> String {
        format!("/etc/modules-load.d/{}.conf", self.name)
    }

    fn options(&self) -> String {
        format!("/etc/modprobe.d/{}.conf", self.name)
    }
}

impl ShellResource for Modprobe {
    const NAME: &'static str = "modprobe";
    const FQCN: &'static [&'static str] = &["community.general.modprobe"];
    type Observed = Loaded;

    fn validate(&self) -> Result<(), ModuleError> {
        require_name("a kernel module's name", &self.name)
    }

    fn probe(&self) -> Script {
        probe(&format!(
            "n={}
u=$(printf %s \"$n\" | tr - _)
mark loaded; while read -r m x; do [ \"$m\" = \"$u\" ] && echo 1; done </proc/modules 2>/dev/null
mark builtin; grep -E \"/($n|$u)\\.ko\" \"/lib/modules/$(uname -r)/modules.builtin\" 2>/dev/null
mark at-boot; ({}) 2>/dev/null
mark options; ({}) 2>/dev/null",
            quote(&self.name),
            contents(&quote(&self.at_boot())),
            contents(&quote(&self.options()))
        ))
    }

    fn read(&self, reply: &Reply) -> Result<Loaded, ModuleError> {
        let sections = Sections::read(reply)?;
        Ok(Loaded {
            running: !sections.text("loaded").is_empty(),
            builtin: !sections.text("builtin").is_empty(),
            at_boot: sections.text("at-boot").to_owned(),
            options: sections.text("options").to_owned(),
        })
    }

    fn plan(&self, now: &Loaded, _: RunMode) -> Result<Plan, ModuleError> {
        let mut plan = Plan::default();
        let name = self.name.as_str();
        match self.state {
            Presence::Present if !now.running && !now.builtin => {
                plan.steps.push(run(["modprobe", name].into_iter().chain(self.params.split_whitespace())));
                plan.diff.push(Diff::new(name, "not loaded\n", "loaded\n"));
            }
            Presence::Absent if now.builtin && !now.running => {
                return Err(ModuleError::failed(format!(
                    "{name} is built into the kernel, so it cannot be unloaded"
                )));
            }
            Presence::Absent if now.running => {
                plan.steps.push(run(["modprobe", "-r", name]));
                plan.diff.push(Diff::new(name, "loaded\n", "not loaded\n"));
            }
            _ => {}
        }
        let options =
            if self.params.is_empty() { String::new() } else { format!("options {name} {}", self.params) };
        let files = match self.persistent {
            Persistence::Disabled => vec![],
            Persistence::Present => {
                vec![(self.at_boot(), &now.at_boot, name.to_owned()), (self.options(), &now.options, options)]
            }
            Persistence::Absent => vec![
                (self.at_boot(), &now.at_boot, String::new()),
                (self.options(), &now.options, String::new()),
            ],
        };
        for (path, is, wanted) in files {
            if *is == wanted {
                continue;
            }
            plan.diff.push(Diff::new(&path, format!("{is}\n"), format!("{wanted}\n")));
            plan.steps.push(if wanted.is_empty() {
                Step::Remove { path }
            } else {
                Step::write_file(path, format!("{wanted}\n"), Some(0o644))
            });
        }
        Ok(plan)
    }

    fn result(&self, _now: &Loaded) -> Map {
        [("name".to_owned(), json!(self.name)), ("params".to_owned(), json!(self.params))]
            .into_iter()
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::sections::testing::{answer, args, told};
    use super::*;

    #[test]
    fn plans() {
        for (arguments, observed, expected) in [
            (json!({}), [("loaded", "1"), ("builtin", ""), ("at-boot", "")], vec![]),
            (json!({}), [("loaded", ""), ("builtin", "kernel/x.ko"), ("at-boot", "")], vec![]),
            (
                json!({"params": "a=1 b=2", "persistent": "present"}),
                [("loaded", ""), ("builtin", ""), ("at-boot", "")],
                vec![
                    "modprobe br_netfilter a=1 b=2",
                    "write /etc/modules-load.d/br_netfilter.conf: br_netfilter\n",
                    "write /etc/modprobe.d/br_netfilter.conf: options br_netfilter a=1 b=2\n",
                ],
            ),
            (
                json!({"persistent": "present"}),
                [("loaded", "1"), ("builtin", ""), ("at-boot", "br_netfilter")],
                vec![],
            ),
            (
                json!({"state": "absent"}),
                [("loaded", "1"), ("builtin", ""), ("at-boot", "")],
                vec!["modprobe -r br_netfilter"],
            ),
        ] {
            let mut arguments = arguments.clone();
            arguments["name"] = json!("br_netfilter");
            let module: Modprobe = args(arguments.clone());
            let now = module.read(&answer(&observed)).expect("readable");
            assert_eq!(
                told(&module.plan(&now, RunMode::default()).expect("a plan").steps),
                expected,
                "{arguments}"
            );
        }
    }
}
