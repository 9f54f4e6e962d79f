use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::diag::Diagnostic;
use crate::quay::config::{Checked, mend};
use crate::store::write_closed;

/// Mending one thing may show the next; more often than this nothing is mended.
const ROUNDS: usize = 8;

/// A configuration that was mended.
pub(super) struct Fixed {
    /// Where the mended text was written; nowhere if nothing could be mended.
    pub(super) file: Option<PathBuf>,
    /// What was done, each with its line in the file.
    pub(super) changes: Vec<(u32, String)>,
    /// What is said of the mended text.
    pub(super) left: Checked,
}

/// Mends what can be mended and writes it beside the file, which itself is only read.
pub(super) fn fix(
    path: &Path,
    text: &str,
    checked: &Checked,
    check: &dyn Fn(String, &str) -> Checked,
) -> Result<Fixed> {
    let mut name = path.as_os_str().to_owned();
    name.push(".fixed");
    let target = PathBuf::from(name);
    let (mut text, mut left, mut changes) = (text.to_owned(), checked.clone(), Vec::new());
    // Where the lines of the text, as it is now, stand in the file.
    let mut lines: Vec<u32> = (1..).take(text.split('\n').count()).collect();
    let in_file = |lines: &[u32], line: u32| {
        let index = (line as usize).saturating_sub(1);
        lines.get(index).copied().unwrap_or(line)
    };
    for _ in 0..ROUNDS {
        let mended = mend(&text, &left.findings);
        if mended.changes.is_empty() {
            break;
        }
        text = mended.text;
        changes.extend(mended.changes.into_iter().map(|(line, says)| (in_file(&lines, line), says)));
        lines = mended.from.iter().map(|line| in_file(&lines, *line)).collect();
        left = check(target.display().to_string(), &text);
    }
    if changes.is_empty() {
        return Ok(Fixed { file: None, changes, left });
    }
    // A link could lead to the file itself.
    let taken = std::fs::symlink_metadata(&target).is_ok_and(|there| !there.is_file());
    if taken {
        let said = Diagnostic::new(format!("{} is there already, and is no file", target.display()));
        return Err(said.hint("move it away").into());
    }
    write_closed(&target, text.as_bytes()).map_err(|error| {
        Diagnostic::new(format!("{} cannot be written: {error}", target.display()))
            .hint("may you write into that folder, and is there room?")
    })?;
    Ok(Fixed { file: Some(target), changes, left })
}
