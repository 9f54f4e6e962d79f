use std::net::IpAddr;

use super::xml::Element;
use super::{LabError, Mark, NetworkSpec, NetworkUpdate, Subnet, UpdateCommand, UpdateSection};

/// A VM as a network's DHCP knows it again: by its card, and where IPv6 has no such thing by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guest {
    pub mac: String,
    /// The name that it gives itself, and that the network's DNS gives its address.
    pub name: String,
}

impl Guest {
    /// What keeps an address for it.
    fn host(&self, address: IpAddr) -> Element {
        let host = Element::new("host");
        // libvirt refuses a MAC beside an IPv6 address.
        let host = if address.is_ipv4() { host.attr("mac", &self.mac) } else { host };
        host.attr("name", &self.name).attr("ip", address)
    }

    fn has(&self, host: &Element) -> bool {
        match host.get("mac") {
            Some(mac) => mac.eq_ignore_ascii_case(&self.mac),
            None => host.get("id").is_none() && host.get("name") == Some(&self.name),
        }
    }
}

/// What has to change in a network so that its DHCP keeps this address for the VM, or none.
pub fn plan_reservation(
    network: &Element,
    guest: &Guest,
    wanted: Option<IpAddr>,
    mark: &Mark,
) -> Result<Vec<NetworkUpdate>, LabError> {
    let name = network.path_text("name").unwrap_or_default();
    let ours = Mark::read(network).as_ref() == Some(mark);
    let hosts: Vec<(usize, &Element)> = network
        .all("ip")
        .enumerate()
        .flat_map(|(ip, element)| {
            element.find("dhcp").into_iter().flat_map(|d| d.all("host")).map(move |h| (ip, h))
        })
        .collect();
    let address = |host: &Element| host.get("ip").and_then(|ip| ip.parse::<IpAddr>().ok());
    let right = |host: &Element| {
        wanted.is_some_and(|wanted| {
            let declared = guest.host(wanted);
            address(host) == Some(wanted)
                && host.get("name") == declared.get("name")
                && host.get("mac").is_some() == declared.get("mac").is_some()
        })
    };
    let (own, others): (Vec<_>, Vec<_>) = hosts.into_iter().partition(|(_, host)| guest.has(host));
    let missing = wanted.filter(|_| !own.iter().any(|(_, host)| right(host)));
    let mut add = None;
    if let Some(wanted) = missing {
        let spec = NetworkSpec::from_element(network)?;
        check_address(&spec, wanted)?;
        if let Some((_, other)) = others.iter().find(|(_, host)| address(host) == Some(wanted)) {
            let other = other.get("name").or_else(|| other.get("mac")).unwrap_or("another");
            return Err(LabError::failed(
                format!("network {name}"),
                format!("it keeps {wanted} for {other} already"),
            )
            .with_hint(format!(
                "choose another address; where {other} is a VM of this lab that is gone, `quaylab destroy --host {other}` gives its address back"
            )));
        }
        if !ours {
            return Err(LabError::Conflict(format!(
                "network {name} was not made by this lab, so no address is reserved in it; leave `ip` out, or declare a network of the lab's own in libvirt_bridges"
            )));
        }
        let holds = |ip: &Element| Subnet::from_element(name, ip).is_ok_and(|subnet| subnet.holds(wanted));
        add = network.all("ip").position(holds).map(|ip| (ip, wanted));
    }
    let update = |command, ip, host: &Element| NetworkUpdate {
        command,
        section: UpdateSection::DhcpHost,
        ip: Some(ip),
        xml: host.to_string(),
    };
    let gone = own.iter().filter(|(_, host)| ours && !right(host));
    let mut updates: Vec<NetworkUpdate> =
        gone.map(|(ip, host)| update(UpdateCommand::Delete, *ip, host)).collect();
    updates.extend(add.map(|(ip, wanted)| update(UpdateCommand::Add, ip, &guest.host(wanted))));
    Ok(updates)
}

/// Whether a network's DHCP can keep an address; why not.
pub fn check_address(network: &NetworkSpec, wanted: IpAddr) -> Result<(), LabError> {
    let bad = |why: String, hint: &str| {
        Err(LabError::failed(format!("network {}", network.name), format!("the address {wanted} {why}"))
            .with_hint(hint))
    };
    let subnets: Vec<_> = network.ipv4.iter().chain(&network.ipv6).collect();
    let dhcp = "give the network a DHCP range (dhcp_start and dhcp_end, for IPv6 dhcp6_start and dhcp6_end), or set the address in the guest with `network` in cloud_init";
    if subnets.is_empty() {
        return bad("cannot be kept: the network has no addresses".into(), dhcp);
    }
    match subnets.iter().find(|s| s.holds(wanted)) {
        None => bad(
            format!(
                "is in none of its subnets ({})",
                subnets.iter().map(|s| format!("{}/{}", s.address, s.prefix)).collect::<Vec<_>>().join(", ")
            ),
            "choose one that is, or leave `ip` out",
        ),
        Some(subnet) if subnet.address == wanted => {
            bad("is the hypervisor's own".into(), "choose another, or leave `ip` out")
        }
        Some(subnet) if subnet.dhcp.is_none() => {
            bad("cannot be kept: the network has no DHCP range".into(), dhcp)
        }
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

    fn plan(network: &Element, wanted: Option<&str>) -> Result<Vec<(UpdateCommand, String)>, String> {
        let guest = Guest { mac: MAC.into(), name: "quay".into() };
        let wanted = wanted.map(|address| address.parse().expect("ip"));
        plan_reservation(network, &guest, wanted, &Mark::new("lab"))
            .map(|u| u.into_iter().map(|u| (u.command, u.xml.trim().to_owned())).collect())
            .map_err(|e| e.to_string())
    }

    #[test]
    fn an_address_is_reserved_moved_and_given_back() {
        let host = |ip: &str| format!("<host mac='{MAC}' name='quay' ip='{ip}'/>");
        let (add, delete) = (UpdateCommand::Add, UpdateCommand::Delete);
        let (old, new) = (host("10.0.0.50"), host("10.0.0.60"));
        assert_eq!(plan(&network("", "lab"), Some("10.0.0.50")), Ok(vec![(add, old.clone())]));
        assert_eq!(plan(&network(&old, "lab"), Some("10.0.0.50")), Ok(vec![]));
        assert_eq!(
            plan(&network(&old, "lab"), Some("10.0.0.60")),
            Ok(vec![(delete, old.clone()), (add, new)])
        );
        assert_eq!(plan(&network(&old, "lab"), None), Ok(vec![(delete, old)]));
        assert_eq!(plan(&network("", "lab"), None), Ok(vec![]));
    }

    #[test]
    fn ipv6_addresses_are_kept_by_name_in_their_own_subnet() {
        let both = |hosts: &str| {
            let six = format!(
                "<ip family='ipv6' address='fd00:9::1' prefix='64'><dhcp><range start='fd00:9::10' end='fd00:9::99'/>{hosts}</dhcp></ip>"
            );
            let mut network = network("", "lab");
            network.children.push(Element::parse(&six).expect("xml"));
            network
        };
        let (add, delete) = (UpdateCommand::Add, UpdateCommand::Delete);
        let host = |ip: &str| format!("<host name='quay' ip='{ip}'/>");
        assert_eq!(plan(&both(""), Some("fd00:9::50")), Ok(vec![(add, host("fd00:9::50"))]));
        assert_eq!(plan(&both(&host("fd00:9:0::50")), Some("fd00:9::50")), Ok(vec![]));
        let moved = plan(&both(&host("fd00:9::50")), Some("fd00:9::51"));
        assert_eq!(moved, Ok(vec![(delete, host("fd00:9::50")), (add, host("fd00:9::51"))]));
        let four = format!("<host mac='{MAC}' name='quay' ip='10.0.0.50'/>");
        let other = "<host id='0:1:2' name='quay' ip='fd00:9::60'/>";
        let back = plan(&both(&(host("fd00:9::50") + other)), Some("10.0.0.50"));
        assert_eq!(
            back,
            Ok(vec![(delete, host("fd00:9::50")), (add, four)]),
            "one with an id is somebody else's"
        );
        // libvirt would look for it in the first that has DHCP.
        let guest = Guest { mac: MAC.into(), name: "quay".into() };
        let updates = plan_reservation(&both(""), &guest, "fd00:9::50".parse().ok(), &Mark::new("lab"));
        assert_eq!(updates.expect("planned")[0].ip, Some(1));
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
            let error = plan(&network, Some(address)).expect_err("refused");
            assert!(error.contains(part), "{error}");
        }
    }
}
