//! What every other room stands on: values, errors that show their place, limits, archives, and the files of the controller.

pub mod archive;
pub mod children;
pub mod diag;
pub mod diff;
pub mod limits;
pub mod run_context;
pub mod store;
pub mod turns;
pub mod value;
