use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::address::{Agent, leased_address, seen_address};
use super::guest_boot::{CLOUD_INIT_PROBE, CloudInit, REBOOT_PROBE, boot_to_end};
use super::{Console, DomainState, Hypervisor, LabError, Stage, VmIdentity, WaitFailure, Why};
use crate::host::{
    ConnectionKind, ConnectionSpec, Endpoint, HostKeyCheck, KnownHosts, Script, Secret, SshOptions, Target,
};

/// How often a stage looks again.
const POLL: Duration = Duration::from_millis(500);

/// How long the guest's agent is waited for at a time; its answer is taken whenever it comes.
const AGENT: Duration = Duration::from_millis(200);

/// How long one attempt of a stage may take before it is tried anew.
const ATTEMPT: Duration = Duration::from_secs(20);

/// How long each stage may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    pub lease: Duration,
    pub tcp: Duration,
    pub login: Duration,
    pub cloud_init: Duration,
    pub reboot: Duration,
}

/// Which VM is waited for, and how it is logged in to.
#[derive(Debug, Clone)]
pub struct WaitRequest {
    pub vm: VmIdentity,
    pub user: String,
    pub port: u16,
    pub private_key_file: Option<PathBuf>,
    pub password: Option<Secret>,
    /// The host key that the guest was given; `None` accepts a new one.
    pub host_key: Option<String>,
    pub limits: Limits,
    /// Whether user-data asks for a restart once cloud-init is done.
    pub restarts: bool,
    /// The last stage that is waited for.
    pub until: Stage,
}

/// A VM that is ready, with how long each stage took.
#[derive(Debug, Clone, PartialEq)]
pub struct Waited {
    pub address: String,
    pub stages: Vec<(Stage, Duration)>,
    pub notes: Vec<String>,
}

/// Waits until the VM is ready, stage by stage; tells `progress` what it waits for.
pub async fn wait_for_vm(
    hypervisor: &Hypervisor,
    request: &WaitRequest,
    progress: &(dyn Fn(&str) + Send + Sync),
) -> Result<Waited, LabError> {
    let mut steps = Wait { hypervisor, request, progress, stages: Vec::new(), agent: Agent::default() };
    let mut notes = Vec::new();
    let mut address = steps.lease().await?;
    if request.until != Stage::Lease {
        address = steps.tcp(address).await?;
    }
    if matches!(request.until, Stage::Login | Stage::CloudInit) {
        let target = steps.login(&mut address).await?;
        let end = match request.until {
            Stage::CloudInit => match steps.cloud_init(&target, &mut notes).await {
                Ok(()) if request.restarts => steps.reboot_asked(&target).await,
                Ok(()) => Ok(None),
                Err(error) => Err(error),
            },
            _ => Ok(None),
        };
        target.close().await;
        if let Some(old_boot) = end? {
            steps.reboot(&mut address, &old_boot).await?;
        }
    }
    Ok(Waited { address, stages: steps.stages, notes })
}

struct Wait<'a> {
    hypervisor: &'a Hypervisor,
    request: &'a WaitRequest,
    progress: &'a (dyn Fn(&str) + Send + Sync),
    stages: Vec<(Stage, Duration)>,
    agent: Agent,
}

impl Wait<'_> {
    async fn lease(&mut self) -> Result<String, LabError> {
        let clock = self.begin(Stage::Lease);
        loop {
            self.alive(&clock).await?;
            if let Some(address) = self.address().await? {
                return Ok(self.reached(&clock, address));
            }
            self.pause(&clock, None).await?;
        }
    }

    async fn tcp(&mut self, mut address: String) -> Result<String, LabError> {
        let clock = self.begin(Stage::Tcp);
        loop {
            let knock = self.knock(&address);
            let last = match tokio::time::timeout(ATTEMPT.min(clock.limit), knock).await {
                Ok(Ok(())) => return Ok(self.reached(&clock, address)),
                Ok(Err(reason)) => reason,
                Err(_) => format!("no answer from {address}"),
            };
            self.alive(&clock).await?;
            // A lease from an earlier life is shown until the guest asks anew, maybe with another address.
            if let Some(newer) = self.address().await? {
                address = newer;
            }
            self.pause(&clock, Some(last)).await?;
        }
    }

    /// Whether something answers on the SSH port, seen from where the guest can be reached.
    async fn knock(&self, address: &str) -> Result<(), String> {
        let port = self.request.port;
        match self.hypervisor.shell().filter(|_| self.hypervisor.way().is_some()) {
            Some(shell) => {
                let endpoint = Endpoint::Tcp { host: address.to_owned(), port };
                shell.dial(&endpoint).await.map(drop).map_err(|e| e.to_string())
            }
            None => {
                tokio::net::TcpStream::connect((address, port)).await.map(drop).map_err(|e| e.to_string())
            }
        }
    }

    async fn login(&mut self, address: &mut String) -> Result<Target, LabError> {
        let clock = self.begin(Stage::Login);
        loop {
            let target = Target::new(self.connection(address));
            // A guest that is still busy with its boot may take long for a login, and one whose sshd has just ended never answers: there is
            // time for two attempts.
            let patience = (clock.limit / 2).max(ATTEMPT).min(clock.limit);
            let last = match tokio::time::timeout(patience, target.connect()).await {
                Ok(Ok(())) => return Ok(self.reached(&clock, target)),
                Ok(Err(e)) => e.to_string(),
                Err(_) => "the login did not answer".into(),
            };
            target.close().await;
            self.alive(&clock).await?;
            if let Some(newer) = self.address().await? {
                *address = newer;
            }
            self.pause(&clock, Some(last)).await?;
        }
    }

    async fn cloud_init(&mut self, target: &Target, notes: &mut Vec<String>) -> Result<(), LabError> {
        let clock = self.begin(Stage::CloudInit);
        let shell = target.shell(None);
        let script = Script::new(CLOUD_INIT_PROBE);
        loop {
            let ask = shell.run(&script);
            let last = match tokio::time::timeout(ATTEMPT.min(clock.limit), ask).await {
                Ok(Ok(reply)) => match CloudInit::read(&reply.out()) {
                    CloudInit::Done => {
                        self.reached(&clock, true);
                        return Ok(());
                    }
                    CloudInit::Absent => {
                        notes.push("the image has no cloud-init: nothing of the seed was used".into());
                        self.reached(&clock, true);
                        return Ok(());
                    }
                    CloudInit::Disabled => {
                        notes.push(
                            "cloud-init is switched off in the image: nothing of the seed was used".into(),
                        );
                        self.reached(&clock, true);
                        return Ok(());
                    }
                    CloudInit::Failed(errors) => {
                        return Err(self.failure(&clock, Why::CloudInit(errors)).await);
                    }
                    CloudInit::Running(stage) => stage,
                },
                Ok(Err(e)) => e.to_string(),
                Err(_) => "the guest did not answer".into(),
            };
            self.alive(&clock).await?;
            self.pause(&clock, Some(last)).await?;
        }
    }

    /// The boot that is to end, where user-data asks for a restart after cloud-init and it has not been yet.
    async fn reboot_asked(&self, target: &Target) -> Result<Option<String>, LabError> {
        let reply = target.shell(None).run(&Script::new(REBOOT_PROBE)).await;
        match reply {
            Ok(reply) => Ok(boot_to_end(&reply.out())),
            // It is on its way down already, and nobody knows which boot it was: any that answers later is another.
            Err(_) => Ok(Some(String::new())),
        }
    }

    async fn reboot(&mut self, address: &mut String, old_boot: &str) -> Result<(), LabError> {
        let clock = self.begin(Stage::Reboot);
        loop {
            let target = Target::new(self.connection(address));
            let (shell, script) = (target.shell(None), Script::new("cat /proc/sys/kernel/random/boot_id"));
            let ask = shell.run(&script);
            let last = match tokio::time::timeout(ATTEMPT.min(clock.limit), ask).await {
                Ok(Ok(reply)) if reply.ok() && reply.out().trim() != old_boot => {
                    target.close().await;
                    self.reached(&clock, ());
                    return Ok(());
                }
                Ok(Ok(_)) => "it is the same boot still".to_owned(),
                Ok(Err(e)) => e.to_string(),
                Err(_) => "the guest did not answer".into(),
            };
            target.close().await;
            self.alive(&clock).await?;
            if let Some(newer) = self.address().await? {
                *address = newer;
            }
            self.pause(&clock, Some(last)).await?;
        }
    }

    fn connection(&self, address: &str) -> ConnectionSpec {
        let request = self.request;
        ConnectionSpec {
            name: request.vm.name.clone(),
            kind: ConnectionKind::Ssh,
            address: address.to_owned(),
            port: request.port,
            user: request.user.clone(),
            password: request.password.clone(),
            private_key_file: request.private_key_file.clone(),
            host_key: request
                .host_key
                .clone()
                .map_or_else(|| HostKeyCheck::AcceptNew(KnownHosts::default()), HostKeyCheck::Exactly),
            proxy_jump: self.hypervisor.way().map(ConnectionSpec::as_way).unwrap_or_default(),
            timeout: ATTEMPT,
            limits: crate::host::Limits::default(),
            ssh: SshOptions { login_timeout: Some(self.request.limits.login), ..SshOptions::default() },
        }
    }

    fn begin(&self, stage: Stage) -> Clock {
        (self.progress)(&format!("waiting for {}", stage.waiting_for()));
        let limits = &self.request.limits;
        let limit = match stage {
            Stage::Lease => limits.lease,
            Stage::Tcp => limits.tcp,
            Stage::Login => limits.login,
            Stage::CloudInit => limits.cloud_init,
            Stage::Reboot => limits.reboot,
        };
        Clock { stage, since: Instant::now(), limit }
    }

    fn reached<T>(&mut self, clock: &Clock, value: T) -> T {
        self.stages.push((clock.stage, clock.since.elapsed()));
        value
    }

    /// Waits a moment; fails when the stage's time is over.
    async fn pause(&self, clock: &Clock, last: Option<String>) -> Result<(), LabError> {
        if clock.since.elapsed() >= clock.limit {
            return Err(self.failure(clock, Why::TimedOut { last }).await);
        }
        tokio::time::sleep(POLL).await;
        Ok(())
    }

    /// Fails at once when the VM is not there or does not run.
    async fn alive(&self, clock: &Clock) -> Result<(), LabError> {
        let name = self.request.vm.name.clone();
        match self.hypervisor.call(move |d| d.domain(&name)).await? {
            None => Err(self.failure(clock, Why::Missing).await),
            Some(domain) => match domain.state {
                DomainState::Running | DomainState::Paused => Ok(()),
                state => Err(self.failure(clock, Why::Stopped(state)).await),
            },
        }
    }

    /// What DHCP gave it, else what its agent says, else what was seen of it.
    async fn address(&mut self) -> Result<Option<String>, LabError> {
        let vm = self.request.vm.clone();
        if let Some(leased) = self.hypervisor.call(move |d| leased_address(d, &vm)).await? {
            return Ok(Some(leased));
        }
        if let Some(told) = self.agent.ask(self.hypervisor, &self.request.vm, AGENT).await {
            return Ok(Some(told));
        }
        let vm = self.request.vm.clone();
        self.hypervisor.call(move |d| Ok(seen_address(d, &vm))).await
    }

    async fn failure(&self, clock: &Clock, why: Why) -> LabError {
        let vm = self.request.vm.clone();
        let network = vm.network.clone();
        // The error is about the VM; that its circumstances cannot be read is the lesser trouble.
        let leases = self.hypervisor.call(move |d| d.leases(&network)).await.unwrap_or_default();
        let console = Console::of(self.hypervisor, &vm.console_log).await;
        let denials = super::denials(self.hypervisor).await;
        LabError::Wait(Box::new(WaitFailure {
            denials,
            vm,
            stage: clock.stage,
            waited: clock.since.elapsed(),
            why,
            leases,
            agent: self.agent.said.clone(),
            console,
        }))
    }
}

struct Clock {
    stage: Stage,
    since: Instant,
    limit: Duration,
}
