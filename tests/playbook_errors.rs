//! What is said about playbooks that cannot be right.

use std::path::Path;

use quaylab::playbook::{Folder, Loader};

/// The error for a playbook with the files around it; the folder's name is left out.
fn error(files: &[(&str, &str)]) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, text) in files {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap_or(Path::new("/"))).expect("it can be made");
        std::fs::write(path, text).expect("it can be written");
    }
    let loader = Loader::new(Vec::new());
    let error =
        loader.playbook(&Folder::Disk(folder.path().to_owned()), "site.yml").expect_err("it is wrong");
    error.to_string().replace(&format!("{}/", folder.path().display()), "")
}

fn play(tasks: &str) -> String {
    error(&[("site.yml", &format!("- hosts: all\n  tasks:\n{tasks}"))])
}

#[test]
fn plays() {
    insta::assert_snapshot!(error(&[("site.yml", "- tasks: []\n")]), @r#"
    this play has no hosts
     --> site.yml:1:3
      |
    1 | - tasks: []
      |   ^
      hint: add `hosts: all` or a group's name
    "#);
    insta::assert_snapshot!(error(&[("site.yml", "hosts: all\n")]), @r#"
    a playbook is a list of plays, not a mapping
     --> site.yml:1:1
      |
    1 | hosts: all
      | ^
      hint: start each play with `- hosts: ...`
    "#);
    insta::assert_snapshot!(error(&[("site.yml", "- hosts: all\n  gather_fact: false\n")]), @r#"
    unknown play keyword "gather_fact"
     --> site.yml:2:3
      |
    2 |   gather_fact: false
      |   ^^^^^^^^^^^
      hint: did you mean gather_facts?
    "#);
    insta::assert_snapshot!(error(&[("site.yml", "- hosts: all\n  roles: [{role: nothere}]\n")]), @r#"
    the role "nothere" was not found
     --> site.yml:2:11
      |
    2 |   roles: [{role: nothere}]
      |           ^
      = looked in roles and among quaylab's own roles
    "#);
    insta::assert_snapshot!(error(&[("site.yml", "- hosts: all\n  vars: {a-b: 1}\n")]), @r#"
    "a-b" is not a valid variable name
     --> site.yml:2:10
      |
    2 |   vars: {a-b: 1}
      |          ^^^
      hint: use letters, digits and underscores, and start with a letter or an underscore
    "#);
    insta::assert_snapshot!(error(&[("site.yml", "- import_playbook: '{{ x }}.yml'\n")]), @r#"
    'x' is undefined
     --> site.yml:1:24
      |
    1 | - import_playbook: '{{ x }}.yml'
      |                        ^
      = import_playbook is needed while the playbook is read, before there is a host: only variables of the play, of roles, blocks and the task itself, and -e are known
      hint: use include_tasks or include_role, which are resolved while the play runs
    "#);
}

#[test]
fn tasks() {
    insta::assert_snapshot!(play("    - debug: {msg: x}\n      whenn: true\n"), @r#"
    unknown module or task keyword "whenn"
     --> site.yml:4:7
      |
    4 |       whenn: true
      |       ^^^^^
      hint: did you mean when?
    "#);
    insta::assert_snapshot!(play("    - name: two\n      debug: {msg: x}\n      command: ls\n"), @r#"
    a task can name one module only; this one names debug and command
     --> site.yml:5:7
      |
    5 |       command: ls
      |       ^^^^^^^
      hint: start a new list item with - for the second module
    "#);
    insta::assert_snapshot!(play("    - debug: {msg: x}\n      loop: [1]\n      loop_control: {label_: x}\n"), @r#"
    unknown loop_control option "label_"
     --> site.yml:5:22
      |
    5 |       loop_control: {label_: x}
      |                      ^^^^^^
      hint: did you mean label?
    "#);
    insta::assert_snapshot!(play("    - debug: {msg: x}\n      loop: [1]\n      loop_control: item\n"), @r#"
    loop_control must be a mapping
     --> site.yml:5:21
      |
    5 |       loop_control: item
      |                     ^^^^
    "#);
    insta::assert_snapshot!(play("    - debug: {msg: x}\n      loop: [1]\n      with_items: [1]\n"), @r#"
    a task can have one loop only
     --> site.yml:5:7
      |
    5 |       with_items: [1]
      |       ^^^^^^^^^^
    "#);
    insta::assert_snapshot!(play("    - name: nothing to do\n"), @r#"
    this task names no module
     --> site.yml:3:7
      |
    3 |     - name: nothing to do
      |       ^
      hint: add one, such as ansible.builtin.command
    "#);
    insta::assert_snapshot!(play("    - import_tasks: '{{ x }}.yml'\n"), @r#"
    'x' is undefined
     --> site.yml:3:25
      |
    3 |     - import_tasks: '{{ x }}.yml'
      |                         ^
      = import_tasks is needed while the playbook is read, before there is a host: only variables of the play, of roles, blocks and the task itself, and -e are known
      hint: use include_tasks or include_role, which are resolved while the play runs
    "#);
    insta::assert_snapshot!(play("    - import_tasks: gone.yml\n"), @r#"
    there is no file gone.yml
     --> site.yml:3:21
      |
    3 |     - import_tasks: gone.yml
      |                     ^^^^^^^^
    "#);
    insta::assert_snapshot!(play("    - block: []\n      rescu: []\n"), @r#"
    "rescu" is not a keyword of block
     --> site.yml:4:7
      |
    4 |       rescu: []
      |       ^^^^^
      hint: did you mean rescue?
    "#);
}

#[test]
fn circles() {
    insta::assert_snapshot!(
        error(&[("site.yml", "- hosts: all\n  tasks: [import_tasks: a.yml]\n"), ("a.yml", "- import_tasks: b.yml\n"), ("b.yml", "- import_tasks: a.yml\n")]),
        @r#"
    task files import each other in a circle
     --> a.yml:1:17
      |
    1 | - import_tasks: b.yml
      |                 ^^^^^
    "#
    );
    insta::assert_snapshot!(error(&[("site.yml", "- import_playbook: site.yml\n")]), @r#"
    playbooks import each other in a circle
     --> site.yml:1:3
      |
    1 | - import_playbook: site.yml
      |   ^^^^^^^^^^^^^^^
    "#);
    insta::assert_snapshot!(
        error(&[
            ("site.yml", "- hosts: all\n  roles: [r]\n"),
            ("roles/r/meta/main.yml", "dependencies: [s]\n"),
            ("roles/s/meta/main.yml", "dependencies: [r]\n"),
        ]),
        @r#"
    role s depends on itself
     --> roles/r/meta/main.yml:1:16
      |
    1 | dependencies: [s]
      |                ^
    "#
    );
}
