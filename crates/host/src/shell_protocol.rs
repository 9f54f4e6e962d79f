//! The framing of requests to a persistent `sh`: pure functions, decided in `docs/decisions/0001-shell-protocol.md`.

use std::fmt::Write as _;

use super::{Script, quote};

/// 128 random bits that no output can hold by chance; they reach the shell on its standard input only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Nonce(String);

impl Nonce {
    pub(super) fn random() -> Self {
        Self(format!("{:032x}", rand::random::<u128>()))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// How much of one `printf` format is written at once; below the 128 KiB that one argument of an external `printf` may have.
const FORMAT_BYTES: usize = 64 * 1024;

/// The sh text that runs a script in a subshell: whatever the script holds, the text is one complete command.
pub(super) fn subshell(script: &Script) -> Result<String, String> {
    let mut out = String::with_capacity(script.text.len() + script.stdin.len() + 64);
    if !script.stdin.is_empty() {
        out.push_str(&printf(&script.stdin));
        out.push_str(" 2>/dev/null | ");
    }
    out.push_str("( ");
    out.push_str(&body(script)?);
    out.push_str(" )");
    if script.stdin.is_empty() {
        out.push_str(" </dev/null");
    }
    Ok(out)
}

/// The script as one command with its environment; a syntax error in it ends the surrounding subshell only.
pub(super) fn body(script: &Script) -> Result<String, String> {
    let mut out = String::new();
    for (name, value) in &script.environment {
        if !is_name(name) {
            return Err(format!("`{name}` is not a name that an environment variable can have in sh"));
        }
        if value.contains('\0') {
            return Err(format!("the environment variable `{name}` holds a NUL byte"));
        }
        let _ = write!(out, "export {name}={}; ", quote(value));
    }
    if script.text.contains('\0') {
        return Err("the script holds a NUL byte, which sh cannot read".to_owned());
    }
    let _ = write!(out, "eval {}", single_quoted(&script.text));
    Ok(out)
}

/// One request: the subshell, then an end mark with the request's number and status on both streams.
pub(super) fn request(nonce: &Nonce, id: u64, script: &Script) -> Result<String, String> {
    let mark = nonce.as_str();
    Ok(format!("{}; echo {mark} {id} $?; echo {mark} {id} 0 >&2\n", subshell(script)?))
}

/// A single line that runs `text` when `sh` evaluates it; newlines in it are escaped.
pub(super) fn one_line(text: &str) -> String {
    format!("eval \"$({})\"\n", printf_with(text.as_bytes(), &[]))
}

/// `printf` commands that write exactly these bytes, in one group.
pub(super) fn printf(bytes: &[u8]) -> String {
    printf_with(bytes, b"\n\t")
}

fn printf_with(bytes: &[u8], plain: &[u8]) -> String {
    // Braces around nothing are a syntax error.
    let mut out = String::from(if bytes.is_empty() { "{ :; " } else { "{ " });
    // Each byte takes at most four, so a chunk's format stays below the limit.
    for chunk in bytes.chunks(FORMAT_BYTES / 4) {
        out.push_str("printf '");
        for (index, &byte) in chunk.iter().enumerate() {
            match byte {
                b'%' => out.push_str("%%"),
                b'\\' => out.push_str("\\\\"),
                b'\'' => out.push_str("'\\''"),
                // A format that starts with a dash would be taken for an option.
                b'-' if index == 0 => out.push_str("\\055"),
                b' '..=b'~' => out.push(char::from(byte)),
                _ if plain.contains(&byte) => out.push(char::from(byte)),
                _ => {
                    let _ = write!(out, "\\{byte:03o}");
                }
            }
        }
        out.push_str("'; ");
    }
    out.push('}');
    out
}

/// Quotes a word in any case, so that it is neither a keyword nor an assignment.
pub(super) fn single_quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

fn is_name(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// What one stream carried for one request.
#[derive(Debug, PartialEq, Eq)]
pub struct Frame {
    pub id: u64,
    pub status: i32,
    pub bytes: Vec<u8>,
}

/// The longest end mark: a number and a status, each with a space before it.
const LONGEST_MARK: usize = 40;

/// Cuts one output stream into frames. How much it may hold is for its owner to say, who asks `held`.
#[derive(Debug)]
pub struct FrameReader {
    mark: Vec<u8>,
    buffer: Vec<u8>,
    /// No mark starts before this.
    scanned: usize,
}

impl FrameReader {
    pub(super) fn new(nonce: &Nonce) -> Self {
        Self::of_mark(nonce.as_str())
    }

    /// A reader of a stream in which this text, a number and a status end a frame.
    pub fn of_mark(mark: &str) -> Self {
        Self { mark: mark.as_bytes().to_vec(), buffer: Vec::new(), scanned: 0 }
    }

    /// Takes what has arrived.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// How many bytes wait for their frame to be complete.
    pub fn held(&self) -> usize {
        self.buffer.len()
    }

    /// What has arrived since the last complete frame.
    pub(super) fn rest(&self) -> &[u8] {
        &self.buffer
    }

    /// The next complete frame, or why the stream cannot be understood any more.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, String> {
        let Some(at) = find(&self.buffer, &self.mark, self.scanned) else {
            self.scanned = self.buffer.len().saturating_sub(self.mark.len() - 1);
            return Ok(None);
        };
        self.scanned = at;
        let after = at + self.mark.len();
        let rest = self.buffer.get(after..).unwrap_or_default();
        let Some(length) = rest.iter().take(LONGEST_MARK).position(|&b| b == b'\n') else {
            if rest.len() >= LONGEST_MARK {
                return Err("the shell's end mark has no end".to_owned());
            }
            return Ok(None);
        };
        let line = String::from_utf8_lossy(rest.get(..length).unwrap_or_default()).into_owned();
        let mut fields = line.split_ascii_whitespace();
        let (Some(id), Some(status)) =
            (fields.next().and_then(|f| f.parse().ok()), fields.next().and_then(|f| f.parse().ok()))
        else {
            return Err(format!("the shell's end mark is broken: `{}`", line.escape_debug()));
        };
        let rest = self.buffer.split_off(after + length + 1);
        let mut bytes = std::mem::replace(&mut self.buffer, rest);
        bytes.truncate(at);
        self.scanned = 0;
        Ok(Some(Frame { id, status, bytes }))
    }
}

/// The first place at or after `from` where `needle` stands.
pub(super) fn find(haystack: &[u8], needle: &[u8], from: usize) -> Option<usize> {
    let first = *needle.first()?;
    let mut at = from;
    loop {
        at += haystack.get(at..)?.iter().position(|&b| b == first)?;
        if haystack.get(at..)?.starts_with(needle) {
            return Some(at);
        }
        at += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_one_command_and_its_marks() {
        let nonce = Nonce("N".into());
        let mut script = Script::new("echo 'a");
        assert_eq!(
            request(&nonce, 7, &script).as_deref(),
            Ok("( eval 'echo '\\''a' ) </dev/null; echo N 7 $?; echo N 7 0 >&2\n")
        );
        script.stdin = b"-\0%\n".to_vec();
        script.environment = vec![("A".into(), "b c".into())];
        assert_eq!(
            subshell(&script).as_deref(),
            Ok("{ printf '\\055\\000%%\n'; } 2>/dev/null | ( export A='b c'; eval 'echo '\\''a' )")
        );
    }

    #[test]
    fn what_sh_cannot_carry_is_refused() {
        assert!(request(&Nonce::random(), 1, &Script::new("a\0b")).is_err());
        for name in ["", "1a", "a-b", "a=b", "a;b"] {
            let script = Script { environment: vec![(name.into(), String::new())], ..Script::default() };
            assert!(request(&Nonce::random(), 1, &script).is_err(), "{name}");
        }
    }

    #[test]
    fn frames_are_cut_wherever_the_stream_is_split() {
        let stream = b"out\0NNNN 1 0\nNNNN 2 3\nrest";
        for split in 0..stream.len() {
            let mut reader = FrameReader::new(&Nonce("NNNN".into()));
            let mut frames = Vec::new();
            for part in [&stream[..split], &stream[split..]] {
                reader.feed(part);
                while let Some(frame) = reader.next_frame().unwrap() {
                    frames.push(frame);
                }
            }
            assert_eq!(
                frames,
                [
                    Frame { id: 1, status: 0, bytes: b"out\0".to_vec() },
                    Frame { id: 2, status: 3, bytes: Vec::new() }
                ]
            );
            assert_eq!(reader.rest(), b"rest");
        }
    }

    /// Feeds requests to a real shell and gives what each left on both streams.
    fn converse(shell: &[&str], scripts: &[Script]) -> Vec<(Frame, Frame)> {
        use std::io::Write as _;
        let nonce = Nonce::random();
        let text: String =
            scripts.iter().zip(1..).map(|(script, id)| request(&nonce, id, script).unwrap()).collect();
        let mut child = std::process::Command::new(shell[0])
            .args(&shell[1..])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let writer = std::thread::spawn(move || stdin.write_all(text.as_bytes()));
        let output = child.wait_with_output().unwrap();
        let _ = writer.join().unwrap();
        let frames = |bytes: &[u8]| {
            let mut reader = FrameReader::new(&nonce);
            reader.feed(bytes);
            std::iter::from_fn(|| reader.next_frame().unwrap()).collect::<Vec<_>>()
        };
        frames(&output.stdout).into_iter().zip(frames(&output.stderr)).collect()
    }

    const SHELLS: [&[&str]; 5] = [&["dash"], &["bash"], &["bash", "--posix"], &["busybox", "sh"], &["ksh"]];

    fn is_here(shell: &[&str]) -> bool {
        std::process::Command::new(shell[0])
            .args(&shell[1..])
            .args(["-c", ":"])
            .status()
            .is_ok_and(|s| s.success())
    }

    #[test]
    fn no_script_breaks_the_frame_in_any_shell() {
        let broken = [
            "echo 'open",
            "echo \"open",
            "echo `open",
            "echo $(open",
            "if",
            "fi",
            "{",
            "}",
            "(",
            ")",
            "cat <<EOF",
            "case x in",
            "exit 7",
            "exec true",
            "set -e; false",
            "trap 'exit 5' EXIT",
            "cd /; umask 0; set -u; $unset",
            "readonly x=1; x=2",
            "cat; exec <&-",
            "return 3",
            "break",
            "exec >&- 2>&-",
            "alias echo=false",
            "echo() { exit 1; }",
            "\\",
            "#",
            "a\r\n",
            "&",
            ";;",
            "kill -9 $(sh -c 'echo $PPID')",
        ];
        for shell in SHELLS.into_iter().filter(|s| is_here(s)) {
            // ksh runs a subshell in its own process, so who kills that kills the shell; another is started then.
            let broken = if shell == ["ksh"] { &broken[..broken.len() - 1] } else { &broken };
            let scripts: Vec<Script> = broken
                .iter()
                .flat_map(|text| [Script::new(*text), Script::new("echo $((6 * 7)); pwd")])
                .collect();
            let here = std::env::current_dir().unwrap();
            let frames = converse(shell, &scripts);
            assert_eq!(frames.len(), scripts.len(), "{shell:?}");
            for (index, (stdout, stderr)) in frames.iter().enumerate() {
                assert_eq!((stdout.id, stderr.id), (index as u64 + 1, index as u64 + 1));
                if index % 2 == 1 {
                    let text = format!("42\n{}\n", here.display());
                    let after = broken[index / 2];
                    assert_eq!(String::from_utf8_lossy(&stdout.bytes), text, "{shell:?} after {after}");
                    assert_eq!(stdout.status, 0);
                }
            }
        }
    }

    #[test]
    fn every_byte_gets_through_every_shell() {
        let bytes: Vec<u8> = (0..=255).cycle().take(40_000).collect();
        let text = "printf %s 'ä€ \u{1}\u{7f}\u{81}\u{88} %d \\n -n'; cat >&2";
        for shell in SHELLS.into_iter().filter(|s| is_here(s)) {
            let frames = converse(shell, &[Script::new(text).stdin(bytes.clone())]);
            let (stdout, stderr) = &frames[0];
            assert_eq!(
                String::from_utf8_lossy(&stdout.bytes),
                "ä€ \u{1}\u{7f}\u{81}\u{88} %d \\n -n",
                "{shell:?}"
            );
            assert!(stderr.bytes == bytes, "{shell:?}");
        }
    }

    #[test]
    fn one_line_runs_as_the_text_it_stands_for() {
        for shell in SHELLS.into_iter().filter(|s| is_here(s)) {
            let text = "printf '%s|' \"it's\" 'a\nb' '-%d\\n' ä; exit 3";
            let line = one_line(text);
            assert_eq!(line.lines().count(), 1);
            let output = std::process::Command::new(shell[0])
                .args(&shell[1..])
                .args(["-c", "eval \"$1\"", "sh", &line])
                .output()
                .unwrap();
            assert_eq!(String::from_utf8_lossy(&output.stdout), "it's|a\nb|-%d\\n|ä|", "{shell:?}");
            assert_eq!(output.status.code(), Some(3));
        }
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig { cases: 48, failure_persistence: None, ..Default::default() })]

        #[test]
        fn any_stdin_and_any_text_come_back_unchanged(
            stdin in proptest::collection::vec(proptest::num::u8::ANY, 0..3000),
            text in "[^\0]{0,300}",
            value in "[^\0]{0,100}",
            broken in "[^\0]{0,40}",
        ) {
            let mut echo = Script::new(format!("printf %s {}; printf %s \"$V\" >&2", quote(&text)));
            echo.environment.push(("V".to_owned(), value.clone()));
            // Any text at all may do anything but break the frame; what reaches out of the subshell, or goes on after it, is left out.
            let mut hostile = Script::new(broken.replace("kill", "").replace(['/', '>', '<', '&'], ""));
            hostile.environment.push(("PATH".to_owned(), "/nonexistent".to_owned()));
            let frames = converse(&["sh"], &[Script::new("cat").stdin(stdin.clone()), hostile, echo]);
            proptest::prop_assert_eq!(frames.len(), 3);
            proptest::prop_assert_eq!(&frames[0].0.bytes, &stdin);
            proptest::prop_assert_eq!(&frames[2].0.bytes, text.as_bytes());
            proptest::prop_assert_eq!(&frames[2].1.bytes, value.as_bytes());
        }
    }
}
