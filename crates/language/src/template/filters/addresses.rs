//! Filters for IP addresses, as `ansible.utils` has them: what an address is, and what lies in its network.

use std::net::IpAddr;

use minijinja::{Error, Value};

use super::super::call::{Call, Native, integer};
use super::super::convert;
use super::super::failure::error;
use super::super::python;

pub(super) const FILTERS: &[(&str, Native)] = &[
    ("ipaddr", |c| filtered(c, |_| true)),
    ("ipv4", |c| filtered(c, |n| n.address.is_ipv4())),
    ("ipv6", |c| filtered(c, |n| n.address.is_ipv6())),
    ("ipwrap", wrap),
    ("ipsubnet", subnet),
    ("nthhost", |c| nth(c, Bounds::All)),
    ("next_nth_usable", |c| beside(c, 1)),
    ("previous_nth_usable", |c| beside(c, -1)),
    ("network_in_network", |c| inside(c, Bounds::All)),
    ("network_in_usable", |c| inside(c, Bounds::Usable)),
    ("ips_in_ranges", in_ranges),
    ("ipmath", math),
];

/// An address with the length of its network's prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct Network {
    pub(in super::super) address: IpAddr,
    prefix: u32,
    /// The prefix was written.
    written: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bounds {
    All,
    /// Without the network's own and the broadcast address.
    Usable,
}

impl Network {
    /// Reads `address`, `address/prefix` and `address/netmask`.
    pub(in super::super) fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = match text.trim().split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text.trim(), None),
        };
        let address: IpAddr = address.parse().ok()?;
        let width = if address.is_ipv4() { 32 } else { 128 };
        let length = match prefix {
            None => width,
            Some(digits) => match digits.parse::<u32>() {
                Ok(length) => length,
                Err(_) => mask_length(digits.parse().ok()?)?,
            },
        };
        (length <= width).then_some(Self { address, prefix: length, written: prefix.is_some() })
    }

    fn width(self) -> u32 {
        if self.address.is_ipv4() { 32 } else { 128 }
    }

    fn number(self) -> u128 {
        match self.address {
            IpAddr::V4(a) => u128::from(a.to_bits()),
            IpAddr::V6(a) => a.to_bits(),
        }
    }

    fn with(self, number: u128) -> IpAddr {
        match self.address {
            IpAddr::V4(_) => IpAddr::V4(u32::try_from(number & u128::from(u32::MAX)).unwrap_or(0).into()),
            IpAddr::V6(_) => IpAddr::V6(number.into()),
        }
    }

    fn host_bits(self) -> u32 {
        self.width() - self.prefix
    }

    /// The bits that tell hosts of the network apart.
    fn host_mask(self) -> u128 {
        if self.host_bits() >= 128 { u128::MAX } else { (1 << self.host_bits()) - 1 }
    }

    fn first(self) -> u128 {
        self.number() & !self.host_mask()
    }

    fn last(self) -> u128 {
        self.number() | self.host_mask()
    }

    fn mask(self) -> IpAddr {
        let all = if self.width() == 32 { u128::from(u32::MAX) } else { u128::MAX };
        self.with(all & !self.host_mask())
    }

    /// First and last address that a host may have.
    fn bounds(self, bounds: Bounds) -> (u128, u128) {
        let (first, last) = (self.first(), self.last());
        if bounds == Bounds::All || self.host_bits() < 2 {
            return (first, last);
        }
        (first + 1, if self.width() == 32 { last - 1 } else { last })
    }

    fn usable(self, at: u128) -> String {
        self.with(at).to_string()
    }

    fn is_network(self) -> bool {
        self.host_bits() > 0 && self.number() == self.first()
    }

    fn holds(self, other: Self, bounds: Bounds) -> bool {
        let (first, last) = self.bounds(bounds);
        self.width() == other.width() && first <= other.first() && other.last() <= last
    }

    fn text(self) -> String {
        if self.written { format!("{}/{}", self.address, self.prefix) } else { self.address.to_string() }
    }
}

fn mask_length(mask: IpAddr) -> Option<u32> {
    let IpAddr::V4(mask) = mask else { return None };
    let length = mask.to_bits().leading_ones();
    (mask.to_bits().count_ones() == length).then_some(length)
}

/// What a query asks of an address; `None`: it is not of that kind.
fn answer(network: Network, query: &Value) -> Result<Option<Value>, Error> {
    let text = |text: String| Ok(Some(Value::from(text)));
    let when = |holds: bool| Ok(holds.then(|| Value::from(network.text())));
    if let Some(nth) = query.as_i64() {
        return Ok(at(network, nth, Bounds::All)
            .map(|number| Value::from(format!("{}/{}", network.with(number), network.prefix))));
    }
    let (first, last) = network.bounds(Bounds::Usable);
    let short = |address: IpAddr| format!("{address}/{}", network.prefix);
    match python::py_str(query).as_str() {
        "" | "bool" => when(true),
        "address" | "ip" => {
            if network.is_network() {
                Ok(None)
            } else {
                text(network.address.to_string())
            }
        }
        "host" | "host/prefix" | "hostnet" | "router" | "ip/prefix" | "ip_prefix" => {
            let host = !network.is_network();
            Ok(host.then(|| Value::from(short(network.address))))
        }
        "net" | "subnet" => when(network.is_network()),
        "network" | "network_id" => text(network.with(network.first()).to_string()),
        "network/prefix" | "network_prefix" => text(short(network.with(network.first()))),
        "netmask" => text(network.mask().to_string()),
        "hostmask" | "wildcard" => text(network.with(network.host_mask()).to_string()),
        "network_netmask" | "network/netmask" => {
            text(format!("{} {}", network.with(network.first()), network.mask()))
        }
        "prefix" => Ok(Some(Value::from(network.prefix))),
        "broadcast" if network.host_bits() > 1 => text(network.with(network.last()).to_string()),
        "size" => Ok(Some(Value::from(network.host_mask().saturating_add(1)))),
        "first_usable" if network.host_bits() > 0 => text(network.usable(first)),
        "last_usable" if network.host_bits() > 0 => text(network.usable(last)),
        "range_usable" if network.host_bits() > 0 => {
            text(format!("{}-{}", network.usable(first), network.usable(last)))
        }
        "next_usable" => {
            Ok((network.number() < last).then(|| Value::from(network.usable(network.number() + 1))))
        }
        "previous_usable" => {
            Ok((network.number() > first).then(|| Value::from(network.usable(network.number() - 1))))
        }
        "broadcast" | "first_usable" | "last_usable" | "range_usable" => Ok(None),
        "version" | "type" if network.address.is_ipv4() => Ok(Some(Value::from(4))),
        "version" => Ok(Some(Value::from(6))),
        "int" => Ok(Some(Value::from(network.number()))),
        "loopback" | "lo" => when(network.address.is_loopback()),
        "multicast" => when(network.address.is_multicast()),
        "unicast" => when(!network.address.is_multicast()),
        "private" => when(is_private(network.address)),
        "public" => when(is_public(network.address)),
        "link-local" => when(match network.address {
            IpAddr::V4(a) => a.is_link_local(),
            IpAddr::V6(a) => a.is_unicast_link_local(),
        }),
        "wrap" => text(wrapped(network)),
        "revdns" => text(reverse(network.address)),
        "ipv4" => when(network.address.is_ipv4()),
        "ipv6" => when(network.address.is_ipv6()),
        other => match Network::parse(other) {
            // A network as a query: what lies inside.
            Some(whole) => when(whole.holds(network, Bounds::All)),
            None => Err(error(format!("ipaddr: there is no query '{other}'"))),
        },
    }
}

fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(a) => a.is_private(),
        IpAddr::V6(a) => a.is_unique_local(),
    }
}

fn is_public(address: IpAddr) -> bool {
    let local = match address {
        IpAddr::V4(a) => a.is_link_local() || a.is_broadcast() || a.is_documentation(),
        IpAddr::V6(a) => a.is_unicast_link_local(),
    };
    !(is_private(address)
        || address.is_loopback()
        || address.is_unspecified()
        || address.is_multicast()
        || local)
}

fn reverse(address: IpAddr) -> String {
    match address {
        IpAddr::V4(a) => {
            let parts: Vec<String> = a.octets().iter().rev().map(u8::to_string).collect();
            format!("{}.in-addr.arpa.", parts.join("."))
        }
        IpAddr::V6(a) => {
            let digits: Vec<String> = a
                .octets()
                .iter()
                .rev()
                .flat_map(|o| [format!("{:x}", o & 15), format!("{:x}", o >> 4)])
                .collect();
            format!("{}.ip6.arpa.", digits.join("."))
        }
    }
}

fn wrapped(network: Network) -> String {
    let text = match network.address {
        IpAddr::V4(a) => a.to_string(),
        IpAddr::V6(a) => format!("[{a}]"),
    };
    if network.written { format!("{text}/{}", network.prefix) } else { text }
}

/// The n-th address of a network, counted from its end where n is negative.
fn at(network: Network, nth: i64, bounds: Bounds) -> Option<u128> {
    let (first, last) = network.bounds(bounds);
    let steps = u128::from(nth.unsigned_abs());
    let found = if nth < 0 { last.checked_sub(steps - 1)? } else { first.checked_add(steps)? };
    (first <= found && found <= last).then_some(found)
}

/// One address or a list of them, those that are none left out; `false` for one that is none.
fn filtered(call: &mut Call<'_, '_, '_>, keep: fn(Network) -> bool) -> Result<Value, Error> {
    let query = call.get(1, "query").unwrap_or_else(|| Value::from(""));
    let one = |value: &Value| -> Result<Option<Value>, Error> {
        match Network::parse(&python::py_str(value)).filter(|n| keep(*n)) {
            Some(network) => answer(network, &query),
            None => Ok(None),
        }
    };
    if convert::is_list(call.input()) {
        let mut found = Vec::new();
        for item in call.input_items()? {
            found.extend(one(&item)?);
        }
        return Ok(Value::from(found));
    }
    Ok(one(call.input())?.unwrap_or_else(|| Value::from(false)))
}

fn network(call: &Call<'_, '_, '_>) -> Result<Network, Error> {
    let text = call.input_text()?;
    Network::parse(&text).ok_or_else(|| error(format!("'{text}' is not an IP address or network")))
}

fn wrap(call: &mut Call<'_, '_, '_>) -> Result<Value, Error> {
    let one = |value: &Value| match Network::parse(&python::py_str(value)) {
        Some(network) => Value::from(wrapped(network)),
        None => value.clone(),
    };
    if convert::is_list(call.input()) {
        return Ok(Value::from(call.input_items()?.iter().map(one).collect::<Vec<_>>()));
    }
    Ok(one(call.input()))
}

/// The size of a network in subnets of a prefix, or one of these.
fn subnet(call: &mut Call<'_, '_, '_>) -> Result<Value, Error> {
    let network = network(call)?;
    let Some(query) = call.get(1, "query") else { return Ok(Value::from(network.text())) };
    let length = integer(&query)
        .and_then(|l| u32::try_from(l).ok())
        .filter(|l| *l <= network.width())
        .ok_or_else(|| error(format!("ipsubnet: {} is not the length of a prefix", python::repr(&query))))?;
    let Some(index) = call.int(2, "index")? else {
        return Ok(match length.checked_sub(network.prefix) {
            Some(more) => Value::from(1_u128.checked_shl(more).unwrap_or(u128::MAX).to_string()),
            None => Value::from(format!("{}/{length}", around(network, length))),
        });
    };
    let Some(more) = length.checked_sub(network.prefix) else { return Ok(Value::from(false)) };
    // Those of the whole of IPv6 are one more than can be counted: what is asked for never comes near.
    let count = 1_u128.checked_shl(more).unwrap_or(u128::MAX);
    let steps = u128::from(index.unsigned_abs());
    let place = if index < 0 { count.checked_sub(steps) } else { Some(steps) };
    let size = 1_u128.checked_shl(network.width() - length).unwrap_or(0);
    let start = place.filter(|place| *place < count).and_then(|p| p.checked_mul(size));
    Ok(start.map_or_else(
        || Value::from(false),
        |start| Value::from(format!("{}/{length}", network.with(network.first() + start))),
    ))
}

fn around(network: Network, length: u32) -> IpAddr {
    let wider = Network { prefix: length, ..network };
    wider.with(wider.first())
}

fn nth(call: &mut Call<'_, '_, '_>, bounds: Bounds) -> Result<Value, Error> {
    let network = network(call)?;
    let nth = call.int_or(1, "query", 0)?;
    Ok(at(network, nth, bounds).map_or_else(|| Value::from(false), |n| Value::from(network.usable(n))))
}

/// The n-th usable address behind (or before) this one; nothing outside of the network.
fn beside(call: &mut Call<'_, '_, '_>, direction: i128) -> Result<Value, Error> {
    let network = network(call)?;
    let steps = call.int_or(1, "offset", 1)?;
    let (first, last) = network.bounds(Bounds::Usable);
    let moved =
        i128::try_from(network.number()).ok().and_then(|n| n.checked_add(direction * i128::from(steps)));
    let found = moved.and_then(|n| u128::try_from(n).ok()).filter(|n| first <= *n && *n <= last);
    Ok(found.map_or_else(|| Value::from(""), |n| Value::from(network.usable(n))))
}

fn inside(call: &mut Call<'_, '_, '_>, bounds: Bounds) -> Result<Value, Error> {
    let whole = network(call)?;
    let text = call.need_text(1, "test")?;
    Ok(Value::from(Network::parse(&text).is_some_and(|part| whole.holds(part, bounds))))
}

/// Those of the addresses that lie in one of the networks.
fn in_ranges(call: &mut Call<'_, '_, '_>) -> Result<Value, Error> {
    let ranges: Vec<Network> = convert::items(&call.need(1, "ranges")?)?
        .iter()
        .filter_map(|r| Network::parse(&python::py_str(r)))
        .collect();
    let kept = call.input_items()?.into_iter().filter(|item| {
        Network::parse(&python::py_str(item)).is_some_and(|n| ranges.iter().any(|r| r.holds(n, Bounds::All)))
    });
    Ok(Value::from(kept.collect::<Vec<_>>()))
}

fn math(call: &mut Call<'_, '_, '_>) -> Result<Value, Error> {
    let network = network(call)?;
    let by = call.int_or(1, "amount", 0)?;
    let steps = u128::from(by.unsigned_abs());
    let number = network.number();
    let moved = if by < 0 { number.checked_sub(steps) } else { number.checked_add(steps) };
    let most = if network.width() == 32 { u128::from(u32::MAX) } else { u128::MAX };
    let found =
        moved.filter(|n| *n <= most).ok_or_else(|| error("ipmath leaves the addresses that there are"))?;
    Ok(Value::from(network.usable(found)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(text: &str, query: impl Into<Value>) -> String {
        let found = Network::parse(text).map(|n| answer(n, &query.into()).expect("a known query"));
        found.flatten().map_or_else(|| "-".into(), |v| python::py_str(&v))
    }

    #[test]
    fn addresses_answer() {
        for (text, query, expected) in [
            ("192.168.1.5/24", "address", "192.168.1.5"),
            ("192.168.1.0/24", "address", "-"),
            ("192.168.1.5/24", "network", "192.168.1.0"),
            ("192.168.1.5/24", "netmask", "255.255.255.0"),
            ("192.168.1.5/255.255.255.0", "prefix", "24"),
            ("192.168.1.5/24", "broadcast", "192.168.1.255"),
            ("192.168.1.5/24", "size", "256"),
            ("192.168.1.5/24", "first_usable", "192.168.1.1"),
            ("192.168.1.5/24", "range_usable", "192.168.1.1-192.168.1.254"),
            ("192.168.1.5/24", "next_usable", "192.168.1.6"),
            ("192.168.1.5/24", "host", "192.168.1.5/24"),
            ("8.8.8.8", "public", "8.8.8.8"),
            ("10.1.1.1", "public", "-"),
            ("10.1.1.1", "private", "10.1.1.1"),
            ("10.1.1.1", "10.0.0.0/8", "10.1.1.1"),
            ("1.2.3.4", "revdns", "4.3.2.1.in-addr.arpa."),
            ("fe80::1/64", "network/prefix", "fe80::/64"),
            ("::1", "loopback", "::1"),
            ("256.1.1.1", "", "-"),
        ] {
            assert_eq!(ask(text, query), expected, "{text} {query}");
        }
        assert_eq!(ask("10.0.0.0/24", 5), "10.0.0.5/24");
        assert_eq!(ask("10.0.0.0/24", -1), "10.0.0.255/24");
    }
}
