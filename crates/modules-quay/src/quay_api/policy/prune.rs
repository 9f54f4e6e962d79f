//! Policies by which Quay removes tags itself: of an organization and of a repository they are alike.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::call::{Call, plan};
use crate::args::Presence;
use crate::http::percent;
use crate::quay::Verb;
use crate::value::{Map, Value, plain};
use crate::{ModuleError, Plan};

/// What the feature is called in config.yaml.
pub(super) const FEATURE: &str = "FEATURE_AUTO_PRUNE";

/// What decides which tags stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Method {
    /// The newest ones, `value` of them.
    Tags,
    /// Those that are no older than `value`.
    Date,
}

/// A policy that Quay has.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Policy {
    uuid: String,
    method: String,
    value: Value,
    #[serde(default)]
    tag_pattern: Option<String>,
    #[serde(default = "crate::args::yes")]
    tag_pattern_matches: bool,
}

/// A policy that is asked for.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Wanted {
    method: &'static str,
    value: Value,
    tag_pattern: Option<String>,
    tag_pattern_matches: bool,
}

impl Wanted {
    pub(super) fn new(
        method: Method,
        value: &str,
        tag_pattern: Option<&str>,
        tag_pattern_matches: bool,
    ) -> Result<Self, ModuleError> {
        let value = match method {
            Method::Tags => match value.trim().parse::<u32>() {
                Ok(count @ 1..) => json!(count),
                _ => return Err(wrong(value, "how many tags stay, 1 or more")),
            },
            Method::Date => {
                let period: String = value.split_whitespace().collect();
                let digits = period.trim_end_matches(['s', 'm', 'h', 'd', 'w']);
                let is_number =
                    digits.parse::<u64>().is_ok() && !digits.starts_with('0') && !digits.starts_with('+');
                if !is_number || digits.len() + 1 != period.len() {
                    return Err(wrong(value, "how old a tag may become; write it like 7d or 2w"));
                }
                json!(period)
            }
        };
        // Quay keeps no answer to whether tags match nothing.
        let tag_pattern = tag_pattern.filter(|pattern| !pattern.is_empty()).map(str::to_owned);
        let tag_pattern_matches = tag_pattern_matches || tag_pattern.is_none();
        let method = match method {
            Method::Tags => "number_of_tags",
            Method::Date => "creation_date",
        };
        Ok(Self { method, value, tag_pattern, tag_pattern_matches })
    }

    fn is(&self, policy: &Policy) -> bool {
        policy.method == self.method
            && policy.value == self.value
            && policy.tag_pattern == self.tag_pattern
            && policy.tag_pattern_matches == self.tag_pattern_matches
    }

    fn body(&self) -> Value {
        let mut body = json!({"method": self.method, "value": self.value});
        if let Some(pattern) = &self.tag_pattern {
            body["tagPattern"] = json!(pattern);
            body["tagPatternMatches"] = json!(self.tag_pattern_matches);
        }
        body
    }

    /// What brings the policies that are there to what is asked for; `path` ends with a slash.
    pub(super) fn plan(
        &self,
        title: &str,
        path: &str,
        append: bool,
        state: Presence,
        now: &[Policy],
    ) -> Plan<Call> {
        let found = now.iter().find(|policy| self.is(policy));
        let removal = |policy: &Policy| {
            let what = format!("removing a policy of the {title}");
            Call::new(Verb::Delete, format!("{path}{}", percent(&policy.uuid, false)), None, what)
        };
        let own = line(self.method, &self.value, self.tag_pattern.as_deref(), self.tag_pattern_matches);
        if state == Presence::Absent {
            return plan(title, found.map(removal).into_iter().collect(), &own, "absent");
        }
        // Versions that know one policy alone want the old one gone first.
        let others = now.iter().filter(|policy| !append && found.is_none_or(|f| f.uuid != policy.uuid));
        let mut calls: Vec<Call> = others.map(removal).collect();
        if found.is_none() {
            calls.push(Call::new(Verb::Post, path, Some(self.body()), format!("making the {title}")));
        }
        let lines = |policies: &[Policy]| {
            let shown: Vec<String> = policies.iter().map(Policy::line).collect();
            if shown.is_empty() { "absent".to_owned() } else { shown.join("\n") }
        };
        let after = match (append, found, now) {
            (true, None, [_, ..]) => format!("{}\n{own}", lines(now)),
            _ => own,
        };
        plan(title, calls, &lines(now), &after)
    }

    /// What `register` sees.
    pub(super) fn result(&self, after: &[Policy]) -> Map {
        let found = after.iter().find(|policy| self.is(policy));
        Map::from_iter([("id".to_owned(), json!(found.map(|policy| &policy.uuid)))])
    }
}

impl Policy {
    /// The policies in an answer.
    pub(super) fn all(policies: Vec<Value>) -> Vec<Self> {
        policies.into_iter().filter_map(|policy| serde_json::from_value(policy).ok()).collect()
    }

    fn line(&self) -> String {
        line(&self.method, &self.value, self.tag_pattern.as_deref(), self.tag_pattern_matches)
    }
}

fn line(method: &str, value: &Value, pattern: Option<&str>, matches: bool) -> String {
    let tags = match (pattern, matches) {
        (None, _) => String::new(),
        (Some(pattern), true) => format!(", tags that match {pattern}"),
        (Some(pattern), false) => format!(", tags that do not match {pattern}"),
    };
    format!("{method}: {}{tags}", plain(value))
}

fn wrong(value: &str, what: &str) -> ModuleError {
    ModuleError::Arguments(format!("value: {value:?} does not say {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_counts_or_periods() {
        let read = |method, value| Wanted::new(method, value, None, false).map(|wanted| wanted.value).ok();
        assert_eq!(read(Method::Tags, "5"), Some(json!(5)));
        assert_eq!(read(Method::Date, " 7 w"), Some(json!("7w")));
        for (method, value) in
            [(Method::Tags, "0"), (Method::Tags, "5d"), (Method::Date, "7"), (Method::Date, "0d")]
        {
            assert_eq!(read(method, value), None, "{value}");
        }
        for value in ["", "w", "7dw", "+7d", "7 years"] {
            assert_eq!(read(Method::Date, value), None, "{value}");
        }
    }
}
