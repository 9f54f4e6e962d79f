/// More hosts than this in one pattern are taken for a slip of the keyboard.
const MAX_HOSTS: usize = 100_000;

/// Every host that a pattern such as `web[01:10:3]-[a:c]` stands for.
///
/// The error is a sentence about the range; an empty result means a range that counts down.
pub(super) fn expand(pattern: &str) -> Result<Vec<String>, String> {
    let mut done = Vec::new();
    let mut open = vec![pattern.to_owned()];
    while let Some(next) = open.pop() {
        if next.contains('[') {
            let mut names = first(&next)?;
            // The stack is read from its end.
            names.reverse();
            open.append(&mut names);
        } else {
            done.push(next);
        }
        if done.len() + open.len() > MAX_HOSTS {
            return Err(format!("the range stands for more than {MAX_HOSTS} hosts"));
        }
    }
    Ok(done)
}

/// The names that the first range of a pattern gives.
fn first(pattern: &str) -> Result<Vec<String>, String> {
    let unclosed = || "the range has no closing bracket".to_owned();
    let (head, rest) = pattern.split_once('[').ok_or_else(unclosed)?;
    let (range, tail) = rest.split_once(']').ok_or_else(unclosed)?;
    let bounds: Vec<&str> = range.split(':').collect();
    let (from, to, step) = match bounds.as_slice() {
        [from, to] => (*from, *to, "1"),
        [from, to, step] => (*from, *to, *step),
        _ => return Err(format!("a range is [first:last] or [first:last:step], not [{range}]")),
    };
    let from = if from.is_empty() { "0" } else { from };
    if to.is_empty() {
        return Err(format!("the range [{range}] has no last value"));
    }
    let step: i64 = step.parse().map_err(|_| format!("the step {step:?} is not a number"))?;
    if step == 0 {
        return Err("the step is zero".to_owned());
    }
    let width = if from.len() > 1 && from.starts_with('0') { from.len() } else { 0 };
    if width > 0 && width != to.len() {
        return Err(format!("{from} and {to} have different lengths, and leading zeros ask for equal ones"));
    }
    let name = |value: String| format!("{head}{value}{tail}");
    if let (Some(first), Some(last)) = (letter(from), letter(to)) {
        if first > last {
            return Err(format!("{from} comes after {to}"));
        }
        let step = usize::try_from(step).map_err(|_| "letters count upwards only".to_owned())?;
        return Ok((first..=last)
            .step_by(step)
            .filter_map(|i| LETTERS.get(i..=i))
            .map(|l| name(l.into()))
            .collect());
    }
    let number = |text: &str| {
        text.parse::<i64>().map_err(|_| format!("{from} and {to} are neither two numbers nor two letters"))
    };
    let (first, last) = (number(from)?, number(to)?);
    let mut names = Vec::new();
    let mut at = first;
    while (step > 0 && at <= last) || (step < 0 && at >= last.saturating_add(2)) {
        names.push(name(format!("{at:0width$}")));
        if names.len() > MAX_HOSTS {
            return Err(format!("the range stands for more than {MAX_HOSTS} hosts"));
        }
        let Some(next) = at.checked_add(step) else { break };
        at = next;
    }
    Ok(names)
}

const LETTERS: &str = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";

fn letter(text: &str) -> Option<usize> {
    (text.len() == 1).then(|| LETTERS.find(text)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_ansibles() {
        for (pattern, expected) in [
            ("web[01:03]", vec!["web01", "web02", "web03"]),
            ("web[8:10]", vec!["web8", "web9", "web10"]),
            ("db-[a:c].lan", vec!["db-a.lan", "db-b.lan", "db-c.lan"]),
            ("n[1:9:4]", vec!["n1", "n5", "n9"]),
            ("n[a:e:2]", vec!["na", "nc", "ne"]),
            ("n[:2]", vec!["n0", "n1", "n2"]),
            ("r[1:2]-[a:b]", vec!["r1-a", "r1-b", "r2-a", "r2-b"]),
            ("n[3:1]", vec![]),
        ] {
            assert_eq!(expand(pattern).unwrap(), expected, "{pattern}");
        }
        for bad in ["n[1]", "n[1:", "n[01:100]", "n[b:a]", "n[1:2:0]", "n[1:x]", "n[1:99999999]", "n[1:]"] {
            assert!(expand(bad).is_err(), "{bad}");
        }
    }
}
