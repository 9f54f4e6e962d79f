use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;

use super::common::{check_name, connect, default_uri, ledger, mark, native_plan, yes};
use super::machine::{
    Boot, Choice, Disk, accelerator, default_log_dir, default_memory, default_user, one, resolve, secret,
};
use crate::host::Secret;
use crate::lab::{
    DirectBoot, DomainObserved, DomainSpec, DomainState, DomainStep, DomainWish, Element, Filler, GuestSetup,
    Hypervisor, LabError, Mark, NetworkUpdate, Owner, Reservation, Seed, VmState, at_next_boot, host_key,
    login_key, mac_address, plan_domain, plan_reservation,
};
use crate::modules::{ModuleError, NativePlan, NativeResource, TaskContext};
use crate::value::{Map, Value};

/// How long a guest may take to power off when it is asked to.
const SHUTDOWN_SECONDS: u64 = 120;

/// A libvirt VM with its cloud-init seed. A VM that runs goes on running: what can be changed while it does is changed
/// (disks that are added, less memory, fewer processors), the rest comes with its next boot, which is said; or now, where
/// `allow_restart` allows it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct VirtDomain {
    /// The VM's name on the hypervisor.
    name: String,
    #[serde(default)]
    state: State,
    /// The libvirt connection.
    #[serde(default = "default_uri")]
    uri: String,
    /// Virtual processors.
    #[serde(default = "one")]
    vcpus: u32,
    /// Memory in MB.
    #[serde(default = "default_memory", alias = "ram")]
    memory: u64,
    /// Volumes as `POOL/VOLUME` in the order vda, vdb, ...; the cloud-init seed comes after the last.
    #[serde(default)]
    disks: Vec<Disk>,
    /// The libvirt network.
    network: Option<String>,
    /// An address that the network's DHCP keeps for this VM.
    ip: Option<String>,
    /// `bios`, or `uefi` where the hypervisor has such firmware (OVMF).
    #[serde(default)]
    firmware: Boot,
    /// Whether a running VM may be restarted for what cannot be changed while it runs.
    #[serde(default)]
    allow_restart: bool,
    /// The MAC address; by default one that follows from the lab's and the VM's names.
    mac: Option<String>,
    /// Whether it starts with the hypervisor.
    #[serde(default)]
    autostart: bool,
    /// `auto` uses KVM where a probe guest really boots with it.
    #[serde(default)]
    accelerator: Choice,
    /// Whether the VM gets a cloud-init seed.
    #[serde(default = "yes")]
    cloud_init: bool,
    /// The pool for the seed; by default the first disk's.
    seed_pool: Option<String>,
    /// The guest's full name; by default the VM's.
    fqdn: Option<String>,
    /// The user whom cloud-init makes.
    #[serde(default = "default_user")]
    user: String,
    /// That user's password; also allows logins by password.
    #[schemars(with = "Option<String>")]
    #[serde(default, deserialize_with = "secret")]
    password: Option<Secret>,
    /// Public keys that may log in besides quaylab's own.
    #[serde(default)]
    ssh_pub_key: Vec<String>,
    /// Packages that cloud-init installs.
    #[serde(default)]
    install_packages: Vec<String>,
    /// Whether cloud-init upgrades all packages.
    #[serde(default)]
    update: bool,
    /// Commands that cloud-init runs once, at the end.
    #[serde(default)]
    run_cmds: Vec<Value>,
    /// More cloud-init user-data, merged into what the arguments above make.
    user_data: Option<Map>,
    /// A kernel on the hypervisor that is booted without a boot loader.
    kernel: Option<String>,
    initrd: Option<String>,
    cmdline: Option<String>,
    /// The folder on the hypervisor for the serial console's log.
    #[serde(default = "default_log_dir")]
    console_log_dir: String,
    #[serde(skip)]
    check: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum State {
    #[default]
    Running,
    #[serde(alias = "shutdown")]
    Stopped,
    Absent,
}

/// What a VM is, what it would be, and whose mark counts.
#[derive(Debug)]
pub(super) struct Observed {
    domain: DomainObserved,
    spec: DomainSpec,
    mark: Mark,
    reason: String,
}

impl VirtDomain {
    fn mac(&self, cx: &TaskContext) -> String {
        self.mac
            .as_ref()
            .map_or_else(|| mac_address(cx.controller.lab(), &self.name), |m| m.to_ascii_lowercase())
    }

    fn seed_place(&self) -> Option<Disk> {
        let pool = self.seed_pool.clone().or_else(|| self.disks.first().map(|d| d.pool.clone()))?;
        self.cloud_init.then(|| Disk { pool, volume: format!("{}-seed.img", self.name) })
    }

    fn seed(&self, cx: &TaskContext) -> Result<Seed, LabError> {
        let state_dir = cx.controller.state_dir();
        let lab = cx.controller.lab();
        let mut authorized_keys = vec![login_key(state_dir, lab)?.public];
        authorized_keys
            .extend(self.ssh_pub_key.iter().map(|k| k.trim().to_owned()).filter(|k| !k.is_empty()));
        let fqdn = self.fqdn.clone().unwrap_or_else(|| self.name.clone());
        let setup = GuestSetup {
            hostname: self.name.clone(),
            fqdn,
            user: self.user.clone(),
            password: self.password.clone(),
            authorized_keys,
            packages: self.install_packages.clone(),
            update: self.update,
            run_cmds: self.run_cmds.clone(),
            more: self.user_data.clone(),
        };
        Seed::new(&setup, lab, &self.mac(cx), &host_key(state_dir, &self.name)?, state_dir)
    }

    /// What the network has to be told about the VM's address.
    async fn reservation(
        &self,
        hypervisor: &Hypervisor,
        cx: &TaskContext,
    ) -> Result<Vec<NetworkUpdate>, LabError> {
        let Some(name) = self.network.clone() else { return Ok(Vec::new()) };
        let Some(network) = hypervisor.call(move |d| d.network(&name)).await? else { return Ok(Vec::new()) };
        let mac = self.mac(cx);
        let wanted = self.ip.as_ref().filter(|_| self.state != State::Absent).and_then(|ip| ip.parse().ok());
        let wanted = wanted.map(|address| Reservation { mac: mac.clone(), name: self.name.clone(), address });
        plan_reservation(&Element::parse(&network.xml)?, &mac, wanted.as_ref(), &mark(cx))
    }
}

#[async_trait]
impl NativeResource for VirtDomain {
    const NAME: &'static str = "virt_domain";
    const FQCN: &'static [&'static str] = &["quaylab.lab.virt_domain"];
    type Observed = Observed;
    type Step = DomainStep;

    fn validate(&self) -> Result<(), ModuleError> {
        check_name("VM", &self.name)?;
        let bad = |what: &str| Err(ModuleError::Arguments(what.to_owned()));
        if let Some(ip) = &self.ip
            && ip.parse::<std::net::IpAddr>().is_err()
        {
            return Err(ModuleError::Arguments(format!("ip: {ip:?} is not an IP address")));
        }
        if self.ip.is_some() && self.network.is_none() {
            return bad("ip needs a network whose DHCP keeps it");
        }
        if self.user_data.is_some() && !self.cloud_init {
            return bad("user_data needs the cloud-init seed");
        }
        if self.vcpus == 0 {
            return bad("vcpus must be at least 1");
        }
        if self.memory < 16 {
            return bad("memory is in MB: less than 16 cannot be meant");
        }
        if self.kernel.is_none() && (self.initrd.is_some() || self.cmdline.is_some()) {
            return bad("initrd and cmdline need a kernel");
        }
        if self.state != State::Absent && self.cloud_init && self.seed_place().is_none() {
            return bad("the cloud-init seed needs a pool: give disks or seed_pool, or `cloud_init: false`");
        }
        Ok(())
    }

    async fn prepare(&mut self, cx: &TaskContext) -> Result<(), ModuleError> {
        self.check = cx.check;
        if self.state == State::Absent || cx.check {
            return Ok(());
        }
        let (disks, network, name) = (self.disks.clone(), self.network.clone(), self.name.clone());
        connect(&self.uri, cx)
            .await?
            .call(move |d| {
                for disk in &disks {
                    if d.volume(&disk.pool, &disk.volume)?.is_none() {
                        return Err(LabError::Invalid(format!(
                            "VM {name}: there is no volume {}/{}",
                            disk.pool, disk.volume
                        )));
                    }
                }
                match &network {
                    Some(network) if d.network(network)?.is_none() => Err(LabError::failed(
                        format!("VM {name}"),
                        format!("there is no network {network}"),
                    )
                    .with_hint(
                        "declare it in libvirt_bridges, or name one that `virsh net-list --all` shows",
                    )),
                    _ => Ok(()),
                }
            })
            .await?;
        Ok(())
    }

    async fn observe(&self, cx: &TaskContext) -> Result<Observed, ModuleError> {
        let hypervisor = connect(&self.uri, cx).await?;
        let name = self.name.clone();
        let (disks, seed_place) = (self.disks.clone(), self.seed_place());
        let place = seed_place.clone();
        let (domain, mut resolved, seed_there) = hypervisor
            .call(move |d| {
                let domain = d.domain(&name)?;
                let mut resolved = Vec::new();
                for disk in &disks {
                    resolved.push(resolve(d, disk, false)?);
                }
                let mut seed_there = false;
                if let Some(place) = &place {
                    resolved.push(resolve(d, place, true)?);
                    seed_there = d.volume(&place.pool, &place.volume)?.is_some();
                }
                Ok((domain, resolved, seed_there))
            })
            .await?;
        let there = domain.as_ref().map(|d| Element::parse(&d.xml)).transpose()?;
        let (accelerator, reason) = accelerator(self.accelerator, &hypervisor, there.as_ref(), cx).await?;
        let mut seed_ready = false;
        if let Some(place) = &seed_place
            && self.state != State::Absent
        {
            let filler = Filler::new(&hypervisor, ledger(&hypervisor, cx), &self.name);
            let held = match filler.owner(&place.pool, &place.volume).await? {
                Owner::Us { source } => source,
                Owner::Somebody => None,
            };
            seed_ready = seed_there && held.as_deref() == Some(self.seed(cx)?.digest().as_str());
        }
        for disk in &mut resolved {
            if disk.format == "unknown" {
                "raw".clone_into(&mut disk.format);
            }
        }
        let spec = DomainSpec {
            name: self.name.clone(),
            vcpus: self.vcpus,
            memory: self.memory,
            disks: resolved,
            network: self.network.clone(),
            mac: self.mac(cx),
            accelerator,
            firmware: self.firmware.into(),
            boot: self.kernel.as_ref().map(|kernel| DirectBoot {
                kernel: kernel.clone(),
                initrd: self.initrd.clone(),
                cmdline: self.cmdline.clone(),
            }),
            install_from: None,
            console_log: format!("{}/{}-console.log", self.console_log_dir.trim_end_matches('/'), self.name),
        };
        let reservation = self.reservation(&hypervisor, cx).await?;
        let domain = DomainObserved { domain, seed_ready, has_seed: seed_place.is_some(), reservation };
        Ok(Observed { domain, spec, mark: mark(cx), reason })
    }

    fn plan(&self, now: &Observed) -> Result<NativePlan<DomainStep>, ModuleError> {
        let state = match self.state {
            State::Running => VmState::Running,
            State::Stopped => VmState::Stopped,
            State::Absent => VmState::Absent,
        };
        let wish = DomainWish { state, autostart: self.autostart, allow_restart: self.allow_restart };
        native_plan(plan_domain(&now.spec, wish, &now.domain, &now.mark))
    }

    fn warnings(&self, now: &Observed) -> Vec<String> {
        let Some(domain) = now.domain.domain.as_ref().filter(|_| self.state == State::Running) else {
            return Vec::new();
        };
        match at_next_boot(&now.spec, domain, self.check) {
            Ok(waiting) if !waiting.is_empty() => vec![format!(
                "VM {} runs, and gets this with its next boot: {}; `--allow-restart` restarts it for it",
                self.name,
                waiting.join(", ")
            )],
            _ => Vec::new(),
        }
    }

    async fn apply(&self, step: &DomainStep, cx: &TaskContext) -> Result<(), ModuleError> {
        let hypervisor = connect(&self.uri, cx).await?;
        let name = self.name.clone();
        match step.clone() {
            DomainStep::WriteSeed => {
                if let Some(place) = self.seed_place() {
                    let state_dir = cx.controller.state_dir();
                    let filler = Filler::new(&hypervisor, ledger(&hypervisor, cx), &self.name);
                    let seed = self.seed(cx)?;
                    filler.write_seed(&self.name, state_dir, &place.pool, &place.volume, &seed).await?;
                }
            }
            DomainStep::Reserve(update) => {
                if let Some(network) = self.network.clone() {
                    hypervisor.call(move |d| d.update_network(&network, &update)).await?;
                }
            }
            // A guest may refuse; then it comes with its next boot, of which `warnings` tells.
            DomainStep::LiveVcpus(vcpus) => {
                let _later = hypervisor.call(move |d| d.set_live_vcpus(&name, vcpus)).await;
            }
            DomainStep::LiveMemory(memory) => {
                let _later = hypervisor.call(move |d| d.set_live_memory(&name, memory)).await;
            }
            DomainStep::LiveDisk(xml) => {
                let _later = hypervisor.call(move |d| d.attach_live(&name, &xml)).await;
            }
            DomainStep::Define(xml) => hypervisor.call(move |d| d.define_domain(&xml)).await?,
            DomainStep::Autostart(on) => hypervisor.call(move |d| d.set_domain_autostart(&name, on)).await?,
            DomainStep::Start => hypervisor.call(move |d| d.start_domain(&name)).await?,
            DomainStep::SwitchOff => hypervisor.call(move |d| d.destroy_domain(&name)).await?,
            DomainStep::Undefine => hypervisor.call(move |d| d.undefine_domain(&name)).await?,
            DomainStep::Shutdown => {
                let asked = name.clone();
                hypervisor.call(move |d| d.shutdown_domain(&asked)).await?;
                wait_until_off(&hypervisor, &name).await?;
            }
        }
        Ok(())
    }

    fn result(&self, after: &Observed) -> Map {
        let domain = after.domain.domain.as_ref();
        let restarts = self
            .plan(after)
            .is_ok_and(|p| p.steps.contains(&DomainStep::Shutdown) && p.steps.contains(&DomainStep::Start));
        Map::from_iter([
            // In check mode: what would come of it.
            ("restart".into(), restarts.into()),
            ("name".into(), Value::from(self.name.clone())),
            ("state".into(), domain.map_or("absent", |d| d.state.word()).into()),
            ("uuid".into(), domain.map(|d| d.uuid.clone()).into()),
            ("mac".into(), after.spec.mac.clone().into()),
            ("accelerator".into(), after.spec.accelerator.domain_type().into()),
            ("accelerator_reason".into(), after.reason.clone().into()),
            ("console_log".into(), after.spec.console_log.clone().into()),
        ])
    }
}

async fn wait_until_off(hypervisor: &Hypervisor, name: &str) -> Result<(), ModuleError> {
    for _ in 0..SHUTDOWN_SECONDS * 2 {
        let asked = name.to_owned();
        let domain = hypervisor.call(move |d| d.domain(&asked)).await?;
        if domain.is_none_or(|d| d.state == DomainState::Off) {
            return Ok(());
        }
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    }
    Err(ModuleError::failed(format!("VM {name} did not power off within {SHUTDOWN_SECONDS} s"))
        .hint(format!("the guest ignores ACPI; `virsh destroy {name}` switches it off")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::from_args;
    use serde_json::json;

    fn read(args: Value) -> Result<VirtDomain, String> {
        let Value::Object(map) = args else { panic!("an object") };
        let domain: VirtDomain = from_args(map).map_err(|e| e.to_string())?;
        domain.validate().map_err(|e| e.to_string())?;
        Ok(domain)
    }

    #[test]
    fn a_password_is_never_shown() {
        let domain = read(json!({"name": "quay", "password": "redhat", "seed_pool": "p"})).expect("valid");
        assert!(!format!("{domain:?}").contains("redhat"));
    }

    #[test]
    fn the_seed_lies_beside_the_first_disk() {
        let domain = read(json!({"name": "quay", "disks": ["p/quay.qcow2"]})).expect("valid");
        assert_eq!(domain.seed_place(), Some(Disk { pool: "p".into(), volume: "quay-seed.img".into() }));
        let bare = read(json!({"name": "quay", "cloud_init": false})).expect("valid");
        assert_eq!(bare.seed_place(), None);
    }

    #[test]
    fn mistakes_are_explained() {
        for (args, part) in [
            (json!({"name": "quay"}), "needs a pool"),
            (json!({"name": "quay", "cloud_init": false, "ip": "10.0.0"}), "is not an IP address"),
            (json!({"name": "quay", "cloud_init": false, "ip": "10.0.0.1"}), "needs a network"),
            (json!({"name": "quay", "cloud_init": false, "user_data": {}}), "needs the cloud-init seed"),
            (json!({"name": "quay", "disks": ["x"]}), "is not POOL/VOLUME"),
            (json!({"name": "quay", "vcpus": 0, "cloud_init": false}), "at least 1"),
            (json!({"name": "quay", "ram": 8, "cloud_init": false}), "in MB"),
            (json!({"name": "quay", "cmdline": "x", "cloud_init": false}), "need a kernel"),
        ] {
            let error = read(args.clone()).expect_err("invalid");
            assert!(error.contains(part), "{args}: {error}");
        }
    }
}
