//! An output that cannot be written is told, and a plan is for its owner alone.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::PermissionsExt as _;

use super::bench::{Bench, Ran, playbook};

fn full() -> File {
    OpenOptions::new().write(true).open("/dev/full").unwrap()
}

#[test]
fn an_output_that_cannot_be_written_is_an_error() {
    let bench = Bench::new(&[("site.yml", &playbook("    - command: 'true'\n"))]);
    let run = ["run", "-i", "here.inv", "site.yml"];
    for arguments in [
        &run[..],
        &["plan", "-i", "here.inv", "site.yml"],
        &["inventory", "-i", "here.inv", "--list"],
        &["completion", "bash"],
        &["--version"],
        &["--help"],
    ] {
        let ran =
            Ran::of(&bench.quaylab().args(arguments).stdout(full()).output().unwrap(), bench.folder.path());
        assert_eq!(ran.code, 1, "{arguments:?}: {}", ran.err);
        assert!(ran.err.contains("cannot write to standard output"), "{arguments:?}: {}", ran.err);
        assert!(!ran.err.contains("panicked"), "{arguments:?}: {}", ran.err);
    }
    // What else went wrong is the worse news.
    bench.file("fails.yml", &playbook("    - command: 'false'\n"));
    let failing =
        bench.quaylab().args(["run", "-i", "here.inv", "fails.yml"]).stdout(full()).output().unwrap();
    assert_eq!(failing.status.code(), Some(2));
    // A full error stream keeps nobody from working.
    let mute = bench.quaylab().args(run).stderr(full()).output().unwrap();
    assert_eq!(mute.status.code(), Some(0));
    // A reader that has seen enough is no error.
    let mut early = bench.command("/bin/sh");
    early.args(["-c", "\"$0\" completion bash | head -c 1 >/dev/null", env!("CARGO_BIN_EXE_quaylab")]);
    let early = early.output().unwrap();
    assert_eq!(String::from_utf8_lossy(&early.stderr), "");
}

#[test]
fn a_plan_is_for_its_owner_alone() {
    let bench = Bench::new(&[("site.yml", &playbook("    - command: 'true'\n"))]);
    bench.file("plan.json", "an older one, which everybody may read\n");
    for name in ["plan.json", "new.json"] {
        let ran = bench.run(&["plan", "-i", "here.inv", "--out", name, "site.yml"]);
        assert_eq!(ran.code, 0, "{}", ran.err);
        let mode = std::fs::metadata(bench.path(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
        assert!(std::fs::read_to_string(bench.path(name)).unwrap().starts_with('{'), "{name}");
    }
    // What is no file is written to as it is.
    assert_eq!(bench.run(&["plan", "-i", "here.inv", "--out", "/dev/null", "site.yml"]).code, 0);
}

#[test]
fn what_is_no_text_is_bad_input() {
    let bench = Bench::new(&[("site.yml", &playbook("    - debug:\n")), ("pw", "secret\n")]);
    std::fs::write(bench.path("latin.yml"), b"x: \xe4\n").unwrap();
    std::fs::write(bench.path("half.yml"), b"$ANSIBLE_VAULT;1.1;AES256\n\xff\xfe\n").unwrap();
    std::fs::write(bench.path("sealed.yml"), b"x: \xe4\n").unwrap();
    let sealed = bench.run(&["vault", "encrypt", "--vault-password-file", "pw", "sealed.yml"]);
    assert_eq!(sealed.code, 0, "{}", sealed.err);
    for file in ["latin.yml", "half.yml", "sealed.yml"] {
        let given = format!("@{file}");
        let run = ["run", "-i", "here.inv", "--vault-password-file", "pw"];
        for more in [&["-e", &given, "site.yml"][..], &[file]] {
            let ran = bench.run(&[&run[..], more].concat());
            assert_eq!(ran.code, 5, "{file}: {}", ran.all());
            assert!(ran.err.contains(file) && ran.err.contains("UTF-8"), "{file}: {}", ran.err);
        }
    }
    for verb in [&["view"][..], &["decrypt"], &["rekey", "--new-vault-password-file", "pw"]] {
        let ran = bench.run(&[&["vault"], verb, &["--vault-password-file", "pw", "half.yml"]].concat());
        assert_eq!(ran.code, 5, "{verb:?}: {}", ran.all());
        assert!(ran.err.contains("half.yml"), "{verb:?}: {}", ran.err);
    }
    std::fs::write(bench.path("latin-pw"), b"p\xe4ss\n").unwrap();
    let ran = bench.run(&["vault", "view", "--vault-password-file", "latin-pw", "sealed.yml"]);
    assert_eq!(ran.code, 5, "{}", ran.all());
}
