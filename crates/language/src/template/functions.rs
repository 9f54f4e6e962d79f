//! The functions that templates call by name.

use minijinja::value::ValueKind;
use minijinja::{Error, ErrorKind, Value};

use super::bounds;
use super::call::{Call, Native};
use super::context::Context;
use super::convert;
use super::failure::error;
use super::lookups;
use super::python;

/// Functions that want to see what is undefined.
pub(super) const TOLERANT: &[&str] = &["undef"];

pub(super) const fn all() -> &'static [(&'static str, Native)] {
    &[
        ("lookup", lookups::lookup),
        ("query", lookups::query),
        ("q", lookups::query),
        ("now", now),
        ("undef", undef),
        ("dict", dict),
        ("lipsum", lipsum),
        ("cycler", cycler),
        ("range", range),
    ]
}

/// Python's `range`; the engine's own cannot count from one end of its numbers to the other.
fn range(call: &mut Call<'_, '_, '_>) -> Result<Value, Error> {
    let whole = |value: &Value| {
        let number =
            value.as_i64().or_else(|| (value.kind() == ValueKind::Bool).then(|| value.is_true().into()));
        number.map(i128::from).ok_or_else(|| {
            error(format!("'{}' object cannot be interpreted as an integer", python::type_name(value)))
        })
    };
    let (start, end, step) = match call.args.as_slice() {
        [end] => (0, whole(end)?, 1),
        [start, end] => (whole(start)?, whole(end)?, 1),
        [start, end, step] => (whole(start)?, whole(end)?, whole(step)?),
        _ => return Err(error("range takes one to three numbers")),
    };
    if step == 0 {
        return Err(error("range() arg 3 must not be zero"));
    }
    let far = if step > 0 { end - start } else { start - end };
    let stride = step.abs();
    let count = if far > 0 { (far + stride - 1) / stride } else { 0 };
    let count = usize::try_from(count).ok();
    bounds::items("range", count)?;
    let numbers = (0..count.unwrap_or(0)).filter_map(move |at| {
        let number = start + i128::try_from(at).ok()? * step;
        i64::try_from(number).ok().map(Value::from)
    });
    Ok(Value::from(numbers.collect::<Vec<_>>()))
}

#[expect(clippy::unnecessary_wraps, reason = "a function of templates is one of many that can fail")]
fn now(call: &mut Call<'_, '_, '_>) -> Result<Value, Error> {
    let utc = call.flag(0, "utc", false);
    let moment =
        if utc { jiff::Zoned::now().with_time_zone(jiff::tz::TimeZone::UTC) } else { jiff::Zoned::now() };
    Ok(Value::from(match call.text(1, "fmt") {
        Some(format) => moment.strftime(&format).to_string(),
        // As Python prints a datetime.
        None => moment.strftime("%Y-%m-%d %H:%M:%S.%6f").to_string(),
    }))
}

#[expect(clippy::unnecessary_wraps, reason = "a function of templates is one of many that can fail")]
fn undef(call: &mut Call<'_, '_, '_>) -> Result<Value, Error> {
    let hint = call.text_or(0, "hint", "a mandatory variable has not been overridden");
    if let Ok(context) = Context::of(call.state) {
        context.note_hint(&hint);
    }
    Ok(Value::UNDEFINED)
}

/// `dict(pairs)`, `dict(mapping)`, `dict(a=1)`.
fn dict(call: &mut Call<'_, '_, '_>) -> Result<Value, Error> {
    let mut pairs = Vec::new();
    match call.args.first() {
        None => {}
        Some(mapping) if mapping.kind() == ValueKind::Map => pairs.extend(convert::checked_pairs(mapping)?),
        Some(list) => {
            for pair in convert::items(list)? {
                let mut parts = convert::items(&pair)?.into_iter();
                let (Some(key), Some(value), None) = (parts.next(), parts.next(), parts.next()) else {
                    return Err(error("dict() takes pairs of a key and a value"));
                };
                pairs.push((key, value));
            }
        }
    }
    pairs.extend(call.named.iter().map(|(k, v)| (Value::from(k.as_str()), v.clone())));
    Ok(convert::mapping(pairs))
}

const LIPSUM: &str = "Lorem ipsum dolor sit amet, consectetur adipiscing elit, sed do eiusmod tempor incididunt ut labore et \
dolore magna aliqua. Ut enim ad minim veniam, quis nostrud exercitation ullamco laboris nisi ut aliquip ex ea commodo consequat.";

fn lipsum(call: &mut Call<'_, '_, '_>) -> Result<Value, Error> {
    let paragraphs = call.size_or(0, "n", 5)?;
    bounds::text("lipsum", paragraphs.checked_mul(LIPSUM.len() + 9))?;
    let html = call.flag(1, "html", true);
    let one = if html { format!("<p>{LIPSUM}</p>") } else { LIPSUM.to_owned() };
    Ok(Value::from(vec![one; paragraphs].join(if html { "\n" } else { "\n\n" })))
}

/// An object that gives its items in turn.
#[derive(Debug)]
struct Cycler {
    items: Vec<Value>,
    at: std::sync::atomic::AtomicUsize,
}

impl minijinja::value::Object for Cycler {
    fn repr(self: &std::sync::Arc<Self>) -> minijinja::value::ObjectRepr {
        minijinja::value::ObjectRepr::Plain
    }

    fn get_value(self: &std::sync::Arc<Self>, key: &Value) -> Option<Value> {
        let at = self.at.load(std::sync::atomic::Ordering::Relaxed);
        (key.as_str() == Some("current")).then(|| self.items.get(at % self.items.len()).cloned()).flatten()
    }

    fn call_method(
        self: &std::sync::Arc<Self>,
        _state: &mut minijinja::State<'_, '_>,
        method: &str,
        _args: &[Value],
    ) -> Result<Value, Error> {
        use std::sync::atomic::Ordering::Relaxed;
        match method {
            "next" => {
                let at = self.at.fetch_add(1, Relaxed);
                Ok(self.items.get(at % self.items.len()).cloned().unwrap_or_default())
            }
            "reset" => {
                self.at.store(0, Relaxed);
                Ok(Value::from(()))
            }
            _ => Err(Error::from(ErrorKind::UnknownMethod)),
        }
    }
}

fn cycler(call: &mut Call<'_, '_, '_>) -> Result<Value, Error> {
    if call.args.is_empty() {
        return Err(error("cycler needs at least one item"));
    }
    Ok(Value::from_object(Cycler { items: call.args.clone(), at: 0.into() }))
}
