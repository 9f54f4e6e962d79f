//! A template's text: where its expressions and tags are.

use super::expression::{Backslashes, MUTABLE, mutates, rewrite};
use super::header::Overrides;
use super::lexer::{Kind, Token, text_length, tokens};

/// What a string is, as a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Shape<'a> {
    /// No template at all.
    Plain,
    /// One `{{ expression }}` and nothing else: its value keeps its type. With its offset.
    Expression(&'a str, usize),
    /// Anything else: its result is a text.
    Mixed,
}

#[derive(Debug, Clone, Copy)]
enum Piece<'a> {
    Raw(&'a str),
    /// Delimiters with their whitespace signs, and what stands between them.
    Expression {
        open: &'a str,
        inside: &'a str,
        close: &'a str,
        offset: usize,
    },
    Tag {
        open: &'a str,
        inside: &'a str,
        close: &'a str,
    },
}

pub(crate) fn shape(text: &str) -> Shape<'_> {
    if !(text.contains("{{") || text.contains("{%") || text.contains("{#")) {
        return Shape::Plain;
    }
    // The engine drops the one line end that closes a text.
    let body = text.strip_suffix('\n').unwrap_or(text);
    match pieces(body, &Overrides::default()).as_slice() {
        [Piece::Expression { inside, offset, .. }] if body.ends_with("}}") => {
            Shape::Expression(inside, *offset)
        }
        _ => Shape::Mixed,
    }
}

/// `x if y` printed in a text is nothing where `y` is false.
fn otherwise_nothing(inside: &str) -> std::borrow::Cow<'_, str> {
    let mut depth = 0_i32;
    let mut open = false;
    for token in tokens(inside) {
        match (token.kind, token.text) {
            (Kind::Sign, "(" | "[" | "{") => depth += 1,
            (Kind::Sign, ")" | "]" | "}") => depth -= 1,
            (Kind::Name, "if") if depth == 0 => open = true,
            (Kind::Name, "else") if depth == 0 => open = false,
            _ => {}
        }
    }
    if open { format!("{} else '' ", inside.trim_end()).into() } else { inside.into() }
}

/// A filter or a test that a template calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Called {
    Filter(String),
    Test(String),
}

/// All filters and tests of a template, or of an expression where `bare` is set.
pub(crate) fn called(text: &str, bare: bool) -> Vec<Called> {
    let whole = [Piece::Expression { open: "", inside: text, close: "", offset: 0 }];
    let found = pieces(text, &Overrides::default());
    let pieces = if bare && shape(text) == Shape::Plain { &whole[..] } else { &found };
    let mut names = Vec::new();
    for piece in pieces {
        let (inside, tag) = match piece {
            Piece::Raw(_) => continue,
            Piece::Expression { inside, .. } => (*inside, false),
            Piece::Tag { inside, .. } => (*inside, true),
        };
        let tokens = tokens(inside);
        for (at, token) in tokens.iter().enumerate() {
            let block = tag && at == 0 && token.text == "filter";
            if token.text == "|" && token.kind == Kind::Sign || block {
                names.extend(dotted(&tokens, at + 1).map(Called::Filter));
            } else if token.text == "is" && token.kind == Kind::Name && at > 0 {
                let not = tokens.get(at + 1).is_some_and(|t| t.text == "not");
                names.extend(dotted(&tokens, at + 1 + usize::from(not)).map(Called::Test));
            }
        }
    }
    names
}

/// A name that may have dots.
fn dotted(tokens: &[Token<'_>], from: usize) -> Option<String> {
    let mut name = tokens.get(from).filter(|t| t.kind == Kind::Name)?.text.to_owned();
    let mut at = from + 1;
    while let (Some(dot), Some(next)) = (tokens.get(at), tokens.get(at + 1)) {
        if dot.text != "." || next.kind != Kind::Name {
            break;
        }
        name.push('.');
        name.push_str(next.text);
        at += 2;
    }
    Some(name)
}

/// The expressions and tags of a template, and whether each is a tag.
pub(super) fn codes<'a>(text: &'a str, overrides: &Overrides) -> Vec<(&'a str, bool)> {
    let code = |piece| match piece {
        Piece::Raw(_) => None,
        Piece::Expression { inside, .. } => Some((inside, false)),
        Piece::Tag { inside, .. } => Some((inside, true)),
    };
    pieces(text, overrides).into_iter().filter_map(code).collect()
}

/// Rewrites every expression of a template. Line numbers stay as they are.
pub(crate) fn rewrite_template(text: &str, overrides: &Overrides, backslashes: Backslashes) -> String {
    let mutable = mutates(text);
    let mut out = String::with_capacity(text.len() + text.len() / 4);
    for piece in pieces(text, overrides) {
        match piece {
            Piece::Raw(raw) => out.push_str(raw),
            Piece::Expression { open, inside, close, .. } => {
                out.push_str(open);
                out.push_str(&rewrite(&otherwise_nothing(inside), mutable, backslashes));
                out.push_str(close);
            }
            Piece::Tag { open, inside, close } => {
                out.push_str(open);
                out.push_str(&tag(inside, mutable));
                out.push_str(close);
            }
        }
    }
    out
}

fn tag(inside: &str, mutable: bool) -> String {
    let found = tokens(inside);
    let Some(word) = found.first() else { return inside.to_owned() };
    let after = |sign: &str, from: usize| {
        let mut depth = 0_i32;
        for token in found.iter().skip(from).filter(|t| t.kind != Kind::Text) {
            match token.text {
                "(" | "[" | "{" => depth += 1,
                ")" | "]" | "}" => depth -= 1,
                _ if depth == 0 && token.text == sign => return Some(token.offset + token.text.len()),
                _ => {}
            }
        }
        None
    };
    let split = match word.text {
        "macro" | "block" | "endblock" | "raw" | "autoescape" => return inside.to_owned(),
        "set" => after("=", 1),
        "for" => after("in", 1),
        _ => Some(word.offset + word.text.len()),
    };
    let Some(split) = split else { return inside.to_owned() };
    let (head, tail) = inside.split_at(split);
    let rewritten = rewrite(tail, mutable, Backslashes::Escape);
    if mutable && word.text == "set" {
        format!("{head} {MUTABLE}({}) ", rewritten.trim())
    } else {
        format!("{head}{rewritten}")
    }
}

fn pieces<'a>(text: &'a str, overrides: &Overrides) -> Vec<Piece<'a>> {
    let starts = [&overrides.variable, &overrides.block, &overrides.comment];
    let mut found = Vec::new();
    let mut at = 0;
    // Where each kind of delimiter stands next; looked for again only behind the place where it was found.
    let mut ahead = starts.map(|(open, _)| text.find(open.as_str()));
    while let Some(rest) = text.get(at..).filter(|r| !r.is_empty()) {
        for (place, (open, _)) in ahead.iter_mut().zip(starts) {
            if place.is_some_and(|place| place < at) {
                *place = rest.find(open.as_str()).map(|i| at + i);
            }
        }
        let next = ahead
            .iter()
            .zip(starts)
            .enumerate()
            .filter_map(|(kind, (place, (open, _)))| {
                place.map(|place| (place - at, usize::MAX - open.len(), kind))
            })
            .min();
        let Some((index, _, kind)) = next else {
            found.push(Piece::Raw(rest));
            break;
        };
        if index > 0 {
            found.push(Piece::Raw(rest.get(..index).unwrap_or_default()));
        }
        let start = at + index;
        let Some(((open, close), body)) =
            starts.get(kind).map(|pair| (*pair, text.get(start..).unwrap_or_default()))
        else {
            break;
        };
        let end = if kind == 2 { comment_end(body, open, close) } else { code_end(body, open, close) };
        let Some(end) = end else {
            found.push(Piece::Raw(body));
            break;
        };
        let whole = body.get(..end).unwrap_or(body);
        at = start + whole.len();
        if kind == 2 {
            found.push(Piece::Raw(whole));
            continue;
        }
        let (open, inside, close) = delimiters(whole, open, close);
        if kind == 0 {
            found.push(Piece::Expression { open, inside, close, offset: start + open.len() });
        } else if inside.trim() == "raw" {
            let raw = raw_end(text.get(at..).unwrap_or_default(), &overrides.block);
            found.push(Piece::Raw(text.get(start..at + raw).unwrap_or_default()));
            at += raw;
        } else {
            found.push(Piece::Tag { open, inside, close });
        }
    }
    found
}

fn comment_end(body: &str, open: &str, close: &str) -> Option<usize> {
    let inside = body.get(open.len()..)?;
    inside.find(close).map(|i| open.len() + i + close.len())
}

/// Where code ends: the closing delimiter outside of quotes and of braces.
fn code_end(body: &str, open: &str, close: &str) -> Option<usize> {
    let mut at = open.len();
    let mut braces = 0_usize;
    while let Some(rest) = body.get(at..) {
        let c = rest.chars().next()?;
        if braces == 0 && rest.starts_with(close) {
            return Some(at + close.len());
        }
        match c {
            '\'' | '"' => {
                at += text_length(rest, c);
                continue;
            }
            '{' => braces += 1,
            '}' => braces = braces.saturating_sub(1),
            _ => {}
        }
        at += c.len_utf8();
    }
    None
}

/// Parts the delimiters (with a `-` or `+` beside them) from what they hold.
fn delimiters<'a>(whole: &'a str, open: &str, close: &str) -> (&'a str, &'a str, &'a str) {
    let mut start = open.len();
    if whole.get(start..).is_some_and(|r| r.starts_with(['-', '+'])) {
        start += 1;
    }
    let mut end = whole.len() - close.len();
    if end > start && whole.get(..end).is_some_and(|r| r.ends_with(['-', '+'])) {
        end -= 1;
    }
    (
        whole.get(..start).unwrap_or_default(),
        whole.get(start..end).unwrap_or_default(),
        whole.get(end..).unwrap_or_default(),
    )
}

/// The length of a raw block's content with its closing tag.
fn raw_end(rest: &str, block: &(String, String)) -> usize {
    let mut at = 0;
    while let Some(index) = rest.get(at..).and_then(|r| r.find(block.0.as_str())) {
        let start = at + index;
        let after = rest.get(start + block.0.len()..).unwrap_or_default();
        if after.trim_start_matches(['-', '+']).trim_start().starts_with("endraw") {
            return after
                .find(block.1.as_str())
                .map_or(rest.len(), |i| start + block.0.len() + i + block.1.len());
        }
        at = start + block.0.len();
    }
    rest.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_a_lone_expression_from_text() {
        assert_eq!(shape("plain"), Shape::Plain);
        assert_eq!(shape("{{ a }}"), Shape::Expression(" a ", 2));
        assert_eq!(shape("{{ a }}\n"), Shape::Expression(" a ", 2));
        assert_eq!(shape("{{ {'a': '}}'} }}"), Shape::Expression(" {'a': '}}'} ", 2));
        assert_eq!(shape("{{- a -}}"), Shape::Expression(" a ", 3));
        for mixed in ["{{ a }} ", "{{ a }}{{ b }}", "{% if a %}b{% endif %}", "{# c #}"] {
            assert_eq!(shape(mixed), Shape::Mixed, "{mixed}");
        }
    }

    #[test]
    fn rewrites_expressions_and_leaves_the_rest() {
        for (source, expected) in [
            ("a.b {{ a.b }} {# a.b #}", "a.b {{ __get(a, 'b') }} {# a.b #}"),
            ("{% raw %}{{ a.b }}{% endraw %}{{ a.b }}", "{% raw %}{{ a.b }}{% endraw %}{{ __get(a, 'b') }}"),
            ("{%- for x in a.b if x.c %}", "{%- for x in __get(a, 'b') if __get(x, 'c') %}"),
            ("{% set ns.x = a.b %}", "{% set ns.x = __get(a, 'b') %}"),
            ("{% set x %}{{ a.b }}{% endset %}", "{% set x %}{{ __get(a, 'b') }}{% endset %}"),
            ("{% macro m(a, b=c.d) %}", "{% macro m(a, b=c.d) %}"),
            ("{% if a.b is defined -%}", "{% if __get(a, 'b') is defined -%}"),
            (
                "{% set l = [] %}{% set _ = l.append(1) %}",
                "{% set l = __mutable(__mutable([])) %}{% set _ = __mutable(l.append(1)) %}",
            ),
        ] {
            assert_eq!(rewrite_template(source, &Overrides::default(), Backslashes::Escape), expected);
        }
    }
}
