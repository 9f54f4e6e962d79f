//! The lookups: what comes from outside of the variables.

mod files;
mod lists;
mod more;
mod password;
mod shell;
mod vars;

use std::sync::Arc;

use minijinja::{Error, ErrorKind, Value};

use super::call::Call;
use super::context::Context;
use super::convert;
use super::failure::{error, hinted};
use crate::diag::closest;

/// One call of a lookup: its terms and options.
pub(super) struct Ask<'a> {
    pub(super) context: &'a Arc<Context>,
    /// As they were given: a list stays one.
    pub(super) terms: Vec<Value>,
    pub(super) named: &'a indexmap::IndexMap<String, Value>,
}

type Lookup = fn(&Ask<'_>) -> Result<Vec<Value>, Error>;

/// What a lookup does on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effect {
    /// It gives the same answer however often it is asked, and at once.
    Reads,
    /// It starts a program, asks a server, or chooses: it may take its time, and it is not done for a guess.
    Acts,
}

const LOOKUPS: &[(&str, Effect, Lookup)] = &[
    ("env", Effect::Reads, shell::env),
    ("pipe", Effect::Acts, shell::pipe),
    ("lines", Effect::Acts, shell::lines),
    ("file", Effect::Reads, files::file),
    ("template", Effect::Reads, files::template),
    ("fileglob", Effect::Reads, files::fileglob),
    ("first_found", Effect::Reads, files::first_found),
    ("ini", Effect::Reads, files::ini),
    ("password", Effect::Acts, password::password),
    ("vars", Effect::Reads, vars::vars),
    ("varnames", Effect::Reads, vars::varnames),
    ("items", Effect::Reads, lists::items),
    ("list", Effect::Reads, lists::list),
    ("dict", Effect::Reads, lists::dict),
    ("sequence", Effect::Reads, lists::sequence),
    ("nested", Effect::Reads, lists::nested),
    ("together", Effect::Reads, lists::together),
    ("subelements", Effect::Reads, lists::subelements),
    ("indexed_items", Effect::Reads, lists::indexed_items),
    ("flattened", Effect::Reads, lists::flattened),
    ("random_choice", Effect::Acts, lists::random_choice),
    ("unvault", Effect::Reads, more::unvault),
    ("csvfile", Effect::Reads, more::csvfile),
    ("url", Effect::Acts, more::url),
    ("inventory_hostnames", Effect::Reads, more::inventory_hostnames),
    ("random_string", Effect::Acts, more::random_string),
];

impl Ask<'_> {
    /// An option by its name.
    pub(super) fn option(&self, name: &str) -> Option<&Value> {
        self.named.get(name).filter(|v| !v.is_none())
    }

    pub(super) fn text_option(&self, name: &str) -> Option<String> {
        self.option(name).map(super::python::py_str)
    }

    pub(super) fn flag(&self, name: &str, default: bool) -> bool {
        self.option(name).map_or(default, super::call::boolean)
    }

    /// The terms as texts, lists among them opened.
    pub(super) fn texts(&self) -> Result<Vec<String>, Error> {
        let mut found = Vec::new();
        for term in &self.terms {
            if convert::is_list(term) {
                found.extend(convert::items(term)?.iter().map(super::python::py_str));
            } else {
                found.push(super::python::py_str(term));
            }
        }
        Ok(found)
    }
}

/// `lookup(...)`: one value, texts joined by commas.
pub(super) fn lookup(call: &mut Call<'_, '_, '_>) -> Result<Value, Error> {
    let as_list = call.flag(usize::MAX, "wantlist", false);
    run(call, as_list)
}

/// `query(...)`: always a list.
pub(super) fn query(call: &mut Call<'_, '_, '_>) -> Result<Value, Error> {
    run(call, true)
}

fn run(call: &mut Call<'_, '_, '_>, as_list: bool) -> Result<Value, Error> {
    let name = call.need_text(0, "plugin_name")?;
    let errors = call.text(usize::MAX, "errors").unwrap_or_else(|| "strict".into());
    let context = Context::of(call.state)?;
    let mut named = call.named.clone();
    named.shift_remove("wantlist");
    named.shift_remove("errors");
    let ask = Ask { context: &context, terms: call.args.iter().skip(1).cloned().collect(), named: &named };
    let (effect, lookup) = find(&name)?;
    let found = match effect {
        Effect::Acts if context.scope.is_guess() => {
            return Err(error(format!("the lookup '{name}' is not done for a guess")));
        }
        Effect::Acts => aside(|| lookup(&ask)),
        Effect::Reads => lookup(&ask),
    };
    let found = match found {
        Ok(found) => found,
        // An undefined variable is for `default` to catch, unless the lookup may fail.
        Err(e) if errors == "strict" => {
            if e.kind() == ErrorKind::UndefinedError {
                return Ok(Value::UNDEFINED);
            }
            return Err(e);
        }
        Err(_) => return Ok(if as_list { Value::from(Vec::<Value>::new()) } else { Value::from(()) }),
    };
    if as_list {
        return Ok(Value::from(found));
    }
    if let [only] = found.as_slice() {
        return Ok(only.clone());
    }
    if !found.is_empty() && found.iter().all(|v| v.as_str().is_some()) {
        return Ok(Value::from(found.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(",")));
    }
    Ok(if found.is_empty() && name != "first_found" { Value::from("") } else { Value::from(found) })
}

/// Runs what may take its time; the thread's other work goes on elsewhere meanwhile.
fn aside<T>(work: impl FnOnce() -> T) -> T {
    use tokio::runtime::{Handle, RuntimeFlavor};
    match Handle::try_current() {
        Ok(runtime) if runtime.runtime_flavor() == RuntimeFlavor::MultiThread => {
            tokio::task::block_in_place(work)
        }
        _ => work(),
    }
}

fn find(name: &str) -> Result<(Effect, Lookup), Error> {
    let short = ["ansible.builtin.", "ansible.legacy.", "community.general."]
        .iter()
        .find_map(|p| name.strip_prefix(p))
        .unwrap_or(name);
    LOOKUPS
        .iter()
        .find(|(known, ..)| *known == short)
        .map(|(_, effect, lookup)| (*effect, *lookup))
        .ok_or_else(|| {
            let near = closest(short, LOOKUPS.iter().map(|(n, ..)| *n));
            hinted(format!("there is no lookup '{name}'"), near.map(|n| format!("did you mean '{n}'?")))
        })
}

/// What is wrong with a lookup's use.
pub(super) fn wrong(lookup: &str, why: impl std::fmt::Display) -> Error {
    error(format!("the lookup '{lookup}': {why}"))
}
