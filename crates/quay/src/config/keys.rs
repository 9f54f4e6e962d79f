use crate::yaml::{Kind, Node};

/// Names and shapes of the keys, a file because it is data.
const KEYS: &str = include_str!("keys.txt");

/// What a key holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Bool,
    Text,
    Number,
    Duration,
    List,
    Map,
    Any,
}

impl Shape {
    fn named(word: &str) -> Option<(Self, bool)> {
        let shape = match word.trim_end_matches('?') {
            "bool" => Self::Bool,
            "string" => Self::Text,
            "number" => Self::Number,
            "duration" => Self::Duration,
            "list" => Self::List,
            "map" => Self::Map,
            "any" => Self::Any,
            _ => return None,
        };
        Some((shape, word.ends_with('?')))
    }

    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Bool => "true or false",
            Self::Text => "a string",
            Self::Number => "a number",
            Self::Duration => "a duration like 2w, 12h or 30m",
            Self::List => "a list",
            Self::Map => "a mapping",
            Self::Any => "anything",
        }
    }

    pub(super) fn fits(self, node: &Node) -> bool {
        match (self, &node.kind) {
            (Self::Any, _)
            | (Self::Bool, Kind::Bool(_))
            | (Self::Text, Kind::Str(_) | Kind::Unsafe(_))
            | (Self::Number, Kind::Int(_) | Kind::Float(_))
            | (Self::List, Kind::Seq(_))
            | (Self::Map, Kind::Map(_)) => true,
            (Self::Duration, Kind::Str(text)) => is_duration(text),
            _ => false,
        }
    }
}

/// Digits and one of `w`, `m`, `d`, `h`, `s`.
pub(super) fn is_duration(text: &str) -> bool {
    text.strip_suffix(['w', 'm', 'd', 'h', 's'])
        .is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))
}

/// All keys with their shapes, and whether they may be null.
pub(super) fn all() -> impl Iterator<Item = (&'static str, Shape, bool)> {
    KEYS.lines().filter_map(|line| line.split_once(' ')).flat_map(|(word, names)| {
        let shape = Shape::named(word);
        names.split(' ').filter_map(move |name| shape.map(|(shape, null)| (name, shape, null)))
    })
}

/// A key's shape, and whether it may be null; `None` for one that Quay does not know.
pub(super) fn find(key: &str) -> Option<(Shape, bool)> {
    // Each OIDC provider has a key of its own name.
    if key.ends_with("_LOGIN_CONFIG") {
        return Some((Shape::Map, true));
    }
    all().find(|(name, ..)| *name == key).map(|(_, shape, null)| (shape, null))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_stands_in_the_table_once() {
        let mut names: Vec<&str> = all().map(|(name, ..)| name).collect();
        assert!(names.len() > 280, "{}", names.len());
        let total = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), total);
        assert!(
            names
                .iter()
                .all(|n| n.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_'))
        );
        assert_eq!(find("FEATURE_MAILING"), Some((Shape::Bool, false)));
        assert_eq!(find("AZURE_LOGIN_CONFIG"), Some((Shape::Map, true)));
        assert_eq!(find("NONSENSE"), None);
    }

    #[test]
    fn durations_are_a_number_and_a_unit() {
        for (text, good) in
            [("2w", true), ("0s", true), ("2 w", false), ("w", false), ("2y", false), ("2", false)]
        {
            assert_eq!(is_duration(text), good, "{text}");
        }
    }
}
