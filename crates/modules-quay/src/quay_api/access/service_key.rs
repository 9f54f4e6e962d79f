use std::sync::OnceLock;

use async_trait::async_trait;
use jiff::Timestamp;
use jiff::fmt::rfc2822;
use serde::Deserialize;
use serde_json::json;

use super::call::{Call, plan, text, with_quay};
use super::place::{Place, list, shown};
use crate::args::{Presence, require};
use crate::host::Secret;
use crate::http::percent;
use crate::quay::Verb;
use crate::value::{Map, Value};
use crate::{ModuleError, Plan, Recorded, Resource, RunMode, TaskContext, state_of};

with_quay! {
    /// A key with which a service (Clair, a mirror's worker) shows Quay who it is; only a superuser may make one. When it
    /// is made, `register` holds its private part, which Quay shows once: give the task `no_log`.
    pub(super) struct QuayServiceKey {
        /// What people call it.
        name: String,
        /// Who uses it, in small letters, digits and `_`; needed with `state: present`.
        service: Option<String>,
        /// Until when it is good (`2030-01-01T00:00:00Z`); an empty text is for ever, which a new key is anyhow.
        expiration: Option<String>,
        /// Why it was approved; Quay keeps that of a new key.
        notes: Option<String>,
        #[serde(skip)]
        made: OnceLock<Secret>,
    }
}

/// A key as Quay tells it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct Found {
    kid: String,
    #[serde(default)]
    name: Option<String>,
    service: String,
    /// Seconds since 1970.
    #[serde(default)]
    expires: Option<i64>,
    #[serde(default)]
    approved: bool,
}

const KEYS: &str = "superuser/keys";

fn place() -> Place<'static> {
    Place::quay().needs("FEATURE_SUPER_USERS").list()
}

fn one(found: &Found) -> String {
    format!("{KEYS}/{}", percent(&found.kid, false))
}

/// Quay writes dates as mail does.
fn seconds(date: &str) -> Option<i64> {
    let zoned = rfc2822::parse(&date.replace("GMT", "+0000")).ok();
    zoned.map(|z| z.timestamp()).or_else(|| date.parse::<Timestamp>().ok()).map(Timestamp::as_second)
}

impl Found {
    fn read(key: &Value) -> Option<Self> {
        Some(Self {
            kid: text(key, "kid")?,
            name: text(key, "name"),
            service: text(key, "service")?,
            expires: text(key, "expiration_date").as_deref().and_then(seconds),
            approved: key.get("approval").is_some_and(|approval| !approval.is_null()),
        })
    }
}

impl QuayServiceKey {
    /// The moment that is asked for: none where nothing is said of it.
    #[expect(clippy::option_option, reason = "nothing is said, no end is said, or a moment")]
    fn asked(&self) -> Result<Option<Option<i64>>, ModuleError> {
        let Some(text) = self.expiration.as_deref() else { return Ok(None) };
        if text.is_empty() {
            return Ok(Some(None));
        }
        let moment = text.parse::<Timestamp>().map_err(|error| {
            ModuleError::Arguments(format!("expiration: {text:?} is no moment ({error})"))
                .hint("write it like 2030-01-01T00:00:00Z")
        })?;
        Ok(Some(Some(moment.as_second())))
    }
}

fn shown_moment(seconds: Option<i64>) -> String {
    let moment = seconds.and_then(|seconds| Timestamp::from_second(seconds).ok());
    moment.map_or_else(|| "for ever".into(), |moment| format!("until {moment}"))
}

#[async_trait]
impl Resource for QuayServiceKey {
    const NAME: &'static str = "quay_service_key";
    const FQCN: &'static [&'static str] =
        &["quaylab.lab.quay_service_key", "infra.quay_configuration.quay_service_key"];
    type Observed = Vec<Found>;
    type Step = Call;

    fn validate(&self) -> Result<(), ModuleError> {
        require(!self.name.trim().is_empty(), "name: a key needs one")?;
        match &self.service {
            None => {
                require(self.state == Presence::Absent, "service is needed with state=present")?;
            }
            Some(service) => {
                let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
                let holds = !service.is_empty() && service.chars().all(good);
                require(holds, format!("service: {service:?} is more than small letters, digits and _"))?;
            }
        }
        self.asked().map(drop)
    }

    async fn observe(&self, cx: &TaskContext) -> Result<Vec<Found>, ModuleError> {
        let quay = self.quay(cx)?;
        let all = list(place().look(cx, &quay, KEYS, self.state).await?, "keys");
        let is_this = |found: &Found| {
            found.name.as_ref() == Some(&self.name)
                && self.service.as_ref().is_none_or(|service| *service == found.service)
        };
        Ok(all.iter().filter_map(Found::read).filter(is_this).collect())
    }

    fn plan(&self, now: &Vec<Found>, _: RunMode) -> Result<Plan<Call>, ModuleError> {
        let title = format!("service key {}", self.name);
        if self.state == Presence::Absent {
            let removal = |f: &Found| Call::new(Verb::Delete, one(f), None, format!("removing the {title}"));
            return Ok(plan(&title, now.iter().map(removal).collect(), "present", "absent"));
        }
        let asked = self.asked()?;
        let Some(found) = now.first() else {
            let expiration = asked.flatten();
            let mut body = json!({"service": self.service, "name": self.name, "expiration": expiration});
            if let Some(notes) = &self.notes {
                body["notes"] = json!(notes);
            }
            let call = Call::new(Verb::Post, KEYS, Some(body), format!("making the {title}"));
            return Ok(plan(&title, vec![call], "absent", &shown_moment(expiration)));
        };
        let mut calls = Vec::new();
        let (mut before, mut after) = (Vec::new(), Vec::new());
        if let Some(expiration) = asked.filter(|asked| *asked != found.expires) {
            let body = json!({"expiration": expiration});
            calls.push(Call::new(Verb::Put, one(found), Some(body), format!("changing the {title}")));
            before.push(shown_moment(found.expires));
            after.push(shown_moment(expiration));
        }
        if !found.approved {
            let path = format!("superuser/approvedkeys/{}", percent(&found.kid, false));
            let body = json!({"notes": self.notes.as_deref().unwrap_or_default()});
            calls.push(Call::new(Verb::Post, path, Some(body), format!("approving the {title}")));
            before.push("not approved".into());
            after.push("approved".into());
        }
        Ok(plan(&title, calls, &before.join("\n"), &after.join("\n")))
    }

    async fn apply(&self, step: &Call, cx: &TaskContext) -> Result<(), ModuleError> {
        let answer = place().send(&*self.quay(cx)?, step).await?;
        if let Some(key) = text(&answer, "private_key") {
            // A second one in the same task is not made.
            self.made.get_or_init(|| Secret(key));
        }
        Ok(())
    }

    fn shown(step: &Call) -> String {
        shown(step)
    }

    fn result(&self, after: &Vec<Found>) -> Map {
        let found = after.first();
        let mut told = Map::from_iter([
            ("name".to_owned(), json!(self.name)),
            ("kid".to_owned(), json!(found.map(|f| &f.kid))),
            ("expires".to_owned(), json!(found.and_then(|f| f.expires))),
        ]);
        if let Some(key) = self.made.get() {
            told.insert("private_key".into(), json!(key.0));
        }
        told
    }

    fn recorded(&self, recorded: &Recorded) -> Option<Result<Self::Observed, ModuleError>> {
        state_of(recorded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read_as_quay_writes_them() {
        for date in
            ["Tue, 01 Jan 2030 00:00:00 GMT", "Tue, 01 Jan 2030 00:00:00 -0000", "2030-01-01T00:00:00Z"]
        {
            assert_eq!(seconds(date), Some(1_893_456_000), "{date}");
        }
        assert_eq!(seconds("soon"), None);
    }
}
