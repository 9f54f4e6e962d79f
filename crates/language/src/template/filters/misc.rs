//! Filters for sizes, times, addresses and chance.

use minijinja::{Error, Value};
use rand::RngExt;
use rand::seq::SliceRandom;

use super::super::call::{Call, Native, integer};
use super::super::convert;
use super::super::failure::error;
use super::super::moment::Moment;
use super::numbers::number;

pub(super) const FILTERS: &[(&str, Native)] = &[
    ("random", random),
    ("shuffle", shuffle),
    ("human_readable", human_readable),
    ("human_to_bytes", human_to_bytes),
    ("strftime", strftime),
    ("to_datetime", to_datetime),
    ("urlsplit", urlsplit),
    ("filesizeformat", filesizeformat),
];

/// A number from chance, or from a seed so that it is the same each time.
fn pick(call: &Call<'_, '_, '_>, count: u64) -> u64 {
    match call.named.get("seed").filter(|v| !v.is_none()) {
        Some(seed) => seeded(&super::super::python::py_str(seed), 0) % count.max(1),
        None => rand::rng().random_range(0..count.max(1)),
    }
}

fn seeded(seed: &str, round: u64) -> u64 {
    let digest =
        super::super::hashing::digest("sha256", format!("{seed}:{round}").as_bytes()).unwrap_or_default();
    digest.get(..15).and_then(|d| u64::from_str_radix(d, 16).ok()).unwrap_or(0)
}

fn random(call: &mut Call<'_, '_, '_>) -> Result<Value, Error> {
    if let Some(end) = call.input().as_i64().filter(|_| call.input().is_integer()) {
        let start = call.int_or(1, "start", 0)?;
        let step = call.int_or(2, "step", 1)?.max(1);
        // Between the ends of 64 bits lie more numbers than 64 bits count with a sign.
        let (start, step) = (i128::from(start), i128::from(step));
        let count = (i128::from(end) - start + step - 1).div_euclid(step);
        if count <= 0 {
            return Err(error("random needs a range that holds a number"));
        }
        let offset = i128::from(pick(call, u64::try_from(count).unwrap_or(u64::MAX)));
        let picked = start + offset * step;
        return Ok(i64::try_from(picked).map_or_else(|_| Value::from(picked), Value::from));
    }
    let items = call.input_items()?;
    let at = usize::try_from(pick(call, items.len() as u64)).unwrap_or(0);
    Ok(items.get(at).cloned().unwrap_or_default())
}

fn shuffle(call: &mut Call<'_, '_, '_>) -> Result<Value, Error> {
    let mut items = call.input_items()?;
    match call.get(1, "seed").filter(|v| !v.is_none()) {
        Some(seed) => {
            let seed = super::super::python::py_str(&seed);
            for at in (1..items.len()).rev() {
                let other = usize::try_from(seeded(&seed, at as u64) % (at as u64 + 1)).unwrap_or(0);
                items.swap(at, other);
            }
        }
        None => items.shuffle(&mut rand::rng()),
    }
    Ok(Value::from(items))
}

const SIZES: [(char, f64); 9] = [
    ('Y', 1_208_925_819_614_629_174_706_176.0),
    ('Z', 1_180_591_620_717_411_303_424.0),
    ('E', 1_152_921_504_606_846_976.0),
    ('P', 1_125_899_906_842_624.0),
    ('T', 1_099_511_627_776.0),
    ('G', 1_073_741_824.0),
    ('M', 1_048_576.0),
    ('K', 1024.0),
    ('B', 1.0),
];

fn human_readable(call: &mut Call<'_, '_, '_>) -> Result<Value, Error> {
    let size = number(call.input()).ok_or_else(|| error("human_readable needs a number"))?;
    let bits = call.flag(1, "isbits", false);
    let unit = call.text(2, "unit").map(|u| u.to_uppercase());
    let base = if bits { "bits" } else { "Bytes" };
    let found = SIZES.iter().find(|(letter, limit)| match &unit {
        Some(unit) => unit.starts_with(*letter),
        None => size >= *limit,
    });
    let (letter, limit) = found.copied().unwrap_or(('B', 1.0));
    let suffix = if letter == 'B' { base.to_owned() } else { format!("{letter}{}", &base[..1]) };
    Ok(Value::from(format!("{:.2} {suffix}", size / limit)))
}

fn human_to_bytes(call: &mut Call<'_, '_, '_>) -> Result<Value, Error> {
    let default = call.text(1, "default_unit");
    let text = call.input_text()?;
    let end = text.trim().find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.trim().len());
    let (amount, unit) = text.trim().split_at(end);
    let amount: f64 = amount.parse().map_err(|_| error(format!("'{text}' is not a size")))?;
    let unit = if unit.trim().is_empty() { default.unwrap_or_default() } else { unit.trim().to_owned() };
    let letter = unit.chars().next().map_or('B', |c| c.to_ascii_uppercase());
    let factor = SIZES.iter().find(|(known, _)| *known == letter).map(|(_, f)| *f);
    let factor = factor.ok_or_else(|| error(format!("'{unit}' is not a unit of size")))?;
    Ok(super::numbers::cut((amount * factor).round()).unwrap_or_else(|| Value::from(amount * factor)))
}

fn filesizeformat(call: &mut Call<'_, '_, '_>) -> Result<Value, Error> {
    let bytes = number(call.input()).ok_or_else(|| error("filesizeformat needs a number"))?;
    let binary = call.flag(1, "binary", false);
    let base: f64 = if binary { 1024.0 } else { 1000.0 };
    if bytes < base {
        #[expect(clippy::float_cmp, reason = "one is exact")]
        let one = bytes == 1.0;
        return Ok(Value::from(if one { "1 Byte".to_owned() } else { format!("{bytes} Bytes") }));
    }
    let mut scaled = bytes;
    let mut unit = "";
    for letter in ["k", "M", "G", "T", "P", "E", "Z", "Y"] {
        if scaled < base {
            break;
        }
        scaled /= base;
        unit = letter;
    }
    let unit = if binary { format!("{}iB", unit.to_uppercase()) } else { format!("{unit}B") };
    Ok(Value::from(format!("{scaled:.1} {unit}")))
}

/// `format | strftime(second)`: local time, now unless a moment is given.
fn strftime(call: &mut Call<'_, '_, '_>) -> Result<Value, Error> {
    let format = call.input_text()?;
    let moment = match call.get(1, "second").filter(|v| !v.is_none()) {
        Some(second) => {
            let second =
                integer(&second).or_else(|| number(&second).and_then(|n| integer(&super::numbers::cut(n)?)));
            let second = second.ok_or_else(|| error("strftime needs a number of seconds"))?;
            jiff::Timestamp::from_second(second).map_err(|e| error(e.to_string()))?
        }
        None => jiff::Timestamp::now(),
    };
    let zone =
        if call.flag(2, "utc", false) { jiff::tz::TimeZone::UTC } else { jiff::tz::TimeZone::system() };
    Ok(Value::from(moment.to_zoned(zone).strftime(&format).to_string()))
}

/// There is no type for moments here: what Python would print.
fn to_datetime(call: &mut Call<'_, '_, '_>) -> Result<Value, Error> {
    let text = call.input_text()?;
    let format = call.text_or(1, "format", "%Y-%m-%d %H:%M:%S");
    let parsed = jiff::fmt::strtime::parse(&format, &text)
        .map_err(|e| error(format!("'{text}' is not of the form {format}: {e}")))?;
    let moment = parsed
        .to_datetime()
        .or_else(|_| parsed.to_date().map(|d| d.to_datetime(jiff::civil::Time::midnight())))
        .map_err(|e| error(e.to_string()))?;
    Ok(Value::from_object(Moment(moment)))
}

fn urlsplit(call: &mut Call<'_, '_, '_>) -> Result<Value, Error> {
    let url = call.input_text()?;
    let query = call.text_or(1, "query", "");
    let (rest, fragment) = url.split_once('#').unwrap_or((&url, ""));
    let (rest, search) = rest.split_once('?').unwrap_or((rest, ""));
    let scheme_end = rest.find(':').filter(|at| {
        rest.get(..*at).is_some_and(|s| {
            s.starts_with(|c: char| c.is_ascii_alphabetic())
                && s.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
        })
    });
    let (scheme, rest) = scheme_end.map_or(("", rest), |at| {
        (rest.get(..at).unwrap_or_default(), rest.get(at + 1..).unwrap_or_default())
    });
    let (authority, path) = match rest.strip_prefix("//") {
        Some(after) => after.split_at(after.find('/').unwrap_or(after.len())),
        None => ("", rest),
    };
    let (credentials, host_port) =
        authority.rsplit_once('@').map_or((None, authority), |(c, h)| (Some(c), h));
    let (user, password) = credentials
        .map_or((None, None), |c| c.split_once(':').map_or((Some(c), None), |(u, p)| (Some(u), Some(p))));
    let (host, port) = match host_port.strip_prefix('[').and_then(|h| h.split_once(']')) {
        Some((host, after)) => (host, after.strip_prefix(':')),
        None => host_port.split_once(':').map_or((host_port, None), |(h, p)| (h, Some(p))),
    };
    let optional = |v: Option<&str>| v.filter(|s| !s.is_empty()).map_or_else(|| Value::from(()), Value::from);
    let parts = [
        ("fragment", Value::from(fragment)),
        ("hostname", optional(Some(&host.to_lowercase()))),
        ("netloc", Value::from(authority)),
        ("password", optional(password)),
        ("path", Value::from(path)),
        ("port", port.and_then(|p| p.parse::<i64>().ok()).map_or_else(|| Value::from(()), Value::from)),
        ("query", Value::from(search)),
        ("scheme", Value::from(scheme.to_lowercase())),
        ("username", optional(user)),
    ];
    if query.is_empty() {
        return Ok(convert::mapping(parts.map(|(k, v)| (Value::from(k), v))));
    }
    let found = parts.into_iter().find(|(name, _)| *name == query).map(|(_, v)| v);
    found.ok_or_else(|| error(format!("a URL has no part '{query}'")))
}
