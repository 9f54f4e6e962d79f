use serde_json::{Value, json};

use super::case::Spec;
use super::outcome::Outcome;
use super::trace::Trace;

/// Keys of results that differ from one run to the next by their nature.
const MASKED: [&str; 16] = [
    "start",
    "end",
    "delta",
    "atime",
    "mtime",
    "ctime",
    "inode",
    "pid",
    "dev",
    "device_type",
    "block_size",
    "blocks",
    "version",
    "_ansible_item_label",
    "deprecations",
    "warnings",
];

/// The first difference between the two, if there is one.
pub(crate) fn difference(theirs: &Outcome, ours: &Outcome, spec: &Spec) -> Option<String> {
    let (mut a, mut b) = (Trace::of(&theirs.stdout), Trace::of(&ours.stdout));
    let refused = |outcome: &Outcome, trace: &Trace| trace.recap.is_empty() && outcome.exit != Some(0);
    match (refused(theirs, &a), refused(ours, &b)) {
        (true, true) if spec.refused => return None,
        (true, _) if !spec.refused => return Some(format!("ansible refuses it: {}", theirs.stderr)),
        (false, _) if spec.refused => return Some("ansible does not refuse it".into()),
        _ => {}
    }
    if spec.unordered {
        for trace in [&mut a, &mut b] {
            let each = |(_, lines): &(String, Vec<String>)| {
                lines.iter().map(|line| (String::new(), vec![line.clone()])).collect::<Vec<_>>()
            };
            trace.tasks = trace.tasks.iter().flat_map(each).collect();
            trace.tasks.sort();
        }
    }
    let tell = |what: &str, a: &dyn std::fmt::Debug, b: &dyn std::fmt::Debug| {
        Some(format!("{what}\n  ansible: {a:?}\n  quaylab: {b:?}"))
    };
    for at in 0..a.tasks.len().max(b.tasks.len()) {
        let (left, right) = (a.tasks.get(at), b.tasks.get(at));
        if left != right {
            return tell("task", &left, &right).map(|t| t + &why(ours, right.is_none()));
        }
    }
    if a.recap != b.recap {
        return tell("recap", &a.recap, &b.recap);
    }
    for name in theirs.files.keys().chain(ours.files.keys()) {
        let (left, right) = (theirs.files.get(name), ours.files.get(name));
        let (Some((mode, text)), Some((our_mode, our_text))) = (left, right) else {
            return tell(&format!("file {name}"), &left, &right);
        };
        if mode != our_mode {
            return tell(&format!("mode of {name}"), &format!("{mode:o}"), &format!("{our_mode:o}"));
        }
        if std::path::Path::new(name).extension().is_some_and(|e| e == "json")
            && let (Ok(mut left), Ok(mut right)) =
                (serde_json::from_str(text), serde_json::from_str(our_text))
        {
            mask(&mut left);
            mask(&mut right);
            if let Some((path, left, right)) = first(&left, &right, "") {
                return tell(&format!("{name} at {path}"), &left, &right);
            }
        } else if text != our_text {
            return tell(&format!("content of {name}"), text, our_text);
        }
    }
    if theirs.exit != ours.exit {
        return tell("exit code", &theirs.exit, &ours.exit).map(|t| t + &why(ours, true));
    }
    None
}

/// The first difference of each play, and of what the run left behind as a whole.
pub(crate) fn by_play(theirs: &Outcome, ours: &Outcome, spec: &Spec) -> Vec<(String, Option<String>)> {
    let (a, b) = (Trace::of(&theirs.stdout), Trace::of(&ours.stdout));
    let (left, right) = (plays(&a), plays(&b));
    let mut verdicts: Vec<(String, Option<String>)> = left
        .iter()
        .enumerate()
        .map(|(index, (name, tasks))| {
            // A play of several batches has its heading several times.
            let before = left.iter().take(index).filter(|(n, _)| n == name).count();
            let other = right.iter().filter(|(n, _)| n == name).nth(before);
            let other = other.map(|(_, tasks)| tasks.as_slice()).unwrap_or_default();
            let at = (0..tasks.len().max(other.len())).find(|at| tasks.get(*at) != other.get(*at));
            let told = at.map(|at| {
                format!(
                    "task\n  ansible: {:?}\n  quaylab: {:?}{}",
                    tasks.get(at),
                    other.get(at),
                    why(ours, other.get(at).is_none())
                )
            });
            (name.clone(), told)
        })
        .collect();
    // Batches of one play are one case.
    verdicts.dedup_by(|later, first| {
        let same = later.0 == first.0;
        if same && first.1.is_none() {
            first.1 = later.1.take();
        }
        same
    });
    let whole = difference(theirs, ours, spec);
    let told = verdicts.iter().any(|(_, difference)| difference.is_some());
    verdicts.push(("recap, files and exit".into(), whole.filter(|_| !told)));
    verdicts
}

type Play = (String, Vec<(String, Vec<String>)>);

/// The tasks under each play's heading.
fn plays(trace: &Trace) -> Vec<Play> {
    let mut plays: Vec<Play> = Vec::new();
    for (heading, results) in &trace.tasks {
        match heading.strip_prefix("PLAY [").and_then(|rest| rest.strip_suffix(']')) {
            Some(name) => plays.push((name.to_owned(), Vec::new())),
            None => {
                if let Some((_, tasks)) = plays.last_mut() {
                    tasks.push((heading.clone(), results.clone()));
                }
            }
        }
    }
    plays
}

/// What quaylab said against it, where it stopped early.
fn why(ours: &Outcome, stopped: bool) -> String {
    let said = ours.stderr.trim();
    if stopped && !said.is_empty() { format!("\n  {}", said.replace('\n', "\n  ")) } else { String::new() }
}

fn mask(value: &mut Value) {
    match value {
        Value::Object(map) => {
            // Python's own account of an error.
            map.shift_remove("exception");
            map.shift_remove("failed_when_suppressed_exception");
            // The arguments that a failed module was given; see docs/differences.md.
            map.shift_remove("invocation");
            // What --diff shows, which some modules also register.
            map.shift_remove("diff");
            // Where Ansible kept the file on its way.
            let passing = |v: &Value| v.as_str().is_some_and(|s| s.contains("/.ansible/tmp/"));
            map.retain(|key, value| key != "src" || !passing(value));
            for (key, value) in map.iter_mut() {
                if MASKED.contains(&key.as_str()) {
                    *value = json!("<masked>");
                } else {
                    mask(value);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(mask),
        _ => {}
    }
}

/// The first place at which two results differ.
fn first<'a>(
    a: &'a Value,
    b: &'a Value,
    path: &str,
) -> Option<(String, Option<&'a Value>, Option<&'a Value>)> {
    match (a, b) {
        (Value::Object(left), Value::Object(right)) => {
            let keys = left.keys().chain(right.keys().filter(|k| !left.contains_key(*k)));
            keys.filter(|k| !MASKED.contains(&k.as_str())).find_map(|key| {
                match (left.get(key), right.get(key)) {
                    (Some(a), Some(b)) => first(a, b, &format!("{path}.{key}")),
                    (a, b) => Some((format!("{path}.{key}"), a, b)),
                }
            })
        }
        (Value::Array(left), Value::Array(right)) if left.len() == right.len() => {
            left.iter().zip(right).enumerate().find_map(|(at, (a, b))| first(a, b, &format!("{path}[{at}]")))
        }
        _ => (a != b).then(|| (path.to_owned(), Some(a), Some(b))),
    }
}
