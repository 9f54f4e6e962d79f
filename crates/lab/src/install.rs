use std::time::{Duration, Instant};

use super::domain_plan::check_owner;
use super::kickstart::installed_line;
use super::{
    Console, DirectBoot, DomainNow, DomainSpec, DomainState, Element, Filler, Hypervisor, InstallerFiles,
    LabError, Mark, Owner, SourceImage,
};
use crate::diff::Diff;

/// How often an installation is looked at.
const POLL: Duration = Duration::from_secs(2);

/// How often it is said how far it is.
const TELL: Duration = Duration::from_secs(10);

/// An operating system that is installed from an ISO onto a VM's root disk, once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstallSpec {
    /// The VM while it is installed: its root disk and its network.
    pub domain: DomainSpec,
    /// The root disk's pool and volume.
    pub root: (String, String),
    pub image: SourceImage,
    /// The folder pool for the ISO and the installer's files.
    pub media_pool: String,
    /// What the installer's kernel is told besides where the kickstart is.
    pub cmdline: String,
    pub limit: Duration,
}

/// What there is of an installation.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct InstallState {
    /// What the root disk was filled from, once that was finished.
    pub source: Option<String>,
    /// Whether the pool has the whole ISO.
    pub media_ready: bool,
    pub domain: Option<DomainNow>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InstallStep {
    /// Brings the ISO into the pool.
    UploadMedia,
    Install,
}

/// What has to be done to have a system on the root disk. One that is there is never installed over.
pub fn plan_install(
    spec: &InstallSpec,
    now: &InstallState,
    mark: &Mark,
) -> Result<(Vec<InstallStep>, Option<Diff>), LabError> {
    let name = &spec.domain.name;
    if let Some(domain) = &now.domain {
        let there = Element::parse(&domain.xml)?;
        check_owner(name, &there, mark)?;
        // A VM that boots from its disk has been installed, whatever became of the note of it.
        if there.path_text("os/kernel").is_none() {
            return Ok((Vec::new(), None));
        }
    }
    if now.source.is_some() {
        return Ok((Vec::new(), None));
    }
    let mut steps = Vec::new();
    if !now.media_ready {
        steps.push(InstallStep::UploadMedia);
    }
    steps.push(InstallStep::Install);
    let before = if now.domain.is_some() { "state: broken off\n" } else { "" };
    let after = format!("from: {}\nonto: {}/{}\n", spec.image.path.display(), spec.root.0, spec.root.1);
    Ok((steps, Some(Diff::new(&format!("installation {name}"), before, after))))
}

/// One installation on its hypervisor.
#[derive(Debug)]
pub struct Installation<'a> {
    pub filler: &'a Filler,
    pub spec: &'a InstallSpec,
    pub mark: &'a Mark,
    /// What the end of the kickstart writes to the console.
    pub token: &'a str,
}

impl Installation<'_> {
    fn hypervisor(&self) -> &Hypervisor {
        &self.filler.hypervisor
    }

    fn name(&self) -> String {
        self.spec.domain.name.clone()
    }

    /// The volumes with the installer's kernel and initrd, which go when it is done.
    fn file_names(&self) -> [String; 2] {
        ["kernel", "initrd"].map(|part| format!("{}-install-{part}", self.spec.domain.name))
    }

    /// Boots the installer and waits until it has ended the VM; then the VM boots from its disk.
    pub async fn run(
        &self,
        files: &InstallerFiles,
        progress: &(dyn Fn(&str) + Send + Sync),
    ) -> Result<(), LabError> {
        let pool = &self.spec.media_pool;
        let uuid = self.switch_off().await?;
        let [kernel, initrd] = self.file_names();
        for (name, file) in [(&kernel, files.kernel.path()), (&initrd, files.initrd.path())] {
            // Anew, so that nothing longer is left behind its end.
            if let Owner::Us { .. } = self.filler.owner(pool, name).await? {
                self.filler.remove(pool, name).await?;
            }
            self.filler.put_file(pool, name, file, progress).await?;
        }
        let installer = DomainSpec {
            boot: Some(DirectBoot {
                kernel: self.path(&kernel).await?,
                initrd: Some(self.path(&initrd).await?),
                cmdline: Some(self.cmdline()),
            }),
            install_from: Some(self.path(&self.spec.image.base_name()).await?),
            ..self.spec.domain.clone()
        };
        let (xml, name) = (installer.to_xml(self.mark, uuid.as_deref()), self.name());
        self.hypervisor()
            .call(move |d| {
                d.define_domain(&xml)?;
                d.start_domain(&name)
            })
            .await?;
        self.until_off(progress).await?;
        self.was_finished().await?;
        self.boots_from_disk().await?;
        for name in [kernel, initrd] {
            self.filler.remove(pool, &name).await?;
        }
        let (pool, volume) = &self.spec.root;
        self.filler.filled(pool, volume, &self.spec.image.digest).await
    }

    fn cmdline(&self) -> String {
        // A kernel that panics restarts, which ends the VM, instead of being waited for.
        format!("inst.ks=file:/ks.cfg console=ttyS0,115200 panic=5 {}", self.spec.cmdline)
            .trim_end()
            .to_owned()
    }

    /// Ends an attempt that broke off; the VM's UUID where there is one.
    async fn switch_off(&self) -> Result<Option<String>, LabError> {
        let name = self.name();
        self.hypervisor()
            .call(move |d| {
                let Some(now) = d.domain(&name)? else { return Ok(None) };
                if matches!(now.state, DomainState::Running | DomainState::Paused) {
                    d.destroy_domain(&name)?;
                }
                Ok(Some(now.uuid))
            })
            .await
    }

    async fn path(&self, volume: &str) -> Result<String, LabError> {
        let pool = &self.spec.media_pool;
        self.filler.volume(pool, volume).await?.map(|v| v.path).ok_or_else(|| {
            LabError::failed(format!("volume {pool}/{volume}"), "it vanished before the installation began")
        })
    }

    async fn until_off(&self, progress: &(dyn Fn(&str) + Send + Sync)) -> Result<(), LabError> {
        let (start, mut told) = (Instant::now(), Instant::now());
        loop {
            let name = self.name();
            let state = self.hypervisor().call(move |d| Ok(d.domain(&name)?.map(|now| now.state))).await?;
            match state {
                Some(DomainState::Running | DomainState::Paused) => {}
                Some(DomainState::Off) => return Ok(()),
                Some(DomainState::Crashed) => return Err(self.failure("the VM crashed").await),
                None => return Err(self.failure("the VM was removed meanwhile").await),
            }
            if start.elapsed() > self.spec.limit {
                let seconds = self.spec.limit.as_secs();
                return Err(self.failure(&format!("it has not ended after {seconds} s")).await);
            }
            if told.elapsed() > TELL {
                told = Instant::now();
                let console = Console::of(self.hypervisor(), &self.spec.domain.console_log).await;
                if let Console::Lines(lines) = console
                    && let Some(last) = lines.last()
                {
                    progress(&format!("installing, {} s: {last}", start.elapsed().as_secs()));
                }
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// A VM that ended may have given up; the end of the kickstart says that it did not, where the console can be read.
    async fn was_finished(&self) -> Result<(), LabError> {
        let line = installed_line(self.token);
        match Console::holds(self.hypervisor(), &self.spec.domain.console_log, &line).await {
            Some(false) => Err(self.failure("the VM ended before the kickstart did").await),
            Some(true) | None => Ok(()),
        }
    }

    async fn boots_from_disk(&self) -> Result<(), LabError> {
        let uuid = {
            let name = self.name();
            self.hypervisor().call(move |d| Ok(d.domain(&name)?.map(|now| now.uuid))).await?
        };
        let xml = self.spec.domain.to_xml(self.mark, uuid.as_deref());
        self.hypervisor().call(move |d| d.define_domain(&xml)).await
    }

    async fn failure(&self, reason: &str) -> LabError {
        let console = Console::of(self.hypervisor(), &self.spec.domain.console_log).await;
        LabError::failed(format!("installing {}", self.spec.domain.name), format!("{reason}\n{console}"))
            .with_hint(format!(
                "the console's last lines tell what the installer asked or missed; mend the kickstart and run again, which installs anew; `quaylab console {}` shows an installer that still runs",
                self.spec.domain.name
            ))
    }
}

/// Whether a pool holds files, which the installer's kernel has to be.
pub fn check_media_pool(driver: &dyn super::Driver, pool: &str) -> Result<(), LabError> {
    let kind = match driver.pool(pool)? {
        Some(defined) => Element::parse(&defined.xml)?.get("type").map(str::to_owned),
        None => return Ok(()),
    };
    if kind.as_deref() == Some("dir") {
        return Ok(());
    }
    Err(LabError::failed(
        format!("pool {pool}"),
        "it is no folder, and the installer's kernel has to lie in one",
    )
    .with_hint("name a pool of type dir in vm_install_pool"))
}

#[cfg(test)]
mod tests {
    use super::super::domain::tests::{mark, spec};
    use super::*;

    fn install() -> InstallSpec {
        InstallSpec {
            domain: spec(),
            root: ("p".into(), "quay.qcow2".into()),
            image: SourceImage {
                path: "/c/os.iso".into(),
                digest: "sha256:0123456789abcdef0123".into(),
                format: super::super::VolumeFormat::Raw,
                virtual_size: 1 << 30,
            },
            media_pool: "p".into(),
            cmdline: String::new(),
            limit: Duration::from_secs(1),
        }
    }

    fn domain(xml: String) -> DomainNow {
        DomainNow {
            xml,
            live: None,
            state: DomainState::Off,
            autostart: false,
            uuid: "u".into(),
            memory: 1,
            vcpus: 1,
        }
    }

    fn plan(now: &InstallState) -> Result<Vec<InstallStep>, String> {
        plan_install(&install(), now, &mark()).map(|p| p.0).map_err(|e| e.to_string())
    }

    #[test]
    fn a_system_is_installed_once() {
        let nothing = InstallState::default();
        assert_eq!(plan(&nothing), Ok(vec![InstallStep::UploadMedia, InstallStep::Install]));
        let media = InstallState { media_ready: true, ..nothing.clone() };
        assert_eq!(plan(&media), Ok(vec![InstallStep::Install]));
        let done = InstallState { source: Some("sha256:older".into()), ..nothing.clone() };
        assert_eq!(plan(&done), Ok(vec![]));
    }

    #[test]
    fn what_broke_off_begins_anew_and_what_runs_is_left_alone() {
        let boot = DirectBoot { kernel: "/p/quay-install-kernel".into(), ..DirectBoot::default() };
        let installing = DomainSpec { boot: Some(boot), ..spec() };
        let now = |xml: String| InstallState {
            media_ready: true,
            domain: Some(domain(xml)),
            ..InstallState::default()
        };
        assert_eq!(plan(&now(installing.to_xml(&mark(), None))), Ok(vec![InstallStep::Install]));
        assert_eq!(plan(&now(spec().to_xml(&mark(), None))), Ok(vec![]));
        let foreign = plan(&now(spec().to_xml(&Mark::new("other"), None)));
        assert!(foreign.expect_err("refused").contains("belongs to the lab other"));
    }
}
