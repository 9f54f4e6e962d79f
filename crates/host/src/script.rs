use super::Look;
use super::shell_protocol::single_quoted;

/// A fragment of POSIX `sh` with what it reads on standard input.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Script {
    /// Runs in a subshell: `exit`, `cd` and variables do not leak into the next request.
    pub text: String,
    /// Standard input; empty means `/dev/null`.
    pub stdin: Vec<u8>,
    /// Exported for this request only.
    pub environment: Vec<(String, String)>,
    /// Killed after this long.
    pub timeout: Option<std::time::Duration>,
    /// What the text finds out, where it is nothing else than this: such scripts can be asked together as one.
    pub looks: Vec<Look>,
}

impl Script {
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), ..Self::default() }
    }

    /// A script that runs one program with exactly these arguments.
    pub fn argv<I, S>(argv: I) -> Self
    where
        I: IntoIterator<Item = S>,
        S: AsRef<str>,
    {
        let mut words: Vec<String> = argv.into_iter().map(|a| quote(a.as_ref())).collect();
        // Bare, these would be an assignment or the start of a compound command.
        if let Some(first) = words
            .first_mut()
            .filter(|w| !w.starts_with('\'') && w.contains('=') || KEYWORDS.contains(&w.as_str()))
        {
            *first = single_quoted(first);
        }
        Self::new(words.join(" "))
    }

    #[must_use]
    pub fn stdin(mut self, stdin: impl Into<Vec<u8>>) -> Self {
        self.stdin = stdin.into();
        self
    }
}

/// A command that prints a file, a word of sh. A named pipe, which somebody may have put there, would be waited for without end.
pub fn contents(file: &str) -> String {
    format!(
        "{{ if [ -p {file} ]; then printf '%s is a named pipe, which is not read\\n' {file} >&2; exit 1; fi; cat -- {file}; }}"
    )
}

/// Lines that end a script where less than all of a stream has arrived in a file, a word of sh: a connection that breaks off looks like the
/// stream's end.
pub fn arrived(file: &str, size: u64) -> String {
    format!(
        "s=$(wc -c <{file}) || exit\n\
         [ $((s)) = {size} ] || {{ echo \"the transfer broke off: $((s)) of {size} bytes arrived\" >&2; exit 1; }}\n"
    )
}

/// A shell function: where a link leads. `readlink -f` alone goes on for ever on one that leads into itself.
pub const REAL: &str =
    "real() { if [ -e \"$1\" ]; then readlink -f -- \"$1\"; else timeout 2 readlink -f -- \"$1\"; fi; }";

const KEYWORDS: [&str; 16] = [
    "if", "then", "else", "elif", "fi", "do", "done", "case", "esac", "while", "until", "for", "in",
    "function", "time", "select",
];

/// What a script left behind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reply {
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    /// The exit status, as `$?` shows it (128 + signal for a killed command).
    pub status: i32,
}

impl Reply {
    pub fn ok(&self) -> bool {
        self.status == 0
    }

    pub fn out(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(&self.stdout)
    }

    pub fn err(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(&self.stderr)
    }
}

/// Quotes one word for `sh` so that it stands for itself.
pub fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:=@,+%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quoted_word_stands_for_itself() {
        assert_eq!(quote("/etc/x-1"), "/etc/x-1");
        assert_eq!(quote(""), "''");
        assert_eq!(quote("a b"), "'a b'");
        assert_eq!(quote("it's $(x)"), r"'it'\''s $(x)'");
        assert_eq!(Script::argv(["echo", "a b"]).text, "echo 'a b'");
        assert_eq!(Script::argv(["a=b", "c=d"]).text, "'a=b' c=d");
        assert_eq!(Script::argv(["if", "if"]).text, "'if' if");
        assert_eq!(Script::argv(["it's=1"]).text, r"'it'\''s=1'");
    }
}
