//! The command line: one file a subcommand. The only room that knows all others, and that uses `anyhow`.

mod adhoc;
mod app;
mod ask;
mod bundle;
mod bundle_needs;
mod common;
mod ends;
mod execute;
mod here;
pub mod inventory;
mod lab;
mod listing;
mod open_files;
mod plan;
mod program;
mod quay_config;
mod registry;
mod reporter;
mod run;
mod say;
mod secrets;
mod vault;

pub use app::main;
use say::tell;
