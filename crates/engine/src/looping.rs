//! What a task's loop goes over, and how its items are called.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::scope::HostScope;
use crate::diag::Diagnostic;
use crate::playbook::Task;
use crate::template::Templar;
use crate::value::{Value, plain, truth};
use crate::vars::Scope;
use crate::yaml::Node;

/// How items of a loop are called.
pub(super) struct LoopNames {
    pub item: String,
    pub index: Option<String>,
    pub label: Option<Node>,
    pub pause: Duration,
    pub break_when: Vec<Node>,
    extended: bool,
    all_items: bool,
}

impl LoopNames {
    /// Reads a task's `loop_control`.
    pub(super) fn of(templar: &Templar, task: &Task, scope: &Arc<dyn Scope>) -> Result<Self, Diagnostic> {
        let control = task.loop_control.as_ref();
        let text = |key: &str| -> Result<Option<String>, Diagnostic> {
            let said = control.and_then(|c| c.get(key)).map(|n| templar.render(n, scope)).transpose()?;
            Ok(said.flatten().map(|v| plain(&v)))
        };
        let flag = |key: &str, default: bool| -> Result<bool, Diagnostic> {
            Ok(text(key)?.and_then(|t| truth(&json!(t))).unwrap_or(default))
        };
        let pause = text("pause")?.and_then(|t| t.parse::<f64>().ok()).unwrap_or(0.0);
        Ok(Self {
            item: text("loop_var")?.unwrap_or_else(|| "item".into()),
            index: text("index_var")?,
            label: control.and_then(|c| c.get("label")).cloned(),
            pause: Duration::try_from_secs_f64(pause).unwrap_or_default(),
            extended: flag("extended", false)?,
            all_items: flag("extended_allitems", true)?,
            break_when: control
                .and_then(|c| c.get("break_when"))
                .map(|n| n.as_seq().map_or_else(|| vec![n.clone()], <[Node]>::to_vec))
                .unwrap_or_default(),
        })
    }

    /// What is known while one item has its turn.
    pub(super) fn locals(&self, items: &[Value], index: usize) -> Vec<(String, Value)> {
        let item = items.get(index).cloned().unwrap_or_default();
        let mut locals = vec![(self.item.clone(), item), ("ansible_loop_var".into(), json!(self.item))];
        if let Some(name) = &self.index {
            locals.push((name.clone(), json!(index)));
            locals.push(("ansible_index_var".into(), json!(name)));
        }
        if self.extended {
            let count = items.len();
            let mut extended = json!({
                "index": index + 1, "index0": index, "first": index == 0, "last": index + 1 == count,
                "length": count, "revindex": count - index, "revindex0": count - index - 1,
            });
            if let Value::Object(map) = &mut extended {
                if self.all_items {
                    map.insert("allitems".into(), json!(items));
                }
                if let Some(next) = items.get(index + 1) {
                    map.insert("nextitem".into(), next.clone());
                }
                if let Some(previous) = index.checked_sub(1).and_then(|i| items.get(i)) {
                    map.insert("previtem".into(), previous.clone());
                }
            }
            locals.push(("ansible_loop".into(), extended));
        }
        locals
    }
}

/// The loop's items, if there is a loop.
pub(super) fn items(
    templar: &Templar,
    task: &Task,
    scope: &HostScope,
) -> Result<Option<Vec<Value>>, Diagnostic> {
    let Some(looping) = &task.looping else { return Ok(None) };
    let Some(terms) = templar.render(&looping.items, &scope.clone().shared())? else {
        return Err(Diagnostic::new("loop needs a list, and this one is `omit`")
            .at(&looping.items.origin)
            .hint("`| default([])` is a loop of nothing; a task without a loop has no `loop`"));
    };
    let items = match looping.lookup.as_deref() {
        None => match terms {
            Value::Array(items) => items,
            other => {
                return Err(Diagnostic::new(format!("loop needs a list, got {}", kind(&other)))
                    .at(&looping.items.origin)
                    .hint("turn a mapping into one with | dict2items, a string with [ ... ]"));
            }
        },
        Some("items") => match terms {
            Value::Array(items) => items
                .into_iter()
                .flat_map(|i| if let Value::Array(inner) = i { inner } else { vec![i] })
                .collect(),
            one => vec![one],
        },
        Some(lookup) => {
            let whole = matches!(
                lookup.rsplit('.').next(),
                Some("dict" | "sequence" | "first_found" | "fileglob" | "lines")
            );
            // The names are locals: nothing of the terms is a part of the template.
            let call = if whole || !terms.is_array() {
                "{{ query(__lookup, __terms) }}"
            } else {
                "{{ query(__lookup, *__terms) }}"
            };
            let call = Node::word(call, &looping.items.origin);
            let locals = [("__lookup".to_owned(), json!(lookup)), ("__terms".to_owned(), terms)];
            let scope = scope.with_locals(locals).shared();
            match templar.render(&call, &scope)? {
                Some(Value::Array(items)) => items,
                Some(one) => vec![one],
                None => Vec::new(),
            }
        }
    };
    Ok(Some(items))
}

fn kind(value: &Value) -> String {
    match value {
        Value::Object(_) => "a mapping".into(),
        Value::String(text) => format!("the string {text:?}"),
        Value::Null => "nothing".into(),
        other => other.to_string(),
    }
}
