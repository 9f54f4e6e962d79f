use super::finding::{Finding, Severity};
use crate::diag::{Diagnostic, Origin};
use crate::yaml::{Kind, Mapping, Node};

/// A configuration that is being read, and what was noticed on the way.
pub(super) struct Reader<'a> {
    pub(super) root: &'a Mapping,
    /// Where the configuration begins: the place of what is missing from it.
    pub(super) start: Origin,
    pub(super) findings: Vec<Finding>,
}

impl<'a> Reader<'a> {
    pub(super) fn error(&mut self, diagnostic: Diagnostic) {
        self.findings.push(Finding { severity: Severity::Error, diagnostic });
    }

    pub(super) fn warning(&mut self, diagnostic: Diagnostic) {
        self.findings.push(Finding { severity: Severity::Warning, diagnostic });
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

    /// The place of a key, or of the whole where it is missing.
    pub(super) fn place(&self, key: &str) -> Origin {
        self.root.entry(key).map_or_else(|| self.start.clone(), |(k, _)| k.origin.clone())
    }

    /// Says that a key is missing which another one makes necessary.
    pub(super) fn needs(&mut self, because: &str, key: &str, hint: &str) {
        if self.get(key).is_none() {
            let at = self.place(because);
            self.error(Diagnostic::new(format!("{because} needs {key}")).at(&at).hint(hint));
        }
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
