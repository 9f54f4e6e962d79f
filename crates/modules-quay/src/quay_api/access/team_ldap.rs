use async_trait::async_trait;

use super::call::Call;
use super::place::{asks_quay, shown};
use super::sync::{Found, Sync};
use crate::value::Map;
use crate::{ModuleError, Plan, Recorded, Resource, RunMode, TaskContext, state_of};

asks_quay! {
    /// Fills a team from a group of the LDAP that Quay logs people in with (`FEATURE_TEAM_SYNCING`); for superusers.
    pub(super) struct QuayTeamLdap {
        /// The team; it must be there.
        name: String,
        organization: String,
        /// Whether the group says who is in the team.
        #[serde(default = "crate::args::yes")]
        sync: bool,
        /// The group's name below the `LDAP_BASE_DN` of config.yaml (`cn=devs,ou=groups`).
        group_dn: Option<String>,
        /// With `sync: false`, whether the members stay; robots do.
        #[serde(default = "crate::args::yes")]
        keep_users: bool,
    }
}

impl QuayTeamLdap {
    fn sync(&self) -> Sync<'_> {
        Sync {
            service: "ldap",
            key: "group_dn",
            organization: &self.organization,
            team: &self.name,
            group: self.group_dn.as_deref().filter(|_| self.sync),
            keep_users: self.keep_users,
        }
    }
}

#[async_trait]
impl Resource for QuayTeamLdap {
    const NAME: &'static str = "quay_team_ldap";
    const FQCN: &'static [&'static str] =
        &["quaylab.lab.quay_team_ldap", "infra.quay_configuration.quay_team_ldap"];
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
