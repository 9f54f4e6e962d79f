//! Renderers of the event stream: lines for people, a progress bar on a terminal, the recap, the plan.

mod classic;
mod color;
mod diff;
mod lines;
mod minimal;
pub mod output;
mod plan;
mod plan_text;
mod python_json;
mod recap;
mod roles;
mod table;
mod terminal;
mod visible;

pub use classic::{Classic, Printed};
pub use color::Palette;
pub use lines::{Lines, Verbosity};
pub use minimal::Minimal;
pub use plan::{
    Follows, HostPlan, INFRASTRUCTURE, InfraAction, InfraChange, InfraKind, KeyChange, LabPlan, PLAN_FORMAT,
    PlanCollector, PlanFailure, PlanSummary, RolePlan, TaskPlan, TextDiff,
};
pub use plan_text::unclaimed_hint;
pub use roles::{RoleEnds, RolesSeen};
pub use table::{bytes, span, table};
pub use terminal::Terminal;
pub use visible::visible;
