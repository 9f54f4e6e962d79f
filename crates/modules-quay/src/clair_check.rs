use std::time::Instant;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use crate::host::Secret;
use crate::http::authority;
use crate::quay::clair::{Clair, ClairError, ISSUER, SharedKey};
use crate::sql::milliseconds;
use crate::value::Map;
use crate::web::{Web, trust, web};
use crate::{Action, CheckMode, ModuleError, Outcome, TaskContext};

/// Asks a Clair whether it serves and whether it takes the key that Quay shares with it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ClairCheck {
    /// Clair's address as the target sees it (`http://HOST:PORT`).
    url: String,
    /// The shared key in base64, as it stands in Clair's configuration.
    #[serde(default, alias = "key", deserialize_with = "crate::words::secret")]
    #[schemars(with = "Option<String>")]
    psk: Option<Secret>,
    /// Whom the question says that it is from.
    #[serde(default = "default_issuer")]
    issuer: String,
    #[serde(default = "crate::args::yes")]
    validate_certs: bool,
    /// The certificates (PEM) that are believed; by default the system's.
    ca_cert: Option<String>,
    /// Seconds that an answer may take.
    #[serde(default = "default_timeout")]
    timeout: u64,
}

fn default_issuer() -> String {
    ISSUER.into()
}

fn default_timeout() -> u64 {
    10
}

impl ClairCheck {
    fn key(&self) -> Result<Option<SharedKey>, ModuleError> {
        let given = self.psk.as_ref().filter(|psk| !psk.0.is_empty());
        given.map(SharedKey::read).transpose().map_err(|why| ModuleError::Arguments(format!("psk {why}")))
    }
}

#[async_trait]
impl Action for ClairCheck {
    const NAME: &'static str = "clair_check";
    const FQCN: &'static [&'static str] = &["quaylab.lab.clair_check"];
    const CHECK: CheckMode = CheckMode::Runs;

    fn validate(&self) -> Result<(), ModuleError> {
        let url: hyper::Uri =
            self.url.parse().map_err(|e| ModuleError::Arguments(format!("url {:?}: {e}", self.url)))?;
        authority(&url).map_err(|e| ModuleError::Arguments(format!("url: {}", e.0)))?;
        self.key().map(drop)
    }

    async fn run(self, cx: &TaskContext) -> Result<Outcome, ModuleError> {
        let client = Web {
            trust: trust(self.validate_certs, self.ca_cert.as_deref())?,
            ..web(cx, self.timeout.max(1), self.validate_certs)
        };
        let clair = Clair { endpoint: self.url.clone(), key: self.key()?, issuer: self.issuer, http: client };
        let started = Instant::now();
        let state = clair.index_state().await.map_err(|error| {
            let hint = error.hint();
            let from = match &error {
                ClairError::Unreachable { .. } => format!("{error} (from {})", cx.host),
                _ => error.to_string(),
            };
            ModuleError::failed(from).hint(hint)
        })?;
        let result = Map::from_iter([
            ("state".to_owned(), json!(state.state)),
            ("asks_for_a_key".to_owned(), json!(!state.open)),
            ("ms".to_owned(), json!(milliseconds(started))),
        ]);
        let warnings = if state.open && self.psk.is_some_and(|psk| !psk.0.is_empty()) {
            vec![format!(
                "Clair at {} answers without a key, so the one that was given is of no use",
                self.url
            )]
        } else {
            Vec::new()
        };
        Ok(Outcome { result, warnings, ..Outcome::default() })
    }
}
