use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;

use super::common::{check_name, connect, default_uri, mark, plan_of};
use crate::lab::{
    Defined, DnsHost, Element, Mark, NetworkSpec, NetworkState, NetworkStep, NetworkWanted, NetworkWish,
    Subnet, WrittenNetwork, plan_network, prefix_of, replug,
};
use crate::value::{Map, Value};
use crate::{ModuleError, Plan, Resource, RunMode, TaskContext, from_args};

/// A libvirt network. A running network of this lab is changed in place where its VMs keep their link; one that quaylab did
/// not make is used when it matches and never changed.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct VirtNet {
    /// The network's name.
    #[serde(alias = "network_name")]
    name: String,
    /// `active` also starts it; `present` defines it and leaves it as it is.
    #[serde(default)]
    state: State,
    /// Whether it starts with the hypervisor.
    #[serde(default = "crate::args::yes")]
    autostart: bool,
    /// The libvirt connection.
    #[serde(default = "default_uri")]
    uri: String,
    /// A whole definition instead of the arguments below: libvirt gets it as it stands, and all of it is compared.
    xml: Option<String>,
    /// `nat`, `route`, `open`, or `bridge` for a bridge that is there; nothing is an isolated network.
    forward: Option<String>,
    /// The bridge's name, at most 15 characters.
    bridge: Option<String>,
    /// The DNS domain of the guests.
    domain: Option<String>,
    /// DNS servers that are asked for other names.
    #[serde(default)]
    dns_forwarder: Vec<String>,
    /// Names that the network's DNS knows: `{ip: ADDRESS, names: [NAME, ...]}`.
    #[serde(default)]
    dns_hosts: Vec<Names>,
    /// Whether a network that runs may be stopped and started for what cannot be changed while it does; running VMs are
    /// put back on it.
    #[serde(default)]
    allow_restart: bool,
    /// The hypervisor's address in the network.
    ip_address: Option<String>,
    /// Its netmask or prefix length.
    ip_netmask: Option<String>,
    /// First address of the DHCP range.
    dhcp_start: Option<String>,
    /// Last address of the DHCP range.
    dhcp_end: Option<String>,
    /// The hypervisor's IPv6 address in the network.
    ipv6: Option<String>,
    /// Its prefix length.
    ipv6_prefix: Option<String>,
    /// First address of the `DHCPv6` range.
    dhcp6_start: Option<String>,
    /// Last address of the `DHCPv6` range.
    dhcp6_end: Option<String>,
    /// Accepted for older inventories; follows from the address and the netmask.
    #[serde(rename = "network")]
    _network: Option<String>,
    /// Accepted for older inventories; follows from the address and the netmask.
    #[serde(rename = "broadcast")]
    _broadcast: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Names {
    ip: String,
    names: Vec<String>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum State {
    #[default]
    Active,
    Present,
    Inactive,
    Absent,
}

/// A network as libvirt has it, and whose mark counts.
#[derive(Debug)]
pub(super) struct Observed {
    defined: Option<Defined>,
    mark: Mark,
    /// Where the definition was given as XML.
    written: Option<WrittenNetwork>,
}

fn address<T: std::str::FromStr>(what: &str, text: &str) -> Result<T, ModuleError> {
    text.parse().map_err(|_| ModuleError::Arguments(format!("{what}: {text:?} is not an IP address")))
}

fn subnet(
    [what, mask_name]: [&str; 2],
    own: Option<&String>,
    mask: Option<&String>,
    dhcp: (Option<&String>, Option<&String>),
) -> Result<Option<Subnet>, ModuleError> {
    let Some(own) = own else {
        return match dhcp {
            (None, None) => Ok(None),
            _ => Err(ModuleError::Arguments(format!("a DHCP range needs {what}"))),
        };
    };
    let own: std::net::IpAddr = address(what, own)?;
    let prefix = match mask {
        None => {
            if own.is_ipv4() {
                24
            } else {
                64
            }
        }
        Some(mask) => prefix_of(mask).filter(|p| *p <= 32 || own.is_ipv6()).ok_or_else(|| {
            ModuleError::Arguments(format!("{mask_name}: {mask:?} is neither a netmask nor a prefix length"))
        })?,
    };
    let dhcp = match dhcp {
        (Some(start), Some(end)) => {
            Some((address("the start of the DHCP range", start)?, address("its end", end)?))
        }
        (None, None) => None,
        _ => return Err(ModuleError::Arguments("a DHCP range needs a start and an end".into())),
    };
    Ok(Some(Subnet { address: own, prefix, dhcp }))
}

impl VirtNet {
    fn dns_hosts(&self) -> Result<Vec<DnsHost>, ModuleError> {
        let mut hosts = Vec::new();
        for Names { ip, names } in &self.dns_hosts {
            if names.is_empty() {
                return Err(ModuleError::Arguments(format!("dns_hosts: {ip} has no names")));
            }
            hosts.push(DnsHost { address: address("dns_hosts", ip)?, names: names.clone() });
        }
        hosts.sort();
        Ok(hosts)
    }

    /// That a definition given as XML is of this network, and that nothing is said beside it.
    fn check_xml(&self, xml: &str) -> Result<(), ModuleError> {
        let network = Element::parse(xml)?;
        let named = network.path_text("name").unwrap_or_default();
        if network.name != "network" || named != self.name {
            return Err(ModuleError::Arguments(format!(
                "xml defines the {} {named:?}, not the network {:?}",
                network.name, self.name
            )));
        }
        let beside = [
            ("forward", self.forward.is_some()),
            ("bridge", self.bridge.is_some()),
            ("domain", self.domain.is_some()),
            ("dns_forwarder", !self.dns_forwarder.is_empty()),
            ("dns_hosts", !self.dns_hosts.is_empty()),
            ("ip_address", self.ip_address.is_some()),
            ("ip_netmask", self.ip_netmask.is_some()),
            ("dhcp_start", self.dhcp_start.is_some()),
            ("dhcp_end", self.dhcp_end.is_some()),
            ("ipv6", self.ipv6.is_some()),
            ("ipv6_prefix", self.ipv6_prefix.is_some()),
            ("dhcp6_start", self.dhcp6_start.is_some()),
            ("dhcp6_end", self.dhcp6_end.is_some()),
        ];
        match beside.into_iter().find(|(_, given)| *given) {
            Some((name, _)) => Err(ModuleError::Arguments(format!(
                "{name} has no place beside xml, which is the whole definition"
            ))),
            None => Ok(()),
        }
    }

    fn spec(&self) -> Result<NetworkSpec, ModuleError> {
        Ok(NetworkSpec {
            name: self.name.clone(),
            forward: self.forward.as_deref().filter(|f| *f != "none").map(str::parse).transpose()?,
            bridge: self.bridge.clone(),
            domain: self.domain.clone(),
            dns_forwarders: self.dns_forwarder.clone(),
            dns_hosts: self.dns_hosts()?,
            ipv4: subnet(
                ["ip_address", "ip_netmask"],
                self.ip_address.as_ref(),
                self.ip_netmask.as_ref(),
                (self.dhcp_start.as_ref(), self.dhcp_end.as_ref()),
            )?,
            ipv6: subnet(
                ["ipv6", "ipv6_prefix"],
                self.ipv6.as_ref(),
                self.ipv6_prefix.as_ref(),
                (self.dhcp6_start.as_ref(), self.dhcp6_end.as_ref()),
            )?,
        })
    }
}

/// The network that arguments of this module declare.
pub fn declared_network(args: &Map) -> Result<NetworkSpec, ModuleError> {
    from_args::<VirtNet>(args.clone())?.spec()
}

#[async_trait]
impl Resource for VirtNet {
    const NAME: &'static str = "virt_net";
    const FQCN: &'static [&'static str] = &["community.libvirt.virt_net"];
    type Observed = Observed;
    type Step = NetworkStep;

    fn validate(&self) -> Result<(), ModuleError> {
        check_name("network", &self.name)?;
        match &self.xml {
            _ if self.state == State::Absent => Ok(()),
            Some(xml) => self.check_xml(xml),
            None => Ok(self.spec()?.check()?),
        }
    }

    async fn prepare(&mut self, cx: &TaskContext) -> Result<(), ModuleError> {
        // What would be restarted is foretold; a run asks first.
        self.allow_restart |= cx.mode.check;
        Ok(())
    }

    async fn observe(&self, cx: &TaskContext) -> Result<Observed, ModuleError> {
        let name = self.name.clone();
        let xml = self.xml.clone().filter(|_| self.state != State::Absent);
        let (defined, written) = connect(&self.uri, cx)
            .await?
            .call(move |d| {
                let defined = d.network(&name)?;
                let written = xml.map(|xml| WrittenNetwork::observe(d, &name, &xml, defined.as_ref()));
                Ok((defined, written.transpose()?))
            })
            .await?;
        Ok(Observed { defined, mark: mark(cx), written })
    }

    fn plan(&self, now: &Observed, _: RunMode) -> Result<Plan<NetworkStep>, ModuleError> {
        let state = match self.state {
            State::Active => NetworkState::Active,
            State::Present if now.defined.as_ref().is_some_and(|d| d.active) => NetworkState::Active,
            State::Present | State::Inactive => NetworkState::Inactive,
            State::Absent => NetworkState::Absent,
        };
        let spec = if state == NetworkState::Absent || now.written.is_some() {
            NetworkSpec { name: self.name.clone(), ..NetworkSpec::default() }
        } else {
            self.spec()?
        };
        let wanted = now.written.as_ref().map_or(NetworkWanted::Parts(&spec), NetworkWanted::Whole);
        let wish = NetworkWish { state, autostart: self.autostart, allow_restart: self.allow_restart };
        plan_of(plan_network(wanted, wish, now.defined.as_ref(), &now.mark))
    }

    fn warnings(&self, now: &Observed, _: RunMode) -> Vec<String> {
        now.written.as_ref().map(WrittenNetwork::warnings).unwrap_or_default()
    }

    async fn apply(&self, step: &NetworkStep, cx: &TaskContext) -> Result<(), ModuleError> {
        let hypervisor = connect(&self.uri, cx).await?;
        let (name, step) = (self.name.clone(), step.clone());
        if step == NetworkStep::Replug {
            return Ok(replug(&hypervisor, &name).await?);
        }
        hypervisor
            .call(move |d| match step {
                NetworkStep::Define(xml) => d.define_network(&xml),
                NetworkStep::Update(update) => d.update_network(&name, &update),
                NetworkStep::Start => d.set_network_active(&name, true),
                NetworkStep::Stop => d.set_network_active(&name, false),
                NetworkStep::Autostart(on) => d.set_network_autostart(&name, on),
                NetworkStep::Undefine => d.undefine_network(&name),
                NetworkStep::Replug => Ok(()),
            })
            .await?;
        Ok(())
    }

    fn result(&self, after: &Observed) -> Map {
        let state = match &after.defined {
            None => "absent",
            Some(d) if d.active => "active",
            Some(_) => "inactive",
        };
        let bridge = after
            .defined
            .as_ref()
            .and_then(|d| Element::parse(&d.xml).ok()?.path_attr("bridge", "name").map(str::to_owned));
        let restarts =
            self.plan(after, RunMode::default()).is_ok_and(|p| p.steps.contains(&NetworkStep::Replug));
        Map::from_iter([
            ("name".into(), Value::from(self.name.clone())),
            ("state".into(), state.into()),
            // In check mode: what would come of it.
            ("restart".into(), restarts.into()),
            ("bridge".into(), bridge.into()),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn net(args: Value) -> Result<NetworkSpec, String> {
        let Value::Object(map) = args else { panic!("an object") };
        let net: VirtNet = from_args(map).map_err(|e| e.to_string())?;
        net.validate().and_then(|()| net.spec()).map_err(|e| e.to_string())
    }

    #[test]
    fn the_seeds_bridge_is_a_declaration() {
        let spec = net(json!({
            "name": "quaylab", "forward": "nat", "bridge": "virbr-900", "domain": "quaylab.lan",
            "network": "192.168.254.0", "broadcast": "192.168.254.255", "ip_address": "192.168.254.254",
            "ip_netmask": "255.255.255.0", "dhcp_start": "192.168.254.1", "dhcp_end": "192.168.254.253"
        }))
        .expect("valid");
        assert_eq!(spec.ipv4.as_ref().map(|s| s.prefix), Some(24));
        assert_eq!(spec.describe().lines().last(), Some("dhcp: 192.168.254.1 to 192.168.254.253"));
    }

    #[test]
    fn mistakes_are_explained() {
        for (args, part) in [
            (json!({"name": "a", "ip_address": "1.2.3"}), "is not an IP address"),
            (
                json!({"name": "a", "ip_address": "10.0.0.1", "ip_netmask": "255.0.255.0"}),
                "neither a netmask",
            ),
            (json!({"name": "a", "dhcp_start": "10.0.0.1", "dhcp_end": "10.0.0.2"}), "needs ip_address"),
            (json!({"name": "a", "ip_address": "10.0.0.1", "dhcp_start": "10.0.0.2"}), "a start and an end"),
            (json!({"name": "a/b"}), "may only hold"),
            (json!({"name": "a", "xml": "<network><name>b</name></network>"}), "not the network \"a\""),
            (json!({"name": "a", "xml": "<pool><name>a</name></pool>"}), "defines the pool \"a\""),
            (
                json!({"name": "a", "domain": "d", "xml": "<network><name>a</name></network>"}),
                "domain has no place",
            ),
            (json!({"name": "a", "forward": "bridge"}), "needs the bridge"),
            (json!({"name": "a", "forward": "brigde", "bridge": "br0"}), "libvirt has no such mode"),
        ] {
            let error = net(args.clone()).expect_err("invalid");
            assert!(error.contains(part), "{args}: {error}");
        }
    }
}
