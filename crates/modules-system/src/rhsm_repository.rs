use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::rhsm::FIND;
use super::sections::{Sections, probe, run};
use super::setup::matches;
use crate::host::{Reply, Script};
use crate::value::Map;
use crate::{Diff, Guess, ModuleError, Plan, RunMode, ShellResource};

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum RepositoryState {
    #[default]
    #[serde(alias = "present")]
    Enabled,
    #[serde(alias = "absent")]
    Disabled,
}

/// Which of the subscription's repositories are enabled.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RhsmRepository {
    /// Repository ids; shell patterns are taken.
    name: Vec<String>,
    #[serde(default)]
    state: RepositoryState,
    /// Disable every repository that is not named.
    #[serde(default)]
    purge: bool,
}

#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Repository {
    id: String,
    name: String,
    url: String,
    enabled: bool,
}

fn parse(text: &str) -> Vec<Repository> {
    let mut all = Vec::new();
    let mut current = Repository::default();
    for line in text.lines() {
        let Some((key, value)) = line.split_once(':') else { continue };
        let value = value.trim();
        match key.trim() {
            "Repo ID" => current = Repository { id: value.into(), ..Repository::default() },
            "Repo Name" => value.clone_into(&mut current.name),
            "Repo URL" => value.clone_into(&mut current.url),
            "Enabled" => {
                current.enabled = value == "1";
                all.push(std::mem::take(&mut current));
            }
            _ => {}
        }
    }
    all
}

impl ShellResource for RhsmRepository {
    const NAME: &'static str = "rhsm_repository";
    const FQCN: &'static [&'static str] = &["community.general.rhsm_repository"];
    const GUESS: Guess = Guess::Never;
    const LOOKS_AGAIN: bool = true;
    type Observed = Vec<Repository>;

    fn validate(&self) -> Result<(), ModuleError> {
        if self.name.is_empty() {
            return Err(ModuleError::Arguments("name is empty".into()));
        }
        Ok(())
    }

    fn probe(&self) -> Script {
        probe(&format!(
            "{FIND}o=$(subscription-manager repos --list 2>&1) || {{ printf '%s\\n' \"$o\" >&2; exit 1; }}
mark repos; printf '%s\\n' \"$o\""
        ))
    }

    fn read(&self, reply: &Reply) -> Result<Vec<Repository>, ModuleError> {
        let repositories = parse(Sections::read(reply)?.raw("repos"));
        if repositories.is_empty() {
            return Err(ModuleError::failed(
                "This system has no repositories available through subscriptions",
            )
            .hint("is the host registered (redhat_subscription), and a pool attached?"));
        }
        Ok(repositories)
    }

    fn plan(&self, now: &Vec<Repository>, _: RunMode) -> Result<Plan, ModuleError> {
        let named = |id: &str| self.name.iter().any(|pattern| matches(pattern, id));
        for pattern in &self.name {
            if !now.iter().any(|r| matches(pattern, &r.id)) {
                let ids: Vec<&str> = now.iter().map(|r| r.id.as_str()).collect();
                let near = crate::diag::closest(pattern, ids.iter().copied());
                return Err(ModuleError::failed(format!("{pattern} is not a valid repository ID")).hint(
                    near.map_or_else(
                        || format!("the subscription has {} repositories", ids.len()),
                        |n| format!("did you mean {n}?"),
                    ),
                ));
            }
        }
        let wanted = self.state == RepositoryState::Enabled;
        let mut argv = vec!["subscription-manager".to_owned(), "repos".to_owned()];
        let (mut before, mut after) = (String::new(), String::new());
        for repository in now {
            let target = if named(&repository.id) { wanted } else { repository.enabled && !self.purge };
            if target != repository.enabled {
                argv.push(format!("--{}={}", if target { "enable" } else { "disable" }, repository.id));
                let word = |on: bool| if on { "enabled" } else { "disabled" };
                before.extend([&repository.id, " ", word(repository.enabled), "\n"]);
                after.extend([&repository.id, " ", word(target), "\n"]);
            }
        }
        if before.is_empty() {
            return Ok(Plan::default());
        }
        Ok(Plan::new(vec![run(argv)], vec![Diff::new("RHSM repositories", before, after)]))
    }

    fn result(&self, now: &Vec<Repository>) -> Map {
        let list: Vec<_> = now
            .iter()
            .map(|r| json!({"id": r.id, "name": r.name, "url": r.url, "enabled": r.enabled}))
            .collect();
        [("repositories".to_owned(), json!(list))].into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::sections::testing::{answer, args, told};
    use super::*;

    #[test]
    fn plans() {
        let list = "+--+\n   Available Repositories\nRepo ID:   a-rpms\nRepo Name: A: all\nRepo URL:  https://x/a\nEnabled:   1\n\n\
                    Repo ID: b-rpms\nRepo Name: B\nRepo URL: https://x/b\nEnabled: 0\n";
        for (arguments, expected) in [
            (json!({"name": "a-rpms"}), Some(vec![])),
            (json!({"name": "b-rpms"}), Some(vec!["subscription-manager repos --enable=b-rpms"])),
            (
                json!({"name": "*", "state": "disabled"}),
                Some(vec!["subscription-manager repos --disable=a-rpms"]),
            ),
            (
                json!({"name": "b-rpms", "purge": true}),
                Some(vec!["subscription-manager repos --disable=a-rpms --enable=b-rpms"]),
            ),
            (json!({"name": "c-rpms"}), None),
        ] {
            let module: RhsmRepository = args(arguments.clone());
            let now = module.read(&answer(&[("repos", list)])).expect("readable");
            let steps = module.plan(&now, RunMode::default()).ok().map(|p| told(&p.steps));
            let expected = expected.map(|e| e.iter().map(|s: &&str| (*s).to_owned()).collect::<Vec<_>>());
            assert_eq!(steps, expected, "{arguments}");
        }
    }
}
