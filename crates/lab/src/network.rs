use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::xml::Element;
use super::{LabError, Mark};

/// The kernel's limit for the name of an interface.
const LONGEST_BRIDGE: usize = 15;

/// How a network's guests get out of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forward {
    Nat,
    Route,
    Open,
    /// Over a bridge that is there, or over an interface of the hypervisor.
    Bridge,
    Private,
    Vepa,
    Passthrough,
    Hostdev,
}

impl Forward {
    const ALL: [Self; 8] = [
        Self::Nat,
        Self::Route,
        Self::Open,
        Self::Bridge,
        Self::Private,
        Self::Vepa,
        Self::Passthrough,
        Self::Hostdev,
    ];

    pub fn word(self) -> &'static str {
        match self {
            Self::Nat => "nat",
            Self::Route => "route",
            Self::Open => "open",
            Self::Bridge => "bridge",
            Self::Private => "private",
            Self::Vepa => "vepa",
            Self::Passthrough => "passthrough",
            Self::Hostdev => "hostdev",
        }
    }

    /// Whether libvirt makes the bridge and answers DHCP and DNS on it.
    pub fn has_own_bridge(self) -> bool {
        matches!(self, Self::Nat | Self::Route | Self::Open)
    }
}

impl std::str::FromStr for Forward {
    type Err = LabError;

    fn from_str(text: &str) -> Result<Self, LabError> {
        Self::ALL.into_iter().find(|mode| mode.word() == text).ok_or_else(|| {
            let near = crate::diag::closest(text, Self::ALL.map(Self::word));
            LabError::failed(format!("forward {text:?}"), "libvirt has no such mode").with_hint(
                near.map_or_else(
                    || {
                        "use nat, route, open or bridge; none, or leaving it out, is an isolated network"
                            .to_owned()
                    },
                    |near| format!("did you mean {near}?"),
                ),
            )
        })
    }
}

/// A libvirt network: the parts that quaylab declares and compares.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NetworkSpec {
    pub name: String,
    /// `None` is an isolated network.
    pub forward: Option<Forward>,
    pub bridge: Option<String>,
    /// The DNS domain; its names are never asked for elsewhere.
    pub domain: Option<String>,
    pub dns_forwarders: Vec<String>,
    /// Names that its DNS answers with an address.
    pub dns_hosts: Vec<DnsHost>,
    pub ipv4: Option<Subnet>,
    pub ipv6: Option<Subnet>,
}

/// An address and the names that a network's DNS has for it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DnsHost {
    pub address: IpAddr,
    pub names: Vec<String>,
}

impl DnsHost {
    pub(super) fn element(&self) -> Element {
        Element::new("host")
            .attr("ip", self.address)
            .children_of(self.names.iter().map(|n| Element::new("hostname").text(n)))
    }
}

/// One address family of a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subnet {
    /// The hypervisor's own address in it.
    pub address: IpAddr,
    pub prefix: u8,
    /// First and last address that DHCP hands out.
    pub dhcp: Option<(IpAddr, IpAddr)>,
}

impl NetworkSpec {
    /// What cannot work, said before libvirt or the kernel say it less clearly.
    pub fn check(&self) -> Result<(), LabError> {
        if let Some(bridge) = &self.bridge
            && bridge.len() > LONGEST_BRIDGE
        {
            return Err(LabError::Invalid(format!(
                "network {}: the bridge name {bridge} is longer than the {LONGEST_BRIDGE} characters that Linux allows",
                self.name
            )));
        }
        self.check_mode()?;
        for subnet in [&self.ipv4, &self.ipv6].into_iter().flatten() {
            let Some((start, end)) = subnet.dhcp else { continue };
            for address in [start, end] {
                if !subnet.holds(address) {
                    return Err(LabError::Invalid(format!(
                        "network {}: the DHCP address {address} is outside {}/{}",
                        self.name, subnet.address, subnet.prefix
                    )));
                }
            }
            if start > end {
                return Err(LabError::Invalid(format!(
                    "network {}: the DHCP range {start} to {end} runs backwards",
                    self.name
                )));
            }
        }
        Ok(())
    }

    /// What libvirt refuses of a network that forwards in this way.
    fn check_mode(&self) -> Result<(), LabError> {
        let refused = |why: String, hint: &str| {
            Err(LabError::failed(format!("network {}", self.name), why).with_hint(hint))
        };
        let Some(mode) = self.forward else { return Ok(()) };
        let word = mode.word();
        match mode {
            Forward::Nat | Forward::Route | Forward::Open if self.ipv4.is_none() && self.ipv6.is_none() => {
                refused(
                    format!("`forward: {word}` needs an address in the network"),
                    "give ip_address or ipv6; an isolated network can do without",
                )
            }
            Forward::Nat | Forward::Route | Forward::Open => Ok(()),
            Forward::Bridge if self.bridge.is_none() => refused(
                "`forward: bridge` needs the bridge that the guests are put on".into(),
                "name it with `bridge`; a network on an interface (macvtap) is defined with `xml` of community.libvirt.virt_net",
            ),
            Forward::Bridge => {
                let said = [
                    ("domain", self.domain.is_some()),
                    ("dns_forwarder", !self.dns_forwarders.is_empty()),
                    ("dns_hosts", !self.dns_hosts.is_empty()),
                    ("ip_address", self.ipv4.is_some()),
                    ("ipv6", self.ipv6.is_some()),
                ];
                let said: Vec<&str> = said.into_iter().filter(|(_, is)| *is).map(|(name, _)| name).collect();
                if said.is_empty() {
                    return Ok(());
                }
                refused(
                    format!(
                        "`forward: bridge` leaves addresses and names to what is on the bridge, so {} cannot hold there",
                        said.join(", ")
                    ),
                    "leave it out, or let libvirt make the bridge: `forward: nat` or `route`",
                )
            }
            Forward::Private | Forward::Vepa | Forward::Passthrough | Forward::Hostdev => refused(
                format!(
                    "`forward: {word}` needs interfaces of the hypervisor, which these arguments cannot name"
                ),
                "define it with `xml` of community.libvirt.virt_net, and name it in resources.network",
            ),
        }
    }

    /// The definition without a mark.
    pub(super) fn element(&self) -> Element {
        let mut network = Element::new("network").child(Element::new("name").text(&self.name));
        if let Some(mode) = &self.forward {
            network = network.child(Element::new("forward").attr("mode", mode.word()));
        }
        if let Some(bridge) = &self.bridge {
            let mut element = Element::new("bridge").attr("name", bridge);
            if self.forward.is_none_or(Forward::has_own_bridge) {
                element = element.attr("stp", "on").attr("delay", 0);
            }
            network = network.child(element);
        }
        if let Some(domain) = &self.domain {
            network = network.child(Element::new("domain").attr("name", domain).attr("localOnly", "yes"));
        }
        if !self.dns_forwarders.is_empty() || !self.dns_hosts.is_empty() {
            let forwarders = self.dns_forwarders.iter().map(|a| Element::new("forwarder").attr("addr", a));
            let hosts = self.dns_hosts.iter().map(DnsHost::element);
            network = network.child(Element::new("dns").children_of(forwarders).children_of(hosts));
        }
        network.children_of(self.ipv4.iter().chain(&self.ipv6).map(Subnet::element))
    }

    /// The definition that is given to libvirt. On a change it keeps what identifies the one that is there.
    pub fn to_xml(&self, mark: &Mark, there: Option<&Element>) -> String {
        let mut network = self.element();
        network.children.insert(1, mark.element());
        let Some(there) = there else { return network.to_string() };
        for kept in ["uuid", "mac"] {
            network.children.extend(there.find(kept).cloned());
        }
        // The addresses that are kept for VMs are declared with them, not with the network.
        for ip in network.children.iter_mut().filter(|c| c.name == "ip") {
            let same = there.all("ip").find(|old| old.get("address") == ip.get("address"));
            let reserved =
                same.and_then(|old| old.find("dhcp")).into_iter().flat_map(|dhcp| dhcp.all("host").cloned());
            if let Some(dhcp) = ip.children.iter_mut().find(|c| c.name == "dhcp") {
                dhcp.children.extend(reserved);
            }
        }
        network.to_string()
    }

    /// The parts that quaylab owns, out of libvirt's own description.
    pub fn from_element(network: &Element) -> Result<Self, LabError> {
        let name = network.path_text("name").unwrap_or_default().to_owned();
        let forward = network.find("forward").map(|f| f.get("mode").unwrap_or("nat").parse()).transpose()?;
        let mut spec = Self {
            forward,
            bridge: network.path_attr("bridge", "name").map(str::to_owned),
            domain: network.path_attr("domain", "name").map(str::to_owned),
            dns_forwarders: network
                .find("dns")
                .map(|dns| dns.all("forwarder").filter_map(|f| f.get("addr")).map(str::to_owned).collect())
                .unwrap_or_default(),
            dns_hosts: network
                .find("dns")
                .map(|dns| dns.all("host").filter_map(dns_host).collect())
                .unwrap_or_default(),
            name,
            ..Self::default()
        };
        spec.dns_hosts.sort();
        for ip in network.all("ip") {
            let subnet = Subnet::from_element(&spec.name, ip)?;
            if subnet.address.is_ipv4() {
                spec.ipv4.get_or_insert(subnet);
            } else {
                spec.ipv6.get_or_insert(subnet);
            }
        }
        Ok(spec)
    }

    /// The network as a person reads it, a line a fact.
    pub fn describe(&self) -> String {
        let mut lines = vec![format!("forward: {}", self.forward.map_or("none (isolated)", Forward::word))];
        lines.extend(self.bridge.iter().map(|b| format!("bridge: {b}")));
        lines.extend(self.domain.iter().map(|d| format!("domain: {d}")));
        if !self.dns_forwarders.is_empty() {
            lines.push(format!("dns_forwarder: {}", self.dns_forwarders.join(", ")));
        }
        lines.extend(self.dns_hosts.iter().map(|h| format!("dns: {} {}", h.address, h.names.join(" "))));
        for subnet in self.ipv4.iter().chain(&self.ipv6) {
            lines.push(format!("address: {}/{}", subnet.address, subnet.prefix));
            lines.extend(subnet.dhcp.map(|(start, end)| format!("dhcp: {start} to {end}")));
        }
        lines.join("\n") + "\n"
    }

    /// This declaration with what it leaves to libvirt (the bridge's name) taken from what is there.
    pub(super) fn completed(&self, now: &Self) -> Self {
        Self { bridge: self.bridge.clone().or_else(|| now.bridge.clone()), ..self.clone() }
    }
}

fn dns_host(host: &Element) -> Option<DnsHost> {
    let names = host.all("hostname").map(|n| n.text.clone()).collect();
    Some(DnsHost { address: host.get("ip")?.parse().ok()?, names })
}

impl Subnet {
    pub(super) fn holds(&self, address: IpAddr) -> bool {
        let cut = |a: IpAddr| match a {
            IpAddr::V4(a) => u128::from(a.to_bits()) >> (32 - u32::from(self.prefix.min(32))),
            IpAddr::V6(a) => a.to_bits().checked_shr(128 - u32::from(self.prefix.min(128))).unwrap_or(0),
        };
        address.is_ipv4() == self.address.is_ipv4() && cut(address) == cut(self.address)
    }

    fn element(&self) -> Element {
        let mut ip = Element::new("ip");
        if self.address.is_ipv6() {
            ip = ip.attr("family", "ipv6");
        }
        ip = ip.attr("address", self.address).attr("prefix", self.prefix);
        match self.dhcp {
            Some(range) => ip.child(Element::new("dhcp").child(range_element(range))),
            None => ip,
        }
    }

    pub(super) fn from_element(network: &str, ip: &Element) -> Result<Self, LabError> {
        let bad =
            |what: &str| LabError::Invalid(format!("network {network}: libvirt's {what} is not understood"));
        let address: IpAddr = ip.get("address").and_then(|a| a.parse().ok()).ok_or_else(|| bad("address"))?;
        let prefix = match (ip.get("prefix"), ip.get("netmask")) {
            (Some(prefix), _) => prefix.parse().map_err(|_| bad("prefix"))?,
            (None, Some(mask)) => prefix_of(mask).ok_or_else(|| bad("netmask"))?,
            (None, None) if address.is_ipv4() => 24,
            (None, None) => 64,
        };
        let dhcp = ip
            .path("dhcp/range")
            .and_then(|range| Some((range.get("start")?.parse().ok()?, range.get("end")?.parse().ok()?)));
        Ok(Self { address, prefix, dhcp })
    }
}

fn range_element((start, end): (IpAddr, IpAddr)) -> Element {
    Element::new("range").attr("start", start).attr("end", end)
}

/// A netmask (`255.255.255.0`) or a prefix length (`24`, `/24`) as a prefix length.
pub fn prefix_of(mask: &str) -> Option<u8> {
    if let Ok(mask) = mask.parse::<Ipv4Addr>() {
        let bits = mask.to_bits();
        return (bits.leading_ones() + bits.trailing_zeros() == 32 || bits == u32::MAX)
            .then(|| u8::try_from(bits.leading_ones()).ok())
            .flatten();
    }
    if let Ok(mask) = mask.parse::<Ipv6Addr>() {
        return u8::try_from(mask.to_bits().leading_ones()).ok();
    }
    mask.trim_start_matches('/').parse().ok().filter(|p| *p <= 128)
}

/// Lines that differ, for an error message.
pub(super) fn differences(before: &str, after: &str) -> String {
    similar::TextDiff::from_lines(before, after)
        .iter_all_changes()
        .filter_map(|change| match change.tag() {
            similar::ChangeTag::Equal => None,
            similar::ChangeTag::Delete => Some(format!("  is       {}", change.value().trim_end())),
            similar::ChangeTag::Insert => Some(format!("  declared {}", change.value().trim_end())),
        })
        .collect::<Vec<_>>()
        .join("\n")
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(crate) fn seed() -> NetworkSpec {
        NetworkSpec {
            name: "quaylab".into(),
            forward: Some(Forward::Nat),
            bridge: Some("virbr-900".into()),
            domain: Some("quaylab.lan".into()),
            dns_forwarders: vec![],
            dns_hosts: vec![],
            ipv4: Some(Subnet {
                address: "192.168.254.254".parse().expect("ip"),
                prefix: 24,
                dhcp: Some(("192.168.254.1".parse().expect("ip"), "192.168.254.253".parse().expect("ip"))),
            }),
            ipv6: None,
        }
    }

    #[test]
    fn the_seeds_network_as_libvirt_gets_it() {
        insta::assert_snapshot!(seed().to_xml(&Mark::new("lab"), None), @r"
        <network>
          <name>quaylab</name>
          <metadata>
            <quaylab:lab xmlns:quaylab='https://quaylab.dev/xmlns/1' name='lab' made-by='quaylab 0.1.0'/>
          </metadata>
          <forward mode='nat'/>
          <bridge name='virbr-900' stp='on' delay='0'/>
          <domain name='quaylab.lan' localOnly='yes'/>
          <ip address='192.168.254.254' prefix='24'>
            <dhcp>
              <range start='192.168.254.1' end='192.168.254.253'/>
            </dhcp>
          </ip>
        </network>
        ");
    }

    #[test]
    fn mistakes_are_found_before_libvirt_finds_them() {
        let mut wrong = seed();
        wrong.bridge = Some("a-name-that-is-too-long".into());
        assert!(wrong.check().is_err());
        let mut outside = seed();
        outside.ipv4.as_mut().expect("subnet").dhcp =
            Some(("192.168.253.1".parse().expect("ip"), "192.168.254.9".parse().expect("ip")));
        assert!(outside.check().expect_err("outside").to_string().contains("192.168.253.1 is outside"));
    }

    #[test]
    fn each_way_to_forward_takes_what_libvirt_takes() {
        let bare = |forward| NetworkSpec { name: "n".into(), forward, ..NetworkSpec::default() };
        let mut good = vec![seed(), bare(None), NetworkSpec { forward: Some(Forward::Open), ..seed() }];
        good.push(NetworkSpec { bridge: Some("br0".into()), ..bare(Some(Forward::Bridge)) });
        for spec in &good {
            spec.check().expect("right");
        }
        assert_eq!(good[3].element().find("bridge"), Some(&Element::new("bridge").attr("name", "br0")));
        for (wrong, part) in [
            (bare(Some(Forward::Nat)), "`forward: nat` needs an address"),
            (bare(Some(Forward::Route)), "`forward: route` needs an address"),
            (bare(Some(Forward::Open)), "`forward: open` needs an address"),
            (bare(Some(Forward::Bridge)), "needs the bridge that"),
            (bare(Some(Forward::Vepa)), "needs interfaces of the hypervisor"),
            (bare(Some(Forward::Hostdev)), "needs interfaces of the hypervisor"),
            (
                NetworkSpec { forward: Some(Forward::Bridge), ..seed() },
                "so domain, ip_address cannot hold there",
            ),
        ] {
            let error = wrong.check().expect_err("refused");
            assert!(error.to_string().contains(part), "{error}");
            assert!(error.hint().is_some(), "{error}");
        }
        let error = "brigde".parse::<Forward>().expect_err("unknown");
        assert_eq!(error.hint().as_deref(), Some("did you mean bridge?"));
    }

    #[test]
    fn masks_become_prefixes() {
        for (mask, prefix) in [
            ("255.255.255.0", Some(24)),
            ("255.255.255.255", Some(32)),
            ("/20", Some(20)),
            ("64", Some(64)),
            ("255.0.255.0", None),
            ("x", None),
        ] {
            assert_eq!(prefix_of(mask), prefix, "{mask}");
        }
    }
}
