//! Where things were written, and errors that show it.

mod diagnostic;
mod source;
mod suggest;

pub use diagnostic::Diagnostic;
pub use source::{Origin, SourceFile};
pub use suggest::closest;
