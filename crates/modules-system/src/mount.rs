use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::fstab::{self, Entry, unescape};
use super::sections::{Sections, probe, run, script};
use crate::host::{Content, Reply, Script, Step, contents, quote};
use crate::value::Map;
use crate::{Diff, ModuleError, Plan, RemotePath, RunMode, ShellResource};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum MountState {
    Mounted,
    Present,
    Unmounted,
    Absent,
    AbsentFromFstab,
    Remounted,
    Ephemeral,
}

fn zero() -> String {
    "0".into()
}

/// A file system: its line in fstab and whether it is mounted.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Mount {
    /// The mount point; `none` for swap.
    #[serde(alias = "name")]
    path: String,
    /// The device, UUID=, LABEL= or network path.
    src: Option<String>,
    fstype: Option<String>,
    /// Options; default `defaults`.
    opts: Option<String>,
    #[serde(default = "zero")]
    dump: String,
    #[serde(default = "zero")]
    passno: String,
    state: MountState,
    /// Another table than `/etc/fstab`.
    fstab: Option<RemotePath>,
    /// Mount at boot; without it `noauto` is added.
    #[serde(default = "crate::args::yes")]
    boot: bool,
    #[serde(default)]
    backup: bool,
    /// Keep the options out of differences.
    #[serde(default)]
    opts_no_log: bool,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Mounts {
    table: String,
    /// What is mounted there: source and type, innermost.
    mounted: Option<(String, String)>,
    directory: bool,
}

impl Mount {
    fn table_path(&self) -> &str {
        self.fstab.as_ref().map_or("/etc/fstab", RemotePath::as_str)
    }

    fn entry(&self) -> Option<Entry> {
        let mut options = self.opts.clone().unwrap_or_else(|| "defaults".into());
        if !self.boot && !options.split(',').any(|o| o == "noauto") {
            options.push_str(",noauto");
        }
        Some(Entry {
            source: self.src.clone()?,
            path: self.path.clone(),
            kind: self.fstype.clone()?,
            options,
            dump: self.dump.clone(),
            pass: self.passno.clone(),
        })
    }

    fn mount(&self) -> Step {
        match &self.fstab {
            Some(table) => run(["mount", "-T", table.as_str(), &self.path]),
            None => run(["mount", &self.path]),
        }
    }

    fn write(&self, plan: &mut Plan, before: &str, after: String) {
        if before == after {
            return;
        }
        let (shown_before, shown_after) = if self.opts_no_log {
            ("a line whose options are not shown\n".to_owned(), "the line, changed\n".to_owned())
        } else {
            (before.to_owned(), after.clone())
        };
        plan.diff.push(Diff::new(self.table_path(), shown_before, shown_after));
        plan.steps.push(Step::WriteFile {
            path: self.table_path().into(),
            content: Content::Bytes(after.into_bytes()),
            mode: None,
            owner: None,
            group: None,
            backup: self.backup,
            validate: None,
        });
    }
}

impl ShellResource for Mount {
    const NAME: &'static str = "mount";
    const FQCN: &'static [&'static str] = &["ansible.posix.mount"];
    type Observed = Mounts;

    fn validate(&self) -> Result<(), ModuleError> {
        if !self.path.starts_with('/') && self.path != "none" && self.path != "swap" {
            return Err(ModuleError::Arguments(format!("{:?} is not an absolute path", self.path)));
        }
        let needs = matches!(self.state, MountState::Mounted | MountState::Present | MountState::Ephemeral);
        if needs && (self.src.is_none() || self.fstype.is_none()) {
            return Err(ModuleError::Arguments(
                format!("{:?} needs src and fstype", self.state).to_lowercase(),
            ));
        }
        Ok(())
    }

    fn probe(&self) -> Script {
        probe(&format!(
            "mark table; ({}) 2>/dev/null
mark directory; [ -d {} ] && echo 1
mark mounts; cat /proc/self/mounts",
            contents(&quote(self.table_path())),
            quote(&self.path)
        ))
    }

    fn read(&self, reply: &Reply) -> Result<Mounts, ModuleError> {
        let sections = Sections::read(reply)?;
        let mounted = sections
            .lines("mounts")
            .filter_map(|line| {
                let mut fields = line.split(' ');
                let (source, path, kind) = (fields.next()?, fields.next()?, fields.next()?);
                (unescape(path) == self.path).then(|| (unescape(source), kind.to_owned()))
            })
            .last();
        Ok(Mounts {
            table: sections.raw("table").to_owned(),
            mounted,
            directory: !sections.text("directory").is_empty(),
        })
    }

    fn plan(&self, now: &Mounts, _: RunMode) -> Result<Plan, ModuleError> {
        let mut plan = Plan::default();
        let turn = |plan: &mut Plan, steps: Vec<Step>, before: &str, after: &str| {
            plan.steps.extend(steps);
            plan.diff.push(Diff::new(&self.path, format!("{before}\n"), format!("{after}\n")));
        };
        let remount = run(["mount", "-o", "remount", &self.path]);
        let entry = self.entry();
        match (self.state, &entry) {
            (MountState::Present, Some(entry)) => {
                let table = fstab::set(&now.table, entry);
                self.write(&mut plan, &now.table, table);
            }
            (MountState::Mounted, Some(entry)) => {
                let table = fstab::set(&now.table, entry);
                let rewritten = table != now.table;
                if !now.directory {
                    plan.steps.push(run(["mkdir", "-p", &self.path]));
                }
                self.write(&mut plan, &now.table, table);
                match &now.mounted {
                    None => turn(&mut plan, vec![self.mount()], "not mounted", "mounted"),
                    Some((source, _))
                        if source.starts_with('/') && entry.source.starts_with('/') && rewritten =>
                    {
                        // The same device may go by another name (a link, a mapper path), so the host decides.
                        let text = format!(
                            "if [ \"$(readlink -f -- {a})\" = \"$(readlink -f -- {b})\" ]; then mount -o remount {p}; else umount {p} && {m}; fi",
                            a = quote(source),
                            b = quote(&entry.source),
                            p = quote(&self.path),
                            m = self.fstab.as_ref().map_or_else(
                                || format!("mount {}", quote(&self.path)),
                                |t| format!("mount -T {} {}", quote(t.as_str()), quote(&self.path))
                            ),
                        );
                        turn(&mut plan, vec![script(&text)], "mounted otherwise", "mounted");
                    }
                    Some(_) if rewritten => {
                        turn(&mut plan, vec![remount], "mounted otherwise", "mounted");
                    }
                    Some(_) => {}
                }
            }
            (MountState::Ephemeral, Some(entry)) => match &now.mounted {
                None => {
                    let mut steps = Vec::new();
                    if !now.directory {
                        steps.push(run(["mkdir", "-p", &self.path]));
                    }
                    steps.push(run([
                        "mount",
                        "-t",
                        &entry.kind,
                        "-o",
                        &entry.options,
                        &entry.source,
                        &self.path,
                    ]));
                    turn(&mut plan, steps, "not mounted", "mounted");
                }
                Some((source, kind)) if *source == entry.source && *kind == entry.kind => {}
                Some((source, kind)) => {
                    return Err(ModuleError::failed(format!(
                        "{} is already a mount point, of {source} ({kind})",
                        self.path
                    ))
                    .hint("unmount it first, or declare what is there"));
                }
            },
            (MountState::Remounted, _) => {
                let step = if now.mounted.is_some() { remount } else { self.mount() };
                turn(&mut plan, vec![step], "mounted", "mounted anew");
            }
            (state, _) => {
                if state != MountState::AbsentFromFstab && now.mounted.is_some() {
                    turn(&mut plan, vec![run(["umount", &self.path])], "mounted", "not mounted");
                }
                if state != MountState::Unmounted {
                    let table = fstab::unset(&now.table, &self.path, self.src.as_deref());
                    self.write(&mut plan, &now.table, table);
                }
                if state == MountState::Absent && now.directory {
                    // Only an empty folder: what lay under the mount is the user's.
                    let text = format!("rmdir -- {} 2>/dev/null || :", quote(&self.path));
                    if now.mounted.is_some() || !plan.steps.is_empty() {
                        plan.steps.push(script(&text));
                    }
                }
            }
        }
        Ok(plan)
    }

    fn result(&self, _now: &Mounts) -> Map {
        let mut result = Map::new();
        result.insert("name".into(), json!(self.path));
        result.insert("fstab".into(), json!(self.table_path()));
        if let Some(entry) = self.entry() {
            for (key, value) in [
                ("src", entry.source),
                ("fstype", entry.kind),
                ("opts", entry.options),
                ("dump", entry.dump),
                ("passno", entry.pass),
            ] {
                if !(key == "opts" && self.opts_no_log) {
                    result.insert(key.into(), json!(value));
                }
            }
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use super::super::sections::testing::{answer, args, told};
    use super::*;

    #[test]
    fn plans() {
        let base = json!({"path": "/d", "src": "/dev/v", "fstype": "xfs", "fstab": "/t"});
        let with = |state: &str| {
            let mut value = base.clone();
            value["state"] = json!(state);
            value
        };
        let line = "/dev/v /d xfs defaults 0 0";
        let on = "/dev/v /d xfs rw 0 0";
        for (state, table, mounts, directory, expected) in [
            ("mounted", line, on, "1", vec![]),
            ("present", line, "", "", vec![]),
            (
                "mounted",
                "",
                "",
                "",
                vec!["mkdir -p /d", "write /t: \n/dev/v /d xfs defaults 0 0\n", "mount -T /t /d"],
            ),
            ("unmounted", line, on, "1", vec!["umount /d"]),
            ("unmounted", line, "", "1", vec![]),
            (
                "absent",
                line,
                on,
                "1",
                vec!["umount /d", "write /t: ", "script: rmdir -- /d 2>/dev/null || :"],
            ),
            ("absent", "", "", "1", vec![]),
            ("ephemeral", "", "", "1", vec!["mount -t xfs -o defaults /dev/v /d"]),
            ("ephemeral", "", on, "1", vec![]),
            ("remounted", line, on, "1", vec!["mount -o remount /d"]),
        ] {
            let mount: Mount = args(with(state));
            mount.validate().expect("valid");
            let now = mount
                .read(&answer(&[("table", table), ("mounts", mounts), ("directory", directory)]))
                .expect("readable");
            assert_eq!(
                told(&mount.plan(&now, RunMode::default()).expect("a plan").steps),
                expected,
                "{state}"
            );
        }
    }

    #[test]
    fn a_state_that_needs_a_source_says_so() {
        let mount: Mount = args(json!({"path": "/d", "state": "mounted"}));
        assert_eq!(mount.validate().expect_err("incomplete").to_string(), "mounted needs src and fstype");
    }
}
