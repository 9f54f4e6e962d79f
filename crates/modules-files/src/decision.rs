use crate::Plan;
use crate::value::Map;

/// A plan with what `register` will see of it: both come from one look at the target.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Decision {
    pub(super) plan: Plan,
    pub(super) result: Map,
}

/// Writes the parts of `Resource` that every decision-making module has alike.
macro_rules! decides {
    () => {
        fn plan(&self, now: &Self::Observed) -> Result<Plan, ModuleError> {
            self.decide(now).map(|d| d.plan)
        }

        fn result(&self, now: &Self::Observed, _: &Plan) -> Map {
            self.decide(now).map(|d| d.result).unwrap_or_default()
        }
    };
}
pub(super) use decides;
