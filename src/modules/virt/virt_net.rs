use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;

use super::common::{check_name, connect, default_uri, mark, native_plan, yes};
use crate::lab::{
    Defined, DnsHost, Element, Mark, NetworkSpec, NetworkState, NetworkStep, NetworkWish, Subnet,
    plan_network, prefix_of, replug,
};
use crate::modules::{ModuleError, NativePlan, NativeResource, TaskContext};
use crate::value::{Map, Value};

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
    #[serde(default = "yes")]
    autostart: bool,
    /// The libvirt connection.
    #[serde(default = "default_uri")]
    uri: String,
    /// A whole definition instead of the arguments below; what they describe is compared.
    xml: Option<String>,
    /// `nat`, `route`, `open`, ...; nothing is an isolated network.
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

    fn spec(&self) -> Result<NetworkSpec, ModuleError> {
        if let Some(xml) = &self.xml {
            let spec = NetworkSpec::from_element(&Element::parse(xml)?)?;
            return if spec.name == self.name {
                Ok(spec)
            } else {
                Err(ModuleError::Arguments(format!(
                    "xml defines the network {:?}, not {:?}",
                    spec.name, self.name
                )))
            };
        }
        Ok(NetworkSpec {
            name: self.name.clone(),
            forward: self.forward.clone().filter(|f| f != "none"),
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

#[async_trait]
impl NativeResource for VirtNet {
    const NAME: &'static str = "virt_net";
    const FQCN: &'static [&'static str] = &["community.libvirt.virt_net"];
    type Observed = Observed;
    type Step = NetworkStep;

    fn validate(&self) -> Result<(), ModuleError> {
        check_name("network", &self.name)?;
        if self.state == State::Absent { Ok(()) } else { Ok(self.spec()?.check()?) }
    }

    async fn prepare(&mut self, cx: &TaskContext) -> Result<(), ModuleError> {
        // What would be restarted is foretold; a run asks first.
        self.allow_restart |= cx.check;
        Ok(())
    }

    async fn observe(&self, cx: &TaskContext) -> Result<Observed, ModuleError> {
        let name = self.name.clone();
        let defined = connect(&self.uri, cx).await?.call(move |d| d.network(&name)).await?;
        Ok(Observed { defined, mark: mark(cx) })
    }

    fn plan(&self, now: &Observed) -> Result<NativePlan<NetworkStep>, ModuleError> {
        let state = match self.state {
            State::Active => NetworkState::Active,
            State::Present if now.defined.as_ref().is_some_and(|d| d.active) => NetworkState::Active,
            State::Present | State::Inactive => NetworkState::Inactive,
            State::Absent => NetworkState::Absent,
        };
        let spec = if state == NetworkState::Absent {
            NetworkSpec { name: self.name.clone(), ..NetworkSpec::default() }
        } else {
            self.spec()?
        };
        let wish = NetworkWish { state, autostart: self.autostart, allow_restart: self.allow_restart };
        native_plan(plan_network(&spec, wish, now.defined.as_ref(), &now.mark))
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
        let restarts = self.plan(after).is_ok_and(|p| p.steps.contains(&NetworkStep::Replug));
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
    use crate::modules::from_args;
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
            (json!({"name": "a", "xml": "<network><name>b</name></network>"}), "not \"a\""),
        ] {
            let error = net(args.clone()).expect_err("invalid");
            assert!(error.contains(part), "{args}: {error}");
        }
    }
}
