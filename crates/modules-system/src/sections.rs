use std::collections::HashMap;

use crate::ModuleError;
use crate::host::{Reply, Script, Step};

/// The character that starts a section's heading: nothing that a probe prints holds it.
const HEADING: char = '\u{1e}';

/// What every probe starts with: `mark NAME` starts a section, `has PROGRAM` looks for one, and messages are English.
const PRELUDE: &str = "LC_ALL=C; export LC_ALL
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
mark() { printf '\\036%s\\n' \"$1\"; }
has() { command -v \"$1\" >/dev/null 2>&1; }
";

/// A probe that prints sections; it fails only by an `exit` of its own.
pub(super) fn probe(text: &str) -> Script {
    Script::new(format!("{PRELUDE}{text}\nexit 0"))
}

/// A step that runs one program.
pub(super) fn run<I, S>(argv: I) -> Step
where
    I: IntoIterator<Item = S>,
    S: Into<String>,
{
    Step::Run {
        argv: argv.into_iter().map(Into::into).collect(),
        stdin: Vec::new(),
        environment: vec![("LC_ALL".into(), "C".into())],
    }
}

/// A step that runs a script of the module's own, with the helpers of a probe.
pub(super) fn script(text: &str) -> Step {
    Step::Script { text: format!("{PRELUDE}{text}"), stdin: Vec::new() }
}

/// A probe's answer, cut at its headings.
#[derive(Debug)]
pub(super) struct Sections(HashMap<String, String>);

impl Sections {
    /// Fails when the probe itself did.
    pub(super) fn read(reply: &Reply) -> Result<Self, ModuleError> {
        if !reply.ok() {
            return Err(ModuleError::failed(format!(
                "looking at the host failed with status {}: {}",
                reply.status,
                reply.err().trim()
            )));
        }
        let out = reply.out();
        let mut sections = HashMap::new();
        for part in out.split(HEADING).skip(1) {
            let (name, body) = part.split_once('\n').unwrap_or((part, ""));
            sections.insert(name.to_owned(), body.to_owned());
        }
        Ok(Self(sections))
    }

    /// A section's text as it stands; empty when it is missing.
    pub(super) fn raw(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    /// A section's text without the spaces around it.
    pub(super) fn text(&self, name: &str) -> &str {
        self.raw(name).trim()
    }

    pub(super) fn lines(&self, name: &str) -> impl Iterator<Item = &str> {
        self.raw(name).lines().filter(|l| !l.trim().is_empty())
    }

    /// What follows a prefix in the names of sections.
    pub(super) fn named(&self, prefix: &str) -> Vec<String> {
        let mut names: Vec<String> =
            self.0.keys().filter_map(|k| k.strip_prefix(prefix)).map(str::to_owned).collect();
        names.sort();
        names
    }

    /// Whether a section says anything.
    pub(super) fn says(&self, name: &str) -> bool {
        !self.text(name).is_empty()
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }
}

#[cfg(test)]
pub(super) mod testing {
    use super::{Reply, Step};

    /// A reply as a probe would print it.
    pub(crate) fn answer(sections: &[(&str, &str)]) -> Reply {
        let text: String = sections.iter().map(|(name, body)| format!("\u{1e}{name}\n{body}\n")).collect();
        Reply { stdout: text.into_bytes(), ..Reply::default() }
    }

    /// Steps in one line each, for comparing.
    pub(crate) fn told(steps: &[Step]) -> Vec<String> {
        steps
            .iter()
            .map(|step| match step {
                Step::Run { argv, .. } => argv.join(" "),
                Step::Script { text, .. } => {
                    format!("script: {}", text.strip_prefix(super::PRELUDE).unwrap_or(text))
                }
                Step::WriteFile {
                    path,
                    content: crate::host::Content::Bytes(bytes) | crate::host::Content::Edited { bytes, .. },
                    ..
                } => {
                    format!("write {path}: {}", String::from_utf8_lossy(bytes))
                }
                other => format!("{other:?}"),
            })
            .collect()
    }

    /// Arguments of a module from JSON.
    pub(crate) fn args<T: serde::de::DeserializeOwned>(value: serde_json::Value) -> T {
        let serde_json::Value::Object(map) = value else { panic!("a mapping") };
        crate::from_args(map).expect("valid arguments")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_are_cut_at_headings() {
        let sections = Sections::read(&testing::answer(&[("a", "1\n\n2"), ("b", "")])).expect("a good reply");
        assert_eq!(sections.lines("a").collect::<Vec<_>>(), ["1", "2"]);
        assert!(sections.has("b") && !sections.has("c"));
        let broken = Reply { status: 3, stderr: b"no\n".to_vec(), ..Reply::default() };
        assert!(Sections::read(&broken).expect_err("a failure").to_string().ends_with("status 3: no"));
    }
}
