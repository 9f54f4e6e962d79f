//! Host patterns.

use std::path::Path;

use fancy_regex::Regex;
use indexmap::IndexSet;

use super::graph::LOCALHOST;
use super::layers::Inventory;
use super::{address, files};
use crate::diag::Diagnostic;

type Selected = (Vec<String>, Vec<Diagnostic>);

impl Inventory {
    /// The hosts that a pattern names, in order, each once; a pattern without a match is a warning.
    pub fn select(&self, pattern: &str) -> Result<Selected, Diagnostic> {
        self.evaluate(&split(pattern))
    }

    /// The hosts that a pattern names and a limit allows; `@file` in the limit names a list of patterns.
    pub fn select_limited(&self, pattern: &str, limit: Option<&str>) -> Result<Selected, Diagnostic> {
        let (hosts, mut warnings) = self.select(pattern)?;
        let Some(limit) = limit else { return Ok((hosts, warnings)) };
        let mut patterns = Vec::new();
        for part in split(limit) {
            match part.strip_prefix('@') {
                Some(path) => {
                    let file = files::read_text(Path::new(path))
                        .map_err(|error| error.note("named by the limit"))?;
                    patterns.extend(file.text.lines().map(|line| line.trim().to_owned()));
                }
                None => patterns.push(part),
            }
        }
        let (allowed, more) = self.evaluate(&patterns)?;
        warnings.extend(more);
        Ok((hosts.into_iter().filter(|host| allowed.contains(host)).collect(), warnings))
    }

    fn evaluate(&self, patterns: &[String]) -> Result<Selected, Diagnostic> {
        let patterns: Vec<&str> = patterns.iter().map(String::as_str).filter(|p| !p.is_empty()).collect();
        let with = |mark: char| patterns.iter().filter(move |p| p.starts_with(mark)).copied();
        let mut plain: Vec<&str> = patterns.iter().filter(|p| !p.starts_with(['&', '!'])).copied().collect();
        if plain.is_empty() {
            plain.push("all");
        }
        let mut warnings = Vec::new();
        let mut hosts: IndexSet<String> = IndexSet::new();
        for pattern in plain {
            hosts.extend(self.matches(pattern, &mut warnings)?);
        }
        for pattern in with('&') {
            let found = self.matches(pattern.trim_start_matches('&'), &mut warnings)?;
            hosts.retain(|host| found.contains(host));
        }
        for pattern in with('!') {
            let found = self.matches(pattern.trim_start_matches('!'), &mut warnings)?;
            hosts.retain(|host| !found.contains(host));
        }
        Ok((hosts.into_iter().collect(), warnings))
    }

    /// The hosts of one pattern without a mark.
    fn matches(&self, pattern: &str, warnings: &mut Vec<Diagnostic>) -> Result<Vec<String>, Diagnostic> {
        if self.has_host(pattern) {
            return Ok(vec![pattern.to_owned()]);
        }
        let (expression, subscript) = match Subscript::of(pattern) {
            Some((expression, subscript)) => (expression, Some(subscript)),
            None => (pattern, None),
        };
        let found = self.enumerate(expression, warnings)?;
        match subscript {
            Some(subscript) if !found.is_empty() => subscript.of_hosts(&found).ok_or_else(|| {
                Diagnostic::new(format!("no host has the position that {pattern:?} asks for"))
                    .note(format!("{expression} has {} hosts, and the first one is [0]", found.len()))
            }),
            _ => Ok(found),
        }
    }

    fn enumerate(&self, pattern: &str, warnings: &mut Vec<Diagnostic>) -> Result<Vec<String>, Diagnostic> {
        let matcher = Matcher::new(pattern)?;
        let groups: Vec<&String> = self.graph.groups.keys().filter(|name| matcher.fits(name)).collect();
        let mut found: Vec<String> = Vec::new();
        for group in &groups {
            found.extend(self.graph.members(group).into_iter().map(str::to_owned));
        }
        if groups.is_empty() || pattern.starts_with('~') || pattern.contains(['.', '?', '*', '[']) {
            found.extend(self.graph.hosts.keys().filter(|name| matcher.fits(name)).cloned());
        }
        if found.is_empty() && LOCALHOST.contains(&pattern) {
            // A host that is this machine under another of its names is meant, if there is one.
            found.push(self.graph.localhost().unwrap_or(pattern).to_owned());
        }
        if found.is_empty() && groups.is_empty() && pattern != "all" {
            warnings
                .push(Diagnostic::new(format!("Could not match supplied host pattern, ignoring: {pattern}")));
        }
        Ok(found)
    }
}

/// Single patterns: at commas, or else at colons that belong to no address and no range.
fn split(pattern: &str) -> Vec<String> {
    if pattern.contains(',') {
        return pattern.split(',').map(str::trim).filter(|p| !p.is_empty()).map(str::to_owned).collect();
    }
    if address::parse(pattern).is_some() {
        return vec![pattern.to_owned()];
    }
    let mut parts = vec![String::new()];
    let mut rest = pattern.chars();
    while let Some(c) = rest.next() {
        let current = parts.last_mut();
        match (c, current) {
            ('[', Some(current)) => match rest.as_str().split_once(']') {
                Some((inside, after)) => {
                    current.push('[');
                    current.push_str(inside);
                    current.push(']');
                    rest = after.chars();
                }
                None => parts.push(String::new()),
            },
            (c, _) if c.is_whitespace() || matches!(c, ':' | ']') => parts.push(String::new()),
            (c, Some(current)) => current.push(c),
            (_, None) => {}
        }
    }
    parts.retain(|part| !part.is_empty());
    parts
}

/// A position or a range of positions at the end of a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Subscript {
    At(i64),
    /// Both ends count; without an end, to the last one.
    Range(usize, Option<usize>),
}

impl Subscript {
    fn of(pattern: &str) -> Option<(&str, Self)> {
        if pattern.starts_with('~') {
            return None;
        }
        let (expression, inside) = pattern.strip_suffix(']')?.rsplit_once('[')?;
        if expression.is_empty() {
            return None;
        }
        let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
        let bare = inside.strip_prefix('-').unwrap_or(inside);
        if !bare.is_empty() && digits(bare) {
            return Some((expression, Self::At(inside.parse().ok()?)));
        }
        let (from, to) = inside.split_once([':', '-'])?;
        if from.is_empty() || !digits(from) || !digits(to) {
            return None;
        }
        let to = if to.is_empty() { None } else { Some(to.parse().ok()?) };
        Some((expression, Self::Range(from.parse().ok()?, to)))
    }

    fn of_hosts(self, hosts: &[String]) -> Option<Vec<String>> {
        let count = hosts.len();
        let at = |index: usize| hosts.get(index).map(|host| vec![host.clone()]);
        match self {
            Self::At(index) => match usize::try_from(index) {
                Ok(index) => at(index),
                Err(_) => at(count.checked_sub(usize::try_from(index.unsigned_abs()).ok()?)?),
            },
            // Ansible takes a zero for no end at all, and then only the first position counts.
            Self::Range(from, Some(0)) => at(from),
            Self::Range(from, to) => {
                let end = to.map_or(count, |to| to.saturating_add(1)).min(count);
                Some(hosts.get(from..end).unwrap_or_default().to_vec())
            }
        }
    }
}

/// A shell pattern, or a regular expression after `~`.
struct Matcher(Regex);

impl Matcher {
    fn new(pattern: &str) -> Result<Self, Diagnostic> {
        // Python's `match` starts at the beginning, and its shell patterns end at the end.
        let expression = match pattern.strip_prefix('~') {
            Some(expression) => format!(r"\A(?:{expression})"),
            None => format!(r"(?s)\A{}\z", translate(pattern)),
        };
        Regex::new(&expression).map(Self).map_err(|error| {
            Diagnostic::new(format!("{pattern:?} is no host pattern")).note(error.to_string())
        })
    }

    fn fits(&self, name: &str) -> bool {
        self.0.is_match(name).unwrap_or(false)
    }
}

/// A shell pattern as a regular expression.
fn translate(pattern: &str) -> String {
    let mut out = String::new();
    let mut rest = pattern.chars();
    while let Some(c) = rest.next() {
        match c {
            '*' => out.push_str(".*"),
            '?' => out.push('.'),
            '[' => {
                let text = rest.as_str();
                // A bracket right at the start, or after the `!`, is one of the characters meant.
                let skip = text.strip_prefix('!').map_or(0, |_| 1);
                let skip = skip + usize::from(text.get(skip..).is_some_and(|t| t.starts_with(']')));
                let close = text.get(skip..).and_then(|t| t.find(']')).map(|at| at + skip);
                match close.and_then(|at| Some((text.get(..at)?, text.get(at + 1..)?))) {
                    Some((set, after)) => {
                        let (mark, set) = set.strip_prefix('!').map_or(("", set), |set| ("^", set));
                        out.push('[');
                        out.push_str(mark);
                        for c in set.chars() {
                            if matches!(c, '\\' | '[' | ']' | '^' | '&' | '~') {
                                out.push('\\');
                            }
                            out.push(c);
                        }
                        out.push(']');
                        rest = after.chars();
                    }
                    None => out.push_str(r"\["),
                }
            }
            c => out.push_str(&fancy_regex::escape(&c.to_string())),
        }
    }
    out
}
