//! What a template sees: a scope's variables, computed when they are touched.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use minijinja::value::{Enumerator, Object};
use minijinja::{Error, State, Value as Jinja};

use super::code::{Code, CodeShape};
use super::convert;
use super::environment;
use super::failure::{Failure, carried, innermost, words};
use super::lazy::{HostVars, LazyMap, LazySeq};
use super::machine::Machine;
use super::syntax::Backslashes;
use crate::diag::{Diagnostic, Origin, closest};
use crate::vars::{Scope, Var};
use crate::yaml::{Kind, Node};

/// The text that `omit` is while templates are computed: what comes to it was not given. It is another one in each run, so that no target can say
/// it, and it is known in this room alone.
pub(super) fn omit() -> &'static str {
    static OMIT: LazyLock<String> =
        LazyLock::new(|| format!("__omit_place_holder__{:032x}", rand::random::<u128>()));
    &OMIT
}

/// Whether a value is `omit`.
pub(super) fn is_omit(value: &crate::value::Value) -> bool {
    value.as_str() == Some(omit())
}

/// The name under which filters find the context.
const SELF: &str = "__context";

/// One rendering's view of a scope.
pub(super) struct Context {
    pub(super) machine: Arc<Machine>,
    pub(super) scope: Arc<dyn Scope>,
    /// What leads here from the outermost scope: nothing, or `hostvars['x'].`.
    path: String,
    known: Mutex<HashMap<String, Jinja>>,
    /// Variables that cannot be computed: whoever needs one is told so at once. Otherwise each of a chain would be tried as often as two
    /// to the power of its length.
    failed: Mutex<HashMap<String, Failure>>,
    run: Arc<Run>,
}

/// What all the contexts of one rendering share.
#[derive(Default)]
struct Run {
    /// The variables that are being computed, outermost first.
    open: Mutex<Vec<String>>,
    /// What was looked up last without being found.
    missing: Mutex<Option<Missing>>,
    /// For each template that is being rendered, what it has printed.
    printed: Mutex<Vec<Vec<Jinja>>>,
    hosts: Mutex<HashMap<String, Arc<Context>>>,
    /// How many expressions and templates are being computed, one because of the other.
    depth: AtomicUsize,
}

/// The most of these: variables that lead to variables, templates that look templates up.
const MOST_DEEP: usize = 200;

/// One step deeper, until it is dropped.
pub(super) struct Deeper<'a>(&'a AtomicUsize);

impl Drop for Deeper<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

struct Missing {
    diagnostic: Diagnostic,
    /// What to underline.
    word: String,
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<variables {}>", self.path)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic elsewhere leaves nothing here half done.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Context {
    pub(super) fn new(machine: Arc<Machine>, scope: Arc<dyn Scope>) -> Arc<Self> {
        Arc::new(Self {
            machine,
            scope,
            path: String::new(),
            known: Mutex::default(),
            failed: Mutex::default(),
            run: Arc::default(),
        })
    }

    /// The context that a running template works in.
    pub(super) fn of(state: &State<'_, '_>) -> Result<Arc<Self>, Error> {
        state
            .lookup(SELF)
            .and_then(|v| v.downcast_object::<Self>())
            .ok_or_else(|| super::failure::error("there are no variables here"))
    }

    pub(super) fn value(self: &Arc<Self>) -> Jinja {
        Jinja::from_dyn_object(Arc::clone(self))
    }

    /// Another host's variables.
    pub(super) fn host(&self, name: &str) -> Option<Arc<Self>> {
        if let Some(found) = lock(&self.run.hosts).get(name) {
            return Some(Arc::clone(found));
        }
        let context = Arc::new(Self {
            machine: Arc::clone(&self.machine),
            scope: self.scope.host(name)?,
            path: format!("hostvars['{name}']."),
            known: Mutex::default(),
            failed: Mutex::default(),
            run: Arc::clone(&self.run),
        });
        lock(&self.run.hosts).insert(name.to_owned(), Arc::clone(&context));
        Some(context)
    }

    /// The same rendering with more variables in front: what a lookup's own variables are.
    pub(super) fn with_scope(&self, scope: Arc<dyn Scope>) -> Arc<Self> {
        Arc::new(Self {
            machine: Arc::clone(&self.machine),
            scope,
            path: self.path.clone(),
            known: Mutex::default(),
            failed: Mutex::default(),
            run: Arc::clone(&self.run),
        })
    }

    /// A variable, computed. Undefined ones are noted, errors are returned inside the value.
    pub(super) fn lookup(self: &Arc<Self>, name: &str) -> Option<Jinja> {
        if name == SELF {
            return Some(self.value());
        }
        if let Some(found) = lock(&self.known).get(name) {
            return Some(found.clone());
        }
        if let Some(failure) = lock(&self.failed).get(name) {
            return Some(Jinja::from(failure.clone().into_error()));
        }
        let value = match self.scope.get(name) {
            Some(Var::Known(value)) => value.form(convert::to_jinja).clone(),
            Some(Var::Raw(node)) => match self.guarded(&format!("{}{name}", self.path), &node) {
                Ok(value) => value,
                Err(failure) if failure.undefined => {
                    self.note(failure.diagnostic, "");
                    return Some(Jinja::UNDEFINED);
                }
                Err(failure) => {
                    lock(&self.failed).insert(name.to_owned(), failure.clone());
                    return Some(Jinja::from(failure.into_error()));
                }
            },
            None => {
                if let Some(value) = self.magic(name) {
                    value
                } else {
                    if !environment::is_global(name) {
                        self.note_undefined(name);
                    }
                    return None;
                }
            }
        };
        lock(&self.known).insert(name.to_owned(), value.clone());
        Some(value)
    }

    /// Goes one step deeper, as far as that is allowed.
    pub(super) fn deeper(&self, origin: &Origin) -> Result<Deeper<'_>, Failure> {
        let step = Deeper(&self.run.depth);
        if self.run.depth.fetch_add(1, Ordering::Relaxed) < MOST_DEEP {
            return Ok(step);
        }
        let message = format!("variables and templates lead to one another more than {MOST_DEEP} deep");
        Err(Failure::new(Diagnostic::new(message).at(origin)))
    }

    fn magic(self: &Arc<Self>, name: &str) -> Option<Jinja> {
        match name {
            "omit" => Some(Jinja::from(omit())),
            "vars" => Some(self.value()),
            "hostvars" if !self.scope.host_names().is_empty() => {
                Some(Jinja::from_object(HostVars { context: Arc::clone(self) }))
            }
            _ => None,
        }
    }

    /// Computes a node, refusing to come by the same path twice.
    pub(super) fn guarded(self: &Arc<Self>, path: &str, node: &Node) -> Result<Jinja, Failure> {
        {
            let mut open = lock(&self.run.open);
            if let Some(start) = open.iter().position(|p| p == path) {
                let mut cycle: Vec<&str> = open.iter().skip(start).map(String::as_str).collect();
                cycle.push(path);
                return Err(Failure::new(
                    Diagnostic::new(format!("the variable is defined by itself: {}", cycle.join(" → ")))
                        .at(&node.origin),
                ));
            }
            open.push(path.to_owned());
        }
        let result = self.node(path, node);
        lock(&self.run.open).pop();
        result
    }

    /// A node's value; containers with templates inside stay lazy.
    pub(super) fn node(self: &Arc<Self>, path: &str, node: &Node) -> Result<Jinja, Failure> {
        match &node.kind {
            Kind::Str(text) => self.text(Code::of(text), &node.origin),
            Kind::Vault(text) => Ok(Jinja::from(self.opened(text, &node.origin)?)),
            // What holds no template is made once, whoever asks for it how often.
            Kind::Seq(items) => Ok(items
                .form(|| plain(node))
                .cloned()
                .unwrap_or_else(|| Jinja::from_object(LazySeq::new(self, path, items)))),
            Kind::Map(map) => Ok(map
                .form(|| plain(node))
                .cloned()
                .unwrap_or_else(|| Jinja::from_object(LazyMap::new(self, path, map)))),
            _ => Ok(convert::to_jinja(&node.to_value())),
        }
    }

    /// What is inside of a `!vault` value.
    pub(super) fn opened(&self, text: &str, origin: &Origin) -> Result<String, Failure> {
        self.machine.options.vault.open_text(text, origin).map_err(Failure::new)
    }

    /// A text's value: itself, a typed value of a lone expression, or a rendered text.
    pub(super) fn text(self: &Arc<Self>, code: Code<'_>, origin: &Origin) -> Result<Jinja, Failure> {
        let text = code.as_str();
        match code.shape() {
            CodeShape::Plain => Ok(Jinja::from(text)),
            CodeShape::Expression(inside) => {
                let value = self.expression(inside, Backslashes::Literal, origin)?;
                Ok(match value.as_str() {
                    Some(s) if text.ends_with('\n') => Jinja::from(with_line_ends(s.to_owned(), text)),
                    _ => value,
                })
            }
            CodeShape::Mixed => self.template(code, origin),
        }
    }

    /// An expression's value. An undefined one is an error.
    pub(super) fn expression(
        self: &Arc<Self>,
        code: Code<'_>,
        backslashes: Backslashes,
        origin: &Origin,
    ) -> Result<Jinja, Failure> {
        let fail = |error: Error| self.failure(&error, origin, code.as_str());
        let _step = self.deeper(origin)?;
        let expression = self.machine.expression(code, backslashes).map_err(fail)?;
        let value = expression.eval(self.value()).and_then(convert::checked).map_err(fail)?;
        self.defined(value, origin, code.as_str())
    }

    /// A variable's value, by a name that need not be one that a template could say.
    pub(super) fn variable(self: &Arc<Self>, name: &str, origin: &Origin) -> Result<Jinja, Failure> {
        let value = self.lookup(name).unwrap_or(Jinja::UNDEFINED);
        let value = convert::checked(value).map_err(|e| self.failure(&e, origin, name))?;
        self.defined(value, origin, name)
    }

    fn defined(&self, value: Jinja, origin: &Origin, text: &str) -> Result<Jinja, Failure> {
        if value.is_undefined() {
            return Err(self.failure(&Error::from(minijinja::ErrorKind::UndefinedError), origin, text));
        }
        Ok(value)
    }

    fn template(self: &Arc<Self>, code: Code<'_>, origin: &Origin) -> Result<Jinja, Failure> {
        let text = code.as_str();
        let fail = |error: Error| self.failure(&error, origin, text);
        let _step = self.deeper(origin)?;
        let key = self.machine.inline_key(code);
        let environment = environment::standard();
        let template = environment.get_template(&key).map_err(fail)?;
        lock(&self.run.printed).push(Vec::new());
        let rendered = template.render(self.value());
        let printed = lock(&self.run.printed).pop().unwrap_or_default();
        let rendered = rendered.map_err(fail)?;
        Ok(match printed.as_slice() {
            // One value printed and nothing else: it keeps its type, as in Ansible.
            [only]
                if only.as_str().is_none()
                    && super::python::text(only).is_ok_and(|text| text == rendered) =>
            {
                only.clone()
            }
            [] if rendered.is_empty() => Jinja::from(()),
            _ => Jinja::from(with_line_ends(rendered, text)),
        })
    }

    /// Remembers what a template prints, for templates that print one value.
    pub(super) fn printed(&self, value: &Jinja) {
        if let Some(last) = lock(&self.run.printed).last_mut() {
            // Two are enough to know that it is a text.
            if last.len() < 2 {
                last.push(value.clone());
            }
        }
    }

    fn note(&self, diagnostic: Diagnostic, word: &str) {
        *lock(&self.run.missing) = Some(Missing { diagnostic, word: word.to_owned() });
    }

    /// Notes that there is no such variable.
    pub(super) fn note_undefined(&self, name: &str) {
        self.note(undefined(name, self.scope.as_ref()), name);
    }

    /// Notes that a value has no such part.
    pub(super) fn note_missing(&self, base: &Jinja, key: &Jinja) {
        let type_name = super::python::type_name(base);
        let word = super::python::py_str(key);
        let message = match key.as_str() {
            Some(name) => format!("object of type '{type_name}' has no attribute '{name}'"),
            None => format!("object of type '{type_name}' has no item {}", super::python::repr(key)),
        };
        let keys: Vec<String> = if convert::is_mapping(base) {
            base.try_iter().into_iter().flatten().filter_map(|k| k.as_str().map(str::to_owned)).collect()
        } else {
            Vec::new()
        };
        let near = closest(&word, keys.iter().map(String::as_str));
        let diagnostic = Diagnostic::new(message).hint_opt(near.map(|n| format!("did you mean '{n}'?")));
        self.note(diagnostic, &word);
    }

    /// Notes an undefined value with its own words.
    pub(super) fn note_hint(&self, message: &str) {
        self.note(Diagnostic::new(message), "");
    }

    /// An engine error as a failure at its place.
    pub(super) fn failure(&self, error: &Error, origin: &Origin, text: &str) -> Failure {
        let inner = innermost(error);
        let undefined = inner.kind() == minijinja::ErrorKind::UndefinedError;
        if let Some(diagnostic) = carried(error) {
            return Failure { diagnostic: diagnostic.at_least(origin), undefined };
        }
        if undefined {
            let (diagnostic, word) = lock(&self.run.missing).as_ref().map_or_else(
                || (Diagnostic::new("an undefined value is used"), String::new()),
                |m| (m.diagnostic.clone(), m.word.clone()),
            );
            let place = super::place::of_word(origin, text, &word).unwrap_or_else(|| origin.clone());
            return Failure { diagnostic: diagnostic.at_least(&place), undefined };
        }
        Failure::new(self.describe(inner, origin, text))
    }

    fn describe(&self, error: &Error, origin: &Origin, text: &str) -> Diagnostic {
        let detail = error.detail().unwrap_or_default();
        let word = |prefix: &str| {
            detail
                .strip_prefix(prefix)
                .and_then(|r| r.strip_suffix(" is unknown"))
                .unwrap_or_default()
                .to_owned()
        };
        match error.kind() {
            minijinja::ErrorKind::UnknownFilter => environment::unknown_filter(&word("filter ")),
            minijinja::ErrorKind::UnknownTest => environment::unknown_test(&word("test ")),
            minijinja::ErrorKind::UnknownFunction => undefined(&word(""), self.scope.as_ref()),
            _ => Diagnostic::new(words(error)),
        }
        .at(&super::place::of_error(origin, text, error))
    }
}

/// "'x' is undefined", with the nearest name there is.
fn undefined(name: &str, scope: &dyn Scope) -> Diagnostic {
    let names = scope.names();
    let near = closest(name, names.iter().map(String::as_str));
    Diagnostic::new(format!("'{name}' is undefined")).hint_opt(near.map(|n| format!("did you mean '{n}'?")))
}

/// Gives a text back the line ends at its end that its template had.
pub(super) fn with_line_ends(mut rendered: String, template: &str) -> String {
    let count = |s: &str| s.len() - s.trim_end_matches('\n').len();
    let missing = count(template).saturating_sub(count(&rendered));
    rendered.extend(std::iter::repeat_n('\n', missing));
    rendered
}

/// The value of a node without templates.
fn plain(node: &Node) -> Option<Jinja> {
    (!has_templates(node)).then(|| convert::to_jinja(&node.to_value()))
}

fn has_templates(node: &Node) -> bool {
    match &node.kind {
        Kind::Str(text) => !matches!(Code::of(text).shape(), CodeShape::Plain),
        Kind::Vault(_) => true,
        Kind::Seq(items) => items.iter().any(has_templates),
        Kind::Map(map) => map.iter().any(|(_, value)| has_templates(value)),
        _ => false,
    }
}

impl Object for Context {
    fn get_value(self: &Arc<Self>, key: &Jinja) -> Option<Jinja> {
        self.lookup(key.as_str()?)
    }

    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<Jinja> {
        self.lookup(key)
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Values(self.scope.names().into_iter().map(Jinja::from).collect())
    }
}
