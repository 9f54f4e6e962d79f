//! What commands have to say, on standard output. A reader that went away (`| head`) is no error.

use std::io::{ErrorKind, Write as _};

use anyhow::{Context as _, Result};
use serde::Serialize;

/// Prints a line of what is being done.
pub(super) fn say(text: &str) {
    let _full = show(&format!("{text}\n"));
}

/// Prints a command's result as it stands.
pub(super) fn show(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(error).context("cannot write to standard output")
        }
        _ => Ok(()),
    }
}

/// Prints a value as JSON for programs to read.
pub(super) fn show_json(value: &impl Serialize) -> Result<()> {
    show(&(serde_json::to_string_pretty(value)? + "\n"))
}
