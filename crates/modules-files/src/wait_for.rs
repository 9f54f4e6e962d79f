use std::time::{Duration, Instant};

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::io::AsyncReadExt;
use tokio::time::timeout;

use crate::host::{Endpoint, Script, quote};
use crate::value::{Map, Value};
use crate::{Action, CheckMode, ModuleError, Outcome, RemotePath, TaskContext};

use super::inode::map;
use super::pattern::Pattern;
use super::probe::{Answer, Probe};

/// Waits until a port, a file or a text in it is there, or gone, as the target sees it.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct WaitFor {
    #[serde(default = "localhost")]
    host: String,
    port: Option<u16>,
    path: Option<RemotePath>,
    /// What the file, or what the service says first, must hold.
    search_regex: Option<String>,
    #[serde(default)]
    state: State,
    /// Seconds before the first look.
    #[serde(default)]
    delay: u64,
    /// Seconds between looks.
    #[serde(default = "one")]
    sleep: u64,
    /// Seconds after which waiting fails; with nothing to wait for, how long to wait.
    #[serde(default = "five_minutes")]
    timeout: u64,
    #[serde(default = "five")]
    connect_timeout: u64,
    /// What is said instead when waiting fails.
    msg: Option<String>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum State {
    Absent,
    Drained,
    Present,
    #[default]
    Started,
    Stopped,
}

impl State {
    fn name(self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Drained => "drained",
            Self::Present => "present",
            Self::Started => "started",
            Self::Stopped => "stopped",
        }
    }

    fn is_presence(self) -> bool {
        matches!(self, Self::Present | Self::Started)
    }
}

fn localhost() -> String {
    "127.0.0.1".into()
}

fn one() -> u64 {
    1
}

fn five() -> u64 {
    5
}

fn five_minutes() -> u64 {
    300
}

/// What was found while looking for a text: the groups of its match.
#[derive(Default)]
struct Groups {
    all: Vec<Value>,
    named: Map,
}

#[async_trait]
impl Action for WaitFor {
    const NAME: &'static str = "wait_for";
    const FQCN: &'static [&'static str] = &["ansible.builtin.wait_for", "ansible.legacy.wait_for"];
    const CHECK: CheckMode = CheckMode::Skips;

    fn validate(&self) -> Result<(), ModuleError> {
        let refuse = |message: &str| Err(ModuleError::Arguments(message.into()));
        if self.port.is_some() && self.path.is_some() {
            return refuse("port and path parameter can not both be passed to wait_for");
        }
        if self.path.is_some() && matches!(self.state, State::Stopped | State::Drained) {
            return refuse("state=stopped and state=drained are for ports, not for path");
        }
        if self.state == State::Drained && self.port.is_none() {
            return refuse("state=drained needs a port");
        }
        if self.search_regex.is_some() && self.port.is_none() && self.path.is_none() {
            return refuse("search_regex needs a port or a path to look at");
        }
        self.pattern().map(|_| ())
    }

    async fn run(self, cx: &TaskContext) -> Result<Outcome, ModuleError> {
        let began = Instant::now();
        let limit = Duration::from_secs(self.timeout);
        tokio::time::sleep(Duration::from_secs(self.delay)).await;
        if self.port.is_none() && self.path.is_none() {
            cx.controller.progress(&format!("waiting {} s", self.timeout));
            tokio::time::sleep(limit.saturating_sub(began.elapsed())).await;
            return Ok(self.outcome(began, Groups::default()));
        }
        loop {
            if let Some(groups) = self.look(cx).await? {
                return Ok(self.outcome(began, groups));
            }
            let passed = began.elapsed();
            if passed >= limit {
                let mut result = Map::new();
                result.insert("elapsed".into(), passed.as_secs().into());
                let message = self.msg.clone().unwrap_or_else(|| self.gave_up());
                return Err(ModuleError::failed(message).with_result(result));
            }
            cx.controller.progress(&format!(
                "waiting for {} ({} of {} s)",
                self.what(),
                passed.as_secs(),
                self.timeout
            ));
            let pause = Duration::from_secs(self.sleep).max(Duration::from_millis(100));
            tokio::time::sleep(pause.min(limit.saturating_sub(passed))).await;
        }
    }
}

impl WaitFor {
    fn pattern(&self) -> Result<Option<Pattern>, ModuleError> {
        self.search_regex.as_deref().map(|r| Pattern::new("search_regex", "(?m)", r)).transpose()
    }

    fn what(&self) -> String {
        match (&self.path, self.port) {
            (Some(path), _) => path.to_string(),
            (None, Some(port)) => format!("{}:{port}", self.host),
            (None, None) => "nothing".into(),
        }
    }

    fn gave_up(&self) -> String {
        let what = self.what();
        match (self.state, &self.search_regex) {
            (State::Drained, _) => format!("Timeout when waiting for {what} to drain"),
            (State::Absent | State::Stopped, _) if self.path.is_some() => {
                format!("Timeout when waiting for {what} to be absent.")
            }
            (State::Absent | State::Stopped, _) => format!("Timeout when waiting for {what} to stop."),
            (_, Some(text)) => format!("Timeout when waiting for search string {text} in {what}"),
            _ if self.path.is_some() => format!("Timeout when waiting for file {what}"),
            _ => format!("Timeout when waiting for {what}"),
        }
    }

    fn outcome(&self, began: Instant, groups: Groups) -> Outcome {
        Outcome::ok(map([
            ("state", self.state.name().into()),
            ("port", self.port.map_or(Value::Null, Value::from)),
            ("path", self.path.as_ref().map_or(Value::Null, |p| p.as_str().into())),
            ("search_regex", self.search_regex.clone().map_or(Value::Null, Value::from)),
            ("match_groups", groups.all.into()),
            ("match_groupdict", groups.named.into()),
            ("elapsed", began.elapsed().as_secs().into()),
        ]))
    }

    /// `Some` once the condition holds.
    async fn look(&self, cx: &TaskContext) -> Result<Option<Groups>, ModuleError> {
        let found = match (&self.path, self.port) {
            (Some(path), _) => self.path_is_there(cx, path).await?,
            (None, Some(port)) if self.state == State::Drained => {
                // Nothing found is what is waited for.
                return Ok((!self.has_connections(cx, port).await?).then(Groups::default));
            }
            (None, Some(port)) => self.port_answers(cx, port).await?,
            (None, None) => None,
        };
        Ok(match (self.state.is_presence(), found) {
            (true, found) => found,
            (false, None) => Some(Groups::default()),
            (false, Some(_)) => None,
        })
    }

    async fn path_is_there(
        &self,
        cx: &TaskContext,
        path: &RemotePath,
    ) -> Result<Option<Groups>, ModuleError> {
        let Some(pattern) = self.pattern()? else {
            let reply = cx.shell.run(&Script::new(format!("[ -e {} ]", quote(path.as_str())))).await?;
            return Ok(reply.ok().then(Groups::default));
        };
        let script = Probe::new().content(path.as_str()).script();
        let content = Answer::read(&cx.shell.run(&script).await?)?.content;
        match content {
            Some(bytes) => search(&pattern, &bytes),
            None => Ok(None),
        }
    }

    async fn port_answers(&self, cx: &TaskContext, port: u16) -> Result<Option<Groups>, ModuleError> {
        let endpoint = Endpoint::Tcp { host: self.host.clone(), port };
        let patience = Duration::from_secs(self.connect_timeout.max(1));
        let dialled = timeout(patience, cx.shell.dial(&endpoint)).await;
        let mut stream = match dialled {
            Ok(Ok(stream)) => stream,
            // A lost connection to the target says nothing about the port.
            Ok(Err(error)) if error.is_unreachable() => return Err(error.into()),
            Ok(Err(_)) | Err(_) => return Ok(None),
        };
        let Some(pattern) = self.pattern()? else { return Ok(Some(Groups::default())) };
        let mut heard = Vec::new();
        let mut buffer = [0; 1024];
        while let Ok(Ok(n @ 1..)) = timeout(patience, stream.read(&mut buffer)).await {
            heard.extend_from_slice(&buffer[..n]);
            if let Some(groups) = search(&pattern, &heard)? {
                return Ok(Some(groups));
            }
            if heard.len() > 1024 * 1024 {
                break;
            }
        }
        Ok(None)
    }

    /// Whether the kernel knows connections on the port that are more than listening.
    async fn has_connections(&self, cx: &TaskContext, port: u16) -> Result<bool, ModuleError> {
        // Columns: local address:port (hexadecimal) and state; 01-06 are the states that count, 0A is listening.
        let text = format!(
            "cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | while read -r n l r s x; do case $l:$s in *:{port:04X}:0[1-6]) echo yes; break;; esac; done"
        );
        Ok(!cx.shell.run(&Script::new(text)).await?.stdout.is_empty())
    }
}

fn search(pattern: &Pattern, bytes: &[u8]) -> Result<Option<Groups>, ModuleError> {
    let text = String::from_utf8_lossy(bytes);
    let found = pattern.find(&text)?;
    Ok(found.map(|captures| Groups {
        all: (1..captures.len())
            .map(|n| captures.get(n).map_or(Value::Null, |m| m.as_str().into()))
            .collect(),
        named: pattern
            .names()
            .filter_map(|n| Some((n.to_owned(), captures.name(n)?.as_str().into())))
            .collect(),
    }))
}
