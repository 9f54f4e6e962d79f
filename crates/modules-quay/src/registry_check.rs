use std::net::SocketAddr;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use crate::host::{Endpoint, Forward, Secret};
use crate::http::authority;
use crate::quay::{Part, RegistryAddress, RoundTrip, Timed, round_trip};
use crate::value::{Map, Value};
use crate::{Action, CheckMode, ModuleError, Outcome, TaskContext};

/// Logs in to a registry, pushes a small image, pulls it again, compares, and says how long each step took.
///
/// The controller does it; with `via: tunnel` its requests go through the connection to the target, so that what is
/// seen is what programs on the target see.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RegistryCheck {
    /// `http://HOST:PORT` or `https://HOST:PORT`.
    url: String,
    #[serde(alias = "user")]
    username: Option<String>,
    #[serde(default, deserialize_with = "crate::words::secret")]
    #[schemars(with = "Option<String>")]
    password: Option<Secret>,
    /// The repository that is pushed to.
    #[serde(default = "default_repository")]
    repository: String,
    #[serde(default = "default_tag")]
    tag: String,
    /// Remove the image again; a registry that does not allow it is no failure.
    #[serde(default)]
    delete: bool,
    #[serde(default = "crate::args::yes")]
    validate_certs: bool,
    /// The authority (PEM) that is believed besides the system's.
    ca_cert: Option<String>,
    /// What somebody without a login must get: the image, a refusal, or either.
    #[serde(default)]
    anonymous: Anonymous,
    /// How the controller gets there: straight, through the connection to the target, or whichever works.
    #[serde(default)]
    via: Via,
    /// Seconds for each operation.
    #[serde(default = "default_timeout")]
    timeout: u64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Via {
    #[default]
    Auto,
    Direct,
    Tunnel,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Anonymous {
    Allowed,
    Refused,
    #[default]
    Either,
}

fn default_repository() -> String {
    "quaylab/verify".into()
}

fn default_tag() -> String {
    "latest".into()
}

fn default_timeout() -> u64 {
    60
}

/// How long the controller tries to get there straight.
const DIRECT_SECONDS: u64 = 4;

impl RegistryCheck {
    fn address(&self) -> Result<RegistryAddress, ModuleError> {
        let url: hyper::Uri =
            self.url.parse().map_err(|e| ModuleError::Arguments(format!("url {:?}: {e}", self.url)))?;
        let (host, port, secure) = authority(&url).map_err(|e| ModuleError::Arguments(e.0))?;
        Ok(RegistryAddress { host, port, secure })
    }

    /// Whether the controller itself reaches the registry, and how long that took.
    async fn reaches(address: &RegistryAddress) -> Option<Duration> {
        let started = Instant::now();
        let connect = tokio::net::TcpStream::connect((address.host.as_str(), address.port));
        let answer = tokio::time::timeout(Duration::from_secs(DIRECT_SECONDS), connect).await;
        matches!(answer, Ok(Ok(_))).then(|| started.elapsed())
    }

    /// The way to the registry; fails where the target does not reach it.
    async fn way(&self, address: &RegistryAddress, cx: &TaskContext) -> Result<Way, ModuleError> {
        let controller = |connect| Way { from: "controller".to_owned(), connect, forward: None };
        match self.via {
            // Where nothing answers, the round trip says so in more words.
            Via::Direct => return Ok(controller(Self::reaches(address).await)),
            Via::Auto => {
                if let Some(took) = Self::reaches(address).await {
                    return Ok(controller(Some(took)));
                }
            }
            Via::Tunnel => {}
        }
        let endpoint = Endpoint::Tcp { host: address.host.clone(), port: address.port };
        // Of a delegated task that is the other host.
        let from = cx.shell.target().spec().name.clone();
        // The session to the target is no part of what is measured.
        cx.shell.target().connect().await?;
        let started = Instant::now();
        // The forward takes connections even where nothing listens behind it, so that is asked first.
        cx.shell.dial(&endpoint).await.map(drop).map_err(|e| {
            let failed = Row { step: "connect", ms: None, answer: UNSERVED };
            ModuleError::failed(format!("the registry at {address} does not answer from {from}: {e}"))
                .hint("is the registry running, does a firewall refuse its port to that host, and does the name mean the same there?")
                .with_result(Map::from_iter([("steps".to_owned(), rows(&from, &[failed]))]))
        })?;
        let connect = Some(started.elapsed());
        let forward = Some(cx.shell.forward(endpoint).await?);
        Ok(Way { from, connect, forward })
    }

    /// What somebody without a login must get, and did not.
    fn judge(&self, image: &str, open: bool) -> Result<(), ModuleError> {
        match (self.anonymous, open) {
            (Anonymous::Allowed, false) => Err(ModuleError::failed(format!(
                "{image} cannot be pulled without a login"
            ))
            .hint("make the repository public (quay_repository, visibility: public), and FEATURE_ANONYMOUS_ACCESS must not be off")),
            (Anonymous::Refused, true) => Err(ModuleError::failed(format!(
                "{image} can be pulled without a login"
            ))
            .hint("make the repository private (quay_repository, visibility: private)")),
            _ => Ok(()),
        }
    }
}

/// The way to a registry.
struct Way {
    /// Where it begins: `controller`, or the target's name.
    from: String,
    connect: Option<Duration>,
    /// It lives as long as the check does.
    forward: Option<Forward>,
}

/// A line of the table of what was asked.
struct Row {
    step: &'static str,
    ms: Option<u64>,
    answer: &'static str,
}

/// What a table says of a step that failed; the message says why.
const UNSERVED: &str = "does not serve";

fn rows(from: &str, rows: &[Row]) -> Value {
    rows.iter()
        .map(|r| json!({"asked": "registry", "from": from, "step": r.step, "ms": r.ms, "answer": r.answer}))
        .collect()
}

fn milliseconds(took: Duration) -> u64 {
    u64::try_from(took.as_millis()).unwrap_or(u64::MAX)
}

/// The times of each step, as `STEP_ms` and as the lines of a table.
fn told(way: &Way, times: &[Timed], failed: Option<Part>) -> Map {
    let connect = way.connect.map(|took| Row { step: "connect", ms: Some(milliseconds(took)), answer: "" });
    let done = times.iter().map(|t| Row { step: t.part.name(), ms: Some(t.milliseconds), answer: t.answer });
    let broken = failed.map(|part| Row { step: part.name(), ms: None, answer: UNSERVED });
    let all: Vec<Row> = connect.into_iter().chain(done).chain(broken).collect();
    let mut result = Map::new();
    for row in &all {
        if let Some(ms) = row.ms {
            result.insert(format!("{}_ms", row.step.replace(' ', "_")), json!(ms));
        }
    }
    result.insert("from".to_owned(), json!(way.from));
    result.insert("steps".to_owned(), rows(&way.from, &all));
    result
}

#[async_trait]
impl Action for RegistryCheck {
    const NAME: &'static str = "registry_check";
    const FQCN: &'static [&'static str] = &["quaylab.lab.registry_check"];
    const CHECK: CheckMode = CheckMode::Skips;

    fn validate(&self) -> Result<(), ModuleError> {
        if self.username.is_some() != self.password.is_some() {
            return Err(ModuleError::Arguments("username and password go together".into()));
        }
        self.address().map(drop)
    }

    async fn run(self, cx: &TaskContext) -> Result<Outcome, ModuleError> {
        let address = self.address()?;
        let way = self.way(&address, cx).await?;
        let dialled: Option<SocketAddr> = way.forward.as_ref().map(|f| f.address);
        let trip = RoundTrip {
            address: address.clone(),
            dialled,
            credentials: self.username.clone().zip(self.password.clone()),
            repository: self.repository.clone(),
            tag: self.tag.clone(),
            delete: self.delete,
            verify_certificates: self.validate_certs,
            authority: self.ca_cert.clone().filter(|pem| !pem.is_empty()),
            anonymous: true,
            timeout: Duration::from_secs(self.timeout),
        };
        let mut times = Vec::new();
        let report = round_trip(&trip, &mut times).await.map_err(|e| {
            let message = if dialled.is_some() { format!("from {}: {e}", way.from) } else { e.to_string() };
            ModuleError::failed(message).hint(e.hint()).with_result(told(&way, &times, Some(e.part())))
        })?;
        let image = format!("{address}/{}:{}", self.repository, self.tag);
        let open = report.anonymous.unwrap_or(false);
        let mut result = told(&way, &times, None);
        self.judge(&image, open).map_err(|e| e.with_result(result.clone()))?;
        result.extend([
            ("anonymous_pull".to_owned(), json!(open)),
            ("url".to_owned(), json!(self.url)),
            ("image".to_owned(), json!(image)),
            ("digest".to_owned(), json!(report.digest)),
            ("via".to_owned(), json!(if dialled.is_some() { "tunnel" } else { "direct" })),
        ]);
        if let Some(deleted) = report.deleted {
            result.insert("deleted".into(), json!(deleted));
        }
        Ok(Outcome::ok(result))
    }
}
