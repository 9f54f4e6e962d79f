//! What all renderings share: options and compiled expressions.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use minijinja::{Error, ErrorKind, Expression};

use super::code::Code;
use super::environment;
use super::syntax::{Backslashes, Overrides, mutates, rewrite, too_deep};
use crate::vault::Vault;

/// Where lookups search and work.
#[derive(Debug, Clone, Default)]
pub struct TemplarOptions {
    /// For the lookups `file` and `template`; the first that has the file wins.
    pub search_paths: Vec<PathBuf>,
    /// The folder of the playbook that was named, for what is not found above, for `pipe` and for `password`.
    pub working_dir: PathBuf,
    /// Opens `!vault` values and encrypted files.
    pub vault: Arc<Vault>,
}

pub(super) struct Machine {
    pub(super) options: TemplarOptions,
    expressions: [RwLock<HashMap<String, Arc<Expression<'static, 'static>>>>; 2],
    search: environment::SearchId,
}

impl Machine {
    pub(super) fn new(options: TemplarOptions) -> Self {
        let search = environment::search_id(&options.search_paths);
        Self { options, expressions: Default::default(), search }
    }

    /// The compiled expression, from memory if it was seen before.
    pub(super) fn expression(
        &self,
        code: Code<'_>,
        backslashes: Backslashes,
    ) -> Result<Arc<Expression<'static, 'static>>, Error> {
        let text = code.as_str();
        let expressions = match backslashes {
            Backslashes::Escape => &self.expressions[0],
            Backslashes::Literal => &self.expressions[1],
        };
        let known = expressions.read().unwrap_or_else(PoisonError::into_inner).get(text).cloned();
        if let Some(found) = known {
            return Ok(found);
        }
        if let Some(why) = too_deep(text, &Overrides::default(), true) {
            return Err(Error::new(ErrorKind::SyntaxError, why));
        }
        // Line ends mean nothing inside an expression.
        let rewritten = rewrite(text.trim(), mutates(text), backslashes);
        let compiled = Arc::new(environment::standard().compile_expression_owned(rewritten)?);
        expressions
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(text.to_owned(), Arc::clone(&compiled));
        Ok(compiled)
    }

    /// The name under which the environment finds an inline template.
    pub(super) fn inline_key(&self, code: Code<'_>) -> String {
        environment::key(self.search, environment::INLINE, code)
    }
}
