use similar::TextDiff;

use super::{Palette, visible};
use crate::modules::Diff;

/// A difference in unified form, three lines of context.
pub(super) fn render(diff: &Diff, palette: Palette) -> String {
    let text = TextDiff::from_lines(&diff.before, &diff.after)
        .unified_diff()
        .context_radius(3)
        .header(&diff.before_header, &diff.after_header)
        .to_string();
    let paint = |line: &str| match line.as_bytes().first() {
        Some(b'+') => palette.ok(line),
        Some(b'-') => palette.failed(line),
        Some(b'@') => palette.skipped(line),
        _ => visible(line).into_owned(),
    };
    text.lines().map(paint).collect::<Vec<_>>().join("\n")
}
