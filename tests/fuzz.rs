//! The fuzz targets under a mutating fuzzer of our own, which needs no special compiler: no panic, no hang, bounded memory.
//!
//! `FUZZ_SECONDS=600 cargo test --test fuzz -- --nocapture` runs each target for ten minutes; without it each has a second.
//! `FUZZ=NAME` takes the targets with that in their names, `FUZZ_SEED` repeats a run.

#[path = "../fuzz/targets.rs"]
mod targets;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};

/// Longer inputs are cut off.
const LONGEST: usize = 8 * 1024;
/// One input may take this long; debug builds are slow and the machine may be busy.
const SLOWEST: Duration = Duration::from_secs(20);
/// Memory that a whole run may need, in MiB.
const MOST_MEMORY: u64 = 1024;

/// Pieces that mean something to one of the parsers.
const WORDS: [&str; 42] = [
    "{{",
    "}}",
    "{%",
    "%}",
    "[",
    "]",
    "{",
    "}",
    ":",
    ": ",
    "- ",
    "\n",
    "\n  ",
    "\"",
    "'",
    "\\",
    "&a ",
    "*a",
    "<<: *a",
    "!vault |",
    "!unsafe ",
    "---\n",
    "...\n",
    "|\n",
    ">-\n",
    "# ",
    "=",
    "[1:99]",
    "[a:z]",
    "~",
    "!",
    "&",
    ",",
    "all",
    "$ANSIBLE_VAULT;1.1;AES256\n",
    "61",
    "\u{feff}",
    "NNNN",
    " 1 0\n",
    "\0",
    "\t",
    "ü",
];

fn mutated(seeds: &[Vec<u8>], rng: &mut StdRng) -> Vec<u8> {
    let mut data = seeds.choose(rng).cloned().unwrap_or_default();
    for _ in 0..rng.random_range(1..=8) {
        let at = rng.random_range(0..=data.len());
        match rng.random_range(0..7) {
            0 => data.insert(at, rng.random_range(0..=255)),
            1 if at < data.len() => {
                data.remove(at);
            }
            2 if at < data.len() => data[at] ^= 1 << rng.random_range(0..8),
            3 => {
                let word = WORDS.choose(rng).copied().unwrap_or_default();
                data.splice(at..at, word.bytes());
            }
            4 => {
                let end = rng.random_range(at..=data.len());
                data.drain(at..end);
            }
            5 => {
                let end = rng.random_range(at..=data.len());
                let piece = data.get(at..end).unwrap_or_default().repeat(rng.random_range(1..5));
                data.splice(at..at, piece);
            }
            _ => {
                let other = seeds.choose(rng).cloned().unwrap_or_default();
                let from = rng.random_range(0..=other.len());
                data.splice(at..at, other.get(from..).unwrap_or_default().iter().copied());
            }
        }
        data.truncate(LONGEST);
    }
    data
}

fn seeds(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(name);
    let entries = fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut seeds: Vec<Vec<u8>> =
        entries.map(|e| fs::read(e.expect("an entry").path()).expect("readable")).collect();
    seeds.sort();
    seeds
}

/// The most memory that this process has held, in MiB.
fn memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or(0) / 1024
}

#[test]
fn no_input_makes_a_parser_panic_or_hang() {
    let seconds =
        std::env::var("FUZZ_SECONDS").ok().map_or(1, |s| s.parse().expect("FUZZ_SECONDS is a number"));
    let only = std::env::var("FUZZ").unwrap_or_default();
    let given = std::env::var("FUZZ_SEED").ok().map(|s| s.parse().expect("FUZZ_SEED is a number"));
    let chance = std::env::var_os("FUZZ_SECONDS").is_some();
    let seed: u64 = given.unwrap_or_else(|| if chance { rand::rng().random() } else { 1 });
    println!("FUZZ_SEED={seed}");
    std::panic::set_hook(Box::new(|_| {}));
    let mut wrong = Vec::new();
    for (name, target) in targets::TARGETS.iter().filter(|(name, _)| name.contains(&only)) {
        let seeds = seeds(name);
        let mut rng = StdRng::seed_from_u64(seed);
        let began = Instant::now();
        let (mut runs, mut slowest) = (0_u64, Duration::ZERO);
        while began.elapsed() < Duration::from_secs(seconds) {
            let data = mutated(&seeds, &mut rng);
            let start = Instant::now();
            if catch_unwind(AssertUnwindSafe(|| target(&data))).is_err() {
                wrong.push(format!("{name} panics on {:?}", String::from_utf8_lossy(&data)));
                break;
            }
            runs += 1;
            if start.elapsed() > slowest {
                slowest = start.elapsed();
                if slowest > SLOWEST {
                    wrong.push(format!("{name} takes {slowest:?} for {:?}", String::from_utf8_lossy(&data)));
                }
            }
        }
        println!(
            "{name}: {runs} inputs in {seconds} s, the slowest {slowest:?}, at most {} MiB so far",
            memory()
        );
    }
    let _default = std::panic::take_hook();
    assert!(wrong.is_empty(), "seed {seed}\n{}", wrong.join("\n"));
    assert!(memory() < MOST_MEMORY, "{} MiB", memory());
}
