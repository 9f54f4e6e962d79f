use async_trait::async_trait;

use super::call::{Call, with_quay};
use super::immutability::{Behavior, FEATURE, Policy, Wanted};
use super::place::{Place, list, shown};
use crate::http::percent;
use crate::value::Map;
use crate::{ModuleError, Plan, Recorded, Resource, RunMode, TaskContext, state_of};

with_quay! {
    /// Which tags of an organization or a user's own namespace can be neither moved nor removed (3.17 and later, `FEATURE_IMMUTABLE_TAGS`).
    pub(super) struct QuayOrganizationImmutability {
        /// The organization or the user; it must be there.
        namespace: String,
        /// A regular expression; no two policies have the same.
        tag_pattern: String,
        /// The policy gets this one instead.
        new_tag_pattern: Option<String>,
        /// `matching_immutable` unless the policy says something else already.
        behavior: Option<Behavior>,
    }
}

impl QuayOrganizationImmutability {
    fn path(&self) -> String {
        format!("organization/{}/immutabilitypolicy/", percent(&self.namespace, false))
    }

    fn place(&self) -> Place<'_> {
        Place::namespace(&self.namespace).needs(FEATURE).list()
    }

    fn wanted(&self) -> Wanted<'_> {
        Wanted { pattern: &self.tag_pattern, new: self.new_tag_pattern.as_deref(), behavior: self.behavior }
    }
}

#[async_trait]
impl Resource for QuayOrganizationImmutability {
    const NAME: &'static str = "quay_organization_immutability";
    const FQCN: &'static [&'static str] = &[
        "quaylab.lab.quay_organization_immutability",
        "infra.quay_configuration.quay_organization_immutability",
    ];
    type Observed = Vec<Policy>;
    type Step = Call;

    fn validate(&self) -> Result<(), ModuleError> {
        self.wanted().validate()
    }

    async fn observe(&self, cx: &TaskContext) -> Result<Vec<Policy>, ModuleError> {
        let quay = self.quay(cx)?;
        let answer = self.place().look(cx, &quay, &self.path(), self.state).await?;
        Ok(Policy::all(list(answer, "policies")))
    }

    fn plan(&self, now: &Vec<Policy>, _: RunMode) -> Result<Plan<Call>, ModuleError> {
        let title = format!("immutability policy of {}", self.namespace);
        self.wanted().plan(&title, &self.path(), self.state, now)
    }

    async fn apply(&self, step: &Call, cx: &TaskContext) -> Result<(), ModuleError> {
        self.place().send(&*self.quay(cx)?, step).await.map(drop)
    }

    fn shown(step: &Call) -> String {
        shown(step)
    }

    fn result(&self, after: &Vec<Policy>) -> Map {
        self.wanted().result(after)
    }

    fn recorded(&self, recorded: &Recorded) -> Option<Result<Self::Observed, ModuleError>> {
        state_of(recorded)
    }
}
