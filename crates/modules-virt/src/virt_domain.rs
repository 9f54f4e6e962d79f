use std::net::IpAddr;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;

use super::common::{check_name, connect, default_uri, ledger, mark, plan_of};
use super::machine::{
    Boot, Choice, Disk, accelerator, check_network, commands, default_log_dir, default_memory, default_user,
    keys, one, resolve, secret, settle_formats,
};
use crate::host::Secret;
use crate::inventory::short_name;
use crate::lab::{
    DhcpGuest, DirectBoot, DiskFiles, DomainObserved, DomainSpec, DomainState, DomainStep, DomainWish,
    Element, Filler, GuestSetup, Hypervisor, LabError, Lease, Mark, NetworkUpdate, Owner, Seed, VmState,
    at_next_boot, check_user_data, disk_files, disks_now, guest_hostname, host_key, left_alone, lent,
    login_key, mac_address, plan_domain, plan_reservation, unexpected, used_disks,
};
use crate::value::{Map, Value};
use crate::{ModuleError, Plan, Resource, RunMode, TaskContext};

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
    /// An address that the network's DHCP keeps for this VM; an IPv6 address is kept for its name.
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
    #[serde(default = "crate::args::yes")]
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
    #[serde(default, deserialize_with = "keys")]
    ssh_pub_key: Vec<String>,
    /// Packages that cloud-init installs.
    #[serde(default)]
    install_packages: Vec<String>,
    /// Whether cloud-init upgrades all packages.
    #[serde(default)]
    update: bool,
    /// Commands that cloud-init runs once, at the end; a text is one.
    #[serde(default, deserialize_with = "commands")]
    run_cmds: Vec<Value>,
    /// More cloud-init user-data, merged into what the arguments above make; `network` in it is the network configuration.
    user_data: Option<Map>,
    /// A kernel on the hypervisor that is booted without a boot loader.
    kernel: Option<String>,
    initrd: Option<String>,
    cmdline: Option<String>,
    /// The folder on the hypervisor for the serial console's log.
    #[serde(default = "default_log_dir")]
    console_log_dir: String,
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
    /// Who has the address that is declared for this VM.
    lease_of_other: Option<Lease>,
}

impl VirtDomain {
    fn mac(&self, cx: &TaskContext) -> String {
        self.mac
            .as_ref()
            .map_or_else(|| mac_address(cx.controller.lab(), &self.name), |m| m.to_ascii_lowercase())
    }

    /// The name that the network's DNS gives the VM's address: the guest's, or the VM's where only the whole of it tells
    /// it from others.
    fn name_in_network(&self) -> &str {
        match &self.fqdn {
            Some(fqdn) if !self.name.contains('.') => short_name(fqdn),
            _ => &self.name,
        }
    }

    fn seed_place(&self) -> Option<Disk> {
        let pool = self.seed_pool.clone().or_else(|| self.disks.first().map(|d| d.pool.clone()))?;
        self.cloud_init.then(|| Disk { pool, volume: format!("{}-seed.img", self.name) })
    }

    fn seed(&self, cx: &TaskContext) -> Result<Seed, LabError> {
        let state_dir = cx.controller.state_dir();
        let lab = cx.controller.lab();
        let mut authorized_keys = vec![login_key(state_dir, lab)?.public];
        authorized_keys.extend(self.ssh_pub_key.iter().cloned());
        let fqdn = self.fqdn.clone().unwrap_or_else(|| self.name.clone());
        let setup = GuestSetup {
            name: self.name.clone(),
            // The VM may be called otherwise than its guest.
            hostname: short_name(&fqdn).to_owned(),
            fqdn,
            user: self.user.clone(),
            password: self.password.clone(),
            authorized_keys,
            packages: self.install_packages.clone(),
            update: self.update,
            run_cmds: self.run_cmds.clone(),
            dhcp6: self.address().is_some_and(|ip| ip.is_ipv6()),
            more: self.user_data.clone(),
        };
        Seed::new(&setup, lab, &self.mac(cx), &host_key(state_dir, &self.name)?, state_dir)
    }

    /// The lease that another machine has of the address that is declared for this VM.
    async fn lease_of_other(
        &self,
        hypervisor: &Hypervisor,
        cx: &TaskContext,
    ) -> Result<Option<Lease>, LabError> {
        let (Some(ip), Some(network)) = (self.ip.clone(), self.network.clone()) else { return Ok(None) };
        let mac = self.mac(cx);
        let other = move |lease: &Lease| lease.address == ip && !lease.mac.eq_ignore_ascii_case(&mac);
        // A network that does not run has lent nothing.
        let leases = hypervisor.call(move |d| d.leases(&network)).await.unwrap_or_default();
        Ok(leases.into_iter().find(other))
    }

    /// Other VMs that have one of the disks which this one would get.
    async fn other_users(
        &self,
        hypervisor: &Hypervisor,
        definitions: &[Element],
        spec: &DomainSpec,
        cx: &TaskContext,
    ) -> Result<Vec<(String, String)>, LabError> {
        let has = |path: &String| definitions.iter().flat_map(disks_now).any(|disk| disk.path == *path);
        let new: Vec<String> = spec.disks.iter().map(|d| d.path.clone()).filter(|path| !has(path)).collect();
        if new.is_empty() || self.state == State::Absent {
            return Ok(Vec::new());
        }
        let (name, mark) = (self.name.clone(), mark(cx));
        let used = hypervisor.call(move |d| used_disks(d, &mark)).await?;
        let others = used.into_iter().filter(|used| used.vm != name);
        let found = others.filter_map(|used| {
            let files = std::iter::once(&used.disk.path).chain(&used.disk.below);
            let path = files.into_iter().find(|file| new.contains(file))?.clone();
            Some((used.vm, path))
        });
        Ok(found.collect())
    }

    /// What the network has to be told about the VM's address.
    async fn reservation(
        &self,
        hypervisor: &Hypervisor,
        cx: &TaskContext,
    ) -> Result<Vec<NetworkUpdate>, LabError> {
        let Some(name) = self.network.clone() else { return Ok(Vec::new()) };
        let Some(network) = hypervisor.call(move |d| d.network(&name)).await? else { return Ok(Vec::new()) };
        let guest = DhcpGuest { mac: self.mac(cx), name: guest_hostname(self.name_in_network()) };
        let wanted = self.address().filter(|_| self.state != State::Absent);
        plan_reservation(&Element::parse(&network.xml)?, &guest, wanted, &mark(cx))
    }

    fn address(&self) -> Option<IpAddr> {
        self.ip.as_ref()?.parse().ok()
    }
}

#[async_trait]
impl Resource for VirtDomain {
    const NAME: &'static str = "virt_domain";
    const FQCN: &'static [&'static str] = &["quaylab.lab.virt_domain"];
    type Observed = Observed;
    type Step = DomainStep;

    fn validate(&self) -> Result<(), ModuleError> {
        check_name("VM", &self.name)?;
        check_network(self.network.as_deref())?;
        let bad = |what: &str| Err(ModuleError::Arguments(what.to_owned()));
        if let Some(ip) = &self.ip
            && self.address().is_none()
        {
            return Err(ModuleError::Arguments(format!("ip: {ip:?} is not an IP address")));
        }
        if self.ip.is_some() && self.network.is_none() {
            return bad("ip needs a network whose DHCP keeps it");
        }
        if self.user_data.is_some() && !self.cloud_init {
            return bad("user_data needs the cloud-init seed");
        }
        if let Some(more) = &self.user_data {
            check_user_data(more)?;
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
        if self.state == State::Absent || cx.mode.check {
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
        settle_formats(&mut resolved, there.as_ref(), &ledger(&hypervisor, cx)).await?;
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
        let definitions = domain
            .iter()
            .flat_map(|d| std::iter::once(&d.xml).chain(&d.live))
            .map(|xml| Element::parse(xml))
            .collect::<Result<Vec<_>, _>>()?;
        let strange = unexpected(&definitions, &spec);
        let files = if strange.is_empty() {
            DiskFiles::default()
        } else {
            disk_files(&hypervisor, &ledger(&hypervisor, cx), &strange).await?
        };
        let other_users = self.other_users(&hypervisor, &definitions, &spec, cx).await?;
        let has_seed = seed_place.is_some();
        let domain = DomainObserved { domain, seed_ready, has_seed, reservation, files, other_users };
        let lease_of_other = self.lease_of_other(&hypervisor, cx).await?;
        Ok(Observed { domain, spec, mark: mark(cx), reason, lease_of_other })
    }

    fn plan(&self, now: &Observed, _: RunMode) -> Result<Plan<DomainStep>, ModuleError> {
        let state = match self.state {
            State::Running => VmState::Running,
            State::Stopped => VmState::Stopped,
            State::Absent => VmState::Absent,
        };
        let wish = DomainWish { state, autostart: self.autostart, allow_restart: self.allow_restart };
        plan_of(plan_domain(&now.spec, wish, &now.domain, &now.mark))
    }

    fn warnings(&self, now: &Observed, mode: RunMode) -> Vec<String> {
        if self.state == State::Absent {
            return Vec::new();
        }
        let mut told = left_alone(&self.name, &now.domain.by_hand(&now.spec).unwrap_or_default());
        told.extend(
            now.lease_of_other.as_ref().map(|lease| {
                format!("VM {}: {}; it gets another address until then", self.name, lent(lease))
            }),
        );
        match at_next_boot(&now.spec, &now.domain, mode.check) {
            Ok(waiting) if !waiting.is_empty() && self.state == State::Running => told.push(format!(
                "VM {} runs, and gets this with its next boot: {}; `--allow-restart` restarts it for it",
                self.name,
                waiting.join(", ")
            )),
            _ => {}
        }
        told
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
            .plan(after, RunMode::default())
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
    use crate::from_args;
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
    fn a_text_is_one_command_and_keys_are_lines() {
        let domain = read(json!({
            "name": "quay", "cloud_init": false, "run_cmds": "echo a, b; date",
            "ssh_pub_key": "from=\"10.0.0.1,10.0.0.2\" ssh-ed25519 AAAA me\n\nssh-rsa BBBB"
        }))
        .expect("valid");
        assert_eq!(domain.run_cmds, [json!("echo a, b; date")]);
        assert_eq!(domain.ssh_pub_key, ["from=\"10.0.0.1,10.0.0.2\" ssh-ed25519 AAAA me", "ssh-rsa BBBB"]);
        let domain = read(json!({
            "name": "quay", "cloud_init": false, "run_cmds": ["a, b", ["ls", "-l"]], "ssh_pub_key": ["k1\n", " "]
        }))
        .expect("valid");
        assert_eq!((domain.run_cmds.len(), domain.ssh_pub_key), (2, vec!["k1".to_owned()]));
    }

    #[test]
    fn mistakes_are_explained() {
        for (args, part) in [
            (json!({"name": "quay"}), "needs a pool"),
            (json!({"name": "quay", "cloud_init": false, "ip": "10.0.0"}), "is not an IP address"),
            (json!({"name": "quay", "cloud_init": false, "ip": "10.0.0.1"}), "needs a network"),
            (json!({"name": "quay", "cloud_init": false, "user_data": {}}), "needs the cloud-init seed"),
            (json!({"name": "quay", "disks": ["x"]}), "is not POOL/VOLUME"),
            (json!({"name": "quay", "cloud_init": false, "network": ""}), "network is empty"),
            (json!({"name": "quay", "seed_pool": "p", "user_data": {"network": {}}}), "needs a version"),
            (json!({"name": "quay", "seed_pool": "p", "run_cmds": 7}), "neither a command nor a list"),
            (json!({"name": "quay", "vcpus": 0, "cloud_init": false}), "at least 1"),
            (json!({"name": "quay", "ram": 8, "cloud_init": false}), "in MB"),
            (json!({"name": "quay", "cmdline": "x", "cloud_init": false}), "need a kernel"),
        ] {
            let error = read(args.clone()).expect_err("invalid");
            assert!(error.contains(part), "{args}: {error}");
        }
    }
}
