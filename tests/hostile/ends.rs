//! What a task's time limit ends.

use std::net::TcpListener;
use std::time::Duration;

use super::{BOUND, FAILED, run};

const HERE: &str = "[lab]\nhere ansible_connection=local\n";

/// How many processes of this machine have this argument.
fn with_argument(argument: &str) -> usize {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let lines = processes.filter_map(|process| std::fs::read(process.path().join("cmdline")).ok());
    lines.filter(|line| line.split(|byte| *byte == 0).any(|word| word == argument.as_bytes())).count()
}

/// A port that takes connections and never says anything.
fn silent() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

#[test]
fn a_time_limit_ends_the_command_and_the_next_task_starts_at_once() {
    let (_kept, port) = silent();
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("script.sh");
    std::fs::write(&script, "#!/bin/sh\nsleep 300.04\n").unwrap();
    let (script, dest) = (script.display(), folder.path().join("got"));
    let tasks = [
        ("command: sleep 300.01".to_owned(), "300.01"),
        ("shell: sleep 300.02 & wait".to_owned(), "300.02"),
        ("raw: sleep 300.03".to_owned(), "300.03"),
        (format!("script: {script}"), "300.04"),
        (format!("uri: {{url: 'http://127.0.0.1:{port}/', timeout: 300}}"), "-"),
        (format!("get_url: {{url: 'http://127.0.0.1:{port}/x', dest: {}}}", dest.display()), "-"),
        (format!("wait_for: {{host: 127.0.0.1, port: {port}, search_regex: never, timeout: 300}}"), "-"),
        ("pause: {seconds: 300}".to_owned(), "-"),
    ];
    let mut play = String::new();
    for (task, _) in &tasks {
        play.push_str(&format!("    - {task}\n      timeout: 1\n      ignore_errors: true\n"));
    }
    play.push_str("    - command: sleep 300.06\n      async: 1\n      poll: 1\n      ignore_errors: true\n");
    play.push_str("    - command: sleep 300.07\n      async: 1\n      poll: 0\n");
    play.push_str("    - command: echo the next task\n");
    play.push_str("    - command: sleep 2\n");
    let ran = run(HERE, &play, "", BOUND);
    assert_eq!(ran.code, Some(0), "{:?}: {}", ran.took, ran.said);
    assert_eq!(ran.said.matches("longer than its timeout of 1 s").count(), tasks.len(), "{}", ran.said);
    assert!(ran.said.contains("did not complete within the requested time"), "{}", ran.said);
    // Eleven seconds that were asked for, and a debug build on a busy machine.
    assert!(ran.took < Duration::from_secs(40), "{:?}: {}", ran.took, ran.said);
    for argument in tasks.iter().map(|(_, argument)| *argument).chain(["300.06", "300.07"]) {
        assert!(argument == "-" || with_argument(argument) == 0, "{argument} goes on");
    }
}

#[test]
fn a_time_limit_leaves_what_others_do_on_the_same_host_alone() {
    let inventory = "[lab]\na ansible_connection=local\nb ansible_connection=local\n";
    let tasks = "    - command: \"{{ 'sleep 300.08' if inventory_hostname == 'a' else 'sleep 3' }}\"\n      \
                 delegate_to: b\n      timeout: \"{{ 1 if inventory_hostname == 'a' else 30 }}\"\n";
    let ran = run(inventory, tasks, "", BOUND);
    assert_eq!(ran.code, Some(FAILED), "{}", ran.said);
    assert!(ran.said.contains("timeout of 1 s"), "{}", ran.said);
    let recap: Vec<&str> = ran.said.lines().filter(|line| line.contains("failed=")).collect();
    assert!(recap.iter().any(|line| line.starts_with('b') && line.contains("failed=0")), "{}", ran.said);
    assert_eq!(with_argument("300.08"), 0);
}
