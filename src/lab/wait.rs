use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde::Deserialize;

use super::{Console, DomainState, Hypervisor, LabError, Lease, VmIdentity};
use crate::host::{
    ConnectionKind, ConnectionSpec, Endpoint, HostKeyCheck, KnownHosts, Script, Secret, Target,
};

/// How often a stage looks again.
const POLL: Duration = Duration::from_millis(500);

/// How long one attempt of a stage may take before it is tried anew.
const ATTEMPT: Duration = Duration::from_secs(20);

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

    fn waiting_for(self) -> &'static str {
        match self {
            Self::Lease => "an address from DHCP",
            Self::Tcp => "the SSH port to open",
            Self::Login => "the SSH login to work",
            Self::CloudInit => "cloud-init to finish",
            Self::Reboot => "the restart that its user-data asks for",
        }
    }
}

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

/// A stage that did not come, with all that is known about why.
#[derive(Debug)]
pub struct WaitFailure {
    pub vm: VmIdentity,
    pub stage: Stage,
    pub waited: Duration,
    pub why: Why,
    pub leases: Vec<Lease>,
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
                "does the console show a booted system? if so, the guest does not ask for DHCP on {}; if it is empty, the image does not boot or has no serial console",
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
        write!(f, "\n{}", self.console)?;
        if !self.denials.is_empty() {
            write!(f, "\nrefused on the hypervisor by AppArmor or SELinux:")?;
            self.denials.iter().try_for_each(|line| write!(f, "\n  {line}"))?;
        }
        Ok(())
    }
}

impl std::error::Error for WaitFailure {}

/// Waits until the VM is ready, stage by stage; tells `progress` what it waits for.
pub async fn wait_for_vm(
    hypervisor: &Hypervisor,
    request: &WaitRequest,
    progress: &(dyn Fn(&str) + Send + Sync),
) -> Result<Waited, LabError> {
    let mut steps = Wait { hypervisor, request, progress, stages: Vec::new() };
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
            let last = match tokio::time::timeout(ATTEMPT.min(clock.limit), target.connect()).await {
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

    async fn address(&self) -> Result<Option<String>, LabError> {
        let vm = self.request.vm.clone();
        self.hypervisor.call(move |d| super::address_of(d, &vm)).await
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
            console,
        }))
    }
}

struct Clock {
    stage: Stage,
    since: Instant,
    limit: Duration,
}

/// Reads cloud-init's own files: starting its Python on every look would slow down what is waited for.
const CLOUD_INIT_PROBE: &str = r"
if ! command -v cloud-init >/dev/null 2>&1; then echo absent
elif [ -e /run/cloud-init/disabled ] || [ -e /etc/cloud/cloud-init.disabled ]; then echo disabled
elif [ -e /run/cloud-init/result.json ]; then echo result; cat /run/cloud-init/result.json
else echo running; cat /run/cloud-init/status.json 2>/dev/null
fi
";

/// Which boot it is, when it began, and when cloud-init asked for the restart.
const REBOOT_PROBE: &str = r"
cat /proc/sys/kernel/random/boot_id
echo asked $(sed -n 's/^btime //p' /proc/stat)   $(stat -c %Y /var/lib/cloud/instance/sem/config_power_state_change 2>/dev/null || echo 0)
";

/// The boot that `REBOOT_PROBE` found to be the one before the restart.
fn boot_to_end(answer: &str) -> Option<String> {
    let mut lines = answer.lines();
    let boot = lines.next()?.trim().to_owned();
    let mut words = lines.next()?.strip_prefix("asked ")?.split_whitespace();
    let (began, asked): (u64, u64) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    // Not asked yet, or asked during this boot: it is still to come.
    (asked == 0 || asked >= began).then_some(boot)
}

/// What the guest's cloud-init says of itself.
#[derive(Debug, PartialEq, Eq)]
enum CloudInit {
    Absent,
    Disabled,
    /// Its present stage.
    Running(String),
    Done,
    Failed(Vec<String>),
}

#[derive(Debug, Deserialize)]
struct CloudInitFile {
    v1: serde_json::Map<String, serde_json::Value>,
}

impl CloudInit {
    fn read(text: &str) -> Self {
        let (word, json) = text.split_once('\n').unwrap_or((text, ""));
        // A file that is being written is not JSON yet: the next look reads it.
        let file: Option<CloudInitFile> = serde_json::from_str(json).ok();
        let errors: Vec<String> = file.iter().flat_map(|f| errors_in(&f.v1)).collect();
        match word.trim() {
            "absent" => Self::Absent,
            "disabled" => Self::Disabled,
            _ if !errors.is_empty() => Self::Failed(errors),
            "result" if file.is_some() => Self::Done,
            _ => {
                let stage = file.as_ref().and_then(|f| f.v1.get("stage")).and_then(|s| s.as_str());
                Self::Running(stage.map_or_else(|| "not started".to_owned(), |s| format!("stage {s}")))
            }
        }
    }
}

/// `errors` of the whole, and of each stage.
fn errors_in(v1: &serde_json::Map<String, serde_json::Value>) -> Vec<String> {
    let own = v1.get("errors").into_iter();
    let stages = v1.values().filter_map(|stage| stage.get("errors"));
    own.chain(stages).filter_map(|e| e.as_array()).flatten().map(crate::value::plain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cloud_inits_files_are_understood() {
        for (text, expected) in [
            ("absent\n", CloudInit::Absent),
            ("disabled\n", CloudInit::Disabled),
            ("result\n{\"v1\": {\"datasource\": \"DataSourceNoCloud\", \"errors\": []}}", CloudInit::Done),
            ("result\n{\"v1\": {\"errors\": [\"boom\"]}}", CloudInit::Failed(vec!["boom".into()])),
            ("result\n{\"v1\": {\"err", CloudInit::Running("not started".into())),
            (
                "running\n{\"v1\": {\"stage\": \"init\", \"init\": {\"errors\": []}}}",
                CloudInit::Running("stage init".into()),
            ),
            (
                "running\n{\"v1\": {\"stage\": \"modules-final\", \"init\": {\"errors\": [\"bad seed\"]}}}",
                CloudInit::Failed(vec!["bad seed".into()]),
            ),
            ("running\n", CloudInit::Running("not started".into())),
        ] {
            assert_eq!(CloudInit::read(text), expected, "{text}");
        }
    }

    #[test]
    fn a_restart_is_waited_for_once() {
        for (answer, boot) in [
            ("b-1\n", None),
            ("b-1\nasked 1000 1060\n", Some("b-1")),
            ("b-1\nasked 1000 0\n", Some("b-1")),
            ("b-2\nasked 2000 1060\n", None),
            ("", None),
        ] {
            assert_eq!(boot_to_end(answer).as_deref(), boot, "{answer:?}");
        }
    }

    #[test]
    fn a_timeout_explains_itself() {
        let lease = |mac: &str, address: &str| Lease {
            mac: mac.into(),
            address: address.into(),
            hostname: None,
            expires: 0,
        };
        let failure = WaitFailure {
            vm: VmIdentity {
                name: "quay".into(),
                network: "quaylab".into(),
                mac: "52:54:00:00:00:01".into(),
                console_log: "/c.log".into(),
            },
            stage: Stage::Tcp,
            waited: Duration::from_secs(120),
            why: Why::TimedOut { last: Some("Connection refused".into()) },
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
    }
}
