//! Runs what was read, and shows it.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::common::{CommonArgs, Prepared};
use super::lab::Lab;
use super::lab::guests::{self, Given};
use super::open_files;
use super::program::Program;
use super::say::say;
use super::tell;
use crate::diag::Diagnostic;
use crate::engine::{self, Options, Sink, Summary};
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
        ExitCode::from(match self {
            Self::Good => 0,
            Self::Failed => 2,
            Self::Unreachable => 4,
            Self::Interrupted if program == Program::Quaylab => 130,
            Self::Interrupted => 99,
        })
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
}

impl<'a> Execution<'a> {
    /// With `passing`, a lab that does not exist yet leaves nothing behind.
    pub(super) fn open(
        prepared: &Prepared,
        common: &CommonArgs,
        loader: &'a Loader,
        passing: bool,
    ) -> Result<Self> {
        let lab = Lab::of(&prepared.inventory);
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
        let options = common.options(prepared, state_dir.clone(), lab.name.clone())?;
        if let Some(warning) = open_files::make_room(common.selected(&prepared.inventory).len()) {
            tell(&format!("[WARNING]: {warning}"));
        }
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .context("cannot start the runtime")?;
        Ok(Self { loader, lab, state_dir, options, runtime: Some(runtime), _passing: passing })
    }

    /// Lets a playbook that does not bring the lab up reach its guests, where one of these hosts is one; returns what went wrong with it.
    pub(super) fn introduce_guests(&mut self, hosts: &[String]) -> Result<Vec<Diagnostic>> {
        let options = &mut self.options;
        if !guests::among(&options.inventory, &self.lab, hosts) {
            return Ok(Vec::new());
        }
        let given = Given { user: options.remote_user.is_some(), key: options.private_key_file.is_some() };
        let runtime = self.runtime.as_ref().context("the runtime has ended")?;
        Ok(runtime.block_on(guests::introduce(&mut options.inventory, &self.lab, given)))
    }

    /// The options, for a run that only says what would change.
    pub(super) fn foretelling(&self) -> Options {
        Options { check: true, diff: true, ..self.options.clone() }
    }

    /// Runs a playbook to its end, or to the user's.
    pub(super) fn run(&self, playbook: Playbook, options: Options, sink: Sink) -> Result<Summary> {
        let runtime = self.runtime.as_ref().context("the runtime has ended")?;
        let loader = self.loader.clone();
        let summary = runtime.block_on(async {
            let stop = CancellationToken::new();
            let listening = stop_on_signal(stop.clone());
            let summary = engine::run(playbook, loader, options, sink, stop).await;
            listening.abort();
            summary
        });
        Ok(summary?)
    }
}

impl Drop for Execution<'_> {
    fn drop(&mut self) {
        // A blocking call into libvirt must not hold the program up once the run is over.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(Duration::from_secs(2));
        }
        // A run that had nothing to remember leaves no folder.
        self.lab.tidy();
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
        Some(Printed::Out(text)) => say(&text),
        Some(Printed::Err(text)) => tell(&text),
        None => {}
    }
}

/// The first Ctrl-C (or SIGTERM) stops cleanly, the second at once.
fn stop_on_signal(stop: CancellationToken) -> JoinHandle<()> {
    tokio::spawn(async move {
        let Ok(mut terminate) = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
        else {
            return;
        };
        loop {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            }
            if stop.is_cancelled() {
                std::process::exit(130);
            }
            tell("stopping: the running tasks are broken off; once more to leave at once");
            stop.cancel();
        }
    })
}

/// Columns of the terminal, 79 where there is none.
fn width() -> usize {
    let columns = std::env::var("COLUMNS").ok().and_then(|c| c.parse().ok());
    columns
        .or_else(|| rustix::termios::tcgetwinsize(std::io::stdout()).ok().map(|s| usize::from(s.ws_col)))
        .filter(|w| *w > 20)
        .unwrap_or(79)
}
