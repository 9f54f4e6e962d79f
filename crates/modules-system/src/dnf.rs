use schemars::JsonSchema;
use serde::Deserialize;

use super::sections::{Sections, probe};
use crate::host::{Reply, Script, Step, quote};
use crate::{Diff, Guess, ModuleError, Plan, RemotePath, RunMode, ShellResource, Upkeep};

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum DnfState {
    #[default]
    #[serde(alias = "installed")]
    Present,
    #[serde(alias = "removed")]
    Absent,
    Latest,
}

/// Packages of Fedora, RHEL and their descendants, with whichever of dnf and yum the host has.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[expect(clippy::struct_excessive_bools, reason = "the arguments are Ansible's own flags")]
pub(super) struct Dnf {
    /// Packages, capabilities, `@groups`, files or URLs; `*` with `state: latest` upgrades everything.
    #[serde(alias = "pkg")]
    pub(super) name: Vec<String>,
    pub(super) state: DnfState,
    pub(super) enablerepo: Vec<String>,
    pub(super) disablerepo: Vec<String>,
    pub(super) exclude: Vec<String>,
    pub(super) conf_file: Option<RemotePath>,
    pub(super) disable_gpg_check: bool,
    pub(super) installroot: Option<RemotePath>,
    pub(super) releasever: Option<String>,
    /// Remove what nothing needs any more.
    pub(super) autoremove: bool,
    pub(super) skip_broken: bool,
    /// Refresh the metadata first.
    #[serde(alias = "expire-cache")]
    pub(super) update_cache: bool,
    pub(super) update_only: bool,
    pub(super) security: bool,
    pub(super) bugfix: bool,
    pub(super) install_weak_deps: Option<bool>,
    pub(super) allow_downgrade: bool,
    pub(super) allowerasing: bool,
    pub(super) nobest: bool,
    pub(super) cacheonly: bool,
    /// Accepted for compatibility; rpm waits for its lock by itself.
    pub(super) lock_timeout: Option<u32>,
    /// Accepted for compatibility; the host's own program is used.
    pub(super) use_backend: Option<String>,
}

/// What is on the host of the packages that were named.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Rpms {
    program: String,
    installed: Vec<String>,
    missing: Vec<String>,
    /// Names of which only the package manager can say whether there is anything to do, and whether there is.
    pending: Vec<String>,
    refusal: Option<String>,
}

impl Dnf {
    fn options(&self) -> Vec<String> {
        let mut options = Vec::new();
        let valued = [
            ("--enablerepo", Some(self.enablerepo.join(","))),
            ("--disablerepo", Some(self.disablerepo.join(","))),
            ("--exclude", Some(self.exclude.join(","))),
            ("--config", self.conf_file.as_ref().map(ToString::to_string)),
            ("--installroot", self.installroot.as_ref().map(ToString::to_string).filter(|r| r != "/")),
            ("--releasever", self.releasever.clone()),
            (
                "--setopt",
                (self.install_weak_deps == Some(false)).then(|| "install_weak_deps=False".to_owned()),
            ),
        ];
        for (name, value) in valued {
            if let Some(value) = value.filter(|v| !v.is_empty()) {
                options.push(format!("{name}={value}"));
            }
        }
        for (wanted, flag) in [
            (self.disable_gpg_check, "--nogpgcheck"),
            (self.skip_broken, "--skip-broken"),
            (self.security, "--security"),
            (self.bugfix, "--bugfix"),
            (self.allowerasing, "--allowerasing"),
            (self.nobest, "--nobest"),
            (self.cacheonly, "--cacheonly"),
        ] {
            if wanted {
                options.push(flag.into());
            }
        }
        options
    }

    fn root(&self) -> String {
        self.installroot
            .as_ref()
            .filter(|r| r.as_str() != "/")
            .map_or_else(String::new, |root| format!("--root {}", quote(root.as_str())))
    }

    fn upgrades_all(&self) -> bool {
        self.state == DnfState::Latest && self.name == ["*"]
    }

    /// The part of the probe that is about packages, for `package` as well.
    pub(super) fn probe_text(&self) -> String {
        let names = self.name.iter().map(|n| quote(n)).collect::<Vec<_>>().join(" ");
        let options = self.options().iter().map(|o| quote(o)).collect::<Vec<_>>().join(" ");
        let verb = match self.state {
            DnfState::Latest => "upgrade",
            DnfState::Present => "install",
            DnfState::Absent => "remove",
        };
        // Groups, files and URLs are nothing that rpm's database can be asked about.
        let mut text = format!(
            "for p in dnf5 dnf dnf-3 yum; do has $p && break; done
has $p || {{ echo 'this host has neither dnf nor yum' >&2; exit 127; }}
mark program; echo $p
rpmq() {{ rpm {root} -q \"$@\" >/dev/null 2>&1; }}
i= m= a=
say() {{ mark \"$1\"; shift; [ $# -eq 0 ] || printf '%s\\n' \"$@\"; }}
ask() {{ # exit 1 and a transaction: something to do; exit 0: nothing
  o=$($p {options} --assumeno \"$@\" 2>&1 </dev/null) && return 1
  case $o in *'Operation aborted'*|*'Exiting on user command'*|*'Transaction Summary'*) return 0;; esac
  mark refusal; printf '%s\\n' \"$o\"; return 0
}}
mark states
",
            root = self.root(),
        );
        if self.upgrades_all() {
            text.push_str("ask upgrade && say pending '*'\n");
        } else if self.name.is_empty() {
            if self.autoremove {
                text.push_str("ask autoremove && say pending ''\n");
            }
        } else {
            let installed = match self.state {
                DnfState::Absent => "rpmq \"$n\"",
                DnfState::Latest | DnfState::Present => "rpmq \"$n\" || rpmq --whatprovides \"$n\"",
            };
            text.extend([format!(
                "for n in {names}; do
  case $n in @*|*://*|*.rpm) printf 'ask %s\\n' \"$n\"; continue;; esac
  if {installed}; then printf 'installed %s\\n' \"$n\"; else printf 'missing %s\\n' \"$n\"; fi
done
"
            )]);
            let asked: Vec<String> = self
                .name
                .iter()
                .filter(|n| {
                    self.state == DnfState::Latest
                        || n.starts_with('@')
                        || n.contains("://")
                        || n.to_ascii_lowercase().ends_with(".rpm")
                })
                .map(|n| quote(n))
                .collect();
            for name in asked {
                text.extend([match self.state {
                    // Only what is there can be upgraded; what is missing is installed anyway.
                    DnfState::Latest => {
                        format!("if rpmq {name} && ask {verb} {name}; then say pending-{name} {name}; fi\n")
                    }
                    _ => format!("if ask {verb} {name}; then say pending-{name} {name}; fi\n"),
                }]);
            }
        }
        text
    }

    pub(super) fn read_sections(&self, sections: &Sections) -> Rpms {
        let mut rpms = Rpms { program: sections.text("program").to_owned(), ..Rpms::default() };
        for line in sections.lines("states") {
            match line.split_once(' ') {
                Some(("installed", name)) => rpms.installed.push(name.to_owned()),
                Some(("missing", name)) => rpms.missing.push(name.to_owned()),
                _ => {}
            }
        }
        if sections.has("pending") {
            rpms.pending.push(sections.text("pending").to_owned());
        }
        rpms.pending.extend(self.name.iter().filter(|n| sections.has(&format!("pending-{n}"))).cloned());
        rpms.refusal = sections.has("refusal").then(|| sections.text("refusal").to_owned());
        rpms
    }

    fn command(&self, now: &Rpms, verb: &str, names: &[String]) -> Step {
        let mut argv = vec![now.program.clone(), "-y".into()];
        argv.extend(self.options());
        argv.push(verb.into());
        argv.extend(names.iter().filter(|n| !n.is_empty() && *n != "*").cloned());
        Step::Run { argv, stdin: Vec::new(), environment: vec![("LC_ALL".into(), "C.UTF-8".into())] }
    }
}

impl ShellResource for Dnf {
    const NAME: &'static str = "dnf";
    const FQCN: &'static [&'static str] = &[
        "ansible.builtin.dnf",
        "ansible.legacy.dnf",
        "dnf5",
        "ansible.builtin.dnf5",
        "yum",
        "ansible.builtin.yum",
        "ansible.legacy.yum",
    ];
    const GUESS: Guess = Guess::Dear;
    const LOOKS_AGAIN: bool = true;
    type Observed = Rpms;

    fn validate(&self) -> Result<(), ModuleError> {
        if let Some(odd) = self.name.iter().find(|n| n.starts_with('-') || n.is_empty()) {
            return Err(ModuleError::Arguments(format!("{odd:?} is not a package's name")));
        }
        if self.name.iter().any(|n| n.contains('*')) && !self.upgrades_all() {
            return Err(ModuleError::Arguments("patterns in package names are not taken".into())
                .hint("name each package; `*` alone with state: latest upgrades everything"));
        }
        if self.name.is_empty() && !self.autoremove && !self.update_cache {
            return Err(ModuleError::Arguments(
                "nothing is asked for: give name, autoremove or update_cache".into(),
            ));
        }
        Ok(())
    }

    fn probe(&self) -> Script {
        probe(&self.probe_text())
    }

    fn read(&self, reply: &Reply) -> Result<Rpms, ModuleError> {
        Ok(self.read_sections(&Sections::read(reply)?))
    }

    fn plan(&self, now: &Rpms, _: RunMode) -> Result<Plan, ModuleError> {
        if let Some(refusal) = &now.refusal {
            return Err(ModuleError::failed(format!("{} cannot do it: {refusal}", now.program)));
        }
        let mut plan = Plan::default();
        let mut lines = Vec::new();
        let mut act = |verb: &str, names: &[String]| {
            if !names.is_empty() {
                plan.steps.push(self.command(now, verb, names));
                lines.push(format!("{verb} {}", names.join(" ")));
            }
        };
        match self.state {
            _ if self.name.is_empty() => act("autoremove", &now.pending),
            DnfState::Present => {
                let names: Vec<String> = now.missing.iter().chain(&now.pending).cloned().collect();
                if !self.update_only {
                    act("install", &names);
                }
            }
            DnfState::Latest => {
                if !self.update_only {
                    act("install", &now.missing);
                }
                act("upgrade", &now.pending);
            }
            DnfState::Absent => {
                let names: Vec<String> = now.installed.iter().chain(&now.pending).cloned().collect();
                act(if self.autoremove { "autoremove" } else { "remove" }, &names);
            }
        }
        if !lines.is_empty() {
            plan.diff.push(Diff::new("packages", "", lines.join("\n") + "\n"));
        }
        plan.result.insert("results".into(), lines.into());
        plan.result.insert("rc".into(), 0.into());
        Ok(plan)
    }

    fn upkeep(&self, now: &Rpms) -> Upkeep {
        if self.update_cache { vec![self.command(now, "makecache", &[])].into() } else { Upkeep::default() }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::sections::testing::{answer, args, told};
    use super::*;

    #[test]
    fn plans_follow_what_rpm_knows() {
        for (arguments, observed, expected) in [
            (json!({"name": "jq"}), vec![("states", "installed jq")], vec![]),
            (
                json!({"name": "jq,curl", "enablerepo": "extras", "install_weak_deps": false}),
                vec![("states", "missing jq\ninstalled curl")],
                vec!["dnf -y --enablerepo=extras --setopt=install_weak_deps=False install jq"],
            ),
            (
                json!({"name": ["a", "b"], "state": "latest"}),
                vec![("states", "missing a\ninstalled b"), ("pending-b", "b")],
                vec!["dnf -y install a", "dnf -y upgrade b"],
            ),
            (
                json!({"name": "*", "state": "latest"}),
                vec![("states", ""), ("pending", "*")],
                vec!["dnf -y upgrade"],
            ),
            (json!({"name": "*", "state": "latest"}), vec![("states", "")], vec![]),
            (
                json!({"name": "jq", "state": "removed"}),
                vec![("states", "installed jq")],
                vec!["dnf -y remove jq"],
            ),
            (
                json!({"name": "@core"}),
                vec![("states", "ask @core"), ("pending-@core", "@core")],
                vec!["dnf -y install @core"],
            ),
        ] {
            let dnf: Dnf = args(arguments.clone());
            dnf.validate().expect("valid");
            let sections: Vec<_> = [("program", "dnf")].into_iter().chain(observed).collect();
            let now = dnf.read(&answer(&sections)).expect("readable");
            assert_eq!(
                told(&dnf.plan(&now, RunMode::default()).expect("a plan").steps),
                expected,
                "{arguments}"
            );
        }
    }
}
