use std::fmt;
use std::sync::Arc;

/// A text that a person wrote, with the name under which it is shown.
#[derive(Debug, PartialEq, Eq)]
pub struct SourceFile {
    /// The path as the user gave it, or a name in angle brackets for what is not a file.
    pub name: String,
    /// The whole text.
    pub text: String,
}

impl SourceFile {
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Arc<Self> {
        Arc::new(Self { name: name.into(), text: text.into() })
    }

    /// The line with this 1-based number, without its line end.
    pub fn line(&self, number: u32) -> Option<&str> {
        self.text.lines().nth(number.checked_sub(1)? as usize)
    }
}

/// A place in a source: file, line, column and the width of what stands there.
#[derive(Clone, PartialEq, Eq)]
pub struct Origin {
    pub file: Arc<SourceFile>,
    /// 1-based.
    pub line: u32,
    /// 1-based, counted in characters.
    pub column: u32,
    /// In characters, at least 1.
    pub width: u32,
}

impl Origin {
    pub fn new(file: &Arc<SourceFile>, line: u32, column: u32, width: u32) -> Self {
        Self { file: Arc::clone(file), line, column, width: width.max(1) }
    }

    /// The origin of what no file holds: an option on the command line, a default.
    pub fn synthetic(name: impl Into<String>) -> Self {
        Self::new(&SourceFile::new(name, ""), 1, 1, 1)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.file.text.is_empty() {
            f.write_str(&self.file.name)
        } else {
            write!(f, "{}:{}:{}", self.file.name, self.line, self.column)
        }
    }
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
