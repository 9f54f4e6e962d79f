//! Python's `str.format`.

use indexmap::IndexMap;
use minijinja::value::ValueKind;
use minijinja::{Error, Value};

use super::super::access::item;
use super::super::bounds::{self, Grown};
use super::super::failure::error;
use super::super::percent;
use super::super::python;

/// `template.format(*args, **named)`.
pub(in super::super) fn format_braces(
    template: &str,
    args: &[Value],
    named: &IndexMap<String, Value>,
) -> Result<String, Error> {
    let mut out = Grown::new("the format");
    let mut rest = template;
    let mut automatic = 0;
    while let Some(at) = rest.find(['{', '}']) {
        out.push(rest.get(..at).unwrap_or_default());
        let found = rest.get(at..).unwrap_or_default();
        if let Some(after) = found.strip_prefix("{{").or_else(|| found.strip_prefix("}}")) {
            out.push(found.get(..1).unwrap_or_default());
            rest = after;
            continue;
        }
        let field = found.strip_prefix('{').and_then(|f| f.split_once('}'));
        let Some((field, after)) = field else { return Err(error("a single brace in a format text")) };
        rest = after;
        out.push(&one(field, args, named, &mut automatic)?);
    }
    out.push(rest);
    out.finish()
}

fn one(
    field: &str,
    args: &[Value],
    named: &IndexMap<String, Value>,
    automatic: &mut usize,
) -> Result<String, Error> {
    let (name, spec) = field.split_once(':').unwrap_or((field, ""));
    let (name, conversion) = name.split_once('!').unwrap_or((name, ""));
    let end = name.find(['.', '[']).unwrap_or(name.len());
    let (base, path) = name.split_at(end);
    let mut value = if base.is_empty() {
        *automatic += 1;
        args.get(*automatic - 1).cloned()
    } else if let Ok(index) = base.parse::<usize>() {
        args.get(index).cloned()
    } else {
        named.get(base).cloned()
    }
    .ok_or_else(|| error(format!("the format names {{{field}}}, which is not given")))?;
    for part in path.split(['.', '[']).map(|p| p.trim_end_matches(']')).filter(|p| !p.is_empty()) {
        let key = part.parse::<i64>().map_or_else(|_| Value::from(part), Value::from);
        value = item(&value, &key);
    }
    if conversion == "r" {
        value = Value::from(python::repr(&value));
    }
    formatted(&value, spec)
}

fn formatted(value: &Value, spec: &str) -> Result<String, Error> {
    if spec.is_empty() {
        return Ok(python::py_str(value));
    }
    let mut chars: Vec<char> = spec.chars().collect();
    let (mut fill, mut align) = (' ', None);
    if chars.get(1).is_some_and(|c| "<>^=".contains(*c)) {
        fill = chars.remove(0);
        align = Some(chars.remove(0));
    } else if chars.first().is_some_and(|c| "<>^=".contains(*c)) {
        align = Some(chars.remove(0));
    }
    let rest: String = chars.into_iter().collect();
    let kind = rest.chars().last().filter(char::is_ascii_alphabetic);
    let numeric = value.is_number() || value.kind() == ValueKind::Bool;
    let body = rest.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let grouped = body.contains(',');
    let body = body.replace(',', "");
    let width_at = body.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(body.len());
    let (flags, size) = body.split_at(width_at);
    let (width, precision) = size.split_once('.').map_or((size, None), |(w, p)| (w, Some(p)));
    let zero = width.starts_with('0') && align.is_none();
    let width = if width.is_empty() { Some(0) } else { width.parse().ok() };
    bounds::text("the format", width)?;
    let width = width.unwrap_or(0);
    let kind = kind.unwrap_or(if !numeric {
        's'
    } else if value.is_integer() && precision.is_none() {
        'd'
    } else {
        'g'
    });
    let precision = precision.map(|p| format!(".{p}")).unwrap_or_default();
    let mut text = percent::format(
        &format!("%{flags}{precision}{kind}"),
        std::slice::from_ref(value),
        &Value::from(()),
    )?;
    if grouped {
        text = group(&text);
    }
    let align = align.unwrap_or(if numeric { '>' } else { '<' });
    let room = width.saturating_sub(text.chars().count());
    let pad = |n: usize, c: char| std::iter::repeat_n(c, n).collect::<String>();
    Ok(match align {
        _ if zero && numeric => {
            let (sign, digits) = text.split_at(usize::from(text.starts_with(['-', '+'])));
            format!("{sign}{}{digits}", pad(room, '0'))
        }
        '>' | '=' => pad(room, fill) + &text,
        '^' => pad(room / 2, fill) + &text + &pad(room - room / 2, fill),
        _ => text + &pad(room, fill),
    })
}

fn group(text: &str) -> String {
    let (whole, fraction) = text.split_at(text.find('.').unwrap_or(text.len()));
    let (sign, digits) = whole.split_at(usize::from(whole.starts_with(['-', '+'])));
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    format!("{sign}{out}{fraction}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_as_python_does() {
        let named = IndexMap::from([("a".to_owned(), Value::from("x"))]);
        for (template, expected) in [
            ("{}-{}", "5-1.5"),
            ("{1}{0}{a}", "1.55x"),
            ("{{}} {a:>3}|{a:<3}|{a:^3}|{a:*^5}", "{}   x|x  | x |**x**"),
            ("{0:03d} {1:.2f} {a!r}", "005 1.50 'x'"),
        ] {
            let args = [Value::from(5), Value::from(1.5)];
            assert_eq!(format_braces(template, &args, &named).expect(template), expected);
        }
        for many in ["{:>999999999}", "{:.999999999f}", "{:>99999999999999999999}"] {
            assert!(format_braces(many, &[Value::from(1.5)], &named).is_err(), "{many}");
        }
        let often = "{0:>99999}".repeat(2000);
        assert!(
            format_braces(&often, &[Value::from(1)], &named).is_err(),
            "many short ones are one long one"
        );
        assert_eq!(format_braces("{:,}", &[Value::from(1_234_567)], &named).expect("grouped"), "1,234,567");
    }
}
