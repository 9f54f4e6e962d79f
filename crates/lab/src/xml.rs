use std::fmt::Write as _;

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

use super::LabError;

/// One XML element with its attributes, its own text and its children: all that libvirt's documents need.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Element {
    pub name: String,
    pub attributes: Vec<(String, String)>,
    pub children: Vec<Element>,
    pub text: String,
}

impl Element {
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }

    #[must_use]
    pub fn attr(mut self, name: &str, value: impl std::fmt::Display) -> Self {
        self.attributes.push((name.to_owned(), value.to_string()));
        self
    }

    #[must_use]
    pub fn text(mut self, text: impl std::fmt::Display) -> Self {
        self.text = text.to_string();
        self
    }

    #[must_use]
    pub fn child(mut self, child: Self) -> Self {
        self.children.push(child);
        self
    }

    #[must_use]
    pub fn children_of(mut self, children: impl IntoIterator<Item = Self>) -> Self {
        self.children.extend(children);
        self
    }

    pub fn get(&self, attribute: &str) -> Option<&str> {
        self.attributes.iter().find(|(n, _)| n == attribute).map(|(_, v)| v.as_str())
    }

    /// The first child with this name.
    pub fn find(&self, name: &str) -> Option<&Self> {
        self.children.iter().find(|c| c.name == name)
    }

    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Self> {
        self.children.iter().filter(move |c| c.name == name)
    }

    /// The descendant at `a/b/c`.
    pub fn path(&self, path: &str) -> Option<&Self> {
        path.split('/').try_fold(self, |at, name| at.find(name))
    }

    /// The attribute of the descendant at a path.
    pub fn path_attr(&self, path: &str, attribute: &str) -> Option<&str> {
        self.path(path)?.get(attribute)
    }

    /// The text of the descendant at a path.
    pub fn path_text(&self, path: &str) -> Option<&str> {
        Some(self.path(path)?.text.as_str())
    }

    /// Reads a document.
    pub fn parse(xml: &str) -> Result<Self, LabError> {
        let bad = |reason: String| LabError::Invalid(format!("this is not well-formed XML: {reason}"));
        let mut reader = Reader::from_str(xml);
        let mut open: Vec<Self> = Vec::new();
        let mut root: Option<Self> = None;
        loop {
            let finished = match reader.read_event().map_err(|e| bad(e.to_string()))? {
                Event::Start(start) => {
                    open.push(Self::from_start(&start).map_err(bad)?);
                    None
                }
                Event::Empty(start) => Some(Self::from_start(&start).map_err(bad)?),
                Event::End(_) => open.pop(),
                Event::Text(text) => {
                    if let Some(top) = open.last_mut() {
                        top.text += &text;
                    }
                    None
                }
                Event::CData(text) => {
                    if let Some(top) = open.last_mut() {
                        top.text += &text;
                    }
                    None
                }
                Event::GeneralRef(name) => {
                    if let Some(top) = open.last_mut() {
                        let entity = format!("&{};", &*name);
                        top.text += &quick_xml::escape::unescape(&entity).map_err(|e| bad(e.to_string()))?;
                    }
                    None
                }
                Event::Eof => break,
                Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::DocType(_) => None,
            };
            if let Some(mut element) = finished {
                element.text = element.text.trim().into();
                match open.last_mut() {
                    Some(parent) => parent.children.push(element),
                    None => root = Some(element),
                }
            }
        }
        if open.is_empty() { root } else { None }.ok_or_else(|| bad("it ends too early".into()))
    }

    fn from_start(start: &BytesStart<'_>) -> Result<Self, String> {
        let mut element = Self::new(start.name().as_ref());
        for attribute in start.attributes() {
            let attribute = attribute.map_err(|e| e.to_string())?;
            let value =
                quick_xml::escape::unescape(&attribute.value).map_err(|e| e.to_string())?.into_owned();
            element.attributes.push((attribute.key.as_ref().to_owned(), value));
        }
        Ok(element)
    }

    fn write(&self, out: &mut String, depth: usize) {
        let indent = "  ".repeat(depth);
        let _ = write!(out, "{indent}<{}", self.name);
        for (name, value) in &self.attributes {
            let _ = write!(out, " {name}='{}'", quick_xml::escape::escape(value));
        }
        if self.children.is_empty() && self.text.is_empty() {
            out.push_str("/>\n");
            return;
        }
        out.push('>');
        out.push_str(&quick_xml::escape::escape(&self.text));
        if !self.children.is_empty() {
            out.push('\n');
            for child in &self.children {
                child.write(out, depth + 1);
            }
            out.push_str(&indent);
        }
        let _ = writeln!(out, "</{}>", self.name);
    }
}

impl std::fmt::Display for Element {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut out = String::new();
        self.write(&mut out, 0);
        f.write_str(&out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        let element = Element::new("network")
            .attr("x", "a'b<c>&\"d")
            .child(Element::new("name").text("a & b"))
            .child(Element::new("empty"));
        assert_eq!(Element::parse(&element.to_string()).expect("well-formed"), element);
    }

    #[test]
    fn paths_lead_to_descendants() {
        let root = Element::parse("<?xml version='1.0'?><a><!-- c --><b n='1'>t&#33;</b><b n='2'/></a>")
            .expect("xml");
        assert_eq!(root.path_attr("b", "n"), Some("1"));
        assert_eq!(root.path_text("b"), Some("t!"));
        assert_eq!(root.all("b").count(), 2);
        assert!(Element::parse("<a><b></a>").is_err());
        assert!(Element::parse("<a>").is_err());
    }
}
