use std::collections::HashSet;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Result, bail};
use clap::{Args, Subcommand};
use futures_util::future::join_all;

use super::WaitArgs;
use super::named::LabArgs;
use super::session::{self, Session};
use crate::cli::plan::confirmed;
use crate::cli::say::{say, show, show_json};
use crate::lab::{Hold, Snapshot, SnapshotLab, SnapshotVm, Snapshots};
use crate::report::{span, table};

/// Options of `quaylab snapshot`.
#[derive(Debug, Args)]
pub(in crate::cli) struct SnapshotArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Keep all VMs as they are at this moment; they are held for a few seconds.
    Create {
        #[command(flatten)]
        of: LabArgs,
        #[command(flatten)]
        wait: WaitArgs,
        /// The snapshot's name; by default the time.
        name: Option<String>,
        /// Let the VMs power off for it, and keep their disks only.
        #[arg(long)]
        no_memory: bool,
        /// Seconds that a guest has to power off.
        #[arg(long, value_name = "SECONDS", default_value_t = 120)]
        timeout: u64,
    },
    /// List the lab's snapshots.
    Ls {
        #[command(flatten)]
        of: LabArgs,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Go back to a snapshot; what happened since is lost.
    Restore {
        #[command(flatten)]
        of: LabArgs,
        #[command(flatten)]
        wait: WaitArgs,
        name: String,
        /// Do not ask.
        #[arg(short, long)]
        yes: bool,
    },
    /// Remove snapshots.
    Rm {
        #[command(flatten)]
        of: LabArgs,
        #[command(flatten)]
        wait: WaitArgs,
        #[arg(required = true)]
        names: Vec<String>,
    },
}

/// Does what is asked with the lab's snapshots.
pub(in crate::cli) fn run(args: &SnapshotArgs) -> Result<ExitCode> {
    match &args.what {
        What::Create { of, wait, name, no_memory, timeout } => {
            let name =
                name.clone().unwrap_or_else(|| jiff::Zoned::now().strftime("%Y-%m-%d-%H%M%S").to_string());
            let hold = if *no_memory {
                Hold::PoweredOff { patience: Duration::from_secs(*timeout) }
            } else {
                Hold::WithMemory
            };
            create((of, *wait), &name, hold)
        }
        What::Ls { of, json } => list(of, *json),
        What::Restore { of, wait, name, yes } => restore((of, *wait), name, *yes),
        What::Rm { of, wait, names } => {
            let session = Session::changing(of, "quaylab snapshot rm", *wait)?;
            session::run(async {
                let lab = lab(&session).await?;
                let mut held = HashSet::new();
                for name in names {
                    let known = Snapshots::new(&session.lab.state_dir).get(name)?;
                    let letting_go =
                        known.into_iter().flat_map(|s| s.vms).filter(SnapshotVm::holds_its_snapshot);
                    held.extend(letting_go.map(|vm| vm.name));
                    lab.remove(name, &|text| say(text)).await?;
                    say(&format!("the snapshot {name} is gone"));
                }
                back_on_the_network(&session, |vm| held.contains(vm)).await;
                Ok(ExitCode::SUCCESS)
            })
        }
    }
}

/// The lab as its snapshots see it.
pub(super) async fn lab(session: &Session) -> Result<SnapshotLab> {
    let mut hypervisors = Vec::new();
    for uri in &session.uris {
        hypervisors.push(session.hypervisors.get(uri).await?);
    }
    Ok(SnapshotLab {
        lab: session.lab.name.to_string(),
        state_dir: session.lab.state_dir.clone(),
        hypervisors,
        vms: session.found().await?.into_iter().map(|f| (f.hypervisor, f.vm.name)).collect(),
    })
}

/// Waits for those of the VMs that went on from their memory: each is a new member of its bridge, which carries nothing for it at first.
async fn back_on_the_network(session: &Session, went_on: impl Fn(&str) -> bool) {
    // Who cannot be asked for addresses has done all that was wanted of it.
    let Ok(found) = session.found().await else { return };
    let waits = found.iter().filter(|guest| went_on(&guest.vm.name)).map(|guest| async move {
        if !guest.until_reachable().await {
            let address = guest.vm.address.as_deref().unwrap_or_default();
            say(&format!("{}: goes on, but nothing answers at {address} yet", guest.vm.name));
        }
    });
    join_all(waits).await;
}

fn create((of, wait): (&LabArgs, WaitArgs), name: &str, hold: Hold) -> Result<ExitCode> {
    let session = Session::changing(of, "quaylab snapshot create", wait)?;
    session::run(async {
        let lab = lab(&session).await?;
        if lab.vms.is_empty() {
            bail!("the lab {} has no VMs to keep", session.lab.name);
        }
        let since = Instant::now();
        let snapshot = lab.create(name, hold, &|text| say(text)).await?;
        let went_on = |vm: &str| snapshot.vms.iter().any(|kept| kept.name == vm && kept.memory.is_some());
        back_on_the_network(&session, went_on).await;
        let disks: usize = snapshot.vms.iter().map(|vm| vm.disks.len()).sum();
        say(&format!(
            "snapshot {name}: {} VMs, {disks} disks, in {:.1} s",
            snapshot.vms.len(),
            since.elapsed().as_secs_f64()
        ));
        Ok(ExitCode::SUCCESS)
    })
}

fn restore((of, wait): (&LabArgs, WaitArgs), name: &str, yes: bool) -> Result<ExitCode> {
    let session = Session::changing(of, "quaylab snapshot restore", wait)?;
    let known = Snapshots::new(&session.lab.state_dir).get(name)?;
    if let Some(snapshot) = &known {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
        let names: Vec<&str> = snapshot.vms.iter().map(|vm| vm.name.as_str()).collect();
        say(&format!(
            "{} {} back to how {} {} ago; what happened since is lost",
            names.join(", "),
            if names.len() == 1 { "goes" } else { "go" },
            if names.len() == 1 { "it was" } else { "they were" },
            span(now.saturating_sub(snapshot.created))
        ));
        if !yes && !confirmed("go back?", "--yes")? {
            say("nothing was changed");
            return Ok(ExitCode::SUCCESS);
        }
    }
    session::run(async {
        let lab = lab(&session).await?;
        let since = Instant::now();
        lab.restore(name, &|text| say(text)).await?;
        let going_on =
            |vm: &str| known.iter().flat_map(|s| &s.vms).any(|kept| kept.name == vm && kept.memory.is_some());
        back_on_the_network(&session, going_on).await;
        say(&format!("the lab is as in the snapshot {name}, after {:.1} s", since.elapsed().as_secs_f64()));
        let later: Vec<&str> = lab
            .vms
            .iter()
            .map(|(_, vm)| vm.as_str())
            .filter(|vm| !known.iter().flat_map(|s| &s.vms).any(|kept| kept.name == *vm))
            .collect();
        if !later.is_empty() {
            say(&format!("made after it, and left as they are: {}", later.join(", ")));
        }
        Ok(ExitCode::SUCCESS)
    })
}

fn list(of: &LabArgs, json: bool) -> Result<ExitCode> {
    let inventory = of.read()?;
    let all = Snapshots::new(&super::Lab::of(&inventory)?.state_dir).all()?;
    if json {
        let shown: Vec<_> = all
            .iter()
            .map(|s| {
                serde_json::json!({
                    "name": s.name, "created": s.created, "complete": s.complete,
                    "vms": s.vms.iter().map(|vm| serde_json::json!({
                        "name": vm.name, "running": vm.running, "memory": vm.memory.is_some(),
                        "disks": vm.disks,
                    })).collect::<Vec<_>>(),
                    "roles": s.roles,
                })
            })
            .collect();
        show_json(&shown)?;
    } else if all.is_empty() {
        say("there are no snapshots");
    } else {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
        show(&render(&all, now))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn render(all: &[Snapshot], now: u64) -> String {
    let rows: Vec<Vec<String>> = all
        .iter()
        .map(|snapshot| {
            let vms = snapshot.vms.iter().map(|vm| match (vm.running, &vm.memory) {
                (true, Some(_)) => format!("{} (running)", vm.name),
                (true, None) => format!("{} (boots)", vm.name),
                (false, _) => format!("{} (off)", vm.name),
            });
            let roles: Vec<&str> = snapshot
                .roles
                .values()
                .flatten()
                .filter(|(_, state)| state.converged)
                .map(|(role, _)| role.as_str())
                .collect();
            let mut distinct: Vec<&str> = Vec::new();
            for role in roles {
                if !distinct.contains(&role) {
                    distinct.push(role);
                }
            }
            vec![
                snapshot.name.clone(),
                format!("{} ago", span(now.saturating_sub(snapshot.created))),
                if snapshot.complete { vms.collect::<Vec<_>>().join(", ") } else { "broke off".into() },
                if distinct.is_empty() { "-".into() } else { distinct.join(", ") },
            ]
        })
        .collect();
    table(&["snapshot", "made", "VMs", "roles"], &rows)
}
