use super::xml::Element;
use super::{Hypervisor, LabError};
use crate::host::{Script, quote};

/// Puts the cards of a network's running VMs back on its bridge: stopping the network took the bridge away, and libvirt
/// itself does this only when its daemon starts.
pub async fn replug(hypervisor: &Hypervisor, network: &str) -> Result<(), LabError> {
    let wanted = network.to_owned();
    let (bridge, cards) = hypervisor
        .call(move |d| {
            let bridge = match d.network(&wanted)? {
                Some(defined) => bridge_of(&Element::parse(&defined.xml)?),
                None => None,
            };
            let mut cards = Vec::new();
            for name in d.domains()? {
                if let Some(live) = d.domain(&name)?.and_then(|vm| vm.live) {
                    cards.extend(cards_on(&Element::parse(&live)?, &wanted));
                }
            }
            Ok((bridge, cards))
        })
        .await?;
    let Some(bridge) = bridge.filter(|_| !cards.is_empty()) else { return Ok(()) };
    let what = format!("putting the VMs back on network {network}");
    let Some(root) = hypervisor.root() else {
        return Err(
            LabError::failed(what, "the hypervisor itself is not reached").with_hint("restart its VMs")
        );
    };
    let script: Vec<String> = cards
        .iter()
        .map(|card| format!("ip link set dev {} master {} up", quote(card), quote(&bridge)))
        .collect();
    let reply = root.run(&Script::new(script.join(" && "))).await?;
    if reply.ok() { Ok(()) } else { Err(LabError::failed(what, reply.err().trim().to_owned())) }
}

fn bridge_of(network: &Element) -> Option<String> {
    network.path_attr("bridge", "name").map(str::to_owned)
}

/// The interfaces on the hypervisor that are a running VM's cards on a network.
fn cards_on(live: &Element, network: &str) -> Vec<String> {
    let interfaces = live.find("devices").into_iter().flat_map(|d| d.all("interface"));
    interfaces
        .filter(|i| i.path_attr("source", "network") == Some(network))
        .filter_map(|i| i.path_attr("target", "dev").map(str::to_owned))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_networks_own_cards_are_moved() {
        let live = Element::parse(
            "<domain><devices><interface><source network='a'/><target dev='vnet0'/></interface>\
             <interface><source network='b'/><target dev='vnet1'/></interface></devices></domain>",
        )
        .expect("xml");
        assert_eq!(cards_on(&live, "a"), ["vnet0"]);
        assert!(cards_on(&live, "c").is_empty());
    }
}
