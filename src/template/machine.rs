//! What all renderings share: options and compiled expressions.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use minijinja::{Error, Expression};

use super::environment;
use super::syntax::{Backslashes, mutates, rewrite};
use crate::vault::Vault;

/// Where lookups search and work.
#[derive(Debug, Clone, Default)]
pub struct TemplarOptions {
    /// For the lookups `file` and `template`; the first that has the file wins.
    pub search_paths: Vec<PathBuf>,
    /// What relative paths mean to the lookup `pipe` and to files not found above.
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
        text: &str,
        backslashes: Backslashes,
    ) -> Result<Arc<Expression<'static, 'static>>, Error> {
        let expressions = match backslashes {
            Backslashes::Escape => &self.expressions[0],
            Backslashes::Literal => &self.expressions[1],
        };
        let known = expressions.read().unwrap_or_else(PoisonError::into_inner).get(text).cloned();
        if let Some(found) = known {
            return Ok(found);
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
    pub(super) fn inline_key(&self, text: &str) -> String {
        environment::key(self.search, environment::INLINE, text)
    }
}
