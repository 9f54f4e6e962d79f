//! The program under hard treatment: signals in every phase, secrets, escape sequences, and input without end. It links nothing of the crate.

#![expect(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

mod bench;
mod depth;
mod ends;
mod escapes;
mod faults;
mod output;
mod secrets;
