//! `quaylab quay-config`: what Quay's start would say of a configuration, before it is started.

mod command;
mod json;
mod mended;
mod report;

pub(super) use command::{QuayConfigArgs, run};
