use std::fmt;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use super::Hypervisor;
use crate::host::{Script, quote};

/// How many lines a person is shown.
const LINES: usize = 20;

/// How much of the file's end is looked at for them.
const TAIL: u64 = 16 * 1024;

/// The end of what a guest wrote to its serial console.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Console {
    Lines(Vec<String>),
    /// Why it cannot be shown.
    Unreadable(String),
}

impl Console {
    /// Reads the last lines of a console log on its hypervisor.
    pub async fn of(hypervisor: &Hypervisor, log: &str) -> Self {
        // Who may read the file as it is needs no root for it.
        if hypervisor.is_local()
            && let Ok(bytes) = tail(Path::new(log))
        {
            return Self::from_bytes(&bytes);
        }
        let Some(root) = hypervisor.root() else {
            return Self::Unreadable(format!("it is in {log} on the hypervisor"));
        };
        match root.run(&Script::new(format!("tail -c {TAIL} -- {}", quote(log)))).await {
            Ok(reply) if reply.ok() => Self::from_bytes(&reply.stdout),
            Ok(reply) => Self::Unreadable(format!("{log}: {}", reply.err().trim())),
            Err(error) => Self::Unreadable(format!("{log}: {error}")),
        }
    }

    /// Whether a console log holds a text anywhere; `None` where it cannot be read.
    pub async fn holds(hypervisor: &Hypervisor, log: &str, text: &str) -> Option<bool> {
        if hypervisor.is_local()
            && let Ok(bytes) = std::fs::read(log)
        {
            return Some(String::from_utf8_lossy(&bytes).contains(text));
        }
        let find = Script::new(format!(
            "[ -r {log} ] || exit 2; grep -qaF -e {text} -- {log}",
            log = quote(log),
            text = quote(text)
        ));
        match hypervisor.root()?.run(&find).await.ok()?.status {
            0 => Some(true),
            1 => Some(false),
            _ => None,
        }
    }

    fn from_bytes(bytes: &[u8]) -> Self {
        Self::Lines(last_lines(&String::from_utf8_lossy(bytes)))
    }
}

fn tail(log: &Path) -> std::io::Result<Vec<u8>> {
    let mut file = std::fs::File::open(log)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
    let mut bytes = Vec::new();
    file.take(TAIL).read_to_end(&mut bytes)?;
    Ok(bytes)
}

impl fmt::Display for Console {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lines(lines) if lines.is_empty() => f.write_str("console: nothing was written to it"),
            Self::Lines(lines) => {
                f.write_str("console:")?;
                lines.iter().try_for_each(|line| write!(f, "\n  {line}"))
            }
            Self::Unreadable(why) => write!(f, "console: {why}"),
        }
    }
}

/// The last lines that say something, without escape sequences and control characters.
fn last_lines(text: &str) -> Vec<String> {
    let mut clean = String::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' => {
                // CSI sequences end with a letter or `~`; others have one more character.
                if chars.next() == Some('[') {
                    while chars.next().is_some_and(|c| !c.is_ascii_alphabetic() && c != '~') {}
                }
            }
            '\n' => clean.push('\n'),
            c if c.is_control() && c != '\t' => {}
            c => clean.push(c),
        }
    }
    let lines: Vec<&str> = clean.lines().map(str::trim_end).filter(|l| !l.is_empty()).collect();
    lines[lines.len().saturating_sub(LINES)..].iter().map(|l| (*l).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_terminals_interpret_is_left_out() {
        assert_eq!(last_lines("\u{1b}[2J\u{1b}[1;31mred\u{1b}[0m\r\n\r\nplain\u{7}\n"), ["red", "plain"]);
        let many: String = (0..30).map(|i| i.to_string()).collect::<Vec<_>>().join("\n");
        assert_eq!(last_lines(&many).len(), LINES);
        assert_eq!(last_lines(&many).last().map(String::as_str), Some("29"));
    }

    #[test]
    fn an_unreadable_log_is_named() {
        assert_eq!(
            Console::Unreadable("/no/such.log: gone".into()).to_string(),
            "console: /no/such.log: gone"
        );
        assert!(tail(Path::new("/no/such.log")).is_err());
    }
}
