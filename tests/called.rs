//! quaylab called by the names of Ansible's programs, beside these programs: the same output and the same exit code.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

#[path = "support/oracle.rs"]
mod oracle;

const HOSTS: &str = "[web]\na\nb\n[db]\nc x=1\n[db:vars]\ny=two\n[all:vars]\nansible_connection=local\n";

const SITE: &str = r#"- name: First
  hosts: web
  gather_facts: false
  tags: [p]
  tasks:
    - {debug: {msg: "{{ item }}"}, loop: [1, {a: b}]}
    - {name: some change, command: "echo {{ item }}", loop: [1, 2], changed_when: item == 2, tags: [t, u]}
    - {debug: {msg: x}, loop: [1, 2], when: item == 2}
    - {debug: {var: inventory_hostname}}
    - {ansible.builtin.debug: {msg: x}, when: false}
    - {fail: {msg: "no"}, ignore_errors: true}
    - {fail: {msg: "no {{ item }}"}, ignore_errors: true, loop: [1, 2]}
    - include_tasks: more.yml
    - {include_tasks: more.yml, loop: [p, q]}
    - {command: "true", notify: h, run_once: true}
    - {command: echo x, delegate_to: c, changed_when: false}
    - {debug: {msg: secret}, no_log: true}
    - {assert: {that: 1 == 2}, ignore_errors: true}
    - {assert: {that: 1 == 1}}
    - {assert: {that: 1 == 1, quiet: true}}
    - meta: flush_handlers
    - {name: a meta, meta: end_host, when: false}
    - block: [{fail: {msg: x}}]
      rescue: [{debug: {msg: ["rescued", 1]}}]
  handlers:
    - {name: h, debug: {msg: handled}}
- hosts: nobody
  tasks: []
- hosts: c
  gather_facts: false
  roles: [one]
- hosts: c
  gather_facts: false
  tasks: [{fail: {msg: end}}, {debug: {msg: never}}]
"#;

/// A folder with an inventory, playbooks and a password, and a link to quaylab under each of the names.
struct Place {
    folder: tempfile::TempDir,
    bin: PathBuf,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path();
        let bin = root.join("bin");
        fs::create_dir_all(root.join("work/roles/one/tasks")).expect("made");
        fs::create_dir_all(&bin).expect("made");
        for (name, text) in [
            ("hosts", HOSTS),
            ("site.yml", SITE),
            ("more.yml", "- {debug: {msg: \"more {{ item | default(0) }}\"}}\n"),
            ("good.yml", "- {hosts: a, gather_facts: false, tasks: [{command: 'true'}]}\n"),
            ("bad.yml", "- {hosts: a, tasks: [{no_such_module: }]}\n"),
            ("pw", "secret\n"),
            ("other", "other\n"),
            ("plain.yml", "a: 1\nb: [x, y]\n"),
            ("roles/one/tasks/main.yml", "- {name: in the role, debug: {msg: role}}\n"),
        ] {
            fs::write(root.join("work").join(name), text).expect("written");
        }
        fs::write(root.join("ansible.cfg"), "").expect("written");
        for name in ["ansible", "ansible-playbook", "ansible-inventory", "ansible-vault"] {
            symlink(env!("CARGO_BIN_EXE_quaylab"), bin.join(name)).expect("linked");
        }
        Self { folder, bin }
    }

    fn run(&self, program: &Path, arguments: &[&str]) -> Output {
        let root = self.folder.path();
        let mut command = Command::new("timeout");
        command.args(["--kill-after=5", "120"]).arg(program).args(arguments);
        for (name, _) in std::env::vars_os().filter(|(n, _)| n.to_string_lossy().starts_with("ANSIBLE_")) {
            command.env_remove(name);
        }
        command
            .current_dir(root.join("work"))
            .env("ANSIBLE_CONFIG", root.join("ansible.cfg"))
            .env("ANSIBLE_NOCOLOR", "1")
            .env("ANSIBLE_LOCALHOST_WARNING", "0")
            .env("ANSIBLE_DEPRECATION_WARNINGS", "0")
            .env("ANSIBLE_VAULT_ENCRYPT_SALT", "always the same")
            .env("XDG_STATE_HOME", root.join("state"))
            // One that only a version manager knows is no use to the real programs.
            .env("ANSIBLE_PYTHON_INTERPRETER", python())
            .env("LC_ALL", "C.UTF-8")
            .stdin(Stdio::null())
            .output()
            .expect("timeout is a part of coreutils")
    }

    fn ours(&self, name: &str, arguments: &[&str]) -> Output {
        self.run(&self.bin.join(name), arguments)
    }
}

fn python() -> PathBuf {
    oracle::python()
        .expect("ansible-core is a test dependency: python3-venv and the package index are needed")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn the_output_is_that_of_ansibles_programs() {
    let place = Place::new();
    let python = python();
    for line in [
        "ansible-playbook -i hosts site.yml -f 1",
        "ansible-playbook -i hosts good.yml",
        "ansible-playbook -i hosts good.yml -v",
        "ansible-playbook -i hosts site.yml --syntax-check",
        "ansible-playbook -i hosts site.yml --list-tasks",
        "ansible-playbook -i hosts site.yml --list-tags",
        "ansible-playbook -i hosts site.yml --list-hosts --limit a",
        "ansible-playbook -i hosts site.yml -t t -f 1",
        "ansible-playbook -i hosts site.yml --start-at-task h*no* -f 1",
        "ansible-playbook -i hosts nothing.yml",
        "ansible-playbook -i hosts bad.yml",
        "ansible-playbook --no-such-option",
        "ansible a -i hosts -m ping",
        "ansible web -i hosts -f 1 -a uptime\\ -V",
        "ansible a -i hosts -m ping -v",
        "ansible c -i hosts -m debug -a msg={{x}}{{y}}",
        "ansible c -i hosts -m debug -a var=y -o",
        "ansible all -i hosts --list-hosts",
        "ansible nobody -i hosts -m ping",
        "ansible-inventory -i hosts --list",
        "ansible-inventory -i hosts --graph --vars",
        "ansible-inventory -i hosts --host c",
        "ansible-vault encrypt_string --vault-password-file pw text --name n",
        "ansible-vault encrypt_string --vault-id dev@pw one two -n first",
        "ansible-vault encrypt --vault-id dev@pw plain.yml --output -",
        "ansible-vault decrypt --vault-password-file pw plain.yml",
    ] {
        let words: Vec<String> = shlex::split(line).expect("a line");
        let (name, arguments) = words.split_first().expect("a program");
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let theirs = place.run(&python.with_file_name(name), &arguments);
        let ours = place.ours(name, &arguments);
        let refused = theirs.status.code() != Some(0) && theirs.stdout.is_empty();
        if !refused || !ours.stdout.is_empty() {
            let (theirs, ours) = (steady(&text(&theirs.stdout)), steady(&text(&ours.stdout)));
            assert_eq!(ours, theirs, "{line}");
        }
        assert_eq!(ours.status.code(), theirs.status.code(), "{line}: {}", text(&ours.stderr));
    }
    assert!(!place.folder.path().join("state/quaylab").exists(), "runs without a lab leave no state folder");
}

/// Without what differs from one run to the next.
fn steady(output: &str) -> String {
    let times = fancy_regex::Regex::new(r#""(start|end|delta)": "[^"]*""#).expect("a pattern");
    times.replace_all(output, "\"$1\": \"<time>\"").into_owned()
}

type Side<'a> = &'a dyn Fn(&[&str]) -> Output;

#[test]
fn either_opens_what_the_other_closed() {
    let place = Place::new();
    let python = python();
    let theirs = |arguments: &[&str]| place.run(&python.with_file_name("ansible-vault"), arguments);
    let ours = |arguments: &[&str]| place.ours("ansible-vault", arguments);
    let path = place.folder.path().join("work/plain.yml");
    let plain = fs::read_to_string(&path).expect("readable");
    for (close, open) in [(&theirs as Side<'_>, &ours as Side<'_>), (&ours, &theirs)] {
        for (id, source) in [("--vault-password-file", "pw"), ("--vault-id", "dev@pw")] {
            assert!(close(&["encrypt", id, source, "plain.yml"]).status.success());
            let sealed = fs::read_to_string(&path).expect("readable");
            assert!(sealed.starts_with("$ANSIBLE_VAULT;1."), "{sealed}");
            assert_eq!(text(&open(&["view", id, source, "plain.yml"]).stdout), plain);
            assert!(!open(&["view", "--vault-id", "other", "plain.yml"]).status.success());
            assert!(
                open(&["rekey", id, source, "--new-vault-id", "new@other", "plain.yml"]).status.success()
            );
            assert_eq!(text(&close(&["view", "--vault-id", "new@other", "plain.yml"]).stdout), plain);
            assert!(close(&["decrypt", "--vault-id", "new@other", "plain.yml"]).status.success());
            assert_eq!(fs::read_to_string(&path).expect("readable"), plain);
        }
    }
}

#[test]
fn a_playbook_reads_everything_that_is_encrypted() {
    let place = Place::new();
    let work = place.folder.path().join("work");
    let write = |name: &str, text: &str| {
        let path = work.join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        fs::write(path, text).expect("written");
    };
    write("group_vars/web.yml", "of_group: group\n");
    write("host_vars/a/x.yml", "of_host: host\n");
    write("vars.yml", "of_file: file\n");
    write("included.yml", "included: included\n");
    write("extra.yml", "extra: extra\n");
    write("files/secret.txt", "copied\n");
    write("templates/t.j2", "rendered {{ inline }}\n");
    let sealed = [
        "group_vars/web.yml",
        "host_vars/a/x.yml",
        "vars.yml",
        "included.yml",
        "extra.yml",
        "files/secret.txt",
        "templates/t.j2",
    ];
    let all = [&["encrypt", "--vault-id", "dev@pw"][..], &sealed].concat();
    assert!(place.ours("ansible-vault", &all).status.success());
    let inline = place.ours("ansible-vault", &["encrypt_string", "--vault-id", "dev@pw", "in{{ line }}"]);
    let inline = text(&inline.stdout).replace('\n', "\n    ");
    write(
        "vault.yml",
        &format!(
            "- hosts: a\n  gather_facts: false\n  vars_files: [vars.yml]\n  vars:\n    inline: {inline}\n  tasks:\n    - include_vars: included.yml\n    - debug: {{msg: \"{{{{ of_group }}}} {{{{ of_host }}}} {{{{ of_file }}}} {{{{ included }}}} {{{{ extra }}}} {{{{ inline }}}} {{{{ lookup('unvault', 'secret.txt') }}}}\"}}\n    - copy: {{src: secret.txt, dest: \"{{{{ playbook_dir }}}}/out/copy\"}}\n    - copy: {{src: secret.txt, dest: \"{{{{ playbook_dir }}}}/out/sealed\", decrypt: false}}\n    - template: {{src: t.j2, dest: \"{{{{ playbook_dir }}}}/out/template\"}}\n"
        ),
    );
    fs::create_dir_all(work.join("out")).expect("made");
    let arguments =
        ["-i", "hosts", "vault.yml", "-e", "@extra.yml", "--vault-id", "other@other", "--vault-id", "dev@pw"];
    let mut told = Vec::new();
    for program in [python().with_file_name("ansible-playbook"), place.bin.join("ansible-playbook")] {
        let done = place.run(&program, &arguments);
        let out = |name: &str| fs::read_to_string(work.join("out").join(name)).unwrap_or_default();
        told.push((
            text(&done.stdout),
            out("copy"),
            out("template"),
            out("sealed").starts_with("$ANSIBLE_VAULT"),
        ));
        fs::remove_dir_all(work.join("out")).expect("removed");
        fs::create_dir_all(work.join("out")).expect("made");
    }
    assert_eq!(told[0], told[1]);
    assert!(told[1].0.contains("group host file included extra in{{ line }} copied"), "{}", told[1].0);
    let without = place.ours("ansible-playbook", &["-i", "hosts", "vault.yml", "-e", "@extra.yml"]);
    assert!(!without.status.success());
    assert!(text(&without.stderr).contains("no vault password is given"), "{}", text(&without.stderr));
}
