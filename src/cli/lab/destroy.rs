use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use clap::Args;

use super::identity::hypervisor_uris;
use super::{Lab, wanted_private};
use crate::diag::Diagnostic;
use crate::inventory::Inventory;
use crate::lab::{Doomed, Hypervisor, LabError, defined, destroy, plan_destroy, private};
use crate::settings::Settings;

/// Options of `quaylab destroy`.
#[derive(Debug, Args)]
pub(in crate::cli) struct DestroyArgs {
    /// The inventory whose lab is removed.
    #[arg(short, long, value_name = "SOURCE")]
    inventory: Vec<String>,
    /// Do not ask.
    #[arg(short, long)]
    yes: bool,
    /// Only list what would be removed.
    #[arg(short = 'C', long)]
    check: bool,
}

/// Lists what carries the lab's mark, asks, and removes it.
pub(in crate::cli) fn run(args: &DestroyArgs) -> Result<ExitCode> {
    let settings = Settings::load()?;
    let sources = if args.inventory.is_empty() { &settings.inventory } else { &args.inventory };
    if sources.is_empty() {
        return Err(Diagnostic::new("no inventory is given").hint("name the lab's inventory with -i").into());
    }
    let (inventory, _) = Inventory::load(sources)?;
    let lab = Lab::of(&inventory);
    let uris = hypervisor_uris(&inventory);
    let wanted = wanted_private(&inventory)?;
    // A private hypervisor that is down is brought up: what is defined in it can only be removed through it.
    let entered =
        if private::remains() { private::ensure_and_enter(wanted)? } else { private::Entered::System };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let done = runtime.block_on(remove(args, &lab, &uris));
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    let Some(done) = done? else { return Ok(ExitCode::SUCCESS) };
    for (what, error) in &done.failed {
        say(&format!("could not remove {what}: {error}"));
    }
    if !done.failed.is_empty() {
        bail!(
            "{} of {} things could not be removed; run it again once the cause is mended",
            done.failed.len(),
            done.failed.len() + done.removed.len()
        );
    }
    if matches!(entered, private::Entered::Private { .. }) {
        if done.others.is_empty() {
            private::down()?;
            say("stopped the private libvirt and removed its namespaces");
        } else {
            say(&format!("the private libvirt goes on, with what others made in it: {}", done.others.join(", ")));
        }
    }
    lab.tidy();
    if !done.removed.is_empty() {
        say(&format!("the lab {} is gone: {} things removed", lab.name, done.removed.len()));
    }
    Ok(ExitCode::SUCCESS)
}

async fn remove(args: &DestroyArgs, lab: &Lab, uris: &[String]) -> Result<Option<Done>> {
    let mut plans = Vec::new();
    for uri in uris {
        let hypervisor = Hypervisor::open(uri).await?;
        let plan = plan_destroy(&hypervisor, &lab.name, &lab.state_dir).await?;
        plans.push((hypervisor, plan));
    }
    if plans.iter().all(|(_, plan)| plan.is_empty()) {
        say(&format!("nothing of the lab {} is left", lab.name));
        let mut done = Done::default();
        for (hypervisor, _) in plans.iter().filter(|(h, _)| h.is_local()) {
            done.others.extend(defined(hypervisor).await?);
        }
        return Ok(Some(done));
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
        let done = destroy(&hypervisor, plan, &lab.state_dir, &|text| say(text)).await;
        all.removed.extend(done.removed);
        all.failed.extend(done.failed);
        if hypervisor.is_local() {
            all.others.extend(defined(&hypervisor).await?);
        }
    }
    Ok(Some(all))
}

/// What `destroy` did, and what lives on this machine's hypervisor all the same.
#[derive(Default)]
struct Done {
    removed: Vec<Doomed>,
    failed: Vec<(Doomed, LabError)>,
    others: Vec<String>,
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
