//! What a target, a lookup or a result has said stays data, whatever way it takes; and options come from what was written.

use super::Case;

/// What a target says: a template that would leave a file on the controller.
const SAID: &str = "{{ lookup('pipe', 'touch PLACE/RUN') }}";

/// Runs tasks on host `a` after a task that registered `r`, whose output is the template; the playbook is given the rest.
async fn told(name: &str, tasks: &str) -> super::Ran {
    let head = "- hosts: a\n  gather_facts: false\n  tasks:\n    - command: cat said\n      args: {chdir: FOLDER}\n      register: r\n      changed_when: false\n";
    let case = Case::new("");
    let folder = case.folder.path().display().to_string();
    let playbook = format!("{head}{tasks}").replace("FOLDER", &folder);
    let case = case
        .file("site.yml", &playbook)
        .file("said", &SAID.replace("PLACE", &folder))
        .file("t.yml", "- debug: {msg: \"{{ given | default('none') }}\"}\n")
        .file("v.yml", "from_file: \"{{ 40 + 2 }}\"\n")
        .file("roles/x/tasks/main.yml", "- debug: {msg: \"{{ given | default('none') }}\"}\n")
        .file("templates/inc.j2", "{% include r.stdout ignore missing %}{{ given | default(r.stdout) }}\n");
    let ran = case.run().await;
    assert!(!ran.folder.path().join("RUN").exists(), "{name}: what the target said was run");
    ran
}

#[tokio::test]
async fn what_a_target_says_is_never_run() {
    for (name, tasks) in [
        (
            "add_host, and its use",
            "    - add_host: {name: new, groups: g2, address: \"{{ r.stdout }}\", ansible_host: \"{{ r.stdout }}\", ansible_connection: local}\n    - debug: {msg: \"{{ hostvars['new'].address }}\"}\n- hosts: g2\n  gather_facts: false\n  tasks:\n    - ping:\n    - debug: {msg: \"{{ address }}\"}\n",
        ),
        (
            "add_host, its keys",
            "    - add_host: {name: new, \"{{ r.stdout }}\": x}\n    - debug: {msg: \"{{ hostvars['new'] }}\"}\n",
        ),
        (
            "group_by",
            "    - group_by: {key: \"g_{{ r.stdout }}\", parents: \"{{ r.stdout }}\"}\n    - debug: {msg: \"{{ groups }}\"}\n",
        ),
        (
            "module_defaults of debug",
            "    - debug:\n      module_defaults: {debug: {msg: \"{{ r.stdout }}\"}}\n",
        ),
        (
            "module_defaults of set_fact",
            "    - set_fact:\n      module_defaults: {set_fact: {given: \"{{ r.stdout }}\"}}\n    - debug: {msg: \"{{ given }}\"}\n",
        ),
        (
            "module_defaults of group_by",
            "    - group_by:\n      module_defaults: {group_by: {key: \"{{ r.stdout }}\"}}\n",
        ),
        (
            "module_defaults of include_vars",
            "    - include_vars:\n      module_defaults: {include_vars: {file: \"{{ r.stdout }}\"}}\n      ignore_errors: true\n",
        ),
        (
            "module_defaults as a whole",
            "    - debug:\n      module_defaults: \"{{ {'debug': {'msg': r.stdout}} }}\"\n",
        ),
        (
            "module_defaults of a module",
            "    - command: echo x\n      module_defaults: {command: {stdin: \"{{ r.stdout }}\"}}\n",
        ),
        (
            "include_tasks",
            "    - include_tasks: t.yml\n      vars: {given: \"{{ r.stdout }}\"}\n    - include_tasks: \"{{ item }}\"\n      loop: [\"{{ r.stdout }}\"]\n      ignore_errors: true\n",
        ),
        (
            "include_role",
            "    - include_role: {name: x}\n      vars: {given: \"{{ r.stdout }}\"}\n    - include_role: {name: \"{{ r.stdout }}\"}\n      ignore_errors: true\n",
        ),
        (
            "include_role, its file",
            "    - include_role: {name: x, tasks_from: \"{{ r.stdout }}\"}\n      ignore_errors: true\n",
        ),
        (
            "a loop",
            "    - debug: {msg: \"{{ item }}\"}\n      loop: [\"{{ r.stdout }}\"]\n      loop_control: {label: \"{{ item }}\"}\n    - debug: {msg: \"{{ item }}\"}\n      with_items: \"{{ r.stdout_lines }}\"\n",
        ),
        (
            "set_fact, twice over",
            "    - set_fact: {given: \"{{ r.stdout }}\", deep: {a: [\"{{ r.stdout }}\"]}, cacheable: true}\n    - set_fact: {again: \"{{ given }}\", more: \"{{ deep }}\"}\n    - debug: {msg: \"{{ again }} {{ more.a[0] }}\"}\n",
        ),
        ("set_fact, its name", "    - set_fact: {\"{{ r.stdout }}\": x}\n      ignore_errors: true\n"),
        ("debug var", "    - debug: {var: \"{{ r.stdout }}\"}\n      ignore_errors: true\n"),
        (
            "debug var by module_defaults",
            "    - debug:\n      module_defaults: {debug: {var: \"{{ r.stdout }}\"}}\n      ignore_errors: true\n",
        ),
        (
            "a condition",
            "    - debug: {msg: x}\n      when: \"{{ r.stdout }}\"\n      ignore_errors: true\n    - assert: {that: [\"{{ r.stdout }}\"]}\n      ignore_errors: true\n    - assert: {that: \"{{ r.stdout_lines }}\"}\n      ignore_errors: true\n",
        ),
        (
            "conditions of a result",
            "    - command: echo x\n      changed_when: \"{{ r.stdout }}\"\n      ignore_errors: true\n    - command: echo x\n      failed_when: \"{{ r.stdout }}\"\n      ignore_errors: true\n",
        ),
        (
            "a template's include",
            "    - template: {src: inc.j2, dest: FOLDER/out}\n    - debug: {msg: \"{{ lookup('template', 'inc.j2') }}\"}\n",
        ),
        (
            "lookups",
            "    - debug: {msg: \"{{ lookup('vars', r.stdout, default='none') }} {{ query('varnames', '^r$') }}\"}\n    - debug: {msg: \"{{ lookup('file', 'said') }}\"}\n    - debug: {msg: \"{{ r.stdout | from_yaml }} {{ ('[' ~ (r.stdout | to_json) ~ ']') | from_json }}\"}\n",
        ),
        (
            "task keywords",
            "    - debug: {msg: x}\n      name: \"{{ r.stdout }}\"\n      tags: always\n      notify: \"{{ r.stdout }}\"\n      ignore_errors: true\n    - command: echo x\n      environment: {A: \"{{ r.stdout }}\"}\n    - debug: {msg: x}\n      delegate_to: \"{{ r.stdout }}\"\n      ignore_errors: true\n      ignore_unreachable: true\n",
        ),
        (
            "vars of a block",
            "    - block: [{debug: {msg: \"{{ given }}\"}}]\n      vars: {given: \"{{ r.stdout }}\"}\n",
        ),
        (
            "hostvars of another host",
            "    - debug: {msg: \"{{ hostvars['a'].r.stdout }}\"}\n      delegate_to: b\n- hosts: b\n  gather_facts: false\n  tasks:\n    - set_fact: {given: \"{{ hostvars['a'].r.stdout }}\"}\n    - debug: {msg: \"{{ given }} {{ vars['given'] }}\"}\n",
        ),
    ] {
        told(name, tasks).await;
    }
}

#[tokio::test]
async fn what_is_written_is_still_a_template() {
    let ran = told(
        "written ones",
        "    - include_vars: {file: v.yml, name: inside}\n    - debug: {msg: \"{{ inside.from_file }}\"}\n    - debug:\n      module_defaults: {debug: {msg: \"{{ 6 * 7 }}\"}}\n    - include_tasks: t.yml\n      vars: {given: \"{{ 42 }}\"}\n",
    )
    .await;
    assert_eq!(ran.said(), ["a: 42", "a: 42", "a: 42"], "{:?}", ran.failures());
}

#[tokio::test]
async fn of_one_name_inner_defaults_replace_the_outer_ones() {
    let ran = Case::new(
        "- hosts: a\n  gather_facts: false\n  module_defaults: {command: {chdir: /, creates: /}, debug: {msg: outer}}\n  tasks:\n    - command: pwd\n      module_defaults: {command: {chdir: /usr}}\n      register: r\n    - debug: {msg: \"{{ r.stdout }}\"}\n    - debug:\n",
    )
    .run()
    .await;
    assert_eq!(ran.said(), ["a: /usr", "a: outer"]);
}

#[tokio::test]
async fn options_of_a_command_line_are_what_was_written() {
    let ran = Case::new(
        r#"
- hosts: a
  gather_facts: false
  vars: {o: "creates=/etc chdir=/nowhere executable=/bin/false stdin=x"}
  tasks:
    - command: echo {{ o }}
      register: one
    - command: {cmd: "echo creates=/etc"}
      register: two
    - shell: echo {{ o }}; pwd chdir={{ '/' }}usr
      register: three
    - raw: echo {{ o }}
      register: four
    - shell: {cmd: "echo {{ o }}"}
      register: five
    - shell: |
        echo a   b
        echo chdir=/tmp c
      register: six
    - script: say.sh {{ o }}
      register: seven
    - debug: {msg: "{{ item }}"}
      loop: ["{{ one.stdout }}", "{{ two.stdout }}", "{{ three.stdout }}", "{{ four.stdout | trim }}", "{{ five.stdout }}", "{{ six.stdout }}", "{{ seven.stdout }}"]
      register: all
    - debug: {msg: "{{ all.results | map(attribute='msg') | join('|') }}"}
"#,
    )
    .file("say.sh", "#!/bin/sh\necho \"$@\"\n")
    .run()
    .await;
    let o = "creates=/etc chdir=/nowhere executable=/bin/false stdin=x";
    let expected = format!("a: {o}|creates=/etc|{o}\n/usr|{o}|{o}|a b\nc|{o}");
    assert_eq!(ran.said().last(), Some(&expected), "{:?}", ran.failures());
}

/// The current folder is anybody's: a playbook's lookups work in its own folder, as Ansible's do. This one stands in the folder of
/// the sources.
#[tokio::test]
async fn the_current_folder_gives_a_playbook_nothing() {
    assert!(std::path::Path::new("Cargo.toml").exists(), "the current folder has what is asked for");
    let mut tasks = String::new();
    for lookup in ["file", "template", "unvault", "first_found"] {
        tasks += &format!(
            "    - debug: {{msg: \"{lookup} {{{{ lookup('{lookup}', 'Cargo.toml', errors='ignore') or 'nothing' }}}}\"}}\n"
        );
    }
    tasks += r#"
    - debug: {msg: "glob {{ query('fileglob', '*.toml') + query('fileglob', 'src/*.rs') }}"}
    - debug: {msg: "ini {{ lookup('ini', 'name section=package file=Cargo.toml', errors='ignore') or 'nothing' }}"}
    - debug: {msg: "csv {{ lookup('csvfile', '[package] file=Cargo.toml col=0', errors='ignore') or 'nothing' }}"}
    - debug: {msg: "pipe {{ lookup('pipe', 'cat mine') }}"}
    - debug: {msg: "own {{ lookup('file', 'mine') }} {{ lookup('password', 'made length=5') | length }}"}
"#;
    let ran = Case::new(&format!("- hosts: a\n  gather_facts: false\n  tasks:\n{tasks}"))
        .file("mine", "here\n")
        .run()
        .await;
    assert_eq!(ran.failures(), Vec::<String>::new());
    let said = ran.said();
    let expected = [
        "a: file nothing",
        "a: template nothing",
        "a: unvault nothing",
        "a: first_found nothing",
        "a: glob []",
        "a: ini nothing",
        "a: csv nothing",
        "a: pipe here",
        "a: own here 5",
    ];
    assert_eq!(said, expected);
    assert_eq!(ran.read("made").trim().len(), 5, "the password is kept beside the playbook");
}

/// The template engine itself panics at the smallest number in a debug build; a release build calls it an error.
#[tokio::test]
async fn a_fault_in_one_hosts_task_costs_no_other_host_anything() {
    let ran = Case::new(
        r#"
- hosts: web
  gather_facts: false
  tasks:
    - debug: {msg: "{{ [1, 2][::step] }}"}
      vars: {step: "{{ -9223372036854775808 if inventory_hostname == 'a' else 1 }}"}
    - debug: {msg: after}
"#,
    )
    .run()
    .await;
    assert_eq!(ran.failures().len(), 1, "{:?}", ran.failures());
    assert_eq!((ran.stats("a").failed, ran.stats("b").failed), (1, 0));
    assert_eq!(ran.said(), ["b: [1,2]", "b: after"]);
}
