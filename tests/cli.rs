//! The program itself: what it prints, where, and its exit codes.

#![expect(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

#[path = "data/cli/several.rs"]
mod several;

use std::path::Path;
use std::process::{Command, Output};

/// A folder to run in, with nothing of the user's settings.
struct Bench {
    folder: tempfile::TempDir,
}

impl Bench {
    fn new(files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        Self { folder }
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        self.run_with(arguments, &[])
    }

    fn run_with(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Ran {
        let mut command = self.command(env!("CARGO_BIN_EXE_quaylab"));
        Ran::new(
            &command.args(arguments).envs(environment.iter().copied()).output().unwrap(),
            self.folder.path(),
        )
    }

    /// The same under a limit that a line of `sh` sets.
    fn run_limited(&self, limit: &str, arguments: &[&str]) -> Ran {
        let line = format!("{limit} && exec \"$0\" \"$@\"");
        let mut command = self.command("/bin/sh");
        command.args(["-c", &line, env!("CARGO_BIN_EXE_quaylab")]).args(arguments);
        Ran::new(&command.output().unwrap(), self.folder.path())
    }

    fn command(&self, program: &str) -> Command {
        let home = self.folder.path();
        let mut command = Command::new(program);
        command
            .current_dir(home)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("HOME", home)
            .env("XDG_STATE_HOME", home.join("state"))
            .stdin(std::process::Stdio::null());
        command
    }
}

struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Ran {
    fn new(output: &Output, folder: &Path) -> Self {
        let text = |bytes: &[u8]| {
            String::from_utf8_lossy(bytes).replace(&*folder.to_string_lossy(), "FOLDER").trim().to_owned()
        };
        Self { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
    }
}

const HERE: (&str, &str) = ("here.inv", "[lab]\nhere ansible_connection=local\n");

fn playbook(tasks: &str) -> String {
    format!("- hosts: lab\n  gather_facts: false\n  become: false\n  tasks:\n{tasks}")
}

#[test]
fn without_an_inventory_it_says_how_to_name_one() {
    for command in ["run", "destroy"] {
        let ran = Bench::new(&[]).run(&[command]);
        assert_eq!((ran.code, ran.out.as_str()), (Some(5), ""), "{command}");
        assert!(ran.err.starts_with("error: no inventory is given\n"), "{}", ran.err);
        assert!(ran.err.contains("-i"), "{}", ran.err);
    }
}

#[test]
fn bad_input_is_exit_code_5_and_says_what_and_where() {
    let bench = Bench::new(&[
        HERE,
        ("broken.inv", "[lab]\nquay\n[lab:vras]\nx=1\n"),
        ("broken.yml", "- hosts: lab\n  taskz: []\n"),
        ("half.yml", "- hosts: [lab\n"),
        ("both.cfg", ""),
    ]);
    for (arguments, expected) in [
        (&["run", "-i", "missing.inv"][..], "missing.inv"),
        (&["run", "-i", "broken.inv"], "broken.inv:3:"),
        (&["run", "-i", "here.inv", "missing.yml"], "missing.yml"),
        (&["run", "-i", "here.inv", "broken.yml"], "broken.yml:2:3"),
        (&["run", "-i", "here.inv", "half.yml"], "half.yml:"),
        (&["run", "-i", "here.inv", "--no-such-option"], "--no-such-option"),
        (&["run", "-i", "here.inv", "--forks", "0"], "--forks"),
        (&["fly"], "fly"),
        (&["inventory", "-i", "missing.inv", "--list"], "missing.inv"),
    ] {
        let ran = bench.run(arguments);
        assert_eq!(ran.code, Some(5), "{arguments:?}: {}", ran.err);
        assert!(ran.err.starts_with("error: "), "{arguments:?}: {}", ran.err);
        assert!(ran.err.contains(expected), "{arguments:?}: {}", ran.err);
        assert_eq!(ran.out, "", "{arguments:?}: errors go to the other stream");
    }
}

#[test]
fn commands_about_a_lab_open_what_is_encrypted_beside_its_inventory() {
    let bench = Bench::new(&[HERE, ("pw", "secret\n")]);
    std::fs::create_dir(bench.folder.path().join("group_vars")).unwrap();
    std::fs::write(bench.folder.path().join("group_vars/lab.yml"), "quaylab_lab: sealed\n").unwrap();
    let sealed = bench.run(&["vault", "encrypt", "--vault-password-file", "pw", "group_vars/lab.yml"]);
    assert_eq!(sealed.code, Some(0), "{}", sealed.err);
    for command in [&["snapshot", "ls"][..], &["inventory", "--list"]] {
        let inventory = [command, &["-i", "here.inv"]].concat();
        let ran = bench.run(&inventory);
        assert_eq!(ran.code, Some(5), "{command:?}: {}", ran.err);
        assert!(ran.err.contains("no vault password is given"), "{command:?}: {}", ran.err);
        let ran = bench.run(&[&inventory[..], &["--vault-password-file", "pw"]].concat());
        assert_eq!(ran.code, Some(0), "{command:?}: {}", ran.err);
        let ran = bench.run_with(&inventory, &[("ANSIBLE_VAULT_PASSWORD_FILE", "pw")]);
        assert_eq!(ran.code, Some(0), "{command:?}: {}", ran.err);
    }
}

#[test]
fn a_mistake_in_the_inventory_is_shown_with_a_caret() {
    let bench = Bench::new(&[("quay.inv", "[lab]\nquay ansible_host='10.0.0.1\n")]);
    let ran = bench.run(&["inventory", "-i", "quay.inv", "--list"]);
    assert_eq!(ran.code, Some(5));
    let caret = ran.err.lines().any(|line| line.trim_start_matches([' ', '|']).starts_with('^'));
    assert!(caret && ran.err.contains("quay.inv:2:"), "{}", ran.err);
    assert!(ran.err.contains("quay ansible_host='10.0.0.1"), "{}", ran.err);
}

#[test]
fn a_run_that_is_well_is_exit_code_0() {
    let bench = Bench::new(&[HERE, ("site.yml", &playbook("    - command: 'true'\n"))]);
    let ran = bench.run(&["run", "-i", "here.inv", "site.yml"]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert!(ran.out.contains("here                       : ok=1    changed=1 "), "{}", ran.out);
}

#[test]
fn a_failing_task_is_exit_code_2_and_an_ignored_one_is_0() {
    for (extra, code, failed) in [("", 2, "failed=1"), ("      ignore_errors: true\n", 0, "ignored=1")] {
        let text = playbook(&format!("    - name: Break\n      command: 'false'\n{extra}"));
        let ran = Bench::new(&[HERE, ("site.yml", &text)]).run(&["run", "-i", "here.inv", "site.yml"]);
        assert_eq!(ran.code, Some(code), "{}", ran.out);
        assert!(ran.out.contains("fatal: [here]: FAILED!"), "{}", ran.out);
        assert!(ran.out.contains("site.yml:5:"), "it says where the task stands: {}", ran.out);
        assert!(ran.out.contains(failed), "{}", ran.out);
    }
}

#[test]
fn an_unreachable_host_is_exit_code_4() {
    // Bound and given back: nobody listens there.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let inventory = format!("[lab]\ngone ansible_host=127.0.0.1 ansible_port={port}\n");
    let bench = Bench::new(&[("gone.inv", &inventory), ("site.yml", &playbook("    - ping:\n"))]);
    let ran = bench.run(&["run", "-i", "gone.inv", "site.yml"]);
    assert_eq!(ran.code, Some(4), "{}\n{}", ran.out, ran.err);
    assert!(ran.out.contains("fatal: [gone]: UNREACHABLE!"), "{}", ran.out);
    assert!(ran.out.contains("refuses connections"), "{}", ran.out);
    assert!(ran.out.contains("unreachable=1"), "{}", ran.out);
}

#[test]
fn a_syntax_check_reads_everything_and_runs_nothing() {
    let bench = Bench::new(&[HERE, ("site.yml", &playbook("    - command: touch made\n"))]);
    let ran = bench.run(&["run", "-i", "here.inv", "--syntax-check", "site.yml"]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert!(!bench.folder.path().join("made").exists());
    // The product's own playbook, as it is inside the program.
    assert_eq!(bench.run(&["run", "-i", "here.inv", "--syntax-check"]).code, Some(0));
}

#[test]
fn help_the_version_and_completion_go_to_standard_output() {
    let bench = Bench::new(&[]);
    let version = bench.run(&["--version"]);
    assert_eq!((version.code, version.out), (Some(0), format!("quaylab {}", env!("CARGO_PKG_VERSION"))));
    for (arguments, expected) in [
        (&["--help"][..], "Usage: quaylab"),
        (&["run", "--help"], "--inventory"),
        (&["completion", "bash"], "complete -F _quaylab"),
        (&["completion", "zsh"], "#compdef quaylab"),
        (&["completion", "fish"], "complete -c quaylab"),
    ] {
        let ran = bench.run(arguments);
        assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""), "{arguments:?}");
        assert!(ran.out.contains(expected), "{arguments:?}: {}", ran.out);
    }
}

/// libvirt's client brings fifty libraries along, which would be loaded at every start.
#[test]
fn libvirt_is_not_loaded_before_it_is_used() {
    let here = Bench::new(&[]);
    let listed = here.run_with(&["--version"], &[("LD_TRACE_LOADED_OBJECTS", "1")]);
    assert!(listed.out.contains("libc.so"), "{}", listed.out);
    assert!(!listed.out.contains("libvirt"), "{}", listed.out);
}

#[test]
fn many_hosts_raise_the_limit_of_open_files() {
    let hosts = ("many.inv", "[lab]\nh[1:60] ansible_connection=local\n");
    let bench = Bench::new(&[hosts, ("p.yml", &playbook("    - ping:\n"))]);
    let run = ["run", "-i", "many.inv", "p.yml"];
    // Sixty shells have more than sixty pipes.
    let raised = bench.run_limited("ulimit -Sn 64", &run);
    assert_eq!((raised.code, raised.err.as_str()), (Some(0), ""), "{}", raised.out);
    let short = bench.run_limited("ulimit -n 400", &run);
    insta::assert_snapshot!(short.err, @r"
    [WARNING]: 60 hosts may need 496 open files, and 400 are allowed
      hint: raise the hard limit (ulimit -Hn, LimitNOFILE=), or run on fewer hosts (--limit)
    ");
}

#[test]
fn what_is_piped_has_no_escape_sequence() {
    let tasks = "    - command: 'true'\n    - command: 'false'\n      ignore_errors: true\n";
    let bench = Bench::new(&[HERE, ("site.yml", &playbook(tasks))]);
    let run = ["run", "-i", "here.inv", "site.yml"];
    for environment in [&[][..], &[("NO_COLOR", "1")], &[("TERM", "xterm-256color")]] {
        let ran = bench.run_with(&run, environment);
        assert!(!ran.out.contains('\u{1b}') && !ran.err.contains('\u{1b}'), "{environment:?}: {}", ran.out);
        assert!(!ran.out.contains('\r'), "{}", ran.out);
    }
}

#[test]
fn a_question_without_a_terminal_is_refused() {
    let text = "- hosts: lab\n  gather_facts: false\n  vars_prompt:\n    - name: answer\n      prompt: Well\n  tasks: []\n";
    let ran = Bench::new(&[HERE, ("site.yml", text)]).run(&["run", "-i", "here.inv", "site.yml"]);
    assert_ne!(ran.code, Some(0), "{}", ran.out);
    assert!(format!("{}{}", ran.out, ran.err).contains("answer"), "{}\n{}", ran.out, ran.err);
}

#[test]
fn what_a_lab_cannot_be_is_told_before_anything_is_made() {
    let lab = |bridge: &str, host: &str| {
        format!(
            "[hypervisor]\nhv ansible_connection=local\n[hypervisor:vars]\nlibvirt_uri=test:///default\nlibvirt_bridges=[{{'name': 'n1'{bridge}}}]\n\
             [lab]\n{host}\n[lab:vars]\nimage_uri=/i.qcow2\nvm_grafics=vnc\nresources={{'network': 'n1'}}\n"
        )
    };
    let bench = Bench::new(&[
        ("bridge.inv", &lab(", 'forward': 'bridge', 'bridge': 'br0', 'domain': 'n1.lan'", "vm1.n1.lan")),
        ("isolated.inv", &lab("", "vm1.n1.lan ip=10.9.1.5")),
        ("well.inv", &lab("", "vm1.n1.lan")),
    ]);
    for command in ["plan", "run"] {
        let ran = bench.run(&[command, "-i", "bridge.inv"]);
        assert_eq!(ran.code, Some(5), "{command}: {}{}", ran.out, ran.err);
        for part in ["so domain cannot hold there", "bridge.inv:5:", "hint: leave it out"] {
            assert!(ran.err.contains(part), "{command}: {part}: {}", ran.err);
        }
        let ran = bench.run(&[command, "-i", "isolated.inv"]);
        assert_eq!(ran.code, Some(5), "{command}: {}{}", ran.out, ran.err);
        assert!(ran.err.contains("the network has no addresses"), "{command}: {}", ran.err);
        assert!(!bench.folder.path().join("state").exists(), "{command} leaves nothing behind");
    }
    let ran = bench.run(&["doctor", "-i", "isolated.inv"]);
    assert!(ran.out.contains("the network has no addresses"), "{}{}", ran.out, ran.err);
    let ran = bench.run(&["doctor", "-i", "well.inv"]);
    assert!(ran.out.contains("vm_grafics is set, but nothing in quaylab reads it"), "{}{}", ran.out, ran.err);
    let ran = bench.run(&["plan", "-i", "well.inv"]);
    assert!(ran.err.contains("[WARNING]: vm_grafics is set, but nothing"), "{}{}", ran.out, ran.err);
}
