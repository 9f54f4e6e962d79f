//! The filters, in families.

mod basic;
mod braces;
mod dicts;
mod lists;
mod numbers;
mod sets;
mod text;

use super::call::Native;

pub(super) use basic::{comparison, equal_fold};
pub(super) use braces::format_braces;
pub(super) use text::centered;

/// A family: names and what they do.
type Family = &'static [(&'static str, Native)];

const FAMILIES: [Family; 6] =
    [basic::FILTERS, dicts::FILTERS, lists::FILTERS, numbers::FILTERS, sets::FILTERS, text::FILTERS];

/// Filters that want to see what is undefined.
pub(super) const TOLERANT: &[&str] = &["default", "d", "mandatory", "type_debug"];

pub(super) fn all() -> Vec<(&'static str, Native)> {
    FAMILIES.iter().flat_map(|family| family.iter().copied()).collect()
}
