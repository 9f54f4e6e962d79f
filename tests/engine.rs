//! Playbooks run through the engine on this machine, as `ansible_connection=local` does.

use std::path::Path;
use std::sync::{Arc, Mutex};

use quaylab::engine::{self, Event, Options, Sink, Stats, Status};
use quaylab::inventory::{Inventory, VarMap, parse_extra_vars};
use quaylab::playbook::{Folder, Loader};
use tokio_util::sync::CancellationToken;

#[path = "engine/data.rs"]
mod data;

/// A playbook with the files around it, run in a folder of its own.
struct Case {
    folder: tempfile::TempDir,
    extra: VarMap,
    tags: Vec<String>,
    skip_tags: Vec<String>,
    check: bool,
}

struct Ran {
    result: Result<(), String>,
    events: Vec<Event>,
    stats: Vec<(String, Stats)>,
    folder: tempfile::TempDir,
}

impl Case {
    fn new(playbook: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let case = Self { folder, extra: VarMap::new(), tags: vec![], skip_tags: vec![], check: false };
        case.file("site.yml", playbook).file("hosts", "[web]\na ansible_connection=local\nb ansible_connection=local\n[db]\nc ansible_connection=local\n")
    }

    fn file(self, name: &str, text: &str) -> Self {
        let path = self.folder.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        std::fs::write(path, text).expect("written");
        self
    }

    fn extra(mut self, text: &str) -> Self {
        self.extra.extend(parse_extra_vars(text, &quaylab::vault::Vault::default()).expect("valid"));
        self
    }

    fn tags(mut self, tags: &str) -> Self {
        self.tags = tags.split(',').map(str::to_owned).collect();
        self
    }

    fn check(mut self) -> Self {
        self.check = true;
        self
    }

    async fn run(self) -> Ran {
        let folder: &Path = self.folder.path();
        let inventory = folder.join("hosts").display().to_string();
        let (inventory, _) = Inventory::load(&[inventory]).expect("an inventory");
        let loader = Loader::new(vec![folder.join("roles")]);
        let events = Arc::new(Mutex::new(Vec::new()));
        let sink: Sink = {
            let events = Arc::clone(&events);
            Arc::new(move |event| events.lock().expect("unpoisoned").push(event))
        };
        let options = Options {
            tags: self.tags.clone(),
            skip_tags: self.skip_tags.clone(),
            extra_vars: self.extra.clone(),
            check: self.check,
            ..Options::new(inventory, "test", folder.join("state"))
        };
        let outcome = match loader.playbook(&Folder::Disk(folder.to_owned()), "site.yml") {
            Ok(playbook) => engine::run(playbook, loader, options, sink, CancellationToken::new()).await,
            Err(error) => Err(error),
        };
        let events = std::mem::take(&mut *events.lock().expect("unpoisoned"));
        let stats = outcome.as_ref().map(|s| s.stats.clone().into_iter().collect()).unwrap_or_default();
        let place = format!("{}/", folder.display());
        Ran {
            result: outcome.map(|_| ()).map_err(|e| e.to_string().replace(&place, "")),
            events,
            stats,
            folder: self.folder,
        }
    }
}

impl Ran {
    /// `host: message` of every debug task, in order.
    fn said(&self) -> Vec<String> {
        let mut said = Vec::new();
        for event in &self.events {
            if let Event::Result { host, task, result } = event
                && task.action == "debug"
                && result.status == Status::Ok
                && let Some(message) = result.result.get("msg")
            {
                said.push(format!("{host}: {}", quaylab::value::plain(message)));
            }
        }
        said
    }

    /// The messages of failed tasks.
    fn failures(&self) -> Vec<String> {
        let failed = |event: &Event| match event {
            Event::Result { host, result, .. } if result.status == Status::Failed => Some(format!(
                "{host}: {}",
                result.result.get("msg").map(quaylab::value::plain).unwrap_or_default()
            )),
            _ => None,
        };
        self.events.iter().filter_map(failed).collect()
    }

    fn stats(&self, host: &str) -> Stats {
        self.result.as_ref().expect("the playbook is valid");
        self.stats.iter().find(|(name, _)| name == host).map(|(_, s)| *s).unwrap_or_default()
    }

    fn error(&self) -> &str {
        self.result.as_ref().expect_err("the playbook is not valid")
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.path().join(name)).unwrap_or_default()
    }
}

#[tokio::test]
async fn loops_conditions_and_registered_results() {
    let ran = Case::new(
        r#"
- hosts: a
  gather_facts: false
  vars: {names: [x, y, z]}
  tasks:
    - command: echo {{ item }}
      loop: "{{ names }}"
      when: item != 'y'
      register: out
      changed_when: item == 'z'
    - debug: msg="{{ out.results | rejectattr('skipped', 'defined') | map(attribute='stdout') | join(',') }} {{ out is changed }}"
    - debug: {msg: never}
      when: out is failed
    - debug: {msg: "{{ undefined_thing | default('fallback') }}"}
"#,
    )
    .run()
    .await;
    assert_eq!(ran.said(), ["a: x,z True", "a: fallback"]);
    assert_eq!(ran.stats("a"), Stats { ok: 3, changed: 1, skipped: 1, ..Stats::default() });
}

#[tokio::test]
async fn blocks_rescue_and_always() {
    let ran = Case::new(
        r"
- hosts: web
  gather_facts: false
  tasks:
    - block:
        - command: test {{ inventory_hostname }} = b
        - debug: {msg: only b}
      rescue:
        - debug: {msg: 'rescued {{ ansible_failed_result.rc }}'}
      always:
        - debug: {msg: always}
    - debug: {msg: after}
",
    )
    .run()
    .await;
    assert_eq!(ran.said(), ["b: only b", "a: rescued 1", "a: always", "b: always", "a: after", "b: after"]);
    assert_eq!((ran.stats("a").rescued, ran.stats("a").failed), (1, 0));
}

#[tokio::test]
async fn handlers_run_once_at_the_end_of_a_section() {
    let ran = Case::new(
        r#"
- hosts: web
  gather_facts: false
  tasks:
    - command: "true"
      notify: [second, topic]
    - command: "true"
      notify: second
      when: inventory_hostname == 'a'
    - debug: {msg: tasks done}
  handlers:
    - name: first
      debug: {msg: first}
      listen: topic
    - name: second
      debug: {msg: second}
  post_tasks:
    - debug: {msg: post}
"#,
    )
    .run()
    .await;
    assert_eq!(
        ran.said(),
        [
            "a: tasks done",
            "b: tasks done",
            "a: first",
            "b: first",
            "a: second",
            "b: second",
            "a: post",
            "b: post"
        ]
    );
}

#[tokio::test]
async fn a_failed_host_leaves_and_others_go_on() {
    let ran = Case::new(
        r"
- hosts: all
  gather_facts: false
  tasks:
    - fail: {msg: 'not {{ inventory_hostname }}'}
      when: inventory_hostname == 'b'
    - command: exit_nothing_like_this
      ignore_errors: true
      when: inventory_hostname == 'c'
    - debug: {msg: here}
",
    )
    .run()
    .await;
    assert_eq!(ran.said(), ["a: here", "c: here"]);
    assert_eq!(ran.failures()[0], "b: not b");
    assert_eq!((ran.stats("b").failed, ran.stats("c").ignored, ran.stats("c").failed), (1, 1, 0));
}

#[tokio::test]
async fn variables_win_in_ansibles_order() {
    let ran = Case::new(
        r"
- hosts: web
  gather_facts: false
  vars: {c: play, d: play, e: play}
  roles: [{role: r, f: param}]
  tasks:
    - set_fact: {g: fact}
    - debug: {msg: '{{ a }} {{ b }} {{ c }} {{ d }} {{ e }} {{ g }}'}
      vars: {d: task}
",
    )
    .file("group_vars/web.yml", "a: group\nb: group\nc: group\n")
    .file("host_vars/a.yml", "b: host\n")
    .file("roles/r/defaults/main.yml", "a: default\nf: default\n")
    .file("roles/r/vars/main.yml", "d: role\n")
    .file("roles/r/tasks/main.yml", "- debug: {msg: '{{ role_name }} {{ a }} {{ d }} {{ f }}'}\n")
    .extra("e=extra")
    .run()
    .await;
    assert_eq!(
        ran.said(),
        [
            "a: r group role param",
            "b: r group role param",
            "a: group host play task extra fact",
            "b: group group play task extra fact"
        ]
    );
}

#[tokio::test]
async fn roles_bring_dependencies_handlers_templates_and_files() {
    let ran = Case::new(
        r"
- hosts: a
  gather_facts: false
  roles: [top]
",
    )
    .file("roles/top/meta/main.yml", "dependencies: [{role: base, vars: {who: top}}]\n")
    .file(
        "roles/top/tasks/main.yml",
        "- template: {src: t.j2, dest: '{{ playbook_dir }}/t.txt'}\n  notify: said\n- include_tasks: more.yml\n  loop: [1, 2]\n",
    )
    .file("roles/top/tasks/more.yml", "- debug: {msg: 'more {{ item }}'}\n")
    .file("roles/top/handlers/main.yml", "- name: said\n  debug: {msg: handled}\n")
    .file("roles/top/templates/t.j2", "{% for i in [1, 2] %}\n{{ i }} {{ inventory_hostname }}\n{% endfor %}\n")
    .file("roles/base/tasks/main.yml", "- debug: {msg: 'base for {{ who }}'}\n")
    .run()
    .await;
    assert_eq!(ran.said(), ["a: base for top", "a: more 1", "a: more 2", "a: handled"]);
    assert_eq!(ran.read("t.txt"), "1 a\n2 a\n");
}

#[tokio::test]
async fn tags_choose_tasks() {
    let ran = Case::new(
        r"
- hosts: a
  gather_facts: false
  tasks:
    - debug: {msg: one}
      tags: one
    - debug: {msg: two}
      tags: [two]
    - block: [{debug: {msg: inner}}]
      tags: one
    - debug: {msg: always}
      tags: always
",
    )
    .tags("one")
    .run()
    .await;
    assert_eq!(ran.said(), ["a: one", "a: inner", "a: always"]);
}

#[tokio::test]
async fn delegation_run_once_and_hostvars() {
    let ran = Case::new(
        r"
- hosts: web
  gather_facts: false
  tasks:
    - set_fact: {mine: 'of {{ inventory_hostname }}'}
    - command: echo {{ inventory_hostname }}
      delegate_to: c
      run_once: true
      register: once
    - debug: {msg: '{{ once.stdout }} {{ hostvars.a.mine }} {{ groups.web | join }} {{ group_names }}'}
",
    )
    .run()
    .await;
    assert_eq!(ran.said(), ["a: a of a ab ['web']", "b: a of a ab ['web']"]);
    assert_eq!(ran.stats("b").changed, 0);
}

#[tokio::test]
async fn retries_until_a_condition_holds() {
    let ran = Case::new(
        r"
- hosts: a
  gather_facts: false
  tasks:
    - shell: echo x >> {{ playbook_dir }}/n; wc -l < {{ playbook_dir }}/n
      register: n
      until: n.stdout | int >= 3
      retries: 5
      delay: 0
    - debug: {msg: '{{ n.attempts }}'}
",
    )
    .run()
    .await;
    assert_eq!(ran.said(), ["a: 3"]);
}

#[tokio::test]
async fn check_mode_touches_nothing() {
    let ran = Case::new(
        r"
- hosts: a
  gather_facts: false
  tasks:
    - copy: {content: hello, dest: '{{ playbook_dir }}/made'}
    - command: touch {{ playbook_dir }}/made
",
    )
    .check()
    .run()
    .await;
    assert_eq!(ran.stats("a"), Stats { ok: 1, changed: 1, skipped: 1, ..Stats::default() });
    assert!(!ran.folder.path().join("made").exists());
}

#[tokio::test]
async fn serial_batches_and_max_fail_percentage() {
    let ran = Case::new(
        r"
- hosts: all
  gather_facts: false
  serial: 1
  tasks:
    - fail: {msg: no}
      when: inventory_hostname == 'b'
    - debug: {msg: '{{ ansible_play_batch | join }}'}
",
    )
    .run()
    .await;
    assert_eq!(ran.said(), ["a: a"], "a batch that fails as a whole ends the play");
}

#[tokio::test]
async fn a_slow_host_holds_nobody_else_up() {
    // What the slow host waits for is what the other one does last.
    let free = Case::new(
        r"
- hosts: web
  gather_facts: false
  strategy: free
  tasks:
    - wait_for: {path: '{{ playbook_dir }}/go', timeout: 20}
      when: inventory_hostname == 'a'
    - command: 'true'
    - file: {path: '{{ playbook_dir }}/go', state: touch}
      when: inventory_hostname == 'b'
",
    );
    assert_eq!(free.run().await.stats("a").failed, 0);
    // Under linear it is what the other one does in the same task.
    let linear = Case::new(
        r"
- hosts: web
  gather_facts: false
  tasks:
    - shell: |
        if [ {{ inventory_hostname }} = b ]; then touch go; exit; fi
        until [ -e go ]; do sleep 0.05; done
      args: {chdir: '{{ playbook_dir }}'}
      timeout: 20
",
    );
    assert_eq!(linear.run().await.stats("a").failed, 0);
}

#[tokio::test]
async fn mistakes_are_found_before_anything_runs() {
    let error = |playbook: &'static str| async move {
        let ran = Case::new(playbook).run().await;
        assert!(ran.events.iter().all(|e| !matches!(e, Event::TaskStarted { .. })), "something ran");
        ran.error().to_owned()
    };
    insta::assert_snapshot!(error("- hosts: a\n  tasks:\n    - comand: ls\n").await, @r#"
    unknown module or task keyword "comand"
     --> site.yml:3:7
      |
    3 |     - comand: ls
      |       ^^^^^^
      hint: did you mean command?
    "#);
    insta::assert_snapshot!(error("- hosts: a\n  tasks:\n    - file: {path: /x, stat: absent}\n").await, @r#"
    unknown argument of file "stat"
     --> site.yml:3:24
      |
    3 |     - file: {path: /x, stat: absent}
      |                        ^^^^
      hint: did you mean state?
    "#);
    insta::assert_snapshot!(error("- hosts: a\n  tasks:\n    - file: {path: /x, state: abset}\n").await, @r#"
    file: "abset" is not one of absent, directory, file, hard, link, touch; did you mean absent?
     --> site.yml:3:7
      |
    3 |     - file: {path: /x, state: abset}
      |       ^^^^
    "#);
    insta::assert_snapshot!(error("- hosts: a\n  taks: []\n").await, @r#"
    unknown play keyword "taks"
     --> site.yml:2:3
      |
    2 |   taks: []
      |   ^^^^
      hint: did you mean tags?
    "#);
    insta::assert_snapshot!(error("- hosts: a\n  roles: [nothere]\n").await, @r#"
    the role "nothere" was not found
     --> site.yml:2:11
      |
    2 |   roles: [nothere]
      |           ^^^^^^^
      = looked in roles, roles and among quaylab's own roles
    "#);
    insta::assert_snapshot!(error("- hosts: a\n  tasks:\n    - command: ls\n      debug: {msg: x}\n").await, @r#"
    a task can name one module only; this one names command and debug
     --> site.yml:4:7
      |
    4 |       debug: {msg: x}
      |       ^^^^^
      hint: start a new list item with - for the second module
    "#);
}

#[tokio::test]
async fn wrong_role_arguments_point_at_where_they_were_written() {
    let ran = Case::new("- hosts: a\n  gather_facts: false\n  vars:\n    port: many\n  roles: [r]\n")
        .file(
            "roles/r/meta/argument_specs.yml",
            "argument_specs:\n  main:\n    options:\n      port: {type: int}\n",
        )
        .file("roles/r/tasks/main.yml", "- debug: {msg: ran}\n")
        .run()
        .await;
    insta::assert_snapshot!(ran.error(), @r#"
    role r on a: argument port must be of type int, got "many"
     --> site.yml:4:11
      |
    4 |     port: many
      |           ^^^^
      = what it takes is written in roles/r/meta/argument_specs.yml
    "#);
}

#[tokio::test]
async fn an_included_role_sees_the_variables_of_the_roles_around_it() {
    let ran = Case::new("- hosts: a\n  gather_facts: false\n  tasks: [{include_role: {name: outer}}]\n")
        .file("roles/outer/defaults/main.yml", "given: outer's default\nsame: outer\n")
        .file("roles/outer/vars/main.yml", "fixed: outer's own\n")
        .file("roles/outer/tasks/main.yml", "- include_role: {name: middle}\n")
        .file(
            "roles/middle/tasks/main.yml",
            "- include_role: {name: inner}\n  vars: {passed: '{{ given }}'}\n",
        )
        .file("roles/inner/defaults/main.yml", "same: inner\n")
        .file(
            "roles/inner/tasks/main.yml",
            "- debug: {msg: \"{{ passed }}, {{ fixed }}, {{ same }}, {{ ansible_parent_role_names | join(' ') }}\"}\n",
        )
        .run()
        .await;
    assert_eq!(ran.said(), ["a: outer's default, outer's own, inner, middle outer"]);
}

#[tokio::test]
async fn switches_of_a_play_may_be_templates() {
    let ran = Case::new(
        r#"
- hosts: a
  gather_facts: "{{ not wanted }}"
  force_handlers: "{{ wanted }}"
  vars: {wanted: true, cached: "{{ wanted }}"}
  tasks:
    - debug: {msg: "{{ ansible_facts | length }}"}
    - set_fact: {one: 1, cacheable: "{{ cached }}"}
    - set_fact: {two: 2, cacheable: "{{ not cached }}"}
    - debug: {msg: "{{ ansible_facts.one is defined }} {{ ansible_facts.two is defined }}"}
    - command: echo
      notify: h
    - command: "false"
  handlers:
    - name: h
      debug: {msg: handled}
"#,
    )
    .run()
    .await;
    assert_eq!(ran.said(), ["a: 0", "a: True False", "a: handled"]);
}

/// Each host's look-up waits until those of all the others have begun, and takes the longer the earlier its host stands; yet the hosts are told in order.
#[tokio::test(flavor = "multi_thread")]
async fn look_ups_of_hosts_wait_side_by_side_and_are_told_in_order() {
    let case = Case::new(
        r#"
- hosts: web
  gather_facts: false
  tasks:
    - debug:
        msg: "{{ lookup('pipe', 'sh ' ~ meeting ~ ' ' ~ inventory_hostname) }}"
"#,
    );
    let folder = case.folder.path().to_owned();
    let meeting = folder.join("meeting.sh");
    let script = format!(
        "cd {} && mkdir -p here && touch here/$1 && tries=0
until [ -e here/a ] && [ -e here/b ]; do
    [ $tries -lt 600 ] || {{ echo alone; exit; }}
    tries=$((tries + 1)); sleep 0.1
done
[ $1 = b ] || sleep 0.3
echo met",
        folder.display()
    );
    std::fs::write(&meeting, script).expect("written");
    let ran = case.extra(&format!("meeting={}", meeting.display())).run().await;
    assert_eq!(ran.said(), ["a: met", "b: met"]);
}

/// As ansible-core 2.19 answers: parts of containers that are `omit` are left out, an inner one leaves the outer environment, and no loop is `omit`.
#[tokio::test]
async fn defaults_of_modules_give_what_they_need() {
    let ran = Case::new(
        r#"
- hosts: a
  gather_facts: false
  tasks:
    - stat:
      register: told
    - debug: {msg: "{{ told.stat.exists }}"}
    - quay_organization: {name: lab}
      register: refused
      ignore_errors: true
    - debug: {msg: "{{ refused.msg | regex_search('at http://127.0.0.1:1') }}"}
  module_defaults:
    stat: {path: /}
    group/infra.quay_configuration.quay: {quay_host: "http://127.0.0.1:1", quay_token: t}
"#,
    )
    .run()
    .await;
    assert_eq!(ran.said(), ["a: true", "a: at http://127.0.0.1:1"]);
}

#[tokio::test]
async fn omit_is_left_out_and_never_a_loop() {
    let ran = Case::new(
        r#"
- hosts: a
  gather_facts: false
  environment: {OUTER: outer}
  tasks:
    - set_fact: {x: "{{ {'gone': omit, 'list': [1, omit]} }}"}
    - debug: {msg: "{{ x }}"}
    - command: sh -c 'echo "$OUTER"'
      environment: {OUTER: "{{ omit }}"}
      become: "{{ omit }}"
      delegate_to: "{{ omit }}"
      register: told
    - debug: {msg: "{{ told.stdout }}"}
    - debug: {msg: never}
      loop: "{{ omit }}"
"#,
    )
    .run()
    .await;
    assert_eq!(ran.said(), [r#"a: {"list":[1]}"#, "a: outer"]);
    let failures = ran.failures();
    assert!(
        failures.len() == 1 && failures[0].starts_with("a: loop needs a list, and this one is `omit`"),
        "{failures:?}"
    );
}
