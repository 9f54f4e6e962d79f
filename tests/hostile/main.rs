//! Targets gone bad: whatever one sends, or does not send, quaylab ends in time, in bounded memory, and says why.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod ends;
mod server;
mod way;
mod web;

use std::io::Read as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use server::{Act, Server};

/// What quaylab may hold at most, in MiB, with the limits as they come: three times what one reply may be (a buffer that has just grown, and
/// what it grew from), and itself.
const MOST_MEMORY: u64 = 3 * 64 + 130;

/// How a run ended.
struct Ran {
    code: Option<i32>,
    said: String,
    took: Duration,
    /// The most memory that it held, in MiB.
    memory: u64,
}

/// Runs a playbook with these tasks; it must end by itself.
fn run(inventory: &str, tasks: &str, settings: &str, bound: Duration) -> Ran {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("hosts", inventory);
    write("play.yml", &format!("- hosts: all\n  gather_facts: false\n  tasks:\n{tasks}"));
    write("quaylab.cfg", settings);
    let mut child = Command::new(env!("CARGO_BIN_EXE_quaylab"))
        .args(["run", "-i", "hosts", "play.yml"])
        .current_dir(folder.path())
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .env("HOME", folder.path())
        .env("XDG_STATE_HOME", folder.path().join("state"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let began = Instant::now();
    let reader = |mut from: Box<dyn std::io::Read + Send>| {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            let _ = from.read_to_end(&mut bytes);
            String::from_utf8_lossy(&bytes).into_owned()
        })
    };
    let out = reader(Box::new(child.stdout.take().unwrap()));
    let err = reader(Box::new(child.stderr.take().unwrap()));
    let mut memory = 0;
    let code = loop {
        memory = memory.max(peak(child.id()));
        if let Some(status) = child.try_wait().unwrap() {
            break status.code();
        }
        if began.elapsed() > bound {
            child.kill().unwrap();
            child.wait().unwrap();
            break None;
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    let took = began.elapsed();
    Ran { code, said: out.join().unwrap() + &err.join().unwrap(), took, memory }
}

/// The most memory that a process has held, in MiB.
fn peak(process: u32) -> u64 {
    let status = std::fs::read_to_string(Path::new("/proc").join(process.to_string()).join("status"));
    let status = status.unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or(0) / 1024
}

fn inventory(port: u16) -> String {
    format!(
        "[lab]\nbad ansible_host=127.0.0.1 ansible_port={port} ansible_user=x ansible_password=pw ansible_timeout=3 \
         ansible_ssh_common_args='-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null'\n"
    )
}

const UNREACHABLE: i32 = 4;
const FAILED: i32 = 2;

/// What a task costs at most where nothing is waited for: a debug build on a busy machine.
const BOUND: Duration = Duration::from_secs(60);

const ECHO: &str = "    - command: echo hi\n";

/// Each of these, and what is said of it.
fn judge(cases: &[(Act, &str, i32, &str)]) {
    let mut wrong = Vec::new();
    for (act, tasks, code, said) in cases {
        let server = Server::start(*act);
        let ran = run(&inventory(server.port), tasks, "", BOUND);
        let is_right = ran.code == Some(*code) && ran.said.contains(said) && ran.memory < MOST_MEMORY;
        if !is_right || !ran.said.contains("bad") || ran.said.contains('\u{1b}') {
            wrong.push(format!(
                "{act:?}: {:?} instead of {code} after {:?} with {} MiB, wanted {said:?}:\n{}",
                ran.code,
                ran.took,
                ran.memory,
                ran.said.chars().take(2000).collect::<String>()
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn who_is_no_ssh_server_is_unreachable() {
    judge(&[
        (Act::CloseAtOnce, ECHO, UNREACHABLE, "no SSH connection"),
        (Act::NeverSpeaks, ECHO, UNREACHABLE, "no SSH connection to 127.0.0.1"),
        (Act::SpeaksGarbage, ECHO, UNREACHABLE, "no SSH connection"),
        (Act::EndlessLines, ECHO, UNREACHABLE, "no SSH connection"),
        (Act::LoginHangs, ECHO, UNREACHABLE, "no login to 127.0.0.1"),
        (Act::LoginCloses, ECHO, UNREACHABLE, "login as `x` was refused"),
        (Act::LoginRefuses, ECHO, UNREACHABLE, "login as `x` was refused: tried the password"),
    ]);
}

#[test]
fn where_no_shell_comes_the_host_is_unreachable() {
    judge(&[
        (Act::ChannelHangs, ECHO, UNREACHABLE, "no shell said within 3 s that it runs"),
        (Act::ChannelCloses, ECHO, UNREACHABLE, "the connection to bad was lost"),
        (Act::ChannelRefused, ECHO, FAILED, "the SSH server does not allow it"),
        (Act::NeverGreets, ECHO, UNREACHABLE, "no shell said within 3 s that it runs"),
        (Act::DripsInsteadOfGreeting, ECHO, UNREACHABLE, "no shell said within 3 s that it runs"),
        (Act::EndlessNoise, ECHO, UNREACHABLE, "it printed more than 1 MiB"),
        (Act::EndlessNoiseOnStderr, ECHO, UNREACHABLE, "it printed more than 1 MiB"),
        (Act::ClosesBeforeGreeting, ECHO, UNREACHABLE, "closed while a shell was started"),
        (Act::EndsBeforeGreeting, ECHO, UNREACHABLE, "ended at once with status 3: no shell for you"),
        (Act::GreetsWithGarbage, ECHO, UNREACHABLE, "its shell says that its number is"),
        (Act::GreetsHalfAndGoesOn, ECHO, UNREACHABLE, "no shell said"),
        (Act::GreetsAsNumberOne, ECHO, UNREACHABLE, "its shell says that its number is `1`"),
    ]);
}

#[test]
fn replies_that_are_none_end_the_shell() {
    judge(&[
        (Act::ClosesAtRequest, ECHO, UNREACHABLE, "the connection to bad was lost"),
        (Act::EndsAtRequest, ECHO, UNREACHABLE, "the shell ended with status 0"),
        (Act::DisconnectsAtRequest, ECHO, UNREACHABLE, "the connection to bad was lost"),
        (Act::WrongId, ECHO, UNREACHABLE, "out of order"),
        (Act::HugeId, ECHO, UNREACHABLE, "end mark is broken"),
        (Act::HugeStatus, ECHO, UNREACHABLE, "end mark is broken"),
        (Act::GarbageInMark, ECHO, UNREACHABLE, "end mark is broken"),
        (Act::MarkWithoutEnd, ECHO, UNREACHABLE, "end mark has no end"),
        (Act::ClosesInReply, ECHO, UNREACHABLE, "the connection to bad was lost"),
    ]);
}

#[test]
fn replies_without_end_are_cut_off_at_the_limit() {
    let hint = "max_reply_size";
    judge(&[
        (Act::EndlessReply, ECHO, FAILED, hint),
        (Act::EndlessStderr, ECHO, FAILED, hint),
        (Act::EndlessReply, "    - raw: echo hi\n", FAILED, "answered more than 67108864 bytes"),
    ]);
}

#[test]
fn who_never_replies_is_waited_for_as_long_as_the_task_may_take() {
    let limited = "    - command: echo hi\n      timeout: 2\n";
    let job = "    - command: echo hi\n      async: 2\n      poll: 1\n";
    judge(&[
        (Act::NeverReplies, limited, FAILED, "the task took longer than its timeout of 2 s"),
        (Act::HalfAReply, limited, FAILED, "the task took longer than its timeout of 2 s"),
        (Act::NeverReplies, job, FAILED, "did not complete within the requested time"),
    ]);
}

#[test]
fn fifty_megabytes_are_a_reply_like_any_other() {
    let server = Server::start(Act::Big(50));
    let tasks = "    - raw: echo hi\n      register: r\n    - assert: {that: r.stdout | length == 52428800}\n      no_log: true\n";
    let ran = run(&inventory(server.port), tasks, "", BOUND);
    assert_eq!(ran.code, Some(0), "{}", ran.said.chars().take(2000).collect::<String>());
}

#[test]
fn the_limit_is_a_setting() {
    let server = Server::start(Act::Big(3));
    let tasks = "    - raw: echo hi\n";
    let ran = run(&inventory(server.port), tasks, "[defaults]\nmax_reply_size = 2M\n", BOUND);
    assert_eq!(ran.code, Some(FAILED));
    assert!(ran.said.contains("answered more than 2097152 bytes"), "{}", ran.said);
    assert!(ran.memory < 130, "{} MiB", ran.memory);
    let ran = run(&inventory(server.port), tasks, "[defaults]\nmax_reply_size = 4M\n", BOUND);
    assert_eq!(ran.code, Some(0));
}

#[test]
fn a_reply_that_nobody_asked_for_is_nobodys() {
    let server = Server::start(Act::RepliesTwice);
    let ran = run(&inventory(server.port), &ECHO.repeat(2), "", BOUND);
    // It ends the shell. Where it comes before the next request, that one gets a shell of its own; where it comes in place of the next reply,
    // the host counts as unreachable. Which of both it is, the server decides by when it sends it.
    let ended = ran.code == Some(UNREACHABLE) && ran.said.contains("the shell's replies are out of order");
    assert!(ran.code == Some(0) || ended, "{:?}: {}", ran.code, ran.said);
}

#[test]
fn garbage_before_a_right_mark_is_a_reply() {
    let server = Server::start(Act::GarbageAndReply);
    let ran = run(&inventory(server.port), "    - raw: echo hi\n      register: r\n", "", BOUND);
    assert_eq!(ran.code, Some(0), "{}", ran.said);
    assert!(ran.memory < MOST_MEMORY && !ran.said.contains('\u{1b}'));
}

#[test]
fn a_file_that_does_not_end_is_not_fetched_for_ever() {
    let server = Server::start(Act::CatNeverEnds);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("six");
    std::fs::write(&file, "6bytes").unwrap();
    let tasks = format!(
        "    - fetch: {{src: {}, dest: {}/got, flat: true}}\n",
        file.display(),
        folder.path().display()
    );
    let ran = run(&inventory(server.port), &tasks, "[defaults]\nmax_reply_size = 4M\n", BOUND);
    assert_eq!(ran.code, Some(FAILED), "{}", ran.said);
    assert!(ran.said.contains("max_reply_size") && ran.memory < 130, "{} MiB: {}", ran.memory, ran.said);
    assert!(!folder.path().join("got").exists());
}
