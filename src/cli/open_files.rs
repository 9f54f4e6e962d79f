//! How many files a run may have open.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::diag::Diagnostic;

/// What a host takes at most: one connection, or the pipes of a shell on this machine.
const A_HOST: u64 = 4;
/// What everything else takes together.
const ELSE: u64 = 256;

/// Raises the soft limit of open files to what connections to all these hosts at once need, as far as the hard limit lets it; the warning says where
/// that does not suffice. Programs that the run starts on this machine have the raised limit too.
pub(super) fn make_room(hosts: usize) -> Option<Diagnostic> {
    let limit = getrlimit(Resource::Nofile);
    let needed = ELSE + A_HOST * hosts as u64;
    if let Some(raised) = raised(needed, &limit)
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: Some(raised), ..limit })
    {
        return Some(Diagnostic::new(format!(
            "the limit of open files cannot be raised to {raised}: {error}"
        )));
    }
    let most = limit.maximum.filter(|most| *most < needed)?;
    Some(
        Diagnostic::new(format!("{hosts} hosts may need {needed} open files, and {most} are allowed"))
            .hint("raise the hard limit (ulimit -Hn, LimitNOFILE=), or run on fewer hosts (--limit)"),
    )
}

/// The soft limit that is to be set; `None` where what is set suffices, or more is not allowed.
fn raised(needed: u64, limit: &Rlimit) -> Option<u64> {
    let current = limit.current.filter(|current| *current < needed)?;
    let allowed = limit.maximum.map_or(needed, |most| most.min(needed));
    (allowed > current).then_some(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_raised_as_far_as_needed_and_allowed() {
        for (needed, current, maximum, expected) in [
            (1000, Some(1024), Some(4096), None),
            (2000, Some(1024), Some(4096), Some(2000)),
            (9000, Some(1024), Some(4096), Some(4096)),
            (9000, Some(4096), Some(4096), None),
            (9000, Some(1024), None, Some(9000)),
            (9000, None, None, None),
        ] {
            assert_eq!(
                raised(needed, &Rlimit { current, maximum }),
                expected,
                "{needed} {current:?} {maximum:?}"
            );
        }
    }
}
