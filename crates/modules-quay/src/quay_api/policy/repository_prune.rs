use async_trait::async_trait;

use super::call::{Call, with_quay};
use super::place::{Place, list, shown, whole_name};
use super::prune::{FEATURE, Method, Policy, Wanted};
use crate::http::percent;
use crate::value::Map;
use crate::{ModuleError, Plan, Recorded, Resource, RunMode, TaskContext, state_of};

with_quay! {
    /// A policy by which Quay removes tags in one repository (`FEATURE_AUTO_PRUNE`).
    pub(super) struct QuayRepositoryPrune {
        /// `NAMESPACE/NAME`, or `NAME` in one's own namespace; it must be there.
        repository: String,
        /// Keep policies that are not this one.
        #[serde(default = "crate::args::yes")]
        append: bool,
        /// What decides which tags stay.
        method: Method,
        /// For `tags` how many stay, for `date` how old one may become (`7d`, `2w`).
        value: String,
        /// Only for tags that match this regular expression.
        tag_pattern: Option<String>,
        /// With `false` only for tags that do not match it.
        #[serde(default = "crate::args::yes")]
        tag_pattern_matches: bool,
    }
}

impl QuayRepositoryPrune {
    fn path(&self) -> String {
        format!("repository/{}/autoprunepolicy/", percent(&self.repository, true))
    }

    fn place(&self) -> Place<'_> {
        Place::repository(&self.repository).needs(FEATURE).list()
    }

    fn wanted(&self) -> Result<Wanted, ModuleError> {
        Wanted::new(self.method, &self.value, self.tag_pattern.as_deref(), self.tag_pattern_matches)
    }
}

#[async_trait]
impl Resource for QuayRepositoryPrune {
    const NAME: &'static str = "quay_repository_prune";
    const FQCN: &'static [&'static str] =
        &["quaylab.lab.quay_repository_prune", "infra.quay_configuration.quay_repository_prune"];
    type Observed = Vec<Policy>;
    type Step = Call;

    fn validate(&self) -> Result<(), ModuleError> {
        self.wanted().map(drop)
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
        let title = format!("prune policy of {}", self.repository);
        Ok(self.wanted()?.plan(&title, &self.path(), self.append, self.state, now))
    }

    async fn apply(&self, step: &Call, cx: &TaskContext) -> Result<(), ModuleError> {
        self.place().send(&*self.quay(cx)?, step).await.map(drop)
    }

    fn shown(step: &Call) -> String {
        shown(step)
    }

    fn result(&self, after: &Vec<Policy>) -> Map {
        self.wanted().map(|wanted| wanted.result(after)).unwrap_or_default()
    }

    fn recorded(&self, recorded: &Recorded) -> Option<Result<Self::Observed, ModuleError>> {
        state_of(recorded)
    }
}
