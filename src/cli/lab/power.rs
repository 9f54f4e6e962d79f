use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Args;
use futures_util::future::join_all;

use super::WaitArgs;
use super::named::LabArgs;
use super::session::{self, Found, Session};
use crate::cli::say::say;
use crate::lab::{LabError, Power, start_vm, stop_vm};

/// Options of `quaylab start`.
#[derive(Debug, Args)]
pub(in crate::cli) struct StartArgs {
    #[command(flatten)]
    of: LabArgs,
    #[command(flatten)]
    wait: WaitArgs,
    /// Hosts by their full or short names; all of the lab's VMs without any.
    hosts: Vec<String>,
}

/// Options of `quaylab stop` and `quaylab restart`.
#[derive(Debug, Args)]
pub(in crate::cli) struct StopArgs {
    #[command(flatten)]
    of: LabArgs,
    #[command(flatten)]
    wait: WaitArgs,
    /// Hosts by their full or short names; all of the lab's VMs without any.
    hosts: Vec<String>,
    /// Seconds that a guest has to power off.
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    timeout: u64,
    /// Switch off what has not powered off by then.
    #[arg(short, long)]
    force: bool,
}

/// Starts VMs.
pub(in crate::cli) fn start(args: &StartArgs) -> Result<ExitCode> {
    let session = Session::changing(&args.of, "quaylab start", args.wait)?;
    session::run(async {
        let chosen = session.chosen(&args.hosts).await?;
        Ok(all(&chosen, Deed::Start).await)
    })
}

/// Stops VMs.
pub(in crate::cli) fn stop(args: &StopArgs) -> Result<ExitCode> {
    let session = Session::changing(&args.of, "quaylab stop", args.wait)?;
    let deed = Deed::Stop(Duration::from_secs(args.timeout), args.force);
    session::run(async { Ok(all(&session.chosen(&args.hosts).await?, deed).await) })
}

/// Stops VMs and starts them again.
pub(in crate::cli) fn restart(args: &StopArgs) -> Result<ExitCode> {
    let session = Session::changing(&args.of, "quaylab restart", args.wait)?;
    let deed = Deed::Restart(Duration::from_secs(args.timeout), args.force);
    session::run(async { Ok(all(&session.chosen(&args.hosts).await?, deed).await) })
}

#[derive(Debug, Clone, Copy)]
enum Deed {
    Start,
    Stop(Duration, bool),
    Restart(Duration, bool),
}

/// Does it to all side by side; the exit code says whether all of it was done.
async fn all(chosen: &[Found], deed: Deed) -> ExitCode {
    let done = join_all(chosen.iter().map(|one| async move {
        let since = Instant::now();
        match on(one, deed).await {
            Ok(words) => {
                say(&format!("{}: {words} ({:.1} s)", one.vm.name, since.elapsed().as_secs_f64()));
                true
            }
            Err(error) => {
                let hint = error.hint().map(|h| format!("\n  hint: {h}")).unwrap_or_default();
                crate::cli::tell(&format!("error: {error}{hint}"));
                false
            }
        }
    }))
    .await;
    if done.into_iter().all(|well| well) { ExitCode::SUCCESS } else { ExitCode::from(2) }
}

async fn on(one: &Found, deed: Deed) -> Result<&'static str, LabError> {
    let (hypervisor, name) = (&one.hypervisor, one.vm.name.as_str());
    let word = |power| match power {
        Power::Already => "is like that already",
        Power::Started => "started",
        Power::PoweredOff => "powered off",
        Power::SwitchedOff => "switched off",
    };
    Ok(match deed {
        Deed::Start => word(start_vm(hypervisor, name).await?),
        Deed::Stop(patience, force) => word(stop_vm(hypervisor, name, patience, force).await?),
        Deed::Restart(patience, force) => {
            let stopped = stop_vm(hypervisor, name, patience, force).await?;
            start_vm(hypervisor, name).await?;
            match stopped {
                Power::SwitchedOff => "switched off and started",
                Power::Already => "started",
                Power::PoweredOff | Power::Started => "restarted",
            }
        }
    })
}
