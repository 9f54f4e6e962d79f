use crate::diag::Diagnostic;
use crate::yaml::Node;

/// Splits `path=/x mode="0644" content="{{ a b }}"` into its words the way Ansible does: spaces inside quotes and inside
/// `{{ }}`, `{% %}` do not split.
pub(super) fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let (mut quote, mut depth) = (None, 0_u32);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match (c, quote) {
            ('{', None) if matches!(chars.peek(), Some('{' | '%')) => {
                depth += 1;
                word.push(c);
                word.extend(chars.next());
            }
            ('}' | '%', None) if depth > 0 && chars.peek() == Some(&'}') => {
                depth -= 1;
                word.push(c);
                word.extend(chars.next());
            }
            ('\\', _) if matches!(chars.peek(), Some('"' | '\'' | ' ' | '\\')) => {
                word.push(c);
                word.extend(chars.next());
            }
            ('"' | '\'', None) if depth == 0 => {
                quote = Some(c);
                word.push(c);
            }
            (c, Some(q)) if c == q => {
                quote = None;
                word.push(c);
            }
            (c, None) if depth == 0 && c.is_whitespace() => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
            }
            (c, _) => word.push(c),
        }
    }
    if !word.is_empty() {
        words.push(word);
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

/// `key=value` words as pairs; a word without `=` is an error unless the module takes a bare string.
///
/// With `free_form` the words that are no known argument are joined into `_raw_params`.
pub(super) fn arguments(
    node: &Node,
    text: &str,
    free_form: Option<&[&str]>,
) -> Result<Vec<(Node, Node)>, Diagnostic> {
    let mut pairs = Vec::new();
    let mut raw = Vec::new();
    for word in words(text) {
        let named = word.split_once('=').filter(|(key, _)| {
            let identifier = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
            identifier && free_form.is_none_or(|known| known.contains(key))
        });
        match (named, free_form) {
            (Some((key, value)), _) => {
                pairs.push((Node::str(key, &node.origin), Node::str(unquote(value), &node.origin)));
            }
            (None, Some(_)) => raw.push(word),
            (None, None) => {
                return Err(Diagnostic::new(format!("{word:?} is not of the form key=value"))
                    .at(&node.origin)
                    .hint("write the arguments as a mapping below the module's name"));
            }
        }
    }
    if free_form.is_some() {
        // Where no argument was named the text goes on as it stands, with its own spacing.
        let text = if pairs.is_empty() { text.trim().to_owned() } else { raw.join(" ") };
        if !text.is_empty() {
            pairs.push((Node::str("_raw_params", &node.origin), Node::str(text, &node.origin)));
        }
    }
    Ok(pairs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diag::Origin;

    #[test]
    fn words_keep_quotes_and_templates_whole() {
        assert_eq!(words("a=1 b='x y' c={{ d e }}"), ["a=1", "b='x y'", "c={{ d e }}"]);
        assert_eq!(words(r#"a="x \" y" b"#), [r#"a="x \" y""#, "b"]);
    }

    #[test]
    fn free_form_keeps_what_it_does_not_know() {
        let node = Node::str("", &Origin::synthetic("test"));
        let known: &[&str] = &["chdir", "_raw_params"];
        let pairs = arguments(&node, "make X=1 all chdir=/tmp", Some(known)).expect("valid");
        let pairs: Vec<_> = pairs.iter().map(|(k, v)| (k.key_text(), v.key_text())).collect();
        assert_eq!(pairs, [("chdir".into(), "/tmp".into()), ("_raw_params".into(), "make X=1 all".into())]);
        assert!(arguments(&node, "novalue", None).is_err());
    }
}
