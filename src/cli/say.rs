//! What commands have to say. A reader that went away (`| head`) is no error; an output that cannot be written ends the program with
//! one ([`unwritten`]).

use std::io::Write as _;

use anyhow::{Context as _, Result};
use serde::Serialize;

use crate::report::{output, visible};

/// Prints a line of what is being done.
pub(super) fn say(text: &str) {
    say_painted(&visible(text));
}

/// Prints a line that a renderer has made visible and painted.
pub(super) fn say_painted(text: &str) {
    // What could not be written is told at the program's end.
    let _kept = output::write(format!("{text}\n").as_bytes());
}

/// Prints a command's result.
pub(super) fn show(text: &str) -> Result<()> {
    show_exactly(visible(text).as_bytes())
}

/// Prints a command's result byte by byte: it was painted by a renderer, or is the content of a file.
pub(super) fn show_exactly(text: &[u8]) -> Result<()> {
    output::write(text).context("cannot write to standard output")
}

/// Prints a value as JSON for programs to read.
pub(super) fn show_json(value: &impl Serialize) -> Result<()> {
    show(&(serde_json::to_string_pretty(value)? + "\n"))
}

/// A word to the person at the terminal, beside the output.
pub(crate) fn tell(text: &str) {
    tell_painted(&visible(text));
}

/// The same for what a renderer has made visible and painted.
pub(super) fn tell_painted(text: &str) {
    // There is nobody left to tell that nobody can be told.
    let _unheard = writeln!(std::io::stderr().lock(), "{text}");
}

/// Prints help, the version, or what is wrong on the command line, in clap's colours.
pub(super) fn print(told: &clap::Error) {
    if let Err(error) = told.print() {
        output::note(&error);
    }
}

/// Why the output is not all there, if it is not.
pub(super) fn unwritten() -> Option<String> {
    output::failure().map(|why| format!("cannot write to standard output: {why}"))
}
