//! The methods of Python's texts, lists and mappings that templates call.

use minijinja::value::ValueKind;
use minijinja::{Error, ErrorKind, State, Value};

use super::access;
use super::bounds::{self, Grown};
use super::call::Call;
use super::convert;
use super::failure::error;
use super::filters::{centered, format_braces};
use super::python;

/// Calls a method that the value's own object does not have.
pub(super) fn call(
    state: &mut State<'_, '_>,
    value: &Value,
    method: &str,
    args: &[Value],
) -> Result<Value, Error> {
    let call = Call::new(state, args)?;
    if value.is_undefined() || call.has_undefined() {
        return Err(Error::from(ErrorKind::UndefinedError));
    }
    match value.kind() {
        ValueKind::String => text(value.as_str().unwrap_or_default(), method, &call),
        ValueKind::Map => mapping(value, method, &call),
        ValueKind::Seq | ValueKind::Iterable => list(value, method, &call),
        ValueKind::Number if method == "bit_length" => {
            Ok(Value::from(u64::BITS - value.as_i64().unwrap_or(0).unsigned_abs().leading_zeros()))
        }
        ValueKind::Number if method == "is_integer" => {
            Ok(Value::from(f64::try_from(value.clone()).is_ok_and(|f| f.fract() == 0.0)))
        }
        _ => Err(Error::from(ErrorKind::UnknownMethod)),
    }
}

fn strings(parts: impl IntoIterator<Item = impl Into<String>>) -> Value {
    Value::from(parts.into_iter().map(|p| Value::from(p.into())).collect::<Vec<_>>())
}

fn text(text: &str, method: &str, call: &Call<'_, '_, '_>) -> Result<Value, Error> {
    let first = || call.need_text(0, "value");
    let chars = || call.text(0, "chars");
    Ok(match method {
        "lower" | "casefold" => Value::from(text.to_lowercase()),
        "upper" => Value::from(text.to_uppercase()),
        "capitalize" => Value::from(capitalized(text)),
        "title" => Value::from(titled(text)),
        "swapcase" => Value::from(
            text.chars()
                .flat_map(|c| {
                    if c.is_uppercase() {
                        c.to_lowercase().collect::<Vec<_>>()
                    } else {
                        c.to_uppercase().collect()
                    }
                })
                .collect::<String>(),
        ),
        // There are no bytes here: an encoded text is the text.
        "encode" | "decode" => Value::from(text),
        "strip" => Value::from(stripped(text, chars().as_deref(), true, true)),
        "lstrip" => Value::from(stripped(text, chars().as_deref(), true, false)),
        "rstrip" => Value::from(stripped(text, chars().as_deref(), false, true)),
        "split" => strings(split(text, call, false)?),
        "rsplit" => strings(split(text, call, true)?),
        "splitlines" => strings(split_lines(text, call.flag(0, "keepends", false))),
        "partition" => parted(text, text.split_once(first()?.as_str()), &first()?, false),
        "rpartition" => parted(text, text.rsplit_once(first()?.as_str()), &first()?, true),
        "startswith" => Value::from(any_of(&call.need(0, "prefix")?, |p| text.starts_with(p))?),
        "endswith" => Value::from(any_of(&call.need(0, "suffix")?, |p| text.ends_with(p))?),
        "removeprefix" => Value::from(text.strip_prefix(first()?.as_str()).unwrap_or(text)),
        "removesuffix" => Value::from(text.strip_suffix(first()?.as_str()).unwrap_or(text)),
        "replace" => {
            let (old, new) = (first()?, call.need_text(1, "new")?);
            let most = call.int(2, "count")?.and_then(|n| usize::try_from(n).ok());
            Value::from(bounds::replaced("replace", text, &old, &new, most)?)
        }
        "join" => {
            let items = convert::items(&call.need(0, "iterable")?)?;
            let parts: Option<Vec<String>> = items.iter().map(|i| i.as_str().map(str::to_owned)).collect();
            let parts = parts.ok_or_else(|| error("join takes a list of texts"))?;
            Value::from(bounds::joined("join", &parts, text)?)
        }
        "format" => Value::from(format_braces(text, &call.args, &call.named)?),
        "find" | "index" => position(text, text.find(first()?.as_str()), method == "index")?,
        "rfind" | "rindex" => position(text, text.rfind(first()?.as_str()), method == "rindex")?,
        "count" => Value::from(text.matches(first()?.as_str()).count()),
        "zfill" => {
            let width = call.size_or(0, "width", 0)?;
            let (sign, digits) = match text.strip_prefix(['-', '+']) {
                Some(rest) => text.split_at(text.len() - rest.len()),
                None => ("", text),
            };
            let fill = width.saturating_sub(text.chars().count());
            Value::from(format!("{sign}{}{digits}", bounds::repeated("zfill", "0", fill)?))
        }
        "ljust" | "rjust" | "center" => {
            let width = call.size_or(0, "width", 0)?;
            let fill = call.text_or(1, "fillchar", " ").chars().next().unwrap_or(' ');
            let pad = || {
                let room = width.saturating_sub(text.chars().count());
                bounds::repeated(method, &fill.to_string(), room)
            };
            Value::from(match method {
                "ljust" => format!("{text}{}", pad()?),
                "rjust" => format!("{}{text}", pad()?),
                _ => centered(text, width, fill)?,
            })
        }
        "expandtabs" => Value::from(untabbed(text, call.size_or(0, "tabsize", 8)?)?),
        "isdigit" | "isdecimal" | "isnumeric" => {
            Value::from(every(text, |c| c.is_ascii_digit() || c.is_numeric()))
        }
        "isalpha" => Value::from(every(text, char::is_alphabetic)),
        "isalnum" => Value::from(every(text, char::is_alphanumeric)),
        "isspace" => Value::from(every(text, char::is_whitespace)),
        "islower" => {
            Value::from(text.chars().any(char::is_lowercase) && !text.chars().any(char::is_uppercase))
        }
        "isupper" => {
            Value::from(text.chars().any(char::is_uppercase) && !text.chars().any(char::is_lowercase))
        }
        "isidentifier" => Value::from(
            every(text, |c| c.is_alphanumeric() || c == '_')
                && !text.starts_with(|c: char| c.is_ascii_digit()),
        ),
        _ => return Err(Error::from(ErrorKind::UnknownMethod)),
    })
}

/// Python's `str.expandtabs`: a tab goes on to the next of the columns that are that far apart.
fn untabbed(text: &str, size: usize) -> Result<String, Error> {
    let mut out = Grown::new("expandtabs");
    let mut column = 0_usize;
    for c in text.chars() {
        match c {
            '\t' => {
                let room = size - column.checked_rem(size).unwrap_or(0);
                out.repeat(" ", room);
                column = 0;
            }
            '\n' | '\r' => {
                out.push_char(c);
                column = 0;
            }
            _ => {
                out.push_char(c);
                column += 1;
            }
        }
    }
    out.finish()
}

fn every(text: &str, holds: impl Fn(char) -> bool) -> bool {
    !text.is_empty() && text.chars().all(holds)
}

pub(super) fn capitalized(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(chars.flat_map(char::to_lowercase)).collect()
    })
}

/// Python's `str.title`: a word starts after everything that is no letter.
fn titled(text: &str) -> String {
    let mut out = String::new();
    let mut inside = false;
    for c in text.chars() {
        if inside {
            out.extend(c.to_lowercase());
        } else {
            out.extend(c.to_uppercase());
        }
        inside = c.is_alphabetic();
    }
    out
}

fn stripped(text: &str, chars: Option<&str>, left: bool, right: bool) -> String {
    let belongs = |c: char| chars.map_or_else(|| c.is_whitespace(), |set| set.contains(c));
    let text = if left { text.trim_start_matches(belongs) } else { text };
    let text = if right { text.trim_end_matches(belongs) } else { text };
    text.to_owned()
}

fn split(text: &str, call: &Call<'_, '_, '_>, from_right: bool) -> Result<Vec<String>, Error> {
    let limit = call.int_or(1, "maxsplit", -1)?;
    let limit = usize::try_from(limit).ok().map(|n| n.saturating_add(1));
    let own = |parts: Vec<&str>| parts.into_iter().map(str::to_owned).collect::<Vec<_>>();
    let Some(separator) = call.text(0, "sep") else {
        return Ok(split_space(text, limit, from_right));
    };
    if separator.is_empty() {
        return Err(error("empty separator"));
    }
    Ok(match (limit, from_right) {
        (None, _) => own(text.split(&separator).collect()),
        (Some(n), false) => own(text.splitn(n, &separator).collect()),
        (Some(n), true) => {
            let mut parts = own(text.rsplitn(n, &separator).collect());
            parts.reverse();
            parts
        }
    })
}

fn split_space(text: &str, limit: Option<usize>, from_right: bool) -> Vec<String> {
    let Some(limit) = limit else { return text.split_whitespace().map(str::to_owned).collect() };
    let mut parts = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let cut = if parts.len() + 1 >= limit {
            None
        } else if from_right {
            rest.rfind(char::is_whitespace)
        } else {
            rest.find(char::is_whitespace)
        };
        let Some(at) = cut else {
            parts.push(rest.to_owned());
            break;
        };
        let (before, after) = rest.split_at(at);
        let (part, remaining) =
            if from_right { (after.trim(), before.trim_end()) } else { (before, after.trim_start()) };
        parts.push(part.to_owned());
        rest = remaining;
    }
    if from_right {
        parts.reverse();
    }
    parts
}

fn split_lines(text: &str, keep: bool) -> Vec<String> {
    let lines = text.split_inclusive('\n');
    if keep {
        return lines.map(str::to_owned).collect();
    }
    lines
        .map(|l| l.strip_suffix('\n').unwrap_or(l))
        .map(|l| l.strip_suffix('\r').unwrap_or(l).to_owned())
        .collect()
}

fn parted(text: &str, found: Option<(&str, &str)>, separator: &str, from_right: bool) -> Value {
    let parts = match found {
        Some((before, after)) => [before, separator, after],
        None if from_right => ["", "", text],
        None => [text, "", ""],
    };
    Value::from(minijinja::value::Tuple::from(parts.map(Value::from)))
}

fn any_of(wanted: &Value, holds: impl Fn(&str) -> bool) -> Result<bool, Error> {
    match wanted.as_str() {
        Some(text) => Ok(holds(text)),
        None => Ok(convert::items(wanted)?.iter().any(|w| w.as_str().is_some_and(&holds))),
    }
}

fn position(text: &str, found: Option<usize>, must: bool) -> Result<Value, Error> {
    match found {
        Some(at) => Ok(Value::from(text.get(..at).map_or(0, |before| before.chars().count()))),
        None if must => Err(error("substring not found")),
        None => Ok(Value::from(-1)),
    }
}

fn mapping(value: &Value, method: &str, call: &Call<'_, '_, '_>) -> Result<Value, Error> {
    Ok(match method {
        "keys" => Value::from(convert::pairs(value).into_iter().map(|(k, _)| k).collect::<Vec<_>>()),
        "values" => {
            Value::from(convert::checked_pairs(value)?.into_iter().map(|(_, v)| v).collect::<Vec<_>>())
        }
        "items" => Value::from(
            convert::checked_pairs(value)?
                .into_iter()
                .map(|(k, v)| Value::from(minijinja::value::Tuple::from([k, v])))
                .collect::<Vec<_>>(),
        ),
        "get" => {
            let found = convert::checked(access::item(value, &call.need(0, "key")?))?;
            if found.is_undefined() {
                call.get(1, "default").unwrap_or_else(|| Value::from(()))
            } else {
                found
            }
        }
        "copy" => convert::mapping(convert::checked_pairs(value)?),
        "update" | "pop" | "setdefault" | "clear" | "popitem" => return Err(unchangeable(value, method)),
        _ => return Err(Error::from(ErrorKind::UnknownMethod)),
    })
}

fn list(value: &Value, method: &str, call: &Call<'_, '_, '_>) -> Result<Value, Error> {
    Ok(match method {
        "index" => {
            let wanted = call.need(0, "value")?;
            let at = convert::items(value)?.iter().position(|i| *i == wanted);
            Value::from(at.ok_or_else(|| error(format!("{} is not in the list", python::repr(&wanted))))?)
        }
        "count" => {
            let wanted = call.need(0, "value")?;
            Value::from(convert::items(value)?.iter().filter(|i| **i == wanted).count())
        }
        "copy" => Value::from(convert::items(value)?),
        "append" | "extend" | "insert" | "remove" | "pop" | "clear" | "sort" | "reverse" => {
            return Err(unchangeable(value, method));
        }
        _ => return Err(Error::from(ErrorKind::UnknownMethod)),
    })
}

fn unchangeable(value: &Value, method: &str) -> Error {
    super::failure::hinted(
        format!("'{method}' cannot change this {}", python::type_name(value)),
        Some("take a copy first: `{% set copy = ... %}`, or use `+` or `combine`".into()),
    )
}
