//! Runs what was read, and shows it.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::runtime::Runtime;

use super::common::{CommonArgs, Prepared};
use super::ends;
use super::lab::guests::{self, Given};
use super::lab::{Held, Lab, VmNames, hypervisor_uris, refuse_anothers, unclaimed};
use super::open_files;
use super::program::Program;
use super::say::{say_painted, tell_painted};
use super::tell;
use crate::diag::Diagnostic;
use crate::engine::{self, Options, Sink, Stop, Summary};
use crate::lab::Hypervisors;
use crate::playbook::{Loader, Playbook};
use crate::report::{Classic, Lines, Minimal, Palette, Printed, Terminal, Verbosity};

/// Whose output a run's is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Output {
    Quaylab,
    /// ansible-playbook's default callback.
    Ansible,
    /// ansible's: one result a host.
    AdHoc {
        one_line: bool,
    },
}

/// How a run ended, the worst last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Exit {
    Good,
    Failed,
    Unreachable,
    Interrupted,
}

impl Exit {
    pub(super) fn of(summary: &Summary) -> Self {
        match summary {
            s if s.interrupted => Self::Interrupted,
            s if s.unreachable() => Self::Unreachable,
            s if s.failed() => Self::Failed,
            _ => Self::Good,
        }
    }

    pub(super) fn code(self, program: Program) -> ExitCode {
        match self {
            Self::Good => ExitCode::SUCCESS,
            Self::Failed => ExitCode::from(2),
            Self::Unreachable => ExitCode::from(4),
            Self::Interrupted => ends::code(program),
        }
    }
}

/// A run that is ready to go: passwords are asked for, and the lab's state folder is there.
pub(super) struct Execution<'a> {
    loader: &'a Loader,
    pub(super) lab: Lab,
    pub(super) state_dir: PathBuf,
    pub(super) options: Options,
    /// Of all that this run does: connections that are shared live in it.
    runtime: Option<Runtime>,
    /// Where a check or a foreign playbook keeps what it needs of a lab that does not exist yet; goes with this.
    _passing: Option<tempfile::TempDir>,
    /// Nobody else changes the lab meanwhile, where this run does.
    _held: Held,
}

impl<'a> Execution<'a> {
    /// With `passing`, a lab that does not exist yet leaves nothing behind.
    pub(super) fn open(
        prepared: &Prepared,
        common: &CommonArgs,
        loader: &'a Loader,
        held: Held,
        (program, passing): (Program, bool),
    ) -> Result<Self> {
        let lab = held.clone();
        let passing = (passing && !lab.state_dir.exists())
            .then(tempfile::tempdir)
            .transpose()
            .context("cannot make a folder for the run")?;
        let state_dir = if let Some(folder) = &passing {
            folder.path().to_owned()
        } else {
            lab.prepare()?;
            lab.state_dir.clone()
        };
        ends::listen(program);
        let options = common.options(prepared, state_dir.clone(), lab.name.to_string())?;
        if let Some(warning) = open_files::make_room(common.selected(&prepared.inventory).len()) {
            tell(&format!("[WARNING]: {warning}"));
        }
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .thread_stack_size(WORKER_STACK)
            .build()
            .context("cannot start the runtime")?;
        Ok(Self { loader, lab, state_dir, options, runtime: Some(runtime), _passing: passing, _held: held })
    }

    /// Lets a playbook that does not bring the lab up reach its guests, where one of these hosts is one; returns what went wrong with it.
    pub(super) fn introduce_guests(&mut self, hosts: &[String]) -> Result<Vec<Diagnostic>> {
        let options = &mut self.options;
        let names = VmNames::of(&options.inventory);
        if !guests::among(&options.inventory, &self.lab, &names, hosts) {
            return Ok(Vec::new());
        }
        let given = Given { user: options.remote_user.is_some(), key: options.private_key_file.is_some() };
        let hypervisors = options.context.get::<Hypervisors>();
        let runtime = self.runtime.as_ref().context("the runtime has ended")?;
        Ok(runtime.block_on(guests::introduce(
            &mut options.inventory,
            &self.lab,
            &names,
            (given, &hypervisors),
        )))
    }

    /// VMs of the lab that no host of the inventory has, on the hypervisors that were asked in this run.
    pub(super) fn unclaimed(&self) -> Result<Vec<String>> {
        let names = VmNames::with(&self.options.inventory, &self.options.extra_vars);
        let runtime = self.runtime.as_ref().context("the runtime has ended")?;
        Ok(runtime.block_on(unclaimed(&self.lab, &names, &self.options.context.get::<Hypervisors>())))
    }

    /// Refuses a lab of somebody else that has the name of this one.
    pub(super) fn refuse_anothers(&self) -> Result<()> {
        let runtime = self.runtime.as_ref().context("the runtime has ended")?;
        let uris = hypervisor_uris(&self.options.inventory);
        runtime.block_on(refuse_anothers(&self.lab, &uris, &self.options.context.get::<Hypervisors>()))
    }

    /// The options, for a run that only says what would change.
    pub(super) fn foretelling(&self) -> Options {
        Options { check: true, diff: true, ..self.options.clone() }
    }

    /// Runs a playbook to its end, or to the user's.
    pub(super) fn run(&self, playbook: Playbook, options: Options, sink: Sink) -> Result<Summary> {
        let runtime = self.runtime.as_ref().context("the runtime has ended")?;
        let loader = self.loader.clone();
        let stop = Stop::default();
        let _running = ends::of(&stop);
        let work = move || runtime.block_on(engine::run(playbook, loader, options, sink, stop));
        let summary = std::thread::scope(|scope| {
            let deep = std::thread::Builder::new().name("run".into()).stack_size(STACK);
            let running = deep.spawn_scoped(scope, work).context("cannot start the run's thread")?;
            match running.join() {
                Ok(summary) => anyhow::Ok(summary),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })?;
        Ok(summary?)
    }
}

/// Bytes of stack of the thread that runs a playbook: what may be nested (includes, values, expressions) is limited, and has room here. Only what is
/// used takes memory.
const STACK: usize = 256 << 20;

/// The same for threads that do a host's part of a task: values and expressions nest there, includes do not. There may be many of them.
const WORKER_STACK: usize = 64 << 20;

/// How long a blocking call may go on after the run.
const SHUTDOWN: Duration = Duration::from_millis(100);

impl Drop for Execution<'_> {
    fn drop(&mut self) {
        // A blocking call into libvirt must not hold the program up once the run is over.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(SHUTDOWN);
        }
    }
}

/// Shows the events of a run.
pub(super) fn sink(output: Output, verbosity: u8) -> Sink {
    let verbosity = Verbosity(verbosity);
    let palette = Palette::detect();
    match output {
        Output::Quaylab => {
            let terminal = Terminal::new(Lines { verbosity, palette, width: width() });
            let terminal = Arc::new(terminal);
            Arc::new(move |event| terminal.show(&event))
        }
        Output::Ansible => {
            let classic = Classic::new(verbosity, palette, width().max(79));
            Arc::new(move |event| show(classic.render(&event)))
        }
        Output::AdHoc { one_line } => {
            let minimal = Minimal { verbosity, palette, one_line };
            Arc::new(move |event| show(minimal.render(&event)))
        }
    }
}

fn show(printed: Option<Printed>) {
    match printed {
        Some(Printed::Out(text)) => say_painted(&text),
        Some(Printed::Err(text)) => tell_painted(&text),
        None => {}
    }
}

/// Columns of the terminal, 79 where there is none.
fn width() -> usize {
    let columns = std::env::var("COLUMNS").ok().and_then(|c| c.parse().ok());
    columns
        .or_else(|| rustix::termios::tcgetwinsize(std::io::stdout()).ok().map(|s| usize::from(s.ws_col)))
        .filter(|w| *w > 20)
        .unwrap_or(79)
}
