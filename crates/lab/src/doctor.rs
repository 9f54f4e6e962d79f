//! What would keep a lab from coming up, found before anything is touched: pure judgements over what was looked up.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use serde::Serialize;

use super::Subnet;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    Ok,
    /// It comes up, but not as somebody would wish.
    Warning,
    /// It cannot come up.
    Problem,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub level: Level,
    /// What was looked at, in a word: `kvm`, `libvirt`, `memory`, ...
    pub check: String,
    pub found: String,
    /// What to do about it.
    pub remedy: Option<String>,
}

impl Finding {
    pub fn ok(check: &str, found: impl Into<String>) -> Self {
        Self { level: Level::Ok, check: check.to_owned(), found: found.into(), remedy: None }
    }

    pub fn warning(check: &str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { level: Level::Warning, remedy: Some(remedy.into()), ..Self::ok(check, found) }
    }

    pub fn problem(check: &str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { level: Level::Problem, remedy: Some(remedy.into()), ..Self::ok(check, found) }
    }
}

/// A network that the inventory declares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeclaredNetwork {
    pub name: String,
    pub bridge: Option<String>,
    pub subnet: Option<Subnet>,
    /// Whether it runs already, so that its own route and its own dnsmasq are no conflict.
    pub active: bool,
}

/// A route of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    pub interface: String,
    pub network: IpAddr,
    pub prefix: u8,
}

/// The kernel's limit for the name of an interface.
const LONGEST_BRIDGE: usize = 15;

/// Names of bridges, and subnets that this machine reaches elsewhere.
pub fn network_findings(networks: &[DeclaredNetwork], routes: &[Route]) -> Vec<Finding> {
    let mut all = Vec::new();
    for (index, network) in networks.iter().enumerate() {
        let name = &network.name;
        let mut fine = true;
        if let Some(bridge) = network.bridge.as_ref().filter(|b| b.len() > LONGEST_BRIDGE) {
            fine = false;
            all.push(Finding::problem(
                "bridge",
                format!("network {name}: the bridge name {bridge} has {} characters", bridge.len()),
                format!("Linux allows {LONGEST_BRIDGE}: choose a shorter name"),
            ));
        }
        let Some(subnet) = &network.subnet else { continue };
        let own = |route: &&Route| network.bridge.as_deref() == Some(route.interface.as_str());
        // The default route leads everywhere and is no conflict.
        let taken = routes
            .iter()
            .filter(|r| r.prefix > 0 && !own(r))
            .find(|r| overlap((r.network, r.prefix), (subnet.address, subnet.prefix)));
        if let Some(route) = taken {
            fine = false;
            all.push(Finding::problem(
                "subnet",
                format!(
                    "network {name}: {}/{} overlaps with {}/{}, which this machine reaches through {}",
                    subnet.address, subnet.prefix, route.network, route.prefix, route.interface
                ),
                "choose another ip_address for the network",
            ));
        }
        let other = networks.iter().take(index).find(|o| {
            o.subnet.as_ref().is_some_and(|s| overlap((s.address, s.prefix), (subnet.address, subnet.prefix)))
        });
        if let Some(other) = other {
            fine = false;
            all.push(Finding::problem(
                "subnet",
                format!("the networks {} and {name} have overlapping subnets", other.name),
                "choose another ip_address for one of them",
            ));
        }
        if fine {
            all.push(Finding::ok("network", format!("{name}: {}/{} is free", subnet.address, subnet.prefix)));
        }
    }
    all
}

fn overlap((a, a_prefix): (IpAddr, u8), (b, b_prefix): (IpAddr, u8)) -> bool {
    let shorter = u32::from(a_prefix.min(b_prefix));
    match (a, b) {
        (IpAddr::V4(a), IpAddr::V4(b)) => {
            let cut = |x: Ipv4Addr| x.to_bits().checked_shr(32 - shorter.min(32)).unwrap_or(0);
            cut(a) == cut(b)
        }
        (IpAddr::V6(a), IpAddr::V6(b)) => {
            let cut = |x: Ipv6Addr| x.to_bits().checked_shr(128 - shorter.min(128)).unwrap_or(0);
            cut(a) == cut(b)
        }
        _ => false,
    }
}

/// The routes in the kernel's own table (`/proc/net/route`).
pub fn routes(table: &str) -> Vec<Route> {
    let line = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        // Little-endian words.
        let word = |at: usize| u32::from_str_radix(fields.get(at)?, 16).ok().map(u32::swap_bytes);
        let (network, mask) = (word(1)?, word(7)?);
        Some(Route {
            interface: (*fields.first()?).to_owned(),
            network: IpAddr::V4(Ipv4Addr::from_bits(network)),
            prefix: u8::try_from(mask.leading_ones()).ok()?,
        })
    };
    table.lines().skip(1).filter_map(line).collect()
}

/// A socket that waits for somebody on this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listener {
    pub address: IpAddr,
    pub port: u16,
}

/// The listening sockets in one of the kernel's tables (`/proc/net/tcp`, `udp`, `tcp6`, `udp6`).
pub fn listeners(table: &str) -> Vec<Listener> {
    let line = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        // 0A is a TCP socket that listens, 07 a UDP socket that nobody has connected.
        if !["0A", "07"].contains(fields.get(3)?) {
            return None;
        }
        let (address, port) = fields.get(1)?.split_once(':')?;
        let words: Option<Vec<u32>> = (0..address.len() / 8)
            .map(|i| u32::from_str_radix(address.get(i * 8..i * 8 + 8)?, 16).ok().map(u32::swap_bytes))
            .collect();
        let address = match words?.as_slice() {
            [v4] => IpAddr::V4(Ipv4Addr::from_bits(*v4)),
            [a, b, c, d] => {
                let bits = [a, b, c, d].iter().fold(0_u128, |all, word| all << 32 | u128::from(**word));
                IpAddr::V6(Ipv6Addr::from_bits(bits))
            }
            _ => return None,
        };
        Some(Listener { address, port: u16::from_str_radix(port, 16).ok()? })
    };
    table.lines().skip(1).filter_map(line).collect()
}

/// Whether the networks' own name servers find their port free, and whether a guest's services do.
pub fn port_findings(
    networks: &[DeclaredNetwork],
    listening: &[Listener],
    guests: &[(String, Vec<(String, u16)>)],
) -> Vec<Finding> {
    let mut all = Vec::new();
    for network in networks.iter().filter(|n| !n.active) {
        let Some(subnet) = &network.subnet else { continue };
        let taken = listening
            .iter()
            .any(|l| l.port == 53 && (l.address.is_unspecified() || l.address == subnet.address));
        if taken {
            all.push(Finding::problem(
                "port",
                format!("network {}: something listens on port 53 of every address, where libvirt's dnsmasq is to answer", network.name),
                "let it listen on its own addresses only (`ss -lnp 'sport = 53'` names it; dnsmasq: bind-interfaces)",
            ));
        }
    }
    for (host, ports) in guests {
        let mut by_port: BTreeMap<u16, Vec<&str>> = BTreeMap::new();
        for (variable, port) in ports {
            by_port.entry(*port).or_default().push(variable);
        }
        for (port, variables) in by_port.into_iter().filter(|(_, variables)| variables.len() > 1) {
            all.push(Finding::problem(
                "port",
                format!("{host}: {} are all {port}", variables.join(" and ")),
                "give each service a port of its own",
            ));
        }
    }
    if all.is_empty() {
        all.push(Finding::ok("port", "no port is wanted twice"));
    }
    all
}

/// Whether the VMs that do not run yet fit into memory.
pub fn memory_budget(wanted: &[(String, u64)], free: u64) -> Finding {
    let mib: u64 = wanted.iter().map(|(_, mib)| mib).sum();
    let free_mib = free >> 20;
    if wanted.is_empty() {
        return Finding::ok("memory", "every VM that is declared runs");
    }
    let found = format!("{} VMs to start want {mib} MiB, {free_mib} MiB are free", wanted.len());
    if mib > free_mib {
        let largest = wanted.iter().max_by_key(|(_, mib)| *mib).map_or("", |(name, _)| name.as_str());
        return Finding::problem(
            "memory",
            found,
            format!("lower `ram` in resources (the largest is {largest}), or stop what else runs"),
        );
    }
    // The host needs some itself.
    if mib + mib / 10 > free_mib {
        return Finding::warning(
            "memory",
            found,
            "that leaves next to nothing for the machine itself: lower `ram`",
        );
    }
    Finding::ok("memory", found)
}

/// Whether the disks that do not exist yet fit into a pool. Those in a folder take room as they are written to.
pub fn space_budget(pool: &str, wanted: u64, free: u64, grows: bool) -> Finding {
    let gib = |bytes: u64| format!("{}.{} GiB", bytes >> 30, ((bytes % (1 << 30)) * 10) >> 30);
    let found = format!("pool {pool}: {} are declared, {} are free", gib(wanted), gib(free));
    match (wanted > free, grows) {
        (false, _) => Finding::ok("disk", found),
        (true, true) => Finding::warning(
            "disk",
            found,
            "the disks grow as they are written to, until the room is used up: make them smaller, or choose another pool",
        ),
        (true, false) => Finding::problem("disk", found, "make the disks smaller, or choose another pool"),
    }
}

/// Whom qemu runs as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    pub name: String,
    pub uid: u32,
    pub groups: Vec<u32>,
}

/// The user of qemu, from libvirt's settings and the machine's users; `None` for root, who may do all.
pub fn qemu_person(settings: &str, passwd: &str, groups: &str) -> Option<Person> {
    let set = settings.lines().find_map(|line| {
        let (key, value) = line.split_once('=')?;
        (key.trim() == "user").then(|| value.trim().trim_matches('"').trim_start_matches('+').to_owned())
    });
    let user = |name: &str| {
        passwd.lines().find_map(|line| {
            let fields: Vec<&str> = line.split(':').collect();
            let uid: u32 = fields.get(2)?.parse().ok()?;
            let gid: u32 = fields.get(3)?.parse().ok()?;
            (fields.first() == Some(&name) || uid.to_string() == name)
                .then(|| ((*fields.first().unwrap_or(&"")).to_owned(), uid, gid))
        })
    };
    let (name, uid, gid) = match set {
        // A number need not be anybody's.
        Some(name) => match (user(&name), name.parse()) {
            (Some(known), _) => known,
            (None, Ok(uid)) => (name, uid, uid),
            (None, Err(_)) => return None,
        },
        // What the distributions' packages make.
        None => ["libvirt-qemu", "qemu"].iter().find_map(|name| user(name))?,
    };
    if uid == 0 {
        return None;
    }
    let mut member_of = vec![gid];
    for line in groups.lines() {
        let fields: Vec<&str> = line.split(':').collect();
        let named = fields.get(3).is_some_and(|members| members.split(',').any(|m| m == name));
        if let Some(gid) = fields.get(2).and_then(|g| g.parse().ok()).filter(|_| named) {
            member_of.push(gid);
        }
    }
    Some(Person { name, uid, groups: member_of })
}

/// Whether a person can pass through every folder on the way to a path; `look` gives mode, owner and group of a folder.
pub fn traversable(path: &Path, person: &Person, look: impl Fn(&Path) -> Option<(u32, u32, u32)>) -> Finding {
    let shown = path.display();
    let folders: Vec<&Path> = path.ancestors().collect();
    for folder in folders.iter().rev() {
        // What is not there yet is made by libvirt, for everybody.
        let Some((mode, owner, group)) = look(folder) else { break };
        let bit = if owner == person.uid {
            0o100
        } else if person.groups.contains(&group) {
            0o010
        } else {
            0o001
        };
        if mode & bit == 0 {
            return Finding::problem(
                "path",
                format!("{shown}: {} may not pass through {}", person.name, folder.display()),
                format!(
                    "`chmod o+x {0}` or `setfacl -m u:{1}:x {0}`, or choose a folder elsewhere",
                    folder.display(),
                    person.name
                ),
            );
        }
    }
    Finding::ok("path", format!("{shown}: {} may pass through", person.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(name: &str, bridge: &str, address: &str, prefix: u8) -> DeclaredNetwork {
        let subnet = Subnet { address: address.parse().expect("an address"), prefix, dhcp: None };
        DeclaredNetwork {
            name: name.into(),
            bridge: Some(bridge.into()),
            subnet: Some(subnet),
            active: false,
        }
    }

    const TABLE: &str = "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT\n\
        eth0 00000000 0101A8C0 0003 0 0 0 00000000 0 0 0\n\
        eth0 0000A8C0 00000000 0001 0 0 0 0000FFFF 0 0 0\n\
        virbr-900 00FEA8C0 00000000 0001 0 0 0 00FFFFFF 0 0 0\n";

    #[test]
    fn the_kernels_tables_are_read() {
        let read = routes(TABLE);
        assert_eq!(read.len(), 3);
        assert_eq!((read[1].network.to_string().as_str(), read[1].prefix), ("192.168.0.0", 16));
        assert_eq!(read[0].prefix, 0);
        let table = "  sl  local_address rem_address   st\n   0: 3500007F:0035 00000000:0000 0A\n   1: 00000000:0016 00000000:0000 01\n\
            0: 00000000000000000000000001000000:0050 0 0A\n";
        let found: Vec<String> =
            listeners(table).iter().map(|l| format!("{} {}", l.address, l.port)).collect();
        assert_eq!(found, ["127.0.0.53 53", "::1 80"]);
    }

    #[test]
    fn subnets_that_are_taken_are_told() {
        let routes = routes(TABLE);
        let judged = |networks: &[DeclaredNetwork]| {
            network_findings(networks, &routes).into_iter().map(|f| (f.level, f.found)).collect::<Vec<_>>()
        };
        // 192.168.0.0/16 is wider than the lab's network, whose own route is no conflict.
        let found = judged(&[network("a", "virbr-900", "192.168.254.254", 24)]);
        assert!(
            found[0].1.contains("overlaps with 192.168.0.0/16, which this machine reaches through eth0"),
            "{found:?}"
        );
        let fine = judged(&[network("a", "virbr-900", "10.9.0.1", 24)]);
        assert_eq!(fine, [(Level::Ok, "a: 10.9.0.1/24 is free".to_owned())]);
        let twice = judged(&[network("a", "b1", "10.9.0.1", 16), network("b", "b2", "10.9.8.1", 24)]);
        assert_eq!(twice[1], (Level::Problem, "the networks a and b have overlapping subnets".to_owned()));
        let long = judged(&[network("a", "a-bridge-with-a-name", "10.9.0.1", 24)]);
        assert_eq!(long[0].0, Level::Problem);
    }

    #[test]
    fn ports_that_are_taken_are_told() {
        let net = network("a", "b", "10.9.0.1", 24);
        let at = |address: &str, port| Listener { address: address.parse().expect("an address"), port };
        let level = |listening: &[Listener], guests: &[(String, Vec<(String, u16)>)]| {
            port_findings(std::slice::from_ref(&net), listening, guests)[0].level
        };
        assert_eq!(level(&[at("127.0.0.53", 53), at("0.0.0.0", 54)], &[]), Level::Ok);
        assert_eq!(level(&[at("0.0.0.0", 53)], &[]), Level::Problem);
        assert_eq!(level(&[at("::", 53)], &[]), Level::Problem);
        let guest = |a, b| {
            vec![("quay".to_owned(), vec![("redis_port".to_owned(), a), ("registry_port".to_owned(), b)])]
        };
        assert_eq!(level(&[], &guest(1, 2)), Level::Ok);
        assert_eq!(level(&[], &guest(2, 2)), Level::Problem);
    }

    #[test]
    fn budgets_are_kept() {
        let vm = |mib| vec![("quay".to_owned(), mib)];
        for (wanted, free, level) in [
            (vm(1024), 4096_u64, Level::Ok),
            (vm(4000), 4096, Level::Warning),
            (vm(8192), 4096, Level::Problem),
            (vec![], 0, Level::Ok),
        ] {
            assert_eq!(memory_budget(&wanted, free << 20).level, level, "{wanted:?}");
        }
        assert_eq!(space_budget("p", 2 << 30, 3 << 30, false).level, Level::Ok);
        assert_eq!(space_budget("p", 3 << 30, 2 << 30, false).level, Level::Problem);
        let thin = space_budget("p", 3 << 30, (2 << 30) + (1 << 29), true);
        assert_eq!(
            (thin.level, thin.found.as_str()),
            (Level::Warning, "pool p: 3.0 GiB are declared, 2.5 GiB are free")
        );
    }

    #[test]
    fn qemus_user_must_get_through() {
        let passwd = "root:x:0:0::/root:/bin/sh\nlibvirt-qemu:x:64055:107::/:/bin/false\n";
        let groups = "kvm:x:107:\nlab:x:500:me,libvirt-qemu\n";
        let person = qemu_person("#user = \"root\"\n", passwd, groups).expect("the package's");
        assert_eq!((person.uid, person.groups.as_slice()), (64055, &[107, 500][..]));
        assert_eq!(qemu_person("user = \"root\"\n", passwd, groups), None);
        let nobodys = qemu_person("user = \"+61184\"\n", passwd, groups).expect("a number");
        assert_eq!((nobodys.uid, nobodys.groups.as_slice()), (61184, &[61184][..]));
        let folders = |mode_of_home: u32, group: u32| {
            move |path: &Path| match path.to_str() {
                Some("/") => Some((0o755, 0, 0)),
                Some("/home") => Some((mode_of_home, 1000, group)),
                _ => None,
            }
        };
        let judge = |mode, group| traversable(Path::new("/home/lab"), &person, folders(mode, group));
        assert_eq!(judge(0o755, 1000).level, Level::Ok);
        assert_eq!(judge(0o710, 500).level, Level::Ok, "through a group");
        let stuck = judge(0o700, 1000);
        assert_eq!(stuck.found, "/home/lab: libvirt-qemu may not pass through /home");
        assert!(stuck.remedy.is_some_and(|r| r.contains("chmod o+x /home")));
    }
}
