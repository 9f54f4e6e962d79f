//! The last play's table of what was asked.

use super::Run;

/// A host's table of what was asked, without its numbers.
pub(super) fn table(run: &Run, host: &str) -> String {
    let task = run.text.split("TASK [verify : Say what was asked").nth(1).unwrap_or_default();
    let own = task.split(&format!("ok: [{host}] =>")).nth(1).unwrap_or_default();
    let lines: Vec<&str> = own.lines().skip(1).take_while(|l| l.starts_with("    ")).collect();
    // The heading says where the numbers end.
    let end = lines.first().and_then(|l| l.find("ms")).map_or(0, |at| at + 2);
    let number = |line: &str| {
        let ms = line.get(end.saturating_sub(6)..end).unwrap_or_default().trim();
        if ms.starts_with('<') || ms.parse::<u64>().is_ok() { "N" } else { ms }.to_owned()
    };
    let shown = lines.iter().map(|line| {
        let (before, after) = (line.get(4..end.saturating_sub(6)), line.get(end..));
        let after = after.unwrap_or_default();
        // Neither how much room there is, nor which versions and dates.
        let after =
            if line.contains("  df  ") { after.split(": ").next().unwrap_or_default() } else { after };
        format!("{}{:>6}{}", before.unwrap_or_default(), number(line), without_digits(after))
            .trim_end()
            .to_owned()
    });
    shown.collect::<Vec<_>>().join("\n")
}

/// `N` for each number.
fn without_digits(text: &str) -> String {
    let parts: Vec<&str> = text.split(|c: char| c.is_ascii_digit()).collect();
    let mut shown = String::new();
    for (index, part) in parts.iter().enumerate() {
        if index > 0 && !(part.is_empty() && index + 1 < parts.len()) {
            shown.push('N');
        }
        shown.push_str(part);
    }
    shown
}
