use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use bollard::query_parameters::InspectNetworkOptions;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use crate::diag::SourceFile;
use crate::engine;
use crate::host::ByteStream;
use crate::http::{Dial, HttpError};
use crate::quay::config::{Bundle, Checked, Severity, check};
use crate::quay::probe::{Answer, Probed, probe};
use crate::value::{Map, Value};
use crate::web::{FromTarget, trust};
use crate::{Action, CheckMode, ModuleError, Outcome, RemotePath, TaskContext};

/// Checks a configuration of Quay by Quay's own rules, and whether what it names answers where Quay will be.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct QuayConfigCheck {
    /// The configuration's text.
    content: Option<String>,
    /// The configuration on the target, instead of its text.
    path: Option<RemotePath>,
    /// The folder on the target that holds ssl.cert and ssl.key.
    bundle: Option<RemotePath>,
    /// Also ask the database, both Redis servers, the storage, Clair and the certificate. Not in check mode.
    #[serde(default)]
    probe: bool,
    /// The container network on which Quay will be: names of its containers mean their addresses there.
    network: Option<String>,
    /// The certificates (PEM) that are believed where something is probed over TLS; by default the system's.
    ca_cert: Option<String>,
    /// Seconds that each answer may take.
    #[serde(default = "default_timeout")]
    timeout: u64,
    /// The engine's address as the target sees it.
    docker_host: Option<String>,
}

fn default_timeout() -> u64 {
    10
}

/// Connections that the target opens, to containers by their names on a network.
struct FromNetwork {
    target: FromTarget,
    addresses: HashMap<String, String>,
}

#[async_trait]
impl Dial for FromNetwork {
    async fn dial(&self, host: &str, port: u16) -> Result<Box<dyn ByteStream>, HttpError> {
        let address = self.addresses.get(host).map_or(host, String::as_str);
        let named = |e: HttpError| {
            if address == host { e } else { HttpError(format!("{} ({host} on that network)", e.0)) }
        };
        self.target.dial(address, port).await.map_err(named)
    }
}

impl QuayConfigCheck {
    async fn file(&self, cx: &TaskContext, name: &str) -> Option<Vec<u8>> {
        let folder = self.bundle.as_ref()?;
        // What cannot be read is missing for Quay as well.
        cx.shell.read_file(folder.join(name).as_str()).await.ok()
    }

    async fn dial(&self, cx: &TaskContext) -> Result<FromNetwork, ModuleError> {
        let mut addresses = HashMap::new();
        if let Some(network) = &self.network {
            let docker = engine::connect(cx, self.docker_host.as_deref()).await?;
            let answer = docker.inspect_network(network, None::<InspectNetworkOptions>).await;
            let found = engine::found(answer)
                .map_err(|e| engine::failure(&format!("looking for the network {network}"), &e))?;
            let containers = found.and_then(|n| n.containers).unwrap_or_default();
            addresses = containers
                .into_values()
                .filter_map(|c| Some((c.name?, c.ipv4_address?.split('/').next()?.to_owned())))
                .filter(|(_, address)| !address.is_empty())
                .collect();
        }
        Ok(FromNetwork { target: FromTarget { shell: cx.shell.clone(), unix_socket: None }, addresses })
    }
}

/// Everything that is wrong, as one text.
fn refusal(checked: &Checked) -> String {
    let errors: Vec<String> = checked
        .findings
        .iter()
        .filter(|f| f.severity == Severity::Error)
        .map(|f| f.diagnostic.to_string())
        .collect();
    let count = errors.len();
    let plural = if count == 1 { "error" } else { "errors" };
    format!("Quay would refuse its configuration, {count} {plural}:\n{}", errors.join("\n"))
}

fn shown(probed: &Probed) -> Value {
    let (serves, said) = match &probed.answer {
        Answer::Serves(said) => (json!(true), said),
        Answer::But { found, .. } => (json!(true), found),
        Answer::Fails { why, .. } => (json!(false), why),
        Answer::NotAsked(why) => (Value::Null, why),
    };
    json!({
        "key": probed.key, "place": probed.place, "serves": serves, "said": said,
        "milliseconds": probed.milliseconds,
    })
}

#[async_trait]
impl Action for QuayConfigCheck {
    const NAME: &'static str = "quay_config_check";
    const FQCN: &'static [&'static str] = &["quaylab.lab.quay_config_check"];
    const CHECK: CheckMode = CheckMode::Runs;

    fn validate(&self) -> Result<(), ModuleError> {
        if self.content.is_some() == self.path.is_some() {
            return Err(ModuleError::Arguments("give one of content and path".into()));
        }
        Ok(())
    }

    async fn run(self, cx: &TaskContext) -> Result<Outcome, ModuleError> {
        let (name, text) = match (&self.content, &self.path) {
            (Some(text), _) => ("config.yaml".to_owned(), text.clone()),
            (None, Some(path)) => {
                let bytes = cx.shell.read_file(path.as_str()).await?;
                (path.to_string(), String::from_utf8_lossy(&bytes).into_owned())
            }
            (None, None) => return Err(ModuleError::Arguments("give one of content and path".into())),
        };
        let bundle = Bundle {
            place: self
                .bundle
                .as_ref()
                .map_or_else(|| "the configuration's folder".into(), ToString::to_string),
            certificate: self.file(cx, "ssl.cert").await,
            key: self.file(cx, "ssl.key").await,
        };
        let checked = check(&SourceFile::new(name, text), &bundle, Timestamp::now());
        if checked.errors() > 0 {
            return Err(ModuleError::failed(refusal(&checked))
                .hint("change the variables that it is made from; quaylab quay-config check FILE says the same of a file"));
        }
        let mut warnings: Vec<String> = checked.findings.iter().map(|f| f.diagnostic.to_string()).collect();
        let mut result = Map::from_iter([
            ("errors".to_owned(), json!(checked.errors())),
            ("warnings_found".to_owned(), json!(checked.warnings())),
        ]);
        if self.probe && !cx.mode.check {
            let trust = trust(true, self.ca_cert.as_deref())?;
            let dial = self.dial(cx).await?;
            let wait = Duration::from_secs(self.timeout.max(1));
            let probed = probe(&checked.config, &dial, &trust, wait).await;
            result.insert("probes".to_owned(), probed.iter().map(shown).collect());
            let failed: Vec<&Probed> = probed.iter().filter(|p| p.failed()).collect();
            if let Some(first) = failed.first() {
                let lines = failed.iter().map(|p| match &p.answer {
                    Answer::Fails { why, .. } => format!("{} ({}): {why}", p.key, p.place),
                    _ => String::new(),
                });
                let text = lines.collect::<Vec<_>>().join("\n");
                let hint = match &first.answer {
                    Answer::Fails { hint, .. } => hint.clone(),
                    _ => String::new(),
                };
                let said = format!("what Quay's configuration names does not serve it:\n{text}");
                return Err(ModuleError::failed(said).hint(hint).with_result(result));
            }
            warnings.extend(probed.iter().filter_map(|p| match &p.answer {
                Answer::But { found, hint } => Some(format!("{} ({}): {found}; {hint}", p.key, p.place)),
                _ => None,
            }));
        }
        Ok(Outcome { result, warnings, ..Outcome::default() })
    }
}
