use std::sync::LazyLock;

use super::version::QuayVersion;
use crate::yaml::{Kind, Node};

/// Names and shapes of the keys, a file because it is data.
const KEYS: &str = include_str!("keys.txt");

static TABLE: LazyLock<Vec<Key>> = LazyLock::new(|| KEYS.lines().filter_map(Key::read).collect());

/// What a key holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Bool,
    Int,
    Number,
    Text,
    /// A number and a unit of time.
    Duration,
    /// How large a layer may be: `MAXIMUM_LAYER_SIZE`.
    Layer,
    /// A number and a unit of size.
    Size,
    List,
    /// A list, or a single text.
    Texts,
    Map,
    Any,
    /// One of some words, which a bar separates.
    Choice(&'static str),
}

impl Shape {
    fn named(word: &'static str) -> Option<Self> {
        Some(match word {
            "bool" => Self::Bool,
            "int" => Self::Int,
            "number" => Self::Number,
            "string" => Self::Text,
            "duration" => Self::Duration,
            "layer" => Self::Layer,
            "size" => Self::Size,
            "list" => Self::List,
            "texts" => Self::Texts,
            "map" => Self::Map,
            "any" => Self::Any,
            _ => Self::Choice(word.strip_prefix("choice:")?),
        })
    }

    pub(super) fn words(self) -> String {
        match self {
            Self::Bool => "true or false".into(),
            Self::Int => "a whole number".into(),
            Self::Number => "a number".into(),
            Self::Text => "a string".into(),
            Self::Duration => "a duration like 2w, 12h or 30m".into(),
            Self::Layer => "a number and G or M, such as 20G".into(),
            Self::Size => "a number and B, K, M, G or T, such as 8G".into(),
            Self::List => "a list".into(),
            Self::Texts => "a list of strings".into(),
            Self::Map => "a mapping".into(),
            Self::Any => "anything".into(),
            Self::Choice(words) => format!("one of {}", words.split('|').collect::<Vec<_>>().join(", ")),
        }
    }

    pub(super) fn fits(self, node: &Node) -> bool {
        match (self, &node.kind) {
            (Self::Any, _)
            | (Self::Bool, Kind::Bool(_))
            | (Self::Int | Self::Number, Kind::Int(_))
            | (Self::Number, Kind::Float(_))
            | (Self::List | Self::Texts, Kind::Seq(_))
            | (Self::Map, Kind::Map(_)) => true,
            (_, Kind::Str(_) | Kind::Unsafe(_)) => node.as_str().is_some_and(|text| self.fits_text(text)),
            _ => false,
        }
    }

    fn fits_text(self, text: &str) -> bool {
        match self {
            Self::Text | Self::Texts | Self::Any => true,
            Self::Duration => is_duration(text),
            Self::Layer => unit(text, "GM"),
            Self::Size => unit(text, "BKMGTbkmgt"),
            Self::Choice(words) => words.split('|').any(|word| word == text),
            _ => false,
        }
    }
}

/// One of Quay's keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) shape: Shape,
    /// Quay's start looks at it and refuses another shape.
    pub(super) checked: bool,
    /// Null is as good.
    pub(super) null: bool,
    /// What Quay takes where it is left out, as it is written.
    pub(super) default: Option<&'static str>,
    /// The first version that knows it, where that is known.
    pub(super) since: Option<QuayVersion>,
}

impl Key {
    fn read(line: &'static str) -> Option<Self> {
        let mut words = line.split(' ');
        let name = words.next().filter(|name| *name != "#" && !name.is_empty())?;
        let kind = words.next()?;
        let plain = kind.strip_prefix('!').unwrap_or(kind);
        let shape = Shape::named(plain.strip_suffix('?').unwrap_or(plain))?;
        let default = words.next().filter(|word| *word != "-");
        let since = words.next().and_then(|version| version.parse().ok());
        Some(Self { name, shape, checked: kind.starts_with('!'), null: kind.ends_with('?'), default, since })
    }

    /// The default in words of a hint: `the default is 2w`.
    pub(super) fn said_default(&self) -> Option<String> {
        self.default.map(|default| format!("the default is {}", default.replace('&', " ")))
    }
}

/// All keys, by name.
pub(super) fn all() -> &'static [Key] {
    &TABLE
}

/// A key; `None` for one that Quay does not know.
pub(super) fn find(name: &str) -> Option<Key> {
    if let Ok(at) = TABLE.binary_search_by(|key| key.name.cmp(name)) {
        return TABLE.get(at).copied();
    }
    // Each OIDC provider has a key of its own name.
    name.ends_with("_LOGIN_CONFIG").then_some(Key {
        name: "*_LOGIN_CONFIG",
        shape: Shape::Map,
        checked: true,
        null: true,
        default: None,
        since: None,
    })
}

/// Digits and one of some letters.
fn unit(text: &str, letters: &str) -> bool {
    text.strip_suffix(|last| letters.contains(last))
        .is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))
}

/// Digits and one of `w`, `m`, `d`, `h`, `s`: what Quay's start takes for a time.
pub(super) fn is_duration(text: &str) -> bool {
    unit(text, "wmdhs")
}

/// What Quay itself reads as a time: a whole number as Python writes one, and one of the same letters.
pub(super) fn is_timedelta(text: &str) -> bool {
    let Some(number) = text.strip_suffix(['w', 'm', 'd', 'h', 's']) else { return false };
    let number = number.trim();
    let digits = number.strip_prefix(['+', '-']).unwrap_or(number);
    !digits.starts_with('_')
        && !digits.ends_with('_')
        && !digits.contains("__")
        && digits.bytes().any(|b| b.is_ascii_digit())
        && digits.bytes().all(|b| b.is_ascii_digit() || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_table_is_a_key_and_stands_once() {
        let lines = KEYS.lines().filter(|line| !line.starts_with('#')).count();
        assert_eq!(all().len(), lines, "a line is not read");
        assert!(lines > 400, "{lines}");
        assert!(all().windows(2).all(|pair| pair[0].name < pair[1].name), "not sorted, or twice");
        let upper = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_';
        assert!(all().iter().all(|key| key.name.bytes().all(upper)));
        let mailing = find("FEATURE_MAILING").expect("a key");
        assert_eq!((mailing.shape, mailing.checked, mailing.null), (Shape::Bool, true, false));
        assert_eq!(mailing.said_default().as_deref(), Some("the default is true"));
        assert_eq!(find("BOOTSTRAP_TOKEN_OWNER").and_then(|k| k.since), Some(QuayVersion::of(18)));
        assert_eq!(find("AZURE_LOGIN_CONFIG").map(|k| (k.shape, k.null)), Some((Shape::Map, true)));
        assert_eq!(find("NONSENSE"), None);
    }

    #[test]
    fn the_defaults_have_the_shapes_of_their_keys() {
        for key in all() {
            let Some(default) = key.default else { continue };
            let fits = match key.shape {
                Shape::Bool => ["true", "false", "null"].contains(&default),
                Shape::Int => default == "null" || default.parse::<i64>().is_ok(),
                Shape::Number => default == "null" || default.parse::<f64>().is_ok(),
                Shape::Duration => default == "null" || is_duration(default),
                Shape::List => default.starts_with('['),
                Shape::Map => default.starts_with('{') || default == "null",
                Shape::Choice(words) => words.split('|').any(|word| word == default),
                _ => true,
            };
            assert!(fits, "{key:?}");
        }
    }

    #[test]
    fn durations_are_a_number_and_a_unit() {
        for (text, start, quay) in [
            ("2w", true, true),
            ("0s", true, true),
            ("2 w", false, true),
            ("-1d", false, true),
            ("1_0d", false, true),
            ("1__0d", false, false),
            ("w", false, false),
            ("2y", false, false),
            ("2", false, false),
            ("", false, false),
        ] {
            assert_eq!((is_duration(text), is_timedelta(text)), (start, quay), "{text}");
        }
    }
}
