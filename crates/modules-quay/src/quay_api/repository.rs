use std::collections::BTreeMap;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::call::{Call, look, plan, text, with_quay};
use super::permission::{Kind, Role};
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
}

/// How the API names whose permission it is; robots are users there.
fn holder(permission: &Permission) -> String {
    format!("{}/{}", permission.kind.word(), permission.name)
}

impl QuayRepository {
    fn path(&self) -> String {
        format!("repository/{}", percent(&self.name, true))
    }

    fn grants(&self, now: &BTreeMap<String, String>) -> Vec<Call> {
        let Some(asked) = &self.perms else { return Vec::new() };
        let path = |holder: &str| format!("{}/permissions/{}", self.path(), percent(holder, true));
        let given = asked.iter().filter(|p| now.get(&holder(p)).map(String::as_str) != Some(p.role.word()));
        let given = given.map(|permission| {
            let body = json!({"role": permission.role.word()});
            let what = format!("letting {} {} {}", permission.name, permission.role.word(), self.name);
            Call::new(Verb::Put, path(&holder(permission)), Some(body), what)
        });
        let taken = now.keys().filter(|name| !self.append && !asked.iter().any(|p| holder(p) == **name));
        let taken = taken.map(|name| {
            Call::new(Verb::Delete, path(name), None, format!("taking {name}'s permission of {}", self.name))
        });
        given.chain(taken).collect()
    }

    fn lines(&self, found: &Found) -> String {
        let mut lines = vec![format!("visibility: {}", if found.public { "public" } else { "private" })];
        if self.description.is_some() {
            lines.push(format!("description: {}", found.description.as_deref().unwrap_or_default()));
        }
        lines.extend(found.permissions.iter().map(|(name, role)| format!("{name}: {role}")));
        lines.join("\n")
    }

    /// What would be found after all is done.
    fn wanted(&self, now: &Found) -> Found {
        let mut permissions =
            if self.append || self.perms.is_none() { now.permissions.clone() } else { BTreeMap::new() };
        permissions.extend(self.perms.iter().flatten().map(|p| (holder(p), p.role.word().to_owned())));
        Found {
            public: self.visibility.map_or(now.public, |v| v == Visibility::Public),
            description: self.description.clone().or_else(|| now.description.clone()),
            permissions,
        }
    }
}

#[async_trait]
impl Resource for QuayRepository {
    const NAME: &'static str = "quay_repository";
    const FQCN: &'static [&'static str] =
        &["quaylab.lab.quay_repository", "infra.quay_configuration.quay_repository"];
    type Observed = Option<Found>;
    type Step = Call;

    fn validate(&self) -> Result<(), ModuleError> {
        match self.name.split_once('/') {
            Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() => Ok(()),
            _ => Err(ModuleError::Arguments(format!("name {:?} is not NAMESPACE/NAME", self.name))),
        }
    }

    async fn observe(&self, cx: &TaskContext) -> Result<Option<Found>, ModuleError> {
        let quay = self.quay(cx).await?;
        let Some(repository) = look(cx, &quay, &self.path()).await? else { return Ok(None) };
        let mut permissions = BTreeMap::new();
        if self.perms.is_some() {
            for kind in ["user", "team"] {
                let answer = look(cx, &quay, &format!("{}/permissions/{kind}/", self.path())).await?;
                let held = answer.as_ref().and_then(|a| a.get("permissions")).and_then(Value::as_object);
                for (name, permission) in held.into_iter().flatten() {
                    permissions
                        .insert(format!("{kind}/{name}"), text(permission, "role").unwrap_or_default());
                }
            }
        }
        Ok(Some(Found {
            public: repository.get("is_public").and_then(Value::as_bool).unwrap_or(false),
            description: text(&repository, "description"),
            permissions,
        }))
    }

    fn plan(&self, now: &Option<Found>, _: RunMode) -> Result<Plan<Call>, ModuleError> {
        let title = format!("repository {}", self.name);
        let none = Found::default();
        let found = now.as_ref().unwrap_or(&none);
        let mut calls = Vec::new();
        match (self.state, now) {
            (Presence::Absent, _) => {
                let what = format!("removing the repository {}", self.name);
                let call = now.as_ref().map(|_| Call::new(Verb::Delete, self.path(), None, what));
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
        calls.extend(self.grants(&found.permissions));
        let before = now.as_ref().map_or_else(|| "absent".to_owned(), |found| self.lines(found));
        Ok(plan(&title, calls, &before, &self.lines(&self.wanted(found))))
    }

    async fn apply(&self, step: &Call, cx: &TaskContext) -> Result<(), ModuleError> {
        step.send(&*self.quay(cx).await?).await.map(drop)
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
