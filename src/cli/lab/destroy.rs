use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use clap::Args;

use super::identity::hypervisor_uris;
use super::named::LabArgs;
use super::names::VmNames;
use super::{Held, Lab, WaitArgs, registration, strangers, wanted_private};
use crate::cli::plan::confirmed;
use crate::cli::say::say;
use crate::diag::Diagnostic;
use crate::inventory::Inventory;
use crate::lab::{
    Converged, DEFAULT_URI, Doomed, Element, HostDns, Hypervisor, LabError, Ledger, Snapshot, SnapshotLab,
    Snapshots, defined, destroy, disks_of, host_dir, plan_addresses, plan_destroy, private,
};

/// Options of `quaylab destroy`.
#[derive(Debug, Args)]
pub(in crate::cli) struct DestroyArgs {
    #[command(flatten)]
    of: LabArgs,
    #[command(flatten)]
    wait: WaitArgs,
    /// The lab's name, where its inventory is gone: what carries its mark is removed.
    #[arg(long, value_name = "NAME", conflicts_with = "inventory")]
    lab: Option<String>,
    /// With --lab: a libvirt to look at; may be given several times (default: this machine's own).
    #[arg(short, long, value_name = "URI", requires = "lab")]
    connect: Vec<String>,
    /// Only this host's VM, with its disks, by the host's full or short name, or the VM's; also one that the inventory
    /// names no more.
    #[arg(long, value_name = "HOST", conflicts_with = "lab")]
    host: Option<String>,
    /// Do not ask.
    #[arg(short, long)]
    yes: bool,
    /// Only list what would be removed.
    #[arg(short = 'C', long)]
    check: bool,
}

const DOING: &str = "quaylab destroy";

/// Lists what carries the lab's mark, asks, and removes it.
pub(in crate::cli) fn run(args: &DestroyArgs) -> Result<ExitCode> {
    let Which { lab, inventory, uris, wanted, only } = which(args)?;
    // A private hypervisor that is down is brought up: what is defined in it can only be removed through it.
    let entered =
        if private::remains() { private::ensure_and_enter(wanted)? } else { private::Entered::System };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let done = runtime.block_on(remove(args, (&*lab, inventory.as_ref()), &uris, only.as_ref()));
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
    if let Some(only) = only {
        let roles = Converged::new(&lab.state_dir);
        let mut all = roles.all()?;
        if all.shift_remove(&only.host).is_some() {
            roles.replace(&all)?;
        }
        if let Some(inventory) = &inventory
            && !HostDns::default().marked(&lab.name).is_empty()
        {
            super::host_dns::keep(inventory, &lab)?;
        }
        if !done.removed.is_empty() {
            say(&format!("{} is gone: {} things removed", only.host, done.removed.len()));
        }
        return Ok(ExitCode::SUCCESS);
    }
    if matches!(entered, private::Entered::Private { .. }) {
        if others.is_empty() {
            private::down()?;
            say("stopped the private libvirt and removed its namespaces");
        } else {
            say(&format!("the private libvirt goes on, with what others made in it: {}", others.join(", ")));
        }
    }
    if !done.removed.is_empty() {
        say(&format!("the lab {} is gone: {} things removed", lab.name, done.removed.len()));
    }
    Ok(ExitCode::SUCCESS)
}

/// The lab, where it may have left something, whether that may be a private hypervisor, and the one host that is meant.
struct Which {
    lab: Held,
    inventory: Option<Inventory>,
    uris: Vec<String>,
    wanted: private::Wanted,
    only: Option<Only>,
}

/// The one host that is meant, and its VM.
#[derive(Debug)]
struct Only {
    host: String,
    vm: String,
    /// Why it is no host of the inventory. Nothing is lost where a VM of the lab has that name all the same.
    unknown: Option<Diagnostic>,
}

impl Only {
    fn of(inventory: &Inventory, given: &str) -> Result<Self> {
        let names = VmNames::of(inventory);
        match names.meant(given) {
            Ok(host) => Ok(Self { vm: names.own_vm(&host)?.to_owned(), host, unknown: None }),
            Err(unknown) => Ok(Self { host: given.to_owned(), vm: given.to_owned(), unknown: Some(unknown) }),
        }
    }
}

fn which(args: &DestroyArgs) -> Result<Which> {
    let hold =
        |lab: Lab| if args.check { Held::look(lab, DOING) } else { Held::alone(lab, DOING, args.wait) };
    if let Some(name) = &args.lab {
        let uris = if args.connect.is_empty() { vec![DEFAULT_URI.to_owned()] } else { args.connect.clone() };
        let lab = hold(Lab::named(name)?)?;
        return Ok(Which { lab, inventory: None, uris, wanted: private::Wanted::Auto, only: None });
    }
    let inventory = args.of.read_or("name the lab's inventory with -i, or the lab itself with --lab")?;
    Ok(Which {
        lab: if args.check {
            hold(Lab::of(&inventory)?)?
        } else {
            Held::change(&inventory, DOING, args.wait)?
        },
        uris: hypervisor_uris(&inventory),
        wanted: wanted_private(&inventory)?,
        only: args.host.as_deref().map(|given| Only::of(&inventory, given)).transpose()?,
        inventory: Some(inventory),
    })
}

async fn remove(
    args: &DestroyArgs,
    (lab, inventory): (&Lab, Option<&Inventory>),
    uris: &[String],
    only: Option<&Only>,
) -> Result<Option<Done>> {
    let mut plans = Vec::new();
    for uri in uris {
        let hypervisor = Hypervisor::open(uri).await?;
        let mut plan = plan_destroy(&hypervisor, &lab.name, &lab.state_dir).await?;
        strangers::check(lab, uri, &plan)?;
        if let Some(only) = only {
            plan = of_vm(&hypervisor, plan, &only.vm, lab).await?;
        }
        plans.push((hypervisor, plan));
    }
    // A snapshot is of the whole lab: without one of its VMs it is none any more.
    let holds = |s: &Snapshot| only.is_none_or(|only| s.vms.iter().any(|vm| vm.name == only.vm));
    let snapshots: Vec<_> = Snapshots::new(&lab.state_dir).all()?.into_iter().filter(holds).collect();
    let dns = HostDns::default();
    let names = if only.is_none() { dns.marked(&lab.name) } else { Vec::new() };
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
    if plans.iter().all(|(_, plan)| plan.is_empty()) && snapshots.is_empty() && names.is_empty() {
        if let Some(unknown) = only.and_then(|only| only.unknown.clone()) {
            return Err(unknown.into());
        }
        let what = only.map_or_else(|| format!("the lab {}", lab.name), |only| only.host.clone());
        if only.is_none() && !args.check {
            for (hypervisor, _) in &plans {
                forget(&Ledger::new(hypervisor, &lab.state_dir, &lab.name)).await?;
            }
        }
        say(&format!("nothing of {what} is left"));
        return Ok(Some(Done::default()));
    }
    say(&format!("of the lab {}:", lab.name));
    for snapshot in &snapshots {
        say(&format!("  snapshot {}", snapshot.name));
    }
    for file in &names {
        say(&format!("  names in {}", file.display()));
    }
    for (hypervisor, plan) in &plans {
        for doomed in plan {
            let stays = if matches!(doomed, Doomed::Foreign { .. }) { ": it stays" } else { "" };
            say(&format!("  {doomed}{stays}  ({})", hypervisor.uri()));
        }
    }
    let others = lab.others()?;
    if !others.is_empty() {
        let own = lab.source().map(|source| format!("{source} and ")).unwrap_or_default();
        say(&format!("it is the lab of {own}{}", others.join(" and ")));
    }
    if args.check || !(args.yes || confirmed("remove all of this?", "--yes")?) {
        say("nothing was removed");
        return Ok(None);
    }
    for (hypervisor, plan) in &plans {
        let vms = plan.iter().filter_map(|doomed| match doomed {
            Doomed::Vm { name, .. } => Some(name.as_str()),
            _ => None,
        });
        registration::take_back(lab, inventory, hypervisor, &vms.collect()).await;
    }
    // What lies on the disks goes before them.
    let kept = SnapshotLab {
        lab: lab.name.to_string(),
        state_dir: lab.state_dir.clone(),
        hypervisors: plans.iter().map(|(h, _)| h.clone()).collect(),
        vms: Vec::new(),
    };
    for snapshot in &snapshots {
        kept.remove(&snapshot.name, &|text| say(text)).await?;
        say(&format!("removed the snapshot {}", snapshot.name));
    }
    if !names.is_empty() {
        for file in dns.remove(&lab.name)? {
            say(&format!("removed the lab's names from {}", file.display()));
        }
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
        if only.is_none() && all.failed.is_empty() {
            forget(&ledger).await?;
        }
    }
    Ok(Some(all))
}

/// Marks of what was never made, because a run was broken off between the two, go with the lab.
async fn forget(ledger: &Ledger) -> Result<()> {
    for made in ledger.all().await? {
        ledger.remove(made.kind, &made.name).await?;
    }
    Ok(())
}

/// What of a plan belongs to one VM: itself, its disks and seed, its host key.
async fn of_vm(hypervisor: &Hypervisor, plan: Vec<Doomed>, vm: &str, lab: &Lab) -> Result<Vec<Doomed>> {
    let name = vm.to_owned();
    let disks = hypervisor
        .call(move |d| {
            let Some(now) = d.domain(&name)? else { return Ok(Vec::new()) };
            let mut disks = Vec::new();
            for xml in now.live.iter().chain([&now.xml]) {
                disks.extend(disks_of(&Element::parse(xml)?));
            }
            Ok(disks)
        })
        .await?;
    let mut own = Vec::new();
    for doomed in plan {
        let is_own = match &doomed {
            Doomed::Vm { name, .. } => name == vm,
            Doomed::Volume { pool, name } => {
                let (pool, volume) = (pool.clone(), name.clone());
                let there = hypervisor.call(move |d| d.volume(&pool, &volume)).await?;
                // Where the VM is gone, its disks are told by their names.
                there.is_some_and(|v| disks.iter().any(|(_, path)| *path == v.path)) || named_for(name, vm)
            }
            Doomed::LogicalVolume { name, .. } => named_for(name, vm),
            Doomed::File { vm: of, .. } | Doomed::Foreign { vm: of, .. } => of == vm,
            // All of them are asked for below.
            Doomed::Address { .. }
            | Doomed::Pool { .. }
            | Doomed::VolumeGroup { .. }
            | Doomed::Network { .. }
            | Doomed::State(_) => false,
        };
        if is_own {
            own.push(doomed);
        }
    }
    let addresses = plan_addresses(hypervisor, &lab.name, vm).await?;
    let after =
        own.iter().filter(|d| matches!(d, Doomed::Vm { .. } | Doomed::File { .. } | Doomed::Foreign { .. }));
    let after = after.count();
    own.splice(after..after, addresses);
    let key = host_dir(&lab.state_dir, vm);
    if key.exists() && !own.is_empty() {
        own.push(Doomed::State(key));
    }
    Ok(own)
}

/// Whether a volume has the name that the role `vm` gives one of this VM's.
fn named_for(volume: &str, vm: &str) -> bool {
    let Some(rest) = volume.strip_prefix(vm) else { return false };
    let letter = |rest: &str| rest.len() == 1 && rest.chars().all(|c| c.is_ascii_lowercase());
    matches!(rest, "" | ".qcow2" | "-seed.img") || rest.strip_prefix("-vd").is_some_and(letter)
}

/// What `destroy` did on all hypervisors.
#[derive(Default)]
struct Done {
    removed: Vec<Doomed>,
    failed: Vec<(Doomed, LabError)>,
    kept: Vec<(Doomed, String)>,
}

#[cfg(test)]
mod tests {
    use super::named_for;

    #[test]
    fn a_vms_disks_are_told_by_their_names() {
        for (volume, own) in [
            ("quay.qcow2", true),
            ("quay", true),
            ("quay-vdb", true),
            ("quay-seed.img", true),
            ("quay2.qcow2", false),
            ("quay-db.qcow2", false),
            ("quay-vdbackup", false),
            ("quaylab-base-0123.qcow2", false),
        ] {
            assert_eq!(named_for(volume, "quay"), own, "{volume}");
        }
    }
}
