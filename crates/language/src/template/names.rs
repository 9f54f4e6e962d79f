//! The names of filters and tests in a template, looked up before anything is computed.

use super::syntax::{Called, Shape};
use super::syntax::{called, shape};
use super::{checks, environment, filters};
use crate::diag::{Diagnostic, Origin};
use crate::yaml::{Kind, Node};

/// What the engine brings along besides our own.
const MORE_FILTERS: [&str; 6] = ["attr", "bool", "chain", "lines", "safe", "zip"];
const MORE_TESTS: [&str; 3] = ["escaped", "safe", "=="];

/// The first filter or test in a node that nobody has. `bare`: texts are expressions, as in conditions.
pub(super) fn check(node: &Node, bare: bool) -> Result<(), Diagnostic> {
    match &node.kind {
        Kind::Str(text) => check_text(text, bare, &node.origin),
        Kind::Seq(items) => items.iter().try_for_each(|item| check(item, bare)),
        Kind::Map(map) => map.iter().try_for_each(|(key, value)| {
            check(key, false)?;
            check(value, bare)
        }),
        _ => Ok(()),
    }
}

fn check_text(text: &str, bare: bool, origin: &Origin) -> Result<(), Diagnostic> {
    if !bare && shape(text) == Shape::Plain {
        return Ok(());
    }
    for name in called(text, bare) {
        let (word, told) = match &name {
            Called::Filter(word) if !has(word, &MORE_FILTERS, &filters::all()) => {
                (word, environment::unknown_filter(word))
            }
            Called::Test(word) if !has(word, &MORE_TESTS, &checks::all()) => {
                (word, environment::unknown_test(word))
            }
            _ => continue,
        };
        let place = super::place::of_word(origin, text, word.rsplit('.').next().unwrap_or(word));
        return Err(told.at(&place.unwrap_or_else(|| origin.clone())));
    }
    Ok(())
}

fn has<T>(name: &str, more: &[&str], known: &[(&'static str, T)]) -> bool {
    let short = environment::PREFIXES.iter().filter(|p| !p.is_empty()).find_map(|p| name.strip_prefix(p));
    let short = short.unwrap_or(name);
    more.contains(&short) || known.iter().any(|(n, _)| *n == short)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unknown(text: &str, bare: bool) -> Option<String> {
        check(&Node::str(text, &Origin::synthetic("test")), bare).err().map(|e| e.message)
    }

    #[test]
    fn names_that_nobody_has_are_found() {
        for (text, bare, expected) in [
            ("{{ a | upper | ansible.builtin.to_json }} {{ 'x | y' }}", false, None),
            ("{{ a | uper }}", false, Some("there is no filter 'uper'")),
            ("plain | text", false, None),
            ("a is defined and b is not none", true, None),
            ("a is defind", true, Some("there is no test 'defind'")),
            ("a is some.collection.test", true, Some("there is no test 'some.collection.test'")),
            ("{% for i in x | sort %}{% if i is odd %}{% endif %}{% endfor %}", false, None),
            ("{% filter shout %}x{% endfilter %}", false, Some("there is no filter 'shout'")),
            ("{% raw %}{{ x | nothing }}{% endraw %}", false, None),
            ("{{ a is in b }} {{ x | d(y | e) }}", false, None),
        ] {
            assert_eq!(unknown(text, bare).as_deref(), expected, "{text}");
        }
    }
}
