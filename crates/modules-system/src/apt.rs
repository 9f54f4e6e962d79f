use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::sections::{Sections, probe, run};
use crate::host::{Reply, Script, Step, quote};
use crate::value::Map;
use crate::{Diff, Guess, ModuleError, Plan, RemotePath, RunMode, ShellResource, Upkeep};

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum AptState {
    #[default]
    #[serde(alias = "installed")]
    Present,
    #[serde(alias = "removed")]
    Absent,
    Latest,
    BuildDep,
    Fixed,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Upgrade {
    Dist,
    Full,
    Safe,
    Yes,
    #[default]
    No,
}

/// Packages of Debian and its descendants.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[expect(clippy::struct_excessive_bools, reason = "the arguments are Ansible's own flags")]
pub(super) struct Apt {
    /// Packages, each with `=version` where one is wanted.
    #[serde(alias = "package", alias = "pkg")]
    pub(super) name: Vec<String>,
    pub(super) state: AptState,
    /// Refresh the package lists first.
    #[serde(alias = "update-cache")]
    pub(super) update_cache: bool,
    /// Refresh only lists that are older than this many seconds; asks for `update_cache`.
    pub(super) cache_valid_time: Option<u64>,
    /// Install what the packages recommend; without it apt's own setting holds.
    #[serde(alias = "install-recommends")]
    pub(super) install_recommends: Option<bool>,
    /// Remove configuration files as well.
    pub(super) purge: bool,
    #[serde(alias = "default-release")]
    pub(super) default_release: Option<String>,
    /// Accept unauthenticated packages and downgrades; dangerous.
    pub(super) force: bool,
    #[serde(alias = "allow-unauthenticated")]
    pub(super) allow_unauthenticated: bool,
    #[serde(alias = "allow-downgrade", alias = "allow_downgrades", alias = "allow-downgrades")]
    pub(super) allow_downgrade: bool,
    pub(super) allow_change_held_packages: bool,
    pub(super) only_upgrade: bool,
    pub(super) upgrade: Upgrade,
    /// Options for dpkg, without the leading dashes; default `force-confdef,force-confold`.
    pub(super) dpkg_options: Option<String>,
    /// A package file on the target.
    pub(super) deb: Option<RemotePath>,
    pub(super) autoremove: bool,
    pub(super) autoclean: bool,
    pub(super) clean: bool,
    /// Accepted for compatibility: apt-get is what is used.
    pub(super) force_apt_get: bool,
    /// How many seconds to wait for another apt to finish; default 60.
    pub(super) lock_timeout: Option<u32>,
    /// How often a failed refresh of the lists is tried again; default 5.
    pub(super) update_cache_retries: Option<u32>,
}

/// What is on the host of the packages that were named.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Packages {
    /// Those that the operation is about: missing ones, or those to remove.
    concerned: Vec<String>,
    /// What apt says that it would do, an `Inst` or `Remv` line each.
    would: Vec<String>,
    /// What apt says when it cannot do it.
    refusal: Option<String>,
    /// Seconds since 1970.
    time: u64,
    lists_updated: u64,
}

impl Apt {
    fn verb(&self) -> Vec<String> {
        let words: &[&str] = if self.deb.is_some() {
            &["install"]
        } else {
            match (self.name.is_empty(), self.state, self.upgrade) {
                (true, _, Upgrade::Dist | Upgrade::Full) => &["dist-upgrade"],
                (true, _, Upgrade::Safe | Upgrade::Yes) => &["upgrade", "--with-new-pkgs"],
                (true, AptState::Fixed, Upgrade::No) => &["--fix-broken", "install"],
                (true, _, Upgrade::No) if self.autoremove => &["autoremove"],
                (false, AptState::Absent, _) if self.purge => &["purge"],
                (false, AptState::Absent, _) => &["remove"],
                (false, AptState::BuildDep, _) => &["build-dep"],
                (false, _, _) => &["install"],
                (true, _, _) => &[],
            }
        };
        words.iter().map(|w| (*w).to_owned()).collect()
    }

    /// apt-get with everything but the packages; empty when only upkeep was asked for.
    fn command(&self, lock_wait: bool) -> Vec<String> {
        let verb = self.verb();
        if verb.is_empty() {
            return Vec::new();
        }
        let mut argv: Vec<String> = vec!["apt-get".into(), "-q".into(), "-y".into()];
        for option in self.dpkg_options.as_deref().unwrap_or("force-confdef,force-confold").split(',') {
            argv.extend(["-o".into(), format!("Dpkg::Options::=--{}", option.trim())]);
        }
        if lock_wait {
            argv.extend(["-o".into(), format!("DPkg::Lock::Timeout={}", self.lock_timeout.unwrap_or(60))]);
        }
        let release = self.default_release.iter().flat_map(|r| ["-t".to_owned(), r.clone()]);
        argv.extend(release);
        for (wanted, flag) in [
            (self.install_recommends == Some(true), "--install-recommends"),
            (self.install_recommends == Some(false), "--no-install-recommends"),
            (self.only_upgrade, "--only-upgrade"),
            (self.allow_unauthenticated || self.force, "--allow-unauthenticated"),
            (self.allow_downgrade || self.force, "--allow-downgrades"),
            (self.allow_change_held_packages, "--allow-change-held-packages"),
            (self.autoremove, "--auto-remove"),
            (self.purge && self.autoremove, "--purge"),
        ] {
            if wanted {
                argv.push(flag.into());
            }
        }
        argv.extend(verb);
        argv
    }

    fn named(&self) -> Vec<String> {
        self.deb.as_ref().map_or_else(|| self.name.clone(), |path| vec![path.to_string()])
    }

    fn wants_fresh_lists(&self) -> bool {
        self.update_cache || self.cache_valid_time.is_some()
    }

    fn lists_are_stale(&self, now: &Packages) -> bool {
        self.wants_fresh_lists() && now.time >= now.lists_updated + self.cache_valid_time.unwrap_or(0)
    }

    /// The part of the probe that is about packages, for `package` as well.
    pub(super) fn probe_text(&self) -> String {
        let names = self.named().iter().map(|n| quote(n)).collect::<Vec<_>>().join(" ");
        let command = self.command(false);
        let mut text = String::from(
            "mark time; date +%s
mark lists; stat -c %Y /var/lib/apt/periodic/update-success-stamp 2>/dev/null || stat -c %Y /var/lib/apt/lists 2>/dev/null || echo 0
",
        );
        if command.is_empty() {
            return text;
        }
        let filter = match (self.deb.is_some(), self.state) {
            // What is there with the wanted version needs no question to apt, which is slow.
            (false, AptState::Present) => {
                "case $n in *=*) [ \"$s\" = \"installed ${n#*=}\" ] && continue;; *) case $s in installed*) continue;; esac; provided && continue;; esac"
            }
            (false, AptState::Absent) if self.purge => "case $s in ''|not-installed*) continue;; esac",
            (false, AptState::Absent) => "case $s in ''|not-installed*|config-files*) continue;; esac",
            _ => ":",
        };
        let simulate: Vec<String> = command
            .iter()
            .map(|w| quote(w))
            .enumerate()
            .flat_map(|(i, w)| if i == 0 { vec![w, "--simulate".to_owned()] } else { vec![w] })
            .collect();
        text.extend([format!(
            "provided() {{ # a virtual package counts when something installed provides it
  [ -n \"$provides\" ] || provides=$(dpkg-query -W -f='${{db:Status-Status}} ${{Provides}},\\n' 2>/dev/null | sed -n 's/^installed \\(..*\\),$/, \\1,/p')
  case $provides in *\", $n,\"*|*\", $n (\"*) return 0;; esac
  return 1
}}
provides=
set --
for n in {names}; do
  s=$(dpkg-query -W -f='${{db:Status-Status}} ${{Version}}\\n' -- \"${{n%%=*}}\" 2>/dev/null | sort | head -n 1)
  {filter}
  set -- \"$@\" \"$n\"
done
mark concerned; [ $# -eq 0 ] || printf '%s\\n' \"$@\"
{guard}
  e=$(mktemp) || exit 1
  mark would; {simulate} \"$@\" 2>\"$e\" </dev/null; r=$?
  [ $r -eq 0 ] || {{ mark refusal; cat \"$e\"; }}
  rm -f \"$e\"
fi
",
            guard = if self.named().is_empty() { "if :; then" } else { "if [ $# -gt 0 ]; then" },
            simulate = simulate.join(" "),
        )]);
        text
    }

    pub(super) fn read_sections(sections: &Sections) -> Packages {
        Packages {
            concerned: sections.lines("concerned").map(str::to_owned).collect(),
            would: sections
                .lines("would")
                .filter(|l| ["Inst ", "Remv ", "Purg "].iter().any(|verb| l.starts_with(verb)))
                .map(str::to_owned)
                .collect(),
            refusal: sections.has("refusal").then(|| sections.text("refusal").to_owned()),
            time: sections.text("time").parse().unwrap_or(0),
            lists_updated: sections.text("lists").parse().unwrap_or(0),
        }
    }
}

fn apt_environment() -> Vec<(String, String)> {
    [("DEBIAN_FRONTEND", "noninteractive"), ("DEBIAN_PRIORITY", "critical"), ("LC_ALL", "C")]
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .to_vec()
}

impl ShellResource for Apt {
    const NAME: &'static str = "apt";
    const FQCN: &'static [&'static str] = &["ansible.builtin.apt", "ansible.legacy.apt"];
    const GUESS: Guess = Guess::Dear;
    const LOOKS_AGAIN: bool = true;
    type Observed = Packages;

    fn validate(&self) -> Result<(), ModuleError> {
        if let Some(odd) =
            self.name.iter().find(|n| n.contains(['*', '?', '[']) || n.starts_with('-') || n.is_empty())
        {
            return Err(ModuleError::Arguments(format!("{odd:?} is not a package's name"))
                .hint("patterns are not taken: name each package"));
        }
        if self.deb.is_some() && !self.name.is_empty() || !self.name.is_empty() && self.upgrade != Upgrade::No
        {
            return Err(ModuleError::Arguments("name, deb and upgrade exclude each other".into()));
        }
        if self.verb().is_empty() && !self.wants_fresh_lists() && !self.autoclean && !self.clean {
            return Err(ModuleError::Arguments(
                "nothing is asked for: give name, deb, upgrade, autoremove, autoclean, clean or update_cache"
                    .into(),
            ));
        }
        Ok(())
    }

    fn probe(&self) -> Script {
        probe(&format!(
            "has apt-get || {{ echo 'this host has no apt-get' >&2; exit 127; }}\n{}",
            self.probe_text()
        ))
    }

    fn read(&self, reply: &Reply) -> Result<Packages, ModuleError> {
        Ok(Self::read_sections(&Sections::read(reply)?))
    }

    fn plan(&self, now: &Packages, _: RunMode) -> Result<Plan, ModuleError> {
        let mut plan = Plan::default();
        let command = self.command(true);
        if let Some(refusal) = &now.refusal
            && !self.lists_are_stale(now)
        {
            let lost = refusal.contains("Unable to locate") || refusal.contains("no installation candidate");
            let error = ModuleError::failed(format!(
                "apt-get {} cannot be done: {}",
                self.verb().join(" "),
                refusal.replace("E: ", "").replace('\n', "; ")
            ));
            return Err(if lost {
                error.hint("check the name, or refresh the package lists with update_cache: true")
            } else {
                error
            });
        }
        // With stale lists a refusal is not the last word: in check mode the change is foreseen.
        let removes = self.state == AptState::Absent && !now.concerned.is_empty();
        if !command.is_empty() && (!now.would.is_empty() || now.refusal.is_some() || removes) {
            let mut argv = command;
            // A package's name cannot start with a dash (see validate), so no `--` is needed.
            argv.extend(now.concerned.iter().cloned());
            plan.steps.push(Step::Run { argv, stdin: Vec::new(), environment: apt_environment() });
            let after = if now.would.is_empty() { &now.concerned } else { &now.would };
            plan.diff.push(Diff::new("packages", "", after.join("\n") + "\n"));
        }
        for (wanted, verb) in [(self.autoclean, "autoclean"), (self.clean, "clean")] {
            if wanted {
                plan.steps.push(run(["apt-get", "-q", "-y", verb]));
            }
        }
        Ok(plan)
    }

    fn result(&self, now: &Packages) -> Map {
        [("cache_update_time".to_owned(), json!(now.lists_updated))].into_iter().collect()
    }

    fn upkeep(&self, now: &Packages) -> Upkeep {
        let mut steps = Vec::new();
        if self.lists_are_stale(now) {
            // The lists' lock is not covered by DPkg::Lock::Timeout, so a refused refresh is tried again.
            let text = format!(
                "i=0
until apt-get -q -o APT::Update::Error-Mode=any update; do
  i=$((i + 1)); [ $i -gt {retries} ] && exit 1
  sleep $((i * 2))
done",
                retries = self.update_cache_retries.unwrap_or(5)
            );
            // Through Run, so that the task's environment (a proxy) reaches it.
            steps.push(Step::Run {
                argv: vec!["sh".into(), "-c".into(), text],
                stdin: Vec::new(),
                environment: apt_environment(),
            });
        }
        let result = Map::from_iter([("cache_updated".to_owned(), json!(!steps.is_empty()))]);
        Upkeep { steps, is_change: self.verb().is_empty(), result }
    }
}

#[cfg(test)]
mod tests {
    use super::super::sections::testing::{answer, args, told};
    use super::*;

    #[test]
    fn plans_follow_what_apt_would_do() {
        for (arguments, observed, expected) in [
            (json!({"name": "curl"}), vec![("concerned", "")], vec![]),
            (
                json!({"name": ["curl", "jq=1.6"], "install_recommends": false}),
                vec![("concerned", "jq=1.6"), ("would", "Reading...\nInst jq (1.6 Debian)\nConf jq")],
                vec![
                    "apt-get -q -y -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold -o DPkg::Lock::Timeout=60 --no-install-recommends install jq=1.6",
                ],
            ),
            // A virtual package that something installed provides.
            (
                json!({"name": "awk"}),
                vec![("concerned", "awk"), ("would", "Note, selecting 'mawk' instead of 'awk'")],
                vec![],
            ),
            (
                json!({"name": "curl", "state": "absent", "purge": true, "dpkg_options": "force-all"}),
                vec![("concerned", "curl")],
                vec!["apt-get -q -y -o Dpkg::Options::=--force-all -o DPkg::Lock::Timeout=60 purge curl"],
            ),
            (
                json!({"name": "curl", "state": "latest"}),
                vec![("concerned", "curl"), ("would", "0 upgraded")],
                vec![],
            ),
            // Lists are old and apt does not know the package yet: check mode foresees the change.
            (
                json!({"name": "new", "cache_valid_time": 10, "lock_timeout": 5}),
                vec![
                    ("concerned", "new"),
                    ("refusal", "E: Unable to locate"),
                    ("time", "100"),
                    ("lists", "1"),
                ],
                vec![
                    "apt-get -q -y -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold -o DPkg::Lock::Timeout=5 install new",
                ],
            ),
        ] {
            let apt: Apt = args(arguments.clone());
            apt.validate().expect("valid");
            let now = apt.read(&answer(&observed)).expect("readable");
            assert_eq!(
                told(&apt.plan(&now, RunMode::default()).expect("a plan").steps),
                expected,
                "{arguments}"
            );
        }
    }

    #[test]
    fn lists_are_refreshed_when_they_are_old() {
        for (arguments, stale) in [
            (json!({"name": "x", "update_cache": true}), true),
            (json!({"name": "x", "cache_valid_time": 50}), true),
            (json!({"name": "x", "cache_valid_time": 500}), false),
            (json!({"name": "x"}), false),
        ] {
            let apt: Apt = args(arguments.clone());
            let now = apt.read(&answer(&[("time", "100"), ("lists", "20")])).expect("readable");
            assert_eq!(!apt.upkeep(&now).steps.is_empty(), stale, "{arguments}");
        }
    }

    #[test]
    fn an_unknown_package_is_refused_with_a_hint() {
        let apt: Apt = args(json!({"name": "nosuch"}));
        let now = apt
            .read(&answer(&[("concerned", "nosuch"), ("refusal", "E: Unable to locate package nosuch")]))
            .expect("readable");
        let error = apt.plan(&now, RunMode::default()).expect_err("refused");
        assert_eq!(error.to_string(), "apt-get install cannot be done: Unable to locate package nosuch");
    }
}
