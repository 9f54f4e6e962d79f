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

const LOOKUPS: &[(&str, Lookup)] = &[
    ("env", shell::env),
    ("pipe", shell::pipe),
    ("lines", shell::lines),
    ("file", files::file),
    ("template", files::template),
    ("fileglob", files::fileglob),
    ("first_found", files::first_found),
    ("ini", files::ini),
    ("password", password::password),
    ("vars", vars::vars),
    ("varnames", vars::varnames),
    ("items", lists::items),
    ("list", lists::list),
    ("dict", lists::dict),
    ("sequence", lists::sequence),
    ("nested", lists::nested),
    ("together", lists::together),
    ("subelements", lists::subelements),
    ("indexed_items", lists::indexed_items),
    ("flattened", lists::flattened),
    ("random_choice", lists::random_choice),
    ("unvault", more::unvault),
    ("csvfile", more::csvfile),
    ("url", more::url),
    ("inventory_hostnames", more::inventory_hostnames),
    ("random_string", more::random_string),
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
    let lookup = find(&name)?;
    let acts = ["pipe", "lines", "password", "random_choice", "random_string", "url"];
    if context.scope.is_guess() && acts.contains(&name.rsplit('.').next().unwrap_or(&name)) {
        return Err(error(format!("the lookup '{name}' is not done for a guess")));
    }
    let found = match lookup(&ask) {
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

fn find(name: &str) -> Result<Lookup, Error> {
    let short = ["ansible.builtin.", "ansible.legacy.", "community.general."]
        .iter()
        .find_map(|p| name.strip_prefix(p))
        .unwrap_or(name);
    LOOKUPS.iter().find(|(known, _)| *known == short).map(|(_, lookup)| *lookup).ok_or_else(|| {
        let near = closest(short, LOOKUPS.iter().map(|(n, _)| *n));
        hinted(format!("there is no lookup '{name}'"), near.map(|n| format!("did you mean '{n}'?")))
    })
}

/// What is wrong with a lookup's use.
pub(super) fn wrong(lookup: &str, why: impl std::fmt::Display) -> Error {
    error(format!("the lookup '{lookup}': {why}"))
}
