//! Where a VM's address is known from: the network's DHCP, the agent in the guest, what libvirt saw pass by.

use std::net::IpAddr;
use std::time::Duration;

use tokio::task::JoinHandle;

use super::{Driver, Hypervisor, LabError, VmIdentity};

/// An address after the MAC of its interface.
type Told = (String, String);

/// The address that the network's DHCP gave a VM: its newest lease.
pub(super) fn leased_address(driver: &dyn Driver, vm: &VmIdentity) -> Result<Option<String>, LabError> {
    let leases = if vm.network.is_empty() { Vec::new() } else { driver.leases(&vm.network)? };
    // A guest has both families; the IPv4 address is the one that the inventory's network promises.
    let own = leases.into_iter().filter(|l| l.mac.eq_ignore_ascii_case(&vm.mac));
    Ok(own.max_by_key(|l| (l.address.contains('.'), l.expires)).map(|l| l.address))
}

/// The address that libvirt saw a VM use: what is set by hand in a guest is in the hypervisor's ARP table.
pub(super) fn seen_address(driver: &dyn Driver, vm: &VmIdentity) -> Option<String> {
    let seen = driver.addresses(&vm.name).unwrap_or_default();
    let own = |(mac, address): &Told| mac.eq_ignore_ascii_case(&vm.mac) && address.contains('.');
    seen.into_iter().find(own).map(|(_, address)| address)
}

/// Of what a guest says of itself, the address to reach it at. A guest may say anything: only an address is taken, and
/// none that leads back to the one who asks.
fn usable(told: &[Told], mac: &str) -> Option<String> {
    let own = told.iter().filter(|(of, _)| of.eq_ignore_ascii_case(mac));
    let mut addresses: Vec<IpAddr> = own
        .filter_map(|(_, address)| address.parse().ok())
        .filter(|address: &IpAddr| {
            let local = match address {
                IpAddr::V4(a) => a.is_link_local() || a.is_broadcast(),
                IpAddr::V6(a) => a.is_unicast_link_local() || a.to_ipv4_mapped().is_some(),
            };
            !local && !address.is_loopback() && !address.is_unspecified() && !address.is_multicast()
        })
        .collect();
    addresses.sort_by_key(IpAddr::is_ipv6);
    addresses.first().map(ToString::to_string)
}

/// The agent in a guest, asked where its address is. It may never answer, and is asked again only once it has.
#[derive(Debug, Default)]
pub(super) struct Agent {
    asked: Option<JoinHandle<Result<Vec<Told>, LabError>>>,
    /// What became of the last question.
    pub(super) said: Option<String>,
}

impl Agent {
    /// The address, where the agent tells it within this time.
    pub(super) async fn ask(
        &mut self,
        hypervisor: &Hypervisor,
        vm: &VmIdentity,
        patience: Duration,
    ) -> Option<String> {
        let mut asked = self.asked.take().unwrap_or_else(|| {
            let (hypervisor, name) = (hypervisor.clone(), vm.name.clone());
            tokio::spawn(async move {
                let _turn = hypervisor.state().agents.acquire().await;
                hypervisor.call(move |d| d.agent_addresses(&name)).await
            })
        });
        let Ok(answer) = tokio::time::timeout(patience, &mut asked).await else {
            self.asked = Some(asked);
            self.said = Some("it has not answered yet".into());
            return None;
        };
        match answer {
            Ok(Ok(told)) => {
                let address = usable(&told, &vm.mac);
                self.said = address.is_none().then(|| "it knows no address yet".into());
                address
            }
            Ok(Err(LabError::Libvirt { reason, .. })) => {
                self.said = Some(reason);
                None
            }
            Ok(Err(error)) => {
                self.said = Some(error.to_string());
                None
            }
            Err(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_what_a_guest_says_only_an_address_is_taken() {
        const MAC: &str = "52:54:00:aa:00:01";
        let told = |all: &[(&str, &str)]| {
            let all: Vec<Told> = all.iter().map(|(m, a)| ((*m).to_owned(), (*a).to_owned())).collect();
            usable(&all, MAC)
        };
        let other = ("02:42:00:00:00:01", "172.17.0.1");
        assert_eq!(
            told(&[other, (MAC, "fd00::5"), ("52:54:00:AA:00:01", "10.8.0.5")]).as_deref(),
            Some("10.8.0.5")
        );
        assert_eq!(told(&[(MAC, "fe80::1"), (MAC, "fd00::5")]).as_deref(), Some("fd00::5"));
        for bad in [
            "127.0.0.1",
            "169.254.3.4",
            "0.0.0.0",
            "224.0.0.1",
            "::1",
            "::ffff:127.0.0.1",
            "\u{1b}[2J",
            "evil.example",
            "",
        ] {
            assert_eq!(told(&[other, (MAC, bad)]), None, "{bad}");
        }
    }
}
