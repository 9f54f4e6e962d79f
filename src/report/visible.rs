use std::borrow::Cow;

/// Text as a terminal may be sent it: what would steer the terminal, or turn the direction of what is read, is written out as JSON
/// does (`\u001b`). Line ends and tabs stay.
///
/// What comes from a target goes through this on its way to a terminal, whoever prints it.
pub fn visible(text: &str) -> Cow<'_, str> {
    if !text.chars().any(steers) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if steers(c) {
            shown.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            shown.push(c);
        }
    }
    Cow::Owned(shown)
}

/// Controls of ASCII and of Latin-1, and embeddings, overrides and isolates of bidirectional text.
fn steers(c: char) -> bool {
    match c {
        '\n' | '\t' => false,
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => true,
        c => c.is_control(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_a_terminal_is_written_out() {
        for (text, expected) in [
            ("plain\ttext\nüber 日本", "plain\ttext\nüber 日本"),
            ("\u{1b}]0;owned\u{7}", "\\u001b]0;owned\\u0007"),
            ("a\rb\u{8}\u{0}", "a\\u000db\\u0008\\u0000"),
            ("\u{7f}\u{9b}31m\u{85}", "\\u007f\\u009b31m\\u0085"),
            ("user\u{202e}nimda\u{2066}", "user\\u202enimda\\u2066"),
        ] {
            assert_eq!(visible(text), expected);
        }
        assert!(matches!(visible("as it is"), Cow::Borrowed(_)));
    }
}
