//! Modules for files and commands on the target.

mod attributes;
mod blockinfile;
mod command;
mod content;
mod copy;
mod decision;
mod difference;
mod edit;
mod execution;
mod file;
mod free_form;
mod inode;
mod lineinfile;
mod pattern;
mod pause;
mod ping;
mod placement;
mod probe;
mod raw;
mod remote_copy;
mod replace;
mod script;
mod slurp;
mod stat;
mod tempfile;
mod template;

use super::{Module, action, resource};

/// The modules of this family.
pub(super) fn all() -> Vec<Box<dyn Module>> {
    vec![
        resource::<blockinfile::BlockInFile>(),
        resource::<copy::Copy>(),
        resource::<file::File>(),
        resource::<lineinfile::LineInFile>(),
        resource::<replace::Replace>(),
        resource::<template::Template>(),
        action::<command::Command>(),
        action::<command::Shell>(),
        action::<pause::Pause>(),
        action::<ping::Ping>(),
        action::<raw::Raw>(),
        action::<script::ControllerScript>(),
        action::<slurp::Slurp>(),
        action::<stat::Stat>(),
        action::<tempfile::TempFile>(),
    ]
}
