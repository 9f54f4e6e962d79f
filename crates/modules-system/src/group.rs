use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::accounts::Group as Entry;
use super::sections::{Sections, probe, run};
use crate::args::Presence;
use crate::host::{Reply, Script, quote};
use crate::value::Map;
use crate::{Diff, ModuleError, Plan, RunMode, ShellResource};

/// A group of users.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "the arguments are Ansible's own flags")]
pub(super) struct Group {
    name: String,
    #[serde(default)]
    state: Presence,
    gid: Option<u32>,
    /// A system group: its number comes from the system's range.
    #[serde(default)]
    system: bool,
    #[serde(default)]
    non_unique: bool,
    /// Remove even a user's primary group.
    #[serde(default)]
    force: bool,
    /// Look at and change the local file only.
    #[serde(default)]
    local: bool,
}

impl ShellResource for Group {
    const NAME: &'static str = "group";
    const FQCN: &'static [&'static str] = &["ansible.builtin.group", "ansible.legacy.group"];
    const LOOKS_AGAIN: bool = true;
    type Observed = Option<Entry>;

    fn validate(&self) -> Result<(), ModuleError> {
        account_name(&self.name)?;
        if self.non_unique && self.gid.is_none() {
            return Err(ModuleError::Arguments("non_unique needs a gid".into()));
        }
        Ok(())
    }

    fn probe(&self) -> Script {
        let name = quote(&self.name);
        probe(&if self.local {
            format!(
                "mark group; while IFS= read -r l; do case $l in {name}:*) echo \"$l\";; esac; done </etc/group"
            )
        } else {
            format!("mark group; getent group {name}")
        })
    }

    fn read(&self, reply: &Reply) -> Result<Option<Entry>, ModuleError> {
        // getent takes a number for a name, so the name is compared.
        Ok(Sections::read(reply)?.lines("group").filter_map(Entry::parse).find(|g| g.name == self.name))
    }

    fn plan(&self, now: &Option<Entry>, _: RunMode) -> Result<Plan, ModuleError> {
        let local = |tool: &str| if self.local { format!("l{tool}") } else { tool.to_owned() };
        let mut argv = match (self.state, now) {
            (Presence::Present, None) => {
                let mut argv = vec![local("groupadd")];
                if self.system {
                    argv.push("-r".into());
                }
                argv
            }
            (Presence::Present, Some(entry)) if self.gid.is_some_and(|gid| gid != entry.gid) => {
                vec![local("groupmod")]
            }
            (Presence::Absent, Some(_)) => {
                let mut argv = vec![local("groupdel")];
                if self.force {
                    argv.push("-f".into());
                }
                argv
            }
            _ => return Ok(Plan::default()),
        };
        if let Some(gid) = self.gid.filter(|_| self.state == Presence::Present) {
            argv.extend(["-g".into(), gid.to_string()]);
            if self.non_unique {
                argv.push("-o".into());
            }
        }
        argv.push(self.name.clone());
        let show = |gid: Option<u32>| gid.map_or("absent\n".to_owned(), |gid| format!("gid {gid}\n"));
        let after = match self.state {
            Presence::Absent => "absent\n".to_owned(),
            Presence::Present => self.gid.map_or("present\n".to_owned(), |gid| format!("gid {gid}\n")),
        };
        let diff = Diff::new(&format!("group {}", self.name), show(now.as_ref().map(|g| g.gid)), after);
        Ok(Plan::new(vec![run(argv)], vec![diff]))
    }

    fn result(&self, now: &Option<Entry>) -> Map {
        let mut result = Map::new();
        result.insert("name".into(), json!(self.name));
        result.insert("state".into(), json!(if now.is_some() { "present" } else { "absent" }));
        result.insert("system".into(), json!(self.system));
        if let Some(entry) = now {
            result.insert("gid".into(), json!(entry.gid));
        }
        result
    }
}

/// Refuses what the account tools would take for an option or would not take at all.
pub(super) fn account_name(name: &str) -> Result<(), ModuleError> {
    let odd = |c: char| c.is_whitespace() || c.is_control() || ":,/'\"\\*?[".contains(c);
    if name.is_empty() || name.starts_with('-') || name.contains(odd) {
        return Err(ModuleError::Arguments(format!("{name:?} cannot be the name of an account")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::sections::testing::{answer, args, told};
    use super::*;

    #[test]
    fn plans() {
        for (arguments, line, expected) in [
            (json!({"name": "g"}), "g:x:50:", vec![]),
            (json!({"name": "g", "system": true}), "", vec!["groupadd -r g"]),
            (json!({"name": "g", "gid": "7", "non_unique": true}), "g:x:50:", vec!["groupmod -g 7 -o g"]),
            (json!({"name": "g", "state": "absent"}), "g:x:50:", vec!["groupdel g"]),
            (json!({"name": "g", "state": "absent"}), "", vec![]),
        ] {
            let group: Group = args(arguments.clone());
            let now = group.read(&answer(&[("group", line)])).expect("readable");
            assert_eq!(
                told(&group.plan(&now, RunMode::default()).expect("a plan").steps),
                expected,
                "{arguments}"
            );
        }
    }

    #[test]
    fn names_are_checked() {
        for name in ["-g", "a:b", "", "a b", "../x"] {
            assert!(account_name(name).is_err(), "{name:?}");
        }
    }
}
