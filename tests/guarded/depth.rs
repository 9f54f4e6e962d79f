//! What goes round in circles, or deeper than anybody writes, is an error that names its place; nothing ends the process.

use super::bench::{Bench, Ran};

const MANY: usize = 20_000;

fn refused(name: &str, ran: &Ran, words: &str) {
    let told = ran.all();
    assert!(matches!(ran.code, 1 | 2 | 4 | 5), "{name}: exit {}: {}", ran.code, end(&told));
    assert!(told.contains(words), "{name}: {words:?} is not in: {}", end(&told));
    assert!(!told.contains("panicked") && !told.contains("overflow"), "{name}: {}", end(&told));
}

/// As much of it as can be read.
fn end(text: &str) -> String {
    let from = text.char_indices().rev().nth(1500).map_or(0, |(at, _)| at);
    text[from..].to_owned()
}

#[test]
fn includes_that_never_end() {
    let bench = Bench::new(&[
        ("self.yml", "- include_tasks: self.yml\n"),
        ("roles/again/tasks/main.yml", "- include_role: {name: again}\n"),
        ("roles/other/tasks/main.yml", "- include_tasks: more.yml\n"),
        ("roles/other/tasks/more.yml", "- include_role: {name: other}\n"),
    ]);
    for (task, place) in [
        ("include_tasks: self.yml", "self.yml:1:3"),
        ("include_role: {name: again}", "roles/again/tasks/main.yml:1:3"),
        ("import_role: {name: other}", "more than 1000 deep"),
    ] {
        let ran = bench.play(&format!("    - {task}\n"), &[]);
        refused(task, &ran, "includes are nested more than 1000 deep");
        refused(task, &ran, place);
        assert_eq!(ran.code, 2, "{task}");
        assert!(ran.out.contains("PLAY RECAP"), "{task}: every host has its end");
    }
}

#[test]
fn an_include_may_try_again_a_few_hundred_times() {
    let bench = Bench::new(&[(
        "again.yml",
        "- set_fact: {n: \"{{ n | default(0) | int + 1 }}\"}\n- include_tasks: again.yml\n  when: n | int < 300\n",
    )]);
    let ran = bench.play("    - include_tasks: again.yml\n    - debug: {msg: 'at {{ n }}'}\n", &[]);
    assert!(ran.code == 0 && ran.out.contains("at 300"), "{}", end(&ran.all()));
}

#[test]
fn imports_and_roles_in_circles() {
    let bench = Bench::new(&[
        ("self.yml", "- import_tasks: self.yml\n"),
        ("roles/a/meta/main.yml", "dependencies: [b]\n"),
        ("roles/b/meta/main.yml", "dependencies: [a]\n"),
        ("roles/b/tasks/main.yml", "- debug:\n"),
        ("round.yml", "- import_playbook: round.yml\n"),
        ("blocks.yml", "- hosts: lab\n  tasks:\n    - import_tasks: self.yml\n"),
        ("roles.yml", "- hosts: lab\n  roles: [a]\n"),
    ]);
    for (file, words) in
        [("round.yml", "round.yml:1:3"), ("blocks.yml", "self.yml:1:"), ("roles.yml", "depends on itself")]
    {
        let ran = bench.run(&["run", "-i", "here.inv", file]);
        refused(file, &ran, words);
        assert_eq!(ran.code, 5, "{file}");
    }
}

#[test]
fn expressions_without_end() {
    let deep =
        |before: &str, after: &str| format!("{{{{ {}1{} }}}}", before.repeat(MANY), after.repeat(MANY));
    for (name, text) in [
        ("brackets", deep("(", ")")),
        ("lists", deep("[", "]")),
        ("open brackets", deep("(", "")),
        ("negations", deep("not ", "")),
        ("signs", deep("-", "")),
        ("sums", deep("1 + ", "")),
        ("texts", deep("'a' ~ ", "")),
        ("choices", deep("1 if a else ", "")),
        ("filters", deep("", " | int")),
        ("attributes", deep("a", ".a")),
        ("items", deep("a", "[0]")),
        ("conditions", format!("{}{}", "{% if 1 %}".repeat(MANY), "{% endif %}".repeat(MANY))),
        ("branches", format!("{{% if 0 %}}{}{{% endif %}}", "{% elif 0 %}".repeat(MANY))),
    ] {
        let bench = Bench::new(&[]);
        let ran = bench.play(&format!("    - debug: {{msg: \"{text}\"}}\n"), &[]);
        refused(name, &ran, "site.yml:4:");
        let bench = Bench::new(&[]);
        bench.file("t.j2", &text);
        let ran = bench.play("    - template: {src: t.j2, dest: '{{ playbook_dir }}/made'}\n", &[]);
        refused(name, &ran, "t.j2");
    }
    let bench = Bench::new(&[]);
    let condition = format!("{}true{}", "(".repeat(MANY), ")".repeat(MANY));
    let ran = bench.play(&format!("    - debug:\n      when: \"{condition}\"\n"), &[]);
    refused("a condition", &ran, "site.yml:5:");
}

#[test]
fn values_that_hold_themselves_or_go_too_deep() {
    for (name, template) in [
        ("a list", "{% set x = [] %}{% set y = x.append(x) %}{{ x }}"),
        ("by another", "{% set x = [] %}{% set y = [x] %}{% set z = x.append(y) %}{{ x }}"),
        ("a mapping", "{% set x = {} %}{% set y = x.update({'a': x}) %}{{ x }}"),
        ("a namespace", "{% set x = namespace() %}{% set x.x = x %}{{ x }}"),
        ("a namespace, compared", "{% set x = namespace() %}{% set x.x = [x] %}{{ x | to_json }}"),
        (
            "a nest",
            "{% set x = namespace(v=[]) %}{% for i in range(5000) %}{% set x.v = [x.v] %}{% endfor %}{{ x.v }}",
        ),
        ("JSON", "{{ ('[' * 100000 ~ ']' * 100000) | from_json }}"),
        ("YAML", "{{ ('[' * 100000 ~ ']' * 100000) | from_yaml }}"),
        ("a pattern", "{{ 'x' is regex('(' * 20000 ~ ')' * 20000) }}"),
        ("a question", "{{ {} | json_query('(' * 20000 ~ 'a' ~ ')' * 20000) }}"),
        ("a macro", "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}"),
        ("a template", "{{ lookup('template', 'round.j2') }}"),
    ] {
        let bench = Bench::new(&[("round.j2", "{{ lookup('template', 'round.j2') }}")]);
        let ran = bench.play(&format!("    - debug:\n        msg: \"{template}\"\n"), &[]);
        refused(name, &ran, if name == "a template" { "round.j2:1:" } else { "site.yml:" });
        assert_eq!(ran.code, 2, "{name}: {}", end(&ran.all()));
    }
    let bench = Bench::new(&[]);
    let ran = bench.play(
        "    - set_fact: {x: '{{ [x | default([])] }}'}\n      loop: '{{ range(400) | list }}'\n    - debug: {msg: never}\n",
        &[],
    );
    refused("a fact", &ran, "nested more than 128 deep");
}

#[test]
fn variables_that_lead_to_one_another() {
    let chain = |many: usize| {
        let links: String = (0..many).map(|i| format!("    v{i}: '{{{{ v{} }}}}'\n", i + 1)).collect();
        format!(
            "- hosts: lab\n  gather_facts: false\n  vars:\n{links}    v{many}: end\n  tasks:\n    - debug: {{msg: '{{{{ v0 }}}}'}}\n"
        )
    };
    let bench = Bench::new(&[("long.yml", &chain(100)), ("endless.yml", &chain(5000))]);
    let ran = bench.run(&["run", "-i", "here.inv", "-l", "here", "long.yml"]);
    assert!(ran.code == 0 && ran.out.contains("end"), "{}", end(&ran.all()));
    // One that ends in an error is not tried twice at each step.
    bench.file("wrong.yml", &chain(100).replace("v100: end", "v100: '{{ 1 // 0 }}'"));
    let ran = bench.run(&["run", "-i", "here.inv", "-l", "here", "wrong.yml"]);
    refused("an error", &ran, "wrong.yml:104:");
    let ran = bench.run(&["run", "-i", "here.inv", "-l", "here", "endless.yml"]);
    refused("a chain", &ran, "lead to one another more than 200 deep");
    refused("a chain", &ran, "endless.yml:");
}

#[test]
fn files_without_end() {
    // Twice as much is not taken as an argument.
    let open = "[".repeat(60_000);
    let deep = format!("{open}{}", "]".repeat(60_000));
    let bench = Bench::new(&[
        ("deep.yml", &format!("x: {deep}\n")),
        ("deep.json", &format!("{{\"x\": {deep}}}")),
        ("open.yml", &open),
        ("alias.yml", "x: &a [*a]\n"),
        (
            "site.yml",
            "- hosts: lab\n  gather_facts: false\n  vars_files: ['{{ file }}']\n  tasks: [{debug: }]\n",
        ),
        ("deep.inv", &format!("[lab]\nhere ansible_connection=local x={deep}\n")),
        ("round.inv", "[a:children]\nb\n[b:children]\na\n"),
        ("deep.inv.yml", &format!("all: {{hosts: {{here: {{x: {deep}}}}}}}\n")),
    ]);
    bench.file("script.inv", &format!("#!/bin/sh\necho '{{\"all\": {{\"vars\": {{\"x\": {deep}}}}}}}'\n"));
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(bench.path("script.inv"), mode).unwrap();
    for file in ["deep.yml", "deep.json", "open.yml", "alias.yml"] {
        let ran = bench.run(&["run", "-i", "here.inv", "-e", &format!("file={file}"), "site.yml"]);
        refused(file, &ran, file);
        let ran = bench.run(&["run", "-i", "here.inv", "-e", &format!("@{file}"), "site.yml"]);
        refused(file, &ran, file);
        let ran = bench.run(&["run", "-i", "here.inv", file]);
        refused(file, &ran, file);
    }
    for file in ["round.inv", "deep.inv.yml", "script.inv"] {
        refused(file, &bench.run(&["inventory", "-i", file, "--list"]), file);
    }
    // What is no literal of Python is a text, as in Ansible.
    assert_eq!(bench.run(&["inventory", "-i", "deep.inv", "--list"]).code, 0);
    let ran = bench.run(&["run", "-i", "here.inv", "-e", &format!("{{\"x\": {deep}}}"), "site.yml"]);
    refused("variables of the command line", &ran, "<-e>:1:");
    for pattern in [&open, &"a:&".repeat(4_000), &"!".repeat(100_000), &"(".repeat(100_000)] {
        let ran = bench.run(&["inventory", "-i", "here.inv", "--list", "-l", &format!("~{pattern}")]);
        assert!(ran.code < 128, "{}", end(&ran.all()));
        let ran = bench.run(&["inventory", "-i", "here.inv", "--list", "-l", pattern]);
        assert!(ran.code < 128, "{}", end(&ran.all()));
    }
}

#[test]
fn what_a_target_prints_without_end() {
    let bench =
        Bench::new(&[("facts.d/deep.fact", &format!("{}{}", "[".repeat(100_000), "]".repeat(100_000)))]);
    let ran = bench.play(
        "    - setup: {fact_path: '{{ playbook_dir }}/facts.d', gather_subset: [local]}\n    - shell: head -c 100000 /dev/zero | tr '\\0' '['\n      register: r\n    - debug: {msg: '{{ r.stdout | from_json }}'}\n",
        &[],
    );
    assert_eq!(ran.code, 2, "{}", end(&ran.all()));
    refused("a reply", &ran, "site.yml:");
}
