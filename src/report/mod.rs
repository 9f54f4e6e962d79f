//! Renderers of the event stream: lines for people, a progress bar on a terminal, the recap, the plan.

mod color;
mod diff;
mod lines;
mod plan;
mod plan_text;
mod roles;
mod table;
mod terminal;

pub use color::Palette;
pub use lines::{Lines, Verbosity};
pub use plan::{
    Follows, HostPlan, INFRASTRUCTURE, InfraAction, InfraChange, InfraKind, KeyChange, LabPlan, PLAN_FORMAT,
    PlanCollector, PlanFailure, PlanSummary, RolePlan, TaskPlan, TextDiff,
};
pub use roles::{RoleEnds, RolesSeen};
pub use table::{bytes, span, table};
pub use terminal::Terminal;
