use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::host::{Script, quote};
use crate::value::Value;
use crate::{Action, CheckMode, ModuleError, Outcome, TaskContext, Touch};

use super::execution::{Execution, split};

/// A program with its arguments, run without a shell's meanings.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Command {
    /// The command line.
    #[serde(rename = "_raw_params", alias = "free_form")]
    raw: Option<String>,
    /// The command line.
    cmd: Option<String>,
    /// The program and its arguments, one by one.
    argv: Option<Vec<String>>,
    chdir: Option<String>,
    /// Do not run where this file (or glob) is.
    creates: Option<String>,
    /// Do not run where this file (or glob) is not.
    removes: Option<String>,
    stdin: Option<Value>,
    #[serde(default = "crate::args::yes")]
    stdin_add_newline: bool,
    #[serde(default = "crate::args::yes")]
    strip_empty_ends: bool,
    /// Fill in `$NAME` and `~` as the target has them.
    #[serde(default = "crate::args::yes")]
    expand_argument_vars: bool,
}

#[async_trait]
impl Action for Command {
    const NAME: &'static str = "command";
    const FQCN: &'static [&'static str] = &["ansible.builtin.command", "ansible.legacy.command"];
    const FREE_FORM: bool = true;
    const CHECK: CheckMode = CheckMode::Runs;
    const TOUCH: Touch = Touch::Shell;

    fn validate(&self) -> Result<(), ModuleError> {
        let given = [self.raw.is_some(), self.cmd.is_some(), self.argv.is_some()];
        match given.iter().filter(|g| **g).count() {
            0 => Err(ModuleError::Arguments("no command given".into())),
            1 => Ok(()),
            _ => Err(ModuleError::Arguments("only command or argv can be given, not both".into())),
        }
    }

    fn ahead(&self, cx: &TaskContext) -> Option<Script> {
        self.clone().execution().ok()?.look(cx)
    }

    async fn run(self, cx: &TaskContext) -> Result<Outcome, ModuleError> {
        self.execution()?.run(cx).await
    }
}

impl Command {
    fn execution(self) -> Result<Execution, ModuleError> {
        let line = self.raw.or(self.cmd).unwrap_or_default();
        let words = match self.argv {
            Some(argv) => argv,
            None => split(&line)?,
        };
        let Some(program) = words.first().filter(|p| !p.is_empty()) else {
            return Err(ModuleError::Arguments("no command given".into()));
        };
        let word = |w: &String| if self.expand_argument_vars { expandable(w) } else { quote(w) };
        let line = words.iter().map(word).collect::<Vec<_>>().join(" ");
        let program = word(program);
        // `exec` runs programs only: no keyword, assignment or builtin of the shell.
        let text = format!(
            "command -v -- {program} >/dev/null || {{ echo quaylab-skipped:missing >&2; exit 251; }}\nexec {line}"
        );
        Ok(Execution {
            text,
            cmd: words.into(),
            chdir: self.chdir,
            creates: self.creates,
            removes: self.removes,
            stdin: input(self.stdin, self.stdin_add_newline),
            strip_empty_ends: self.strip_empty_ends,
        })
    }
}

/// A command line with all of a shell's meanings.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Shell {
    /// The command line.
    #[serde(rename = "_raw_params", alias = "free_form")]
    raw: Option<String>,
    /// The command line.
    cmd: Option<String>,
    /// The shell, `/bin/sh` without it.
    executable: Option<String>,
    chdir: Option<String>,
    /// Do not run where this file (or glob) is.
    creates: Option<String>,
    /// Do not run where this file (or glob) is not.
    removes: Option<String>,
    stdin: Option<Value>,
    #[serde(default = "crate::args::yes")]
    stdin_add_newline: bool,
    #[serde(default = "crate::args::yes")]
    strip_empty_ends: bool,
}

#[async_trait]
impl Action for Shell {
    const NAME: &'static str = "shell";
    const FQCN: &'static [&'static str] = &["ansible.builtin.shell", "ansible.legacy.shell"];
    const FREE_FORM: bool = true;
    const CHECK: CheckMode = CheckMode::Runs;
    const TOUCH: Touch = Touch::Shell;

    fn validate(&self) -> Result<(), ModuleError> {
        match (&self.raw, &self.cmd) {
            (None, None) => Err(ModuleError::Arguments("no command given".into())),
            (Some(_), Some(_)) => Err(ModuleError::Arguments("the command is given twice".into())),
            _ => Ok(()),
        }
    }

    fn ahead(&self, cx: &TaskContext) -> Option<Script> {
        self.clone().execution().look(cx)
    }

    async fn run(self, cx: &TaskContext) -> Result<Outcome, ModuleError> {
        self.execution().run(cx).await
    }
}

impl Shell {
    fn execution(self) -> Execution {
        let line = self.raw.or(self.cmd).unwrap_or_default();
        let executable = self.executable.unwrap_or_else(|| "/bin/sh".into());
        Execution {
            text: format!("exec {} -c {}", quote(&executable), quote(&line)),
            cmd: line.into(),
            chdir: self.chdir,
            creates: self.creates,
            removes: self.removes,
            stdin: input(self.stdin, self.stdin_add_newline),
            strip_empty_ends: self.strip_empty_ends,
        }
    }
}

fn input(stdin: Option<Value>, newline: bool) -> Vec<u8> {
    stdin.map_or_else(Vec::new, |value| {
        let mut text = super::content::text_of(&value);
        if newline {
            text.push('\n');
        }
        text.into_bytes()
    })
}

/// Quotes a word but leaves `$NAME`, `${NAME}` and a leading `~` to the target; what is not set there stays as it is.
fn expandable(word: &str) -> String {
    let mut out = String::new();
    let mut rest = word;
    if word.starts_with('~') {
        let end = word.find('/').unwrap_or(word.len());
        if word[1..end].chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-') {
            out.push_str(&word[..end]);
            rest = &word[end..];
        }
    }
    let mut plain = String::new();
    while let Some(at) = rest.find('$') {
        plain.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        let inner =
            after.strip_prefix('{').and_then(|r| r.split_once('}')).map(|(name, _)| (name, name.len() + 2));
        let bare = || {
            let end = after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(after.len());
            (&after[..end], end)
        };
        let (name, used) = inner.unwrap_or_else(bare);
        if is_name(name) {
            if !plain.is_empty() {
                out.push_str(&quote(&plain));
                plain.clear();
            }
            let literal =
                if after.starts_with('{') { format!("\\${{{name}\\}}") } else { format!("\\${name}") };
            out.push_str(&format!("\"${{{name}-{literal}}}\""));
            rest = &after[used..];
        } else {
            plain.push('$');
            rest = after;
        }
    }
    plain.push_str(rest);
    if !plain.is_empty() || out.is_empty() {
        out.push_str(&quote(&plain));
    }
    out
}

fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_are_left_to_the_target() {
        for (word, expected) in [
            ("a b", "'a b'"),
            ("$HOME/x y", r#""${HOME-\$HOME}"'/x y'"#),
            ("a${X}b", r#"a"${X-\${X\}}"b"#),
            ("$(id)", "'$(id)'"),
            ("cost: 5$", "'cost: 5$'"),
            ("~/x", "~/x"),
            ("~a;b", "'~a;b'"),
            ("", "''"),
        ] {
            assert_eq!(expandable(word), expected, "{word}");
        }
    }
}
