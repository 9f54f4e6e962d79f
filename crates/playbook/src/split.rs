use crate::diag::Diagnostic;
use crate::yaml::Node;

/// Splits `path=/x mode="0644" content="{{ a b }}"` into its words the way Ansible does, each with the blanks before it: blanks inside
/// quotes and inside `{{ }}`, `{% %}` do not split.
fn words(text: &str) -> Vec<(&str, &str)> {
    let mut words = Vec::new();
    let (mut blank, mut word) = (0, None);
    let (mut quote, mut depth) = (None, 0_u32);
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        let next = chars.peek().map(|(_, c)| *c);
        if depth == 0 && quote.is_none() && c.is_whitespace() {
            if let Some(start) = word.take() {
                words.push((&text[blank..start], &text[start..at]));
                blank = at;
            }
            continue;
        }
        word.get_or_insert(at);
        match (c, quote) {
            ('{', None) if matches!(next, Some('{' | '%')) => {
                depth += 1;
                chars.next();
            }
            ('}' | '%', None) if depth > 0 && next == Some('}') => {
                depth -= 1;
                chars.next();
            }
            ('\\', _) if matches!(next, Some('"' | '\'' | ' ' | '\\')) => {
                chars.next();
            }
            ('"' | '\'', None) if depth == 0 => quote = Some(c),
            (c, Some(q)) if c == q => quote = None,
            _ => {}
        }
    }
    if let Some(start) = word {
        words.push((&text[blank..start], &text[start..]));
    }
    words
}

/// Takes a value's outer quotes away.
pub(super) fn unquote(word: &str) -> String {
    for quote in ['"', '\''] {
        if word.len() >= 2 && word.starts_with(quote) && word.ends_with(quote) {
            return word[1..word.len() - 1].replace(&format!("\\{quote}"), &quote.to_string());
        }
    }
    word.to_owned()
}

/// `key=value` words as pairs; a word without `=` is an error unless the module takes a bare text.
///
/// With `free_form`, the words that name none of its options stay together in `_raw_params`, blanks between them included.
/// What is an option is seen here alone, in the text as it was written: no word that a template gives becomes one.
pub(super) fn arguments(
    node: &Node,
    text: &str,
    free_form: Option<&[&str]>,
) -> Result<Vec<(Node, Node)>, Diagnostic> {
    let mut pairs = Vec::new();
    let mut raw = String::new();
    let words = words(text);
    for (blank, word) in &words {
        let named = word.split_once('=').filter(|(key, _)| {
            let identifier = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
            identifier && free_form.is_none_or(|known| known.contains(key))
        });
        match (named, free_form) {
            (Some((key, value)), _) => pairs.push((node.part(key), node.part(unquote(value)))),
            (None, Some(_)) => {
                raw.push_str(blank);
                raw.push_str(word);
            }
            (None, None) => {
                return Err(Diagnostic::new(format!("{word:?} is not of the form key=value"))
                    .at(&node.origin)
                    .hint("write the arguments as a mapping below the module's name"));
            }
        }
    }
    let text = raw.trim();
    if !text.is_empty() {
        pairs.push((Node::word("_raw_params", &node.origin), node.part(text)));
    }
    Ok(pairs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diag::Origin;

    #[test]
    fn words_keep_quotes_and_templates_whole() {
        let expected = [("", "a=1"), (" ", "b='x y'"), ("  ", "c={{ d e }}")];
        assert_eq!(words("a=1 b='x y'  c={{ d e }} "), expected);
        assert_eq!(words(r#"a="x \" y" b"#), [("", r#"a="x \" y""#), (" ", "b")]);
    }

    #[test]
    fn free_form_keeps_what_it_does_not_know() {
        let node = Node::word("", &Origin::synthetic("test"));
        let take = |text: &str| -> Vec<(String, String)> {
            let pairs = arguments(&node, text, Some(&["chdir", "creates"])).expect("valid");
            pairs.iter().map(|(k, v)| (k.key_text(), v.key_text())).collect()
        };
        let raw = |text: &str| ("_raw_params".to_owned(), text.to_owned());
        for (text, options, expected) in [
            ("make X=1 all chdir=/tmp", vec![("chdir", "/tmp")], "make X=1 all"),
            ("a\nb\n  c", vec![], "a\nb\n  c"),
            (
                "make  -C x 'a  b' chdir=/srv creates=\"/a b\" X=1 # it's fine",
                vec![("chdir", "/srv"), ("creates", "/a b")],
                "make  -C x 'a  b' X=1 # it's fine",
            ),
            ("echo 'chdir=/x y'", vec![], "echo 'chdir=/x y'"),
            ("echo a   b\necho chdir={{ x }} c", vec![("chdir", "{{ x }}")], "echo a   b\necho c"),
            ("{{ 'echo creates=/x' }} cmd=1", vec![], "{{ 'echo creates=/x' }} cmd=1"),
        ] {
            let mut wanted: Vec<_> = options.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
            wanted.push(raw(expected));
            assert_eq!(take(text), wanted, "{text}");
        }
        assert!(arguments(&node, "novalue", None).is_err());
    }
}
