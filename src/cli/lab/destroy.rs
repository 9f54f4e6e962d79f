use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use clap::Args;

use super::identity::hypervisor_uris;
use super::{Lab, wanted_private};
use crate::diag::Diagnostic;
use crate::inventory::Inventory;
use crate::lab::{
    DEFAULT_URI, Doomed, Hypervisor, LabError, Ledger, defined, destroy, plan_destroy, private,
};
use crate::settings::Settings;

/// Options of `quaylab destroy`.
#[derive(Debug, Args)]
pub(in crate::cli) struct DestroyArgs {
    /// The inventory whose lab is removed.
    #[arg(short, long, value_name = "SOURCE")]
    inventory: Vec<String>,
    /// The lab's name, where its inventory is gone: what carries its mark is removed.
    #[arg(long, value_name = "NAME", conflicts_with = "inventory")]
    lab: Option<String>,
    /// With --lab: a libvirt to look at; may be given several times (default: this machine's own).
    #[arg(short, long, value_name = "URI", requires = "lab")]
    connect: Vec<String>,
    /// Do not ask.
    #[arg(short, long)]
    yes: bool,
    /// Only list what would be removed.
    #[arg(short = 'C', long)]
    check: bool,
}

/// Lists what carries the lab's mark, asks, and removes it.
pub(in crate::cli) fn run(args: &DestroyArgs) -> Result<ExitCode> {
    let (lab, uris, wanted) = which(args)?;
    // A private hypervisor that is down is brought up: what is defined in it can only be removed through it.
    let entered =
        if private::remains() { private::ensure_and_enter(wanted)? } else { private::Entered::System };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let done = runtime.block_on(remove(args, &lab, &uris));
    // What others have in the private hypervisor, whichever hypervisors the lab itself was on.
    let others = match entered {
        private::Entered::Private { .. } => {
            runtime.block_on(async { defined(&Hypervisor::open(DEFAULT_URI).await?).await })?
        }
        private::Entered::System => Vec::new(),
    };
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    let Some(done) = done? else { return Ok(ExitCode::SUCCESS) };
    for (what, error) in &done.failed {
        say(&format!("could not remove {what}: {error}"));
    }
    for (what, why) in &done.kept {
        say(&format!("{what} stays: {why}"));
    }
    if !done.failed.is_empty() {
        bail!(
            "{} of {} things could not be removed; run it again once the cause is mended",
            done.failed.len(),
            done.failed.len() + done.removed.len()
        );
    }
    if matches!(entered, private::Entered::Private { .. }) {
        if others.is_empty() {
            private::down()?;
            say("stopped the private libvirt and removed its namespaces");
        } else {
            say(&format!("the private libvirt goes on, with what others made in it: {}", others.join(", ")));
        }
    }
    lab.tidy();
    if !done.removed.is_empty() {
        say(&format!("the lab {} is gone: {} things removed", lab.name, done.removed.len()));
    }
    Ok(ExitCode::SUCCESS)
}

/// The lab, where it may have left something, and whether that may be a private hypervisor.
fn which(args: &DestroyArgs) -> Result<(Lab, Vec<String>, private::Wanted)> {
    if let Some(name) = &args.lab {
        if name.is_empty() || name.starts_with('.') || name.contains('/') {
            return Err(Diagnostic::new(format!("{name:?} is no lab's name"))
                .hint(
                    "it is `quaylab_lab` of the inventory, else the inventory file's name without its ending",
                )
                .into());
        }
        let uris = if args.connect.is_empty() { vec![DEFAULT_URI.to_owned()] } else { args.connect.clone() };
        return Ok((Lab::named(name.clone()), uris, private::Wanted::Auto));
    }
    let settings = Settings::load()?;
    let sources = if args.inventory.is_empty() { &settings.inventory } else { &args.inventory };
    if sources.is_empty() {
        return Err(Diagnostic::new("no inventory is given")
            .hint("name the lab's inventory with -i, or the lab itself with --lab")
            .into());
    }
    let (inventory, _) = Inventory::load(sources)?;
    Ok((Lab::of(&inventory), hypervisor_uris(&inventory), wanted_private(&inventory)?))
}

async fn remove(args: &DestroyArgs, lab: &Lab, uris: &[String]) -> Result<Option<Done>> {
    let mut plans = Vec::new();
    for uri in uris {
        let hypervisor = Hypervisor::open(uri).await?;
        let plan = plan_destroy(&hypervisor, &lab.name, &lab.state_dir).await?;
        plans.push((hypervisor, plan));
    }
    // What is remembered of the lab goes last of all: until then it says what is whose.
    let mut memory = Vec::new();
    for (_, plan) in &mut plans {
        let (state, things): (Vec<_>, Vec<_>) =
            std::mem::take(plan).into_iter().partition(|d| matches!(d, Doomed::State(_)));
        *plan = things;
        memory = state;
    }
    if let Some((_, last)) = plans.last_mut() {
        last.extend(memory);
    }
    if plans.iter().all(|(_, plan)| plan.is_empty()) {
        say(&format!("nothing of the lab {} is left", lab.name));
        return Ok(Some(Done::default()));
    }
    say(&format!("of the lab {}:", lab.name));
    for (hypervisor, plan) in &plans {
        for doomed in plan {
            say(&format!("  {doomed}  ({})", hypervisor.uri()));
        }
    }
    if args.check || !(args.yes || confirmed()?) {
        say("nothing was removed");
        return Ok(None);
    }
    let mut all = Done::default();
    for (hypervisor, plan) in plans {
        let ledger = Ledger::new(&hypervisor, &lab.state_dir, &lab.name);
        // Where something could not be removed before, what is remembered is still needed.
        let plan =
            plan.into_iter().filter(|d| all.failed.is_empty() || !matches!(d, Doomed::State(_))).collect();
        let done = destroy(&hypervisor, plan, &ledger, &|text| say(text)).await;
        all.removed.extend(done.removed);
        all.kept.extend(done.kept);
        all.failed.extend(done.failed);
    }
    Ok(Some(all))
}

/// What `destroy` did on all hypervisors.
#[derive(Default)]
struct Done {
    removed: Vec<Doomed>,
    failed: Vec<(Doomed, LabError)>,
    kept: Vec<(Doomed, String)>,
}

fn confirmed() -> Result<bool> {
    if !std::io::stdin().is_terminal() {
        return Err(Diagnostic::new("there is no terminal to ask on")
            .hint("give --yes to remove all that is listed")
            .into());
    }
    let mut out = std::io::stderr();
    out.write_all(b"remove all of this? [y/N] ")?;
    out.flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

#[expect(clippy::print_stdout, reason = "what the command has to say")]
fn say(text: &str) {
    println!("{text}");
}
