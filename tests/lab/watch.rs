//! What everybody on this machine could see while a test ran.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Collects the command lines of all processes of this machine, those in the hosts and their containers among them.
pub(crate) struct Watch {
    end: Arc<AtomicBool>,
    seen: JoinHandle<BTreeSet<String>>,
}

impl Watch {
    pub(crate) fn start() -> Self {
        let end = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&end);
        let seen = std::thread::spawn(move || {
            let mut seen = BTreeSet::new();
            while !ended.load(Ordering::Relaxed) {
                for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
                    if entry.file_name().to_string_lossy().starts_with(|c: char| c.is_ascii_digit())
                        && let Ok(line) = std::fs::read(entry.path().join("cmdline"))
                    {
                        seen.insert(String::from_utf8_lossy(&line).replace('\0', " "));
                    }
                }
                std::thread::sleep(Duration::from_millis(25));
            }
            seen
        });
        Self { end, seen }
    }

    pub(crate) fn stop(self) -> BTreeSet<String> {
        self.end.store(true, Ordering::Relaxed);
        self.seen.join().expect("the watch")
    }
}
