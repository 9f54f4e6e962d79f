use super::finding::{Finding, Severity};
use crate::diag::{Diagnostic, Origin};
use crate::yaml::{Kind, Mapping, Node};

/// A configuration that is being read, and what was noticed on the way.
pub(super) struct Reader<'a> {
    pub(super) root: &'a Mapping,
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

    /// The place of a key; what is missing has none.
    pub(super) fn place(&self, key: &str) -> Option<Origin> {
        self.root.entry(key).map(|(k, _)| k.origin.clone())
    }

    /// The place of a key that is there.
    pub(super) fn at(&self, key: &str) -> Origin {
        self.place(key).unwrap_or_else(|| Origin::synthetic(key))
    }

    /// Says that a key is missing which another one makes necessary.
    pub(super) fn needs(&mut self, because: &str, key: &str, hint: &str) {
        if self.get(key).is_none() {
            let said = Diagnostic {
                origin: self.place(because),
                ..Diagnostic::new(format!("{because} needs {key}"))
            };
            self.error(said.hint(hint));
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
