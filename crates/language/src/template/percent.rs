//! `%`: remainder of numbers, formatting of texts.

use minijinja::value::ValueKind;
use minijinja::{Error, Value};

use super::access::item;
use super::bounds::{self, Grown};
use super::failure::error;
use super::python;

/// `left % right`.
pub(super) fn apply(left: &Value, right: &Value) -> Result<Value, Error> {
    if left.is_undefined() || right.is_undefined() {
        return Err(Error::from(minijinja::ErrorKind::UndefinedError));
    }
    if let Some(template) = left.as_str() {
        let args = if right.is_tuple() { right.try_iter()?.collect() } else { vec![right.clone()] };
        return format(template, &args, right).map(Value::from);
    }
    remainder(left, right)
}

fn remainder(left: &Value, right: &Value) -> Result<Value, Error> {
    let wrong = || {
        error(format!(
            "unsupported operand types for %: '{}' and '{}'",
            python::type_name(left),
            python::type_name(right)
        ))
    };
    if let (true, Some(a), Some(b)) = (left.is_integer() && right.is_integer(), left.as_i64(), right.as_i64())
    {
        if b == 0 {
            return Err(error("modulo by zero"));
        }
        let rest = a.wrapping_rem(b);
        return Ok(Value::from(if rest != 0 && (rest < 0) != (b < 0) { rest + b } else { rest }));
    }
    if !left.is_number() || !right.is_number() {
        return Err(wrong());
    }
    let a = f64::try_from(left.clone()).map_err(|_| wrong())?;
    let b = f64::try_from(right.clone()).map_err(|_| wrong())?;
    if b == 0.0 {
        return Err(error("modulo by zero"));
    }
    let rest = a % b;
    Ok(Value::from(if rest != 0.0 && (rest < 0.0) != (b < 0.0) { rest + b } else { rest }))
}

#[expect(clippy::struct_excessive_bools, reason = "each is one flag of the format")]
#[derive(Default)]
struct Spec {
    left: bool,
    zero: bool,
    plus: bool,
    space: bool,
    alternate: bool,
    width: usize,
    precision: Option<usize>,
}

/// `template % args`; `whole` is what names are looked up in.
pub(super) fn format(template: &str, args: &[Value], whole: &Value) -> Result<String, Error> {
    let mut out = Grown::new("the format");
    let mut chars = template.chars().peekable();
    let mut args = args.iter();
    let mut named = false;
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push_char(c);
            continue;
        }
        let mut key = None;
        if chars.next_if_eq(&'(').is_some() {
            let name: String = chars.by_ref().take_while(|c| *c != ')').collect();
            key = Some(name);
            named = true;
        }
        let mut spec = Spec::default();
        while let Some(flag) = chars.next_if(|c| "-0+ #".contains(*c)) {
            match flag {
                '-' => spec.left = true,
                '0' => spec.zero = true,
                '+' => spec.plus = true,
                ' ' => spec.space = true,
                _ => spec.alternate = true,
            }
        }
        spec.width = size(&mut chars)?;
        if chars.next_if_eq(&'.').is_some() {
            spec.precision = Some(size(&mut chars)?);
        }
        let Some(kind) = chars.next() else { return Err(error("incomplete format")) };
        if kind == '%' {
            out.push("%");
            continue;
        }
        let value = match &key {
            Some(name) => {
                let found = item(whole, &Value::from(name.as_str()));
                if found.is_undefined() {
                    return Err(error(format!("the format names '{name}', which is not given")));
                }
                found
            }
            None => args.next().cloned().ok_or_else(|| error("not enough arguments for format string"))?,
        };
        out.push(&one(kind, &spec, &value)?);
    }
    if !named && args.next().is_some() && whole.kind() != ValueKind::Map {
        return Err(error("not all arguments converted during string formatting"));
    }
    out.finish()
}

/// A width or a precision, as far as a text may be long.
fn size(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<usize, Error> {
    let mut digits = String::new();
    while let Some(d) = chars.next_if(char::is_ascii_digit) {
        digits.push(d);
    }
    let number = if digits.is_empty() { Some(0) } else { digits.parse().ok() };
    bounds::text("the format", number)?;
    Ok(number.unwrap_or(0))
}

fn one(kind: char, spec: &Spec, value: &Value) -> Result<String, Error> {
    let body = match kind {
        's' => cut(python::py_str(value), spec.precision),
        'r' | 'a' => cut(python::repr(value), spec.precision),
        'c' => one_char(value)?,
        'd' | 'i' | 'u' | 'x' | 'X' | 'o' => {
            let number = whole_number(kind, value)?;
            let digits = match kind {
                'x' => format!("{}{:x}", if spec.alternate { "0x" } else { "" }, number.unsigned_abs()),
                'X' => format!("{}{:X}", if spec.alternate { "0X" } else { "" }, number.unsigned_abs()),
                'o' => format!("{}{:o}", if spec.alternate { "0o" } else { "" }, number.unsigned_abs()),
                _ => number.unsigned_abs().to_string(),
            };
            return Ok(padded(sign(number < 0, spec), &digits, spec, spec.zero));
        }
        'f' | 'F' | 'e' | 'E' | 'g' | 'G' => {
            let number = f64::try_from(value.clone())
                .map_err(|_| error(format!("must be a real number, not {}", python::type_name(value))))?;
            let digits = float(kind, number.abs(), spec.precision.unwrap_or(6));
            return Ok(padded(sign(number.is_sign_negative(), spec), &digits, spec, spec.zero));
        }
        other => return Err(error(format!("unsupported format character '{other}'"))),
    };
    Ok(padded("", &body, spec, false))
}

fn cut(text: String, precision: Option<usize>) -> String {
    match precision {
        Some(n) => text.chars().take(n).collect(),
        None => text,
    }
}

fn one_char(value: &Value) -> Result<String, Error> {
    let text = match value.as_i64() {
        Some(code) => u32::try_from(code).ok().and_then(char::from_u32).map(String::from),
        None => value.as_str().filter(|s| s.chars().count() == 1).map(str::to_owned),
    };
    text.ok_or_else(|| {
        error(format!("%c takes one character or the number of one, not {}", python::repr(value)))
    })
}

fn whole_number(kind: char, value: &Value) -> Result<i128, Error> {
    if let Some(i) = value.as_i64() {
        return Ok(i.into());
    }
    if value.is_integer()
        && let Ok(i) = i128::try_from(value.clone())
    {
        return Ok(i);
    }
    if value.kind() == ValueKind::Bool {
        return Ok(i128::from(value.is_true()));
    }
    if value.is_number()
        && "diu".contains(kind)
        && let Ok(f) = f64::try_from(value.clone())
    {
        #[expect(clippy::cast_possible_truncation, reason = "Python cuts the fraction off too")]
        return Ok(f as i128);
    }
    Err(error(format!("%{kind} format: a real number is required, not {}", python::type_name(value))))
}

fn sign(negative: bool, spec: &Spec) -> &'static str {
    match (negative, spec.plus, spec.space) {
        (true, _, _) => "-",
        (_, true, _) => "+",
        (_, _, true) => " ",
        _ => "",
    }
}

/// Digits of a number that can be other than zero; more than can be asked for at once are zeros behind them.
const MOST_DIGITS: usize = 1100;

fn float(kind: char, number: f64, asked: usize) -> String {
    let precision = asked.min(MOST_DIGITS);
    let zeros = if number.is_finite() { "0".repeat(asked - precision) } else { String::new() };
    let scientific = |precision: usize| {
        let text = format!("{number:.precision$e}");
        let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let exponent: i32 = exponent.parse().unwrap_or(0);
        (mantissa.to_owned(), exponent)
    };
    let exponent_text = |e: i32| format!("e{}{:02}", if e < 0 { '-' } else { '+' }, e.abs());
    let text = match kind.to_ascii_lowercase() {
        'f' => format!("{number:.precision$}{zeros}"),
        'e' => {
            let (mantissa, exponent) = scientific(precision);
            mantissa + &zeros + &exponent_text(exponent)
        }
        _ => {
            let precision = precision.max(1);
            let (mantissa, exponent) = scientific(precision - 1);
            let trim = |s: String| {
                if s.contains('.') { s.trim_end_matches('0').trim_end_matches('.').to_owned() } else { s }
            };
            let wide = i32::try_from(precision).unwrap_or(i32::MAX);
            if exponent < -4 || exponent >= wide {
                trim(mantissa) + &exponent_text(exponent)
            } else {
                let places = usize::try_from(wide - 1 - exponent).unwrap_or(0);
                trim(format!("{number:.places$}"))
            }
        }
    };
    if kind.is_ascii_uppercase() { text.to_uppercase() } else { text }
}

fn padded(sign: &str, body: &str, spec: &Spec, zero: bool) -> String {
    let length = sign.chars().count() + body.chars().count();
    let fill = spec.width.saturating_sub(length);
    if spec.left {
        format!("{sign}{body}{}", " ".repeat(fill))
    } else if zero {
        format!("{sign}{}{body}", "0".repeat(fill))
    } else {
        format!("{}{sign}{body}", " ".repeat(fill))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_as_python_does() {
        for (template, args, expected) in [
            ("%s-%d", vec![Value::from("a"), Value::from(5)], "a-5"),
            ("%03d|%-4d|%+d", vec![Value::from(5), Value::from(5), Value::from(5)], "005|5   |+5"),
            (
                "%.2f %e %g",
                vec![Value::from(1.5), Value::from(1.5), Value::from(0.00001)],
                "1.50 1.500000e+00 1e-05",
            ),
            ("%x %X %#o %%", vec![Value::from(255), Value::from(255), Value::from(8)], "ff FF 0o10 %"),
            ("%5s|%-5s|%.2s", vec![Value::from("a"), Value::from("b"), Value::from("cde")], "    a|b    |cd"),
            ("%r", vec![Value::from("a")], "'a'"),
        ] {
            assert_eq!(format(template, &args, &Value::from(())).expect(template), expected);
        }
        let zeros = format("%.70000f", &[Value::from(1)], &Value::from(())).expect("long, but not too long");
        assert_eq!(zeros.len(), 70_002);
        assert_eq!(format("%.70000e", &[Value::from(1)], &Value::from(())).expect("long").len(), 70_006);
        assert_eq!(format("%.70000g", &[Value::from(1)], &Value::from(())).expect("long"), "1");
        assert_eq!(
            format("%d", &[Value::from(u64::MAX)], &Value::from(())).expect("long"),
            u64::MAX.to_string()
        );
        assert_eq!(
            format("%c%c", &[Value::from(65), Value::from("b")], &Value::from(())).expect("two"),
            "Ab"
        );
        assert!(format("%c", &[Value::from(1_114_112)], &Value::from(())).is_err());
        for many in ["%999999999d", "%.999999999f", "%99999999999999999999d", "%.99999999999999999999s"] {
            let told = format(many, &[Value::from(1)], &Value::from(())).expect_err(many).to_string();
            assert!(told.contains("the most is"), "{told}");
        }
        let often = "%(a)99999d".repeat(2000);
        assert!(
            format(&often, &[], &Value::from_pairs([("a", 1)])).is_err(),
            "many short ones are one long one"
        );
        assert!(format("%s %s", &[Value::from(1)], &Value::from(())).is_err());
        assert!(format("%d", &[Value::from("x")], &Value::from(())).is_err());
    }
}
