//! Policies that make tags immutable: of an organization and of a repository they are alike.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::call::{Call, plan};
use crate::args::{Presence, require};
use crate::http::percent;
use crate::quay::Verb;
use crate::value::{Map, Value};
use crate::{ModuleError, Plan};

/// What the feature is called in config.yaml.
pub(super) const FEATURE: &str = "FEATURE_IMMUTABLE_TAGS";

/// Quay's limit of a pattern.
const LONGEST: usize = 256;

/// Which tags are immutable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Behavior {
    /// Those that match.
    MatchingImmutable,
    /// All others.
    NotMatchingImmutable,
}

/// A policy that Quay has.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Policy {
    uuid: String,
    tag_pattern: String,
    #[serde(default = "crate::args::yes")]
    tag_pattern_matches: bool,
}

impl Policy {
    /// The policies in an answer.
    pub(super) fn all(policies: Vec<Value>) -> Vec<Self> {
        policies.into_iter().filter_map(|policy| serde_json::from_value(policy).ok()).collect()
    }
}

/// What is asked for.
pub(super) struct Wanted<'a> {
    pub(super) pattern: &'a str,
    pub(super) new: Option<&'a str>,
    pub(super) behavior: Option<Behavior>,
}

impl Wanted<'_> {
    pub(super) fn validate(&self) -> Result<(), ModuleError> {
        for (name, pattern) in [("tag_pattern", Some(self.pattern)), ("new_tag_pattern", self.new)] {
            let holds = pattern.is_none_or(|p| !p.trim().is_empty() && p.len() <= LONGEST);
            require(holds, format!("{name}: Quay wants 1 to {LONGEST} characters"))?;
        }
        Ok(())
    }

    /// The policy by its pattern, and the one that has the new pattern already.
    fn find<'p>(&self, now: &'p [Policy]) -> (Option<&'p Policy>, Option<&'p Policy>) {
        let by = |pattern: &str| now.iter().find(|policy| policy.tag_pattern == pattern);
        (by(self.pattern), self.new.filter(|new| *new != self.pattern).and_then(by))
    }

    /// What brings the policies that are there to what is asked for; `path` ends with a slash.
    pub(super) fn plan(
        &self,
        title: &str,
        path: &str,
        state: Presence,
        now: &[Policy],
    ) -> Result<Plan<Call>, ModuleError> {
        let (old, new) = self.find(now);
        if let (Some(_), Some(new)) = (old, new) {
            return Err(ModuleError::failed(format!(
                "new_tag_pattern: another policy has {}",
                new.tag_pattern
            ))
            .hint("remove one of the two first"));
        }
        let found = new.or(old);
        let one = |policy: &Policy| format!("{path}{}", percent(&policy.uuid, false));
        let before =
            found.map_or_else(|| "absent".to_owned(), |f| line(&f.tag_pattern, f.tag_pattern_matches));
        if state == Presence::Absent {
            let removal = |f| Call::new(Verb::Delete, one(f), None, format!("removing the {title}"));
            return Ok(plan(title, found.map(removal).into_iter().collect(), &before, "absent"));
        }
        let pattern = self.new.unwrap_or(self.pattern);
        let matches = match self.behavior {
            Some(behavior) => behavior == Behavior::MatchingImmutable,
            None => found.is_none_or(|f| f.tag_pattern_matches),
        };
        let body = json!({"tagPattern": pattern, "tagPatternMatches": matches});
        let call = match found {
            None => Call::new(Verb::Post, path, Some(body), format!("making the {title}")),
            Some(f) if f.tag_pattern == pattern && f.tag_pattern_matches == matches => {
                return Ok(Plan::default());
            }
            Some(f) => Call::new(Verb::Put, one(f), Some(body), format!("changing the {title}")),
        };
        Ok(plan(title, vec![call], &before, &line(pattern, matches)))
    }

    /// What `register` sees.
    pub(super) fn result(&self, after: &[Policy]) -> Map {
        let (old, new) = self.find(after);
        Map::from_iter([("id".to_owned(), json!(new.or(old).map(|policy| &policy.uuid)))])
    }
}

fn line(pattern: &str, matches: bool) -> String {
    let which = if matches { "tags that match" } else { "tags that do not match" };
    format!("{which} {pattern}")
}
