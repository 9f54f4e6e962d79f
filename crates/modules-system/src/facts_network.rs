//! Facts about the network, from `ip -o`, which every version prints alike.

use std::net::Ipv4Addr;

use serde_json::json;

use super::sections::Sections;
use crate::value::{Map, Value};

/// The word after a word.
fn after<'a>(line: &'a str, word: &str) -> Option<&'a str> {
    let mut words = line.split_whitespace();
    words.by_ref().find(|w| *w == word)?;
    words.next()
}

fn ipv4(line: &str) -> Option<Value> {
    let (address, prefix) = after(line, "inet")?.split_once('/').unwrap_or((after(line, "inet")?, "32"));
    let bits: u32 = prefix.parse().ok().filter(|p| *p <= 32)?;
    let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
    let network = Ipv4Addr::from(u32::from(address.parse::<Ipv4Addr>().ok()?) & mask);
    Some(json!({
        "address": address,
        "broadcast": after(line, "brd").unwrap_or(""),
        "netmask": Ipv4Addr::from(mask).to_string(),
        "network": network.to_string(),
        "prefix": prefix,
    }))
}

fn kind(flags: &str, line: &str) -> &'static str {
    if flags.contains("LOOPBACK") {
        "loopback"
    } else if line.contains("link/ether") {
        "ether"
    } else {
        "unknown"
    }
}

/// Interfaces by name, in the kernel's order.
fn interfaces(sections: &Sections) -> Map {
    let mut all = Map::new();
    for line in sections.lines("links") {
        let mut words = line.split_whitespace();
        let Some(name) = words.nth(1).map(|n| n.trim_end_matches(':')) else { continue };
        let name = name.split('@').next().unwrap_or(name);
        let flags = words.next().unwrap_or("");
        let mut facts = Map::new();
        facts.insert("device".into(), json!(name));
        facts.insert("active".into(), json!(flags.trim_matches(['<', '>']).split(',').any(|f| f == "UP")));
        facts.insert("promisc".into(), json!(flags.contains("PROMISC")));
        facts.insert("type".into(), json!(kind(flags, line)));
        if let Some(mtu) = after(line, "mtu").and_then(|m| m.parse::<u32>().ok()) {
            facts.insert("mtu".into(), json!(mtu));
        }
        if let Some(mac) = after(line, "link/ether") {
            facts.insert("macaddress".into(), json!(mac));
        }
        all.insert(name.to_owned(), Value::Object(facts));
    }
    for line in sections.lines("addresses") {
        let Some(name) = line.split_whitespace().nth(1) else { continue };
        let name = name.split('@').next().unwrap_or(name);
        let Some(Value::Object(facts)) = all.get_mut(name) else { continue };
        if let Some(address) = ipv4(line) {
            if facts.contains_key("ipv4") {
                let more = facts.entry("ipv4_secondaries").or_insert_with(|| json!([]));
                if let Value::Array(list) = more {
                    list.push(address);
                }
            } else {
                facts.insert("ipv4".into(), address);
            }
        } else if let Some((address, prefix)) = after(line, "inet6").and_then(|a| a.split_once('/')) {
            let entry =
                json!({"address": address, "prefix": prefix, "scope": after(line, "scope").unwrap_or("")});
            if let Value::Array(list) = facts.entry("ipv6").or_insert_with(|| json!([])) {
                list.push(entry);
            }
        }
    }
    all
}

fn default_ipv4(route: &str, interfaces: &Map) -> Value {
    let Some(device) = after(route, "dev") else { return json!({}) };
    let mut facts = Map::new();
    facts.insert("interface".into(), json!(device));
    facts.insert("alias".into(), json!(device));
    if let Some(gateway) = after(route, "via") {
        facts.insert("gateway".into(), json!(gateway));
    }
    let address = after(route, "src");
    if let Some(address) = address {
        facts.insert("address".into(), json!(address));
    }
    if let Some(Value::Object(interface)) = interfaces.get(device) {
        for key in ["macaddress", "mtu", "type"] {
            facts.extend(interface.get(key).map(|v| (key.to_owned(), v.clone())));
        }
        let secondary = interface.get("ipv4_secondaries").and_then(Value::as_array).into_iter().flatten();
        let own = interface.get("ipv4").into_iter().chain(secondary);
        if let Some(Value::Object(own)) =
            own.into_iter().find(|a| address.is_none() || a.get("address").and_then(Value::as_str) == address)
        {
            facts.extend(own.clone());
        }
    }
    Value::Object(facts)
}

fn default_ipv6(route: &str, interfaces: &Map) -> Value {
    let (Some(device), Some(address)) = (after(route, "dev"), after(route, "src")) else { return json!({}) };
    let mut facts = Map::new();
    facts.insert("interface".into(), json!(device));
    facts.insert("address".into(), json!(address));
    facts.extend(after(route, "via").map(|g| ("gateway".to_owned(), json!(g))));
    if let Some(Value::Object(interface)) = interfaces.get(device) {
        for key in ["macaddress", "mtu", "type"] {
            facts.extend(interface.get(key).map(|v| (key.to_owned(), v.clone())));
        }
    }
    Value::Object(facts)
}

pub(super) fn facts(sections: &Sections) -> Map {
    let interfaces = interfaces(sections);
    let mut v4 = Vec::new();
    let mut v6 = Vec::new();
    for facts in interfaces.values() {
        let more = facts.get("ipv4_secondaries").and_then(Value::as_array).into_iter().flatten();
        for address in facts.get("ipv4").into_iter().chain(more) {
            // Loopback addresses are nobody's address.
            v4.extend(address.get("address").filter(|a| !a.as_str().is_some_and(|a| a.starts_with("127."))));
        }
        for address in facts.get("ipv6").and_then(Value::as_array).into_iter().flatten() {
            v6.extend(address.get("address").filter(|a| a.as_str() != Some("::1")));
        }
    }
    let mut facts = Map::new();
    facts.insert("all_ipv4_addresses".into(), json!(v4));
    facts.insert("all_ipv6_addresses".into(), json!(v6));
    facts.insert("interfaces".into(), json!(interfaces.keys().collect::<Vec<_>>()));
    facts.insert("default_ipv4".into(), default_ipv4(sections.text("route4"), &interfaces));
    facts.insert("default_ipv6".into(), default_ipv6(sections.text("route6"), &interfaces));
    for (name, value) in interfaces {
        // A variable's name has no dashes, dots or colons.
        facts.insert(name.replace(['-', '.', ':'], "_"), value);
    }
    facts
}

#[cfg(test)]
mod tests {
    use super::super::sections::testing::answer;
    use super::*;

    #[test]
    fn addresses_and_the_default_route() {
        let reply = answer(&[
            (
                "links",
                "1: lo: <LOOPBACK,UP,LOWER_UP> mtu 65536 qdisc noqueue state UNKNOWN \\    link/loopback 00:00:00:00:00:00\n\
                 2: virbr-900@if3: <BROADCAST,MULTICAST,UP> mtu 1500 qdisc x \\    link/ether 52:54:00:01:02:03 brd ff:ff:ff:ff:ff:ff",
            ),
            (
                "addresses",
                "1: lo    inet 127.0.0.1/8 scope host lo\\ valid_lft forever\n\
                 2: virbr-900    inet 10.0.5.9/22 brd 10.0.7.255 scope global virbr-900\n\
                 2: virbr-900    inet 10.1.0.1/32 scope global virbr-900\n\
                 2: virbr-900    inet6 fe80::1/64 scope link",
            ),
            ("route4", "8.8.8.8 via 10.0.4.1 dev virbr-900 src 10.0.5.9 uid 0 \\    cache"),
        ]);
        let facts = facts(&Sections::read(&reply).expect("readable"));
        assert_eq!(facts["interfaces"], json!(["lo", "virbr-900"]));
        assert_eq!(facts["all_ipv4_addresses"], json!(["10.0.5.9", "10.1.0.1"]));
        assert_eq!(facts["virbr_900"]["ipv6"][0]["scope"], "link");
        assert_eq!(
            facts["default_ipv4"],
            json!({
                "interface": "virbr-900", "alias": "virbr-900", "gateway": "10.0.4.1", "address": "10.0.5.9",
                "macaddress": "52:54:00:01:02:03", "mtu": 1500, "type": "ether", "broadcast": "10.0.7.255",
                "netmask": "255.255.252.0", "network": "10.0.4.0", "prefix": "22"
            })
        );
        assert_eq!(facts["default_ipv6"], json!({}));
    }
}
