//! What check mode foresaw, against what a run made.

use std::collections::BTreeSet;

use super::run::Run;

/// What check mode foresees is what the run makes, task by task.
pub(crate) fn as_foreseen(foreseen: &Run, made: &[&Run]) {
    let made: BTreeSet<_> = made.iter().flat_map(|run| changes(run)).collect();
    let foreseen_only: Vec<_> = changes(foreseen).difference(&made).cloned().collect();
    let made_only: Vec<_> = made.difference(&changes(foreseen)).cloned().collect();
    assert_eq!((foreseen_only, made_only), (Vec::new(), Vec::new()), "foreseen only, made only");
}

/// The tasks that changed something, by host.
fn changes(run: &Run) -> BTreeSet<(String, String)> {
    let mut task = "";
    let mut found = BTreeSet::new();
    for line in run.text.lines() {
        if let Some(named) = line.strip_prefix("TASK [").or_else(|| line.strip_prefix("RUNNING HANDLER [")) {
            task = named.rsplit_once(']').map_or(named, |(name, _)| name);
        } else if let Some(rest) = line.strip_prefix("changed: [") {
            let host = rest.split(']').next().unwrap_or_default();
            found.insert((host.to_owned(), task.to_owned()));
        }
    }
    found
}
