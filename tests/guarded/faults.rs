//! Faults of the machine: a full disk on either side, and a clock that is set back.

use std::path::Path;
use std::process::{Command, Output};

use crate::bench::{Bench, Live, Ran, playbook};

/// What is there before; it must be there afterwards.
const OLD: &str = "old\n";

/// More than the small file system holds.
const LARGE: &str = "{{ 'x' * 400000 }}";

#[expect(clippy::print_stderr, reason = "why a test did not run is for people to read")]
pub(crate) fn skipped(why: &str) {
    eprintln!("skipped: {why}");
}

/// Runs quaylab where `full` is a file system of 256 KiB; what `script` says comes before and after (`"$@"` is quaylab).
/// `None` where this machine lets nobody mount one.
fn on_a_small_disk(bench: &Bench, script: &str, arguments: &[&str]) -> Option<Output> {
    let text = format!("mkdir -p full && mount -t tmpfs -o size=256k small full || exit 99\n{script}");
    let mut command = bench.command("unshare");
    command.args(["-m", "sh", "-ec", &text, "sh", env!("CARGO_BIN_EXE_quaylab")]).args(arguments);
    let output = command.output().unwrap();
    let may_not = output.status.code() == Some(99)
        || String::from_utf8_lossy(&output.stderr).contains("unshare failed");
    if may_not {
        skipped("a full disk: this user may not mount one");
        return None;
    }
    Some(output)
}

#[test]
fn a_full_disk_on_the_target_loses_nothing() {
    let bench = Bench::new(&[("large.j2", LARGE), ("parts/a", &"x".repeat(400_000))]);
    bench.file("large", &"x".repeat(400_000));
    let packed = bench.command("tar").args(["-cf", "large.tar", "large"]).status().unwrap();
    assert!(packed.success());
    let path = |name: &str| bench.path(name).display().to_string();
    let kept = path("full/kept");
    let tasks = [
        format!("copy: {{src: large, dest: {kept}}}"),
        format!("copy: {{content: \"{LARGE}\", dest: {kept}}}"),
        format!("copy: {{content: \"{LARGE}\", dest: {kept}, backup: true}}"),
        format!("copy: {{src: {}, remote_src: true, dest: {kept}}}", path("large")),
        format!("template: {{src: large.j2, dest: {kept}}}"),
        format!("lineinfile: {{path: {kept}, line: \"{LARGE}\"}}"),
        format!("blockinfile: {{path: {kept}, block: \"{LARGE}\"}}"),
        format!("replace: {{path: {kept}, regexp: old, replace: \"{LARGE}\"}}"),
        format!("assemble: {{src: parts, dest: {kept}, remote_src: false}}"),
        format!("get_url: {{url: 'file://{}', dest: {kept}, force: true}}", path("large")),
        format!("unarchive: {{src: large.tar, dest: {}}}", path("full")),
    ];
    for task in &tasks {
        bench.file("site.yml", &playbook(&format!("    - {task}\n")));
        let arguments = ["run", "-i", "here.inv", "-l", "here", "site.yml"];
        let script = "echo old >full/kept; \"$@\" && c=0 || c=$?; echo \"code: $c\"; ls -A full | grep -v 'large\\|~$'; cat full/kept";
        let Some(output) = on_a_small_disk(&bench, script, &arguments) else { return };
        let ran = Ran::of(&output, bench.folder.path());
        let end = ran.out.split("code: ").nth(1).unwrap_or_else(|| panic!("{task}\n{}", ran.all()));
        assert_eq!(end, format!("2\nkept\n{OLD}"), "{task}\n{}", ran.all());
        // curl and tar say it in words of their own.
        let words = ["no space left", "failure writing output", "wrote only"];
        assert!(words.iter().any(|words| ran.all().to_lowercase().contains(words)), "{task}\n{}", ran.all());
    }
}

#[test]
fn a_full_disk_on_the_controller_loses_nothing() {
    let task = |name: &str| {
        format!(
            "    - copy: {{content: \"{{{{ lookup('password', quaylab_state_dir ~ '/secrets/{name}') }}}}\", dest: \"{{{{ playbook_dir }}}}/seen-{name}\"}}\n"
        )
    };
    let bench = Bench::new(&[("site.yml", &playbook(&task("kept"))), ("more.yml", &playbook(&task("more")))]);
    bench.file(
        "fetch.yml",
        &playbook("    - fetch: {src: '{{ playbook_dir }}/large', dest: full/got, flat: true}\n"),
    );
    bench.file("large", &"x".repeat(400_000));
    let script = "export XDG_STATE_HOME=$PWD/full
        play() { \"$program\" run -i here.inv -l here \"$@\"; }
        program=$1
        play site.yml
        dd if=/dev/zero of=full/fill bs=1k count=400 2>/dev/null || true
        play more.yml && echo 'more: 0' || echo \"more: $?\"
        play fetch.yml && echo 'fetch: 0' || echo \"fetch: $?\"
        \"$program\" status -i here.inv >/dev/null && echo 'status: 0' || echo \"status: $?\"
        ls full
        rm full/fill
        play site.yml && play more.yml && play more.yml
        find full -type f";
    let Some(output) = on_a_small_disk(&bench, script, &[]) else { return };
    let ran = Ran::of(&output, bench.folder.path());
    assert_eq!(ran.code, 0, "{}", ran.all());
    for line in ["more: 2", "fetch: 2", "status: 0", "fill\nquaylab\n"] {
        assert!(ran.out.contains(line), "{line}\n{}", ran.all());
    }
    assert!(ran.all().to_lowercase().contains("no space left"), "{}", ran.all());
    let recaps: Vec<bool> =
        ran.out.lines().filter(|l| l.contains("changed=")).map(|l| l.contains("changed=0")).collect();
    // Made; no room; no room; as it was; made; as it was.
    assert_eq!(recaps, [false, true, true, true, false, true], "{}", ran.all());
    let files = ran.out.rsplit_once("changed=").map_or("", |(_, end)| end);
    assert!(!files.contains(".tmp") && !files.contains("/got"), "{}", ran.all());
}

/// The library that shifts a program's clock.
fn shifter() -> Option<&'static str> {
    let found =
        ["/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1", "/usr/lib64/faketime/libfaketimeMT.so.1"]
            .into_iter()
            .find(|path| Path::new(path).exists());
    if found.is_none() {
        skipped("a clock that is set back: libfaketime is not on this machine");
    }
    found
}

fn shifted(command: &mut Command, library: &str, bench: &Bench) {
    command
        .env("LD_PRELOAD", library)
        .env("FAKETIME_TIMESTAMP_FILE", bench.path("clock"))
        .env("FAKETIME_NO_CACHE", "1")
        .env("DONT_FAKE_MONOTONIC", "1");
}

#[test]
fn a_clock_that_is_set_back_changes_nothing() {
    let Some(library) = shifter() else { return };
    let tasks = "    - copy: {content: \"{{ lookup('password', quaylab_state_dir ~ '/secrets/kept') }}\", dest: \"{{ playbook_dir }}/seen\"}\n    - shell: touch begun; n=0; while [ ! -e go ] && [ $n -lt 600 ]; do sleep 0.05; n=$((n + 1)); done; date +%Y\n      args: {chdir: '{{ playbook_dir }}'}\n      changed_when: false\n      timeout: 60\n";
    let bench = Bench::new(&[("site.yml", &playbook(tasks)), ("clock", "+400d")]);
    let start = |bench: &Bench| {
        let mut command = bench.quaylab();
        command.args(["run", "-i", "here.inv", "-l", "here", "site.yml"]);
        shifted(&mut command, library, bench);
        Live::start(&mut command)
    };
    let wait = |live: &Live| live.until("the task", |_| bench.path("begun").exists());
    // Set back in the middle of a run.
    let live = start(&bench);
    wait(&live);
    bench.file("clock", "-400d");
    bench.file("go", "");
    let ended = live.ended();
    assert_eq!(ended.code, 0, "{}", ended.said);
    assert!(ended.said.contains("changed=1"), "{}", ended.said);
    // What a later run of an earlier time finds stands: state, secrets, and a lock that seems to be taken in the future.
    for clock in ["-400d", "+0", "-4000d"] {
        bench.file("clock", clock);
        let ended = start(&bench).ended();
        assert_eq!(ended.code, 0, "{clock}: {}", ended.said);
        assert!(ended.said.contains("changed=0"), "{clock}: {}", ended.said);
    }
    for name in ["go", "begun"] {
        std::fs::remove_file(bench.path(name)).unwrap();
    }
    bench.file("clock", "+400d");
    let holder = start(&bench);
    wait(&holder);
    let mut second = bench.quaylab();
    second.args(["destroy", "-i", "here.inv", "--yes"]);
    let second = Live::start(&mut second);
    second.until_said("waiting for the lab here");
    bench.file("go", "");
    let (first, second) = (holder.ended(), second.ended());
    assert_eq!((first.code, second.code), (0, 0), "{}\n{}", first.said, second.said);
}
