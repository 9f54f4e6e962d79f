//! The filters, in families.

mod addresses;
mod basic;
mod braces;
mod dicts;
mod encode;
mod json;
mod lists;
mod misc;
mod numbers;
mod paths;
mod regex;
mod secrets;
mod sets;
mod text;
mod yaml;

use super::call::Native;

pub(super) use addresses::Network;
pub(super) use basic::{comparison, equal_fold};
pub(super) use braces::format_braces;
pub(super) use text::centered;

/// A family: names and what they do.
type Family = &'static [(&'static str, Native)];

const FAMILIES: [Family; 12] = [
    addresses::FILTERS,
    basic::FILTERS,
    dicts::FILTERS,
    encode::FILTERS,
    lists::FILTERS,
    misc::FILTERS,
    numbers::FILTERS,
    paths::FILTERS,
    regex::FILTERS,
    secrets::FILTERS,
    sets::FILTERS,
    text::FILTERS,
];

/// Filters that want to see what is undefined.
pub(super) const TOLERANT: &[&str] = &["default", "d", "mandatory", "type_debug"];

pub(super) fn all() -> Vec<(&'static str, Native)> {
    FAMILIES.iter().flat_map(|family| family.iter().copied()).collect()
}
