use std::collections::BTreeMap;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::call::{Call, look, plan, text, with_quay};
use super::permission::{Kind, Role};
use super::place::Place;
use crate::args::Presence;
use crate::http::percent;
use crate::quay::Verb;
use crate::value::{Map, Value};
use crate::{ModuleError, Plan, Recorded, Resource, RunMode, TaskContext, state_of};

with_quay! {
    /// A repository of images: who sees it, and who may do what with it.
    pub(super) struct QuayRepository {
        /// `NAMESPACE/NAME`, the namespace an organization or a user.
        name: String,
        /// A new one is private unless this says otherwise.
        visibility: Option<Visibility>,
        description: Option<String>,
        #[serde(alias = "permissions")]
        perms: Option<Vec<Permission>>,
        /// Keep permissions that are not named.
        #[serde(default = "crate::args::yes")]
        append: bool,
        /// What may be done with it: everything, only reading, or what its mirror does (`FEATURE_REPO_MIRROR`).
        repo_state: Option<RepoState>,
        /// Whether it is among the favourites of who asks.
        star: Option<bool>,
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Visibility {
    Public,
    Private,
}

impl Visibility {
    fn word(self) -> &'static str {
        if self == Self::Public { "public" } else { "private" }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
enum RepoState {
    #[serde(rename = "NORMAL")]
    Normal,
    #[serde(rename = "READ_ONLY")]
    ReadOnly,
    #[serde(rename = "MIRROR")]
    Mirror,
}

impl RepoState {
    fn word(self) -> &'static str {
        match self {
            Self::Normal => "NORMAL",
            Self::ReadOnly => "READ_ONLY",
            Self::Mirror => "MIRROR",
        }
    }
}

/// What somebody may do with a repository.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Permission {
    /// A user, a team, or a robot (`organization+robot`).
    name: String,
    #[serde(default, rename = "type")]
    kind: Kind,
    #[serde(default)]
    role: Role,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct Found {
    public: bool,
    description: Option<String>,
    /// By `user/NAME` or `team/NAME`, the role.
    permissions: BTreeMap<String, String>,
    /// Who writes here as the mirror's robot, which Quay lets in by itself.
    mirror: Option<String>,
    state: Option<String>,
    starred: bool,
}

/// What brings it about.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Step {
    Call(Call),
    /// Quay gives a new repository permissions of its own, so that what has to be given and taken is known when it is there.
    Permissions,
}

/// How the API names whose permission it is; robots are users there.
fn holder(permission: &Permission) -> String {
    format!("{}/{}", permission.kind.word(), permission.name)
}

impl QuayRepository {
    fn path(&self) -> String {
        format!("repository/{}", percent(&self.name, true))
    }

    fn grants(&self, now: &BTreeMap<String, String>, mirror: Option<&str>) -> Vec<Call> {
        let Some(asked) = &self.perms else { return Vec::new() };
        let path = |holder: &str| format!("{}/permissions/{}", self.path(), percent(holder, true));
        let given = asked.iter().filter(|p| now.get(&holder(p)).map(String::as_str) != Some(p.role.word()));
        let given = given.map(|permission| {
            let body = json!({"role": permission.role.word()});
            let what = format!("letting {} {} {}", permission.name, permission.role.word(), self.name);
            Call::new(Verb::Put, path(&holder(permission)), Some(body), what)
        });
        let stays = |name: &str| mirror == Some(name) || asked.iter().any(|p| holder(p) == name);
        let taken = now.keys().filter(|name| !self.append && !stays(name));
        let taken = taken.map(|name| {
            Call::new(Verb::Delete, path(name), None, format!("taking {name}'s permission of {}", self.name))
        });
        given.chain(taken).collect()
    }

    fn starring(&self, star: bool) -> Call {
        let (namespace, name) = self.name.split_once('/').unwrap_or(("", &self.name));
        if star {
            let body = json!({"namespace": namespace, "repository": name});
            Call::new(Verb::Post, "user/starred", Some(body), format!("starring {}", self.name))
        } else {
            let path = format!("user/starred/{}", percent(&self.name, true));
            Call::new(Verb::Delete, path, None, format!("taking the star of {}", self.name))
        }
    }

    fn lines(&self, found: &Found) -> String {
        let mut lines = vec![format!("visibility: {}", if found.public { "public" } else { "private" })];
        if self.description.is_some() {
            lines.push(format!("description: {}", found.description.as_deref().unwrap_or_default()));
        }
        if self.repo_state.is_some() {
            lines.push(format!("state: {}", found.state.as_deref().unwrap_or("NORMAL")));
        }
        if self.star.is_some() {
            lines.push(format!("starred: {}", found.starred));
        }
        lines.extend(found.permissions.iter().map(|(name, role)| format!("{name}: {role}")));
        lines.join("\n")
    }

    /// What would be found after all is done.
    fn wanted(&self, now: &Found) -> Found {
        let mut permissions = now.permissions.clone();
        permissions
            .retain(|name, _| self.append || self.perms.is_none() || now.mirror.as_ref() == Some(name));
        permissions.extend(self.perms.iter().flatten().map(|p| (holder(p), p.role.word().to_owned())));
        Found {
            public: self.visibility.map_or(now.public, |v| v == Visibility::Public),
            description: self.description.clone().or_else(|| now.description.clone()),
            permissions,
            mirror: now.mirror.clone(),
            state: self.repo_state.map(|state| state.word().to_owned()).or_else(|| now.state.clone()),
            starred: self.star.unwrap_or(now.starred),
        }
    }

    /// Who may do what now, and the robot of its mirror.
    async fn held(&self, cx: &TaskContext, is_mirror: bool) -> Result<Held, ModuleError> {
        let quay = self.quay(cx)?;
        let mut permissions = BTreeMap::new();
        for kind in ["user", "team"] {
            let answer = look(cx, &quay, &format!("{}/permissions/{kind}/", self.path())).await?;
            let held = answer.as_ref().and_then(|a| a.get("permissions")).and_then(Value::as_object);
            for (name, permission) in held.into_iter().flatten() {
                permissions.insert(format!("{kind}/{name}"), text(permission, "role").unwrap_or_default());
            }
        }
        let mirror = if is_mirror && !self.append {
            look(cx, &quay, &format!("{}/mirror", self.path())).await?
        } else {
            None
        };
        let robot = mirror.and_then(|mirror| text(&mirror, "robot_username"));
        Ok((permissions, robot.map(|robot| format!("user/{robot}"))))
    }
}

/// Permissions, and the holder that the mirror brought.
type Held = (BTreeMap<String, String>, Option<String>);

#[async_trait]
impl Resource for QuayRepository {
    const NAME: &'static str = "quay_repository";
    const FQCN: &'static [&'static str] =
        &["quaylab.lab.quay_repository", "infra.quay_configuration.quay_repository"];
    type Observed = Option<Found>;
    type Step = Step;

    fn validate(&self) -> Result<(), ModuleError> {
        match self.name.split_once('/') {
            Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() => Ok(()),
            _ => Err(ModuleError::Arguments(format!("name {:?} is not NAMESPACE/NAME", self.name))),
        }
    }

    async fn observe(&self, cx: &TaskContext) -> Result<Option<Found>, ModuleError> {
        let quay = self.quay(cx)?;
        let namespace = self.name.split('/').next().unwrap_or_default();
        let looked = Place::namespace(namespace).look(cx, &quay, &self.path(), self.state).await?;
        let Some(repository) = looked else { return Ok(None) };
        let state = text(&repository, "state");
        let wanted = self.perms.is_some() && self.state == Presence::Present;
        let (permissions, mirror) =
            if wanted { self.held(cx, state.as_deref() == Some("MIRROR")).await? } else { Held::default() };
        let says = |name: &str| repository.get(name).and_then(Value::as_bool).unwrap_or(false);
        Ok(Some(Found {
            public: says("is_public"),
            description: text(&repository, "description"),
            permissions,
            mirror,
            state,
            starred: says("is_starred"),
        }))
    }

    fn plan(&self, now: &Option<Found>, _: RunMode) -> Result<Plan<Step>, ModuleError> {
        let title = format!("repository {}", self.name);
        let none = Found::default();
        let found = now.as_ref().unwrap_or(&none);
        let mut calls = Vec::new();
        match (self.state, now) {
            (Presence::Absent, _) => {
                let what = format!("removing the repository {}", self.name);
                let call = now.as_ref().map(|_| Step::Call(Call::new(Verb::Delete, self.path(), None, what)));
                return Ok(plan(&title, call.into_iter().collect(), "present", "absent"));
            }
            (Presence::Present, None) => {
                let (namespace, name) = self.name.split_once('/').unwrap_or(("", &self.name));
                let body = json!({
                    "namespace": namespace,
                    "repository": name,
                    "visibility": self.visibility.unwrap_or(Visibility::Private).word(),
                    "description": self.description.clone().unwrap_or_default(),
                    "repo_kind": "image",
                });
                calls.push(Call::new(
                    Verb::Post,
                    "repository",
                    Some(body),
                    format!("making the repository {}", self.name),
                ));
            }
            (Presence::Present, Some(found)) => {
                if let Some(description) =
                    self.description.as_ref().filter(|d| found.description.as_deref().unwrap_or("") != **d)
                {
                    let body = json!({"description": description});
                    calls.push(Call::new(
                        Verb::Put,
                        self.path(),
                        Some(body),
                        format!("describing {}", self.name),
                    ));
                }
                if let Some(visibility) =
                    self.visibility.filter(|v| (*v == Visibility::Public) != found.public)
                {
                    let body = json!({"visibility": visibility.word()});
                    let path = format!("{}/changevisibility", self.path());
                    calls.push(Call::new(
                        Verb::Post,
                        path,
                        Some(body),
                        format!("making {} {}", self.name, visibility.word()),
                    ));
                }
            }
        }
        if let Some(state) =
            self.repo_state.filter(|state| found.state.as_deref().unwrap_or("NORMAL") != state.word())
        {
            let what = format!("{} becomes {}", self.name, state.word());
            let body = json!({"state": state.word()});
            calls.push(Call::new(Verb::Put, format!("{}/changestate", self.path()), Some(body), what));
        }
        if let Some(star) = self.star.filter(|star| *star != found.starred) {
            calls.push(self.starring(star));
        }
        let mut steps: Vec<Step> = Vec::new();
        match now {
            None => {
                steps.extend(calls.into_iter().map(Step::Call));
                steps.extend(self.perms.as_ref().map(|_| Step::Permissions));
            }
            Some(found) => {
                calls.extend(self.grants(&found.permissions, found.mirror.as_deref()));
                steps.extend(calls.into_iter().map(Step::Call));
            }
        }
        let before = now.as_ref().map_or_else(|| "absent".to_owned(), |found| self.lines(found));
        Ok(plan(&title, steps, &before, &self.lines(&self.wanted(found))))
    }

    async fn apply(&self, step: &Step, cx: &TaskContext) -> Result<(), ModuleError> {
        let quay = self.quay(cx)?;
        match step {
            Step::Call(call) => call.send(&quay).await.map(drop),
            Step::Permissions => {
                let (held, mirror) = self.held(cx, self.repo_state == Some(RepoState::Mirror)).await?;
                for call in self.grants(&held, mirror.as_deref()) {
                    call.send(&quay).await?;
                }
                Ok(())
            }
        }
    }

    fn result(&self, after: &Option<Found>) -> Map {
        let public = after.as_ref().map(|f| f.public);
        Map::from_iter([
            ("name".to_owned(), json!(self.name)),
            ("exists".to_owned(), json!(after.is_some())),
            ("is_public".to_owned(), json!(public)),
        ])
    }

    fn recorded(&self, recorded: &Recorded) -> Option<Result<Self::Observed, ModuleError>> {
        state_of(recorded)
    }
}
