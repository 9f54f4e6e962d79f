use std::time::Instant;

use jiff::Zoned;

use crate::host::{Reply, Script, quote};
use crate::value::{Map, Value};
use crate::{ModuleError, Outcome, TaskContext};

/// A command with what decides whether it runs.
pub(super) struct Execution {
    /// What `sh` runs.
    pub(super) text: String,
    /// What is registered as `cmd`.
    pub(super) cmd: Value,
    pub(super) chdir: Option<String>,
    /// A glob: run only where nothing matches.
    pub(super) creates: Option<String>,
    /// A glob: run only where something matches.
    pub(super) removes: Option<String>,
    pub(super) stdin: Vec<u8>,
    pub(super) strip_empty_ends: bool,
}

/// Statuses that no command of ours returns by chance, told apart by a line on standard error.
const SKIPPED: i32 = 251;
const MARK: &str = "quaylab-skipped:";

impl Execution {
    /// One script that looks at `creates` and `removes`, and runs the command if they say so.
    fn script(&self, cx: &TaskContext) -> Script {
        let mut text = self.conditions();
        if cx.mode.check {
            text.push_str("exit 0\n");
        } else {
            text.push_str(&self.text);
            text.push('\n');
        }
        Script { stdin: self.stdin.clone(), environment: cx.environment.clone(), ..Script::new(text) }
    }

    /// The conditions alone, where there are any: nothing is run by it.
    pub(super) fn look(&self, cx: &TaskContext) -> Option<Script> {
        (self.creates.is_some() || self.removes.is_some()).then(|| Script {
            environment: cx.environment.clone(),
            ..Script::new(self.conditions() + "exit 0\n")
        })
    }

    fn conditions(&self) -> String {
        let mut text = String::new();
        if let Some(chdir) = self.chdir.as_ref().filter(|folder| !folder.is_empty()) {
            text.push_str(&format!("cd {} || {{ echo '{MARK}chdir' >&2; exit {SKIPPED}; }}\n", quote(chdir)));
        }
        let matches =
            |pattern: &str| format!("for g in {}; do [ -e \"$g\" ] || [ -L \"$g\" ] &&", glob(pattern));
        if let Some(creates) = &self.creates {
            text.push_str(&format!(
                "{} {{ echo '{MARK}creates' >&2; exit {SKIPPED}; }}; done\n",
                matches(creates)
            ));
        }
        if let Some(removes) = &self.removes {
            text.push_str(&format!(
                "f=; {} f=1; done; [ -n \"$f\" ] || {{ echo '{MARK}removes' >&2; exit {SKIPPED}; }}\n",
                matches(removes)
            ));
        }
        text
    }

    async fn ask(&self, cx: &TaskContext) -> Result<Reply, ModuleError> {
        let script = self.script(cx);
        if cx.mode.check {
            return Ok(cx.shell.probe(&script).await?);
        }
        if let Some(look) = self.look(cx)
            && let Some(reply) = cx.shell.answer_ahead(&look).await
            && reply.status == SKIPPED
        {
            return Ok(reply);
        }
        Ok(cx.shell.run(&script).await?)
    }

    pub(super) async fn run(self, cx: &TaskContext) -> Result<Outcome, ModuleError> {
        let began = Zoned::now();
        let clock = Instant::now();
        let reply = self.ask(cx).await?;
        let took = clock.elapsed();
        let ended = Zoned::now();
        let mut result = Map::new();
        result.insert("cmd".into(), self.cmd.clone());

        let err = reply.err();
        if reply.status == SKIPPED
            && let Some(why) = err.lines().last().and_then(|l| l.strip_prefix(MARK))
        {
            return Ok(self.not_run(why, cx, result));
        }
        if cx.mode.check {
            fill(&mut result, 0, "", "");
            result.insert("msg".into(), "Command would have run if not in check mode".into());
            if self.creates.is_none() && self.removes.is_none() {
                let skipped = Some("Command would have run if not in check mode".into());
                return Ok(Outcome { skipped, result, ..Outcome::default() });
            }
            return Ok(Outcome::changed(result));
        }
        let (out, err) = (reply.out(), err);
        let strip = |text: &str| {
            if self.strip_empty_ends {
                text.trim_end_matches(['\r', '\n']).to_owned()
            } else {
                text.to_owned()
            }
        };
        fill(&mut result, reply.status, &strip(&out), &strip(&err));
        let stamp = |at: &Zoned| at.strftime("%Y-%m-%d %H:%M:%S.%6f").to_string();
        result.insert("start".into(), stamp(&began).into());
        result.insert("end".into(), stamp(&ended).into());
        let seconds = took.as_secs();
        let delta = format!(
            "{}:{:02}:{:02}.{:06}",
            seconds / 3600,
            seconds / 60 % 60,
            seconds % 60,
            took.subsec_micros()
        );
        result.insert("delta".into(), delta.into());
        if reply.ok() {
            result.insert("msg".into(), "".into());
            return Ok(Outcome::changed(result));
        }
        result.insert("msg".into(), "non-zero return code".into());
        Ok(Outcome { changed: true, ..Outcome::failed("non-zero return code", result) })
    }

    fn not_run(&self, why: &str, cx: &TaskContext, mut result: Map) -> Outcome {
        let did = if cx.mode.check { "Would" } else { "Did" };
        let (shown, message) = match why {
            "creates" => {
                let path = self.creates.as_deref().unwrap_or_default();
                (
                    format!("skipped, since {path} exists"),
                    format!("{did} not run command since '{path}' exists"),
                )
            }
            "removes" => {
                let path = self.removes.as_deref().unwrap_or_default();
                (
                    format!("skipped, since {path} does not exist"),
                    format!("{did} not run command since '{path}' does not exist"),
                )
            }
            "missing" => {
                let program = self.cmd.get(0).and_then(Value::as_str).unwrap_or_default();
                let message = format!("Error executing command: no such program on the target: {program}");
                fill(&mut result, 2, "", "");
                result.insert("msg".into(), message.clone().into());
                return Outcome::failed(message, result);
            }
            _ => {
                let path = self.chdir.as_deref().unwrap_or_default();
                let message = format!("Unable to change directory before execution: {path}");
                result.insert("msg".into(), message.clone().into());
                return Outcome::failed(message, result);
            }
        };
        fill(&mut result, 0, &shown, "");
        result.insert("msg".into(), message.into());
        Outcome::ok(result)
    }
}

/// What a command left, in the keys that `register` shows.
pub(super) fn fill(result: &mut Map, rc: i32, out: &str, err: &str) {
    let lines = |text: &str| Value::from(text.lines().map(Value::from).collect::<Vec<_>>());
    result.insert("rc".into(), rc.into());
    result.insert("stdout".into(), out.into());
    result.insert("stdout_lines".into(), lines(out));
    result.insert("stderr".into(), err.into());
    result.insert("stderr_lines".into(), lines(err));
}

/// Quotes a path but leaves `*`, `?` and `[...]` to the shell.
fn glob(pattern: &str) -> String {
    let mut out = String::new();
    let mut plain = String::new();
    for c in pattern.chars() {
        if matches!(c, '*' | '?' | '[' | ']' | '-' | '!') {
            if !plain.is_empty() {
                out.push_str(&quote(&plain));
                plain.clear();
            }
            out.push(c);
        } else {
            plain.push(c);
        }
    }
    if !plain.is_empty() || out.is_empty() {
        out.push_str(&quote(&plain));
    }
    out
}

/// Splits a command line as Python's `shlex` does.
pub(super) fn split(line: &str) -> Result<Vec<String>, ModuleError> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match c {
            '\'' => {
                let into = word.get_or_insert_default();
                loop {
                    match chars.next() {
                        Some('\'') => break,
                        Some(c) => into.push(c),
                        None => return Err(unclosed(line)),
                    }
                }
            }
            '"' => {
                let into = word.get_or_insert_default();
                loop {
                    match chars.next() {
                        Some('"') => break,
                        Some('\\') => match chars.next() {
                            Some(c @ ('"' | '\\')) => into.push(c),
                            Some(c) => into.extend(['\\', c]),
                            None => return Err(unclosed(line)),
                        },
                        Some(c) => into.push(c),
                        None => return Err(unclosed(line)),
                    }
                }
            }
            '\\' => match chars.next() {
                Some(c) => word.get_or_insert_default().push(c),
                None => return Err(unclosed(line)),
            },
            c if c.is_whitespace() => words.extend(word.take()),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Ok(words)
}

fn unclosed(line: &str) -> ModuleError {
    ModuleError::Arguments(format!("a quote or escape is not closed in: {line}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_split_as_shlex_does() {
        for (line, words) in [
            ("a  b\tc", vec!["a", "b", "c"]),
            (r#"echo "a b" 'c "d' e\ f"#, vec!["echo", "a b", "c \"d", "e f"]),
            (r#"x "" y"#, vec!["x", "", "y"]),
            (r#""\n\"""#, vec!["\\n\""]),
            ("--opt='a b'c", vec!["--opt=a bc"]),
        ] {
            assert_eq!(split(line).ok(), Some(words.into_iter().map(Into::into).collect()), "{line}");
        }
        assert!(split("it's").is_err());
    }

    #[test]
    fn only_glob_characters_reach_the_shell_bare() {
        assert_eq!(glob("/etc/*.conf"), "/etc/*.conf");
        assert_eq!(glob("/a b/$(x)?"), "'/a b/$(x)'?");
        assert_eq!(glob(""), "''");
    }
}
