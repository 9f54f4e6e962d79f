//! How a run ends when it is told to: INT, TERM and HUP are heard on a thread of its own, whatever the others are at.

use std::fs::File;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError, mpsc};
use std::time::Duration;

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};
use rustix::thread::{UnshareFlags, unshare_unsafe};
use tokio::signal::unix::{self, SignalKind, signal};

use super::program::Program;
use super::tell;
use crate::children;
use crate::engine::Stop;

/// How long a run has to wind up. With what comes after it, it has ended within a second.
const WINDING_UP: Duration = Duration::from_millis(800);

/// How long what was begun for a check may take to be removed after that.
const TIDYING: Duration = Duration::from_secs(5);

/// How long a last word may take: the output may be full.
const LAST_WORD: Duration = Duration::from_millis(80);

/// The exit code of a Rust program that an internal error ended.
const INTERNAL_ERROR: i32 = 101;

/// What ends a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signal {
    Interrupt,
    Terminate,
    HangUp,
}

impl Signal {
    const fn number(self) -> u8 {
        match self {
            Self::Interrupt => 2,
            Self::Terminate => 15,
            Self::HangUp => 1,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Interrupt => "SIGINT",
            Self::Terminate => "SIGTERM",
            Self::HangUp => "SIGHUP",
        }
    }

    /// The exit code as shells have it. A playbook that is broken off by Ctrl-C gives 99, as ansible-playbook has it.
    pub(super) fn code(self, program: Program) -> u8 {
        match self {
            Self::Interrupt if program != Program::Quaylab => 99,
            other => 128 + other.number(),
        }
    }
}

/// What the signals' thread shares with the others.
struct Ends {
    program: Program,
    run: Mutex<Option<Stop>>,
    /// The run has wound up, and has told what it left.
    wound_up: AtomicBool,
    /// The terminal, and how it was set, where there is one: a question may have changed it.
    terminal: Option<(File, Termios)>,
}

static ENDS: OnceLock<Ends> = OnceLock::new();

/// The first signal that was heard.
static HEARD: OnceLock<Signal> = OnceLock::new();

/// Somebody else ends the program in order.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// From now on signals end the program in order, and leave the terminal as it was.
pub(super) fn listen(program: Program) {
    let mut first = false;
    ENDS.get_or_init(|| {
        first = true;
        Ends { program, run: Mutex::default(), wound_up: AtomicBool::new(false), terminal: terminal() }
    });
    if first {
        let (ready, is_ready) = mpsc::channel();
        // Without the thread a signal still ends the program, only without a word.
        let hearing = move || {
            let _end = EndWithIt;
            hear(&ready);
        };
        if std::thread::Builder::new().name("signals".into()).spawn(hearing).is_ok() {
            // An error: it has ended, and is in nobody's way.
            let _ready = is_ready.recv();
        }
    }
}

/// An internal error on the signals' thread ends the program: nobody could, from then on.
struct EndWithIt;

impl Drop for EndWithIt {
    fn drop(&mut self) {
        if std::thread::panicking() {
            std::process::exit(INTERNAL_ERROR);
        }
    }
}

/// The terminal at which questions are asked, wherever standard input comes from.
fn terminal() -> Option<(File, Termios)> {
    let terminal = File::options().read(true).write(true).open("/dev/tty").ok()?;
    let was = tcgetattr(&terminal).ok()?;
    Some((terminal, was))
}

/// Has a signal stop this run; the result ends that.
pub(super) fn of(stop: &Stop) -> Running {
    if let Some(ends) = ENDS.get() {
        *ends.run() = Some(stop.clone());
        ends.wound_up.store(false, Ordering::Relaxed);
        // One that came just before.
        if HEARD.get().is_some() {
            stop.ask();
        }
    }
    Running
}

/// A run that signals stop, until this is dropped.
pub(super) struct Running;

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(ends) = ENDS.get() {
            ends.run().take();
            ends.wound_up.store(true, Ordering::Relaxed);
        }
    }
}

/// The exit code of what was stopped.
pub(super) fn code(program: Program) -> ExitCode {
    ExitCode::from(HEARD.get().copied().unwrap_or(Signal::Interrupt).code(program))
}

/// The signals that end a program in order.
pub(super) struct Signals {
    interrupt: unix::Signal,
    terminate: unix::Signal,
    /// Under nohup the end of the terminal is none of the program's.
    hang_up: Option<unix::Signal>,
}

impl Signals {
    /// For who ends the program in order by its own means. Call it within a runtime.
    pub(super) fn take() -> std::io::Result<Self> {
        TAKEN.store(true, Ordering::Relaxed);
        Self::new()
    }

    fn new() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: (!hang_up_is_ignored()).then(|| signal(SignalKind::hangup())).transpose()?,
        })
    }

    /// The next one; the first of all gives the exit code.
    pub(super) async fn next(&mut self) -> Signal {
        let Self { interrupt, terminate, hang_up } = self;
        let hung_up = async {
            match hang_up {
                Some(hang_up) => drop(hang_up.recv().await),
                None => std::future::pending().await,
            }
        };
        let heard = tokio::select! {
            _ = interrupt.recv() => Signal::Interrupt,
            _ = terminate.recv() => Signal::Terminate,
            () = hung_up => Signal::HangUp,
        };
        let _first = HEARD.set(heard);
        heard
    }
}

impl Ends {
    fn run(&self) -> std::sync::MutexGuard<'_, Option<Stop>> {
        self.run.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the program now, whatever it is at.
    fn leave(&self, with: Signal) -> ! {
        children::end_all();
        let run = self.run().clone();
        if let Some((terminal, was)) = &self.terminal {
            let _as_it_was = tcsetattr(terminal, OptionalActions::Now, was);
        }
        if let Some(run) = run {
            last_word(move || tell(&run.left().to_string()));
        }
        std::process::exit(i32::from(with.code(self.program)))
    }
}

/// Says something unless nobody takes it.
fn last_word(say: impl FnOnce() + Send + 'static) {
    let (done, said) = mpsc::channel();
    let speaker = std::thread::Builder::new().spawn(move || {
        say();
        // Nobody waits any more where it took too long.
        let _late = done.send(());
    });
    if speaker.is_ok() {
        // Timed out or said, it is over.
        let _over = said.recv_timeout(LAST_WORD);
    }
}

#[expect(unsafe_code, reason = "nothing else lets the program join a namespace while this thread is there")]
fn hear(ready: &mpsc::Sender<()>) {
    // SAFETY: this thread gets a working directory of its own; the table of files stays shared.
    // Where the kernel refuses, joining a private hypervisor fails later with its own error.
    let _own_directory = unsafe { unshare_unsafe(UnshareFlags::FS) };
    let Some(ends) = ENDS.get() else { return };
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
    runtime.block_on(async {
        let Ok(mut signals) = Signals::new() else { return };
        // Nobody minds where nobody waits for it.
        let _heard = ready.send(());
        let mut first = signals.next().await;
        while TAKEN.load(Ordering::Relaxed) {
            first = signals.next().await;
        }
        let run = ends.run().clone();
        let Some(run) = run else { ends.leave(first) };
        last_word(move || tell(&format!("stopping at {}: what runs is broken off", first.name())));
        run.ask();
        children::end();
        tokio::select! {
            again = signals.next() => ends.leave(again),
            () = tokio::time::sleep(WINDING_UP) => {}
        }
        if ends.wound_up.load(Ordering::Relaxed) {
            tokio::select! {
                again = signals.next() => ends.leave(again),
                () = tokio::time::sleep(TIDYING) => {}
            }
        }
        ends.leave(first)
    });
}

/// Whether whoever started the program had it ignore the end of its terminal.
fn hang_up_is_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_those_of_shells() {
        for (signal, own, ansible) in
            [(Signal::Interrupt, 130, 99), (Signal::Terminate, 143, 143), (Signal::HangUp, 129, 129)]
        {
            assert_eq!(signal.code(Program::Quaylab), own, "{}", signal.name());
            assert_eq!(signal.code(Program::Playbook), ansible, "{}", signal.name());
        }
    }
}
