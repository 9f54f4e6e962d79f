use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::call::{Call, plan, with_quay};
use super::place::{Place, shown};
use crate::args::{Presence, require};
use crate::http::percent;
use crate::quay::Verb;
use crate::value::{Map, Value};
use crate::{ModuleError, Plan, Recorded, Resource, RunMode, TaskContext, state_of};

with_quay! {
    /// How much an organization may keep (`FEATURE_QUOTA_MANAGEMENT`); only a superuser may say it.
    pub(super) struct QuayQuota {
        organization: String,
        /// Bytes, or with a unit (`1.5 TiB`, `500 MB`).
        quota: Option<String>,
        /// From this percentage of it on Quay warns; 0 takes the warning away.
        warning_pct: Option<u32>,
        /// From this percentage of it on Quay refuses pushes; 0 takes the limit away.
        reject_pct: Option<u32>,
    }
}

/// As the collection has it: limits alone make a quota that nothing reaches.
const ENDLESS: u64 = 8_000_000_000_000_000_000;

/// What happens at a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub(super) enum Kind {
    Warning,
    Reject,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Limit {
    id: u64,
    #[serde(rename = "type")]
    kind: Kind,
    #[serde(rename = "limit_percent")]
    percent: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Found {
    id: u64,
    limit_bytes: u64,
    #[serde(default)]
    limits: Vec<Limit>,
}

#[derive(Debug, PartialEq)]
pub(super) enum Task {
    Call(Call),
    /// A limit of a quota that has its number only once it is made.
    Limit(Kind, u32),
}

impl QuayQuota {
    fn path(&self) -> String {
        format!("organization/{}/quota", percent(&self.organization, false))
    }

    fn place(&self) -> Place<'_> {
        Place::namespace(&self.organization).needs("FEATURE_QUOTA_MANAGEMENT").list()
    }

    fn asked(&self) -> [(Kind, Option<u32>); 2] {
        [(Kind::Warning, self.warning_pct), (Kind::Reject, self.reject_pct)]
    }

    fn new_limit(&self, quota: u64, kind: Kind, percent: u32) -> Call {
        let body = json!({"type": kind, "threshold_percent": percent});
        let what = format!("limiting what {} keeps", self.organization);
        Call::new(Verb::Post, format!("{}/{quota}/limit", self.path()), Some(body), what)
    }

    /// What brings one limit to what is asked for.
    fn limit(&self, now: Option<&Found>, kind: Kind, asked: u32) -> Option<Task> {
        let held = now.and_then(|quota| quota.limits.iter().find(|limit| limit.kind == kind));
        let one = |quota: u64, limit: &Limit| format!("{}/{quota}/limit/{}", self.path(), limit.id);
        match (now, held) {
            (_, Some(limit)) if limit.percent == asked => None,
            (Some(quota), Some(limit)) if asked == 0 => {
                let what = format!("taking a limit from {}", self.organization);
                Some(Task::Call(Call::new(Verb::Delete, one(quota.id, limit), None, what)))
            }
            (Some(quota), Some(limit)) => {
                let body = json!({"type": kind, "threshold_percent": asked});
                let what = format!("changing a limit of {}", self.organization);
                Some(Task::Call(Call::new(Verb::Put, one(quota.id, limit), Some(body), what)))
            }
            (_, None) if asked == 0 => None,
            (Some(quota), None) => Some(Task::Call(self.new_limit(quota.id, kind, asked))),
            (None, _) => Some(Task::Limit(kind, asked)),
        }
    }
}

/// Bytes of an amount: `KiB` counts in 1024s, `KB` in thousands.
fn bytes(text: &str) -> Result<u64, ModuleError> {
    let wrong =
        || ModuleError::Arguments(format!("quota: {text:?} is no amount; write it like 500 MB or 1.5 TiB"));
    let lower = text.trim().to_ascii_lowercase();
    let digits = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = &lower[digits.len()..];
    let base: f64 = if unit.contains('i') { 1024.0 } else { 1000.0 };
    let power = match unit {
        "" | "b" => 0,
        "kib" | "kb" => 1,
        "mib" | "mb" => 2,
        "gib" | "gb" => 3,
        "tib" | "tb" => 4,
        _ => return Err(wrong()),
    };
    let number: f64 = digits.replace(' ', "").parse().map_err(|_| wrong())?;
    let amount = number * base.powi(power);
    if !(0.0..9e18).contains(&amount) {
        return Err(wrong());
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "whole bytes are wanted, and the range was looked at"
    )]
    Ok(amount as u64)
}

#[async_trait]
impl Resource for QuayQuota {
    const NAME: &'static str = "quay_quota";
    const FQCN: &'static [&'static str] = &["quaylab.lab.quay_quota", "infra.quay_configuration.quay_quota"];
    type Observed = Option<Found>;
    type Step = Task;

    fn validate(&self) -> Result<(), ModuleError> {
        for (name, percent) in [("warning_pct", self.warning_pct), ("reject_pct", self.reject_pct)] {
            require(percent.is_none_or(|p| p <= 100), format!("{name}: a percentage is between 0 and 100"))?;
        }
        self.quota.as_deref().map_or(Ok(0), bytes).map(drop)
    }

    async fn observe(&self, cx: &TaskContext) -> Result<Option<Found>, ModuleError> {
        let quay = self.quay(cx)?;
        let answer = self.place().look(cx, &quay, &self.path(), self.state).await?;
        let first = answer.and_then(|quotas| match quotas {
            Value::Array(quotas) => quotas.into_iter().next(),
            _ => None,
        });
        let read = |quota| {
            serde_json::from_value(quota)
                .map_err(|error| ModuleError::failed(format!("Quay's answer about quotas: {error}")))
        };
        first.map(read).transpose()
    }

    fn plan(&self, now: &Option<Found>, _: RunMode) -> Result<Plan<Task>, ModuleError> {
        let title = format!("quota of {}", self.organization);
        let one = |quota: &Found| format!("{}/{}", self.path(), quota.id);
        let before = now.as_ref().map_or_else(|| "absent".to_owned(), Found::lines);
        if self.state == Presence::Absent {
            let call = |q| Task::Call(Call::new(Verb::Delete, one(q), None, format!("removing the {title}")));
            return Ok(plan(&title, now.iter().map(call).collect(), &before, "absent"));
        }
        let limits = self.asked().into_iter().filter_map(|(kind, asked)| Some((kind, asked?)));
        let asked = match &self.quota {
            Some(text) => Some(bytes(text)?),
            None if now.is_none() && limits.clone().next().is_some() => Some(ENDLESS),
            None => None,
        };
        let mut tasks = Vec::new();
        if let Some(bytes) = asked.filter(|bytes| now.as_ref().is_none_or(|q| q.limit_bytes != *bytes)) {
            let body = Some(json!({"limit_bytes": bytes}));
            tasks.push(Task::Call(match now {
                None => Call::new(Verb::Post, self.path(), body, format!("making the {title}")),
                Some(quota) => Call::new(Verb::Put, one(quota), body, format!("changing the {title}")),
            }));
        }
        tasks.extend(limits.filter_map(|(kind, asked)| self.limit(now.as_ref(), kind, asked)));
        let held = |kind| now.iter().flat_map(|q| &q.limits).find(|l| l.kind == kind).map(|l| l.percent);
        let percents = self.asked().map(|(kind, asked)| (kind, asked.or_else(|| held(kind))));
        let size = asked.or(now.as_ref().map(|q| q.limit_bytes)).unwrap_or_default();
        Ok(plan(&title, tasks, &before, &lines(size, &percents)))
    }

    async fn apply(&self, step: &Task, cx: &TaskContext) -> Result<(), ModuleError> {
        let quay = self.quay(cx)?;
        let call = match step {
            Task::Call(call) => call,
            Task::Limit(kind, percent) => {
                let made = self.observe(cx).await?;
                let made = made.ok_or_else(|| ModuleError::failed("Quay does not show the quota it made"))?;
                return self.place().send(&quay, &self.new_limit(made.id, *kind, *percent)).await.map(drop);
            }
        };
        self.place().send(&quay, call).await.map(drop)
    }

    fn shown(step: &Task) -> String {
        match step {
            Task::Call(call) => shown(call),
            Task::Limit(kind, percent) => format!("{kind:?} at {percent}%"),
        }
    }

    fn result(&self, after: &Option<Found>) -> Map {
        let after = after.as_ref();
        Map::from_iter([
            ("id".to_owned(), json!(after.map(|quota| quota.id))),
            ("limit_bytes".to_owned(), json!(after.map(|quota| quota.limit_bytes))),
        ])
    }

    fn recorded(&self, recorded: &Recorded) -> Option<Result<Self::Observed, ModuleError>> {
        state_of(recorded)
    }
}

impl Found {
    fn lines(&self) -> String {
        let held = |kind| self.limits.iter().find(|l| l.kind == kind).map(|l| l.percent);
        lines(self.limit_bytes, &[Kind::Warning, Kind::Reject].map(|kind| (kind, held(kind))))
    }
}

fn lines(size: u64, limits: &[(Kind, Option<u32>)]) -> String {
    let mut text = format!("{size} bytes");
    for (kind, percent) in limits {
        if let Some(percent) = percent.filter(|percent| *percent > 0) {
            text += &format!("\n{kind:?} at {percent}%");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_have_units() {
        for (text, expected) in [
            ("100", Some(100)),
            ("1.5 TiB", Some(1_649_267_441_664)),
            ("200 MB", Some(200_000_000)),
            ("8000000 TB", Some(ENDLESS)),
            ("2 kib", Some(2048)),
            ("100 apples", None),
            ("-5", None),
            ("", None),
        ] {
            assert_eq!(bytes(text).ok(), expected, "{text}");
        }
    }
}
