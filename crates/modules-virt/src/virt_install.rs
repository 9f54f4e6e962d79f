use std::time::Duration;

use async_trait::async_trait;
use rand::RngExt as _;
use schemars::JsonSchema;
use serde::Deserialize;

use super::common::{Image, check_name, connect, default_uri, ledger, mark, plan_of};
use super::machine::{
    Boot, Choice, Disk, accelerator, check_network, default_log_dir, default_memory, default_user, keys, one,
    resolve, settle_formats,
};
use crate::host::Secret;
use crate::lab::{
    Accelerator, DomainSpec, Element, Filler, GuestAccess, InstallSpec, InstallState, InstallStep,
    Installation, Installer, InstallerFiles, LabError, Mark, Owner, check_media_pool, host_dir, host_key,
    login_key, mac_address, plan_install, with_access,
};
use crate::value::{Map, Value};
use crate::{ModuleError, Plan, Resource, RunMode, TaskContext};

/// How long an installation may take unless it is said; five times that under software emulation.
const USUAL_LIMIT: u64 = 3600;

/// An operating system, installed once from an ISO onto a VM's root disk by its own installer, which a kickstart answers
/// for. What broke off begins anew; a disk that holds a system is never installed over.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct VirtInstall {
    /// The VM's name on the hypervisor.
    name: String,
    /// The libvirt connection.
    #[serde(default = "default_uri")]
    uri: String,
    /// The root disk, a volume as `POOL/VOLUME`: the only one that the installer sees.
    disk: Disk,
    /// The ISO, as `virt_image` returns it.
    image: Image,
    /// The pool, a folder, for the ISO and the installer's files; by default the root disk's.
    pool: Option<String>,
    /// The kickstart's text. The lab's login and host key are added at its end.
    #[schemars(with = "String")]
    #[serde(deserialize_with = "text")]
    kickstart: Secret,
    /// What the installer's kernel is told besides where the kickstart is.
    #[serde(default)]
    extra_cmd_args: String,
    /// The user whom the kickstart makes.
    #[serde(default = "default_user")]
    user: String,
    /// Public keys that may log in besides quaylab's own.
    #[serde(default, deserialize_with = "keys")]
    ssh_pub_key: Vec<String>,
    /// Virtual processors.
    #[serde(default = "one")]
    vcpus: u32,
    /// Memory in MB.
    #[serde(default = "default_memory", alias = "ram")]
    memory: u64,
    /// The libvirt network.
    network: Option<String>,
    /// The MAC address; by default one that follows from the lab's and the VM's names.
    mac: Option<String>,
    #[serde(default)]
    firmware: Boot,
    #[serde(default)]
    accelerator: Choice,
    /// The folder on the hypervisor for the serial console's log.
    #[serde(default = "default_log_dir")]
    console_log_dir: String,
    /// Seconds until the installation has to be over (3600; five times that under software emulation).
    timeout: Option<u64>,
}

fn text<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Secret, D::Error> {
    String::deserialize(deserializer).map(Secret)
}

/// Reads an ISO away from the threads that wait for hosts.
async fn blocking<T: Send + 'static>(
    read: impl FnOnce() -> Result<T, LabError> + Send + 'static,
) -> Result<T, ModuleError> {
    Ok(tokio::task::spawn_blocking(read).await.map_err(|e| ModuleError::failed(e.to_string()))??)
}

/// What there is, and what it would be made of.
#[derive(Debug)]
pub(super) struct Observed {
    state: InstallState,
    spec: InstallSpec,
    mark: Mark,
}

impl VirtInstall {
    fn media_pool(&self) -> &str {
        self.pool.as_deref().unwrap_or(&self.disk.pool)
    }

    fn limit(&self, accelerator: Accelerator) -> Duration {
        let factor = if accelerator == Accelerator::Emulation { 5 } else { 1 };
        Duration::from_secs(self.timeout.unwrap_or(USUAL_LIMIT * factor))
    }

    /// Takes the installer out of the ISO, with a kickstart that ends with `token`.
    async fn files(&self, cx: &TaskContext, token: &str) -> Result<InstallerFiles, ModuleError> {
        let state_dir = cx.controller.state_dir();
        let key = host_key(state_dir, &self.name)?;
        let mut keys = vec![login_key(state_dir, cx.controller.lab())?.public];
        keys.extend(self.ssh_pub_key.iter().cloned());
        let access = GuestAccess { user: &self.user, authorized_keys: &keys, host_key: &key };
        let kickstart = with_access(&self.kickstart.0, &access, token);
        let (iso, folder) = (self.image.source().path, host_dir(state_dir, &self.name));
        blocking(move || Installer::on(&iso)?.files(&kickstart.0, &folder)).await
    }
}

#[async_trait]
impl Resource for VirtInstall {
    const NAME: &'static str = "virt_install";
    const FQCN: &'static [&'static str] = &["quaylab.lab.virt_install"];
    type Observed = Observed;
    type Step = InstallStep;

    fn validate(&self) -> Result<(), ModuleError> {
        check_name("VM", &self.name)?;
        check_network(self.network.as_deref())?;
        check_name("pool", self.media_pool())?;
        if self.kickstart.0.trim().is_empty() {
            return Err(ModuleError::Arguments("kickstart is empty".into()));
        }
        if self.extra_cmd_args.contains(['\n', '\r']) {
            return Err(ModuleError::Arguments("extra_cmd_args is one line".into()));
        }
        Ok(())
    }

    async fn observe(&self, cx: &TaskContext) -> Result<Observed, ModuleError> {
        let hypervisor = connect(&self.uri, cx).await?;
        let filler = Filler::new(&hypervisor, ledger(&hypervisor, cx), &self.name);
        let image = self.image.source();
        let (name, root, media) = (self.name.clone(), self.disk.clone(), self.media_pool().to_owned());
        let (domain, mut disk) = hypervisor
            .call(move |d| {
                check_media_pool(d, &media)?;
                Ok((d.domain(&name)?, resolve(d, &root, false)?))
            })
            .await?;
        let source = match filler.owner(&self.disk.pool, &self.disk.volume).await? {
            Owner::Us { source } => source,
            Owner::Somebody => None,
        };
        let media_ready = filler.base_ready(self.media_pool(), &image).await?;
        let there = domain.as_ref().map(|d| Element::parse(&d.xml)).transpose()?;
        settle_formats(std::slice::from_mut(&mut disk), there.as_ref(), &filler.ledger).await?;
        // A VM that is installed already is not asked how it runs.
        let accelerator = match &source {
            Some(_) => Accelerator::Emulation,
            None => accelerator(self.accelerator, &hypervisor, there.as_ref(), cx).await?.0,
        };
        let spec = InstallSpec {
            domain: DomainSpec {
                name: self.name.clone(),
                vcpus: self.vcpus,
                memory: self.memory,
                disks: vec![disk],
                network: self.network.clone(),
                mac: self.mac.as_ref().map_or_else(
                    || mac_address(cx.controller.lab(), &self.name),
                    |mac| mac.to_ascii_lowercase(),
                ),
                accelerator,
                firmware: self.firmware.into(),
                boot: None,
                install_from: None,
                console_log: format!(
                    "{}/{}-console.log",
                    self.console_log_dir.trim_end_matches('/'),
                    self.name
                ),
            },
            root: (self.disk.pool.clone(), self.disk.volume.clone()),
            image,
            media_pool: self.media_pool().to_owned(),
            cmdline: self.extra_cmd_args.trim().to_owned(),
            limit: self.limit(accelerator),
        };
        let observed = Observed { state: InstallState { source, media_ready, domain }, spec, mark: mark(cx) };
        // Another kind of ISO is refused before gigabytes of it are uploaded. In check mode it may not be here yet.
        let iso = observed.spec.image.path.clone();
        if iso.exists() && !self.plan(&observed, RunMode::default())?.steps.is_empty() {
            blocking(move || Installer::on(&iso).map(drop)).await?;
        }
        Ok(observed)
    }

    fn plan(&self, now: &Observed, _: RunMode) -> Result<Plan<InstallStep>, ModuleError> {
        plan_of(plan_install(&now.spec, &now.state, &now.mark))
    }

    async fn apply(&self, step: &InstallStep, cx: &TaskContext) -> Result<(), ModuleError> {
        let hypervisor = connect(&self.uri, cx).await?;
        let filler = Filler::new(&hypervisor, ledger(&hypervisor, cx), &self.name);
        let progress = |text: &str| cx.controller.progress(text);
        match step {
            InstallStep::UploadMedia => {
                filler.upload_base(self.media_pool(), &self.image.source(), &progress).await?;
            }
            InstallStep::Install => {
                let token = hex::encode(rand::rng().random::<[u8; 8]>());
                progress("taking the installer out of the ISO");
                let files = self.files(cx, &token).await?;
                let Observed { spec, mark, .. } = self.observe(cx).await?;
                let installation = Installation { filler: &filler, spec: &spec, mark: &mark, token: &token };
                installation.run(&files, &progress).await?;
            }
        }
        Ok(())
    }

    fn result(&self, after: &Observed) -> Map {
        Map::from_iter([
            ("name".into(), Value::from(self.name.clone())),
            ("installed_from".into(), after.state.source.clone().into()),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::from_args;
    use serde_json::json;

    fn read(more: Value) -> Result<VirtInstall, String> {
        let mut args = json!({"name": "quay", "disk": "p/quay.qcow2", "image": {"path": "/c/os.iso"}, "kickstart": "text\nrootpw s3cret\n"});
        if let (Value::Object(args), Value::Object(more)) = (&mut args, more) {
            args.extend(more);
        }
        let Value::Object(map) = args else { panic!("an object") };
        let install: VirtInstall = from_args(map).map_err(|e| e.to_string())?;
        install.validate().map_err(|e| e.to_string())?;
        Ok(install)
    }

    #[test]
    fn a_kickstart_is_never_shown() {
        let install = read(json!({})).expect("valid");
        assert!(!format!("{install:?}").contains("s3cret"));
        assert_eq!(install.media_pool(), "p");
        assert_eq!(install.limit(Accelerator::Emulation).as_secs(), 5 * USUAL_LIMIT);
    }

    #[test]
    fn mistakes_are_explained() {
        for (more, part) in [
            (json!({"kickstart": " \n"}), "kickstart is empty"),
            (json!({"extra_cmd_args": "a\nb"}), "one line"),
            (json!({"disk": "x"}), "is not POOL/VOLUME"),
            (json!({"pool": "../x"}), "may only hold letters"),
        ] {
            let error = read(more.clone()).expect_err("invalid");
            assert!(error.contains(part), "{more}: {error}");
        }
    }
}
