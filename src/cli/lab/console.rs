use std::io::{IsTerminal as _, Read as _, Write as _};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Args;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};

use super::named::LabArgs;
use super::session::{self, Session};
use crate::diag::Diagnostic;
use crate::lab::{ConsoleStream, DomainState};

/// What ends it, as in telnet: Ctrl and the closing bracket.
const ESCAPE: u8 = 0x1d;

/// After the end of a piped input, what the guest still says within this long is waited for. QEMU looks once a second
/// whether somebody has come to a console.
const SILENCE: Duration = Duration::from_millis(2500);

/// Options of `quaylab console`.
#[derive(Debug, Args)]
pub(in crate::cli) struct ConsoleArgs {
    #[command(flatten)]
    of: LabArgs,
    /// A host of the inventory, by its full or short name.
    host: String,
    /// Take the console from whoever has it.
    #[arg(short, long)]
    force: bool,
}

/// Joins this terminal, or a pipe, with a VM's serial console.
pub(in crate::cli) fn run(args: &ConsoleArgs) -> Result<ExitCode> {
    let session = Session::open(&args.of)?;
    session::run(async {
        let chosen = session.chosen(std::slice::from_ref(&args.host)).await?;
        let Some(found) = chosen.into_iter().next() else { return Ok(ExitCode::FAILURE) };
        if found.vm.state != DomainState::Running {
            let short = &found.vm.name;
            return Err(Diagnostic::new(format!("VM {short} is {}", found.vm.state.word()))
                .hint(format!("quaylab start {short} starts it"))
                .into());
        }
        let (name, force) = (found.vm.name.clone(), args.force);
        let stream = found.hypervisor.call(move |d| d.console(&name, force)).await?;
        tokio::task::block_in_place(|| join(&stream.into()))?;
        Ok(ExitCode::SUCCESS)
    })
}

enum Heard {
    Guest(Vec<u8>),
    GuestLeft,
    Person(Vec<u8>),
    PersonLeft,
}

fn join(stream: &Arc<dyn ConsoleStream>) -> Result<()> {
    let terminal = std::io::stdin().is_terminal();
    if terminal {
        crate::cli::tell("connected; ^] leaves");
    }
    let _raw = terminal.then(Raw::set).transpose()?;
    let (tell, heard) = channel();
    let (reader, to_main) = (Arc::clone(stream), tell.clone());
    // Both block in a read that nothing can break off; they end with the program.
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        loop {
            let next = match reader.receive(&mut buffer) {
                Ok(count) if count > 0 => Heard::Guest(buffer[..count].to_vec()),
                _ => Heard::GuestLeft,
            };
            let last = matches!(next, Heard::GuestLeft);
            if to_main.send(next).is_err() || last {
                break;
            }
        }
    });
    std::thread::spawn(move || {
        let mut buffer = [0; 1024];
        loop {
            let next = match std::io::stdin().read(&mut buffer) {
                Ok(count) if count > 0 => Heard::Person(buffer[..count].to_vec()),
                _ => Heard::PersonLeft,
            };
            let last = matches!(next, Heard::PersonLeft);
            if tell.send(next).is_err() || last {
                break;
            }
        }
    });
    let mut out = std::io::stdout();
    let mut leaving = false;
    loop {
        let next = if leaving {
            match heard.recv_timeout(SILENCE) {
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
                Ok(next) => next,
            }
        } else {
            match heard.recv() {
                Ok(next) => next,
                Err(_) => break,
            }
        };
        match next {
            Heard::Guest(bytes) => {
                out.write_all(&bytes)
                    .and_then(|()| out.flush())
                    .context("cannot write what the guest says")?;
            }
            Heard::GuestLeft => break,
            Heard::Person(bytes) => {
                let until = bytes.iter().position(|b| *b == ESCAPE);
                stream.send(&bytes[..until.unwrap_or(bytes.len())])?;
                if until.is_some() {
                    break;
                }
            }
            Heard::PersonLeft => leaving = true,
        }
    }
    Ok(())
}

/// A terminal that passes every key on; as it was again when this is dropped.
struct Raw(Termios);

impl Raw {
    fn set() -> Result<Self> {
        let was = tcgetattr(std::io::stdin()).context("cannot read the terminal's settings")?;
        let mut raw = was.clone();
        raw.make_raw();
        tcsetattr(std::io::stdin(), OptionalActions::Now, &raw).context("cannot set the terminal")?;
        Ok(Self(was))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        let _as_it_was = tcsetattr(std::io::stdin(), OptionalActions::Now, &self.0);
        // What the guest painted ends here.
        crate::cli::tell("");
    }
}
