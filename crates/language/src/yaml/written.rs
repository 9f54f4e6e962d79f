use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use crate::diag::SourceFile;

/// A text that a person wrote into a source: a playbook, an inventory, a file of variables, an option. It may hold a
/// template, which runs on the controller.
///
/// Only what reads a source makes one, out of that source. There is no way to it from a known value, so that what a
/// target has printed cannot become a template again.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Written(Arc<str>);

impl Written {
    /// A text that a parser has read out of a source, its quotes and escapes resolved.
    pub(crate) fn read(text: impl Into<String>, _source: &Arc<SourceFile>) -> Self {
        Self(text.into().into())
    }

    /// A text of the program's own.
    pub(super) fn own(text: &'static str) -> Self {
        Self(text.into())
    }

    /// A piece of this text.
    #[expect(clippy::unused_self, reason = "a written text is what gives the right to make another")]
    pub(crate) fn part(&self, text: impl Into<String>) -> Self {
        Self(text.into().into())
    }

    /// The template that stands for this text where an expression may be written bare, as in `debug: var=`.
    pub(crate) fn as_expression(&self) -> Self {
        if self.0.contains("{{") { self.clone() } else { Self(format!("{{{{ {} }}}}", self.0).into()) }
    }
}

impl Deref for Written {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
impl From<&str> for Written {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    /// All Rust sources below a folder.
    fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).expect("a folder").map(|e| e.expect("an entry").path()) {
            if entry.is_dir() {
                sources(&entry, found);
            } else if entry.extension().is_some_and(|ending| ending == "rs") {
                found.push(entry);
            }
        }
    }

    #[test]
    fn parsers_of_sources_alone_make_written_texts() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let mut all = Vec::new();
        sources(&root, &mut all);
        assert!(all.len() > 80, "only {} sources were looked at", all.len());
        for path in all {
            let place = path.strip_prefix(&root).expect("below it").display().to_string();
            let text = std::fs::read_to_string(&path).expect("a source");
            let parser = place.starts_with("yaml/") || place.starts_with("inventory/");
            assert!(parser || !text.contains("Written::read"), "{place} makes a template out of a text");
        }
    }
}
