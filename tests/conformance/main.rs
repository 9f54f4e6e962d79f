//! Playbooks under ansible-playbook and under quaylab: the same recap, results, files and exit.
//!
//! `CONFORMANCE=loops cargo test --test conformance` runs only the cases whose name holds that word. What ansible-playbook does is
//! kept in `expected/`; `CONFORMANCE_ASK=all` asks it anew for every case, without it a part of the cases, another one each day.

mod case;
mod compare;
#[path = "../support/oracle.rs"]
mod oracle;
mod outcome;
mod table;
mod trace;

use std::io::Write as _;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use case::Case;
use outcome::Asking;
use table::{Table, Verdict};

/// Cases that run at the same time.
const WORKERS: usize = 2;

#[test]
fn playbooks_do_what_they_do_under_ansible() {
    let only = std::env::var("CONFORMANCE").unwrap_or_default();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance/cases");
    let mut cases: Vec<Case> = Case::all(&folder).into_iter().filter(|c| c.name().contains(&only)).collect();
    assert!(!cases.is_empty(), "no case is called {only:?}");
    let python = oracle::python();
    if let Err(why) = &python {
        tell(&format!("there is no ansible-core to ask anew, so what it did before is compared: {why}"));
        for case in cases.extract_if(.., |case| case.spec.of_the_machine) {
            tell(&format!(
                "skipped: {}: what it tells is this machine's, so nothing is kept of it",
                case.name()
            ));
        }
    }
    let (python, asking) = (python.ok(), Asking::wanted());
    let next = AtomicUsize::new(0);
    let verdicts = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let more = Verdict::of(case, python.as_deref(), asking);
                    verdicts.lock().expect("no worker panicked").extend(more);
                }
            });
        }
    });
    let mut verdicts = verdicts.into_inner().expect("no worker panicked");
    verdicts.sort_by(|a, b| a.name.cmp(&b.name));
    let table = Table(&verdicts);
    tell(&table.render());
    assert!(table.is_good(), "{}", table.differences());
}

/// Straight to the stream, since a passing test's own output is kept back.
fn tell(text: &str) {
    writeln!(std::io::stderr(), "{text}").expect("standard error is open");
}
