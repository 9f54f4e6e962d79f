//! What a target prints does not steer the terminal: it is shown.

use super::bench::{Bench, Ran};

/// A title, colours, a C1 control, an overriding direction, a bell and a return, as `printf` of a shell writes them.
const PRINTS: &str = r"printf '\033]0;owned\007\033[31mred\rback\302\23331m\342\200\256turned'";

/// Nothing steers but, where they are wanted, the program's own colours.
fn is_tame(name: &str, text: &str) {
    let mut rest = text;
    let mut plain = String::new();
    while let Some((before, after)) = rest.split_once("\u{1b}[") {
        plain.push_str(before);
        let end = after.find(|c: char| !c.is_ascii_digit() && c != ';').unwrap_or(0);
        let own = matches!(&after[..end], "0" | "1" | "2" | "31" | "32" | "33" | "36" | "1;35");
        assert!(own && after[end..].starts_with('m'), "{name}: {text:?}");
        rest = &after[end + 1..];
    }
    plain.push_str(rest);
    for c in plain.chars().filter(|c| !matches!(c, '\n' | '\t')) {
        assert!(!c.is_control() && c != '\u{202e}', "{name}: {c:?} in {text:?}");
    }
}

fn judge(name: &str, ran: &Ran) {
    is_tame(name, &ran.out);
    is_tame(name, &ran.err);
    assert!(
        ran.all().contains("\\u001b") || ran.all().contains("\\x1b"),
        "{name}: it is shown: {}",
        ran.all()
    );
}

fn tasks() -> String {
    format!(
        r#"    - shell: "{prints}"
      register: r
    - debug: {{msg: "{{{{ r.stdout }}}}"}}
    - debug: {{var: r.stdout_lines}}
    - name: "{{{{ r.stdout }}}}"
      command: 'true'
      loop: ["{{{{ r.stdout }}}}"]
    - copy: {{content: "{{{{ r.stdout }}}}\n", dest: "{{{{ playbook_dir }}}}/{{{{ item }}}}"}}
      loop: [a, b]
    - assert: {{that: false, fail_msg: "{{{{ r.stdout }}}}"}}
      ignore_errors: true
    - command: "{{{{ r.stdout }}}}"
      ignore_errors: true
    - file: {{path: /x, state: "{{{{ r.stdout }}}}"}}
      ignore_errors: true
    - include_tasks: "{{{{ r.stdout }}}}"
      ignore_errors: true
    - shell: "{prints} >&2; {prints}; exit 3"
"#,
        prints = PRINTS.replace('\\', "\\\\")
    )
}

#[test]
fn results_of_every_kind_are_shown_tamely() {
    for (program, arguments) in [
        ("quaylab", &["run", "-i", "here.inv", "-l", "here", "--diff"][..]),
        ("ansible-playbook", &["-i", "here.inv", "-l", "here", "--diff"]),
    ] {
        for verbose in ["", "-v", "-vvvv"] {
            for colour in [None, Some(("ANSIBLE_FORCE_COLOR", "1"))] {
                let bench = Bench::new(&[]);
                bench.file("site.yml", &super::bench::playbook(&tasks()));
                let path = bench.path(program);
                std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_quaylab"), &path).unwrap();
                let mut command = bench.command(path.to_str().unwrap());
                command.args(arguments).arg("site.yml").envs(colour);
                command.args(Some(verbose).filter(|v| !v.is_empty()));
                let ran = Ran::of(&command.output().unwrap(), bench.folder.path());
                assert_eq!(ran.code, 2, "{}", ran.all());
                judge(&format!("{program} {verbose} {colour:?}"), &ran);
            }
        }
    }
}

#[test]
fn a_single_task_and_a_plan_are_shown_tamely() {
    let bench = Bench::new(&[]);
    let path = bench.path("ansible");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_quaylab"), &path).unwrap();
    for (module, argument, more) in [
        ("shell", PRINTS, &[][..]),
        ("shell", PRINTS, &["-o"]),
        ("debug", "msg={{ '\\x1b]0;owned\\x07\\x7f' }}", &[]),
        ("fail", "msg={{ '\\x1b]0;owned\\x07\\x7f' }}", &["-vvvv"]),
    ] {
        let mut command = bench.command(path.to_str().unwrap());
        command.args(["-i", "here.inv", "here", "-m", module, "-a", argument]).args(more);
        judge(
            &format!("ansible {module} {more:?}"),
            &Ran::of(&command.output().unwrap(), bench.folder.path()),
        );
    }
    // What a plan finds on the target: the content of a file there.
    std::fs::write(bench.path("there"), "\u{1b}]0;owned\u{7}\nold\n").unwrap();
    bench.file(
        "site.yml",
        &super::bench::playbook(
            "    - copy: {content: \"new\\n\", dest: '{{ playbook_dir }}/there'}\n    - slurp: {src: '{{ playbook_dir }}/there'}\n      register: r\n    - fail: {msg: \"{{ r.content | b64decode }}\"}\n",
        ),
    );
    judge("plan", &bench.run(&["plan", "-i", "here.inv", "-l", "here", "site.yml"]));
}

#[test]
fn what_a_question_shows_is_tame() {
    let bench = Bench::new(&[]);
    bench.file(
        "site.yml",
        &super::bench::playbook("    - name: \"{{ '\\x1b]0;owned\\x07' }}\"\n      debug:\n"),
    );
    judge("--step", &bench.run(&["run", "-i", "here.inv", "-l", "here", "--step", "site.yml"]));
    let ran = bench.run(&["run", "-i", "here.inv", "\u{1b}]0;owned\u{7}.yml"]);
    judge("an error", &ran);
}
