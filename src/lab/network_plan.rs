use super::network::{differences, range_element};
use super::xml::Element;
use super::{Defined, LabError, Mark, NetworkSpec, NetworkUpdate, UpdateCommand, UpdateSection};
use crate::modules::Diff;

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

/// What has to be done to a network. Changes what can be changed while nothing is lost, and only where `mark` is on it.
pub fn plan_network(
    spec: &NetworkSpec,
    wish: NetworkWish,
    now: Option<&Defined>,
    mark: &Mark,
) -> Result<(Vec<NetworkStep>, Option<Diff>), LabError> {
    let NetworkWish { state, autostart, allow_restart } = wish;
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
    let mut restarted = false;
    if wanted != current {
        if !ours {
            return Err(LabError::Conflict(format!(
                "network {name} exists, was not made by this lab, and differs from what is declared:\n{}",
                differences(&current.describe(), &wanted.describe())
            )));
        }
        let define = NetworkStep::Define(wanted.to_xml(mark, Some(&there)));
        match live_updates(&wanted, &current) {
            Some(updates) if now.active && state == NetworkState::Active => {
                steps.extend(updates.into_iter().map(NetworkStep::Update));
            }
            None if now.active && state == NetworkState::Active && !allow_restart => {
                return Err(LabError::Conflict(format!(
                    "network {name} runs and this cannot be changed while it does:\n{}\n`--allow-restart` stops and starts it, and puts the running VMs back on it: they lose their link for a moment",
                    differences(&current.describe(), &wanted.describe())
                )));
            }
            None if now.active && state == NetworkState::Active => {
                steps.extend([NetworkStep::Stop, define, NetworkStep::Start, NetworkStep::Replug]);
                restarted = true;
            }
            _ => steps.push(define),
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
    let mut after = lines(&wanted, autostart, active);
    if restarted {
        after += "restarted: yes\n";
    }
    Ok((steps, Some(Diff::new(&title, before, after))))
}

/// The updates that turn one network into another while it runs, if DHCP ranges and DNS names are all that differs.
fn live_updates(wanted: &NetworkSpec, current: &NetworkSpec) -> Option<Vec<NetworkUpdate>> {
    let without = |spec: &NetworkSpec| {
        let mut spec = NetworkSpec { dns_hosts: Vec::new(), ..spec.clone() };
        for subnet in [&mut spec.ipv4, &mut spec.ipv6].into_iter().flatten() {
            subnet.dhcp = None;
        }
        spec
    };
    if without(wanted) != without(current) {
        return None;
    }
    let mut updates = Vec::new();
    let mut update = |command, section, element: Element| {
        updates.push(NetworkUpdate { command, section, xml: element.to_string() });
    };
    for (new, old) in [(&wanted.ipv4, &current.ipv4), (&wanted.ipv6, &current.ipv6)] {
        let (new, old) = (new.as_ref().and_then(|s| s.dhcp), old.as_ref().and_then(|s| s.dhcp));
        if new == old {
            continue;
        }
        // Without a range dnsmasq does not serve DHCP at all, and that it only decides when it starts.
        let (new, old) = (new?, old?);
        update(UpdateCommand::Delete, UpdateSection::DhcpRange, range_element(old));
        update(UpdateCommand::Add, UpdateSection::DhcpRange, range_element(new));
    }
    for old in current.dns_hosts.iter().filter(|h| !wanted.dns_hosts.contains(h)) {
        update(UpdateCommand::Delete, UpdateSection::DnsHost, old.element());
    }
    for new in wanted.dns_hosts.iter().filter(|h| !current.dns_hosts.contains(h)) {
        update(UpdateCommand::Add, UpdateSection::DnsHost, new.element());
    }
    Some(updates)
}

#[cfg(test)]
mod tests {
    use super::super::DnsHost;
    use super::super::network::tests::seed;
    use super::*;

    fn wish(state: NetworkState) -> NetworkWish {
        NetworkWish { state, autostart: true, allow_restart: false }
    }

    fn there(spec: &NetworkSpec, mark: &Mark) -> Defined {
        Defined { xml: spec.to_xml(mark, None), active: true, autostart: true }
    }

    fn plan(spec: &NetworkSpec, now: Option<&Defined>) -> Result<Vec<NetworkStep>, String> {
        plan_network(spec, wish(NetworkState::Active), now, &Mark::new("lab"))
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
        wanted.forward = Some("route".into());
        insta::assert_snapshot!(plan(&wanted, Some(&there(&seed(), &Mark::new("lab")))).expect_err("refused"), @r"
        network quaylab runs and this cannot be changed while it does:
          is       forward: nat
          declared forward: route
        `--allow-restart` stops and starts it, and puts the running VMs back on it: they lose their link for a moment
        ");
        let allowed = NetworkWish { allow_restart: true, ..wish(NetworkState::Active) };
        let now = there(&seed(), &Mark::new("lab"));
        let (steps, _) = plan_network(&wanted, allowed, Some(&now), &Mark::new("lab")).expect("planned");
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
            plan_network(&seed(), wish(NetworkState::Absent), Some(&now), &Mark::new("lab")).map(|p| p.0)
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
