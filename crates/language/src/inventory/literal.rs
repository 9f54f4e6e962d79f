//! Python literals, as `ast.literal_eval` reads them.

use super::number::{self, Number};
use super::piece::Piece;
use crate::yaml::{Kind, Mapping, Node};

/// Python gives up at as many brackets inside each other.
const MAX_DEPTH: usize = 200;

/// What a value in an inventory means: a Python literal, or else the text as it stands.
pub(super) fn value(piece: &Piece) -> Node {
    let whole = piece.chars.iter().take_while(|(c, _)| matches!(c, ' ' | '\t')).count();
    let mut reader = Reader { piece, at: whole };
    let kind = reader.whole().unwrap_or_else(|| Kind::Str(piece.written(piece.text())));
    Node::new(kind, &piece.origin())
}

/// A part of an expression: numbers may still take a sign.
enum Part {
    Number(Number),
    Other(Kind),
}

impl Part {
    fn into_kind(self, piece: &Piece) -> Kind {
        match self {
            Self::Number(number) => number.into_kind(piece),
            Self::Other(kind) => kind,
        }
    }
}

struct Reader<'a> {
    piece: &'a Piece,
    at: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<char> {
        self.ahead(0)
    }

    fn ahead(&self, by: usize) -> Option<char> {
        self.piece.chars.get(self.at + by).map(|(c, _)| *c)
    }

    fn eat(&mut self, wanted: char) -> bool {
        self.blanks();
        let found = self.peek() == Some(wanted);
        self.at += usize::from(found);
        found
    }

    fn blanks(&mut self) {
        while let Some(c) = self.peek() {
            match c {
                ' ' | '\t' | '\u{c}' => self.at += 1,
                '#' => self.at = self.piece.chars.len(),
                _ => break,
            }
        }
    }

    fn node(&self, kind: Kind, from: usize) -> Node {
        Node::new(kind, &self.piece.origin_of(from, self.at))
    }

    /// The whole text: one value, or several with commas between them.
    fn whole(&mut self) -> Option<Kind> {
        let first = self.expression(0)?;
        let kind = if self.eat(',') {
            let mut items = vec![first];
            self.blanks();
            while self.peek().is_some() {
                items.push(self.expression(0)?);
                if !self.eat(',') {
                    break;
                }
                self.blanks();
            }
            Kind::Seq(items.into())
        } else {
            first.kind
        };
        self.blanks();
        self.peek().is_none().then_some(kind)
    }

    fn expression(&mut self, depth: usize) -> Option<Node> {
        if depth > MAX_DEPTH {
            return None;
        }
        self.blanks();
        let from = self.at;
        let kind = self.part(depth)?.into_kind(self.piece);
        Some(self.node(kind, from))
    }

    fn part(&mut self, depth: usize) -> Option<Part> {
        let sign = self.peek().filter(|c| matches!(c, '+' | '-'));
        let first = match sign {
            None => self.atom(depth)?,
            Some(sign) => {
                self.at += 1;
                self.blanks();
                match self.atom(depth)? {
                    Part::Number(number) if sign == '-' => Part::Number(number.negated()),
                    Part::Number(number) => Part::Number(number),
                    Part::Other(_) => return None,
                }
            }
        };
        let end = self.at;
        self.blanks();
        match (first, self.peek().filter(|c| matches!(c, '+' | '-'))) {
            (Part::Number(left), Some(sign)) => {
                self.at += 1;
                self.blanks();
                let Part::Number(right) = self.atom(depth)? else { return None };
                left.plus(right, sign == '-').map(Part::Number)
            }
            (first, _) => {
                // Blanks after a value are not a part of it.
                self.at = end;
                Some(first)
            }
        }
    }

    fn atom(&mut self, depth: usize) -> Option<Part> {
        let c = self.peek()?;
        match c {
            '[' => self.list(depth).map(Part::Other),
            '(' => self.parentheses(depth),
            '{' => self.braces(depth).map(Part::Other),
            '.' if self.ahead(1) == Some('.') && self.ahead(2) == Some('.') => {
                self.at += 3;
                Some(Part::Other(Kind::Str(self.piece.written("...".to_owned()))))
            }
            '0'..='9' | '.' => {
                let (number, taken) = number::read(self.piece.chars.get(self.at..)?)?;
                self.at += taken;
                Some(Part::Number(number))
            }
            _ if self.string_ahead() => self.strings().map(Part::Other),
            _ => self.name().map(Part::Other),
        }
    }

    fn name(&mut self) -> Option<Kind> {
        let from = self.at;
        while self.peek().is_some_and(|c| c.is_alphanumeric() || c == '_') {
            self.at += 1;
        }
        let name: String = self.piece.chars.get(from..self.at)?.iter().map(|(c, _)| c).collect();
        match name.as_str() {
            "True" => Some(Kind::Bool(true)),
            "False" => Some(Kind::Bool(false)),
            "None" => Some(Kind::Null),
            // The only way to write an empty set.
            "set" if self.eat('(') && self.eat(')') => Some(Kind::Seq(Vec::new().into())),
            _ => None,
        }
    }

    /// Values with commas between them, up to the closing bracket; and whether there was a comma at all.
    fn items(&mut self, close: char, depth: usize) -> Option<(Vec<Node>, bool)> {
        let mut items = Vec::new();
        let mut commas = false;
        while !self.eat(close) {
            items.push(self.expression(depth + 1)?);
            if self.eat(',') {
                commas = true;
            } else if !self.eat(close) {
                return None;
            } else {
                break;
            }
        }
        Some((items, commas))
    }

    fn list(&mut self, depth: usize) -> Option<Kind> {
        self.at += 1;
        self.items(']', depth).map(|(items, _)| Kind::Seq(items.into()))
    }

    fn parentheses(&mut self, depth: usize) -> Option<Part> {
        self.at += 1;
        self.blanks();
        if self.eat(')') {
            return Some(Part::Other(Kind::Seq(Vec::new().into())));
        }
        if depth > MAX_DEPTH {
            return None;
        }
        let from = self.at;
        let first = self.part(depth + 1)?;
        if self.eat(')') {
            return Some(first);
        }
        let first = self.node(first.into_kind(self.piece), from);
        if !self.eat(',') {
            return None;
        }
        let (rest, _) = self.items(')', depth)?;
        Some(Part::Other(Kind::Seq(std::iter::once(first).chain(rest).collect())))
    }

    /// A dict or a set.
    fn braces(&mut self, depth: usize) -> Option<Kind> {
        self.at += 1;
        if self.eat('}') {
            return Some(Kind::Map(Mapping::default()));
        }
        let first = self.expression(depth + 1)?;
        if !self.eat(':') {
            if self.eat('}') {
                return hashable(&first).then(|| Kind::Seq(vec![first].into()));
            }
            if !self.eat(',') {
                return None;
            }
            let (rest, _) = self.items('}', depth)?;
            let mut set: Vec<Node> = Vec::new();
            for item in std::iter::once(first).chain(rest) {
                if !hashable(&item) {
                    return None;
                }
                if !set.iter().any(|known| known.kind == item.kind) {
                    set.push(item);
                }
            }
            return Some(Kind::Seq(set.into()));
        }
        let mut pairs: Vec<(Node, Node)> = Vec::new();
        let mut key = first;
        loop {
            if !hashable(&key) {
                return None;
            }
            let value = self.expression(depth + 1)?;
            match pairs.iter_mut().find(|(known, _)| known.kind == key.kind) {
                Some(pair) => pair.1 = value,
                None => pairs.push((key, value)),
            }
            let more = self.eat(',');
            if self.eat('}') {
                return Some(Kind::Map(pairs.into()));
            }
            if !more {
                return None;
            }
            key = self.expression(depth + 1)?;
            if !self.eat(':') {
                return None;
            }
        }
    }

    fn string_ahead(&self) -> bool {
        let prefix = (0..3).find(|by| matches!(self.ahead(*by), Some('\'' | '"')));
        prefix
            .is_some_and(|length| (0..length).all(|by| self.ahead(by).is_some_and(|c| "rRbBuU".contains(c))))
    }

    /// One string, or several that stand beside each other.
    fn strings(&mut self) -> Option<Kind> {
        let mut text = String::new();
        let mut bytes = None;
        loop {
            let (part, is_bytes) = self.string()?;
            // Texts and bytes do not mix.
            if *bytes.get_or_insert(is_bytes) != is_bytes {
                return None;
            }
            text.push_str(&part);
            let end = self.at;
            self.blanks();
            if !self.string_ahead() {
                self.at = end;
                // Ansible trusts no bytes with templates.
                return Some(if is_bytes {
                    Kind::Unsafe(text.into())
                } else {
                    Kind::Str(self.piece.written(text))
                });
            }
        }
    }

    fn string(&mut self) -> Option<(String, bool)> {
        let mut prefix = String::new();
        while let Some(c) = self.peek().filter(|c| !matches!(c, '\'' | '"')) {
            prefix.push(c.to_ascii_lowercase());
            self.at += 1;
        }
        if !matches!(prefix.as_str(), "" | "r" | "b" | "u" | "rb" | "br") {
            return None;
        }
        let (raw, is_bytes) = (prefix.contains('r'), prefix.contains('b'));
        let quote = self.peek()?;
        let triple = self.ahead(1) == Some(quote) && self.ahead(2) == Some(quote);
        self.at += if triple { 3 } else { 1 };
        let mut bytes: Vec<u8> = Vec::new();
        loop {
            let c = self.peek()?;
            if c == quote && (!triple || (self.ahead(1) == Some(quote) && self.ahead(2) == Some(quote))) {
                self.at += if triple { 3 } else { 1 };
                break;
            }
            self.at += 1;
            if is_bytes && !c.is_ascii() {
                return None;
            }
            if c != '\\' {
                push(&mut bytes, c);
            } else if raw {
                push(&mut bytes, c);
                push(&mut bytes, self.peek()?);
                self.at += 1;
            } else {
                self.escape(&mut bytes, is_bytes)?;
            }
        }
        Some((String::from_utf8_lossy(&bytes).into_owned(), is_bytes))
    }

    /// What stands after a backslash.
    fn escape(&mut self, out: &mut Vec<u8>, is_bytes: bool) -> Option<()> {
        let c = self.peek()?;
        self.at += 1;
        let plain = match c {
            '\\' | '\'' | '"' => c,
            'a' => '\u{7}',
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'v' => '\u{b}',
            '0'..='7' => {
                let mut code = c.to_digit(8)?;
                for _ in 0..2 {
                    let Some(digit) = self.peek().and_then(|d| d.to_digit(8)) else { break };
                    code = code * 8 + digit;
                    self.at += 1;
                }
                code_point(out, code, is_bytes);
                return Some(());
            }
            'x' => {
                let code = self.hex(2)?;
                code_point(out, code, is_bytes);
                return Some(());
            }
            'u' if !is_bytes => {
                let code = self.hex(4)?;
                code_point(out, code, false);
                return Some(());
            }
            'U' if !is_bytes => {
                let code = self.hex(8).filter(|code| *code <= 0x0010_ffff)?;
                code_point(out, code, false);
                return Some(());
            }
            // Names of characters are not known here: the text stays as it is.
            'N' if !is_bytes => return None,
            other => {
                out.push(b'\\');
                other
            }
        };
        push(out, plain);
        Some(())
    }

    fn hex(&mut self, length: usize) -> Option<u32> {
        let mut code = 0;
        for _ in 0..length {
            code = code * 16 + self.peek()?.to_digit(16)?;
            self.at += 1;
        }
        Some(code)
    }
}

fn push(out: &mut Vec<u8>, c: char) {
    out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
}

fn code_point(out: &mut Vec<u8>, code: u32, is_bytes: bool) {
    if is_bytes {
        out.push(u8::try_from(code & 0xff).unwrap_or(0));
    } else {
        push(out, char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
    }
}

/// Lists, sets and dicts are no keys in Python. A tuple is, and cannot be told from a list any more.
fn hashable(node: &Node) -> bool {
    !matches!(node.kind, Kind::Seq(_) | Kind::Map(_))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diag::SourceFile;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn read(text: &str) -> Value {
        value(&Piece::line(&SourceFile::new("t", text), 1, text)).to_value()
    }

    #[test]
    fn literals_are_pythons() {
        for (text, expected) in [
            ("\"redhat\"", json!("redhat")),
            ("1", json!(1)),
            ("-1", json!(-1)),
            ("--1", json!("--1")),
            ("0x1F", json!(31)),
            ("0o17", json!(15)),
            ("007", json!("007")),
            ("000", json!(0)),
            ("1_000", json!(1000)),
            ("1__0", json!("1__0")),
            ("1.5", json!(1.5)),
            ("1e3", json!(1000.0)),
            (".5", json!(0.5)),
            ("1.", json!(1.0)),
            ("56L", json!("56L")),
            ("10.0.0.1", json!("10.0.0.1")),
            ("1+2j", json!("(1+2j)")),
            ("2j", json!("2j")),
            ("1+1", json!("1+1")),
            ("True", json!(true)),
            ("FALSE", json!("FALSE")),
            ("None", json!(null)),
            ("...", json!("...")),
            ("1,2", json!([1, 2])),
            ("1,", json!([1])),
            ("()", json!([])),
            ("(1)", json!(1)),
            ("(1,)", json!([1])),
            ("{1, 2, 1}", json!([1, 2])),
            ("set()", json!([])),
            ("{}", json!({})),
            ("{'a': [1, {'b': None}], 'c': (1, 2)}", json!({"a": [1, {"b": null}], "c": [1, 2]})),
            ("[1, 2,]", json!([1, 2])),
            ("[1 2]", json!("[1 2]")),
            ("[1, 2", json!("[1, 2")),
            ("1 # a comment", json!(1)),
            ("x # not a comment", json!("x # not a comment")),
            ("'a' \"b\"", json!("ab")),
            ("b'x'", json!("x")),
            ("'a' b'b'", json!("'a' b'b'")),
            (r"r'a\n'", json!(r"a\n")),
            (r"'a\n\x41\u00e9\101\q'", json!("a\nAéA\\q")),
            ("'''a'b'''", json!("a'b")),
            ("f'x'", json!("f'x'")),
            ("'a", json!("'a")),
            ("", json!("")),
            ("{'a': 1, 'a': 2}", json!({"a": 2})),
            ("yes", json!("yes")),
            ("a=b", json!("a=b")),
            ("'{{ x }}'", json!("{{ x }}")),
            ("{{ x }}", json!("{{ x }}")),
        ] {
            assert_eq!(read(text), expected, "{text}");
        }
    }

    #[test]
    fn parts_know_their_place() {
        let text = "disks=[{'size': 10}]";
        let piece = Piece::line(&SourceFile::new("t", text), 1, text);
        let (_, after) = piece.split_once('=').unwrap();
        let node = value(&after);
        let size = node.as_seq().unwrap()[0].as_map().unwrap().get("size").unwrap();
        assert_eq!((size.origin.column, size.origin.width), (17, 2));
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(text in "[\\[\\](){}'\",:0-9a-fxjLrbuN.+\\-\\\\ #_é]{0,40}") {
            let _ = read(&text);
        }
    }
}
