//! The command line: one file a subcommand. The only room that knows all others, and that uses `anyhow`.

mod app;
pub mod inventory;
mod lab;
mod quay_config;
mod run;

pub use app::main;
