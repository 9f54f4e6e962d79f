//! Rewrites an expression so that the engine gives Python's meaning to what it treats otherwise.
//!
//! `a.b[c]` becomes `__get(__get(a, 'b'), c)`, which lets undefined values chain; `x % y` becomes `__mod(x, y)`,
//! which also formats; literals in a text that changes lists in place become changeable.

use super::lexer::{Kind, Token, tokens};

/// Attribute and item access.
pub(crate) const GET: &str = "__get";
/// What a backslash in a quoted text of an expression is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Backslashes {
    /// The start of an escape, as in Python: so in files and conditions.
    Escape,
    /// Itself: so Ansible reads the templates of a playbook, so that `'\1'` needs no doubling.
    Literal,
}

/// `%`.
pub(crate) const MOD: &str = "__mod";
/// `-`, where moments may stand on both sides.
pub(crate) const SUB: &str = "__sub";
/// A list or mapping that may be changed in place.
pub(crate) const MUTABLE: &str = "__mutable";

const MUTATORS: [&str; 11] = [
    "append",
    "extend",
    "update",
    "pop",
    "insert",
    "remove",
    "setdefault",
    "clear",
    "sort",
    "reverse",
    "popitem",
];

/// Whether a template's text calls a method that changes a list or mapping in place.
pub(crate) fn mutates(text: &str) -> bool {
    MUTATORS.iter().any(|name| {
        text.match_indices(name).any(|(at, _)| {
            text.get(..at).is_some_and(|before| before.trim_end().ends_with('.'))
                && text.get(at + name.len()..).is_some_and(|after| after.trim_start().starts_with('('))
        })
    })
}

/// Rewrites one expression (or a list of arguments: anything that a tag may hold).
pub(crate) fn rewrite(source: &str, mutable: bool, backslashes: Backslashes) -> String {
    let tokens = tokens(source);
    let moments = tokens.iter().any(|t| t.kind == Kind::Name && t.text == "to_datetime");
    let mut rewriter = Rewriter { tokens: &tokens, at: 0, mutable, moments, backslashes };
    let mut out = rewriter.sequence();
    // An unbalanced bracket: the engine says so.
    while let Some(token) = rewriter.next() {
        out.push_str(token.space);
        out.push_str(token.text);
    }
    let used = tokens.last().map_or(0, |t| t.offset + t.text.len());
    out.push_str(source.get(used..).unwrap_or_default());
    out
}

struct Rewriter<'t, 'a> {
    tokens: &'t [Token<'a>],
    at: usize,
    mutable: bool,
    /// Moments are computed, so that `-` may have to tell the time between two of them.
    moments: bool,
    backslashes: Backslashes,
}

/// Words that end a factor: what stands after them starts a new one.
pub(super) const WORDS: [&str; 10] =
    ["and", "or", "not", "in", "if", "else", "is", "as", "recursive", "with"];

impl<'a> Rewriter<'_, 'a> {
    fn peek(&self, ahead: usize) -> Option<Token<'a>> {
        self.tokens.get(self.at + ahead).copied()
    }

    fn next(&mut self) -> Option<Token<'a>> {
        let token = self.peek(0)?;
        self.at += 1;
        Some(token)
    }

    fn is(&self, ahead: usize, text: &str) -> bool {
        self.peek(ahead).is_some_and(|t| t.kind != Kind::Text && t.text == text)
    }

    /// Everything up to a closing bracket, which stays unread.
    fn sequence(&mut self) -> String {
        let mut out = String::new();
        // Where the current product starts in `out`, and how many `%` calls are open.
        let mut product = 0;
        let mut open = 0_usize;
        // The same for the current sum and `-`.
        let (mut sum, mut differences) = (0, 0_usize);
        let mut operand = false;
        while let Some(token) = self.peek(0) {
            let sign = token.kind == Kind::Sign;
            match token.text {
                ")" | "]" | "}" if sign => break,
                "%" if sign && operand => {
                    self.at += 1;
                    close(&mut out, &mut open);
                    wrap(&mut out, product, MOD);
                    open = 1;
                    operand = false;
                }
                "-" if sign && operand && self.moments => {
                    self.at += 1;
                    close(&mut out, &mut open);
                    close(&mut out, &mut differences);
                    wrap(&mut out, sum, SUB);
                    differences = 1;
                    product = out.len();
                    operand = false;
                }
                "*" | "/" | "//" if sign && operand => {
                    self.at += 1;
                    close(&mut out, &mut open);
                    push(&mut out, token);
                    operand = false;
                }
                "|" if sign => {
                    self.at += 1;
                    push(&mut out, token);
                    self.name(&mut out);
                    operand = true;
                }
                "**" if sign => {
                    self.at += 1;
                    push(&mut out, token);
                    operand = false;
                }
                "is" if token.kind == Kind::Name => {
                    self.at += 1;
                    push(&mut out, token);
                    if self.is(0, "not") {
                        self.copy(&mut out);
                    }
                    self.name(&mut out);
                    operand = true;
                }
                "(" | "[" | "{" if sign => {
                    self.primary(&mut out);
                    operand = true;
                }
                "-" | "+" if sign && !operand => self.copy(&mut out),
                _ if sign || (token.kind == Kind::Name && WORDS.contains(&token.text)) => {
                    self.at += 1;
                    close(&mut out, &mut open);
                    let same_sum = sign && matches!(token.text, "+" | "-" | "~");
                    if token.text != "~" {
                        close(&mut out, &mut differences);
                    }
                    push(&mut out, token);
                    product = out.len();
                    if !same_sum {
                        sum = out.len();
                    }
                    operand = false;
                }
                // A keyword argument's name.
                _ if token.kind == Kind::Name && self.is(1, "=") => {
                    self.copy(&mut out);
                }
                _ => {
                    self.primary(&mut out);
                    operand = true;
                }
            }
        }
        close(&mut out, &mut open);
        close(&mut out, &mut differences);
        out
    }

    fn copy(&mut self, out: &mut String) {
        if let Some(token) = self.next() {
            push(out, token);
        }
    }

    /// A filter's or a test's name, dots and all, with its arguments.
    fn name(&mut self, out: &mut String) {
        self.copy(out);
        while self.is(0, ".") && self.peek(1).is_some_and(|t| t.kind == Kind::Name) {
            self.copy(out);
            self.copy(out);
        }
        if self.is(0, "(") {
            self.bracket(out);
        }
    }

    /// A bracketed part, brackets and all.
    fn bracket(&mut self, out: &mut String) {
        self.copy(out);
        out.push_str(&self.sequence());
        self.copy(out);
    }

    /// A name, literal or bracket with what is asked of it.
    fn primary(&mut self, out: &mut String) {
        let Some(first) = self.peek(0) else { return };
        out.push_str(first.space);
        let mut term = String::new();
        if first.kind == Kind::Sign && matches!(first.text, "(" | "[" | "{") {
            let literal = first.text != "(" && self.mutable;
            self.bracket(&mut term);
            term.drain(..first.space.len());
            if literal {
                term = format!("{MUTABLE}({term})");
            }
        } else {
            self.at += 1;
            self.literal(&mut term, first);
            // Adjacent texts are one.
            while first.kind == Kind::Text && self.peek(0).is_some_and(|t| t.kind == Kind::Text) {
                if let Some(token) = self.next() {
                    term.push_str(token.space);
                    self.literal(&mut term, token);
                }
            }
        }
        loop {
            if self.is(0, ".") && self.peek(1).is_some_and(|t| matches!(t.kind, Kind::Name | Kind::Number)) {
                let (Some(_), Some(name)) = (self.next(), self.next()) else { break };
                if name.kind == Kind::Number {
                    term = format!("{GET}({term}, {})", name.text);
                } else if self.is(0, "(") {
                    term.push('.');
                    term.push_str(name.text);
                    self.bracket(&mut term);
                } else {
                    term = format!("{GET}({term}, '{}')", name.text);
                }
            } else if self.is(0, "[") {
                if let Some(bracket) = self.next() {
                    term.push_str(bracket.space);
                }
                let slice = self.is_slice();
                let inside = self.sequence();
                let close = self.next().map_or("", |t| t.text);
                term = if slice || close.is_empty() || inside.trim().is_empty() {
                    format!("{term}[{inside}{close}")
                } else {
                    format!("{GET}({term}, {inside})")
                };
            } else if self.is(0, "(") {
                self.bracket(&mut term);
            } else {
                break;
            }
        }
        out.push_str(&term);
    }

    fn literal(&self, out: &mut String, token: Token<'_>) {
        if token.kind != Kind::Text || self.backslashes == Backslashes::Escape {
            out.push_str(token.text);
            return;
        }
        let quote = token.text.chars().next();
        let mut chars = token.text.chars().peekable();
        while let Some(c) = chars.next() {
            out.push(c);
            if c == '\\' {
                out.push(c);
                // A quote that was escaped must not end the text now.
                if chars.peek().copied() == quote {
                    out.push(c);
                }
                if let Some(next) = chars.next() {
                    out.push(next);
                    if next == '\\' {
                        out.push(next);
                    }
                }
            }
        }
    }

    /// Whether a colon stands in the subscript that was just opened.
    fn is_slice(&self) -> bool {
        let mut depth = 0_i32;
        for token in self.tokens.iter().skip(self.at).filter(|t| t.kind == Kind::Sign) {
            match token.text {
                "(" | "[" | "{" => depth += 1,
                "]" | ")" | "}" if depth == 0 => return false,
                "]" | ")" | "}" => depth -= 1,
                ":" if depth == 0 => return true,
                _ => {}
            }
        }
        false
    }
}

fn push(out: &mut String, token: Token<'_>) {
    out.push_str(token.space);
    out.push_str(token.text);
}

fn close(out: &mut String, open: &mut usize) {
    for _ in 0..std::mem::take(open) {
        out.push(')');
    }
}

/// Makes what stands in `out` from `start` on the first argument of a call.
fn wrap(out: &mut String, start: usize, function: &str) {
    let left = out.split_off(start);
    let space = left.len() - left.trim_start().len();
    out.push_str(left.get(..space).unwrap_or_default());
    out.push_str(function);
    out.push('(');
    out.push_str(left.get(space..).unwrap_or_default());
    out.push(',');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_what_the_engine_does_right() {
        for source in [
            "a",
            "f(x, y=2)",
            "a | ansible.builtin.combine(b, recursive=true)",
            "a is not b.c.defined",
            "'a.b' ~ \"c\"",
            "x if y else z",
            "a[1:2]",
            "-a ** 2",
            "s.split(',')",
            "1.5 + 2",
        ] {
            assert_eq!(rewrite(source, false, Backslashes::Escape), source);
        }
    }

    #[test]
    fn access_becomes_a_call() {
        for (source, expected) in [
            ("a.b", "__get(a, 'b')"),
            ("a.b.c | d", "__get(__get(a, 'b'), 'c') | d"),
            ("a['b'][c.d]", "__get(__get(a, 'b'), __get(c, 'd'))"),
            ("a.results[0].stdout.split('x')", "__get(__get(__get(a, 'results'), 0), 'stdout').split('x')"),
            ("(a + b).c", "__get((a + b), 'c')"),
            ("a.0", "__get(a, 0)"),
            ("f(a.b).c", "__get(f(__get(a, 'b')), 'c')"),
            ("x is defined and x.y == 'z.w'", "x is defined and __get(x, 'y') == 'z.w'"),
            ("{'k': a.b}", "{'k': __get(a, 'b')}"),
            ("a in b.c", "a in __get(b, 'c')"),
            ("not a.b", "not __get(a, 'b')"),
            ("default_value=x.y", "default_value=__get(x, 'y')"),
        ] {
            assert_eq!(rewrite(source, false, Backslashes::Escape), expected, "{source}");
        }
    }

    #[test]
    fn percent_takes_its_operands() {
        for (source, expected) in [
            ("'%s' % x", "__mod('%s', x)"),
            ("1 + a % b * c", "1 + __mod(a, b) * c"),
            ("a * b % c", "__mod(a * b, c)"),
            ("a % b % c", "__mod(__mod(a, b), c)"),
            ("-a % b", "__mod(-a, b)"),
            ("'%s-%d' % (s, x) | upper", "__mod('%s-%d', (s, x) | upper)"),
            ("a - b % c == d", "a - __mod(b, c) == d"),
            ("[a % b, c % d]", "[__mod(a, b), __mod( c, d)]"),
        ] {
            assert_eq!(
                rewrite(source, false, Backslashes::Escape).replace(", ", ","),
                expected.replace(", ", ",").replace("( ", "("),
                "{source}"
            );
        }
    }

    #[test]
    fn minus_takes_moments() {
        for (source, expected) in [
            ("(a | to_datetime) - (b | to_datetime)", "__sub((a | to_datetime), (b | to_datetime))"),
            (
                "(a - b | to_datetime).days > 1 - 2",
                "__get((__sub(a, b | to_datetime)), 'days') > __sub(1, 2)",
            ),
            ("1 + a - b - (c | to_datetime)", "__sub(__sub(1 + a, b), (c | to_datetime))"),
            ("a - b", "a - b"),
        ] {
            let written = |text: &str| text.replace(' ', "");
            assert_eq!(written(&rewrite(source, false, Backslashes::Escape)), written(expected), "{source}");
        }
    }

    #[test]
    fn literals_change_only_where_something_changes_them() {
        assert!(mutates("{% set _ = l.append(1) %}"));
        assert!(!mutates("{{ append }} update( x.appendix()"));
        assert_eq!(
            rewrite("[a, {'b': []}]", true, Backslashes::Escape),
            "__mutable([a, __mutable({'b': __mutable([])})])"
        );
    }
}
