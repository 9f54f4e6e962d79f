//! A network whose whole definition a person wrote.

use std::net::IpAddr;

use super::libvirt_form::{DefinitionOf, normal};
use super::written::{Written, same};
use super::xml::Element;
use super::{Defined, Driver, LabError, Mark};

/// What libvirt gives a network by itself, where its definition does not say it.
const GIVEN: [&str; 2] = ["uuid", "mac"];

/// The definition, what is there, and which of the addresses that are kept there are not its affair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrittenNetwork {
    definition: Written,
    /// What is there in libvirt's form.
    there: Option<Element>,
    /// Addresses that the network keeps for VMs which are there: they are declared with the VMs.
    kept: Vec<Element>,
}

impl WrittenNetwork {
    /// Reads the definition against what is there.
    pub fn observe(
        driver: &dyn Driver,
        name: &str,
        xml: &str,
        now: Option<&Defined>,
    ) -> Result<Self, LabError> {
        let what = format!("network {name}");
        let read = |xml: &str| normal(DefinitionOf::Network, &what, xml);
        let definition = Written::new(&what, Element::parse(xml)?, read(xml)?)?;
        let there = now.map(|now| read(&now.xml)).transpose()?;
        let mut kept = there.iter().flat_map(hosts).cloned().collect::<Vec<_>>();
        kept.retain(|host| !hosts(&definition.normal).any(|own| same(own, host)));
        if !kept.is_empty() {
            let vms = vms(driver)?;
            kept.retain(|host| vms.iter().any(|vm| vm.has(host)));
        }
        Ok(Self { definition, there, kept })
    }

    pub fn name(&self) -> &str {
        self.definition.normal.path_text("name").unwrap_or_default()
    }

    /// What a person should know about the definition.
    pub fn warnings(&self) -> Vec<String> {
        let told = |what| format!("network {}: libvirt makes nothing of {what}", self.name());
        self.definition.passed_over().into_iter().map(told).collect()
    }

    pub(super) fn describe(&self) -> String {
        self.comparable(&self.definition.normal, None).to_string()
    }

    /// What is there, and what is wanted, in the same words.
    pub(super) fn against(&self, mark: &Mark) -> (Element, Element) {
        let is = self.there.as_ref().map(|there| self.comparable(there, Some(mark))).unwrap_or_default();
        (is, self.comparable(&self.definition.normal, None))
    }

    /// A definition in libvirt's form without what the written one leaves to libvirt or to the lab.
    fn comparable(&self, network: &Element, mark: Option<&Mark>) -> Element {
        let mut rest = network.clone();
        let wanted = &self.definition.normal;
        // The form of what is wanted has a UUID of its own whenever it is asked for.
        rest.children
            .retain(|c| !GIVEN.contains(&c.name.as_str()) || self.definition.written.find(&c.name).is_some());
        for child in &mut rest.children {
            match child.name.as_str() {
                "bridge" if wanted.path_attr("bridge", "name").is_none() => {
                    child.attributes.retain(|(name, _)| name != "name");
                }
                "metadata" if mark.is_some() => child.children.retain(|c| !Mark::is_element(c)),
                "ip" => {
                    for dhcp in child.children.iter_mut().filter(|c| c.name == "dhcp") {
                        dhcp.children.retain(|c| !self.kept.contains(c));
                    }
                }
                _ => {}
            }
        }
        rest.children.retain(|c| c.name != "metadata" || !c.children.is_empty());
        rest
    }

    /// The definition that is given to libvirt: as it was written, marked, and with what identifies the network that is there.
    pub(super) fn to_xml(&self, mark: &Mark) -> String {
        let mut network = self.definition.written.clone();
        let marks = mark.element().children;
        match network.children.iter_mut().find(|c| c.name == "metadata") {
            Some(metadata) => metadata.children.extend(marks),
            None => network.children.push(mark.element()),
        }
        let Some(there) = &self.there else { return network.to_string() };
        for given in GIVEN {
            if network.find(given).is_none() {
                network.children.extend(there.find(given).cloned());
            }
        }
        if let (Some(name), None) = (there.path_attr("bridge", "name"), network.path_attr("bridge", "name"))
            && self.definition.normal.find("bridge").is_some()
        {
            match network.children.iter_mut().find(|c| c.name == "bridge") {
                Some(bridge) => bridge.attributes.push(("name".into(), name.to_owned())),
                None => network.children.push(Element::new("bridge").attr("name", name)),
            }
        }
        for old in there.all("ip") {
            let kept: Vec<Element> = old
                .find("dhcp")
                .into_iter()
                .flat_map(|d| d.all("host"))
                .filter(|h| self.kept.contains(h))
                .cloned()
                .collect();
            let address = |ip: &Element| ip.get("address").and_then(|a| a.parse::<IpAddr>().ok());
            let same_address = |ip: &&mut Element| ip.name == "ip" && address(ip) == address(old);
            if let Some(ip) = network.children.iter_mut().find(same_address).filter(|_| !kept.is_empty()) {
                match ip.children.iter_mut().find(|c| c.name == "dhcp") {
                    Some(dhcp) => dhcp.children.extend(kept),
                    None => ip.children.push(Element::new("dhcp").children_of(kept)),
                }
            }
        }
        network.to_string()
    }
}

fn hosts(network: &Element) -> impl Iterator<Item = &Element> {
    network.all("ip").filter_map(|ip| ip.find("dhcp")).flat_map(|dhcp| dhcp.all("host"))
}

/// What of a VM a network may keep an address by.
struct Vm {
    name: String,
    macs: Vec<String>,
}

impl Vm {
    fn has(&self, host: &Element) -> bool {
        match host.get("mac") {
            Some(mac) => self.macs.iter().any(|m| m.eq_ignore_ascii_case(mac)),
            // An IPv6 address is kept by name.
            None => host.get("name") == Some(&self.name),
        }
    }
}

fn vms(driver: &dyn Driver) -> Result<Vec<Vm>, LabError> {
    let mut all = Vec::new();
    for name in driver.domains()? {
        let Some(now) = driver.domain(&name)? else { continue };
        let xml = Element::parse(&now.xml)?;
        let cards = xml.find("devices").into_iter().flat_map(|d| d.all("interface"));
        let macs = cards.filter_map(|c| c.path_attr("mac", "address")).map(str::to_owned).collect();
        all.push(Vm { name, macs });
    }
    Ok(all)
}
