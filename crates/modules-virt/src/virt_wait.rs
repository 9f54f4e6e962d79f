use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;

use super::common::{check_name, connect, default_uri};
use crate::lab::{
    Accelerator, Element, Hypervisor, Limits, Stage, VmIdentity, WaitRequest, Waited, host_dir, host_key,
    lent, login_key, wait_for_vm,
};
use crate::value::{Map, Value};
use crate::{Action, CheckMode, ModuleError, Outcome, TaskContext};

/// How long check mode looks whether a VM is ready: it never waits for one.
const LOOK: Duration = Duration::from_secs(4);

/// Waits until a VM is ready, stage by stage: an address, the SSH port, the login, the end of cloud-init.
/// Each stage has its own time; under software emulation all of them are five times as long unless they are given.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct VirtWait {
    /// The VM's name on the hypervisor.
    name: String,
    /// The libvirt connection.
    #[serde(default = "default_uri")]
    uri: String,
    /// The address that the network keeps for it: it is said why the VM has another.
    ip: Option<IpAddr>,
    /// The login user.
    #[serde(default = "default_user")]
    user: String,
    #[serde(default = "default_port")]
    port: u16,
    /// Seconds for the address from DHCP (120).
    lease: Option<u64>,
    /// Seconds for the SSH port to open (120).
    tcp: Option<u64>,
    /// Seconds for the login to work (60).
    login: Option<u64>,
    /// Seconds for cloud-init to finish (900).
    cloud_init: Option<u64>,
    /// Whether the VM's user-data asks for a restart (`power_state`), which is then waited for.
    #[serde(default)]
    restarts: bool,
    /// Seconds for the restart that user-data asks for, where it does (300).
    reboot: Option<u64>,
    /// The last stage that is waited for.
    #[serde(default)]
    until: Until,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Until {
    Lease,
    Tcp,
    Login,
    #[default]
    CloudInit,
}

fn default_user() -> String {
    "cloud-user".to_owned()
}

fn default_port() -> u16 {
    22
}

impl VirtWait {
    fn limits(&self, accelerator: Accelerator) -> Limits {
        let factor = if accelerator == Accelerator::Emulation { 5 } else { 1 };
        let limit = |given: Option<u64>, usual: u64| Duration::from_secs(given.unwrap_or(usual * factor));
        Limits {
            lease: limit(self.lease, 120),
            tcp: limit(self.tcp, 120),
            login: limit(self.login, 60),
            cloud_init: limit(self.cloud_init, 900),
            reboot: limit(self.reboot, 300),
        }
    }

    /// Why the VM has not the address that is kept for it, where it has another.
    async fn another_address(&self, hypervisor: &Hypervisor, network: &str, address: &str) -> Option<String> {
        let ip = self.ip.filter(|ip| address.parse() != Ok(*ip))?;
        let asked = network.to_owned();
        let leases = hypervisor.call(move |d| d.leases(&asked)).await.unwrap_or_default();
        let why = match leases.iter().find(|lease| lease.address.parse() == Ok(ip)) {
            Some(lease) => lent(lease),
            None => "a guest that has an address keeps it until it asks again".into(),
        };
        Some(format!("VM {} has {address} and not {ip}: {why}", self.name))
    }

    fn result(
        &self,
        waited: &Waited,
        (limits, behind): (Limits, bool),
        cx: &TaskContext,
    ) -> Result<Map, ModuleError> {
        let state_dir = cx.controller.state_dir();
        let stages: Map = waited
            .stages
            .iter()
            .map(|(stage, time)| {
                let seconds = (time.as_secs_f64() * 10.0).round() / 10.0;
                (stage.word().replace('-', "_"), Value::from(seconds))
            })
            .collect();
        let login = Map::from_iter([
            ("user".into(), Value::from(self.user.clone())),
            (
                "private_key_file".into(),
                login_key(state_dir, cx.controller.lab())?.file.to_string_lossy().into_owned().into(),
            ),
            // Who logs in next has the time that the wait had.
            ("seconds".into(), limits.login.as_secs().into()),
        ]);
        Ok(Map::from_iter([
            ("address".into(), Value::from(waited.address.clone())),
            ("ssh_host_key".into(), host_key(state_dir, &self.name)?.public.into()),
            ("login".into(), login.into()),
            ("behind_hypervisor".into(), behind.into()),
            ("waited".into(), stages.into()),
            ("notes".into(), waited.notes.clone().into()),
        ]))
    }
}

#[async_trait]
impl Action for VirtWait {
    const NAME: &'static str = "virt_wait";
    const FQCN: &'static [&'static str] = &["quaylab.lab.virt_wait"];
    const CHECK: CheckMode = CheckMode::Runs;

    fn validate(&self) -> Result<(), ModuleError> {
        check_name("VM", &self.name)
    }

    async fn run(self, cx: &TaskContext) -> Result<Outcome, ModuleError> {
        let hypervisor = connect(&self.uri, cx).await?;
        let name = self.name.clone();
        let domain = hypervisor.call(move |d| d.domain(&name)).await?;
        let running = domain.as_ref().is_some_and(|d| d.state == crate::lab::DomainState::Running);
        if cx.mode.check && !running {
            return Ok(Outcome::skipped(format!("VM {} does not run yet", self.name)));
        }
        let Some(domain) = domain else {
            return Err(ModuleError::failed(format!("there is no VM {}", self.name)));
        };
        let xml = Element::parse(&domain.xml)?;
        let accelerator =
            if xml.get("type") == Some("kvm") { Accelerator::Kvm } else { Accelerator::Emulation };
        let state_dir = cx.controller.state_dir();
        // Without a key of quaylab's making the VM came from elsewhere, and its host key is believed on first sight.
        let made_here = host_dir(state_dir, &self.name).join("ssh_host_ed25519_key").exists();
        let request = WaitRequest {
            vm: VmIdentity::from_element(&xml),
            user: self.user.clone(),
            port: self.port,
            private_key_file: Some(login_key(state_dir, cx.controller.lab())?.file),
            password: None,
            host_key: if made_here { Some(host_key(state_dir, &self.name)?.public) } else { None },
            limits: self.limits(accelerator),
            restarts: self.restarts,
            until: match self.until {
                Until::Lease => Stage::Lease,
                Until::Tcp => Stage::Tcp,
                Until::Login => Stage::Login,
                Until::CloudInit => Stage::CloudInit,
            },
        };
        let waited = if cx.mode.check {
            let stage = Mutex::new(String::new());
            let tell =
                |text: &str| text.clone_into(&mut stage.lock().unwrap_or_else(PoisonError::into_inner));
            let looked = tokio::time::timeout(LOOK, wait_for_vm(&hypervisor, &request, &tell)).await;
            let Ok(waited) = looked else {
                let stage = stage.into_inner().unwrap_or_else(PoisonError::into_inner);
                return Ok(Outcome::skipped(format!("VM {} is booting ({stage}): not known yet", self.name)));
            };
            waited?
        } else {
            wait_for_vm(&hypervisor, &request, &|text| cx.controller.progress(text)).await?
        };
        let mut warnings = waited.notes.clone();
        warnings.extend(self.another_address(&hypervisor, &request.vm.network, &waited.address).await);
        let result = self.result(&waited, (request.limits, hypervisor.way().is_some()), cx)?;
        Ok(Outcome { warnings, ..Outcome::ok(result) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::from_args;
    use serde_json::json;

    #[test]
    fn emulation_gets_more_time_unless_it_is_given() {
        let Value::Object(map) = json!({"name": "quay", "tcp": 7}) else { panic!("an object") };
        let wait: VirtWait = from_args(map).expect("valid");
        assert_eq!(wait.limits(Accelerator::Kvm).lease, Duration::from_secs(120));
        assert_eq!(wait.limits(Accelerator::Emulation).lease, Duration::from_secs(600));
        assert_eq!(wait.limits(Accelerator::Emulation).tcp, Duration::from_secs(7));
        assert_eq!(wait.until, Until::CloudInit);
    }
}
