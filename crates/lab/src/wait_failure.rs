use std::fmt;
use std::time::Duration;

use super::{Console, DomainState, Lease, VmIdentity};

/// The stages from a started VM to one that can be worked on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The guest has an address.
    Lease,
    /// Something answers on the SSH port.
    Tcp,
    /// The login works, with the host key that quaylab gave the guest.
    Login,
    /// cloud-init has finished.
    CloudInit,
    /// The guest has restarted as its user-data asked, and the login works again.
    Reboot,
}

impl Stage {
    pub fn word(self) -> &'static str {
        match self {
            Self::Lease => "lease",
            Self::Tcp => "tcp",
            Self::Login => "login",
            Self::CloudInit => "cloud-init",
            Self::Reboot => "reboot",
        }
    }

    pub(super) fn waiting_for(self) -> &'static str {
        match self {
            Self::Lease => "an address: from DHCP, the guest's agent or the ARP table",
            Self::Tcp => "the SSH port to open",
            Self::Login => "the SSH login to work",
            Self::CloudInit => "cloud-init to finish",
            Self::Reboot => "the restart that its user-data asks for",
        }
    }
}
/// A stage that did not come, with all that is known about why.
#[derive(Debug)]
pub struct WaitFailure {
    pub vm: VmIdentity,
    pub stage: Stage,
    pub waited: Duration,
    pub why: Why,
    pub leases: Vec<Lease>,
    /// What became of the last question to the guest's agent.
    pub agent: Option<String>,
    pub console: Console,
    /// What `AppArmor` or SELinux refused on the hypervisor lately.
    pub denials: Vec<String>,
}

/// Why the wait ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// The stage's time is over; what the last attempt said.
    TimedOut { last: Option<String> },
    /// The VM does not run any more.
    Stopped(DomainState),
    /// The VM is not there.
    Missing,
    /// cloud-init says that it failed.
    CloudInit(Vec<String>),
}

impl WaitFailure {
    /// What to try.
    pub fn hint(&self) -> String {
        let vm = &self.vm.name;
        match (&self.why, self.stage) {
            (Why::Stopped(_), _) => format!("the console's last lines tell why; `virsh start {vm} --console` shows it live"),
            (Why::Missing, _) => "run again: the VM is made anew".into(),
            (Why::CloudInit(_), _) => "see /var/log/cloud-init-output.log in the guest; mend run_cmds or install_packages, destroy the VM and run again".into(),
            (_, Stage::Lease) => format!(
                "does the console show a booted system? if so, the guest got nothing from DHCP on {}; where that is not libvirt's, an image with qemu-guest-agent tells its address; if the console is empty, the image does not boot or has no serial console",
                self.vm.network
            ),
            (_, Stage::Tcp) => "is sshd installed in the image, and does a firewall on the guest or the hypervisor block port 22?".into(),
            (_, Stage::Login) => "is the login user right (ansible_user), and does the image have cloud-init with the NoCloud data source?".into(),
            (_, Stage::Reboot) => "the guest was to restart (power_state in its user-data); the console shows whether it did, and the timeout of reboot may be raised".into(),
            (_, Stage::CloudInit) => "package installs may need longer: raise the timeout of cloud_init, or look into /var/log/cloud-init-output.log in the guest".into(),
        }
    }
}

impl fmt::Display for WaitFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (vm, stage, seconds) = (&self.vm.name, self.stage.word(), self.waited.as_secs());
        match &self.why {
            Why::TimedOut { last } => {
                write!(
                    f,
                    "VM {vm}: stage {stage}: waited {seconds} s in vain for {}",
                    self.stage.waiting_for()
                )?;
                if let Some(last) = last {
                    write!(f, " (last: {last})")?;
                }
            }
            Why::Stopped(now) => {
                write!(f, "VM {vm}: stage {stage}: after {seconds} s the VM is {}", now.word())?;
            }
            Why::Missing => write!(f, "VM {vm}: stage {stage}: there is no such VM")?,
            Why::CloudInit(errors) => {
                write!(f, "VM {vm}: cloud-init failed after {seconds} s")?;
                for error in errors {
                    write!(f, "\n  {error}")?;
                }
            }
        }
        if self.stage != Stage::CloudInit && self.why != Why::Missing {
            write!(f, "\nleases of network {}:", self.vm.network)?;
            if self.leases.is_empty() {
                write!(f, " none")?;
            }
            for lease in &self.leases {
                let own = if lease.mac == self.vm.mac { "  <- this VM" } else { "" };
                let name = lease.hostname.as_deref().unwrap_or("-");
                write!(f, "\n  {} {} {name}{own}", lease.mac, lease.address)?;
            }
        }
        if self.stage == Stage::Lease && self.why != Why::Missing {
            write!(f, "\nagent in the guest: {}", self.agent.as_deref().unwrap_or("not asked"))?;
            write!(f, "\nARP table of the hypervisor: nothing of {}", self.vm.mac)?;
        }
        write!(f, "\n{}", self.console)?;
        if !self.denials.is_empty() {
            write!(f, "\nrefused on the hypervisor by AppArmor or SELinux:")?;
            self.denials.iter().try_for_each(|line| write!(f, "\n  {line}"))?;
        }
        Ok(())
    }
}

impl std::error::Error for WaitFailure {}
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_explains_itself() {
        let lease = |mac: &str, address: &str| Lease {
            mac: mac.into(),
            address: address.into(),
            hostname: None,
            client: None,
            expires: 0,
        };
        let mut failure = WaitFailure {
            vm: VmIdentity {
                name: "quay".into(),
                network: "quaylab".into(),
                mac: "52:54:00:00:00:01".into(),
                console_log: "/c.log".into(),
            },
            stage: Stage::Tcp,
            waited: Duration::from_secs(120),
            why: Why::TimedOut { last: Some("Connection refused".into()) },
            agent: Some("QEMU guest agent is not connected".into()),
            leases: vec![lease("52:54:00:00:00:02", "10.0.0.2"), lease("52:54:00:00:00:01", "10.0.0.1")],
            console: Console::Lines(vec!["Kernel panic".into()]),
            denials: vec!["apparmor=\"DENIED\" name=\"/pool/x\"".into()],
        };
        insta::assert_snapshot!(failure, @r#"
        VM quay: stage tcp: waited 120 s in vain for the SSH port to open (last: Connection refused)
        leases of network quaylab:
          52:54:00:00:00:02 10.0.0.2 -
          52:54:00:00:00:01 10.0.0.1 -  <- this VM
        console:
          Kernel panic
        refused on the hypervisor by AppArmor or SELinux:
          apparmor="DENIED" name="/pool/x"
        "#);
        (failure.stage, failure.leases, failure.denials) = (Stage::Lease, Vec::new(), Vec::new());
        failure.why = Why::TimedOut { last: None };
        insta::assert_snapshot!(failure, @r"
        VM quay: stage lease: waited 120 s in vain for an address: from DHCP, the guest's agent or the ARP table
        leases of network quaylab: none
        agent in the guest: QEMU guest agent is not connected
        ARP table of the hypervisor: nothing of 52:54:00:00:00:01
        console:
          Kernel panic
        ");
    }
}
