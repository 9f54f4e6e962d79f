use std::path::{Path, PathBuf};

use async_trait::async_trait;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use crate::host::Secret;
use crate::lab::write_private;
use crate::quay::authority::{Certified, is_pair, issue, make_authority};
use crate::quay::config::Leaf;
use crate::store::Turn;
use crate::value::Map;
use crate::{Diff, ModuleError, Plan, Resource, RunMode, TaskContext};

/// A server's certificate from the lab's own authority. Both are made on the controller and kept there with the lab's
/// other secrets; a certificate is renewed before it ends, or when its names change.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct LabCertificate {
    /// The server's names and addresses; the first names its files.
    names: Vec<String>,
    #[serde(default = "ninety")]
    days: i64,
    /// Renew it when less than this many days are left.
    #[serde(default = "thirty")]
    renew_before_days: i64,
    /// How long the authority itself is valid.
    #[serde(default = "ten_years")]
    authority_days: i64,
    /// Make a new certificate although the old one is good.
    #[serde(default)]
    force: bool,
    #[serde(skip)]
    folder: PathBuf,
    #[serde(skip)]
    authority: String,
}

fn ninety() -> i64 {
    90
}

fn thirty() -> i64 {
    30
}

fn ten_years() -> i64 {
    3650
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// The authority's certificate, where it is still of use.
    authority: Option<String>,
    certificate: Option<Leaf>,
    until: Option<Timestamp>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    MakeAuthority,
    Issue,
}

impl LabCertificate {
    fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn named(&self, ending: &str) -> PathBuf {
        let first = self.names.first().map_or("server", String::as_str);
        self.file(&format!("{first}.{ending}"))
    }

    fn read(path: &Path) -> Option<String> {
        // What cannot be read is made anew.
        std::fs::read_to_string(path).ok()
    }

    /// What stands. A certificate and a key that are not of each other are what a run left that was broken off between the
    /// two: they are made anew.
    fn found(&self, now: Timestamp) -> Found {
        let pair =
            |certificate: &str, key: PathBuf| Self::read(&key).is_some_and(|key| is_pair(certificate, &key));
        let authority = Self::read(&self.file("ca.pem")).filter(|pem| {
            let lasts = Leaf::read_pem(pem.as_bytes()).is_ok_and(|ca| !ca.ends_within(self.days, now));
            lasts && pair(pem, self.file("ca.key"))
        });
        let chain = Self::read(&self.named("cert")).filter(|pem| pair(pem, self.named("key")));
        // One that another authority signed is of no use.
        let chain = chain.filter(|c| authority.as_ref().is_some_and(|ca| c.contains(ca.trim())));
        let certificate = chain.and_then(|c| Leaf::read_pem(c.as_bytes()).ok());
        let until = certificate.as_ref().map(|leaf| leaf.not_after);
        Found { authority, certificate, until }
    }

    /// Why the certificate must be made, if it must.
    fn reason(&self, now: &Found, at: Timestamp) -> Option<String> {
        let mut wanted: Vec<String> = self.names.iter().map(|n| n.to_ascii_lowercase()).collect();
        wanted.sort();
        match &now.certificate {
            None => Some("absent".into()),
            Some(leaf) => {
                let mut names = leaf.names.clone();
                names.sort();
                if names != wanted {
                    Some(format!("for {}", leaf.names.join(", ")))
                } else if leaf.ends_within(self.renew_before_days, at) {
                    Some(format!("until {}", leaf.not_after.strftime("%Y-%m-%d")))
                } else {
                    self.force.then(|| "present".to_owned())
                }
            }
        }
    }
}

fn failed(what: &str, why: &str) -> ModuleError {
    ModuleError::failed(format!("{what}: {why}"))
}

#[async_trait]
impl Resource for LabCertificate {
    const NAME: &'static str = "lab_certificate";
    const FQCN: &'static [&'static str] = &["quaylab.lab.lab_certificate"];
    type Observed = Found;
    type Step = Step;

    fn validate(&self) -> Result<(), ModuleError> {
        if self.names.iter().all(|n| n.trim().is_empty()) {
            return Err(ModuleError::Arguments("names: a certificate needs a name".into()));
        }
        if let Some(name) = self
            .names
            .iter()
            .find(|n| n.contains('/') || n.starts_with('.') || n.chars().any(char::is_control))
        {
            return Err(ModuleError::Arguments(format!(
                "names: {name:?} is neither a host's name nor an address"
            )));
        }
        if self.days <= self.renew_before_days {
            return Err(ModuleError::Arguments(
                "days must be more than renew_before_days, or it would be renewed each time".into(),
            ));
        }
        Ok(())
    }

    async fn prepare(&mut self, cx: &TaskContext) -> Result<(), ModuleError> {
        self.folder = cx.controller.state_dir().join("tls");
        self.authority = format!("quaylab {}", cx.controller.lab());
        Ok(())
    }

    async fn observe(&self, _cx: &TaskContext) -> Result<Found, ModuleError> {
        Ok(self.found(Timestamp::now()))
    }

    fn plan(&self, now: &Found, _: RunMode) -> Result<Plan<Step>, ModuleError> {
        let mut steps = Vec::new();
        steps.extend(now.authority.is_none().then_some(Step::MakeAuthority));
        let Some(before) = self.reason(now, Timestamp::now()) else {
            return Ok(Plan::new(steps, Vec::new()));
        };
        steps.push(Step::Issue);
        let title = format!("certificate of {}", self.names.join(", "));
        let after = format!("for {}, {} days\n", self.names.join(", "), self.days);
        Ok(Plan::new(steps, vec![Diff::new(&title, format!("{before}\n"), after)]))
    }

    async fn apply(&self, step: &Step, _cx: &TaskContext) -> Result<(), ModuleError> {
        let now = Timestamp::now();
        let keep = |path: PathBuf, text: &str| {
            write_private(&path, text.as_bytes()).map_err(|e| ModuleError::failed(e.to_string()))
        };
        // Somebody else may have made it since it was looked for: what stands is used, and both get the same.
        let _turn = Turn::in_folder(&self.folder)
            .map_err(|e| failed("locking the lab's certificates", &e.to_string()))?;
        let found = self.found(now);
        match step {
            Step::MakeAuthority if found.authority.is_some() => Ok(()),
            Step::MakeAuthority => {
                let made = make_authority(&self.authority, self.authority_days, now)
                    .map_err(|e| failed("making the lab's authority", &e))?;
                keep(self.file("ca.key"), &made.key.0)?;
                keep(self.file("ca.pem"), &made.certificate)
            }
            Step::Issue if self.reason(&found, now).is_none() => Ok(()),
            Step::Issue => {
                let missing = || failed("making the certificate", "the lab's authority is gone");
                let signer = Certified {
                    certificate: Self::read(&self.file("ca.pem")).ok_or_else(missing)?,
                    key: Secret(Self::read(&self.file("ca.key")).ok_or_else(missing)?),
                };
                let made = issue(&self.authority, &signer, &self.names, self.days, now)
                    .map_err(|e| failed("making the certificate", &e))?;
                keep(self.named("key"), &made.key.0)?;
                keep(self.named("cert"), &made.certificate)
            }
        }
    }

    fn result(&self, after: &Found) -> Map {
        let path = |path: PathBuf| json!(path.display().to_string());
        Map::from_iter([
            ("authority".to_owned(), path(self.file("ca.pem"))),
            // In check mode an authority that is yet to be made does not stand.
            ("authority_stands".to_owned(), json!(after.authority.is_some())),
            ("certificate".to_owned(), path(self.named("cert"))),
            ("key".to_owned(), path(self.named("key"))),
            ("until".to_owned(), json!(after.until.map(|u| u.strftime("%Y-%m-%d").to_string()))),
        ])
    }
}
