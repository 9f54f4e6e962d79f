//! Modules for files and commands on the target.

use quaylab_base::value;
use quaylab_host as host;
use quaylab_language::vault;
#[cfg(test)]
use quaylab_module::from_args;
use quaylab_module::{
    Action, CheckMode, Controller, Diff, FileKind, Guess, Mode, Module, ModuleError, Outcome, Plan,
    RemotePath, RunMode, ShellResource, TaskContext, Touch, action, args, resource,
};

mod apr1;
mod assemble;
mod attributes;
mod blockinfile;
mod command;
mod content;
mod copy;
mod difference;
mod edit;
mod execution;
mod fetch;
mod file;
mod find;
mod get_url;
mod htpasswd;
mod ini_file;
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
mod unarchive;
mod wait_for;
mod wait_for_connection;

/// The modules of this family.
pub fn all() -> Vec<Box<dyn Module>> {
    vec![
        resource::<blockinfile::BlockInFile>(),
        resource::<copy::Copy>(),
        resource::<file::File>(),
        resource::<lineinfile::LineInFile>(),
        resource::<replace::Replace>(),
        resource::<template::Template>(),
        resource::<assemble::Assemble>(),
        resource::<get_url::GetUrl>(),
        resource::<htpasswd::HtPasswd>(),
        resource::<ini_file::IniFile>(),
        action::<command::Command>(),
        action::<fetch::Fetch>(),
        action::<find::Find>(),
        action::<unarchive::Unarchive>(),
        action::<wait_for::WaitFor>(),
        action::<wait_for_connection::WaitForConnection>(),
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
