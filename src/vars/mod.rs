//! Variables: where each comes from, which one wins, and how it is looked up.

mod layers;
mod scope;

pub use layers::{Layers, Level};
pub use scope::{Scope, TASK_FOLDER, Var};
