//! INT, TERM and HUP end a run in every phase, with what it had started, and it says what it leaves.
//!
//! The promise is a second. The bound here is three, since a loaded machine may take its time over the end of a process.

use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::bench::{Bench, Ended, Live, playbook};
use super::faults::skipped;

const BOUND: Duration = Duration::from_secs(3);

const SIGNALS: [(&str, i32); 3] = [("INT", 130), ("TERM", 143), ("HUP", 129)];

/// What is written by a program that then waits for ten minutes.
const WAITS: &str = "echo $$ > pid.new; mv pid.new pid; exec sleep 600";

fn run(bench: &Bench, host: &str) -> Live {
    Live::start(bench.quaylab().args(["run", "-i", "here.inv", "-l", host, "site.yml"]))
}

fn is_alive(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
}

/// Ends the run, and what it had started with it.
fn judge(bench: &Bench, live: Live, (signal, code): (&str, i32)) -> Ended {
    let ended = live.end(signal);
    assert_eq!(ended.code, code, "SIG{signal}: {}", ended.said);
    assert!(ended.after < BOUND, "SIG{signal} took {:?}: {}", ended.after, ended.said);
    if let Ok(pid) = std::fs::read_to_string(bench.path("pid")) {
        // What was killed in the run's last moment may still be on its way out.
        let since = Instant::now();
        while is_alive(&pid) {
            assert!(since.elapsed() < BOUND, "SIG{signal}: what the run had started goes on: {}", ended.said);
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    ended
}

fn tells(ended: &Ended, words: &[&str]) {
    for word in words {
        assert!(ended.said.contains(word), "{word:?} is not in: {}", ended.said);
    }
}

#[test]
fn a_command_ends_with_the_run() {
    for signal in SIGNALS {
        let bench = Bench::new(&[]);
        let tasks = format!(
            "    - name: Wait long\n      shell: '{WAITS}'\n      args: {{chdir: FOLDER}}\n    - name: Never\n      debug:\n- hosts: all\n  name: Later\n  tasks: []\n"
        );
        bench.file(
            "site.yml",
            &playbook(&tasks.replace("FOLDER", &bench.folder.path().display().to_string())),
        );
        let live = run(&bench, "here");
        live.until("a command", |_| bench.path("pid").exists());
        let ended = judge(&bench, live, signal);
        tells(
            &ended,
            &[
                "what was left:",
                "broken off: \"Wait long\" (site.yml:4:7) on here",
                "Never",
                "plays not begun: Later",
            ],
        );
    }
}

#[test]
fn a_template_that_has_no_end_holds_nothing_up() {
    for signal in SIGNALS {
        let bench = Bench::new(&[]);
        let folder = bench.folder.path().display();
        // The other host's command is ended too, although the thread that looks after both computes the template.
        bench.file(
            "site.yml",
            &format!(
                "- hosts: lab\n  gather_facts: false\n  strategy: free\n  tasks:\n    - shell: '{WAITS}'\n      args: {{chdir: '{folder}'}}\n      when: inventory_hostname == 'here'\n    - wait_for: {{path: '{folder}/pid'}}\n    - name: Count\n      debug: {{msg: '{{% for i in range(100000) %}}{{% for j in range(100000) %}}{{% endfor %}}{{% endfor %}}'}}\n"
            ),
        );
        let live = run(&bench, "all");
        live.until_said("TASK [Count]");
        tells(&judge(&bench, live, signal), &["what was left:", "\"Count\"", "on there"]);
    }
}

#[test]
fn lookups_end_with_the_run() {
    for (name, look) in [
        ("a program", format!("lookup('pipe', '{WAITS}')")),
        ("lines of a program", format!("query('lines', '{WAITS}')")),
        ("a file that nobody writes", "lookup('file', 'never')".to_owned()),
        ("an address that does not answer", "lookup('url', 'http://SILENT/', timeout=600)".to_owned()),
    ] {
        for signal in SIGNALS {
            let bench = Bench::new(&[]);
            let silent = TcpListener::bind("127.0.0.1:0").unwrap();
            let look = look.replace("SILENT", &silent.local_addr().unwrap().to_string());
            assert!(Command::new("mkfifo").arg(bench.path("never")).status().unwrap().success());
            let task = format!("    - name: Look\n      debug: {{msg: \"{{{{ {look} }}}}\"}}\n");
            bench.file("site.yml", &playbook(&task));
            let live = run(&bench, "here");
            live.until_said("TASK [Look]");
            if look.contains("sleep") {
                live.until(name, |_| bench.path("pid").exists());
            }
            tells(&judge(&bench, live, signal), &["what was left:", "\"Look\""]);
        }
    }
}

#[test]
fn what_waits_ends_with_the_run() {
    for (task, marker) in [
        ("pause: {seconds: 600}", "TASK [Wait]"),
        ("wait_for: {path: /nowhere, timeout: 600}", "TASK [Wait]"),
        (
            "command: 'false'\n      register: r\n      until: r is success\n      retries: 5\n      delay: 600",
            "RETRYING",
        ),
        ("command: 'true'\n      loop: [1, 2]\n      loop_control: {pause: 600}", "(item=1)"),
        ("command: sleep 600\n      async: 900\n      poll: 5", "TASK [Wait]"),
    ] {
        let bench = Bench::new(&[]);
        bench.file("site.yml", &playbook(&format!("    - name: Wait\n      {task}\n")));
        let live = run(&bench, "here");
        live.until_said(marker);
        tells(&judge(&bench, live, SIGNALS[1]), &["what was left:", "\"Wait\""]);
    }
}

#[test]
fn a_job_in_the_background_ends_with_the_run() {
    let bench = Bench::new(&[]);
    let folder = bench.folder.path().display();
    let tasks = format!(
        "    - shell: '{WAITS}'\n      args: {{chdir: '{folder}'}}\n      async: 900\n      poll: 0\n"
    );
    bench.file("site.yml", &playbook(&tasks));
    let live = run(&bench, "here");
    live.until("the job", |_| bench.path("pid").exists());
    judge(&bench, live, SIGNALS[1]);
}

#[test]
fn a_host_that_says_nothing_holds_nothing_up() {
    for signal in SIGNALS {
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = silent.local_addr().unwrap().port();
        let bench =
            Bench::new(&[("mute.inv", &format!("[lab]\nmute ansible_host=127.0.0.1 ansible_port={port}\n"))]);
        bench.file("site.yml", &playbook("    - name: Ask\n      command: id\n"));
        let live = Live::start(bench.quaylab().args(["run", "-i", "mute.inv", "-T", "600", "site.yml"]));
        let _held = silent.accept().unwrap();
        tells(&judge(&bench, live, signal), &["what was left:", "\"Ask\"", "on mute"]);
    }
}

#[test]
fn a_question_can_be_left() {
    for signal in SIGNALS {
        let bench = Bench::new(&[("site.yml", &playbook("    - name: Asked\n      debug:\n"))]);
        let mut command = bench.quaylab();
        command.args(["run", "-i", "here.inv", "--step", "site.yml"]).stdin(Stdio::piped());
        let live = Live::start(&mut command);
        live.until_said("Perform task:");
        tells(&judge(&bench, live, signal), &["what was left:", "Asked"]);
    }
}

#[test]
fn what_is_read_before_a_run_can_be_left() {
    for (name, arguments) in [
        ("an inventory's program", &["run", "-i", "program", "site.yml"][..]),
        ("a password's program", &["run", "-i", "here.inv", "--vault-password-file", "program", "site.yml"]),
    ] {
        for signal in SIGNALS {
            let bench = Bench::new(&[("site.yml", &playbook("    - debug:\n"))]);
            bench.file("program", &format!("#!/bin/sh\n{WAITS}\n"));
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            std::fs::set_permissions(bench.path("program"), mode).unwrap();
            let live = Live::start(bench.quaylab().args(arguments));
            live.until(name, |_| bench.path("pid").exists());
            judge(&bench, live, signal);
        }
    }
}

#[test]
fn a_full_output_holds_nothing_up() {
    let bench = Bench::new(&[]);
    let task = "    - name: Talk\n      debug: {msg: \"{{ 'x' * 1000000 }}\"}\n";
    bench.file("site.yml", &playbook(task));
    let mut command = bench.quaylab();
    command.args(["run", "-i", "here.inv", "site.yml"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // Nobody reads on: the program stands still in its writing.
    let mut first = [0; 16];
    std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut first).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    let since = Instant::now();
    assert!(Command::new("kill").arg(child.id().to_string()).status().unwrap().success());
    while child.try_wait().unwrap().is_none() && since.elapsed() < BOUND {
        std::thread::sleep(Duration::from_millis(5));
    }
    let after = since.elapsed();
    // One that went on has no part in how this test ends.
    let _ended = child.kill();
    assert_eq!(child.wait().unwrap().code(), Some(143), "after {after:?}");
}

#[test]
fn a_container_whose_session_began_outside_holds_nothing_up() {
    for (signal, _) in SIGNALS {
        let bench = Bench::new(&[("site.yml", &playbook("    - name: Asked\n      debug:\n"))]);
        // The number of a session whose first process is outside cannot be told within.
        let script = "{ sleep 600 | \"$@\" & } >said 2>&1
            until grep -q Perform said; do sleep 0.05; done
            pkill -$SIGNAL quaylab; until ! pgrep quaylab >gone; do sleep 0.05; done; cat said";
        let mut command = bench.command("unshare");
        command.args(["--pid", "--fork", "--mount-proc", "--kill-child", "sh", "-c", script, "sh"]);
        command.args([env!("CARGO_BIN_EXE_quaylab"), "run", "-i", "here.inv", "--step", "site.yml"]);
        let ended = Live::start(command.env("SIGNAL", signal)).ended();
        if ended.said.contains("unshare failed") {
            skipped("a container: this user may not make one");
            return;
        }
        assert!(ended.said.contains("what was left:"), "SIG{signal}: {}", ended.said);
        assert!(!ended.said.contains("internal error"), "SIG{signal}: {}", ended.said);
    }
}

#[test]
fn the_end_of_the_terminal_is_nothing_under_nohup() {
    let bench = Bench::new(&[("site.yml", &playbook("    - name: Wait\n      pause: {seconds: 600}\n"))]);
    let mut command = bench.command("/bin/sh");
    command.args([
        "-c",
        "trap '' HUP; exec \"$0\" run -i here.inv -l here site.yml",
        env!("CARGO_BIN_EXE_quaylab"),
    ]);
    let mut live = Live::start(&mut command);
    live.until_said("TASK [Wait]");
    live.signal("HUP");
    std::thread::sleep(Duration::from_millis(1500));
    assert!(live.is_at_work(), "{}", live.said());
    judge(&bench, live, SIGNALS[1]);
}

#[test]
fn called_as_ansible_playbook_an_interrupt_is_99() {
    let bench = Bench::new(&[("site.yml", &playbook("    - name: Wait\n      pause: {seconds: 600}\n"))]);
    let program = bench.path("ansible-playbook");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_quaylab"), &program).unwrap();
    for (signal, code) in [("INT", 99), ("TERM", 143)] {
        let mut command = bench.command(program.to_str().unwrap());
        let live = Live::start(command.args(["-i", "here.inv", "-l", "here", "site.yml"]));
        live.until_said("TASK [Wait]");
        judge(&bench, live, (signal, code));
    }
}

#[test]
fn a_question_that_is_broken_off_leaves_the_terminal_as_it_was() {
    let prompt = "- hosts: lab\n  gather_facts: false\n  vars_prompt: [{name: x, prompt: Say}]\n  tasks: [{debug: }]\n";
    let bench = Bench::new(&[("site.yml", &playbook("    - debug:\n")), ("prompt.yml", prompt)]);
    for asks in [
        "vault encrypt_string --ask-vault-pass x",
        "vault encrypt_string --ask-vault-pass x </dev/null",
        "run -i here.inv --ask-vault-pass site.yml",
        "run -i here.inv -K site.yml",
        "run -i here.inv prompt.yml",
    ] {
        for (signal, code) in SIGNALS {
            let typed = format!(
                "(until stty -a </dev/tty | grep -q -e ' -echo '; do sleep 0.05; done; pkill -{signal} -P $$ quaylab) &
                {} {asks}; echo \"code $?\"; stty -a </dev/tty | grep -o -e ' -*echo '",
                env!("CARGO_BIN_EXE_quaylab"),
            );
            let mut command = bench.command("script");
            command.args(["-qec", &format!("sh -c '{}'", typed.replace('\'', r"'\''")), "/dev/null"]);
            // An input that ends would end the question.
            command.stdin(Stdio::piped());
            let ended = Live::start(&mut command).ended();
            let said = ended.said.replace('\r', "");
            assert!(said.ends_with(&format!("code {code}\n echo \n")), "{asks}, {signal}: {said}");
        }
    }
}
