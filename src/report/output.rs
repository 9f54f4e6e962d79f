//! Standard output, whose failure is kept until somebody can say it.

use std::io::{ErrorKind, Write as _};
use std::sync::{Mutex, PoisonError};

/// Why something could not be written; the first reason counts.
static FAILURE: Mutex<Option<String>> = Mutex::new(None);

/// Writes a text to standard output as it stands. A reader that went away (`| head`) is no failure.
pub fn write(text: &[u8]) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            note(&error);
            Err(error)
        }
        _ => Ok(()),
    }
}

/// Keeps why something else could not be written there.
pub fn note(error: &std::io::Error) {
    if error.kind() == ErrorKind::BrokenPipe {
        return;
    }
    FAILURE.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(|| error.to_string());
}

/// Why what was to be written is not all there, if it is not.
pub fn failure() -> Option<String> {
    FAILURE.lock().unwrap_or_else(PoisonError::into_inner).clone()
}
