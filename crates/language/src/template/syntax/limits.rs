//! How deep an expression or a template may go. The engine's reader, and ours before it, go as deep as what they read: the thread's
//! stack must have room for it.

use super::expression::WORDS;
use super::header::Overrides;
use super::lexer::{Kind, tokens};
use super::source::{Shape, codes, shape};

/// Brackets inside brackets.
const MOST_BRACKETS: usize = 100;

/// Operators, filters, attributes and calls of which one works on what the one before it gave.
const MOST_CHAINED: usize = 1000;

/// Blocks inside blocks.
const MOST_BLOCKS: usize = 100;

/// Branches of one template's conditions.
const MOST_BRANCHES: usize = 1000;

/// Why a template is refused, if it goes too deep. `bare`: the text is an expression.
pub(crate) fn too_deep(text: &str, overrides: &Overrides, bare: bool) -> Option<String> {
    if bare && shape(text) == Shape::Plain {
        return expression(text);
    }
    let (mut blocks, mut branches) = (0_usize, 0_usize);
    for (inside, tag) in codes(text, overrides) {
        if let Some(why) = expression(inside) {
            return Some(why);
        }
        let first = inside.trim_start().split(|c: char| !c.is_alphanumeric()).next();
        let word = first.filter(|_| tag).unwrap_or_default();
        match word {
            "if" | "for" | "macro" | "block" | "filter" | "call" | "with" | "autoescape" => blocks += 1,
            "set" if !inside.contains('=') => blocks += 1,
            "elif" => branches += 1,
            word if word.starts_with("end") => blocks = blocks.saturating_sub(1),
            _ => {}
        }
        if blocks > MOST_BLOCKS {
            return Some(format!("blocks are nested more than {MOST_BLOCKS} deep"));
        }
        if branches > MOST_BRANCHES {
            return Some(format!("there are more than {MOST_BRANCHES} `elif`"));
        }
    }
    None
}

fn expression(inside: &str) -> Option<String> {
    // For each open bracket, how long the present chain in it is.
    let mut chains = vec![0_usize];
    let mut whole = 0_usize;
    for token in tokens(inside) {
        let operator = match token.kind {
            Kind::Sign => true,
            Kind::Name => WORDS.contains(&token.text),
            _ => false,
        };
        match token.text {
            "," if operator => whole -= chains.last_mut().map(std::mem::take).unwrap_or_default(),
            ")" | "]" | "}" if operator => {
                whole -= if chains.len() > 1 { chains.pop().unwrap_or_default() } else { 0 };
            }
            ":" | "=" if operator => {}
            text if operator => {
                whole += 1;
                if let Some(chain) = chains.last_mut() {
                    *chain += 1;
                }
                if matches!(text, "(" | "[" | "{") {
                    chains.push(0);
                }
            }
            _ => {}
        }
        if chains.len() > MOST_BRACKETS + 1 {
            return Some(format!("the expression is nested more than {MOST_BRACKETS} deep"));
        }
        if whole > MOST_CHAINED {
            return Some(format!(
                "the expression has more than {MOST_CHAINED} steps of which one needs the other"
            ));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> bool {
        too_deep(text, &Overrides::default(), false).is_some()
    }

    #[test]
    fn what_people_write_is_not_refused() {
        let list = format!("{{{{ [{}] }}}}", "{'a': (1 + 2) * x.y | int},".repeat(5000));
        assert!(!refused(&list));
        assert!(!refused(&format!("{{{{ {}1{} }}}}", "(".repeat(90), ")".repeat(90))));
        assert!(!refused(&format!("{{{{ {}1 }}}}", "1 + ".repeat(900))));
        assert!(!refused(&"{% if a %}{{ b }}{% elif c %}{% endif %}".repeat(900)));
        assert!(!refused(&format!("{}{}", "{% if a %}".repeat(90), "{% endif %}".repeat(90))));
        assert!(!refused(&"(".repeat(20_000)), "no template at all");
    }

    #[test]
    fn every_way_to_go_deep_has_an_end() {
        let many = 20_000;
        let deep =
            |before: &str, after: &str| format!("{{{{ {}1{} }}}}", before.repeat(many), after.repeat(many));
        for text in [
            deep("(", ")"),
            deep("[", "]"),
            deep("{'a': ", "}"),
            deep("f(", ")"),
            deep("not ", ""),
            deep("-", ""),
            deep("1 + ", ""),
            deep("1 ** ", ""),
            deep("1 if a else ", ""),
            deep("a and ", ""),
            deep("", ".a"),
            deep("", "[0]"),
            deep("", " | int"),
            deep("", " is defined"),
            deep("(", ""),
            "{% if a %}".repeat(many),
            "{% for a in b %}".repeat(many),
            "{% set a %}".repeat(many),
            format!("{{% if a %}}{}{{% endif %}}", "{% elif a %}".repeat(many)),
            format!("{{% set a = {} 1 %}}", "1 +".repeat(many)),
        ] {
            assert!(refused(&text), "{}", &text[..20]);
        }
        assert!(too_deep(&"(".repeat(many), &Overrides::default(), true).is_some());
    }
}
