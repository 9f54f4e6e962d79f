use std::collections::{BTreeMap, HashMap};

use super::MARK;

/// The labels of what quaylab makes: those that were asked for, and the lab's mark.
pub(crate) fn marked(labels: &BTreeMap<String, String>, lab: &str) -> HashMap<String, String> {
    let mut marked: HashMap<String, String> = labels.clone().into_iter().collect();
    marked.insert(MARK.into(), lab.to_owned());
    marked
}

/// The options or labels that were asked for and are otherwise: name, what it is, what was asked.
pub(crate) fn unlike<'a>(
    asked: &'a BTreeMap<String, String>,
    was: Option<&'a HashMap<String, String>>,
) -> impl Iterator<Item = (&'a str, Option<&'a str>, &'a str)> {
    asked.iter().filter_map(move |(name, value)| {
        let now = was.and_then(|w| w.get(name)).map(String::as_str);
        (now != Some(value.as_str())).then_some((name.as_str(), now, value.as_str()))
    })
}
