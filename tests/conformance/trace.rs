use serde_json::{Map, Value};

/// What the output says of each task, in a form that both programs' outputs are brought to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Trace {
    /// Headings, each with its hosts' lines sorted, since hosts end in any order.
    pub(crate) tasks: Vec<(String, Vec<String>)>,
    pub(crate) recap: Vec<String>,
}

/// What a host's line begins with.
const STATUSES: [&str; 5] = ["ok: [", "changed: [", "skipping: [", "fatal: [", "failed: ["];

impl Trace {
    pub(crate) fn of(stdout: &str) -> Self {
        let mut tasks: Vec<(String, Vec<String>)> = Vec::new();
        let mut recap = Vec::new();
        let mut lines = stdout.lines().peekable();
        while let Some(line) = lines.next() {
            if let Some(heading) = heading(line) {
                tasks.push((heading, Vec::new()));
                continue;
            }
            if is_recap(line) {
                recap.push(line.split_whitespace().collect::<Vec<_>>().join(" "));
                continue;
            }
            let Some((_, results)) = tasks.last_mut() else { continue };
            if let Some((_, hosts)) = line.strip_prefix("included: ").and_then(|l| l.split_once(" for ")) {
                let hosts = hosts.split(" => ").next().unwrap_or(hosts);
                results.extend(hosts.split(", ").map(|host| format!("ok: [{host}]")));
            } else if line.starts_with("FAILED - RETRYING: ") || line.starts_with("...ignoring") {
                results.push(line.to_owned());
            } else if STATUSES.iter().any(|s| line.starts_with(s)) {
                let mut more = Vec::new();
                while let Some(next) = lines.peek() {
                    let ends = next.is_empty()
                        || STATUSES.iter().any(|s| next.starts_with(s))
                        || ["...ignoring", "FAILED - RETRYING: ", "included: ", "[WARNING]", "[ERROR]"]
                            .iter()
                            .any(|s| next.starts_with(s));
                    if ends {
                        break;
                    }
                    more.extend(lines.next());
                }
                results.push(result(line, &more));
            }
        }
        for (_, results) in &mut tasks {
            settle(results);
        }
        // A task that says nothing of any host is no more than a heading, and so is the play's own course.
        tasks.retain(|(heading, results)| {
            heading.starts_with("PLAY ") || !results.is_empty() && !heading.ends_with("meta]")
        });
        recap.sort();
        Self { tasks, recap }
    }
}

fn heading(line: &str) -> Option<String> {
    let kind = ["PLAY [", "TASK [", "RUNNING HANDLER ["].iter().find(|k| line.starts_with(*k))?;
    let text = line.trim_end_matches('*').trim_end();
    text.starts_with(kind).then(|| text.to_owned())
}

fn is_recap(line: &str) -> bool {
    line.contains(" : ok=") && line.contains("unreachable=")
}

/// A host's line: status, host, item, and what a debug task said.
fn result(line: &str, more: &[&str]) -> String {
    let (head, rest) = line.split_once(']').unwrap_or((line, ""));
    let mut text = format!("{head}]");
    let item = rest.find("(item=").map(|at| (at, item_end(&rest[at..]) + at));
    let rest = match item {
        Some((at, end)) => {
            text.push(' ');
            text.push_str(&rest[at..end]);
            &rest[end..]
        }
        None => rest,
    };
    if line.starts_with("ok: ")
        && let Some(said) = said(rest, more)
    {
        text.push_str(" says ");
        text.push_str(&said);
    }
    text
}

/// Where `(item=...)` ends: at the bracket that closes it.
fn item_end(text: &str) -> usize {
    let mut depth = 0;
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => {
                depth -= 1;
                if depth == 0 {
                    return at + 1;
                }
            }
            _ => {}
        }
    }
    text.len()
}

/// What follows ` => ` as one line: a message's words, or compact JSON.
fn said(rest: &str, more: &[&str]) -> Option<String> {
    let rest = rest.trim_start_matches(" =>").trim();
    let whole = [&[rest], more].concat().join("\n");
    let whole = whole.trim();
    if whole.is_empty() {
        return None;
    }
    if let Ok(Value::Object(mut map)) = serde_json::from_str::<Value>(whole) {
        map.shift_remove("changed");
        return Some(message(&map));
    }
    if let Some((key, value)) = whole.split_once(": ")
        && let Ok(value) = serde_json::from_str::<Value>(value)
    {
        return Some(message(&Map::from_iter([(key.to_owned(), value)])));
    }
    Some(words(whole))
}

fn message(map: &Map<String, Value>) -> String {
    match (map.len(), map.get("msg")) {
        (1, Some(Value::String(text))) => words(text),
        (1, Some(Value::Array(lines))) if lines.iter().all(Value::is_string) => {
            words(&lines.iter().filter_map(Value::as_str).collect::<Vec<_>>().join("\n"))
        }
        _ => Value::Object(map.clone()).to_string(),
    }
}

fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Leaves out what only one of the two programs tells: skipped items, and a loop's own line after its items.
fn settle(results: &mut Vec<String>) {
    let with_items: Vec<String> = results.iter().filter(|r| r.contains("(item=")).map(|r| host(r)).collect();
    results.retain(|r| {
        let item = r.contains("(item=");
        let plain = ["ok: ", "changed: ", "fatal: "].iter().any(|s| r.starts_with(s));
        !(item && r.starts_with("skipping: ") || !item && plain && with_items.contains(&host(r)))
    });
    results.sort();
    results.dedup();
}

fn host(result: &str) -> String {
    let from = result.find('[').map_or(0, |at| at + 1);
    result[from..].split([']', ' ']).next().unwrap_or_default().to_owned()
}
