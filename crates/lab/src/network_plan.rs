use super::network::differences;
use super::network_written::WrittenNetwork;
use super::written::same;
use super::xml::Element;
use super::{Defined, LabError, Mark, NetworkSpec, NetworkUpdate, UpdateCommand, UpdateSection};
use crate::diff::Diff;

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
    /// Puts the running VMs' cards back on the bridge, which a stop takes away under them.
    Replug,
    Autostart(bool),
    Undefine,
}

/// What is wanted of a network besides what it is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NetworkWish {
    pub state: NetworkState,
    pub autostart: bool,
    /// Whether one that runs may be stopped and started for what cannot be changed while it does.
    pub allow_restart: bool,
}

/// What a network shall be made of.
#[derive(Debug, Clone, Copy)]
pub enum NetworkWanted<'a> {
    /// Named parts; whatever else the network has is left as it is.
    Parts(&'a NetworkSpec),
    /// A whole definition: the network is that and nothing else.
    Whole(&'a WrittenNetwork),
}

impl NetworkWanted<'_> {
    fn name(&self) -> &str {
        match self {
            Self::Parts(spec) => &spec.name,
            Self::Whole(written) => written.name(),
        }
    }

    fn check(&self) -> Result<(), LabError> {
        match self {
            Self::Parts(spec) => spec.check(),
            // libvirt itself has read it.
            Self::Whole(_) => Ok(()),
        }
    }

    fn to_xml(self, mark: &Mark, there: Option<&Element>) -> String {
        match self {
            Self::Parts(spec) => spec.to_xml(mark, there),
            Self::Whole(written) => written.to_xml(mark),
        }
    }

    fn describe(&self) -> String {
        match self {
            Self::Parts(spec) => spec.describe(),
            Self::Whole(written) => written.describe(),
        }
    }

    /// What is there against what is wanted, both as a person reads them.
    fn against(self, there: &Element, mark: &Mark) -> Result<Change, LabError> {
        Ok(match self {
            Self::Parts(spec) => {
                let current = NetworkSpec::from_element(there)?;
                let wanted = spec.completed(&current);
                Change {
                    differs: wanted != current,
                    live: live_updates(&wanted.element(), &current.element(), there),
                    define: wanted.to_xml(mark, Some(there)),
                    is: current.describe(),
                    wanted: wanted.describe(),
                }
            }
            Self::Whole(written) => {
                let (is, wanted) = written.against(mark);
                Change {
                    differs: !same(&is, &wanted),
                    live: live_updates(&wanted, &is, there),
                    define: written.to_xml(mark),
                    is: is.to_string(),
                    wanted: wanted.to_string(),
                }
            }
        })
    }
}

/// How a network differs from what is wanted.
struct Change {
    differs: bool,
    /// What makes it the same while it runs; `None` where that cannot be done.
    live: Option<Vec<NetworkUpdate>>,
    define: String,
    is: String,
    wanted: String,
}

/// What has to be done to a network. Changes what can be changed while nothing is lost, and only where `mark` is on it.
pub fn plan_network(
    wanted: NetworkWanted<'_>,
    wish: NetworkWish,
    now: Option<&Defined>,
    mark: &Mark,
) -> Result<(Vec<NetworkStep>, Option<Diff>), LabError> {
    let NetworkWish { state, autostart, allow_restart } = wish;
    let name = wanted.name();
    let title = format!("network {name}");
    let Some(now) = now else {
        if state == NetworkState::Absent {
            return Ok((Vec::new(), None));
        }
        wanted.check()?;
        let mut steps = vec![NetworkStep::Define(wanted.to_xml(mark, None))];
        if autostart {
            steps.push(NetworkStep::Autostart(true));
        }
        if state == NetworkState::Active {
            steps.push(NetworkStep::Start);
        }
        return Ok((steps, Some(Diff::new(&title, "", wanted.describe()))));
    };
    let there = Element::parse(&now.xml)?;
    let ours = Mark::read(&there).as_ref() == Some(mark);
    if state == NetworkState::Absent {
        if !ours {
            return Err(LabError::Conflict(format!(
                "network {name} was not made by this lab, so it is not removed"
            )));
        }
        let mut steps = if now.active { vec![NetworkStep::Stop] } else { Vec::new() };
        steps.push(NetworkStep::Undefine);
        let is = NetworkSpec::from_element(&there).map_or_else(|_| there.to_string(), |spec| spec.describe());
        return Ok((steps, Some(Diff::new(&title, is, ""))));
    }
    wanted.check()?;
    let change = wanted.against(&there, mark)?;
    let mut steps = Vec::new();
    let mut restarted = false;
    if change.differs {
        if !ours {
            return Err(LabError::Conflict(format!(
                "network {name} exists, was not made by this lab, and differs from what is declared:\n{}",
                differences(&change.is, &change.wanted)
            )));
        }
        let goes_on = now.active && state == NetworkState::Active;
        let define = NetworkStep::Define(change.define);
        match change.live {
            Some(updates) if goes_on => steps.extend(updates.into_iter().map(NetworkStep::Update)),
            None if goes_on && !allow_restart => {
                return Err(LabError::Conflict(format!(
                    "network {name} runs and this cannot be changed while it does:\n{}\n`--allow-restart` stops and starts it, and puts the running VMs back on it: they lose their link for a moment",
                    differences(&change.is, &change.wanted)
                )));
            }
            None if goes_on => {
                steps.extend([NetworkStep::Stop, define, NetworkStep::Start, NetworkStep::Replug]);
                restarted = true;
            }
            _ => steps.push(define),
        }
    }
    let lines = |what: &str, autostart: bool, active: bool| {
        format!("{what}autostart: {autostart}\nactive: {active}\n")
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
    let before = lines(&change.is, now.autostart, now.active);
    let mut after = lines(&change.wanted, autostart, active);
    if restarted {
        after += "restarted: yes\n";
    }
    Ok((steps, Some(Diff::new(&title, before, after))))
}

/// Where a network holds what can be changed while it runs, and what that is.
const LIVE: [(&str, &str, UpdateSection); 5] = [
    ("dhcp", "range", UpdateSection::DhcpRange),
    ("dhcp", "host", UpdateSection::DhcpHost),
    ("dns", "host", UpdateSection::DnsHost),
    ("dns", "txt", UpdateSection::DnsTxt),
    ("dns", "srv", UpdateSection::DnsSrv),
];

/// The updates that turn one network into another while it runs, if DHCP ranges, hosts and DNS names are all that differs. `there` is the
/// definition in which libvirt finds the addresses.
fn live_updates(wanted: &Element, is: &Element, there: &Element) -> Option<Vec<NetworkUpdate>> {
    if !same(&without_live(wanted), &without_live(is)) {
        return None;
    }
    let mut updates = Vec::new();
    for (parent, name, section) in LIVE {
        // Of the addresses each in turn; what is below the network itself is one.
        let holders = |network: &Element| -> Vec<(String, Vec<Element>)> {
            let all = |holder: &Element| {
                holder.find(parent).into_iter().flat_map(|p| p.all(name)).cloned().collect()
            };
            match parent {
                "dhcp" => network
                    .all("ip")
                    .map(|ip| (ip.get("address").unwrap_or_default().to_owned(), all(ip)))
                    .collect(),
                _ => vec![(String::new(), all(network))],
            }
        };
        let current = holders(is);
        for (address, new) in holders(wanted) {
            let old = current.iter().find(|(a, _)| *a == address).map_or(&[][..], |(_, old)| old);
            // Without a range dnsmasq does not serve DHCP at all, and that it only decides when it starts.
            if section == UpdateSection::DhcpRange && new.is_empty() != old.is_empty() {
                return None;
            }
            let ip = there.all("ip").position(|ip| ip.get("address") == Some(&address));
            let update =
                |command, element: &Element| NetworkUpdate { command, section, ip, xml: element.to_string() };
            let lacks = |all: &[Element], one: &Element| !all.iter().any(|e| same(e, one));
            updates.extend(old.iter().filter(|e| lacks(&new, e)).map(|e| update(UpdateCommand::Delete, e)));
            updates.extend(new.iter().filter(|e| lacks(old, e)).map(|e| update(UpdateCommand::Add, e)));
        }
    }
    Some(updates)
}

/// A network without what can be changed while it runs.
fn without_live(element: &Element) -> Element {
    let mut rest = element.clone();
    rest.children
        .retain(|c| !LIVE.iter().any(|(parent, name, _)| *parent == element.name && *name == c.name));
    rest.children = rest.children.iter().map(without_live).collect();
    rest.children.retain(|c| !matches!(c.name.as_str(), "dhcp" | "dns") || *c != Element::new(&c.name));
    rest
}

#[cfg(test)]
mod tests {
    use super::super::network::tests::seed;
    use super::super::{DnsHost, Forward};
    use super::*;

    fn wish(state: NetworkState) -> NetworkWish {
        NetworkWish { state, autostart: true, allow_restart: false }
    }

    fn there(spec: &NetworkSpec, mark: &Mark) -> Defined {
        Defined { xml: spec.to_xml(mark, None), active: true, autostart: true }
    }

    fn plan(spec: &NetworkSpec, now: Option<&Defined>) -> Result<Vec<NetworkStep>, String> {
        plan_network(NetworkWanted::Parts(spec), wish(NetworkState::Active), now, &Mark::new("lab"))
            .map(|p| p.0)
            .map_err(|e| e.to_string())
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
        wanted.forward = Some(Forward::Route);
        insta::assert_snapshot!(plan(&wanted, Some(&there(&seed(), &Mark::new("lab")))).expect_err("refused"), @r"
        network quaylab runs and this cannot be changed while it does:
          is       forward: nat
          declared forward: route
        `--allow-restart` stops and starts it, and puts the running VMs back on it: they lose their link for a moment
        ");
        let allowed = NetworkWish { allow_restart: true, ..wish(NetworkState::Active) };
        let now = there(&seed(), &Mark::new("lab"));
        let (steps, _) = plan_network(NetworkWanted::Parts(&wanted), allowed, Some(&now), &Mark::new("lab"))
            .expect("planned");
        assert!(
            matches!(
                &steps[..],
                [NetworkStep::Stop, NetworkStep::Define(_), NetworkStep::Start, NetworkStep::Replug]
            ),
            "{steps:?}"
        );
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
            plan_network(
                NetworkWanted::Parts(&seed()),
                wish(NetworkState::Absent),
                Some(&now),
                &Mark::new("lab"),
            )
            .map(|p| p.0)
        };
        assert_eq!(remove("lab").expect("planned"), [NetworkStep::Stop, NetworkStep::Undefine]);
        assert!(remove("other").is_err());
    }

    #[test]
    fn dns_names_come_and_go_while_it_runs() {
        let host =
            |address: &str| DnsHost { address: address.parse().expect("ip"), names: vec!["db.lan".into()] };
        let now = there(&NetworkSpec { dns_hosts: vec![host("192.168.254.5")], ..seed() }, &Mark::new("lab"));
        let wanted = NetworkSpec { dns_hosts: vec![host("192.168.254.6")], ..seed() };
        let steps = plan(&wanted, Some(&now)).expect("planned");
        let commands: Vec<_> = steps
            .iter()
            .map(|s| match s {
                NetworkStep::Update(u) => (u.command, u.section, u.xml.contains("192.168.254.6")),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(
            commands,
            [
                (UpdateCommand::Delete, UpdateSection::DnsHost, false),
                (UpdateCommand::Add, UpdateSection::DnsHost, true)
            ]
        );
    }

    #[test]
    fn addresses_kept_for_vms_outlive_a_new_definition() {
        let mut there = Element::parse(&seed().to_xml(&Mark::new("lab"), None)).expect("xml");
        let host = Element::new("host").attr("mac", "m").attr("ip", "192.168.254.7");
        let ip = there.children.iter_mut().find(|c| c.name == "ip").expect("ip");
        ip.children[0].children.push(host.clone());
        let again = NetworkSpec { domain: None, ..seed() }.to_xml(&Mark::new("lab"), Some(&there));
        let read = Element::parse(&again).expect("xml");
        assert_eq!(read.path("ip/dhcp/host"), Some(&host));
    }
}
