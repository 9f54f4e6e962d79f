use std::fmt;

use schemars::JsonSchema;
use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{self, DeserializeOwned, IntoDeserializer, Visitor};
use serde::{Deserialize, Deserializer, forward_to_deserialize_any};

use super::{ArgumentNames, ModuleError};
use crate::diag::closest;
use crate::value::{Map, Value, plain, truth};

/// The `state` of what is there or is not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Presence {
    #[default]
    Present,
    Absent,
}

/// Reads a module's arguments with Ansible's leniency: `"yes"` is a boolean, `"5"` a number, `5` a string,
/// `"a,b"` or a single value a list. Unknown names are errors that suggest the nearest known one.
pub fn from_args<T: DeserializeOwned>(args: Map) -> Result<T, ModuleError> {
    let known = argument_names::<T>();
    if !known.is_empty()
        && let Some(unknown) = args.keys().find(|k| !known.contains(&k.as_str()))
    {
        let help = closest(unknown, known.iter().copied())
            .map_or_else(|| format!("it takes {}", known.join(", ")), |near| format!("did you mean {near}?"));
        return Err(ModuleError::Arguments(format!("unknown argument {unknown}; {help}")));
    }
    // An argument that is null (or was `omit`ted) is not given.
    let given: Map = args.into_iter().filter(|(_, v)| !v.is_null()).collect();
    T::deserialize(Lenient(Value::Object(given))).map_err(|e| ModuleError::Arguments(e.to_string()))
}

/// The names of the fields of an argument struct, aliases included.
pub fn argument_names<T: DeserializeOwned>() -> ArgumentNames {
    let mut names: ArgumentNames = &[];
    // The deserializer is only asked which fields are wanted; it always fails.
    let _ = T::deserialize(FieldNames(&mut names));
    names
}

#[derive(Debug)]
struct FieldsSeen;

impl fmt::Display for FieldsSeen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("only the names of the fields were asked for")
    }
}

impl std::error::Error for FieldsSeen {}

impl de::Error for FieldsSeen {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self
    }
}

struct FieldNames<'a>(&'a mut ArgumentNames);

impl<'de> Deserializer<'de> for FieldNames<'_> {
    type Error = FieldsSeen;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, FieldsSeen> {
        Err(FieldsSeen)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, FieldsSeen> {
        *self.0 = fields;
        Err(FieldsSeen)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit
        unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

/// A value that becomes what the field's type asks for.
struct Lenient(Value);

type JsonError = serde_json::Error;

impl IntoDeserializer<'_, JsonError> for Lenient {
    type Deserializer = Self;
    fn into_deserializer(self) -> Self {
        self
    }
}

fn wanted(what: &str, value: &Value) -> JsonError {
    de::Error::custom(format!("expected {what}, got {}", describe(value)))
}

fn describe(value: &Value) -> String {
    match value {
        Value::String(s) => format!("the string {s:?}"),
        Value::Array(_) => "a list".into(),
        Value::Object(_) => "a mapping".into(),
        other => other.to_string(),
    }
}

impl Lenient {
    fn number(self) -> Result<Value, JsonError> {
        match &self.0 {
            Value::String(s) => match s.trim().parse::<i64>() {
                Ok(i) => Ok(Value::from(i)),
                Err(_) => s.trim().parse::<f64>().map(Value::from).map_err(|_| wanted("a number", &self.0)),
            },
            Value::Number(_) => Ok(self.0),
            _ => Err(wanted("a number", &self.0)),
        }
    }

    fn items(self) -> Vec<Value> {
        match self.0 {
            Value::Array(items) => items,
            Value::String(s) => {
                s.split(',').map(|p| Value::String(p.trim().to_owned())).filter(|v| *v != "").collect()
            }
            one => vec![one],
        }
    }
}

macro_rules! lenient_numbers {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
            self.number()?.$method(visitor)
        }
    )*};
}

impl<'de> Deserializer<'de> for Lenient {
    type Error = JsonError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
        match self.0 {
            Value::Array(items) => visitor.visit_seq(SeqDeserializer::new(items.into_iter().map(Lenient))),
            Value::Object(map) => {
                visitor.visit_map(MapDeserializer::new(map.into_iter().map(|(k, v)| (k, Lenient(v)))))
            }
            scalar => scalar.deserialize_any(visitor),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
        match truth(&self.0) {
            Some(b) => visitor.visit_bool(b),
            None => Err(wanted("a boolean", &self.0)),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
        match self.0 {
            Value::String(s) => visitor.visit_string(s),
            Value::Bool(true) => visitor.visit_str("True"),
            Value::Bool(false) => visitor.visit_str("False"),
            Value::Array(_) | Value::Object(_) => Err(wanted("a string", &self.0)),
            other => visitor.visit_string(plain(&other)),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
        self.deserialize_string(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
        if self.0.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
        visitor.visit_seq(SeqDeserializer::new(self.items().into_iter().map(Lenient)))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, JsonError> {
        match self.0 {
            Value::Object(_) => self.deserialize_any(visitor),
            other => Err(wanted("a mapping", &other)),
        }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
        match self.0 {
            Value::Object(_) => self.deserialize_any(visitor),
            other => Err(wanted("a mapping", &other)),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, JsonError> {
        // YAML turns `state: on` into a boolean; the enum's own word for it is meant.
        let value = match self.0 {
            Value::Bool(b) => {
                let words: &[&str] = if b { &["yes", "on", "true"] } else { &["no", "off", "false"] };
                words.iter().find(|w| variants.contains(w)).map_or(Value::Bool(b), |w| Value::from(*w))
            }
            other => other,
        };
        match &value {
            Value::String(s) if !variants.contains(&s.as_str()) => {
                let near = closest(s, variants.iter().copied()).map(|n| format!("; did you mean {n}?"));
                Err(de::Error::custom(format!(
                    "{s:?} is not one of {}{}",
                    variants.join(", "),
                    near.unwrap_or_default()
                )))
            }
            _ => value.deserialize_enum(name, variants, visitor),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, JsonError> {
        visitor.visit_newtype_struct(self)
    }

    lenient_numbers! {
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_u8 deserialize_u16
        deserialize_u32 deserialize_u64 deserialize_f32 deserialize_f64
    }

    forward_to_deserialize_any! {
        i128 u128 char bytes byte_buf unit unit_struct tuple tuple_struct identifier ignored_any
    }
}

/// An absolute path on the target.
#[derive(Debug, Clone, PartialEq, Eq, Hash, JsonSchema)]
#[schemars(with = "String")]
pub struct RemotePath(String);

impl RemotePath {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The folder that holds it; `/` for `/`.
    pub fn parent(&self) -> &str {
        match self.0.rfind('/') {
            Some(0) | None => "/",
            Some(i) => &self.0[..i],
        }
    }

    #[must_use]
    pub fn join(&self, name: &str) -> Self {
        Self(format!("{}/{name}", self.0.trim_end_matches('/')))
    }
}

impl TryFrom<String> for RemotePath {
    type Error = String;

    fn try_from(path: String) -> Result<Self, String> {
        if !path.starts_with('/') {
            return Err(format!("{path:?} is not an absolute path on the target"));
        }
        if path.contains('\0') {
            return Err(format!("{path:?} holds a NUL byte"));
        }
        let trimmed = path.trim_end_matches('/');
        Ok(Self(if trimmed.is_empty() { "/".into() } else { trimmed.to_owned() }))
    }
}

impl<'de> Deserialize<'de> for RemotePath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::try_from(String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

impl fmt::Display for RemotePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A file's permission bits: octal digits (`"0644"`, a number from YAML's octal) or symbolic (`u=rw,g=r`, `a+x`).
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema)]
#[schemars(with = "String")]
pub enum Mode {
    Bits(u32),
    /// Clauses that have been checked.
    Symbolic(String),
}

impl Mode {
    /// The bits that result on something that has `current` bits.
    pub fn apply(&self, current: u32, is_directory: bool) -> u32 {
        match self {
            Self::Bits(bits) => *bits,
            Self::Symbolic(text) => text
                .split(',')
                .fold(current, |mode, clause| symbolic(clause, mode, is_directory).unwrap_or(mode)),
        }
    }
}

fn symbolic(clause: &str, current: u32, is_directory: bool) -> Option<u32> {
    let at = clause.find(['=', '+', '-'])?;
    let (who, rest) = clause.split_at(at);
    let (operator, permissions) = rest.split_at(1);
    let mut shifts = Vec::new();
    for c in who.chars() {
        match c {
            'u' => shifts.push(6),
            'g' => shifts.push(3),
            'o' => shifts.push(0),
            'a' => shifts.extend([6, 3, 0]),
            _ => return None,
        }
    }
    if who.is_empty() {
        shifts.extend([6, 3, 0]);
    }
    let mut mode = current;
    for shift in shifts {
        let mut bits = 0;
        let mut special = 0;
        for c in permissions.chars() {
            match c {
                'r' => bits |= 4,
                'w' => bits |= 2,
                'x' => bits |= 1,
                'X' if is_directory || current & 0o111 != 0 => bits |= 1,
                's' if shift == 6 => special |= 0o4000,
                's' if shift == 3 => special |= 0o2000,
                // `X` on what nobody executes and `o+s` change nothing.
                'X' | 's' => {}
                't' => special |= 0o1000,
                'u' => bits |= current >> 6 & 7,
                'g' => bits |= current >> 3 & 7,
                'o' => bits |= current & 7,
                _ => return None,
            }
        }
        match operator {
            "=" => {
                let clear = if shift == 6 {
                    0o4000
                } else if shift == 3 {
                    0o2000
                } else {
                    0o1000
                };
                mode = mode & !(7 << shift) & !clear | bits << shift | special;
            }
            "+" => mode |= bits << shift | special,
            _ => mode &= !(bits << shift | special),
        }
    }
    Some(mode)
}

impl<'de> Deserialize<'de> for Mode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            // YAML has already read 0644 as octal.
            Value::Number(n) => match n.as_u64() {
                Some(bits @ 0..=0o7777) => Ok(Self::Bits(u32::try_from(bits).unwrap_or(0))),
                _ => Err(de::Error::custom(format!(
                    "mode {n} is out of range; write it as a string like '0644'"
                ))),
            },
            Value::String(s) if s.chars().all(|c| c.is_ascii_digit()) && !s.is_empty() => {
                match u32::from_str_radix(&s, 8) {
                    Ok(bits @ 0..=0o7777) => Ok(Self::Bits(bits)),
                    _ => Err(de::Error::custom(format!("mode {s:?} is not octal"))),
                }
            }
            Value::String(s) if s.split(',').all(|c| symbolic(c, 0, false).is_some()) => {
                Ok(Self::Symbolic(s))
            }
            other => Err(de::Error::custom(format!(
                "mode {other} is neither octal like '0644' nor symbolic like 'u=rw,g=r,o=r'"
            ))),
        }
    }
}

/// Refuses arguments that do not hold together.
pub fn require(holds: bool, otherwise: impl Into<String>) -> Result<(), ModuleError> {
    if holds { Ok(()) } else { Err(ModuleError::Arguments(otherwise.into())) }
}

/// Refuses a name of more than letters, digits, `_` and `-`, or one that a program would take for an option.
pub fn require_name(what: &str, name: &str) -> Result<(), ModuleError> {
    let good = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let holds = !name.is_empty() && !name.starts_with('-') && name.chars().all(good);
    require(holds, format!("{name:?} is not {what}"))
}

/// The default of arguments that are on unless they are turned off.
pub fn yes() -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[derive(Debug, Deserialize, PartialEq, JsonSchema)]
    #[serde(deny_unknown_fields)]
    struct Sample {
        #[serde(alias = "dest")]
        path: RemotePath,
        #[serde(default)]
        force: bool,
        #[serde(default)]
        names: Vec<String>,
        count: Option<u32>,
        mode: Option<Mode>,
        state: Option<State>,
    }

    #[derive(Debug, Deserialize, PartialEq, JsonSchema)]
    #[serde(rename_all = "lowercase")]
    enum State {
        Present,
        Absent,
    }

    fn read(value: Value) -> Result<Sample, String> {
        let Value::Object(map) = value else { panic!("an object") };
        from_args(map).map_err(|e| e.to_string())
    }

    #[test]
    fn arguments_are_read_leniently() {
        let sample = read(json!({
            "dest": "/a/", "force": "yes", "names": "a, b", "count": "3", "mode": "0640", "state": "absent"
        }))
        .expect("valid");
        assert_eq!(sample.path.as_str(), "/a");
        assert!(sample.force);
        assert_eq!(sample.names, ["a", "b"]);
        assert_eq!(sample.count, Some(3));
        assert_eq!(sample.mode, Some(Mode::Bits(0o640)));
        assert_eq!(sample.state, Some(State::Absent));
        assert_eq!(read(json!({"path": "/a", "names": 5, "count": null})).expect("valid").names, ["5"]);
    }

    #[test]
    fn bad_arguments_say_what_is_wrong() {
        for (args, message) in [
            (json!({"path": "/a", "forse": 1}), "unknown argument forse; did you mean force?"),
            (json!({"path": "a"}), "\"a\" is not an absolute path on the target"),
            (json!({"path": "/a", "force": "perhaps"}), "expected a boolean, got the string \"perhaps\""),
            (
                json!({"path": "/a", "state": "abset"}),
                "\"abset\" is not one of present, absent; did you mean absent?",
            ),
            (json!({}), "missing field `path`"),
        ] {
            assert_eq!(read(args).expect_err("invalid"), message);
        }
    }

    #[test]
    fn modes_follow_chmod() {
        for (text, before, directory, after) in [
            ("u=rw,g=r,o=", 0o777, false, 0o640),
            ("a+X", 0o644, false, 0o644),
            ("a+X", 0o644, true, 0o755),
            ("go-w", 0o666, false, 0o644),
            ("u+s", 0o755, false, 0o4755),
            ("+t", 0o777, true, 0o1777),
        ] {
            let mode: Mode = serde_json::from_value(json!(text)).expect(text);
            assert_eq!(mode.apply(before, directory), after, "{text}");
        }
    }

    #[test]
    fn aliases_are_argument_names() {
        assert!(argument_names::<Sample>().contains(&"dest"));
    }
}
