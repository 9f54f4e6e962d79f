//! Teams whose members a directory says: with LDAP and with OIDC it is the same but for what a group is called.

use serde::Deserialize;
use serde_json::json;

use super::call::{Call, plan, text};
use super::place::{Client, Place};
use crate::args::{Presence, require};
use crate::http::percent;
use crate::quay::Verb;
use crate::value::{Map, Value};
use crate::{ModuleError, Plan, TaskContext};

/// A team as Quay tells it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct Found {
    /// Which service teams could be filled from, for whoever may say so.
    offered: Option<String>,
    /// Which service the team is filled from.
    service: Option<String>,
    /// Which group; a superuser alone is told.
    group: Option<String>,
    /// The members that are no robots.
    people: Vec<String>,
}

/// What is asked for.
pub(super) struct Sync<'a> {
    pub(super) service: &'static str,
    /// What the group is called in Quay's settings.
    pub(super) key: &'static str,
    pub(super) organization: &'a str,
    pub(super) team: &'a str,
    /// `None` where the team is not to be filled any more.
    pub(super) group: Option<&'a str>,
    pub(super) keep_users: bool,
}

impl<'a> Sync<'a> {
    fn path(&self) -> String {
        format!("organization/{}/team/{}", percent(self.organization, false), percent(self.team, false))
    }

    pub(super) fn place(&self) -> Place<'a> {
        Place::namespace(self.organization).needs("FEATURE_TEAM_SYNCING")
    }

    fn title(&self) -> String {
        format!("team {} of {}", self.team, self.organization)
    }

    pub(super) fn validate(&self, sync: bool, has_login: bool) -> Result<(), ModuleError> {
        require(has_login, "give quay_token, or quay_username and quay_password")?;
        require(!sync || self.group.is_some(), format!("{} is needed with sync=true", self.key))
    }

    pub(super) async fn observe(
        &self,
        cx: &TaskContext,
        quay: &Client,
    ) -> Result<Option<Found>, ModuleError> {
        let state = if self.group.is_some() { Presence::Present } else { Presence::Absent };
        let path = format!("{}/members", self.path());
        let place = Place::namespace(self.organization);
        let Some(answer) = place.look(cx, quay, &path, state).await? else {
            if state == Presence::Absent || cx.mode.check {
                return Ok(None);
            }
            return Err(ModuleError::failed(format!("there is no {}", self.title()))
                .hint("make it first (quay_team)"));
        };
        let service = |key: &str| answer.get(key).and_then(|part| text(part, "service"));
        let config = answer.get("synced").and_then(|synced| synced.get("config"));
        let members = answer.get("members").and_then(Value::as_array).cloned().unwrap_or_default();
        let is_person = |member: &&Value| !member.get("is_robot").and_then(Value::as_bool).unwrap_or(false);
        Ok(Some(Found {
            offered: service("can_sync"),
            service: service("synced"),
            group: config.and_then(|config| text(config, self.key)),
            people: members.iter().filter(is_person).filter_map(|member| text(member, "name")).collect(),
        }))
    }

    pub(super) fn plan(&self, now: Option<&Found>) -> Result<Plan<Call>, ModuleError> {
        let title = self.title();
        let path = format!("{}/syncing", self.path());
        let stop = || Call::new(Verb::Delete, path.clone(), None, format!("no longer filling the {title}"));
        let none = Found::default();
        let found = now.unwrap_or(&none);
        let before = match (&found.service, &found.group) {
            (None, _) => "not synchronized".to_owned(),
            (Some(service), None) => service.clone(),
            (Some(service), Some(group)) => format!("{service}: {group}"),
        };
        let Some(group) = self.group else {
            if found.service.is_none() {
                return Ok(Plan::default());
            }
            let mut calls = vec![stop()];
            let leaving = found.people.iter().filter(|_| !self.keep_users);
            calls.extend(leaving.map(|person| {
                let path = format!("{}/members/{}", self.path(), percent(person, false));
                Call::new(Verb::Delete, path, None, format!("taking {person} out of the {title}"))
            }));
            return Ok(plan(&title, calls, &before, "not synchronized"));
        };
        let other = found.offered.as_ref().or(found.service.as_ref()).filter(|s| *s != self.service);
        if let Some(service) = other {
            return Err(ModuleError::failed(format!(
                "this Quay fills teams by {service}, not by {}",
                self.service
            ))
            .hint(format!("use quay_team_{service}")));
        }
        // Which group it is, is not told to everybody: it is taken to be the right one.
        let is_right = found.service.is_some() && found.group.as_deref().is_none_or(|held| held == group);
        if is_right {
            return Ok(Plan::default());
        }
        let mut calls: Vec<Call> = found.service.iter().map(|_| stop()).collect();
        let body = json!({self.key: group});
        calls.push(Call::new(Verb::Post, path.clone(), Some(body), format!("filling the {title}")));
        Ok(plan(&title, calls, &before, &format!("{}: {group}", self.service)))
    }

    /// What cannot be known.
    pub(super) fn warnings(&self, now: Option<&Found>) -> Vec<String> {
        let unknown = now.is_some_and(|found| found.service.is_some() && found.group.is_none());
        if unknown && self.group.is_some() {
            vec![format!("only a superuser is told from which group the {} is filled", self.title())]
        } else {
            Vec::new()
        }
    }

    /// What `register` sees.
    pub(super) fn result(&self, after: Option<&Found>) -> Map {
        let synced = after.is_some_and(|found| found.service.is_some());
        Map::from_iter([
            ("name".to_owned(), json!(self.team)),
            ("synced".to_owned(), json!(synced)),
            (self.key.to_owned(), json!(after.and_then(|found| found.group.as_ref()))),
        ])
    }
}
