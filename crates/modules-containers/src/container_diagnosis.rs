use async_trait::async_trait;
use bollard::Docker;
use bollard::models::{ContainerState, ContainerStateStatusEnum};
use schemars::JsonSchema;
use serde::Deserialize;

use super::engine_kind::EngineKind;
use super::last_words::{last_words, secrets, speaks_of_a_full_disk};
use super::podman::Service;
use super::{docker_container, engine};
use crate::host::{Script, Secret, quote};
use crate::{Action, CheckMode, ModuleError, Outcome, RemotePath, TaskContext};

/// Says why a container does not serve, and fails: how its process is, what it wrote last, and whether its disk has room.
/// For a `rescue` after the task that waited for the service.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ContainerDiagnosis {
    container: String,
    /// What was waited for, and did not come.
    what: String,
    /// The folder on the target that holds the container's data.
    data_path: Option<RemotePath>,
    /// Words that are left out of what it wrote.
    #[serde(default, deserialize_with = "secrets")]
    #[schemars(with = "Vec<String>")]
    hide: Vec<Secret>,
    /// The engine's address as the target sees it.
    docker_host: Option<String>,
}

/// The file system that holds a folder, in KiB.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Room {
    size: u64,
    free: u64,
    mounted: String,
}

/// Less than this part of a file system is as good as nothing: its free blocks may be kept for root.
const LEAST_PERCENT: u64 = 2;

impl Room {
    /// Reads the line of `df -Pk`.
    fn read(line: &str) -> Option<Self> {
        let mut words = line.split_whitespace();
        let size = words.nth(1)?.parse().ok()?;
        let free = words.nth(1)?.parse().ok()?;
        let mounted = words.skip(1).collect::<Vec<_>>().join(" ");
        Some(Self { size, free, mounted })
    }

    fn is_full(&self) -> bool {
        self.free.saturating_mul(100) < self.size.saturating_mul(LEAST_PERCENT)
    }

    fn shown(&self) -> String {
        format!("{} has {} MiB free of {} MiB", self.mounted, self.free >> 10, self.size >> 10)
    }
}

impl ContainerDiagnosis {
    async fn state(&self, docker: &Docker) -> Result<Option<(ContainerState, i64)>, ModuleError> {
        let found = engine::container(docker, &self.container)
            .await
            .map_err(|e| engine::failure(&format!("looking for the container {}", self.container), &e))?;
        Ok(found.map(|c| (c.state.unwrap_or_default(), c.restart_count.unwrap_or(0))))
    }

    async fn room(&self, cx: &TaskContext) -> Option<Room> {
        let path = self.data_path.as_ref()?;
        let script = Script::new(format!("df -Pk -- {} | tail -n 1", quote(path.as_str())));
        // Without an answer the container's own words must do.
        Room::read(cx.shell.probe(&script).await.ok()?.out().trim())
    }

    fn told(&self, life: &str, said: &str, room: Option<&Room>, logs: &str) -> ModuleError {
        let full = room.is_some_and(Room::is_full) || speaks_of_a_full_disk(said);
        let words =
            if said.is_empty() { "it wrote nothing".to_owned() } else { format!("it wrote last:\n{said}") };
        let mut message = format!("{}; its container {} {life}; {words}", self.what, self.container);
        let hint = match room.filter(|_| full) {
            Some(room) => {
                message.push_str(&format!("\nThe disk is full: {}", room.shown()));
                format!("make room on {} or let it grow, then run this again", room.mounted)
            }
            None if full => super::last_words::FULL.to_owned(),
            None => docker_container::hint(said)
                .unwrap_or("mend what it complains about and run this again")
                .to_owned(),
        };
        ModuleError::failed(message).hint(format!("{hint}; all that it wrote: {logs}"))
    }
}

/// How a container's process is, in words.
fn life(state: &ContainerState, restarts: i64) -> String {
    let code = state.exit_code.unwrap_or(0);
    match state.status {
        Some(ContainerStateStatusEnum::RESTARTING) => {
            format!("ends each time with exit code {code} ({restarts} times by now)")
        }
        Some(ContainerStateStatusEnum::RUNNING) if restarts > 1 => {
            format!("ends again and again ({restarts} times by now)")
        }
        Some(ContainerStateStatusEnum::RUNNING) => "runs".to_owned(),
        Some(status) => format!("is {status} (exit code {code})"),
        None => "is in no known state".to_owned(),
    }
}

#[async_trait]
impl Action for ContainerDiagnosis {
    const NAME: &'static str = "container_diagnosis";
    const FQCN: &'static [&'static str] = &["quaylab.lab.container_diagnosis"];
    const CHECK: CheckMode = CheckMode::Runs;

    async fn run(self, cx: &TaskContext) -> Result<Outcome, ModuleError> {
        let docker = engine::connect(cx, self.docker_host.as_deref()).await?;
        if docker.kind == EngineKind::Podman
            && let Some(service) = Service::of(cx, &self.container).await?
        {
            let said = service.last_words(cx, &self.hide).await;
            let room = self.room(cx).await;
            return Err(self.told(&service.life(), &said, room.as_ref(), &service.logs()));
        }
        let Some((state, restarts)) = self.state(&docker).await? else {
            return Err(ModuleError::failed(format!(
                "{}; there is no container {}",
                self.what, self.container
            ))
            .hint("was it removed meanwhile? run this again"));
        };
        let said = last_words(&docker, &self.container, &self.hide).await;
        let room = self.room(cx).await;
        let logs = format!("{} logs {}", docker.kind.program(), self.container);
        Err(self.told(&life(&state, restarts), &said, room.as_ref(), &logs))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::from_args;
    use crate::value::Value;

    fn diagnosis() -> ContainerDiagnosis {
        let args = json!({"container": "mysql", "what": "MySQL does not answer", "data_path": "/srv/mysql"});
        let Value::Object(args) = args else { panic!("a mapping") };
        from_args(args).expect("arguments")
    }

    #[test]
    fn a_full_disk_is_told_with_its_place_and_what_to_try() {
        let line = "tmpfs                  65536 65536         0     100% /srv/my sql";
        let room = Room::read(line).expect("a line of df");
        assert_eq!(room, Room { size: 65536, free: 0, mounted: "/srv/my sql".into() });
        let state = ContainerState {
            status: Some(ContainerStateStatusEnum::RESTARTING),
            exit_code: Some(1),
            ..ContainerState::default()
        };
        let error = diagnosis().told(&life(&state, 4), "", Some(&room), "docker logs mysql");
        let ModuleError::Failed { message, hint, .. } = error else { panic!("a failure") };
        insta::assert_snapshot!(message, @r"
        MySQL does not answer; its container mysql ends each time with exit code 1 (4 times by now); it wrote nothing
        The disk is full: /srv/my sql has 0 MiB free of 64 MiB
        ");
        insta::assert_snapshot!(hint.unwrap_or_default(), @"make room on /srv/my sql or let it grow, then run this again; all that it wrote: docker logs mysql");
    }

    #[test]
    fn what_is_not_the_disk_is_left_to_its_words() {
        let room = Room { size: 1 << 20, free: 1 << 19, mounted: "/".into() };
        let told = |said: &str| diagnosis().told("runs", said, Some(&room), "journalctl -u mysql.service");
        let ModuleError::Failed { message, hint, .. } = told("[ERROR] no") else { panic!("a failure") };
        assert_eq!(message, "MySQL does not answer; its container mysql runs; it wrote last:\n[ERROR] no");
        assert!(hint.is_some_and(|h| h.starts_with("mend what it complains about")));
        // A service may have failed for want of room, and given it back when it ended.
        let ModuleError::Failed { message, .. } = told("No space left on device") else {
            panic!("a failure")
        };
        assert!(message.ends_with("The disk is full: / has 512 MiB free of 1024 MiB"), "{message}");
        let taken = told("Error: cannot listen on the TCP port: bind: address already in use");
        let ModuleError::Failed { hint, .. } = taken else { panic!("a failure") };
        insta::assert_snapshot!(hint.unwrap_or_default(), @"another program on the target listens on that port; see ss -ltnp; all that it wrote: journalctl -u mysql.service");
    }
}
