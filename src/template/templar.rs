//! Templates in, known values out.

use std::path::PathBuf;
use std::sync::Arc;

use super::context::{Context, OMIT, with_line_ends};
use super::convert;
use super::environment;
use super::failure::Failure;
use super::machine::{Machine, TemplarOptions};
use super::names;
use super::syntax::{Backslashes, Overrides, Shape, header, shape};
use crate::diag::{Diagnostic, Origin, SourceFile};
use crate::value::{Map, Value, truth};
use crate::vars::Scope;
use crate::yaml::{Kind, Node};

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
    /// type; parts of a container that are `omit` are left out.
    pub fn render(&self, node: &Node, scope: &Arc<dyn Scope>) -> Result<Value, Diagnostic> {
        Ok(render(&self.context(scope), node)?)
    }

    /// Renders one text.
    pub fn render_str(
        &self,
        text: &str,
        origin: &Origin,
        scope: &Arc<dyn Scope>,
    ) -> Result<Value, Diagnostic> {
        let context = self.context(scope);
        Ok(known(&context, text, origin)?)
    }

    /// The truth of a bare expression, a boolean, or a list of conditions that must all hold.
    pub fn condition(&self, node: &Node, scope: &Arc<dyn Scope>) -> Result<bool, Diagnostic> {
        Ok(condition(&self.context(scope), node)?)
    }

    /// Renders a template file's text. `search` is where it finds what it includes.
    pub fn render_file(
        &self,
        name: &str,
        text: &str,
        search: &[PathBuf],
        scope: &Arc<dyn Scope>,
    ) -> Result<String, Diagnostic> {
        Ok(render_file(&self.context(scope), name, text, search)?)
    }

    /// One variable, templated; `None` where there is none of that name.
    pub fn lookup(&self, name: &str, scope: &Arc<dyn Scope>) -> Result<Option<Value>, Diagnostic> {
        if scope.get(name).is_none() {
            return Ok(None);
        }
        let context = self.context(scope);
        let origin = Origin::synthetic("variables");
        let value = context.expression(name, Backslashes::Escape, &origin)?;
        Ok(Some(convert::to_value(&value).map_err(|e| context.failure(&e, &origin, name))?))
    }

    /// Whether the templates in a text can be read at all.
    pub fn check_template(&self, text: &str, origin: &Origin) -> Result<(), Diagnostic> {
        let nothing: Arc<dyn Scope> = Arc::new(Nothing);
        match shape(text) {
            Shape::Plain => Ok(()),
            Shape::Expression(inside, _) => self.check_expression(inside, origin),
            Shape::Mixed => {
                let key = self.machine.inline_key(text);
                let found = environment::standard().get_template(&key).map(|_| ());
                Ok(found.map_err(|e| self.context(&nothing).failure(&e, origin, text))?)
            }
        }
    }

    /// Whether all filters and tests in a node's templates are there; with `bare` its texts are expressions.
    pub fn check_names(&self, node: &Node, bare: bool) -> Result<(), Diagnostic> {
        names::check(node, bare)
    }

    /// Whether an expression can be read at all.
    pub fn check_expression(&self, text: &str, origin: &Origin) -> Result<(), Diagnostic> {
        if !matches!(shape(text), Shape::Plain) {
            return self.check_template(text, origin);
        }
        let nothing: Arc<dyn Scope> = Arc::new(Nothing);
        let found = self.machine.expression(text, Backslashes::Escape).map(|_| ());
        Ok(found.map_err(|e| self.context(&nothing).failure(&e, origin, text))?)
    }
}

impl std::fmt::Debug for Templar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Templar").field("options", &self.machine.options).finish_non_exhaustive()
    }
}

/// A scope without variables: what syntax checks see.
#[derive(Debug)]
struct Nothing;

impl Scope for Nothing {
    fn get(&self, _name: &str) -> Option<crate::vars::Var> {
        None
    }

    fn names(&self) -> Vec<String> {
        Vec::new()
    }
}

/// A text's value, computed to the last part.
fn known(context: &Arc<Context>, text: &str, origin: &Origin) -> Result<Value, Failure> {
    if matches!(shape(text), Shape::Plain) {
        return Ok(Value::String(text.to_owned()));
    }
    let value = context.text(text, origin)?;
    convert::to_value(&value).map_err(|e| context.failure(&e, origin, text))
}

fn render(context: &Arc<Context>, node: &Node) -> Result<Value, Failure> {
    match &node.kind {
        Kind::Str(text) => known(context, text, &node.origin),
        Kind::Vault(text) => Ok(Value::String(context.opened(text, &node.origin)?)),
        Kind::Seq(items) => {
            let mut list = Vec::with_capacity(items.len());
            for item in items {
                let value = render(context, item)?;
                if !is_omitted(&value) {
                    list.push(value);
                }
            }
            Ok(Value::Array(list))
        }
        Kind::Map(map) => {
            let mut rendered = Map::new();
            for (key, item) in map.iter() {
                let name = match &key.kind {
                    Kind::Str(text) => crate::value::plain(&known(context, text, &key.origin)?),
                    _ => key.key_text(),
                };
                let value = render(context, item)?;
                if !is_omitted(&value) {
                    rendered.insert(name, value);
                }
            }
            Ok(Value::Object(rendered))
        }
        _ => Ok(node.to_value()),
    }
}

fn is_omitted(value: &Value) -> bool {
    value.as_str() == Some(OMIT)
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
        Kind::Str(text) | Kind::Unsafe(text) => {
            if text.trim().is_empty() {
                return Ok(true);
            }
            let value = match shape(text.trim()) {
                Shape::Plain => context.expression(text, Backslashes::Escape, &node.origin)?,
                _ => context.text(text.trim(), &node.origin)?,
            };
            match value.as_str() {
                Some(result) => text_truth(result).map_err(|d| Failure::new(d).at_least(&node.origin)),
                None => Ok(value.is_true()),
            }
        }
        Kind::Int(i) => Ok(*i != 0),
        Kind::Null => Ok(true),
        _ => Err(Failure::new(
            Diagnostic::new(format!("a condition is an expression, not {}", node.type_name()))
                .at(&node.origin),
        )),
    }
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
    name: &str,
    text: &str,
    search: &[PathBuf],
) -> Result<String, Failure> {
    let file = SourceFile::new(name, text);
    let origin = Origin::new(&file, 1, 1, 1);
    let (overrides, body) = header(text).map_err(|why| {
        Failure::new(Diagnostic::new(format!("the #jinja2: header cannot be read: {why}")).at(&origin))
    })?;
    let environment = if overrides == Overrides::default() {
        environment::standard()
    } else {
        environment::with_overrides(&overrides)
    };
    let search = environment::search_id(search);
    let key = environment::key(search, name, body);
    let rendered = environment
        .get_template(&key)
        .and_then(|template| template.render(context.value()))
        .map_err(|e| context.failure(&e, &origin, text))?;
    Ok(with_line_ends(rendered, body))
}
