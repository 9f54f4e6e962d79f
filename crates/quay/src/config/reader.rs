use std::fmt;
use std::sync::Arc;

use super::finding::{Finding, Severity};
use super::mend::Mend;
use super::model::Service;
use super::version::QuayVersion;
use crate::diag::{Diagnostic, Origin, SourceFile};
use crate::yaml::{Kind, Mapping, Node};

/// A file beside the configuration, by its name; `None` where there is none.
pub type Beside<'a> = &'a dyn Fn(&str) -> Option<Vec<u8>>;

/// For whom a configuration is checked.
#[derive(Clone, Copy, Default)]
pub struct Circumstances<'a> {
    pub version: QuayVersion,
    /// The files beside it; without them nothing is said of files that may be missing.
    pub beside: Option<Beside<'a>>,
}

impl fmt::Debug for Circumstances<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Circumstances").field("version", &self.version).finish_non_exhaustive()
    }
}

/// A configuration that is being read, and what was noticed on the way.
pub(super) struct Reader<'a> {
    pub(super) root: &'a Mapping,
    pub(super) source: &'a Arc<SourceFile>,
    pub(super) circumstances: Circumstances<'a>,
    pub(super) findings: Vec<Finding>,
    pub(super) services: Vec<Service>,
}

impl<'a> Reader<'a> {
    pub(super) fn error(&mut self, diagnostic: Diagnostic) {
        self.say(Severity::Error, diagnostic, None);
    }

    pub(super) fn warning(&mut self, diagnostic: Diagnostic) {
        self.say(Severity::Warning, diagnostic, None);
    }

    pub(super) fn say(&mut self, severity: Severity, diagnostic: Diagnostic, mend: Option<Mend>) {
        self.findings.push(Finding { severity, diagnostic, mend });
    }

    /// Whether the version that is meant is this one or newer.
    pub(super) fn since(&self, minor: u16) -> bool {
        self.circumstances.version >= QuayVersion::of(minor)
    }

    /// A key's value, unless it is null.
    pub(super) fn get(&self, key: &str) -> Option<&'a Node> {
        self.root.get(key).filter(|node| !node.is_null())
    }

    pub(super) fn text(&self, key: &str) -> Option<(&'a str, &'a Origin)> {
        let node = self.get(key)?;
        Some((node.as_str()?, &node.origin))
    }

    pub(super) fn map(&self, key: &str) -> Option<(&'a Mapping, &'a Origin)> {
        let node = self.get(key)?;
        Some((node.as_map()?, &node.origin))
    }

    /// A switch; anything that is no boolean counts as not given, as it is reported elsewhere.
    pub(super) fn flag(&self, key: &str, default: bool) -> bool {
        match self.get(key).map(|n| &n.kind) {
            Some(Kind::Bool(on)) => *on,
            _ => default,
        }
    }

    /// The place of a key; what is missing has none.
    pub(super) fn place(&self, key: &str) -> Option<Origin> {
        self.root.entry(key).map(|(k, _)| k.origin.clone())
    }

    /// The place of a key that is there.
    pub(super) fn at(&self, key: &str) -> Origin {
        self.place(key).unwrap_or_else(|| Origin::synthetic(key))
    }

    /// Something to be said of a key that may be missing.
    pub(super) fn about(&self, key: &str, message: impl Into<String>) -> Diagnostic {
        Diagnostic { origin: self.place(key), ..Diagnostic::new(message) }
    }

    /// Says that a key is missing which another one makes necessary.
    pub(super) fn needs(&mut self, because: &str, key: &str, hint: &str) {
        if self.get(key).is_none_or(|node| node.as_str() == Some("")) {
            let said = self.about(because, format!("{because} needs {key}"));
            self.error(said.hint(hint));
        }
    }

    /// A scalar as it is written, without quotes that stand around it.
    pub(super) fn written(&self, node: &Node) -> String {
        let from = node.origin.column.saturating_sub(1) as usize;
        let line = self.source.line(node.origin.line).unwrap_or_default();
        line.chars().skip(from).take(node.origin.width as usize).collect()
    }

    /// A boolean that Quay's start takes for one as well: written as true or false, and not as yes or off.
    pub(super) fn plain_bool(&self, node: &Node) -> Option<bool> {
        let Kind::Bool(on) = node.kind else { return None };
        let written = self.written(node);
        // What is not written anywhere came by an alias or from JSON.
        let other = ["yes", "no", "on", "off"].iter().any(|word| written.eq_ignore_ascii_case(word));
        (!other).then_some(on)
    }

    /// What stands where true or false should.
    pub(super) fn found(&self, node: &Node) -> String {
        match node.kind {
            Kind::Bool(_) => format!("the word {}", self.written(node)),
            _ => node.type_name().to_owned(),
        }
    }

    /// Whether a file is known to be missing beside the configuration.
    pub(super) fn lacks(&self, name: &str) -> bool {
        self.circumstances.beside.is_some_and(|read| read(name).is_none())
    }

    /// A file beside the configuration, where somebody knows and it is there.
    pub(super) fn file(&self, name: &str) -> Option<Vec<u8>> {
        self.circumstances.beside.and_then(|read| read(name))
    }
}

/// A port of 1 to 65535, written as a number or as a string of digits.
pub(super) fn port(node: &Node) -> Option<u16> {
    match &node.kind {
        Kind::Int(number) => u16::try_from(*number).ok(),
        Kind::Str(text) => text.parse().ok(),
        _ => None,
    }
    .filter(|port| *port > 0)
}

/// What a scalar must mean that should have been true or false.
pub(super) fn meant_bool(node: &Node) -> Option<bool> {
    match (&node.kind, node.as_str()) {
        (Kind::Bool(on), _) => Some(*on),
        (_, Some(text)) => text.to_ascii_lowercase().parse().ok(),
        _ => None,
    }
}
