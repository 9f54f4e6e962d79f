use schemars::JsonSchema;
use serde::Deserialize;

use super::apt::{Apt, AptState, Packages};
use super::dnf::{Dnf, DnfState, Rpms};
use super::sections::{Sections, probe, run};
use crate::host::{Reply, Script, quote};
use crate::value::Map;
use crate::{Diff, Guess, ModuleError, Plan, RunMode, ShellResource, Upkeep};

/// Packages, with whichever package manager the host has.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Package {
    #[serde(alias = "pkg")]
    name: Vec<String>,
    #[serde(default)]
    state: DnfState,
    /// Refresh the package lists first, where the package manager keeps some.
    #[serde(default, alias = "update-cache")]
    update_cache: bool,
    /// For apt: refresh only lists that are older than this many seconds.
    cache_valid_time: Option<u64>,
    /// Name of a package manager; default is the host's own.
    #[serde(default)]
    r#use: Backend,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Backend {
    #[default]
    Auto,
    Apt,
    Dnf,
    Dnf5,
    Yum,
    Apk,
}

/// What the host's own package manager says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    Apt(Packages),
    Rpm(Rpms),
    Apk { installed: Vec<String>, missing: Vec<String>, outdated: Vec<String> },
}

impl Package {
    fn as_apt(&self) -> Apt {
        Apt {
            name: self.name.clone(),
            state: match self.state {
                DnfState::Present => AptState::Present,
                DnfState::Absent => AptState::Absent,
                DnfState::Latest => AptState::Latest,
            },
            update_cache: self.update_cache,
            cache_valid_time: self.cache_valid_time,
            ..Apt::default()
        }
    }

    fn as_dnf(&self) -> Dnf {
        Dnf { name: self.name.clone(), state: self.state, update_cache: self.update_cache, ..Dnf::default() }
    }
}

impl ShellResource for Package {
    const NAME: &'static str = "package";
    const FQCN: &'static [&'static str] = &["ansible.builtin.package", "ansible.legacy.package"];
    const GUESS: Guess = Guess::Dear;
    const LOOKS_AGAIN: bool = true;
    type Observed = Found;

    fn validate(&self) -> Result<(), ModuleError> {
        if self.name.is_empty() {
            return Err(ModuleError::Arguments("name is empty".into()));
        }
        self.as_dnf().validate()
    }

    fn probe(&self) -> Script {
        let names = self.name.iter().map(|n| quote(n)).collect::<Vec<_>>().join(" ");
        let detect = match self.r#use {
            Backend::Auto => {
                "if has apt-get && has dpkg-query; then b=apt
elif has rpm && { has dnf5 || has dnf || has yum; }; then b=rpm
elif has apk; then b=apk
else echo 'this host has none of apt-get, dnf, yum and apk' >&2; exit 127; fi"
            }
            Backend::Apt => "b=apt",
            Backend::Dnf | Backend::Dnf5 | Backend::Yum => "b=rpm",
            Backend::Apk => "b=apk",
        };
        probe(&format!(
            "{detect}
mark backend; echo $b
case $b in
apt)
{apt}
;;
rpm)
{rpm}
;;
apk)
mark states
for n in {names}; do
  if apk info -e \"$n\" >/dev/null 2>&1; then
    printf 'installed %s\\n' \"$n\"
    [ -z \"$(apk version -q -l '<' \"$n\" 2>/dev/null)\" ] || printf 'outdated %s\\n' \"$n\"
  else printf 'missing %s\\n' \"$n\"; fi
done;;
esac",
            apt = self.as_apt().probe_text(),
            rpm = self.as_dnf().probe_text(),
        ))
    }

    fn read(&self, reply: &Reply) -> Result<Found, ModuleError> {
        let sections = Sections::read(reply)?;
        let named = |kind: &str| -> Vec<String> {
            sections
                .lines("states")
                .filter_map(|l| l.split_once(' ').filter(|(k, _)| *k == kind).map(|(_, n)| n.to_owned()))
                .collect()
        };
        match sections.text("backend") {
            "apt" => Ok(Found::Apt(Apt::read_sections(&sections))),
            "rpm" => Ok(Found::Rpm(self.as_dnf().read_sections(&sections))),
            "apk" => Ok(Found::Apk {
                installed: named("installed"),
                missing: named("missing"),
                outdated: named("outdated"),
            }),
            other => Err(ModuleError::failed(format!("the host named an unknown package manager {other:?}"))),
        }
    }

    fn plan(&self, now: &Found, mode: RunMode) -> Result<Plan, ModuleError> {
        match now {
            Found::Apt(packages) => self.as_apt().plan(packages, mode),
            Found::Rpm(rpms) => self.as_dnf().plan(rpms, mode),
            Found::Apk { installed, missing, outdated } => {
                let (verb, names): (&[&str], Vec<String>) = match self.state {
                    DnfState::Present => (&["add"], missing.clone()),
                    DnfState::Latest => {
                        (&["add", "--upgrade"], missing.iter().chain(outdated).cloned().collect())
                    }
                    DnfState::Absent => (&["del"], installed.clone()),
                };
                if names.is_empty() {
                    return Ok(Plan::default());
                }
                let argv = std::iter::once("apk".to_owned())
                    .chain(verb.iter().map(|w| (*w).to_owned()))
                    .chain(names.iter().cloned());
                let diff = Diff::new("packages", "", format!("{} {}\n", verb.join(" "), names.join(" ")));
                Ok(Plan::new(vec![run(argv)], vec![diff]))
            }
        }
    }

    fn result(&self, now: &Found) -> Map {
        match now {
            Found::Apt(packages) => self.as_apt().result(packages),
            Found::Rpm(_) | Found::Apk { .. } => Map::new(),
        }
    }

    fn upkeep(&self, now: &Found) -> Upkeep {
        match now {
            Found::Apt(packages) => self.as_apt().upkeep(packages),
            Found::Rpm(rpms) => self.as_dnf().upkeep(rpms),
            Found::Apk { .. } if self.update_cache => vec![run(["apk", "update"])].into(),
            Found::Apk { .. } => Upkeep::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::sections::testing::{answer, args, told};
    use super::*;

    #[test]
    fn the_hosts_own_manager_is_used() {
        for (arguments, observed, expected) in [
            (
                json!({"name": "jq", "state": "present"}),
                vec![("backend", "rpm"), ("program", "yum"), ("states", "missing jq")],
                vec!["yum -y install jq"],
            ),
            (
                json!({"name": ["jq", "curl"], "state": "latest"}),
                vec![("backend", "apk"), ("states", "missing jq\ninstalled curl\noutdated curl")],
                vec!["apk add --upgrade jq curl"],
            ),
            (json!({"name": "jq"}), vec![("backend", "apt"), ("concerned", "")], vec![]),
        ] {
            let package: Package = args(arguments.clone());
            let now = package.read(&answer(&observed)).expect("readable");
            assert_eq!(
                told(&package.plan(&now, RunMode::default()).expect("a plan").steps),
                expected,
                "{arguments}"
            );
        }
    }
}
