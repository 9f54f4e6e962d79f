use std::collections::HashSet;

use super::Lab;
use super::names::VmNames;
use crate::lab::{Element, Hypervisor, Hypervisors, LabError, Mark};

/// The VMs of a lab that no host of its inventory has, on the hypervisors that were asked so far. One that does not answer
/// any more has failed somewhere else already.
pub(in crate::cli) async fn unclaimed(lab: &Lab, names: &VmNames, asked: &Hypervisors) -> Vec<String> {
    let mut all = Vec::new();
    for hypervisor in asked.open().await {
        all.extend(unclaimed_on(&hypervisor, lab, names).await.unwrap_or_default());
    }
    all.sort();
    all.dedup();
    all
}

/// The same, on one hypervisor.
pub(super) async fn unclaimed_on(
    hypervisor: &Hypervisor,
    lab: &Lab,
    names: &VmNames,
) -> Result<Vec<String>, LabError> {
    let known: HashSet<String> = names.vms().map(str::to_owned).collect();
    let mark = Mark::new(&lab.name);
    hypervisor
        .clone()
        .only_asked()
        .call(move |driver| {
            let mut all = Vec::new();
            for name in driver.domains()?.into_iter().filter(|name| !known.contains(name)) {
                let Some(now) = driver.domain(&name)? else { continue };
                if Mark::read(&Element::parse(&now.xml)?).as_ref() == Some(&mark) {
                    all.push(name);
                }
            }
            Ok(all)
        })
        .await
}
