use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use super::identity::hypervisor_uris;
use super::named::LabArgs;
use super::names::VmNames;
use super::session::{self, Session};
use super::{Held, Lab, WaitArgs, wanted_private};
use crate::cli::say::say;
use crate::diag::Diagnostic;
use crate::inventory::Inventory;
use crate::lab::{
    Element, GuestName, HostDns, Hypervisor, LabError, Mark, NetworkSpec, VmStatus, Zone, lab_status, private,
};

/// Options of `quaylab host-dns`.
#[derive(Debug, Args)]
pub(in crate::cli) struct HostDnsArgs {
    #[command(flatten)]
    of: LabArgs,
    #[command(flatten)]
    wait: WaitArgs,
    /// Take the lab's names away again; `quaylab destroy` does it too.
    #[arg(long)]
    remove: bool,
}

/// Lets this machine find the lab's guests by name, or no more.
pub(in crate::cli) fn run(args: &HostDnsArgs) -> Result<ExitCode> {
    if args.remove {
        let inventory = args.of.read()?;
        let held = Held::change(&inventory, "quaylab host-dns", args.wait)?;
        for file in HostDns::default().remove(&held.name)? {
            say(&format!("removed from {}", file.display()));
        }
        return Ok(ExitCode::SUCCESS);
    }
    let session = Session::changing(&args.of, "quaylab host-dns", args.wait)?;
    keep(&session.inventory, &session.lab)?;
    Ok(ExitCode::SUCCESS)
}

/// Lets this machine find the lab's guests by name.
pub(in crate::cli) fn keep(inventory: &Inventory, lab: &Lab) -> Result<()> {
    // Joining what has been joined changes nothing; that it is private is what counts here.
    if wanted_private(inventory)? != private::Wanted::Never && private::running() {
        return Err(Diagnostic::new("the guests of a private hypervisor are reached in its namespaces only")
            .hint("quaylab ssh and quaylab ssh-config reach them by name")
            .into());
    }
    let names = VmNames::of(inventory);
    let (zones, vms) = session::run(known(hypervisor_uris(inventory), lab.name.to_string()))?;
    let mut guests = Vec::new();
    for host in inventory.hosts() {
        let vm = vms.iter().find(|vm| names.vm_of(host) == Some(vm.name.as_str()));
        if let Some(address) = vm.and_then(|vm| vm.address.as_ref()?.parse().ok()) {
            guests.push(GuestName { host: host.to_owned(), address });
        }
    }
    let dns = HostDns::default();
    let resolver = dns.resolver().word();
    let written = dns.keep(&lab.name, &zones, &guests)?;
    if written.is_empty() {
        say(&format!("{resolver} knows the lab's {} guests already", guests.len()));
    }
    for file in written {
        say(&format!("{}: the lab's guests are found by name ({resolver})", file.display()));
    }
    Ok(())
}

async fn known(uris: Vec<String>, lab: String) -> Result<(Vec<Zone>, Vec<VmStatus>)> {
    let (mut zones, mut vms) = (Vec::new(), Vec::new());
    for uri in uris {
        let hypervisor = Hypervisor::open(&uri).await?.only_asked();
        vms.extend(lab_status(&hypervisor, &lab).await?);
        // What answers behind another machine is not reached from here.
        if hypervisor.is_local() {
            let mark = Mark::new(&lab);
            zones.extend(hypervisor.call(move |d| marked_zones(d, &mark)).await?);
        }
    }
    Ok((zones, vms))
}

fn marked_zones(driver: &dyn crate::lab::Driver, mark: &Mark) -> Result<Vec<Zone>, LabError> {
    let mut zones = Vec::new();
    for name in driver.networks()? {
        let Some(network) = driver.network(&name)? else { continue };
        let xml = Element::parse(&network.xml)?;
        if Mark::read(&xml).as_ref() != Some(mark) {
            continue;
        }
        let spec = NetworkSpec::from_element(&xml)?;
        if let (Some(domain), Some(bridge), Some(subnet)) =
            (spec.domain, spec.bridge, spec.ipv4.or(spec.ipv6))
        {
            zones.push(Zone { domain, bridge, server: subnet.address });
        }
    }
    Ok(zones)
}
