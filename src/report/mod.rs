//! Renderers of the event stream: lines for people, a progress bar on a terminal, the recap.

mod color;
mod diff;
mod lines;
mod terminal;

pub use color::Palette;
pub use lines::{Lines, Verbosity};
pub use terminal::Terminal;
