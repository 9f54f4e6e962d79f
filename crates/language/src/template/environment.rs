//! The engine's environments: one for everything, and one for each kind of `#jinja2:` header.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::{Component, PathBuf};
use std::sync::{LazyLock, Mutex, PoisonError};

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Rest, ValueKind, ValueOrKwargs};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, Output, State, UndefinedBehavior, Value};

use super::call::{Call, Native};
use super::code::Code;
use super::context::Context;
use super::syntax::{Backslashes, Overrides, header, rewrite_template, too_deep};
use super::{access, checks, convert, filters, functions, methods, python};
use crate::diag::{Diagnostic, SourceFile, closest};

/// A list of directories that includes are searched in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SearchId(usize);

static SEARCHES: Mutex<Vec<Vec<PathBuf>>> = Mutex::new(Vec::new());

/// Parts a template's key: its search list, the name it is shown by, its text.
const MARK: char = '\u{1}';

/// The name of what is no file.
pub(super) const INLINE: &str = "<template>";

pub(super) fn search_id(paths: &[PathBuf]) -> SearchId {
    let mut known = SEARCHES.lock().unwrap_or_else(PoisonError::into_inner);
    let at = known.iter().position(|p| p == paths).unwrap_or_else(|| {
        known.push(paths.to_vec());
        known.len() - 1
    });
    SearchId(at)
}

/// A key holds the text itself, so that the environment's own cache is one by text.
pub(super) fn key(search: SearchId, name: &str, code: Code<'_>) -> String {
    format!("{MARK}{}{MARK}{}{MARK}{}", search.0, unmarked(name), code.as_str())
}

/// A name that cannot be taken for a key: what `include` names may come from anywhere.
fn unmarked(name: &str) -> Cow<'_, str> {
    if name.contains(MARK) { Cow::Owned(name.replace(MARK, "\u{fffd}")) } else { Cow::Borrowed(name) }
}

fn parts(key: &str) -> Option<(usize, &str, &str)> {
    let mut parts = key.strip_prefix(MARK)?.splitn(3, MARK);
    Some((parts.next()?.parse().ok()?, parts.next()?, parts.next()?))
}

/// The environment for templates without a header.
pub(super) fn standard() -> &'static Environment<'static> {
    static STANDARD: LazyLock<Environment<'static>> = LazyLock::new(|| build(&Overrides::default()));
    &STANDARD
}

/// The environment for a header's settings. There are only as many as there are different headers.
pub(super) fn with_overrides(overrides: &Overrides) -> &'static Environment<'static> {
    static OTHERS: LazyLock<Mutex<HashMap<Overrides, &'static Environment<'static>>>> =
        LazyLock::new(Mutex::default);
    if *overrides == Overrides::default() {
        return standard();
    }
    let mut known = OTHERS.lock().unwrap_or_else(PoisonError::into_inner);
    known.entry(overrides.clone()).or_insert_with(|| Box::leak(Box::new(build(overrides))))
}

fn build(overrides: &Overrides) -> Environment<'static> {
    let mut env = Environment::new();
    env.set_undefined_behavior(UndefinedBehavior::Strict);
    env.set_auto_escape_callback(|_| AutoEscape::None);
    env.set_formatter(print);
    env.set_unknown_method_callback(methods::call);
    if let Ok(syntax) = syntax(overrides) {
        env.set_syntax(syntax);
    }
    let rules = overrides.clone();
    env.set_loader(move |key| -> Result<Option<String>, Error> {
        let Some((_, name, text)) = parts(key) else { return Ok(None) };
        if let Some(why) = too_deep(text, &rules, false) {
            return Err(Error::new(ErrorKind::SyntaxError, why));
        }
        let backslashes = if name == INLINE { Backslashes::Literal } else { Backslashes::Escape };
        Ok(Some(rewrite_template(text, &rules, backslashes)))
    });
    env.set_path_join_callback(|name, parent| {
        let joined = parts(parent).and_then(|(search, _, _)| included(name, search));
        joined.map_or_else(|| unmarked(name), Cow::Owned)
    });
    register(&mut env);
    env
}

fn syntax(overrides: &Overrides) -> Result<SyntaxConfig, Error> {
    let mut builder = SyntaxConfig::builder();
    builder
        .block_delimiters(overrides.block.0.clone(), overrides.block.1.clone())
        .variable_delimiters(overrides.variable.0.clone(), overrides.variable.1.clone())
        .comment_delimiters(overrides.comment.0.clone(), overrides.comment.1.clone())
        .trim_blocks(overrides.trim_blocks)
        .lstrip_blocks(overrides.lstrip_blocks);
    if let Some(prefix) = &overrides.line_statement {
        builder.line_statement_prefix(prefix.clone());
    }
    if let Some(prefix) = &overrides.line_comment {
        builder.line_comment_prefix(prefix.clone());
    }
    builder.build()
}

/// The key of an included file, its text read now: a file that changed is another template.
fn included(name: &str, search: usize) -> Option<String> {
    let paths = SEARCHES.lock().unwrap_or_else(PoisonError::into_inner).get(search).cloned()?;
    // As Jinja has it: below the folders, never beside them.
    let below: PathBuf = name.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    if below.components().any(|part| part == Component::ParentDir) {
        return None;
    }
    let file = paths.iter().map(|dir| dir.join(&below)).find(|p| p.is_file())?;
    let source = SourceFile::new(name, std::fs::read_to_string(&file).ok()?);
    let start = header(&source.text).map_or(0, |(_, body)| source.text.len() - body.len());
    Some(key(SearchId(search), name, Code::body(&source, start)))
}

/// Prints as Python does, nothing for `None`.
fn print(out: &mut Output<'_>, state: &mut State<'_, '_>, value: &Value) -> Result<(), Error> {
    match value.kind() {
        ValueKind::Undefined => return Err(Error::from(ErrorKind::UndefinedError)),
        ValueKind::None => return Ok(()),
        ValueKind::Seq | ValueKind::Iterable | ValueKind::Map => {
            // An undefined part or a deferred error must not be printed over.
            convert::to_value(value)?;
        }
        _ => {}
    }
    let value = convert::checked(value.clone())?;
    if let Ok(context) = Context::of(state) {
        context.printed(&value);
    }
    out.write_str(&python::text(&value)?).map_err(Error::from)
}

pub(super) const PREFIXES: [&str; 6] =
    ["", "ansible.builtin.", "ansible.legacy.", "ansible.utils.", "ansible.netcommon.", "community.general."];

fn register(env: &mut Environment<'static>) {
    for (name, native) in filters::all() {
        for prefix in PREFIXES {
            env.add_filter(
                format!("{prefix}{name}"),
                move |state: &mut State<'_, '_>, args: Rest<ValueOrKwargs>| {
                    run(state, &args.into_values(), native, filters::TOLERANT.contains(&name))
                },
            );
        }
    }
    for (name, native) in checks::all() {
        for prefix in PREFIXES {
            env.add_test(
                format!("{prefix}{name}"),
                move |state: &mut State<'_, '_>, args: Rest<ValueOrKwargs>| {
                    let answer = run(state, &args.into_values(), native, checks::TOLERANT.contains(&name))?;
                    if answer.is_undefined() {
                        Err(Error::from(ErrorKind::UndefinedError))
                    } else {
                        Ok(answer)
                    }
                },
            );
        }
    }
    for &(name, native) in functions::all() {
        env.add_function(name, move |state: &mut State<'_, '_>, args: Rest<ValueOrKwargs>| {
            run(state, &args.into_values(), native, functions::TOLERANT.contains(&name))
        });
    }
    access::register(env);
}

/// Runs a native function. What is undefined stays undefined, as in Ansible, unless the function wants to see it.
fn run(state: &mut State<'_, '_>, args: &[Value], native: Native, tolerant: bool) -> Result<Value, Error> {
    let mut call = Call::new(state, args)?;
    if !tolerant && call.has_undefined() {
        return Ok(Value::UNDEFINED);
    }
    native(&mut call)
}

pub(super) fn is_global(name: &str) -> bool {
    name.starts_with("__")
        || name == "namespace"
        || name == "range"
        || functions::all().iter().any(|(n, _)| *n == name)
}

pub(super) fn unknown_filter(name: &str) -> Diagnostic {
    unknown("filter", name, &filters::all())
}

pub(super) fn unknown_test(name: &str) -> Diagnostic {
    unknown("test", name, &checks::all())
}

fn unknown(what: &str, name: &str, known: &[(&'static str, Native)]) -> Diagnostic {
    let short = name.strip_prefix("ansible.builtin.").unwrap_or(name);
    let near = closest(short, known.iter().map(|(n, _)| *n));
    Diagnostic::new(format!("there is no {what} '{name}'"))
        .hint_opt(near.map(|n| format!("did you mean '{n}'?")))
}
