//! Variables: where each comes from, which one wins, and how it is looked up.

mod scope;

pub use scope::{Scope, Var};
