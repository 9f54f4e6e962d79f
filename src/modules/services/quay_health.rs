use std::time::{Duration, Instant};

use async_trait::async_trait;
use bollard::Docker;
use bollard::models::ContainerStateStatusEnum;
use bollard::query_parameters::{InspectContainerOptions, LogsOptionsBuilder};
use futures_util::StreamExt;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};
use serde_json::json;

use super::engine;
use super::web::web;
use crate::host::Secret;
use crate::modules::{Action, CheckMode, ModuleError, Outcome, TaskContext};
use crate::quay::Quay;
use crate::value::Map;

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
    #[serde(default = "yes")]
    validate_certs: bool,
    /// The engine's address as the target sees it.
    docker_host: Option<String>,
}

fn secrets<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Secret>, D::Error> {
    Ok(Vec::<String>::deserialize(deserializer)?.into_iter().map(Secret).collect())
}

fn default_timeout() -> u64 {
    900
}

fn yes() -> bool {
    true
}

/// How long one answer may take.
const ANSWER_SECONDS: u64 = 30;

/// How long between two questions.
const PAUSE_SECONDS: u64 = 2;

/// How often the engine may start the container again before it counts as not starting.
const RESTARTS: i64 = 2;

/// How many lines of what Quay said are told.
const LINES: usize = 8;

/// Whether a container still has a chance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    Runs,
    /// With its exit code, unless it has just been started once more.
    Ended(Option<i64>),
}

impl QuayHealth {
    async fn life(&self, docker: &Docker, restarts_before: i64) -> Result<(Life, i64), ModuleError> {
        let answer = docker.inspect_container(&self.container, None::<InspectContainerOptions>).await;
        let container = engine::found(answer)
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

    /// The last lines that the container wrote since it was started last, without secrets.
    async fn last_words(&self, docker: &Docker) -> String {
        let answer = docker.inspect_container(&self.container, None::<InspectContainerOptions>).await;
        let started = answer.ok().and_then(|c| c.state?.started_at);
        let since = started.and_then(|s| s.parse::<jiff::Timestamp>().ok()).map(jiff::Timestamp::as_second);
        match self.words_since(docker, since).await {
            // It has only just been started again.
            none if none.is_empty() => self.words_since(docker, None).await,
            some => some,
        }
    }

    async fn words_since(&self, docker: &Docker, since: Option<i64>) -> String {
        let since = since.and_then(|s| i32::try_from(s).ok()).unwrap_or(0);
        let options = LogsOptionsBuilder::new().stdout(true).stderr(true).tail("100").since(since).build();
        let mut output = std::pin::pin!(docker.logs(&self.container, Some(options)));
        let mut bytes = Vec::new();
        while let Some(Ok(part)) = output.next().await {
            bytes.extend_from_slice(&part.into_bytes());
        }
        last_lines(&String::from_utf8_lossy(&bytes), &self.hide)
    }

    async fn failure(&self, docker: &Docker, what: String) -> ModuleError {
        let said = self.last_words(docker).await;
        let said =
            if said.is_empty() { "it said nothing".to_owned() } else { format!("it said last:\n{said}") };
        let advice = advice(&said);
        ModuleError::failed(format!("{what}; {said}"))
            .hint(format!("{advice}; all that it said: docker logs {}", self.container))
    }
}

/// What to try when Quay said this.
fn advice(said: &str) -> &'static str {
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

/// The end of a log as people read it: no colours, no empty or repeated lines, no secrets.
fn last_lines(text: &str, hide: &[Secret]) -> String {
    let colours = fancy_regex::Regex::new("\u{1b}\\[[0-9;]*[A-Za-z]");
    let text = colours.map_or_else(|_| text.to_owned(), |c| c.replace_all(text, "").into_owned());
    let mut lines: Vec<String> = Vec::new();
    for line in text.lines().map(str::trim_end).filter(|l| !l.trim().is_empty()) {
        let hidden = hide
            .iter()
            .filter(|s| !s.0.is_empty())
            .fold(line.to_owned(), |line, secret| line.replace(&secret.0, "********"));
        // A container that is started again and again says the same each time.
        lines.retain(|l| *l != hidden);
        lines.push(hidden);
    }
    // Quay's start says of everything that it is well; what is not, is what counts.
    let complaints: Vec<String> = lines.iter().filter(|l| complains(l)).cloned().collect();
    let mut lines = if complaints.is_empty() { lines } else { complaints };
    lines.split_off(lines.len().saturating_sub(LINES)).join("\n")
}

fn complains(line: &str) -> bool {
    let line = line.to_lowercase();
    ["error", "fail", "fatal", "could not", "cannot", "refused", "denied", "required", "\u{1f534}"]
        .iter()
        .any(|word| line.contains(word))
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
            let (life, restarts) = self.life(&docker, first_restarts.unwrap_or(i64::MAX)).await?;
            if let Life::Ended(code) = life {
                let how = code.map_or("right after its start".to_owned(), |c| format!("with exit code {c}"));
                let what = format!("Quay does not start: its container {} ends {how}", self.container);
                return Err(self.failure(&docker, what).await);
            }
            first_restarts.get_or_insert(restarts);
            if started.elapsed() >= Duration::from_secs(self.timeout) {
                let what = format!("Quay is not well after {} s: {error}", self.timeout);
                return Err(self.failure(&docker, what).await);
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
            ("FEATURE_X is required", "quay_config_extra"),
        ] {
            assert!(advice(said).contains(part), "{said}");
        }
    }

    #[test]
    fn the_end_of_a_log_is_short_and_holds_no_secret() {
        let log = "\u{1b}[31mcannot log in with pw1\u{1b}[0m\n\nagain\ncannot log in with pw1\n";
        let hide = [Secret("pw1".into()), Secret(String::new())];
        assert_eq!(last_lines(log, &hide), "cannot log in with ********");
        assert_eq!(last_lines("starting\nstarting\n\nended\n", &[]), "starting\nended");
        let many: String = (0..20).map(|n| format!("{n}\n")).collect();
        assert_eq!(last_lines(&many, &[]).lines().count(), LINES);
    }
}
