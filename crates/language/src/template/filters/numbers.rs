//! Filters for numbers.

use minijinja::value::ValueKind;
use minijinja::{Error, Value};

use super::super::call::{Call, Native};
use super::super::failure::error;
use super::super::python;

pub(super) const FILTERS: &[(&str, Native)] = &[
    ("int", int),
    ("float", float),
    ("abs", abs),
    ("round", round),
    ("pow", pow),
    ("root", root),
    ("log", log),
];

fn int(call: &mut Call<'_, '_, '_>) -> Result<Value, Error> {
    let default = call.get(1, "default").unwrap_or_else(|| Value::from(0));
    let base = call.int_or(2, "base", 10)?;
    let input = call.input();
    if input.kind() == ValueKind::Bool {
        return Ok(Value::from(i64::from(input.is_true())));
    }
    if input.is_integer() {
        return Ok(input.clone());
    }
    if let Some(text) = input.as_str() {
        return Ok(parse_int(text, base).or_else(|| cut(text.trim().parse().ok()?)).unwrap_or(default));
    }
    Ok(f64::try_from(input.clone()).ok().filter(|_| input.is_number()).and_then(cut).unwrap_or(default))
}

/// Cuts the fraction off.
pub(super) fn cut(number: f64) -> Option<Value> {
    if !number.is_finite() || number.abs() > 9.2e18 {
        return None;
    }
    #[expect(clippy::cast_possible_truncation, reason = "cutting is what Python's int() does")]
    Some(Value::from(number as i64))
}

fn parse_int(text: &str, base: i64) -> Option<Value> {
    let text = text.trim().replace('_', "");
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(&text)),
    };
    let lower = digits.to_ascii_lowercase();
    let (base, digits) = match (base, lower.get(..2)) {
        (16 | 0, Some("0x")) => (16, lower.get(2..)?),
        (8 | 0, Some("0o")) => (8, lower.get(2..)?),
        (2 | 0, Some("0b")) => (2, lower.get(2..)?),
        (0, _) => (10, lower.as_str()),
        _ => (u32::try_from(base).ok().filter(|b| (2..=36).contains(b))?, lower.as_str()),
    };
    // One sign is enough: what reads the digits would take another.
    let number = i128::from_str_radix(digits, base).ok().filter(|_| !digits.starts_with(['-', '+']))?;
    let number = if negative { -number } else { number };
    Some(i64::try_from(number).map_or_else(|_| Value::from(number), Value::from))
}

/// A number, from a number or a text that is one.
pub(super) fn number(value: &Value) -> Option<f64> {
    if value.kind() == ValueKind::Bool {
        return Some(if value.is_true() { 1.0 } else { 0.0 });
    }
    if let Some(text) = value.as_str() {
        return text.trim().parse().ok();
    }
    f64::try_from(value.clone()).ok()
}

#[expect(clippy::unnecessary_wraps, reason = "the table of functions gives the type")]
fn float(call: &mut Call<'_, '_, '_>) -> Result<Value, Error> {
    let default = call.get(1, "default").unwrap_or_else(|| Value::from(0.0));
    Ok(number(call.input()).map_or(default, Value::from))
}

fn need_number(call: &Call<'_, '_, '_>) -> Result<f64, Error> {
    let input = call.input();
    number(input).filter(|_| input.kind() != ValueKind::String).ok_or_else(|| {
        error(format!("a number is required, not {} ({})", python::repr(input), python::type_name(input)))
    })
}

fn abs(call: &mut Call<'_, '_, '_>) -> Result<Value, Error> {
    if let Some(i) = call.input().as_i64().filter(|_| call.input().is_integer()) {
        return i.checked_abs().map(Value::from).ok_or_else(|| error("the number is too large"));
    }
    need_number(call).map(|n| Value::from(n.abs()))
}

fn round(call: &mut Call<'_, '_, '_>) -> Result<Value, Error> {
    let precision = call.int_or(1, "precision", 0)?.clamp(-300, 300);
    let method = call.text_or(2, "method", "common");
    let number = need_number(call)?;
    let places = i32::try_from(precision).unwrap_or(0);
    let scale = 10_f64.powi(places);
    let rounded = match method.as_str() {
        "common" if places >= 0 => {
            // Halves go to the even neighbour, judged by the exact decimal, as Python does.
            let places = usize::try_from(places).unwrap_or(0);
            format!("{number:.places$}").parse().unwrap_or(number)
        }
        "common" => (number * scale).round_ties_even() / scale,
        "ceil" => (number * scale).ceil() / scale,
        "floor" => (number * scale).floor() / scale,
        _ => return Err(error("the method must be common, ceil or floor")),
    };
    // Whole numbers stay whole where Python's round() keeps them.
    if call.input().is_integer() && method == "common" {
        return Ok(cut(rounded).unwrap_or_else(|| Value::from(rounded)));
    }
    Ok(Value::from(rounded))
}

fn pow(call: &mut Call<'_, '_, '_>) -> Result<Value, Error> {
    let exponent = number(&call.need(1, "y")?).ok_or_else(|| error("pow needs a number"))?;
    Ok(Value::from(need_number(call)?.powf(exponent)))
}

fn root(call: &mut Call<'_, '_, '_>) -> Result<Value, Error> {
    let base = call.get(1, "base").and_then(|b| number(&b)).unwrap_or(2.0);
    let input = need_number(call)?;
    #[expect(clippy::float_cmp, reason = "two is exact")]
    let square = base == 2.0;
    Ok(Value::from(if square { input.sqrt() } else { input.powf(1.0 / base) }))
}

fn log(call: &mut Call<'_, '_, '_>) -> Result<Value, Error> {
    let input = need_number(call)?;
    let base = call.get(1, "base").and_then(|b| number(&b));
    Ok(Value::from(match base {
        None => input.ln(),
        Some(10.0) => input.log10(),
        Some(base) => input.ln() / base.ln(),
    }))
}
