//! The test `version`: Python's loose, strict and semantic orders.

use std::cmp::Ordering;

use minijinja::{Error, Value};

use super::super::call::{Call, Native};
use super::super::failure::error;

pub(super) const TESTS: &[(&str, Native)] = &[("version", version), ("version_compare", version)];

fn version(call: &mut Call<'_, '_, '_>) -> Result<Value, Error> {
    let (left, right) = (call.input_text()?, call.need_text(1, "version")?);
    let operator = call.text_or(2, "operator", "eq");
    let strict = call.flag(3, "strict", false);
    let kind = call.text(4, "version_type");
    if left.is_empty() || right.is_empty() {
        return Err(error(format!("a version to compare is empty: '{left}' and '{right}'")));
    }
    let found = match kind.as_deref() {
        None if strict => numbered(&left)?.cmp(&numbered(&right)?),
        None | Some("loose") => loose(&left, &right)?,
        Some("strict" | "pep440") => numbered(&left)?.cmp(&numbered(&right)?),
        Some("semver" | "semantic") => semantic(&left)?.cmp(&semantic(&right)?),
        Some(other) => {
            return Err(error(format!(
                "the version type '{other}' is not one of loose, strict, semver, semantic, pep440"
            )));
        }
    };
    let holds = match operator.as_str() {
        "==" | "=" | "eq" => found == Ordering::Equal,
        "<" | "lt" => found == Ordering::Less,
        "<=" | "le" => found != Ordering::Greater,
        ">" | "gt" => found == Ordering::Greater,
        ">=" | "ge" => found != Ordering::Less,
        "!=" | "<>" | "ne" => found != Ordering::Equal,
        other => {
            return Err(error(format!("'{other}' does not compare versions: it is ==, !=, <, <=, > or >=")));
        }
    };
    Ok(Value::from(holds))
}

#[derive(Debug, PartialEq)]
enum Part {
    Number(u64),
    Word(String),
}

fn parts(version: &str) -> Vec<Part> {
    let mut found: Vec<Part> = Vec::new();
    let mut rest = version;
    while let Some(first) = rest.chars().next() {
        let digits = first.is_ascii_digit();
        let letters = first.is_ascii_lowercase();
        let end = if digits {
            rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len())
        } else if letters {
            rest.find(|c: char| !c.is_ascii_lowercase()).unwrap_or(rest.len())
        } else {
            // What is neither stands as it is, up to the next digit, letter or dot.
            let next = rest
                .char_indices()
                .skip(1)
                .find(|(_, c)| c.is_ascii_digit() || c.is_ascii_lowercase() || *c == '.');
            if first == '.' { 1 } else { next.map_or(rest.len(), |(i, _)| i) }
        };
        let (part, after) = rest.split_at(end);
        if part != "." {
            found.push(part.parse().map_or_else(|_| Part::Word(part.to_owned()), Part::Number));
        }
        rest = after;
    }
    found
}

fn loose(left: &str, right: &str) -> Result<Ordering, Error> {
    let (a, b) = (parts(left), parts(right));
    for (x, y) in a.iter().zip(&b) {
        let order = match (x, y) {
            (Part::Number(x), Part::Number(y)) => x.cmp(y),
            (Part::Word(x), Part::Word(y)) => x.cmp(y),
            _ => {
                return Err(error(format!(
                    "the versions '{left}' and '{right}' cannot be compared: a number meets a word"
                )));
            }
        };
        if order != Ordering::Equal {
            return Ok(order);
        }
    }
    Ok(a.len().cmp(&b.len()))
}

/// Numbers, then what marks a version that comes before the release (`1.0a1 < 1.0`).
type Numbered = (Vec<u64>, bool, String, u64);

fn numbered(version: &str) -> Result<Numbered, Error> {
    let wrong = || error(format!("'{version}' is not a version of numbers"));
    let end = version.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(version.len());
    let (digits, mark) = version.split_at(end);
    let mut numbers: Vec<u64> = digits
        .trim_end_matches('.')
        .split('.')
        .map(|d| d.parse().map_err(|_| wrong()))
        .collect::<Result<_, _>>()?;
    while numbers.len() > 1 && numbers.last() == Some(&0) {
        numbers.pop();
    }
    let word: String = mark.chars().take_while(|c| !c.is_ascii_digit()).collect();
    let count = mark.get(word.len()..).unwrap_or_default();
    let count = if count.is_empty() { 0 } else { count.parse().map_err(|_| wrong())? };
    Ok((numbers, mark.is_empty(), word, count))
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Mark {
    Number(u64),
    Word(String),
}

/// The core, then whether it is a release (which comes after its own prereleases), then the prerelease.
type Semantic = (Vec<u64>, bool, Vec<Mark>);

fn semantic(version: &str) -> Result<Semantic, Error> {
    let wrong = || error(format!("'{version}' is not a semantic version"));
    let plain = version.split('+').next().unwrap_or_default();
    let plain = plain.strip_prefix('v').unwrap_or(plain);
    let (core, prerelease) = plain.split_once('-').map_or((plain, None), |(c, p)| (c, Some(p)));
    let core: Vec<u64> = core.split('.').map(|d| d.parse().map_err(|_| wrong())).collect::<Result<_, _>>()?;
    if core.len() != 3 {
        return Err(wrong());
    }
    let marks = prerelease
        .map(|p| {
            p.split('.').map(|m| m.parse().map_or_else(|_| Mark::Word(m.to_owned()), Mark::Number)).collect()
        })
        .unwrap_or_default();
    Ok((core, prerelease.is_none(), marks))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loose_order_is_pythons() {
        for (left, right, expected) in [
            ("1.2", "1.10", Ordering::Less),
            ("1.2.3", "1.2", Ordering::Greater),
            ("8.4p1", "8.4p2", Ordering::Less),
            ("20.04", "18.04", Ordering::Greater),
            ("1.0", "1.0", Ordering::Equal),
            ("1.0", "1.0.0", Ordering::Less),
        ] {
            assert_eq!(loose(left, right).expect(left), expected, "{left} {right}");
        }
        assert!(loose("1.a", "1.2").is_err());
    }

    #[test]
    fn releases_come_after_their_prereleases() {
        assert!(numbered("1.0a1").expect("a") < numbered("1.0").expect("b"));
        assert_eq!(numbered("1.0.0").expect("a"), numbered("1.0").expect("b"));
        assert!(semantic("1.0.0-rc.1").expect("a") < semantic("1.0.0").expect("b"));
        assert!(semantic("1.0.0-rc.2").expect("a") < semantic("1.0.0-rc.10").expect("b"));
        assert!(semantic("1.0").is_err());
    }
}
