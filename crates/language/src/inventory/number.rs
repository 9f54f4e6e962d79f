//! Python's number literals.

use super::piece::Piece;
use super::python;
use crate::yaml::Kind;

/// A number while an expression is read.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Number {
    Int(i128),
    Float(f64),
    Complex(f64, f64),
}

impl Number {
    pub(super) fn negated(self) -> Self {
        match self {
            Self::Int(n) => Self::Int(-n),
            Self::Float(f) => Self::Float(-f),
            Self::Complex(re, im) => Self::Complex(-re, -im),
        }
    }

    /// A real number and an imaginary one make a complex one; nothing else may be added.
    pub(super) fn plus(self, other: Self, negative: bool) -> Option<Self> {
        let Self::Complex(re, im) = other else { return None };
        #[expect(clippy::cast_precision_loss, reason = "Python turns the integer into a float as well")]
        let left = match self {
            Self::Int(n) => n as f64,
            Self::Float(f) => f,
            Self::Complex(..) => return None,
        };
        Some(if negative { Self::Complex(left - re, -im) } else { Self::Complex(left + re, im) })
    }

    /// Integers beyond 64 bits and complex numbers become texts.
    pub(super) fn into_kind(self, piece: &Piece) -> Kind {
        match self {
            Self::Int(n) => {
                i64::try_from(n).map_or_else(|_| Kind::Str(piece.written(n.to_string())), Kind::Int)
            }
            Self::Float(f) => Kind::Float(f),
            Self::Complex(re, im) => Kind::Str(piece.written(complex(re, im))),
        }
    }
}

fn complex(re: f64, im: f64) -> String {
    let short = |f: f64| {
        let text = python::float(f);
        text.strip_suffix(".0").unwrap_or(&text).to_owned()
    };
    if re == 0.0 && re.is_sign_positive() {
        return format!("{}j", short(im));
    }
    let sign = if im.is_sign_negative() { "" } else { "+" };
    format!("({}{sign}{}j)", short(re), short(im))
}

/// Reads the number at the start of these characters, and how many it takes.
pub(super) fn read(chars: &[(char, u32)]) -> Option<(Number, usize)> {
    let text: String = chars
        .iter()
        .map(|(c, _)| *c)
        .scan('\0', |before, c| {
            let sign = matches!(c, '+' | '-') && matches!(*before, 'e' | 'E');
            let fits = c.is_ascii_alphanumeric() || matches!(c, '_' | '.') || sign;
            *before = c;
            fits.then_some(c)
        })
        .collect();
    based(&text).or_else(|| decimal(&text))
}

/// `0x1f`, `0o17`, `0b11`.
fn based(text: &str) -> Option<(Number, usize)> {
    let lower = text.to_ascii_lowercase();
    let (digits, base) = [("0x", 16), ("0o", 8), ("0b", 2)]
        .into_iter()
        .find_map(|(prefix, base)| Some((lower.strip_prefix(prefix)?, base)))?;
    let digits = digits.strip_prefix('_').unwrap_or(digits);
    let number = i128::from_str_radix(&joined(digits)?, base).ok()?;
    Some((Number::Int(number), text.len()))
}

fn decimal(text: &str) -> Option<(Number, usize)> {
    // A sign that is no exponent's belongs to what follows: `0xe+1`, `1e` and the like are no numbers anyway.
    let (body, imaginary) = match text.strip_suffix(['j', 'J']) {
        Some(body) => (body, true),
        None => (text, false),
    };
    let (mantissa, exponent) = match body.find(['e', 'E']) {
        Some(at) => (body.get(..at)?, Some(body.get(at + 1..)?)),
        None => (body, None),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (mantissa, None),
    };
    let part = |s: &str| if s.is_empty() { Some(String::new()) } else { joined(s).filter(|d| digits(d)) };
    let whole = part(whole)?;
    let float = fraction.is_some() || exponent.is_some() || imaginary;
    if !float {
        // `007` is an error in Python, `000` is not.
        let zeros = whole.bytes().all(|b| b == b'0');
        if whole.is_empty() || (whole.starts_with('0') && !zeros) {
            return None;
        }
        return Some((Number::Int(whole.parse().ok()?), text.len()));
    }
    let fraction = part(fraction.unwrap_or_default())?;
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let mut number = format!("{whole}.{fraction}");
    if let Some(exponent) = exponent {
        let bare = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        let power = joined(bare).filter(|d| digits(d))?;
        number.push_str(if exponent.starts_with('-') { "e-" } else { "e" });
        number.push_str(&power);
    }
    let number: f64 = number.parse().ok()?;
    Some((if imaginary { Number::Complex(0.0, number) } else { Number::Float(number) }, text.len()))
}

fn digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

/// The digits without the single underscores between them.
fn joined(text: &str) -> Option<String> {
    let right = !text.is_empty() && text.split('_').all(|group| !group.is_empty());
    right.then(|| text.replace('_', ""))
}
