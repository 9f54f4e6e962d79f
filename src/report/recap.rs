//! A host's line of the recap.

use super::color::Palette;
use crate::engine::Stats;

/// The line, its host's name filled up to a width; a last count of less than four digits ends in blanks.
pub(super) fn line(palette: Palette, host: &str, width: usize, s: &Stats) -> String {
    let name = format!("{host:<width$}");
    let name = match s {
        s if s.failed + s.unreachable > 0 => palette.failed(&name),
        s if s.changed > 0 => palette.changed(&name),
        _ => palette.ok(&name),
    };
    let field = |label: &str, n: u32, paint: fn(Palette, &str) -> String| {
        let cell = format!("{label}={n:<4}");
        if n > 0 { paint(palette, &cell) } else { cell }
    };
    let line = [
        field("ok", s.ok, Palette::ok),
        field("changed", s.changed, Palette::changed),
        field("unreachable", s.unreachable, Palette::failed),
        field("failed", s.failed, Palette::failed),
        field("skipped", s.skipped, Palette::skipped),
        field("rescued", s.rescued, Palette::ok),
        field("ignored", s.ignored, Palette::skipped),
    ]
    .join(" ");
    format!("{name} : {line}")
}
