//! Renderers of the event stream: lines for people, a progress bar on a terminal, the recap.

mod classic;
mod color;
mod diff;
mod lines;
mod minimal;
mod python_json;
mod terminal;

pub use classic::{Classic, Printed};
pub use color::Palette;
pub use lines::{Lines, Verbosity};
pub use minimal::Minimal;
pub use terminal::Terminal;
