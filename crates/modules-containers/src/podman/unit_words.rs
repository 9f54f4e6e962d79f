/// A word as systemd reads it in a unit, with what it would expand kept as it is.
pub(super) fn word(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' => escaped.push_str("\\\\"),
            '"' => escaped.push_str("\\\""),
            '\n' => escaped.push_str("\\n"),
            '\t' => escaped.push_str("\\t"),
            '%' => escaped.push_str("%%"),
            '$' => escaped.push_str("$$"),
            c => escaped.push(c),
        }
    }
    let plain = |c: char| c.is_alphanumeric() || "_@%+=:,./-$[]{}".contains(c);
    if !text.is_empty() && text.chars().all(plain) { escaped } else { format!("\"{escaped}\"") }
}

/// `NAME=VALUE` as one word.
pub(super) fn pair(name: &str, value: &str) -> String {
    word(&format!("{name}={value}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Reads one word back, as systemd's rules have it.
    fn read(word: &str) -> String {
        let inner = word.strip_prefix('"').and_then(|w| w.strip_suffix('"')).unwrap_or(word);
        let mut read = String::new();
        let mut chars = inner.chars();
        while let Some(c) = chars.next() {
            match c {
                '\\' => match chars.next() {
                    Some('n') => read.push('\n'),
                    Some('t') => read.push('\t'),
                    Some(other) => read.push(other),
                    None => {}
                },
                '%' | '$' => {
                    assert_eq!(chars.next(), Some(c), "{word}");
                    read.push(c);
                }
                c => read.push(c),
            }
        }
        read
    }

    #[test]
    fn words_are_quoted_only_where_they_must_be() {
        for (text, expected) in [
            ("a", "a"),
            ("A=b:c/d", "A=b:c/d"),
            ("", "\"\""),
            ("a b", "\"a b\""),
            ("50%", "50%%"),
            ("$HOME", "$$HOME"),
            ("it's", "\"it's\""),
            ("a\"b\\c\nd", "\"a\\\"b\\\\c\\nd\""),
        ] {
            assert_eq!(word(text), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_word_says_what_it_was_made_of(text in ".*") {
            let made = word(&text);
            prop_assert!(!made.contains('\n'));
            prop_assert_eq!(read(&made), text);
        }
    }
}
