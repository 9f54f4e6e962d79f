use std::path::Path;

use super::files;
use super::layers::VarMap;
use crate::diag::{Diagnostic, Origin, SourceFile};
use crate::vault::Vault;
use crate::yaml::{self, Kind, Node, Written};

/// Reads one `-e`: `@file`, a JSON or YAML mapping, or `name=value` pairs, whose values are texts.
pub fn parse_extra_vars(text: &str, vault: &Vault) -> Result<VarMap, Diagnostic> {
    let text = text.trim();
    if let Some(path) = text.strip_prefix('@') {
        return files::read_vars(Path::new(path), vault, &mut Vec::new())
            .map_err(|error| error.note("named by -e"));
    }
    if text.starts_with(['/', '.']) {
        return Err(Diagnostic::new(format!("{text} looks like a file"))
            .hint(format!("write -e @{text} to read variables from it")));
    }
    let file = SourceFile::new("<-e>", text);
    if text.starts_with(['{', '[']) {
        return files::to_vars(&yaml::load_one(&file)?.0);
    }
    pairs(&file)
}

/// `name=value` pairs with blanks between them, quotes kept together and then taken off.
fn pairs(file: &std::sync::Arc<SourceFile>) -> Result<VarMap, Diagnostic> {
    let mut vars = VarMap::new();
    for (word, column) in words(&file.text) {
        let width = u32::try_from(word.chars().count()).unwrap_or(1);
        let origin = Origin::new(file, 1, column, width);
        let (name, value) = word.split_once('=').filter(|(name, _)| !name.trim().is_empty()).ok_or_else(|| {
            Diagnostic::new(format!("{word:?} is no name=value"))
                .at(&origin)
                .hint("quote a value with blanks: -e \"name='one two'\", or write JSON: -e '{\"name\": \"one two\"}'")
        })?;
        vars.insert(
            name.trim().to_owned(),
            Node::new(Kind::Str(Written::read(unquoted(&escapes(value)), file)), &origin),
        );
    }
    Ok(vars)
}

/// Words at blanks outside quotes and outside templates, each with its column; quotes stay.
fn words(text: &str) -> Vec<(String, u32)> {
    let mut words: Vec<(String, u32)> = Vec::new();
    let mut word = String::new();
    let mut start = 1;
    let mut quote: Option<char> = None;
    let mut before = '\0';
    let mut depth = 0_u32;
    for (c, column) in text.chars().zip(1_u32..) {
        match (quote, c) {
            (Some(open), c) if c == open && before != '\\' => quote = None,
            (None, '\'' | '"') if before != '\\' => quote = Some(c),
            (None, '{' | '%') if before == '{' => depth += 1,
            (None, '}') if matches!(before, '}' | '%') => depth = depth.saturating_sub(1),
            _ => {}
        }
        if c.is_whitespace() && quote.is_none() && depth == 0 {
            if !word.is_empty() {
                words.push((std::mem::take(&mut word), start));
            }
        } else {
            if word.is_empty() {
                start = column;
            }
            word.push(c);
        }
        before = c;
    }
    if !word.is_empty() {
        words.push((word, start));
    }
    words
}

/// The escapes that Ansible knows in `name=value`.
fn escapes(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        let mut ahead = rest.clone();
        match ahead.next() {
            Some('n') => out.push('\n'),
            Some('t') => out.push('\t'),
            Some('r') => out.push('\r'),
            Some(same @ ('\\' | '\'' | '"')) => out.push(same),
            _ => {
                out.push('\\');
                continue;
            }
        }
        rest = ahead;
    }
    out
}

fn unquoted(text: &str) -> &str {
    let text = text.trim();
    ['\'', '"'].into_iter().find_map(|quote| text.strip_prefix(quote)?.strip_suffix(quote)).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_form_is_read() {
        for (text, expected) in [
            ("a=1 b=yes", json!({"a": "1", "b": "yes"})),
            ("a='x y' b=\"p=q\"", json!({"a": "x y", "b": "p=q"})),
            ("a={{ b }}", json!({"a": "{{ b }}"})),
            (r"a=one\ntwo", json!({"a": "one\ntwo"})),
            ("{\"a\": 1, \"b\": [true]}", json!({"a": 1, "b": [true]})),
            ("{a: yes}", json!({"a": true})),
            ("", json!({})),
        ] {
            let vars = parse_extra_vars(text, &Vault::default()).unwrap_or_else(|e| panic!("{e}"));
            let found: serde_json::Map<_, _> = vars.iter().map(|(k, v)| (k.clone(), v.to_value())).collect();
            assert_eq!(serde_json::Value::Object(found), expected, "{text}");
        }
    }

    #[test]
    fn mistakes_are_explained() {
        insta::assert_snapshot!(parse_extra_vars("a=1 two", &Vault::default()).unwrap_err(), @r#"
        "two" is no name=value
         --> <-e>:1:5
          |
        1 | a=1 two
          |     ^^^
          hint: quote a value with blanks: -e "name='one two'", or write JSON: -e '{"name": "one two"}'
        "#);
        insta::assert_snapshot!(parse_extra_vars("./vars.yml", &Vault::default()).unwrap_err(), @r"
        ./vars.yml looks like a file
          hint: write -e @./vars.yml to read variables from it
        ");
        insta::assert_snapshot!(parse_extra_vars("[1, 2]", &Vault::default()).unwrap_err(), @r"
        variables are a mapping, not a list
         --> <-e>:1:1
          |
        1 | [1, 2]
          | ^
          hint: write name: value, one a line
        ");
        insta::assert_snapshot!(parse_extra_vars("@/nowhere.yml", &Vault::default()).unwrap_err(), @r"
        there is no file /nowhere.yml
          = named by -e
        ");
    }
}
