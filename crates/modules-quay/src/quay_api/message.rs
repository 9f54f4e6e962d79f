use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::call::{Call, plan, with_quay};
use super::place::{Place, list, shown};
use super::search::Search;
use crate::args::{Presence, require};
use crate::http::percent;
use crate::quay::Verb;
use crate::value::Map;
use crate::{ModuleError, Plan, Recorded, Resource, RunMode, TaskContext, state_of};

with_quay! {
    /// A message that Quay's pages show to everybody (the message of the day); only a superuser may set one.
    pub(super) struct QuayMessage {
        content: Option<String>,
        /// `info` unless the message says something else already.
        severity: Option<Severity>,
        /// `plain` unless the message says something else already.
        #[serde(alias = "media_type")]
        format: Option<Format>,
        /// The messages that match this regular expression are meant: one is changed and the others go, or all go.
        #[serde(alias = "regex")]
        regexp: Option<String>,
        /// The messages that hold this text are meant.
        search_string: Option<String>,
        /// Only messages of this severity are meant.
        search_severity: Option<Severity>,
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Severity {
    Info,
    Warning,
    Error,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Format {
    Markdown,
    Plain,
}

impl Format {
    fn media_type(self) -> &'static str {
        match self {
            Self::Markdown => "text/markdown",
            Self::Plain => "text/plain",
        }
    }
}

/// A message as Quay tells it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Found {
    uuid: String,
    content: String,
    severity: Severity,
    media_type: String,
}

impl QuayMessage {
    fn search(&self) -> Result<Search<'_>, ModuleError> {
        Search::new(self.regexp.as_deref(), self.search_string.as_deref(), self.content.as_deref())
    }

    fn meant<'f>(&self, now: &'f [Found]) -> Result<Vec<&'f Found>, ModuleError> {
        let search = self.search()?;
        let mut meant = Vec::new();
        for found in now {
            if self.search_severity.is_none_or(|severity| severity == found.severity)
                && search.finds(&found.content)?
            {
                meant.push(found);
            }
        }
        Ok(meant)
    }

    fn is_right(&self, found: &Found) -> bool {
        self.content.as_ref().is_none_or(|content| *content == found.content)
            && self.severity.is_none_or(|severity| severity == found.severity)
            && self.format.is_none_or(|format| format.media_type() == found.media_type)
    }
}

fn place() -> Place<'static> {
    Place::quay().needs("FEATURE_SUPER_USERS").list()
}

#[async_trait]
impl Resource for QuayMessage {
    const NAME: &'static str = "quay_message";
    const FQCN: &'static [&'static str] =
        &["quaylab.lab.quay_message", "infra.quay_configuration.quay_message"];
    type Observed = Vec<Found>;
    type Step = Call;

    fn validate(&self) -> Result<(), ModuleError> {
        let says_which = self.content.is_some()
            || self.regexp.is_some()
            || self.search_string.is_some()
            || self.search_severity.is_some();
        require(says_which, "say which message: content, regexp, search_string or search_severity")?;
        self.search().map(drop)
    }

    async fn observe(&self, cx: &TaskContext) -> Result<Vec<Found>, ModuleError> {
        let quay = self.quay(cx)?;
        let all = list(place().look(cx, &quay, "messages", self.state).await?, "messages");
        Ok(all.into_iter().filter_map(|found| serde_json::from_value(found).ok()).collect())
    }

    fn plan(&self, now: &Vec<Found>, _: RunMode) -> Result<Plan<Call>, ModuleError> {
        let meant = self.meant(now)?;
        // One that is right is enough, as in the collection; the API cannot change one.
        if self.state == Presence::Present && meant.iter().any(|found| self.is_right(found)) {
            return Ok(Plan::default());
        }
        let removal = |found: &&Found| {
            let path = format!("message/{}", percent(&found.uuid, false));
            Call::new(Verb::Delete, path, None, "removing a message")
        };
        let mut calls: Vec<Call> = meant.iter().map(removal).collect();
        let shown: Vec<&str> = meant.iter().map(|found| found.content.as_str()).collect();
        let before = if meant.is_empty() { "absent".to_owned() } else { shown.join("\n") };
        if self.state == Presence::Absent {
            return Ok(plan("message", calls, &before, "absent"));
        }
        let old = meant.last();
        let content = self.content.as_ref().or(old.map(|f| &f.content)).cloned().unwrap_or_default();
        let severity = self.severity.or(old.map(|f| f.severity)).unwrap_or(Severity::Info);
        let media_type = self.format.map(Format::media_type).or(old.map(|f| f.media_type.as_str()));
        let message = json!({"content": content, "severity": severity, "media_type": media_type.unwrap_or("text/plain")});
        let body = json!({"message": message});
        calls.push(Call::new(Verb::Post, "messages", Some(body), "making a message"));
        Ok(plan("message", calls, &before, &content))
    }

    async fn apply(&self, step: &Call, cx: &TaskContext) -> Result<(), ModuleError> {
        place().send(&*self.quay(cx)?, step).await.map(drop)
    }

    fn shown(step: &Call) -> String {
        shown(step)
    }

    fn result(&self, after: &Vec<Found>) -> Map {
        let is_this = |f: &&Found| self.content.as_ref().is_some_and(|c| *c == f.content) && self.is_right(f);
        let found = after.iter().find(is_this);
        Map::from_iter([("id".to_owned(), json!(found.map(|f| &f.uuid)))])
    }

    fn recorded(&self, recorded: &Recorded) -> Option<Result<Self::Observed, ModuleError>> {
        state_of(recorded)
    }
}
