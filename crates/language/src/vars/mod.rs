//! Variables: where each comes from, which one wins, and how it is looked up.

mod known;
mod layers;
mod scope;

pub use known::Known;
pub use layers::{Layers, Level};
pub use scope::{Scope, TASK_FOLDER, Var, Vars, raw, written};
