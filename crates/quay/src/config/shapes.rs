use super::finding::Severity;
use super::keys::{self, Key, Shape, is_timedelta};
use super::mend::Mend;
use super::reader::Reader;
use crate::diag::{Diagnostic, closest};
use crate::yaml::{Kind, Node};

/// Keys whose null Quay's Python stumbles over at its start.
const NEVER_NULL: [&str; 5] = [
    "ALLOWED_OCI_ARTIFACT_TYPES",
    "DATA_MODEL_CACHE_CONFIG",
    "DB_CONNECTION_ARGS",
    "LOGS_MODEL_CONFIG",
    "SESSION_TIMEOUT",
];

/// Keys that the start decodes: scalars of another kind are taken, lists and mappings are not.
const DECODED_TEXTS: [&str; 4] =
    ["AVATAR_KIND", "ENTERPRISE_LOGO_URL", "REGISTRY_TITLE", "REGISTRY_TITLE_SHORT"];

/// Parts of the names of keys whose texts may be anything.
const FREE_TEXTS: [&str; 5] = ["PASSW", "SECRET", "USERNAME", "TITLE", "PSK"];

/// Checked words that may be others than Quay knows: it then takes its default.
const LENIENT: [&str; 1] = ["FEATURE_LISTEN_IP_VERSION"];

/// Every key is one that Quay knows, and holds what it shall hold.
pub(super) fn read(reader: &mut Reader<'_>) {
    for (key, value) in reader.root.iter() {
        let name = key.key_text();
        match keys::find(&name) {
            Some(known) => {
                too_new(reader, &name, key, known);
                if value.is_null() {
                    nothing(reader, &name, key, known);
                } else {
                    holds(reader, &name, value, known);
                }
            }
            None => unknown(reader, &name, key),
        }
    }
}

fn too_new(reader: &mut Reader<'_>, name: &str, key: &Node, known: Key) {
    let version = reader.circumstances.version;
    if let Some(since) = known.since.filter(|since| *since > version) {
        reader.warning(
            Diagnostic::new(format!("Quay {version} does not know {name}, which came with {since}"))
                .at(&key.origin)
                .hint("take it out, or say the version that you have: --quay-version"),
        );
    }
}

/// A key without a value is one that is missing; the rules say what that means.
fn nothing(reader: &mut Reader<'_>, name: &str, key: &Node, known: Key) {
    if known.null {
        return;
    }
    let said = Diagnostic::new(format!("{name} holds nothing")).at(&key.origin);
    let hint = match known.said_default() {
        Some(default) => format!("give it a value or take it out; {default}"),
        None => "give it a value or take it out".into(),
    };
    let severity = if NEVER_NULL.contains(&name) { Severity::Error } else { Severity::Warning };
    reader.say(severity, said.hint(hint), None);
}

fn holds(reader: &mut Reader<'_>, name: &str, value: &Node, known: Key) {
    let fits = known.shape.fits(value);
    if fits && known.checked && known.shape == Shape::Bool {
        another_word(reader, name, value);
    }
    if fits || (known.shape == Shape::Duration && !known.checked && value.as_str().is_some_and(is_timedelta))
    {
        return;
    }
    // The start goes by its own list of words or by the rules of its times.
    let text = value.as_str();
    if let (Shape::Choice(words), Some(text)) = (known.shape, text) {
        return word(reader, name, value, text, words, known.checked && !LENIENT.contains(&name));
    }
    if known.shape == Shape::Layer {
        return layer(reader, name, value);
    }
    let start_decodes = match known.shape {
        Shape::Text => DECODED_TEXTS.contains(&name) && matches!(value.kind, Kind::Seq(_) | Kind::Map(_)),
        Shape::List => name == "CONTACT_INFO",
        Shape::Map => name == "BRANDING",
        _ => false,
    };
    let severe = match (known.shape, text) {
        // Only what stands for itself: the start takes an empty time for none, and a default time for a word.
        (Shape::Duration, Some(text)) => {
            known.checked
                && !(name == "DEFAULT_TAG_EXPIRATION"
                    || (text.is_empty() && name != "TEAM_RESYNC_STALE_TIME" && name != "SESSION_TIMEOUT"))
        }
        _ => known.checked || start_decodes,
    };
    if known.shape == Shape::Duration && text == Some("") && !severe {
        return;
    }
    wrong(reader, name, value, known, if severe { Severity::Error } else { Severity::Warning });
}

fn wrong(reader: &mut Reader<'_>, name: &str, value: &Node, known: Key, severity: Severity) {
    let hint = match (&value.kind, known.shape) {
        (Kind::Int(_) | Kind::Float(_) | Kind::Bool(_), Shape::Text | Shape::Choice(_)) => "put it in quotes",
        (Kind::Str(_), Shape::Bool | Shape::Number | Shape::Int) => "write it without quotes",
        (Kind::Str(_), Shape::List) => "write it in brackets: [first, second]",
        _ => "see the table of keys in Quay's documentation",
    };
    let hint = match known.said_default() {
        Some(default) => format!("{hint}; {default}"),
        None => hint.into(),
    };
    let odd = matches!(known.shape, Shape::Duration | Shape::Size) && value.as_str().is_some();
    let found = if odd { "something else" } else { value.type_name() };
    let said = Diagnostic::new(format!("{name} is {}, not {found}", known.shape.words())).at(&value.origin);
    let mend = mend(reader, name, value, known.shape);
    reader.say(severity, said.hint(hint), mend);
}

/// What a scalar of another kind must mean.
fn mend(reader: &Reader<'_>, name: &str, value: &Node, shape: Shape) -> Option<Mend> {
    match (shape, &value.kind, value.as_str()) {
        (Shape::Bool, _, Some(text)) => {
            let on: bool = text.to_ascii_lowercase().parse().ok()?;
            Mend::scalar(reader, value, on.to_string(), format!("{name} is written as {on}"))
        }
        (Shape::Int | Shape::Number, _, Some(text)) => {
            let number: i64 = text.parse().ok()?;
            Mend::scalar(reader, value, number.to_string(), format!("{name} loses its quotes"))
        }
        // A number can be a password or a title, but no address.
        (Shape::Text, Kind::Int(_) | Kind::Float(_), _)
            if FREE_TEXTS.iter().any(|word| name.contains(word)) =>
        {
            let quoted = format!("'{}'", reader.written(value));
            Mend::scalar(reader, value, quoted, format!("{name} is put in quotes"))
        }
        _ => None,
    }
}

/// A switch that is written as yes, no, on or off: Quay reads it, but its start takes it for a string.
fn another_word(reader: &mut Reader<'_>, name: &str, value: &Node) {
    let Kind::Bool(on) = value.kind else { return };
    if reader.plain_bool(value).is_some() {
        return;
    }
    let written = reader.written(value);
    let mend = Mend::scalar(reader, value, on.to_string(), format!("{name} is written as {on}"));
    let said =
        Diagnostic::new(format!("{name}: Quay's start takes {written} for a string")).at(&value.origin);
    reader.say(Severity::Error, said.hint(format!("write {on}")), mend);
}

/// One of some words.
fn word(reader: &mut Reader<'_>, name: &str, value: &Node, text: &str, words: &'static str, severe: bool) {
    let known = words.split('|');
    let same = known.clone().find(|word| word.eq_ignore_ascii_case(text));
    let near = same.or_else(|| closest(text, known.clone())).map(|near| format!("did you mean {near}?"));
    let hint = near.unwrap_or_else(|| format!("it is one of {}", known.collect::<Vec<_>>().join(", ")));
    let said = Diagnostic::new(format!("{name} has no value {text}")).at(&value.origin).hint(hint);
    reader.say(if severe { Severity::Error } else { Severity::Warning }, said, None);
}

/// How large a layer may be. Quay's nginx takes more than its schema, but not everything.
fn layer(reader: &mut Reader<'_>, name: &str, value: &Node) {
    let written = reader.written(value);
    let plain = written.trim_matches(['\'', '"']);
    let digits = plain.strip_suffix(|last: char| "kKmMgG".contains(last)).unwrap_or(plain);
    let nginx = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    let said = Diagnostic::new(format!("{name} is {}, not {plain}", Shape::Layer.words())).at(&value.origin);
    if nginx {
        reader.warning(said.hint("write it like 20G; nginx takes it all the same"));
    } else {
        reader.error(said.note("Quay's nginx does not start with it, or pushes fail").hint("write 20G"));
    }
}

fn unknown(reader: &mut Reader<'_>, name: &str, key: &Node) {
    let upper = name.to_uppercase();
    let near = closest(name, keys::all().iter().map(|known| known.name));
    let mut mend = None;
    let hint = if keys::find(&upper).is_some() {
        if reader.root.get(&upper).is_none() {
            mend = Mend::scalar(reader, key, upper.clone(), format!("{name} becomes {upper}"));
        }
        format!("did you mean {upper}?")
    } else if let Some(near) = near {
        format!("did you mean {near}?")
    } else {
        "take it out, or ignore this where your Quay is newer than what is known here".into()
    };
    let said = Diagnostic::new(format!("Quay does not know {name} and would pass over it"));
    reader.say(Severity::Warning, said.at(&key.origin).hint(hint), mend);
}
