use std::time::{Duration, Instant};

use async_trait::async_trait;
use bollard::models::ContainerStateStatusEnum;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use crate::engine::{self, Engine};
use crate::engine_kind::EngineKind;
use crate::host::Secret;
use crate::last_words::{FULL, last_words, secrets, speaks_of_a_full_disk};
use crate::podman::Service;
use crate::quay::Quay;
use crate::value::Map;
use crate::web::web;
use crate::{Action, CheckMode, ModuleError, Outcome, TaskContext};

/// Waits until Quay is healthy. Where its container ends instead, it fails at once with what Quay said last.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct QuayHealth {
    /// Quay's address as the target sees it.
    url: String,
    /// Quay's container.
    container: String,
    /// Seconds; a first start migrates the database.
    #[serde(default = "default_timeout")]
    timeout: u64,
    /// Words that are left out of what Quay said.
    #[serde(default, deserialize_with = "secrets")]
    #[schemars(with = "Vec<String>")]
    hide: Vec<Secret>,
    #[serde(default = "crate::args::yes")]
    validate_certs: bool,
    /// The engine's address as the target sees it.
    docker_host: Option<String>,
}

fn default_timeout() -> u64 {
    900
}

/// How long one answer may take.
const ANSWER_SECONDS: u64 = 30;

/// How long between two questions.
const PAUSE_SECONDS: u64 = 2;

/// How often the engine may start the container again before it counts as not starting.
const RESTARTS: i64 = 2;

/// Whether a container still has a chance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    Runs,
    /// With its exit code, unless it has just been started once more.
    Ended(Option<i64>),
}

impl QuayHealth {
    async fn service(&self, cx: &TaskContext, docker: &Engine) -> Result<Option<Service>, ModuleError> {
        match docker.kind {
            EngineKind::Docker => Ok(None),
            EngineKind::Podman => Service::of(cx, &self.container).await,
        }
    }

    async fn life(
        &self,
        cx: &TaskContext,
        docker: &Engine,
        restarts_before: i64,
    ) -> Result<(Life, i64), ModuleError> {
        if let Some(service) = self.service(cx, docker).await? {
            let ended = service.has_ended() || service.restarts - restarts_before >= RESTARTS;
            let life =
                if ended { Life::Ended(Some(service.code).filter(|code| *code != 0)) } else { Life::Runs };
            return Ok((life, service.restarts));
        }
        let container = engine::container(docker, &self.container)
            .await
            .map_err(|e| engine::failure(&format!("looking for the container {}", self.container), &e))?
            .ok_or_else(|| ModuleError::failed(format!("there is no container {}", self.container)))?;
        let restarts = container.restart_count.unwrap_or(0);
        let state = container.state.unwrap_or_default();
        let ended = matches!(
            state.status,
            Some(
                ContainerStateStatusEnum::EXITED
                    | ContainerStateStatusEnum::DEAD
                    | ContainerStateStatusEnum::CREATED
            )
        );
        let life = if ended || restarts - restarts_before >= RESTARTS {
            Life::Ended(state.exit_code.filter(|code| *code != 0))
        } else {
            Life::Runs
        };
        Ok((life, restarts))
    }

    async fn failure(&self, cx: &TaskContext, docker: &Engine, what: String) -> ModuleError {
        let (said, logs) = match self.service(cx, docker).await {
            Ok(Some(service)) => (service.last_words(cx, &self.hide).await, service.logs()),
            _ => (
                last_words(docker, &self.container, &self.hide).await,
                format!("{} logs {}", docker.kind.program(), self.container),
            ),
        };
        let said =
            if said.is_empty() { "it said nothing".to_owned() } else { format!("it said last:\n{said}") };
        let advice = advice(&said);
        ModuleError::failed(format!("{what}; {said}")).hint(format!("{advice}; all that it said: {logs}"))
    }
}

/// What to try when Quay said this.
fn advice(said: &str) -> &'static str {
    if speaks_of_a_full_disk(said) {
        return FULL;
    }
    let said = said.to_lowercase();
    [
        ("pg_trgm", "make that extension in Quay's own database: postgresql_extensions must hold pg_trgm"),
        (
            "password authentication failed",
            "quay_database_password must be the one that the database was made with (postgresql_password)",
        ),
        (
            "redis",
            "quay_redis_host, quay_redis_port and quay_redis_password must lead to a Redis that answers",
        ),
        (
            "could not translate host name",
            "quay_database_host must be a name that Quay's container can resolve",
        ),
        ("connection refused", "does the database run, at quay_database_host and quay_database_port?"),
        ("server_hostname", "quay_server_hostname must be a host name with a dot in it"),
    ]
    .into_iter()
    .find(|(part, _)| said.contains(part))
    .map_or("mend what it complains about (quay_config_extra) and run this again", |(_, advice)| advice)
}

#[async_trait]
impl Action for QuayHealth {
    const NAME: &'static str = "quay_health";
    const FQCN: &'static [&'static str] = &["quaylab.lab.quay_health"];
    const CHECK: CheckMode = CheckMode::Skips;

    async fn run(self, cx: &TaskContext) -> Result<Outcome, ModuleError> {
        let docker = engine::connect(cx, self.docker_host.as_deref()).await?;
        let web = web(cx, ANSWER_SECONDS.min(self.timeout), self.validate_certs);
        let quay = Quay::new(&self.url, web);
        let started = Instant::now();
        let mut first_restarts = None;
        loop {
            let Err(error) = quay.health().await else { break };
            let (life, restarts) = self.life(cx, &docker, first_restarts.unwrap_or(i64::MAX)).await?;
            if let Life::Ended(code) = life {
                let how = code.map_or("right after its start".to_owned(), |c| format!("with exit code {c}"));
                let what = format!("Quay does not start: its container {} ends {how}", self.container);
                return Err(self.failure(cx, &docker, what).await);
            }
            first_restarts.get_or_insert(restarts);
            if started.elapsed() >= Duration::from_secs(self.timeout) {
                let what = format!("Quay is not well after {} s: {error}", self.timeout);
                return Err(self.failure(cx, &docker, what).await);
            }
            cx.controller.progress(&format!("waiting for Quay: {error}"));
            tokio::time::sleep(Duration::from_secs(PAUSE_SECONDS)).await;
        }
        Ok(Outcome::ok(Map::from_iter([("seconds".to_owned(), json!(started.elapsed().as_secs()))])))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_quay_said_leads_to_what_to_try() {
        for (said, part) in [
            ("FATAL: password authentication failed for user \"quay\"", "quay_database_password"),
            ("Could not connect to Redis: WRONGPASS invalid username-password pair", "quay_redis_password"),
            ("SERVER_HOSTNAME must be a valid hostname", "with a dot"),
            ("OSError: [Errno 28] No space left on device", "df -h"),
            ("FEATURE_X is required", "quay_config_extra"),
        ] {
            assert!(advice(said).contains(part), "{said}");
        }
    }
}
