use std::collections::HashMap;
use std::sync::Arc;

use base64::Engine as _;
use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span, StrInput, Tag};

use super::{Kind, Mapping, Node, Written, hint, scalar};
use crate::diag::{Diagnostic, Origin, SourceFile};

/// Deeper documents are refused: nobody writes them by hand.
const MAX_DEPTH: usize = 100;
/// Nodes that aliases may add to one file.
const MAX_ALIASED: usize = 100_000;

/// The documents of one file.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Loaded {
    pub documents: Vec<Node>,
    /// What Ansible only warns about: a key written twice.
    pub warnings: Vec<Diagnostic>,
}

/// Reads all documents of a file.
pub fn load(file: &Arc<SourceFile>) -> Result<Loaded, Diagnostic> {
    // The parser takes NUL for the end of the text, and would drop what follows.
    if let Some((index, text)) = file.text.lines().enumerate().find(|(_, l)| l.contains('\0')) {
        let column = text.chars().take_while(|c| *c != '\0').count() + 1;
        let origin = Origin::new(file, number(index + 1), number(column), 1);
        return Err(Diagnostic::new("a NUL character is not allowed in YAML").at(&origin));
    }
    // Ansible tries JSON first, where numbers follow JSON's own rules.
    let json = serde_json::from_str::<serde_json::Value>(&file.text).ok();
    let resolve = if json.is_some() { scalar::resolve_json } else { scalar::resolve };
    match (Loader::new(file, resolve).documents(), json) {
        // JSON that is no YAML, by an escape for instance.
        (Err(_), Some(value)) => {
            let document = of_json(&value, &Origin::new(file, 1, 1, 1));
            Ok(Loaded { documents: vec![document], warnings: Vec::new() })
        }
        (loaded, _) => loaded,
    }
}

/// Reads a file of one document; an empty file is `Null`.
pub fn load_one(file: &Arc<SourceFile>) -> Result<(Node, Vec<Diagnostic>), Diagnostic> {
    let Loaded { documents, warnings } = load(file)?;
    let mut documents = documents.into_iter();
    let first = documents.next().unwrap_or_else(|| Node::new(Kind::Null, &Origin::new(file, 1, 1, 1)));
    match documents.next() {
        None => Ok((first, warnings)),
        Some(second) => Err(Diagnostic::new("a second document where one was expected")
            .at(&second.origin)
            .hint("remove the `---` between them, or put them into two files")),
    }
}

/// A JSON document's node: its texts may hold templates, as those of any file that a person names.
fn of_json(value: &serde_json::Value, origin: &Origin) -> Node {
    let text = |text: &String| Kind::Str(Written::read(text, &origin.file));
    let kind = match value {
        serde_json::Value::String(s) => text(s),
        serde_json::Value::Array(items) => Kind::Seq(items.iter().map(|v| of_json(v, origin)).collect()),
        serde_json::Value::Object(map) => {
            let pair = |(k, v)| (Node::new(text(k), origin), of_json(v, origin));
            Kind::Map(map.iter().map(pair).collect())
        }
        plain => Node::known(plain, origin).kind,
    };
    Node::new(kind, origin)
}

fn number(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

struct Anchor {
    node: Node,
    size: usize,
}

struct Loader<'a> {
    file: &'a Arc<SourceFile>,
    lines: Vec<&'a str>,
    parser: Parser<'a, StrInput<'a>>,
    resolve: fn(&str, &Arc<SourceFile>) -> Kind,
    anchors: HashMap<usize, Anchor>,
    aliased: usize,
    warnings: Vec<Diagnostic>,
}

impl<'a> Loader<'a> {
    fn new(file: &'a Arc<SourceFile>, resolve: fn(&str, &Arc<SourceFile>) -> Kind) -> Self {
        let text = file.text.strip_prefix('\u{feff}').unwrap_or(&file.text);
        Self {
            file,
            lines: text.lines().collect(),
            parser: Parser::new_from_str(text),
            resolve,
            anchors: HashMap::new(),
            aliased: 0,
            warnings: Vec::new(),
        }
    }

    fn documents(mut self) -> Result<Loaded, Diagnostic> {
        let mut documents = Vec::new();
        while let Some((event, span)) = self.next()? {
            match event {
                Event::StreamEnd => break,
                Event::Nothing | Event::StreamStart | Event::DocumentStart(_) | Event::DocumentEnd => {}
                event => {
                    documents.push(self.node(event, span, 0)?);
                    self.anchors.clear();
                }
            }
        }
        Ok(Loaded { documents, warnings: self.warnings })
    }

    fn next(&mut self) -> Result<Option<(Event<'a>, Span)>, Diagnostic> {
        self.parser.next_event().transpose().map_err(|error| self.syntax(&error))
    }

    /// The next event inside a collection, which has to end before the stream does.
    fn inner(&mut self, outer: &Origin) -> Result<(Event<'a>, Span), Diagnostic> {
        self.next()?.ok_or_else(|| Diagnostic::new("the collection does not end").at(outer))
    }

    fn syntax(&self, error: &ScanError) -> Diagnostic {
        let marker = error.marker();
        // The parser may notice a mistake only at the end of the text.
        let line = marker.line().min(self.lines.len().max(1));
        let text = self.line(line);
        let column = if line == marker.line() { marker.col() } else { text.chars().count() };
        let origin = Origin::new(self.file, number(line), number(column + 1), 1);
        let before = self.line(line.saturating_sub(1));
        let help = hint::classic(text, error.info()).or_else(|| hint::classic(before, ""));
        Diagnostic::new(format!("this is not YAML: {}", error.info()))
            .at(&origin)
            .hint_opt(help.map(str::to_owned))
    }

    fn written(&self, text: &str) -> Written {
        Written::read(text, self.file)
    }

    fn line(&self, line: usize) -> &'a str {
        line.checked_sub(1).and_then(|index| self.lines.get(index)).copied().unwrap_or_default()
    }

    fn origin(&self, span: Span) -> Origin {
        let (start, end) = (span.start, span.end);
        let stop =
            if end.line() == start.line() { end.col() } else { self.line(start.line()).chars().count() };
        let width = stop.saturating_sub(start.col());
        Origin::new(self.file, number(start.line()), number(start.col() + 1), number(width))
    }

    fn node(&mut self, event: Event<'a>, span: Span, depth: usize) -> Result<Node, Diagnostic> {
        let origin = self.origin(span);
        if depth > MAX_DEPTH {
            return Err(Diagnostic::new(format!("nested more than {MAX_DEPTH} levels deep")).at(&origin));
        }
        let (kind, anchor) = match event {
            Event::Alias(id) => return self.alias(id, &origin),
            Event::Scalar(text, style, anchor, tag) => {
                (self.scalar(&text, style, tag.as_deref(), &origin)?, anchor)
            }
            Event::SequenceStart(anchor, tag) => {
                let mut items = Vec::new();
                loop {
                    match self.inner(&origin)? {
                        (Event::SequenceEnd, _) => break,
                        (event, span) => items.push(self.node(event, span, depth + 1)?),
                    }
                }
                (tagged(Kind::Seq(items.into()), tag.as_deref(), &origin)?, anchor)
            }
            Event::MappingStart(anchor, tag) => {
                let mapping = self.mapping(&origin, depth)?;
                (tagged(Kind::Map(mapping), tag.as_deref(), &origin)?, anchor)
            }
            other => return Err(Diagnostic::new(format!("unexpected {other:?}")).at(&origin)),
        };
        let node = Node { kind, origin };
        if anchor > 0 {
            let size = size(&node);
            self.spend(size, &node.origin)?;
            self.anchors.insert(anchor, Anchor { node: node.clone(), size });
        }
        Ok(node)
    }

    fn alias(&mut self, id: usize, origin: &Origin) -> Result<Node, Diagnostic> {
        let size = self
            .anchors
            .get(&id)
            .map(|a| a.size)
            .ok_or_else(|| Diagnostic::new("an alias to what it is itself a part of").at(origin))?;
        self.spend(size, origin)?;
        let found = self.anchors.get(&id).map(|a| a.node.clone());
        found.ok_or_else(|| Diagnostic::new("an alias without an anchor").at(origin))
    }

    fn spend(&mut self, size: usize, origin: &Origin) -> Result<(), Diagnostic> {
        self.aliased = self.aliased.saturating_add(size);
        if self.aliased > MAX_ALIASED {
            let message = format!("aliases in this file stand for more than {MAX_ALIASED} nodes");
            return Err(Diagnostic::new(message).at(origin));
        }
        Ok(())
    }

    fn mapping(&mut self, outer: &Origin, depth: usize) -> Result<Mapping, Diagnostic> {
        let mut own: Vec<(Node, Node)> = Vec::new();
        let mut places: HashMap<String, usize> = HashMap::new();
        let mut merged: Vec<(Node, Node)> = Vec::new();
        loop {
            let (event, span) = match self.inner(outer)? {
                (Event::MappingEnd, _) => break,
                found => found,
            };
            let merge = matches!(&event, Event::Scalar(t, ScalarStyle::Plain, _, None) if t == "<<");
            let key = self.node(event, span, depth + 1)?;
            if matches!(key.kind, Kind::Seq(_) | Kind::Map(_)) {
                return Err(self.complex_key(&key));
            }
            let (event, span) = self.inner(&key.origin)?;
            let absent = matches!(&event, Event::Scalar(t, ScalarStyle::Plain, _, _) if t.is_empty());
            let mut value = self.node(event, span, depth + 1)?;
            if absent {
                // An empty value stands nowhere; its key does.
                value.origin = key.origin.clone();
            }
            if merge {
                merge_into(&mut merged, value)?;
                continue;
            }
            if let Some(entry) = places.get(&identity(&key)).and_then(|at| own.get_mut(*at)) {
                self.warnings.push(
                    Diagnostic::new(format!("the key {} is written twice", key.key_text()))
                        .at(&key.origin)
                        .note(format!("first at {}", entry.0.origin))
                        .note("the last one is used"),
                );
                *entry = (key, value);
            } else {
                places.insert(identity(&key), own.len());
                own.push((key, value));
            }
        }
        if merged.is_empty() {
            return Ok(own.into());
        }
        // As in Python's dict: merged keys come first, and a mapping's own values replace theirs in place.
        let mut places: HashMap<String, usize> =
            merged.iter().enumerate().map(|(at, (key, _))| (identity(key), at)).collect();
        for (key, value) in own {
            if let Some(entry) = places.get(&identity(&key)).and_then(|at| merged.get_mut(*at)) {
                *entry = (key, value);
            } else {
                places.insert(identity(&key), merged.len());
                merged.push((key, value));
            }
        }
        Ok(merged.into())
    }

    fn complex_key(&self, key: &Node) -> Diagnostic {
        let line = self.line(key.origin.line as usize);
        if line.contains("{{") {
            return Diagnostic::new("a value that starts with a template has to be quoted")
                .at(&key.origin)
                .note("without quotes, YAML reads `{{` as a mapping inside a mapping")
                .hint("write key: \"{{ name }}\"");
        }
        Diagnostic::new(format!("a mapping's key cannot be {}", key.type_name())).at(&key.origin)
    }

    fn scalar(
        &self,
        text: &str,
        style: ScalarStyle,
        tag: Option<&Tag>,
        origin: &Origin,
    ) -> Result<Kind, Diagnostic> {
        let Some(tag) = tag else {
            let plain = style == ScalarStyle::Plain;
            return Ok(if plain { (self.resolve)(text, self.file) } else { Kind::Str(self.written(text)) });
        };
        let wrong =
            |what: &str| Diagnostic::new(format!("{text:?} is not {what}, as its tag says")).at(origin);
        Ok(match name(tag).as_str() {
            "!vault" | "!vault-encrypted" => Kind::Vault(text.into()),
            "!unsafe" => Kind::Unsafe(text.into()),
            "!" | "!!str" | "!!timestamp" => Kind::Str(self.written(text)),
            "!!null" => Kind::Null,
            "!!bool" => match scalar::resolve(text, self.file) {
                kind @ Kind::Bool(_) => kind,
                _ => return Err(wrong("a boolean")),
            },
            "!!int" => Kind::Int(scalar::int(text).ok_or_else(|| wrong("an integer"))?),
            "!!float" => Kind::Float(
                scalar::float(text).or_else(|| text.parse().ok()).ok_or_else(|| wrong("a number"))?,
            ),
            "!!binary" => {
                let bare: String = text.split_whitespace().collect();
                let bytes = base64::engine::general_purpose::STANDARD.decode(bare).ok();
                let decoded = bytes.and_then(|b| String::from_utf8(b).ok());
                Kind::Str(self.written(&decoded.ok_or_else(|| wrong("base64 of a UTF-8 text"))?))
            }
            other => return Err(unknown_tag(other, origin)),
        })
    }
}

/// The tag as it is usually written.
fn name(tag: &Tag) -> String {
    let full = format!("{}{}", tag.handle, tag.suffix);
    match full.strip_prefix("tag:yaml.org,2002:") {
        Some(core) => format!("!!{core}"),
        None => full,
    }
}

fn unknown_tag(tag: &str, origin: &Origin) -> Diagnostic {
    let known = ["!vault", "!unsafe", "!!str", "!!int", "!!float", "!!bool", "!!null", "!!binary"];
    Diagnostic::new(format!("unknown tag {tag}")).at(origin).hint(match crate::diag::closest(tag, known) {
        Some(near) => format!("did you mean {near}?"),
        None => "quote a text that starts with `!`".to_owned(),
    })
}

/// A collection under its tag.
fn tagged(kind: Kind, tag: Option<&Tag>, origin: &Origin) -> Result<Kind, Diagnostic> {
    let Some(tag) = tag else { return Ok(kind) };
    match (name(tag).as_str(), kind) {
        ("!!map" | "!", kind @ Kind::Map(_))
        | ("!!seq" | "!" | "!!omap" | "!!pairs", kind @ Kind::Seq(_)) => Ok(kind),
        ("!!set", Kind::Map(map)) => {
            Ok(Kind::Seq(map.into_pairs().into_iter().map(|(key, _)| key).collect()))
        }
        ("!unsafe", kind) => Ok(distrust(kind)),
        (other, _) => Err(unknown_tag(other, origin)),
    }
}

/// Makes every text inside unsafe.
fn distrust(kind: Kind) -> Kind {
    let inside = |node: Node| Node { kind: distrust(node.kind), origin: node.origin };
    match kind {
        Kind::Str(text) => Kind::Unsafe((*text).into()),
        Kind::Seq(items) => Kind::Seq(items.into_parts().into_iter().map(inside).collect()),
        Kind::Map(map) => Kind::Map(map.into_pairs().into_iter().map(|(k, v)| (k, inside(v))).collect()),
        other => other,
    }
}

/// Adds what `<<` names; of two merged mappings the earlier one wins.
fn merge_into(merged: &mut Vec<(Node, Node)>, value: Node) -> Result<(), Diagnostic> {
    match value.kind {
        Kind::Map(map) => {
            for (key, value) in map.into_pairs() {
                if !merged.iter().any(|(known, _)| known.kind == key.kind) {
                    merged.push((key, value));
                }
            }
            Ok(())
        }
        Kind::Seq(items) if items.iter().all(|item| matches!(item.kind, Kind::Map(_))) => {
            items.into_parts().into_iter().try_for_each(|item| merge_into(merged, item))
        }
        _ => Err(Diagnostic::new("`<<` takes a mapping or a list of mappings").at(&value.origin)),
    }
}

/// What makes two keys the same key.
fn identity(key: &Node) -> String {
    format!("{:?}", key.kind)
}

fn size(node: &Node) -> usize {
    1 + match &node.kind {
        Kind::Seq(items) => items.iter().map(size).sum(),
        Kind::Map(map) => map.iter().map(|(key, value)| size(key) + size(value)).sum(),
        // A long text stands for as many nodes as take its room.
        _ => node.as_str().map_or(0, |text| text.len() / 1000),
    }
}

#[cfg(test)]
#[path = "load_tests.rs"]
mod tests;
