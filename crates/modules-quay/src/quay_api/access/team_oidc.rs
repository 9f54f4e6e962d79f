use async_trait::async_trait;

use super::call::Call;
use super::place::{asks_quay, shown};
use super::sync::{Found, Sync};
use crate::value::Map;
use crate::{ModuleError, Plan, Recorded, Resource, RunMode, TaskContext, state_of};

asks_quay! {
    /// Fills a team from a group of the OIDC that Quay logs people in with (`FEATURE_TEAM_SYNCING`); for superusers.
    pub(super) struct QuayTeamOidc {
        /// The team; it must be there.
        name: String,
        organization: String,
        /// Whether the group says who is in the team.
        #[serde(default = "crate::args::yes")]
        sync: bool,
        /// The group as the provider names it.
        group_name: Option<String>,
    }
}

impl QuayTeamOidc {
    fn sync(&self) -> Sync<'_> {
        Sync {
            service: "oidc",
            key: "group_name",
            organization: &self.organization,
            team: &self.name,
            group: self.group_name.as_deref().filter(|_| self.sync),
            keep_users: true,
        }
    }
}

#[async_trait]
impl Resource for QuayTeamOidc {
    const NAME: &'static str = "quay_team_oidc";
    const FQCN: &'static [&'static str] =
        &["quaylab.lab.quay_team_oidc", "infra.quay_configuration.quay_team_oidc"];
    type Observed = Option<Found>;
    type Step = Call;

    fn validate(&self) -> Result<(), ModuleError> {
        self.sync().validate(self.sync, self.quay_token.is_some() || self.quay_username.is_some())
    }

    async fn observe(&self, cx: &TaskContext) -> Result<Option<Found>, ModuleError> {
        self.sync().observe(cx, &self.quay(cx)?).await
    }

    fn plan(&self, now: &Option<Found>, _: RunMode) -> Result<Plan<Call>, ModuleError> {
        self.sync().plan(now.as_ref())
    }

    async fn apply(&self, step: &Call, cx: &TaskContext) -> Result<(), ModuleError> {
        self.sync().place().send(&*self.quay(cx)?, step).await.map(drop)
    }

    fn shown(step: &Call) -> String {
        shown(step)
    }

    fn warnings(&self, now: &Option<Found>, _: RunMode) -> Vec<String> {
        self.sync().warnings(now.as_ref())
    }

    fn result(&self, after: &Option<Found>) -> Map {
        self.sync().result(after.as_ref())
    }

    fn recorded(&self, recorded: &Recorded) -> Option<Result<Self::Observed, ModuleError>> {
        state_of(recorded)
    }
}
