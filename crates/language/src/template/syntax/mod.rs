//! Jinja's syntax, as far as it must be rewritten before the engine compiles it.

mod expression;
mod header;
mod lexer;
mod limits;
mod source;

pub(super) use expression::{Backslashes, GET, MOD, MUTABLE, SUB, mutates, rewrite};
pub(super) use header::{Overrides, header};
pub(super) use limits::too_deep;
pub(super) use source::{Called, Shape, called, rewrite_template, shape};
