/// The setting that holds `Limits::reply`.
pub(super) const REPLY_SETTING: &str = "max_reply_size";

/// How much a host may print before the shell that was asked for says that it runs.
pub(super) const MOST_NOISE: usize = 1 << 20;

/// How much of what a host said is shown in a message.
const SHOWN: usize = 2 << 10;

/// What a host said, for a message: its end, where it is long, and nothing that would move a terminal.
pub(super) fn excerpt(said: &[u8]) -> String {
    let from = said.len().saturating_sub(SHOWN);
    let text = String::from_utf8_lossy(said.get(from..).unwrap_or_default());
    let shown =
        |c: char| if c.is_control() && c != '\n' { c.escape_debug().collect() } else { String::from(c) };
    let text: String = text.trim().chars().map(shown).collect();
    if from == 0 { text } else { format!("[...] {text}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_answer_is_shown_by_its_end() {
        assert_eq!(excerpt(b" short\n\x1b[2J\r\xff\n"), "short\n\\u{1b}[2J\\r\u{fffd}");
        let long = excerpt(&[vec![b'x'; 1 << 20], b"the end\n".to_vec()].concat());
        assert!(long.starts_with("[...] xxx") && long.ends_with("the end") && long.len() < 3 << 10);
    }
}
