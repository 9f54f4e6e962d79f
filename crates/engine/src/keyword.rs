//! Keywords that say more than a text: each is read once, and what is not of its kind is an error at its place.

use std::sync::Arc;

use super::scope::Context;
use crate::diag::Diagnostic;
use crate::playbook::Keywords;
use crate::template::{FromValue, Templar, Templated};
use crate::value::truth;
use crate::vars::Scope;

/// What a task's keywords say of how its end counts and who hears of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Said {
    /// Nothing of the result is shown.
    pub hidden: bool,
    pub ignore_errors: bool,
    pub ignore_unreachable: bool,
    pub delegate_facts: bool,
}

/// Reads keywords for one host at one moment.
pub(super) struct Reader<'a> {
    pub templar: &'a Templar,
    pub scope: &'a Arc<dyn Scope>,
}

impl Reader<'_> {
    /// A keyword's value; `None` where it was not given, or given as nothing.
    pub(super) fn get<T: FromValue>(&self, keyword: Option<&Templated<T>>) -> Result<Option<T>, Diagnostic> {
        keyword.map_or(Ok(None), |keyword| keyword.render(self.templar, self.scope))
    }

    /// The innermost of a keyword's values as a flag; `false` where none is given.
    pub(super) fn flag(
        &self,
        context: &Context,
        of: impl Fn(&Keywords) -> Option<&Templated<bool>>,
    ) -> Result<bool, Diagnostic> {
        Ok(self.get(context.nearest(of))?.unwrap_or(false))
    }

    /// Whether `no_log` hides the result. What cannot be computed, and what is neither true nor false, does not show it: the caller
    /// hides on an error. The error tells the place alone, since the keyword's value may be made from the secret.
    pub(super) fn hidden(&self, context: &Context) -> Result<bool, Diagnostic> {
        let Some(node) = context.nearest(|k| k.no_log.as_ref()) else { return Ok(false) };
        let value = match self.templar.render(node.node(), self.scope) {
            Ok(None) => return Ok(false),
            Ok(Some(value)) => truth(&value),
            Err(_) => None,
        };
        value.ok_or_else(|| {
            Diagnostic::new("no_log is not known to be true or false, so nothing of the result is shown")
                .at(node.origin())
                .hint("make it true or false for every host and item, with `| default(true)` where a variable may be missing")
        })
    }

    /// All that the keywords say of a task's end, besides whether it is hidden.
    pub(super) fn said(&self, context: &Context) -> Result<Said, Diagnostic> {
        Ok(Said {
            hidden: false,
            ignore_errors: self.flag(context, |k| k.ignore_errors.as_ref())?,
            ignore_unreachable: self.flag(context, |k| k.ignore_unreachable.as_ref())?,
            delegate_facts: self.flag(context, |k| k.delegate_facts.as_ref())?,
        })
    }
}
