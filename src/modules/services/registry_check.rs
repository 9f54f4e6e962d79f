use std::net::SocketAddr;
use std::time::Duration;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use crate::host::{Endpoint, Secret};
use crate::modules::{Action, CheckMode, ModuleError, Outcome, TaskContext};
use crate::quay::http::authority;
use crate::quay::{RegistryAddress, RoundTrip, round_trip};
use crate::value::Map;

/// Pushes a small image to a registry from the controller, pulls it again and compares.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RegistryCheck {
    /// `http://HOST:PORT` or `https://HOST:PORT`.
    url: String,
    #[serde(alias = "user")]
    username: Option<String>,
    #[serde(default, deserialize_with = "super::words::secret")]
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
    #[serde(default = "yes")]
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

fn yes() -> bool {
    true
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

    /// Whether the controller itself reaches the registry.
    async fn reaches(address: &RegistryAddress) -> bool {
        let connect = tokio::net::TcpStream::connect((address.host.as_str(), address.port));
        matches!(tokio::time::timeout(Duration::from_secs(DIRECT_SECONDS), connect).await, Ok(Ok(_)))
    }
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
        let tunnelled = match self.via {
            Via::Direct => false,
            Via::Tunnel => true,
            Via::Auto => !Self::reaches(&address).await,
        };
        // The forward lives as long as the check does.
        let forward = if tunnelled {
            let endpoint = Endpoint::Tcp { host: address.host.clone(), port: address.port };
            Some(cx.shell.forward(endpoint).await?)
        } else {
            None
        };
        let dialled: Option<SocketAddr> = forward.as_ref().map(|f| f.address);
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
        let report =
            round_trip(&trip).await.map_err(|e| ModuleError::failed(e.to_string()).hint(e.hint()))?;
        let image = format!("{address}/{}:{}", self.repository, self.tag);
        let open = report.anonymous.unwrap_or(false);
        match (self.anonymous, open) {
            (Anonymous::Allowed, false) => {
                return Err(ModuleError::failed(format!("{image} cannot be pulled without a login"))
                    .hint("make the repository public (quay_repository, visibility: public), and FEATURE_ANONYMOUS_ACCESS must not be off"));
            }
            (Anonymous::Refused, true) => {
                return Err(ModuleError::failed(format!("{image} can be pulled without a login"))
                    .hint("make the repository private (quay_repository, visibility: private)"));
            }
            _ => {}
        }
        let mut result = Map::from_iter([
            ("anonymous_pull".to_owned(), json!(open)),
            ("url".to_owned(), json!(self.url)),
            ("image".to_owned(), json!(image)),
            ("digest".to_owned(), json!(report.digest)),
            ("via".to_owned(), json!(if tunnelled { "tunnel" } else { "direct" })),
            ("login_ms".to_owned(), json!(report.login_ms)),
            ("push_ms".to_owned(), json!(report.push_ms)),
            ("pull_ms".to_owned(), json!(report.pull_ms)),
        ]);
        if let Some(deleted) = report.deleted {
            result.insert("deleted".into(), json!(deleted));
        }
        Ok(Outcome::ok(result))
    }
}
