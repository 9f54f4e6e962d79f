//! What tests of several rooms share.

pub(crate) mod sshd;

/// Says why a test was not run here.
#[expect(clippy::print_stderr, reason = "a test's skip is told where its output goes")]
pub(crate) fn skipped(reason: &str) {
    eprintln!("skipped: {reason}");
}
