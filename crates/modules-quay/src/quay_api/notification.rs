use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::call::{Call, plan, text, with_quay};
use super::notification_method::{Config, Method};
use super::place::{Place, list, shown, whole_name};
use super::search::Search;
use crate::args::{Presence, require};
use crate::http::percent;
use crate::quay::Verb;
use crate::value::{Map, Value};
use crate::{ModuleError, Plan, Recorded, Resource, RunMode, TaskContext, state_of};

with_quay! {
    /// Tells somebody when something happens to a repository. One of the same title that says something else is replaced:
    /// the API cannot change one.
    pub(super) struct QuayNotification {
        /// `NAMESPACE/NAME`, or `NAME` in one's own namespace; it must be there.
        repository: String,
        title: Option<String>,
        /// What must happen.
        event: Option<Event>,
        /// How it is told.
        method: Option<Method>,
        /// To whom; what it holds depends on the method.
        config: Option<Config>,
        /// With `vulnerability_found`: at this level or a worse one.
        vulnerability_level: Option<Level>,
        /// With `repo_image_expiry`: so many days before.
        #[serde(default = "week")]
        image_expiry_days: u32,
        /// The notifications whose title matches this regular expression are meant.
        #[serde(alias = "regex")]
        regexp: Option<String>,
        /// The notifications whose title holds this text are meant.
        search_string: Option<String>,
        /// Forget failures, so that it is told again.
        #[serde(default)]
        reset_failcount: bool,
        /// Send one for trial; each run does.
        #[serde(default)]
        test: bool,
    }
}

fn week() -> u32 {
    7
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Event {
    RepoPush,
    BuildFailure,
    BuildQueued,
    BuildStart,
    BuildSuccess,
    BuildCancelled,
    VulnerabilityFound,
    RepoMirrorSyncStarted,
    RepoMirrorSyncSuccess,
    RepoMirrorSyncFailed,
    RepoImageExpiry,
}

/// From the worst on; Quay takes the number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Level {
    Critical,
    High,
    Medium,
    Low,
    Negligible,
    Unknown,
}

/// A notification as Quay tells it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct Found {
    uuid: String,
    #[serde(default)]
    title: Option<String>,
    event: String,
    method: String,
    #[serde(default)]
    config: Value,
    #[serde(default)]
    event_config: Value,
    #[serde(default)]
    number_of_failures: u64,
}

#[derive(Debug, PartialEq)]
pub(super) enum Task {
    Call(Call),
    /// Tries the one that was only just made.
    TestNew,
}

fn word(event: Event) -> String {
    json!(event).as_str().unwrap_or_default().to_owned()
}

impl QuayNotification {
    fn path(&self) -> String {
        format!("repository/{}/notification/", percent(&self.repository, true))
    }

    fn one(&self, uuid: &str, what: &str) -> String {
        format!("{}{}{what}", self.path(), percent(uuid, false))
    }

    fn place(&self) -> Place<'_> {
        Place::repository(&self.repository).list()
    }

    fn search(&self) -> Result<Search<'_>, ModuleError> {
        Search::new(self.regexp.as_deref(), self.search_string.as_deref(), self.title.as_deref())
    }

    /// Those that are meant: by their title, or else by event and method.
    fn meant<'f>(&self, now: &'f [Found]) -> Result<Vec<&'f Found>, ModuleError> {
        let search = self.search()?;
        let by_title = !matches!(search, Search::Any);
        let mut meant = Vec::new();
        for found in now {
            let is_meant = if by_title {
                search.finds(found.title.as_deref().unwrap_or_default())?
            } else {
                self.event.is_none_or(|event| word(event) == found.event)
                    && self.method.is_none_or(|method| method.word() == found.method)
            };
            if is_meant {
                meant.push(found);
            }
        }
        Ok(meant)
    }

    fn event_config(&self) -> Value {
        match (self.event, self.vulnerability_level) {
            (Some(Event::VulnerabilityFound), Some(level)) => json!({"level": (level as u8).to_string()}),
            (Some(Event::RepoImageExpiry), _) => json!({"days": self.image_expiry_days}),
            _ => json!({}),
        }
    }

    /// What a new one is made of; an error says what is not told.
    fn body(&self) -> Result<Value, ModuleError> {
        let parts = [
            ("title", self.title.is_none()),
            ("event", self.event.is_none()),
            ("method", self.method.is_none()),
            ("config", self.config.is_none()),
        ];
        let missing: Vec<&str> =
            parts.iter().filter(|(_, missing)| *missing).map(|(name, _)| *name).collect();
        let (Some(method), Some(config)) = (self.method, self.config.as_ref()) else {
            return Err(absent(&missing));
        };
        if !missing.is_empty() {
            return Err(absent(&missing));
        }
        // Versions differ in how they write it.
        let event_config = self.event_config();
        Ok(json!({
            "title": self.title,
            "event": self.event,
            "method": method.word(),
            "config": config.body(method)?,
            "eventConfig": event_config,
            "event_config": event_config,
        }))
    }

    /// Whether one says what is asked for. What is not asked for may be anything.
    fn is_right(&self, found: &Found) -> Result<bool, ModuleError> {
        let (Some(event), Some(method), Some(config)) = (self.event, self.method, self.config.as_ref())
        else {
            return Ok(true);
        };
        let asked = self.event_config();
        let same_event = asked.as_object().is_none_or(|asked| {
            asked.iter().all(|(key, value)| {
                let held = found.event_config.get(key).map(crate::value::plain);
                held == Some(crate::value::plain(value))
            })
        });
        Ok(word(event) == found.event
            && method.word() == found.method
            && same_event
            && method.is_same(&config.body(method)?, &found.config))
    }
}

fn absent(missing: &[&str]) -> ModuleError {
    ModuleError::Arguments(format!("there is no such notification; to make it, give {}", missing.join(", ")))
}

#[async_trait]
impl Resource for QuayNotification {
    const NAME: &'static str = "quay_notification";
    const FQCN: &'static [&'static str] =
        &["quaylab.lab.quay_notification", "infra.quay_configuration.quay_notification"];
    type Observed = Vec<Found>;
    type Step = Task;

    fn validate(&self) -> Result<(), ModuleError> {
        let search = self.search()?;
        let says_which = !matches!(search, Search::Any) || self.event.is_some() || self.method.is_some();
        require(says_which, "say which: title, regexp, search_string, event or method")?;
        match (self.method, &self.config) {
            (Some(method), Some(config)) => config.body(method).map(drop),
            _ => Ok(()),
        }
    }

    async fn prepare(&mut self, cx: &TaskContext) -> Result<(), ModuleError> {
        self.repository = whole_name(cx, &*self.quay(cx)?, &self.repository).await?;
        Ok(())
    }

    async fn observe(&self, cx: &TaskContext) -> Result<Vec<Found>, ModuleError> {
        let quay = self.quay(cx)?;
        let all = list(self.place().look(cx, &quay, &self.path(), self.state).await?, "notifications");
        Ok(all.into_iter().filter_map(|found| serde_json::from_value(found).ok()).collect())
    }

    fn plan(&self, now: &Vec<Found>, _: RunMode) -> Result<Plan<Task>, ModuleError> {
        let title = format!("notifications of {}", self.repository);
        let meant = self.meant(now)?;
        let removal = |found: &&Found| {
            let what = format!("removing a notification of {}", self.repository);
            Task::Call(Call::new(Verb::Delete, self.one(&found.uuid, ""), None, what))
        };
        let lines: Vec<String> = meant.iter().map(|found| found.line()).collect();
        let before = if lines.is_empty() { "absent".to_owned() } else { lines.join("\n") };
        if self.state == Presence::Absent {
            return Ok(plan(&title, meant.iter().map(removal).collect(), &before, "absent"));
        }
        let is_by_title = self.regexp.is_none() && self.search_string.is_none() && self.title.is_some();
        let mut stale = Vec::new();
        for found in &meant {
            if is_by_title && !self.is_right(found)? {
                stale.push(*found);
            }
        }
        let mut tasks: Vec<Task> = stale.iter().map(removal).collect();
        let mut after = Vec::new();
        if meant.len() == stale.len() {
            let what = format!("making a notification of {}", self.repository);
            tasks.push(Task::Call(Call::new(Verb::Post, self.path(), Some(self.body()?), what)));
            let made = [self.title.clone(), self.event.map(word), self.method.map(|m| m.word().to_owned())];
            after.push(made.into_iter().flatten().collect::<Vec<_>>().join(", "));
            tasks.extend(self.test.then_some(Task::TestNew));
        }
        for found in meant.iter().filter(|found| !stale.contains(found)) {
            let mut line = found.line();
            if self.test {
                let what = format!("trying a notification of {}", self.repository);
                let path = self.one(&found.uuid, "/test");
                tasks.push(Task::Call(Call::new(Verb::Post, path, Some(json!({})), what)));
                line += ", tried";
            }
            if self.reset_failcount && found.number_of_failures > 0 {
                let what = format!("forgetting failures of a notification of {}", self.repository);
                let path = self.one(&found.uuid, "");
                tasks.push(Task::Call(Call::new(Verb::Post, path, Some(json!({})), what)));
                line += ", failures forgotten";
            }
            after.push(line);
        }
        Ok(plan(&title, tasks, &before, &after.join("\n")))
    }

    async fn apply(&self, step: &Task, cx: &TaskContext) -> Result<(), ModuleError> {
        let quay = self.quay(cx)?;
        let call = match step {
            Task::Call(call) => call,
            Task::TestNew => {
                let now = self.observe(cx).await?;
                for found in self.meant(&now)? {
                    let path = self.one(&found.uuid, "/test");
                    let call = Call::new(Verb::Post, path, Some(json!({})), "trying a notification");
                    self.place().send(&quay, &call).await?;
                }
                return Ok(());
            }
        };
        self.place().send(&quay, call).await.map(drop)
    }

    fn shown(step: &Task) -> String {
        match step {
            Task::Call(call) => shown(call),
            Task::TestNew => "try the new one".into(),
        }
    }

    fn result(&self, after: &Vec<Found>) -> Map {
        let meant = self.meant(after).unwrap_or_default();
        let ids: Vec<&str> = meant.iter().map(|found| found.uuid.as_str()).collect();
        Map::from_iter([("id".to_owned(), json!(ids.first())), ("ids".to_owned(), json!(ids))])
    }

    fn recorded(&self, recorded: &Recorded) -> Option<Result<Self::Observed, ModuleError>> {
        state_of(recorded)
    }
}

impl Found {
    fn line(&self) -> String {
        let title = self.title.as_deref().unwrap_or("without a title");
        let to = self.config.get("target").and_then(|target| text(target, "name"));
        let to = to.map_or_else(String::new, |name| format!(" to {name}"));
        format!("{title}, {}, {}{to}", self.event, self.method)
    }
}
