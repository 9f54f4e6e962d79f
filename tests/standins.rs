//! The stand-in for Quay, held against what was recorded of the real one: each request must give the recorded status and
//! shape, and each configuration be taken or refused as there. The tables are in `tests/data/standins`.

use std::path::Path;
use std::process::{Command, Stdio};

#[test]
fn the_stand_in_for_quay_answers_as_the_real_one_did() {
    let Some(python) = ["/usr/bin/python3", "/usr/local/bin/python3"].iter().find(|p| Path::new(p).exists())
    else {
        eprintln!("skipped: the stand-in for Quay needs python3, which is not installed");
        return;
    };
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/standins/quay/check_answers.py");
    let checked =
        Command::new(python).args(["-B", script]).stdin(Stdio::null()).output().expect("the script");
    let said = [checked.stdout, checked.stderr].map(|b| String::from_utf8_lossy(&b).into_owned()).concat();
    assert!(checked.status.success(), "{said}");
    for table in ["quay-api.jsonl: 140 of 140", "quay-registry.jsonl: 37 of 37"] {
        assert!(said.contains(table), "no {table:?} in {said}");
    }
}
