//! `ansible PATTERN -m MODULE -a ARGS`: one task on some hosts.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use serde_json::json;

use super::common::CommonArgs;
use super::execute::{self, Execution, Exit, Output};
use super::lab::{Held, Lab, VmNames, guests, wanted_private};
use super::program::Program;
use super::say::show;
use crate::diag::{Diagnostic, SourceFile};
use crate::engine::Event;
use crate::lab::private;
use crate::playbook::{Folder, Loader};
use crate::value::Value;
use crate::yaml;

/// Modules that can do nothing without arguments.
const NEED_ARGUMENTS: [&str; 5] = ["command", "shell", "raw", "script", "win_command"];

/// Options of `ansible`.
#[derive(Debug, Args)]
pub(super) struct AdHocArgs {
    /// The hosts.
    pattern: String,
    #[command(flatten)]
    common: CommonArgs,
    /// The module (command).
    #[arg(short, long, value_name = "NAME", default_value = "command")]
    module_name: String,
    /// Its arguments: key=value, JSON, or a command line.
    #[arg(short, long, value_name = "ARGS", default_value = "", allow_hyphen_values = true)]
    args: String,
    /// Let it run in the background for at most so many seconds.
    #[arg(short = 'B', long, value_name = "SECONDS")]
    background: Option<u64>,
    /// Look every so many seconds whether a background task is done.
    #[arg(short = 'P', long, value_name = "SECONDS", default_value_t = 15)]
    poll: u64,
    /// One line a host.
    #[arg(short, long)]
    one_line: bool,
    /// Seconds that the task may take.
    #[arg(long, value_name = "SECONDS")]
    task_timeout: Option<u64>,
    /// The folder that a playbook would stand in.
    #[arg(long, value_name = "FOLDER")]
    playbook_dir: Option<PathBuf>,
}

/// Runs the one task.
pub(super) fn run(args: &AdHocArgs) -> Result<ExitCode> {
    let prepared = args.common.prepare(Some("/etc/ansible/hosts"))?;
    let limit = args.common.limit.as_deref();
    let selected = prepared.inventory.select_limited(&args.pattern, limit);
    let hosts = match selected {
        Ok((hosts, _)) => hosts,
        Err(error) if limit.is_some() => return Err(error.into()),
        Err(_) => Vec::new(),
    };
    if args.common.list_hosts {
        let mut text = format!("  hosts ({}):\n", hosts.len());
        for host in &hosts {
            text.push_str(&format!("    {host}\n"));
        }
        show(&text)?;
        return Ok(ExitCode::SUCCESS);
    }
    let short = args.module_name.rsplit('.').next().unwrap_or(&args.module_name);
    if NEED_ARGUMENTS.contains(&short) && args.args.is_empty() {
        return Err(Diagnostic::new(format!("No argument passed to {} module", args.module_name))
            .hint("give it with -a")
            .into());
    }
    if hosts.is_empty() {
        super::tell("[WARNING]: No hosts matched, nothing to do");
        return Ok(ExitCode::SUCCESS);
    }
    let folder = Folder::Disk(args.playbook_dir.clone().unwrap_or_else(|| PathBuf::from(".")));
    let loader = Loader::new(prepared.settings.roles_path.clone()).with_vault(prepared.vault.clone());
    let source = SourceFile::new("<ansible>", play(args).to_string());
    let playbook = loader.parsed(&yaml::load_one(&source)?.0, &folder)?;
    // What is asked of other hosts is asked where quaylab was started.
    let held = Held::look(Lab::of(&prepared.inventory)?, "ansible")?;
    let names = VmNames::of(&prepared.inventory);
    if guests::among(&prepared.inventory, &held, &names, &hosts) {
        private::enter_if_running(wanted_private(&prepared.inventory)?)?;
    }
    let mut execution = Execution::open(&prepared, &args.common, &loader, held, (Program::AdHoc, true))?;
    let unreached = execution.introduce_guests(&hosts)?;
    let options = execution.options.clone();
    let sink = execute::sink(Output::AdHoc { one_line: args.one_line }, options.verbosity);
    for warning in prepared.warnings.iter().chain(&unreached) {
        sink(Event::Warning(warning.clone()));
    }
    let summary = execution.run(playbook, options, sink)?;
    Ok(Exit::of(&summary).code(Program::AdHoc))
}

/// The play that holds the one task.
fn play(args: &AdHocArgs) -> Value {
    let module = &args.module_name;
    let mut task = json!({});
    if let Value::Object(task) = &mut task {
        // JSON is taken as such; everything else as in a playbook's line.
        let given = serde_json::from_str::<Value>(&args.args).ok().filter(Value::is_object);
        let empty = args.args.is_empty().then_some(Value::Null);
        task.insert(module.clone(), empty.or(given).unwrap_or_else(|| json!(args.args)));
        if let Some(seconds) = args.background {
            task.insert("async".into(), json!(seconds));
            task.insert("poll".into(), json!(args.poll));
        }
        if let Some(seconds) = args.task_timeout {
            task.insert("timeout".into(), json!(seconds));
        }
    }
    json!([{"name": "Ansible Ad-Hoc", "hosts": args.pattern, "gather_facts": false, "tasks": [task]}])
}
