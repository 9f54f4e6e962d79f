use std::net::IpAddr;

use super::xml::Element;
use super::{LabError, Mark, NetworkSpec, NetworkUpdate, UpdateCommand, UpdateSection};

/// An address that a network's DHCP keeps for one VM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reservation {
    pub mac: String,
    /// The name that its DNS gives the address.
    pub name: String,
    pub address: IpAddr,
}

impl Reservation {
    fn element(&self) -> Element {
        Element::new("host").attr("mac", &self.mac).attr("name", &self.name).attr("ip", self.address)
    }
}

/// What has to change in a network so that it keeps this address for the VM with this MAC, or none.
pub fn plan_reservation(
    network: &Element,
    mac: &str,
    wanted: Option<&Reservation>,
    mark: &Mark,
) -> Result<Vec<NetworkUpdate>, LabError> {
    let name = network.path_text("name").unwrap_or_default();
    let ours = Mark::read(network).as_ref() == Some(mark);
    let hosts: Vec<&Element> =
        network.all("ip").filter_map(|ip| ip.find("dhcp")).flat_map(|dhcp| dhcp.all("host")).collect();
    let own = hosts.iter().find(|h| h.get("mac").is_some_and(|m| m.eq_ignore_ascii_case(mac)));
    let mut updates = Vec::new();
    let same = |host: &Element, wanted: &Reservation| {
        host.get("ip") == Some(&wanted.address.to_string()) && host.get("name") == Some(&wanted.name)
    };
    if let (Some(host), Some(wanted)) = (own, wanted)
        && same(host, wanted)
    {
        return Ok(updates);
    }
    if let Some(wanted) = wanted {
        check(network, name, wanted)?;
        let holder = hosts.iter().find(|h| h.get("ip") == Some(&wanted.address.to_string()));
        if let Some(other) = holder.filter(|h| own.is_none_or(|o| o != *h)) {
            return Err(LabError::Conflict(format!(
                "network {name} keeps {} for {} already",
                wanted.address,
                other.get("name").or_else(|| other.get("mac")).unwrap_or("another")
            )));
        }
        if !ours {
            return Err(LabError::Conflict(format!(
                "network {name} was not made by this lab, so no address is reserved in it; leave `ip` out, or declare a network of the lab's own in libvirt_bridges"
            )));
        }
    }
    let update = |command, xml: String| NetworkUpdate { command, section: UpdateSection::DhcpHost, xml };
    if let Some(host) = own.filter(|_| ours) {
        updates.push(update(UpdateCommand::Delete, host.to_string()));
    }
    updates.extend(wanted.map(|w| update(UpdateCommand::Add, w.element().to_string())));
    Ok(updates)
}

fn check(network: &Element, name: &str, wanted: &Reservation) -> Result<(), LabError> {
    let spec = NetworkSpec::from_element(network)?;
    let bad =
        |why: String| Err(LabError::Invalid(format!("network {name}: the address {} {why}", wanted.address)));
    let subnets: Vec<_> = spec.ipv4.iter().chain(&spec.ipv6).collect();
    match subnets.iter().find(|s| s.holds(wanted.address)) {
        None => bad(format!(
            "is in none of its subnets ({})",
            subnets.iter().map(|s| format!("{}/{}", s.address, s.prefix)).collect::<Vec<_>>().join(", ")
        )),
        Some(subnet) if subnet.address == wanted.address => bad("is the hypervisor's own".into()),
        Some(subnet) if subnet.dhcp.is_none() => bad("cannot be kept: the network has no DHCP range".into()),
        Some(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: &str = "52:54:00:00:00:01";

    fn network(host: &str, lab: &str) -> Element {
        let mark = Mark::new(lab).element();
        Element::parse(&format!(
            "<network><name>n</name>{mark}<ip address='10.0.0.1' prefix='24'><dhcp><range start='10.0.0.2' end='10.0.0.9'/>{host}</dhcp></ip></network>"
        ))
        .expect("xml")
    }

    fn wanted(address: &str) -> Reservation {
        Reservation { mac: MAC.into(), name: "quay".into(), address: address.parse().expect("ip") }
    }

    fn plan(network: &Element, wanted: Option<&Reservation>) -> Result<Vec<(UpdateCommand, String)>, String> {
        plan_reservation(network, MAC, wanted, &Mark::new("lab"))
            .map(|u| u.into_iter().map(|u| (u.command, u.xml.trim().to_owned())).collect())
            .map_err(|e| e.to_string())
    }

    #[test]
    fn an_address_is_reserved_moved_and_given_back() {
        let host = |ip: &str| format!("<host mac='{MAC}' name='quay' ip='{ip}'/>");
        let (add, delete) = (UpdateCommand::Add, UpdateCommand::Delete);
        let (old, new) = (host("10.0.0.50"), host("10.0.0.60"));
        assert_eq!(plan(&network("", "lab"), Some(&wanted("10.0.0.50"))), Ok(vec![(add, old.clone())]));
        assert_eq!(plan(&network(&old, "lab"), Some(&wanted("10.0.0.50"))), Ok(vec![]));
        assert_eq!(
            plan(&network(&old, "lab"), Some(&wanted("10.0.0.60"))),
            Ok(vec![(delete, old.clone()), (add, new)])
        );
        assert_eq!(plan(&network(&old, "lab"), None), Ok(vec![(delete, old)]));
        assert_eq!(plan(&network("", "lab"), None), Ok(vec![]));
    }

    #[test]
    fn what_cannot_be_kept_is_explained() {
        let other = "<host mac='52:54:00:00:00:02' name='db' ip='10.0.0.50'/>";
        for (network, address, part) in [
            (network(other, "lab"), "10.0.0.50", "for db already"),
            (network("", "lab"), "10.0.1.1", "none of its subnets (10.0.0.1/24)"),
            (network("", "lab"), "10.0.0.1", "the hypervisor's own"),
            (network("", "other"), "10.0.0.50", "not made by this lab"),
        ] {
            let error = plan(&network, Some(&wanted(address))).expect_err("refused");
            assert!(error.contains(part), "{error}");
        }
    }
}
