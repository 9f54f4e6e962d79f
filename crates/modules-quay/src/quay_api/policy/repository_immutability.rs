use async_trait::async_trait;

use super::call::{Call, with_quay};
use super::immutability::{Behavior, FEATURE, Policy, Wanted};
use super::place::{Place, list, shown, whole_name};
use crate::http::percent;
use crate::value::Map;
use crate::{ModuleError, Plan, Recorded, Resource, RunMode, TaskContext, state_of};

with_quay! {
    /// Which tags of one repository can be neither moved nor removed (3.17 and later, `FEATURE_IMMUTABLE_TAGS`).
    pub(super) struct QuayRepositoryImmutability {
        /// `NAMESPACE/NAME`, or `NAME` in one's own namespace; it must be there.
        repository: String,
        /// A regular expression; no two policies have the same.
        tag_pattern: String,
        /// The policy gets this one instead.
        new_tag_pattern: Option<String>,
        /// `matching_immutable` unless the policy says something else already.
        behavior: Option<Behavior>,
    }
}

impl QuayRepositoryImmutability {
    fn path(&self) -> String {
        format!("repository/{}/immutabilitypolicy/", percent(&self.repository, true))
    }

    fn place(&self) -> Place<'_> {
        Place::repository(&self.repository).needs(FEATURE).list()
    }

    fn wanted(&self) -> Wanted<'_> {
        Wanted { pattern: &self.tag_pattern, new: self.new_tag_pattern.as_deref(), behavior: self.behavior }
    }
}

#[async_trait]
impl Resource for QuayRepositoryImmutability {
    const NAME: &'static str = "quay_repository_immutability";
    const FQCN: &'static [&'static str] = &[
        "quaylab.lab.quay_repository_immutability",
        "infra.quay_configuration.quay_repository_immutability",
    ];
    type Observed = Vec<Policy>;
    type Step = Call;

    fn validate(&self) -> Result<(), ModuleError> {
        self.wanted().validate()
    }

    async fn prepare(&mut self, cx: &TaskContext) -> Result<(), ModuleError> {
        self.repository = whole_name(cx, &*self.quay(cx)?, &self.repository).await?;
        Ok(())
    }

    async fn observe(&self, cx: &TaskContext) -> Result<Vec<Policy>, ModuleError> {
        let quay = self.quay(cx)?;
        let answer = self.place().look(cx, &quay, &self.path(), self.state).await?;
        Ok(Policy::all(list(answer, "policies")))
    }

    fn plan(&self, now: &Vec<Policy>, _: RunMode) -> Result<Plan<Call>, ModuleError> {
        let title = format!("immutability policy of {}", self.repository);
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
