use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::xml::Element;
use super::{Defined, LabError, Mark, NetworkUpdate, UpdateCommand, UpdateSection};
use crate::modules::Diff;

/// The kernel's limit for the name of an interface.
const LONGEST_BRIDGE: usize = 15;

/// A libvirt network: the parts that quaylab declares and compares.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NetworkSpec {
    pub name: String,
    /// `nat`, `route`, `open`, `bridge`, ...; `None` is an isolated network.
    pub forward: Option<String>,
    pub bridge: Option<String>,
    /// The DNS domain; its names are never asked for elsewhere.
    pub domain: Option<String>,
    pub dns_forwarders: Vec<String>,
    pub ipv4: Option<Subnet>,
    pub ipv6: Option<Subnet>,
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

    /// The definition without a mark.
    fn element(&self) -> Element {
        let mut network = Element::new("network").child(Element::new("name").text(&self.name));
        if let Some(mode) = &self.forward {
            network = network.child(Element::new("forward").attr("mode", mode));
        }
        if let Some(bridge) = &self.bridge {
            network =
                network.child(Element::new("bridge").attr("name", bridge).attr("stp", "on").attr("delay", 0));
        }
        if let Some(domain) = &self.domain {
            network = network.child(Element::new("domain").attr("name", domain).attr("localOnly", "yes"));
        }
        if !self.dns_forwarders.is_empty() {
            let forwarders = self.dns_forwarders.iter().map(|a| Element::new("forwarder").attr("addr", a));
            network = network.child(Element::new("dns").children_of(forwarders));
        }
        network.children_of(self.ipv4.iter().chain(&self.ipv6).map(Subnet::element))
    }

    /// The definition that is given to libvirt. On a change it keeps what identifies the one that is there.
    pub fn to_xml(&self, mark: &Mark, there: Option<&Element>) -> String {
        let mut network = self.element();
        network.children.insert(1, mark.element());
        for kept in ["uuid", "mac"] {
            if let Some(old) = there.and_then(|t| t.find(kept)) {
                network.children.push(old.clone());
            }
        }
        network.to_string()
    }

    /// The parts that quaylab owns, out of libvirt's own description.
    pub fn from_element(network: &Element) -> Result<Self, LabError> {
        let name = network.path_text("name").unwrap_or_default().to_owned();
        let mut spec = Self {
            forward: network.find("forward").map(|f| f.get("mode").unwrap_or("nat").to_owned()),
            bridge: network.path_attr("bridge", "name").map(str::to_owned),
            domain: network.path_attr("domain", "name").map(str::to_owned),
            dns_forwarders: network
                .find("dns")
                .map(|dns| dns.all("forwarder").filter_map(|f| f.get("addr")).map(str::to_owned).collect())
                .unwrap_or_default(),
            name,
            ..Self::default()
        };
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
        let mut lines = vec![format!("forward: {}", self.forward.as_deref().unwrap_or("none (isolated)"))];
        lines.extend(self.bridge.iter().map(|b| format!("bridge: {b}")));
        lines.extend(self.domain.iter().map(|d| format!("domain: {d}")));
        if !self.dns_forwarders.is_empty() {
            lines.push(format!("dns_forwarder: {}", self.dns_forwarders.join(", ")));
        }
        for subnet in self.ipv4.iter().chain(&self.ipv6) {
            lines.push(format!("address: {}/{}", subnet.address, subnet.prefix));
            lines.extend(subnet.dhcp.map(|(start, end)| format!("dhcp: {start} to {end}")));
        }
        lines.join("\n") + "\n"
    }

    /// This declaration with what it leaves to libvirt (the bridge's name) taken from what is there.
    fn completed(&self, now: &Self) -> Self {
        Self { bridge: self.bridge.clone().or_else(|| now.bridge.clone()), ..self.clone() }
    }
}

impl Subnet {
    fn holds(&self, address: IpAddr) -> bool {
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

    fn from_element(network: &str, ip: &Element) -> Result<Self, LabError> {
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

/// What a network shall be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NetworkState {
    Active,
    Inactive,
    Absent,
}

/// One change to a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NetworkStep {
    Define(String),
    Update(NetworkUpdate),
    Start,
    Stop,
    Autostart(bool),
    Undefine,
}

/// What has to be done to a network. Changes what can be changed while nothing is lost, and only where `mark` is on it.
pub fn plan_network(
    spec: &NetworkSpec,
    state: NetworkState,
    autostart: bool,
    now: Option<&Defined>,
    mark: &Mark,
) -> Result<(Vec<NetworkStep>, Option<Diff>), LabError> {
    let name = &spec.name;
    let title = format!("network {name}");
    let Some(now) = now else {
        if state == NetworkState::Absent {
            return Ok((Vec::new(), None));
        }
        spec.check()?;
        let mut steps = vec![NetworkStep::Define(spec.to_xml(mark, None))];
        if autostart {
            steps.push(NetworkStep::Autostart(true));
        }
        if state == NetworkState::Active {
            steps.push(NetworkStep::Start);
        }
        return Ok((steps, Some(Diff::new(&title, "", spec.describe()))));
    };
    let there = Element::parse(&now.xml)?;
    let ours = Mark::read(&there).as_ref() == Some(mark);
    let current = NetworkSpec::from_element(&there)?;
    if state == NetworkState::Absent {
        if !ours {
            return Err(LabError::Conflict(format!(
                "network {name} was not made by this lab, so it is not removed"
            )));
        }
        let mut steps = if now.active { vec![NetworkStep::Stop] } else { Vec::new() };
        steps.push(NetworkStep::Undefine);
        return Ok((steps, Some(Diff::new(&title, current.describe(), ""))));
    }
    spec.check()?;
    let wanted = spec.completed(&current);
    let mut steps = Vec::new();
    if wanted != current {
        if !ours {
            return Err(LabError::Conflict(format!(
                "network {name} exists, was not made by this lab, and differs from what is declared:\n{}",
                differences(&current.describe(), &wanted.describe())
            )));
        }
        if now.active {
            // A running network takes a new DHCP range; anything else would cut off the VMs on it.
            let updates = range_updates(&wanted, &current).ok_or_else(|| {
                LabError::Conflict(format!(
                    "network {name} runs and this cannot be changed while it does (VMs on it would lose their link):\n{}\nset `state: inactive` first, or destroy the lab",
                    differences(&current.describe(), &wanted.describe())
                ))
            })?;
            if state == NetworkState::Active {
                steps.extend(updates.into_iter().map(NetworkStep::Update));
            } else {
                steps.push(NetworkStep::Define(wanted.to_xml(mark, Some(&there))));
            }
        } else {
            steps.push(NetworkStep::Define(wanted.to_xml(mark, Some(&there))));
        }
    }
    let lines = |spec: &NetworkSpec, autostart: bool, active: bool| {
        format!("{}autostart: {autostart}\nactive: {active}\n", spec.describe())
    };
    // A foreign network's autostart is its owner's affair.
    let autostart = if ours { autostart } else { now.autostart };
    let active = state == NetworkState::Active;
    if now.autostart != autostart {
        steps.push(NetworkStep::Autostart(autostart));
    }
    match (now.active, active) {
        (false, true) => steps.push(NetworkStep::Start),
        (true, false) if ours => steps.push(NetworkStep::Stop),
        (true, false) => {
            return Err(LabError::Conflict(format!(
                "network {name} was not made by this lab, so it is not stopped"
            )));
        }
        _ => {}
    }
    if steps.is_empty() {
        return Ok((steps, None));
    }
    let before = lines(&current, now.autostart, now.active);
    Ok((steps, Some(Diff::new(&title, before, lines(&wanted, autostart, active)))))
}

/// The updates that turn one DHCP range into another, if ranges are all that differs.
fn range_updates(wanted: &NetworkSpec, current: &NetworkSpec) -> Option<Vec<NetworkUpdate>> {
    let without_ranges = |spec: &NetworkSpec| {
        let mut spec = spec.clone();
        for subnet in [&mut spec.ipv4, &mut spec.ipv6].into_iter().flatten() {
            subnet.dhcp = None;
        }
        spec
    };
    if without_ranges(wanted) != without_ranges(current) {
        return None;
    }
    let mut updates = Vec::new();
    for (new, old) in [(&wanted.ipv4, &current.ipv4), (&wanted.ipv6, &current.ipv6)] {
        let (new, old) = (new.as_ref().and_then(|s| s.dhcp), old.as_ref().and_then(|s| s.dhcp));
        if new == old {
            continue;
        }
        // Without a range dnsmasq does not serve DHCP at all, and that it only decides when it starts.
        let (new, old) = (new?, old?);
        for (command, range) in [(UpdateCommand::Delete, old), (UpdateCommand::Add, new)] {
            let xml = range_element(range).to_string();
            updates.push(NetworkUpdate { command, section: UpdateSection::DhcpRange, xml });
        }
    }
    Some(updates)
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
mod tests {
    use super::*;

    fn seed() -> NetworkSpec {
        NetworkSpec {
            name: "quaylab".into(),
            forward: Some("nat".into()),
            bridge: Some("virbr-900".into()),
            domain: Some("quaylab.lan".into()),
            dns_forwarders: vec![],
            ipv4: Some(Subnet {
                address: "192.168.254.254".parse().expect("ip"),
                prefix: 24,
                dhcp: Some(("192.168.254.1".parse().expect("ip"), "192.168.254.253".parse().expect("ip"))),
            }),
            ipv6: None,
        }
    }

    fn there(spec: &NetworkSpec, mark: &Mark) -> Defined {
        Defined { xml: spec.to_xml(mark, None), active: true, autostart: true }
    }

    fn plan(spec: &NetworkSpec, now: Option<&Defined>) -> Result<Vec<NetworkStep>, String> {
        plan_network(spec, NetworkState::Active, true, now, &Mark::new("lab"))
            .map(|p| p.0)
            .map_err(|e| e.to_string())
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
    fn a_missing_network_is_defined_and_started() {
        let steps = plan(&seed(), None).expect("planned");
        assert!(matches!(
            &steps[..],
            [NetworkStep::Define(_), NetworkStep::Autostart(true), NetworkStep::Start]
        ));
    }

    #[test]
    fn what_is_right_is_left_alone_even_when_foreign() {
        for mark in ["lab", "other"] {
            assert_eq!(plan(&seed(), Some(&there(&seed(), &Mark::new(mark)))), Ok(vec![]), "{mark}");
        }
        let mut any_bridge = seed();
        any_bridge.bridge = None;
        assert_eq!(plan(&any_bridge, Some(&there(&seed(), &Mark::new("lab")))), Ok(vec![]));
    }

    #[test]
    fn a_new_range_is_changed_while_it_runs() {
        let mut wanted = seed();
        wanted.ipv4.as_mut().expect("subnet").dhcp =
            Some(("192.168.254.10".parse().expect("ip"), "192.168.254.99".parse().expect("ip")));
        let steps = plan(&wanted, Some(&there(&seed(), &Mark::new("lab")))).expect("planned");
        let commands: Vec<_> = steps
            .iter()
            .map(|s| match s {
                NetworkStep::Update(u) => (u.command, u.xml.trim().to_owned()),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(
            commands,
            [
                (UpdateCommand::Delete, "<range start='192.168.254.1' end='192.168.254.253'/>".to_owned()),
                (UpdateCommand::Add, "<range start='192.168.254.10' end='192.168.254.99'/>".to_owned()),
            ]
        );
    }

    #[test]
    fn what_cannot_be_changed_safely_is_refused() {
        let mut wanted = seed();
        wanted.forward = Some("route".into());
        insta::assert_snapshot!(plan(&wanted, Some(&there(&seed(), &Mark::new("lab")))).expect_err("refused"), @r"
        network quaylab runs and this cannot be changed while it does (VMs on it would lose their link):
          is       forward: nat
          declared forward: route
        set `state: inactive` first, or destroy the lab
        ");
        insta::assert_snapshot!(plan(&wanted, Some(&there(&seed(), &Mark::new("other")))).expect_err("refused"), @r"
        network quaylab exists, was not made by this lab, and differs from what is declared:
          is       forward: nat
          declared forward: route
        ");
        let stopped = Defined { active: false, ..there(&seed(), &Mark::new("lab")) };
        let steps = plan(&wanted, Some(&stopped)).expect("planned");
        assert!(matches!(&steps[..], [NetworkStep::Define(_), NetworkStep::Start]));
    }

    #[test]
    fn only_our_own_is_removed() {
        let remove = |mark| {
            let now = there(&seed(), &Mark::new(mark));
            plan_network(&seed(), NetworkState::Absent, true, Some(&now), &Mark::new("lab")).map(|p| p.0)
        };
        assert_eq!(remove("lab").expect("planned"), [NetworkStep::Stop, NetworkStep::Undefine]);
        assert!(remove("other").is_err());
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
