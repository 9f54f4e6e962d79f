//! Filters for paths, as `os.path` and `ntpath` treat them.

use std::path::Path;

use minijinja::value::Tuple;
use minijinja::{Error, Value};

use super::super::call::{Call, Native};
use super::super::convert;
use super::super::failure::error;
use super::super::python;

pub(super) const FILTERS: &[(&str, Native)] = &[
    ("basename", |c| Ok(Value::from(split(&c.input_text()?).1))),
    ("dirname", |c| Ok(Value::from(dirname(&c.input_text()?)))),
    ("splitext", splitext),
    ("expanduser", |c| Ok(Value::from(expanduser(&c.input_text()?)))),
    ("expandvars", |c| Ok(Value::from(expandvars(&c.input_text()?)))),
    ("realpath", realpath),
    ("normpath", |c| Ok(Value::from(normal(&c.input_text()?)))),
    ("relpath", relpath),
    ("path_join", path_join),
    ("commonpath", commonpath),
    ("win_basename", |c| Ok(Value::from(windows(&c.input_text()?).1))),
    ("win_dirname", |c| Ok(Value::from(windows(&c.input_text()?).0))),
    ("win_splitdrive", |c| {
        let text = c.input_text()?;
        let at = if text.get(1..2) == Some(":") { 2 } else { 0 };
        let (drive, rest) = text.split_at(at);
        Ok(pair(drive, rest))
    }),
    ("fileglob", fileglob),
];

fn pair(a: &str, b: &str) -> Value {
    Value::from(Tuple::from([Value::from(a), Value::from(b)]))
}

fn split(path: &str) -> (&str, &str) {
    path.split_at(path.rfind('/').map_or(0, |i| i + 1))
}

fn dirname(path: &str) -> String {
    let (head, _) = split(path);
    let trimmed = head.trim_end_matches('/');
    if trimmed.is_empty() { head.to_owned() } else { trimmed.to_owned() }
}

fn splitext(call: &mut Call<'_, '_, '_>) -> Result<Value, Error> {
    let path = call.input_text()?;
    let name_at = path.rfind('/').map_or(0, |i| i + 1);
    let name = path.get(name_at..).unwrap_or_default();
    // Dots that a name starts with are part of it.
    let lead = name.len() - name.trim_start_matches('.').len();
    let dot = name.rfind('.').filter(|at| *at > lead.saturating_sub(1) && *at >= lead);
    let at = dot.map_or(path.len(), |at| name_at + at);
    let (stem, extension) = path.split_at(at);
    Ok(pair(stem, extension))
}

fn expanduser(path: &str) -> String {
    let Some(rest) = path.strip_prefix('~') else { return path.to_owned() };
    let (user, tail) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let home = if user.is_empty() {
        std::env::var("HOME").ok()
    } else {
        let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        users
            .lines()
            .map(|l| l.split(':').collect::<Vec<_>>())
            .find(|f| f.first() == Some(&user))
            .and_then(|f| f.get(5).map(|h| (*h).to_owned()))
    };
    home.map_or_else(|| path.to_owned(), |home| format!("{}{tail}", home.trim_end_matches('/')))
}

fn expandvars(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(rest.get(..at).unwrap_or_default());
        let after = rest.get(at + 1..).unwrap_or_default();
        let (name, length) = if let Some(braced) = after.strip_prefix('{') {
            braced.split_once('}').map_or(("", 0), |(name, _)| (name, name.len() + 2))
        } else {
            let end = after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(after.len());
            (after.get(..end).unwrap_or_default(), end)
        };
        match std::env::var(name) {
            Ok(value) if length > 0 => out.push_str(&value),
            _ => out.push_str(rest.get(at..=at + length).unwrap_or("$")),
        }
        rest = after.get(length..).unwrap_or_default();
    }
    out.push_str(rest);
    out
}

/// `os.path.normpath`.
fn normal(path: &str) -> String {
    let absolute = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|p| *p != "..") => {
                parts.pop();
            }
            ".." if absolute => {}
            other => parts.push(other),
        }
    }
    let joined = parts.join("/");
    match (absolute, joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => ".".into(),
        (false, false) => joined,
    }
}

fn absolute(path: &str) -> String {
    if path.starts_with('/') {
        return normal(path);
    }
    let here = std::env::current_dir().unwrap_or_default();
    normal(&format!("{}/{path}", here.display()))
}

fn realpath(call: &mut Call<'_, '_, '_>) -> Result<Value, Error> {
    let path = absolute(&call.input_text()?);
    // What exists of it is resolved; the rest stays as it is.
    let mut base = Path::new(&path);
    let mut tail: Vec<String> = Vec::new();
    loop {
        if let Ok(found) = base.canonicalize() {
            let mut found = found;
            found.extend(tail.iter().rev());
            return Ok(Value::from(found.display().to_string()));
        }
        let (Some(parent), Some(name)) = (base.parent(), base.file_name()) else {
            return Ok(Value::from(path));
        };
        tail.push(name.to_string_lossy().into_owned());
        base = parent;
    }
}

fn relpath(call: &mut Call<'_, '_, '_>) -> Result<Value, Error> {
    let path = absolute(&call.input_text()?);
    let start = absolute(&call.text_or(1, "start", "."));
    let parts = |p: &str| p.split('/').filter(|s| !s.is_empty()).map(str::to_owned).collect::<Vec<_>>();
    let (to, from) = (parts(&path), parts(&start));
    let common = to.iter().zip(&from).take_while(|(a, b)| a == b).count();
    let mut found = vec!["..".to_owned(); from.len() - common];
    found.extend(to.into_iter().skip(common));
    Ok(Value::from(if found.is_empty() { ".".to_owned() } else { found.join("/") }))
}

fn path_join(call: &mut Call<'_, '_, '_>) -> Result<Value, Error> {
    if call.input().as_str().is_some() {
        return Ok(call.input().clone());
    }
    let mut joined = String::new();
    for part in call.input_items()? {
        let part = python::py_str(&part);
        if part.starts_with('/') || joined.is_empty() {
            joined = part;
        } else {
            if !joined.ends_with('/') {
                joined.push('/');
            }
            joined.push_str(&part);
        }
    }
    Ok(Value::from(joined))
}

fn commonpath(call: &mut Call<'_, '_, '_>) -> Result<Value, Error> {
    let paths: Vec<Vec<String>> = call
        .input_items()?
        .iter()
        .map(|p| {
            python::py_str(p).split('/').filter(|s| !s.is_empty() && *s != ".").map(str::to_owned).collect()
        })
        .collect();
    let absolute = call.input_items()?.iter().all(|p| p.as_str().is_some_and(|s| s.starts_with('/')));
    let first = paths.first().ok_or_else(|| error("commonpath needs at least one path"))?;
    let shared =
        first.iter().enumerate().take_while(|(at, part)| paths.iter().all(|p| p.get(*at) == Some(*part)));
    let joined = shared.map(|(_, part)| part.as_str()).collect::<Vec<_>>().join("/");
    Ok(Value::from(if absolute { format!("/{joined}") } else { joined }))
}

fn windows(path: &str) -> (String, String) {
    let at = path.rfind(['\\', '/', ':']).map_or(0, |i| i + 1);
    let (head, tail) = path.split_at(at);
    let trimmed = head.trim_end_matches(['\\', '/']);
    let head = if trimmed.is_empty() || trimmed.ends_with(':') { head } else { trimmed };
    (head.to_owned(), tail.to_owned())
}

fn fileglob(call: &mut Call<'_, '_, '_>) -> Result<Value, Error> {
    let args = [Value::from("fileglob"), call.input().clone()];
    let mut lookup = Call::new(call.state, &args)?;
    super::super::lookups::query(&mut lookup).and_then(convert::checked)
}
