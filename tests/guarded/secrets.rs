//! `no_log` hides what it cannot tell to be free, and what a keyword may not be fails the task.

use super::bench::Bench;

const SECRET: &str = "S3CRET";

/// Runs tasks as loudly as can be; gives all that was said.
fn loudly(tasks: &str) -> (i32, String) {
    let bench = Bench::new(&[]);
    let ran = bench.play(tasks, &["-vvvv", "--diff"]);
    // What was read from the playbook itself may be shown with an error; the secrets here come out of programs and variables.
    (ran.code, ran.all())
}

/// The secret as a program prints it: its text stands nowhere in the playbook.
const PRINTS: &str = "printf 'S3%s\\n' CRET";

#[test]
fn what_cannot_be_decided_is_hidden() {
    for said in [
        "\"{{ undefined_thing }}\"",
        "\"{{ 'maybe' }}\"",
        "maybe",
        "\"{{ 3 }}\"",
        "\"{{ [] }}\"",
        "\"{{ none }}\"",
        "\"\"",
        "\"{{ 1 / 0 }}\"",
        "\"{{ broken\"",
        "\"{{ true }}\"",
        "\"yes\"",
    ] {
        let (_, told) =
            loudly(&format!("    - shell: {PRINTS}\n      no_log: {said}\n      ignore_errors: true\n"));
        assert!(!told.contains(SECRET), "no_log: {said}: {told}");
        assert!(told.contains("TASK [shell]") || told.contains("error:"), "no_log: {said}: {told}");
    }
    let (code, told) = loudly(&format!("    - shell: {PRINTS}\n      no_log: \"{{{{ false }}}}\"\n"));
    assert!(code == 0 && told.contains(SECRET), "what is free is shown: {told}");
}

#[test]
fn an_undecided_task_fails_with_its_place() {
    let (code, told) = loudly("    - command: 'true'\n      no_log: \"{{ undefined_thing }}\"\n");
    assert_eq!(code, 2, "{told}");
    assert!(told.contains("no_log is not known to be true or false"), "{told}");
    assert!(told.contains("site.yml:5:15"), "{told}");
}

#[test]
fn items_are_hidden_one_by_one_and_together() {
    let (code, told) = loudly(&format!(
        "    - shell: {PRINTS}{{{{ item.n }}}}\n      loop: [{{hide: true, n: 1}}, {{hide: false, n: 2}}]\n      no_log: \"{{{{ item.hide }}}}\"\n      register: both\n    - debug: {{msg: \"{{{{ both.results | length }}}} kept\"}}\n"
    ));
    assert_eq!(code, 0, "{told}");
    assert!(!told.contains("S3CRET1"), "{told}");
    assert!(told.contains("S3CRET2") && told.contains("2 kept"), "{told}");
    assert!(told.contains("(censored due to no_log)"), "{told}");
    // One that has no such word hides as well.
    let (_, told) = loudly(&format!(
        "    - shell: {PRINTS}{{{{ item.n }}}}\n      loop: [{{n: 1}}]\n      no_log: \"{{{{ item.hide }}}}\"\n"
    ));
    assert!(!told.contains(SECRET), "{told}");
}

#[test]
fn nothing_beside_the_result_tells_it() {
    let secret = "\"{{ 'S3' ~ 'CRET' }}\"";
    for tasks in [
        // A difference, and where it goes.
        format!(
            "    - copy: {{content: {secret}, dest: '{{{{ playbook_dir }}}}/made'}}\n      no_log: true\n"
        ),
        // What a failure says, its hint, its retries.
        format!("    - fail: {{msg: {secret}}}\n      no_log: true\n"),
        format!(
            "    - shell: {PRINTS}; exit 3\n      no_log: true\n      register: r\n      until: r.rc == 0\n      retries: 1\n      delay: 0\n"
        ),
        format!("    - file: {{path: /x, state: {secret}}}\n      no_log: true\n"),
        format!("    - command: {{argv: [{secret}]}}\n      no_log: true\n"),
        // An error in the arguments that quotes the value.
        "    - debug: {msg: \"{{ ('S3' ~ 'CRET') | from_json }}\"}\n      no_log: true\n".to_owned(),
        "    - debug: {msg: \"{{ lookup('file', 'S3' ~ 'CRET') }}\"}\n      no_log: true\n".to_owned(),
        // Items, their labels, a loop that cannot be computed.
        format!("    - debug:\n      loop: [{secret}]\n      no_log: true\n"),
        format!(
            "    - command: 'true'\n      loop: [{secret}]\n      loop_control: {{label: '{{{{ item }}}}'}}\n      no_log: true\n"
        ),
        format!("    - debug:\n      loop: {secret}\n      no_log: true\n"),
        "    - debug:\n      with_lines: \"echo {{ 'S3' ~ 'CRET' }} >&1; exit 1\"\n      no_log: true\n"
            .to_owned(),
        // What a rescue tells of any failure.
        format!(
            "    - block:\n        - shell: {PRINTS}; exit 3\n          no_log: true\n      rescue:\n        - debug: {{var: ansible_failed_result}}\n"
        ),
        // An include, and what it is for.
        format!("    - include_tasks: none.yml\n      loop: [{secret}]\n      no_log: true\n"),
        format!("    - include_tasks: {secret}\n      no_log: true\n"),
        // The keyword itself is made from the secret.
        format!("    - command: 'true'\n      no_log: {secret}\n"),
    ] {
        let (_, told) = loudly(&tasks);
        assert!(told.contains("PLAY RECAP"), "{tasks}: {told}");
        let leaked = told.lines().find(|line| line.contains(SECRET));
        assert_eq!(leaked, None, "{tasks}: {told}");
    }
}

#[test]
fn a_label_that_cannot_be_computed_is_not_replaced_by_the_item() {
    let (code, told) = loudly(
        "    - command: 'true'\n      loop: [{name: n, password: \"{{ 'S3' ~ 'CRET' }}\"}]\n      loop_control: {label: '{{ item.nmae }}'}\n      failed_when: false\n",
    );
    assert_eq!(code, 2, "{told}");
    assert!(told.contains("loop_control.label"), "{told}");
    let line = told.lines().find(|line| line.starts_with("failed: ")).unwrap();
    assert!(!line.contains(SECRET), "{line}");
}

#[test]
fn a_keyword_that_is_not_of_its_kind_fails_the_task_at_its_place() {
    for (keyword, kind) in [
        ("ignore_errors", "true or false"),
        ("ignore_unreachable", "true or false"),
        ("run_once", "true or false"),
        ("any_errors_fatal", "true or false"),
        ("delegate_facts", "true or false"),
        ("become", "true or false"),
        ("check_mode", "true or false"),
        ("diff", "true or false"),
        ("throttle", "a number"),
        ("timeout", "a number"),
        ("retries", "a number"),
        ("delay", "a number"),
        ("async", "a number"),
        ("poll", "a number"),
    ] {
        for (value, words) in [("\"{{ 'maybe' }}\"", kind), ("\"{{ nowhere }}\"", "'nowhere' is undefined")] {
            let bench = Bench::new(&[]);
            let ran = bench.play(&format!("    - command: touch ran\n      {keyword}: {value}\n"), &[]);
            let told = ran.all();
            assert_eq!(ran.code, 2, "{keyword}: {value}: {told}");
            assert!(told.contains(words) && told.contains(keyword), "{keyword}: {value}: {told}");
            // An undefined name is pointed at itself.
            let column = keyword.len() + if kind == words { 9 } else { 13 };
            assert!(told.contains(&format!("site.yml:5:{column}")), "{keyword}: {value}: {told}");
            assert!(told.contains("failed=1"), "{keyword}: {value}: {told}");
            assert!(!bench.path("ran").exists(), "{keyword}: {value}: it was run");
        }
    }
    for (keyword, value) in [
        ("notify", "'{{ nowhere }}'"),
        ("loop_control", "{label: '{{ nowhere }}'}"),
        ("loop_control", "{break_when: nowhere}"),
    ] {
        let bench = Bench::new(&[]);
        let ran =
            bench.play(&format!("    - command: 'true'\n      loop: [1]\n      {keyword}: {value}\n"), &[]);
        assert_eq!(ran.code, 2, "{keyword}: {}", ran.all());
        assert!(ran.all().contains("'nowhere' is undefined"), "{keyword}: {}", ran.all());
    }
}
