use std::io::IsTerminal;

use super::visible;

/// The colours of a run's output, or none of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Palette {
    enabled: bool,
}

impl Palette {
    pub const PLAIN: Self = Self { enabled: false };
    pub const COLOURED: Self = Self { enabled: true };

    /// Colours where standard output is a terminal and neither `NO_COLOR` nor a dumb terminal forbids them.
    pub fn detect() -> Self {
        let set = |name: &str| std::env::var_os(name).is_some_and(|v| !v.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|t| t == "dumb");
        let forced = set("ANSIBLE_FORCE_COLOR") || set("CLICOLOR_FORCE");
        Self { enabled: !set("NO_COLOR") && (forced || (std::io::stdout().is_terminal() && !dumb)) }
    }

    /// The text made visible, in a colour: no escape sequence is in it but the colour's.
    fn paint(self, code: &str, text: &str) -> String {
        let text = visible(text);
        if self.enabled { format!("\x1b[{code}m{text}\x1b[0m") } else { text.into_owned() }
    }

    pub fn ok(self, text: &str) -> String {
        self.paint("32", text)
    }

    pub fn changed(self, text: &str) -> String {
        self.paint("33", text)
    }

    pub fn skipped(self, text: &str) -> String {
        self.paint("36", text)
    }

    pub fn failed(self, text: &str) -> String {
        self.paint("31", text)
    }

    pub fn warning(self, text: &str) -> String {
        self.paint("1;35", text)
    }

    pub fn heading(self, text: &str) -> String {
        self.paint("1", text)
    }

    pub fn faint(self, text: &str) -> String {
        self.paint("2", text)
    }
}
