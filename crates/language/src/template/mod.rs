//! Jinja templates with Ansible's filters, tests and lookups; nodes in, known values out.

mod access;
mod bounds;
mod call;
mod checks;
mod code;
mod context;
mod convert;
mod environment;
mod failure;
mod filters;
mod functions;
mod hashing;
mod lazy;
mod lookups;
mod machine;
mod methods;
mod moment;
mod mutable;
mod names;
mod percent;
mod place;
mod python;
mod regex;
mod syntax;
mod templar;
mod templated;

pub use convert::shown;
pub use machine::TemplarOptions;
pub use templar::Templar;
pub use templated::{FromValue, Templated};

#[cfg(test)]
mod tests;
