use std::time::{Duration, Instant};

use async_trait::async_trait;
use bollard::Docker;
use bollard::container::LogOutput;
use bollard::models::ContainerStateStatusEnum;
use bollard::query_parameters::{InspectContainerOptions, LogsOptionsBuilder};
use futures_util::StreamExt;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};
use serde_json::json;

use super::engine;
use super::web::Web;
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
    /// With its last exit code.
    Ended(i64),
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
            Life::Ended(state.exit_code.unwrap_or(0))
        } else {
            Life::Runs
        };
        Ok((life, restarts))
    }

    /// The last lines that the container wrote, without secrets.
    async fn last_words(&self, docker: &Docker) -> String {
        let options = LogsOptionsBuilder::new().stdout(true).stderr(true).tail("40").build();
        let mut output = std::pin::pin!(docker.logs(&self.container, Some(options)));
        let mut bytes = Vec::new();
        while let Some(Ok(part)) = output.next().await {
            bytes.extend_from_slice(match &part {
                LogOutput::StdErr { message } | LogOutput::StdOut { message } => message,
                LogOutput::StdIn { message } | LogOutput::Console { message } => message,
            });
        }
        last_lines(&String::from_utf8_lossy(&bytes), &self.hide)
    }

    async fn failure(&self, docker: &Docker, what: String) -> ModuleError {
        let said = self.last_words(docker).await;
        let said =
            if said.is_empty() { "it said nothing".to_owned() } else { format!("it said last:\n{said}") };
        ModuleError::failed(format!("{what}; {said}")).hint(format!(
            "mend what it complains about and run this again; all that it said: docker logs {}",
            self.container
        ))
    }
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
    lines.split_off(lines.len().saturating_sub(LINES)).join("\n")
}

#[async_trait]
impl Action for QuayHealth {
    const NAME: &'static str = "quay_health";
    const FQCN: &'static [&'static str] = &["quaylab.lab.quay_health"];
    const CHECK: CheckMode = CheckMode::Skips;

    async fn run(self, cx: &TaskContext) -> Result<Outcome, ModuleError> {
        let docker = engine::connect(cx, self.docker_host.as_deref()).await?;
        let web = Web {
            shell: cx.shell.clone(),
            timeout: Duration::from_secs(ANSWER_SECONDS.min(self.timeout)),
            verify: self.validate_certs,
            unix_socket: None,
        };
        let quay = Quay::new(&self.url, web);
        let started = Instant::now();
        let mut first_restarts = None;
        loop {
            let Err(error) = quay.health().await else { break };
            let (life, restarts) = self.life(&docker, first_restarts.unwrap_or(i64::MAX)).await?;
            if let Life::Ended(code) = life {
                let what = format!(
                    "Quay does not start: its container {} ends with exit code {code}",
                    self.container
                );
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
    fn the_end_of_a_log_is_short_and_holds_no_secret() {
        let log = "\u{1b}[31mcannot log in with pw1\u{1b}[0m\n\nagain\ncannot log in with pw1\n";
        let hide = [Secret("pw1".into()), Secret(String::new())];
        assert_eq!(last_lines(log, &hide), "again\ncannot log in with ********");
        let long: String = (0..20).map(|n| format!("{n}\n")).collect();
        assert_eq!(last_lines(&long, &[]).lines().count(), LINES);
    }
}
