//! A run that is killed (-9) at random moments, on a real libvirtd: the next run brings the lab up whole, and
//! destroy leaves nothing, whether or not that run came.
#![cfg(feature = "libvirt")]
#![expect(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

#[path = "lab/namespace.rs"]
mod namespace;
#[path = "lab/tiny.rs"]
mod tiny;

use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tiny::TinyLab;

/// How often the run is broken off, where `QUAYLAB_TEST_KILLS` does not say it.
const POINTS: u64 = 20;

/// What a whole lab is, in libvirt's lists.
const WHOLE: [&str; 7] = [
    "list one",
    "list two",
    "net-list tiny",
    "pool-list tiny",
    "volume tiny/one.qcow2",
    "volume tiny/quaylab-base",
    "volume tiny/two.qcow2",
];

#[test]
fn a_lab_is_brought_up_whole_after_any_break() {
    let lab = match TinyLab::new("killed") {
        Ok(lab) => lab,
        Err(reason) => {
            eprintln!("skipped: {reason}");
            return;
        }
    };
    let seed = std::env::var("QUAYLAB_TEST_SEED")
        .ok()
        .and_then(|s| s.parse().ok())
        .unwrap_or_else(|| SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |d| d.as_secs()));
    println!("QUAYLAB_TEST_SEED={seed}");
    let points = std::env::var("QUAYLAB_TEST_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(POINTS);
    let before = lab.namespace.all();
    let run = ["run", "-i", "lab.inv", "lab.yml"];
    let begun = Instant::now();
    // The first run also finds out about KVM; how long the others take is what the second says.
    let mut whole = Duration::ZERO;
    for _ in 0..2 {
        let since = Instant::now();
        lab.good(&run);
        whole = since.elapsed();
        assert_eq!(things(&lab), WHOLE);
        lab.good(&["destroy", "-i", "lab.inv", "--yes"]);
        assert_eq!(lab.namespace.all(), before);
    }

    let mut state = seed | 1;
    let mut broken = 0;
    for point in 0..points {
        // A linear congruence: the same seed kills at the same moments.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let share = u32::try_from((state >> 33) % 1000).unwrap();
        let after = whole * share / 1000;
        let mut child = lab.outside(&run).spawn().unwrap();
        std::thread::sleep(after);
        let over = child.try_wait().unwrap().is_some();
        broken += u64::from(!over);
        child.kill().unwrap();
        child.wait().unwrap();
        let at = format!("point {point}, seed {seed}: killed after {after:?} of {whole:?}");
        // Every other time nobody runs it again before it is destroyed.
        if point % 2 == 0 {
            let again = lab.run(&run);
            assert_eq!(again.code, Some(0), "{at}\n{}\n{}", again.out, again.err);
            assert_eq!(things(&lab), WHOLE, "{at}");
            if point % 6 == 0 {
                let rests = lab.good(&["plan", "-i", "lab.inv", "lab.yml"]);
                assert_eq!(rests, "No changes: the lab is as declared.", "{at}");
            }
        }
        let destroyed = lab.run(&["destroy", "-i", "lab.inv", "--yes"]);
        assert_eq!(destroyed.code, Some(0), "{at}\n{}\n{}", destroyed.out, destroyed.err);
        assert_eq!(lab.namespace.all(), before, "{at}");
        for folder in ["pool".to_owned(), format!("state/quaylab/{}", lab.name)] {
            assert!(!lab.namespace.work.path().join(&folder).exists(), "{at}: {folder} is left");
        }
        let marks = Path::new("/var/lib/quaylab/marks").join(&lab.name);
        assert!(!marks.exists(), "{at}: {} is left", marks.display());
        assert!(begun.elapsed() < Duration::from_secs(30 * points), "{at}: it takes too long");
    }
    assert!(broken >= points / 2, "only {broken} of {points} runs were broken off");
    println!("{broken} of {points} runs were broken off; each lab was whole again, or gone");
}

/// What libvirt knows, without the digest in the base image's name.
fn things(lab: &TinyLab) -> Vec<String> {
    let all = lab.namespace.all().into_iter();
    all.map(|thing| match thing.split_once("-base-") {
        Some((before, _)) => format!("{before}-base"),
        None => thing,
    })
    .collect()
}
