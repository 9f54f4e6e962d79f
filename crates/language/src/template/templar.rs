//! Templates in, known values out.

use std::path::PathBuf;
use std::sync::Arc;

use super::code::{Code, CodeShape};
use super::context::{Context, is_omit, with_line_ends};
use super::convert;
use super::environment;
use super::failure::Failure;
use super::machine::{Machine, TemplarOptions};
use super::names;
use super::syntax::{Backslashes, Overrides, header};
use crate::diag::{Diagnostic, Origin, SourceFile};
use crate::value::{Map, Value, truth};
use crate::vars::Scope;
use crate::yaml::{Kind, Node, Written};

/// Renders templates and evaluates conditions. Cheap to share: compiled expressions are kept by their text.
pub struct Templar {
    machine: Arc<Machine>,
}

impl Templar {
    pub fn new(options: TemplarOptions) -> Self {
        Self { machine: Arc::new(Machine::new(options)) }
    }

    fn context(&self, scope: &Arc<dyn Scope>) -> Arc<Context> {
        Context::new(Arc::clone(&self.machine), Arc::clone(scope))
    }

    /// Renders every template in a node, keys too. A string that is one `{{ expression }}` gives the expression's own
    /// type; parts of a container that are `omit` are left out. `None`: the whole is `omit`, as if it had not been written.
    pub fn render(&self, node: &Node, scope: &Arc<dyn Scope>) -> Result<Option<Value>, Diagnostic> {
        Ok(given(render(&self.context(scope), node)?))
    }

    /// Renders a text that a person wrote where an expression may stand bare, as in `debug: var=`.
    pub fn expression(
        &self,
        text: &Written,
        origin: &Origin,
        scope: &Arc<dyn Scope>,
    ) -> Result<Option<Value>, Diagnostic> {
        let context = self.context(scope);
        Ok(given(known(&context, Code::of(&text.as_expression()), origin)?))
    }

    /// The truth of a bare expression, a boolean, or a list of conditions that must all hold.
    pub fn condition(&self, node: &Node, scope: &Arc<dyn Scope>) -> Result<bool, Diagnostic> {
        Ok(condition(&self.context(scope), node)?)
    }

    /// Renders a template file. `search` is where it finds what it includes.
    pub fn render_file(
        &self,
        file: &Arc<SourceFile>,
        search: &[PathBuf],
        scope: &Arc<dyn Scope>,
    ) -> Result<String, Diagnostic> {
        Ok(render_file(&self.context(scope), file, search)?)
    }

    /// One variable, templated; `None` where there is none of that name, or it is `omit`.
    pub fn lookup(&self, name: &str, scope: &Arc<dyn Scope>) -> Result<Option<Value>, Diagnostic> {
        if scope.get(name).is_none() {
            return Ok(None);
        }
        let context = self.context(scope);
        let origin = Origin::synthetic("variables");
        let value = context.variable(name, &origin)?;
        Ok(given(convert::to_value(&value).map_err(|e| context.failure(&e, &origin, name))?))
    }

    /// Whether all filters and tests in a node's templates are there; with `bare` its texts are expressions.
    pub fn check_names(&self, node: &Node, bare: bool) -> Result<(), Diagnostic> {
        names::check(node, bare)
    }
}

impl std::fmt::Debug for Templar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Templar").field("options", &self.machine.options).finish_non_exhaustive()
    }
}

/// What was given; `omit` was not.
fn given(value: Value) -> Option<Value> {
    (!is_omit(&value)).then_some(value)
}

/// A text's value, computed to the last part.
fn known(context: &Arc<Context>, code: Code<'_>, origin: &Origin) -> Result<Value, Failure> {
    if matches!(code.shape(), CodeShape::Plain) {
        return Ok(Value::String(code.as_str().to_owned()));
    }
    let value = context.text(code, origin)?;
    convert::to_value(&value).map_err(|e| context.failure(&e, origin, code.as_str()))
}

fn render(context: &Arc<Context>, node: &Node) -> Result<Value, Failure> {
    match &node.kind {
        Kind::Str(text) => known(context, Code::of(text), &node.origin),
        Kind::Vault(text) => Ok(Value::String(context.opened(text, &node.origin)?)),
        Kind::Seq(items) => {
            let mut list = Vec::with_capacity(items.len());
            for item in items {
                let value = render(context, item)?;
                if !is_omit(&value) {
                    list.push(value);
                }
            }
            Ok(Value::Array(list))
        }
        Kind::Map(map) => {
            let mut rendered = Map::new();
            for (key, item) in map.iter() {
                let name = match &key.kind {
                    Kind::Str(text) => crate::value::plain(&known(context, Code::of(text), &key.origin)?),
                    _ => key.key_text(),
                };
                let value = render(context, item)?;
                if !is_omit(&value) {
                    rendered.insert(name, value);
                }
            }
            Ok(Value::Object(rendered))
        }
        _ => Ok(node.to_value()),
    }
}

fn condition(context: &Arc<Context>, node: &Node) -> Result<bool, Failure> {
    match &node.kind {
        Kind::Bool(b) => Ok(*b),
        Kind::Seq(items) => {
            for item in items {
                if !condition(context, item)? {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        Kind::Str(text) => {
            let code = Code::of(text).trim();
            if code.as_str().is_empty() {
                return Ok(true);
            }
            let value = match code.shape() {
                CodeShape::Plain => context.expression(Code::of(text), Backslashes::Escape, &node.origin)?,
                _ => context.text(code, &node.origin)?,
            };
            match value.as_str() {
                Some(result) => text_truth(result).map_err(|d| Failure::new(d).at_least(&node.origin)),
                None => Ok(value.is_true()),
            }
        }
        Kind::Unsafe(text) => Err(untrusted("a condition", text, &node.origin)),
        Kind::Int(i) => Ok(*i != 0),
        Kind::Null => Ok(true),
        _ => Err(Failure::new(
            Diagnostic::new(format!("a condition is an expression, not {}", node.type_name()))
                .at(&node.origin),
        )),
    }
}

/// What is no template and stands where one is wanted.
fn untrusted(what: &str, text: &str, origin: &Origin) -> Failure {
    let shown: String = text.chars().take(40).collect();
    Failure::new(
        Diagnostic::new(format!("{what} has to be written: {shown:?} is data"))
            .at(origin)
            .note("what a target, a lookup or a result has said, and what is marked !unsafe, is never evaluated")
            .hint("write the expression itself, and let it read the data: `result.stdout == 'yes'`"),
    )
}

/// A text is true or false only where it says so.
fn text_truth(result: &str) -> Result<bool, Diagnostic> {
    truth(&Value::from(result)).ok_or_else(|| {
        let shown: String = result.chars().take(40).collect();
        Diagnostic::new(format!("the condition gives a text ({shown:?}), which is neither true nor false"))
            .hint("test it: `x | length > 0`, `x is defined`, `x == '...'`, or `x | bool`")
    })
}

/// Renders a file's text in a context.
pub(super) fn render_file(
    context: &Arc<Context>,
    file: &Arc<SourceFile>,
    search: &[PathBuf],
) -> Result<String, Failure> {
    let text = &file.text;
    let origin = Origin::new(file, 1, 1, 1);
    let _step = context.deeper(&origin)?;
    let (overrides, body) = header(text).map_err(|why| {
        Failure::new(Diagnostic::new(format!("the #jinja2: header cannot be read: {why}")).at(&origin))
    })?;
    let environment = if overrides == Overrides::default() {
        environment::standard()
    } else {
        environment::with_overrides(&overrides)
    };
    let search = environment::search_id(search);
    let key = environment::key(search, &file.name, Code::body(file, text.len() - body.len()));
    let rendered = environment
        .get_template(&key)
        .and_then(|template| template.render(context.value()))
        .map_err(|e| context.failure(&e, &origin, text))?;
    Ok(with_line_ends(rendered, body))
}
