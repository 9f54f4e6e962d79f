use std::sync::Arc;

use jiff::Timestamp;

use super::certificate::Bundle;
use super::finding::{Finding, Severity};
use super::model::QuayConfig;
use super::reader::{Circumstances, Reader};
use super::{address, database, first_start, login, logs, redis, rules, scanner, secrets, shapes, storage};
use crate::diag::{Diagnostic, SourceFile};
use crate::yaml;

/// What a configuration says, and what is wrong with it.
#[derive(Debug, Clone, Default)]
pub struct Checked {
    pub config: QuayConfig,
    /// In the order of the file. Secrets are hidden in the lines that they show.
    pub findings: Vec<Finding>,
}

impl Checked {
    pub fn errors(&self) -> usize {
        self.findings.iter().filter(|f| f.severity == Severity::Error).count()
    }

    pub fn warnings(&self) -> usize {
        self.findings.len() - self.errors()
    }
}

/// Checks a configuration as the start of the newest Quay would, without asking anything that it names.
pub fn check(file: &Arc<SourceFile>, bundle: &Bundle, now: Timestamp) -> Checked {
    check_for(file, bundle, now, Circumstances::default())
}

/// Checks a configuration as the start of a Quay of some version would, with what stands beside it.
///
/// An error is what stops that start or leaves a registry to which nothing can be pushed; the rest are warnings. What
/// only a server's answer decides is neither: it stands in the configuration's `services`.
pub fn check_for(
    file: &Arc<SourceFile>,
    bundle: &Bundle,
    now: Timestamp,
    circumstances: Circumstances<'_>,
) -> Checked {
    let wrong = |diagnostic| Finding { severity: Severity::Error, diagnostic, mend: None };
    let (document, twice) = match yaml::load_one(file) {
        Ok(loaded) => loaded,
        Err(diagnostic) => {
            let mut findings = vec![wrong(diagnostic)];
            hide(&mut findings, &secrets::hide(file, None));
            return Checked { findings, ..Checked::default() };
        }
    };
    let mut checked = if let Some(root) = document.as_map() {
        let mut reader =
            Reader { root, source: file, circumstances, findings: Vec::new(), services: Vec::new() };
        for said in twice {
            // Quay's Python takes the last one, but its own check at the start refuses the file.
            reader.error(said.hint("take one of them out"));
        }
        let config = read(&mut reader, bundle, now);
        Checked { config, findings: reader.findings }
    } else {
        let said = Diagnostic::new(format!("config.yaml is a mapping of keys, not {}", document.type_name()));
        let diagnostic = said.at(&document.origin).hint("each line is KEY: value");
        Checked { findings: vec![wrong(diagnostic)], ..Checked::default() }
    };
    checked.findings.sort_by_key(|f| f.diagnostic.origin.as_ref().map(|o| (o.line, o.column)));
    hide(&mut checked.findings, &secrets::hide(file, Some(&document)));
    checked
}

/// Lets every finding show the lines in which secrets are hidden.
fn hide(findings: &mut [Finding], hidden: &Arc<SourceFile>) {
    for origin in findings.iter_mut().filter_map(|f| f.diagnostic.origin.as_mut()) {
        origin.file = Arc::clone(hidden);
    }
}

fn read(reader: &mut Reader<'_>, bundle: &Bundle, now: Timestamp) -> QuayConfig {
    shapes::read(reader);
    rules::read(reader);
    let address = address::read(reader, bundle, now);
    let database = database::read(reader);
    let (build_logs, user_events) = redis::read(reader);
    let storage = storage::read(reader);
    let scanner = scanner::read(reader);
    login::read(reader);
    logs::read(reader);
    first_start::read(reader);
    let services = std::mem::take(&mut reader.services);
    QuayConfig { address, database, build_logs, user_events, storage, scanner, services }
}
