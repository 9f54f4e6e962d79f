//! Several programs at once on one lab, several labs of one name, and names that are none.

use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use super::*;

impl Bench {
    fn start(&self, arguments: &[&str]) -> Child {
        self.start_as(env!("CARGO_BIN_EXE_quaylab"), arguments)
    }

    fn start_as(&self, program: &str, arguments: &[&str]) -> Child {
        self.command(program).args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    fn ended(&self, child: Child) -> Ran {
        Ran::new(&child.wait_with_output().unwrap(), self.folder.path())
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    fn put(&self, name: &str, text: &str) {
        std::fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        std::fs::write(self.path(name), text).unwrap();
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
    }

    /// Runs what must be well.
    fn good(&self, arguments: &[&str]) -> Ran {
        let ran = self.run(arguments);
        assert_eq!(ran.code, Some(0), "{arguments:?}\n{}\n{}", ran.out, ran.err);
        ran
    }

    /// The program under the name of one of Ansible's.
    fn ansible_playbook(&self) -> String {
        let name = self.path("ansible-playbook");
        let _there_already = std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_quaylab"), &name);
        name.to_string_lossy().into_owned()
    }

    fn until_there(&self, name: &str) {
        let end = Instant::now() + Duration::from_secs(60);
        while !self.path(name).exists() {
            assert!(Instant::now() < end, "{name} did not come");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn labs(&self) -> Vec<String> {
        let mut all: Vec<String> = std::fs::read_dir(self.path("state/quaylab"))
            .into_iter()
            .flatten()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        all.sort();
        all
    }
}

/// A run that waits until it is let go on.
fn waiting() -> String {
    playbook(
        "    - shell: touch begun; n=0; while [ ! -e go ] && [ $n -lt 600 ]; do sleep 0.05; n=$((n + 1)); done\n      args: {chdir: '{{ playbook_dir }}'}\n",
    )
}

/// A playbook by which a lab has something to remember.
const KEEPS: &str = "- hosts: lab\n  gather_facts: false\n  tasks:\n    - copy: {content: \"{{ lookup('password', quaylab_state_dir ~ '/secrets/kept') }}\", dest: \"{{ inventory_dir }}/seen\"}\n";

#[test]
fn a_labs_name_never_leads_out_of_its_folder() {
    for name in ["../../../.ssh", "FOLDER/.ssh", "..", ".ssh", "a/b", "'{{ x }}'"] {
        let bench = Bench::new(&[("site.yml", &playbook("    - ping:\n"))]);
        let name = name.replace("FOLDER", &bench.folder.path().to_string_lossy());
        bench.put(
            "lab.inv",
            &format!("[hypervisor]\nhv ansible_connection=local libvirt_uri=test:///default\n[lab]\nh ansible_connection=local\n[all:vars]\nquaylab_lab={name}\n"),
        );
        for file in [".ssh/id_ed25519", ".ssh/known_hosts", ".ssh/made.json"] {
            bench.put(file, "mine");
        }
        std::fs::create_dir_all(bench.path("state/quaylab")).unwrap();
        for command in [
            &["destroy", "--yes"][..],
            &["run", "site.yml"],
            &["plan", "site.yml"],
            &["status"],
            &["snapshot", "ls"],
            &["host-dns", "--remove"],
        ] {
            let ran = bench.run(&[command, &["-i", "lab.inv"]].concat());
            assert_eq!(ran.code, Some(5), "{name} {command:?}: {}\n{}", ran.out, ran.err);
            assert!(ran.err.contains("is no lab's name"), "{name} {command:?}: {}", ran.err);
        }
        let ran = bench.run(&["destroy", "--lab", &name, "--yes"]);
        assert_eq!(ran.code, Some(5), "{name}: {}", ran.err);
        for file in [".ssh/id_ed25519", ".ssh/known_hosts", ".ssh/made.json"] {
            assert_eq!(bench.read(file), "mine", "{name}");
        }
    }
}

#[test]
fn a_lab_has_one_name() {
    let bench = Bench::new(&[
        ("lab.inv", "[lab]\na quaylab_lab=one\nb quaylab_lab=two\n"),
        ("site.yml", &playbook("    - ping:\n")),
    ]);
    let ran = bench.run(&["run", "-i", "lab.inv", "site.yml"]);
    assert_eq!(ran.code, Some(5), "{}", ran.err);
    assert!(ran.err.contains("\"one\" for a and \"two\" for b"), "{}", ran.err);
}

#[test]
fn a_password_is_made_once_however_many_ask_for_it() {
    let text = playbook(
        "    - debug: {msg: \"PW={{ lookup('password', playbook_dir ~ '/kept/pw length=12') }}=\"}\n",
    );
    let bench = Bench::new(&[HERE, ("site.yml", &text)]);
    let program = bench.ansible_playbook();
    let all: Vec<Child> = (0..6).map(|_| bench.start_as(&program, &["-i", "here.inv", "site.yml"])).collect();
    let seen: Vec<String> = all
        .into_iter()
        .map(|child| {
            let ran = bench.ended(child);
            assert_eq!(ran.code, Some(0), "{}\n{}", ran.out, ran.err);
            ran.out.split("PW=").nth(1).unwrap().split('=').next().unwrap().to_owned()
        })
        .collect();
    let kept = bench.read("kept/pw");
    assert!(seen.iter().all(|pw| *pw == kept.trim() && pw.len() == 12), "{seen:?}, kept {kept}");
    let names: Vec<_> =
        std::fs::read_dir(bench.path("kept")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names, ["pw"], "no lock is left");
    assert_eq!(std::fs::metadata(bench.path("kept/pw")).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn who_changes_a_lab_is_alone_with_it() {
    let bench = Bench::new(&[HERE, ("slow.yml", &waiting()), ("site.yml", &playbook("    - ping:\n"))]);
    let first = bench.start(&["run", "-i", "here.inv", "slow.yml"]);
    bench.until_there("begun");
    let began = Instant::now();
    let refused = bench.run(&["run", "-i", "here.inv", "site.yml", "--no-wait"]);
    assert_eq!(refused.code, Some(1), "{}", refused.err);
    let holder =
        format!("the lab here: it is in use by quaylab run of {} (process {}, for ", whoami(), first.id());
    assert!(refused.err.contains(&holder), "{}", refused.err);
    // What only looks does not wait, and says so.
    let planned = bench.good(&["plan", "-i", "here.inv", "site.yml"]);
    assert!(planned.err.contains("the lab here is being changed by quaylab run"), "{}", planned.err);
    bench.good(&["snapshot", "ls", "-i", "here.inv"]);
    assert!(began.elapsed() < Duration::from_secs(30), "they waited");
    // Ansible's programs run side by side, as they always did.
    let program = bench.ansible_playbook();
    let beside = bench.ended(bench.start_as(&program, &["-i", "here.inv", "site.yml"]));
    assert_eq!(beside.code, Some(0), "{}", beside.err);

    let waits = bench.start(&["run", "-i", "here.inv", "site.yml"]);
    std::thread::sleep(Duration::from_millis(600));
    bench.put("go", "");
    let first = bench.ended(first);
    assert_eq!(first.code, Some(0), "{}", first.err);
    let waited = bench.ended(waits);
    assert_eq!(waited.code, Some(0), "{}", waited.err);
    assert!(
        waited.err.contains("waiting for the lab here: it is in use by quaylab run of "),
        "{}",
        waited.err
    );
    assert!(waited.err.contains("waited "), "{}", waited.err);
    assert!(
        bench.labs().is_empty(),
        "a lab that nothing is remembered of leaves no folder: {:?}",
        bench.labs()
    );
}

fn whoami() -> String {
    String::from_utf8(Command::new("id").arg("-un").output().unwrap().stdout).unwrap().trim().to_owned()
}

#[test]
fn a_lock_ends_with_its_holder() {
    let bench = Bench::new(&[HERE, ("slow.yml", &waiting()), ("site.yml", &playbook("    - ping:\n"))]);
    let mut killed = bench.start(&["run", "-i", "here.inv", "slow.yml"]);
    bench.until_there("begun");
    killed.kill().unwrap();
    killed.wait().unwrap();
    let after = bench.good(&["run", "-i", "here.inv", "site.yml", "--no-wait"]);
    assert!(!after.err.contains("waiting"), "{}", after.err);
    // What it started goes on until it sees this.
    bench.put("go", "");
}

#[test]
fn a_command_of_a_runs_own_tasks_does_not_wait_for_the_run() {
    let inner = format!(
        "    - command: {} run -i here.inv inner.yml\n      args: {{chdir: '{{{{ playbook_dir }}}}'}}\n",
        env!("CARGO_BIN_EXE_quaylab")
    );
    let bench = Bench::new(&[
        HERE,
        ("site.yml", &playbook(&inner)),
        ("inner.yml", &playbook("    - command: touch made\n      args: {chdir: '{{ playbook_dir }}'}\n")),
    ]);
    bench.good(&["run", "-i", "here.inv", "site.yml"]);
    assert!(bench.path("made").exists());
}

#[test]
fn two_inventories_of_one_file_name_are_two_labs_and_a_moved_one_stays_its_own() {
    let bench = Bench::new(&[("keeps.yml", KEEPS)]);
    for folder in ["a", "b"] {
        bench.put(&format!("{folder}/hosts"), "[lab]\nh ansible_connection=local\n");
    }
    let run = |folder: &str| {
        let ran = bench.good(&["run", "-i", &format!("{folder}/hosts"), "keeps.yml"]);
        (bench.read(&format!("{folder}/seen")), ran.err)
    };
    let (of_a, told) = run("a");
    assert_eq!(told, "");
    let (of_b, told) = run("b");
    assert_ne!(of_a, of_b, "each has passwords of its own");
    let labs = bench.labs();
    assert_eq!(labs.len(), 2, "{labs:?}");
    assert!(labs[0] == "hosts" && labs[1].starts_with("hosts-"), "{labs:?}");
    let expected = format!(
        "the lab hosts is that of FOLDER/a/hosts, so the lab of FOLDER/b/hosts is called {}",
        labs[1]
    );
    assert!(told.contains(&expected), "{told}");
    // Both are known again.
    assert_eq!((run("a"), run("b")), ((of_a.clone(), String::new()), (of_b.clone(), String::new())));

    std::fs::rename(bench.path("a"), bench.path("moved")).unwrap();
    let (seen, told) = run("moved");
    assert_eq!(seen, of_a, "a moved checkout has its lab");
    assert_eq!(told, "the lab hosts goes on with FOLDER/moved/hosts: FOLDER/a/hosts is not there any more");
    assert_eq!(run("moved"), (of_a, String::new()));
    assert_eq!(run("b").0, of_b);
    assert_eq!(bench.labs(), labs);
}

#[test]
fn a_lab_of_before_goes_on_as_it_was() {
    let bench = Bench::new(&[("keeps.yml", KEEPS)]);
    for (folder, host) in [("a", "h"), ("b", "other")] {
        bench.put(&format!("{folder}/hosts"), &format!("[lab]\n{host} ansible_connection=local\n"));
    }
    bench.put("state/quaylab/hosts/secrets/kept", "as-before\n");
    bench.put("state/quaylab/hosts/hosts/h/ssh_host_ed25519_key", "");
    bench.good(&["run", "-i", "b/hosts", "keeps.yml"]);
    assert_ne!(bench.read("b/seen"), "as-before", "it never was this one's");
    let ran = bench.good(&["run", "-i", "a/hosts", "keeps.yml"]);
    assert_eq!((bench.read("a/seen").as_str(), ran.err.as_str()), ("as-before", ""));
}

#[cfg(feature = "libvirt")]
#[test]
fn destroy_takes_the_own_lab_only_and_names_whose_else_it_is() {
    let inventory = |name: &str| {
        format!(
            "[hypervisor]\nhv ansible_connection=local libvirt_uri=test:///default\n[lab]\nh ansible_connection=local\n{name}"
        )
    };
    let bench = Bench::new(&[("keeps.yml", KEEPS)]);
    for folder in ["a", "b"] {
        bench.put(&format!("{folder}/hosts"), &inventory(""));
        bench.put(&format!("{folder}/named"), &inventory("[all:vars]\nquaylab_lab=team\n"));
    }
    for file in ["a/hosts", "b/hosts", "a/named", "b/named"] {
        bench.good(&["run", "-i", file, "keeps.yml"]);
    }
    assert_eq!(bench.labs().len(), 3, "{:?}", bench.labs());
    bench.good(&["destroy", "-i", "b/hosts", "--yes"]);
    assert_eq!(bench.labs(), ["hosts", "team"]);
    // One name on purpose is one lab, and whoever removes it is told so and asked.
    let asked = bench.run(&["destroy", "-i", "b/named"]);
    assert_eq!(asked.code, Some(5), "{}", asked.err);
    assert!(asked.out.contains("it is the lab of FOLDER/b/named and FOLDER/a/named"), "{}", asked.out);
    assert_eq!(bench.labs(), ["hosts", "team"]);
    bench.good(&["destroy", "--lab", "team", "--connect", "test:///default", "--yes"]);
    bench.good(&["destroy", "-i", "a/hosts", "--yes"]);
    assert!(bench.labs().is_empty(), "{:?}", bench.labs());
}

#[cfg(feature = "libvirt")]
#[test]
fn what_several_programs_make_at_once_is_all_remembered() {
    let name = format!("several-{}", std::process::id());
    let bench = Bench::new(&[(
        "lab.inv",
        &format!("[hypervisor]\nhv ansible_connection=local\n[all:vars]\nquaylab_lab={name}\n"),
    )]);
    let pool = format!(
        "- hosts: hypervisor\n  gather_facts: false\n  tasks:\n    - virt_pool: {{uri: 'test:///default', name: 'pool{{{{ n }}}}', type: dir, path: '{}/pool{{{{ n }}}}'}}\n",
        bench.folder.path().display()
    );
    bench.put("p.yml", &pool);
    let (quaylab, ansible) = (env!("CARGO_BIN_EXE_quaylab").to_owned(), bench.ansible_playbook());
    bench.good(&["run", "-i", "lab.inv", "p.yml", "-e", "n=0"]);
    let all: Vec<Child> = (1..=6)
        .map(|n| {
            let number = format!("n={n}");
            let more = ["-i", "lab.inv", "p.yml", "-e", &number];
            // Three wait for each other, three do not.
            if n % 2 == 0 {
                bench.start_as(&quaylab, &[&["run"][..], &more].concat())
            } else {
                bench.start_as(&ansible, &more)
            }
        })
        .collect();
    for child in all {
        let ran = bench.ended(child);
        assert_eq!(ran.code, Some(0), "{}\n{}", ran.out, ran.err);
    }
    let made = bench.read(&format!("state/quaylab/{name}/made.json"));
    for n in 0..=6 {
        assert!(made.contains(&format!("\"pool{n}\"")), "pool{n} is forgotten: {made}");
    }
    let marks = Path::new("/var/lib/quaylab/marks");
    let _gone = std::fs::remove_dir_all(marks.join(&name));
    for folder in marks.ancestors().take(2) {
        let _kept = std::fs::remove_dir(folder);
    }
}

#[test]
fn what_lies_where_everybody_may_write_does_not_count() {
    let play = "- hosts: lab\n  gather_facts: false\n  roles: [mine]\n";
    let bench = Bench::new(&[]);
    let files = [
        ("books/site.yml", play),
        ("books/here.inv", HERE.1),
        ("open/ansible.cfg", "[defaults]\nvault_password_file = ./evil.sh\n"),
        ("open/quaylab.cfg", "[defaults]\nforks = nonsense\n"),
        ("open/roles/mine/tasks/main.yml", "- command: touch ../role-ran\n"),
        ("open/evil.sh", "#!/bin/sh\ntouch ../evil-ran\necho pw\n"),
    ];
    for (name, text) in files {
        bench.put(name, text);
    }
    let mode = |name: &str, mode| {
        std::fs::set_permissions(bench.path(name), std::fs::Permissions::from_mode(mode)).unwrap();
    };
    mode("open/evil.sh", 0o755);
    let run = |environment: &[(&str, &str)]| {
        let mut command = bench.command(env!("CARGO_BIN_EXE_quaylab"));
        command.current_dir(bench.path("open")).args(["run", "-i", "../books/here.inv", "../books/site.yml"]);
        Ran::new(&command.envs(environment.iter().copied()).output().unwrap(), bench.folder.path())
    };
    for open in [0o777, 0o1777] {
        mode("open", open);
        let ran = run(&[]);
        assert_eq!(ran.code, Some(5), "there is no role: {}\n{}", ran.out, ran.err);
        for what in ["an ansible.cfg source", "a quaylab.cfg source", "a source of roles"] {
            let told =
                format!("is being run in a world writable directory (FOLDER/open), ignoring it as {what}");
            assert_eq!(ran.err.matches(&told).count(), 1, "{what}: {}", ran.err);
        }
        assert!(!bench.path("evil-ran").exists() && !bench.path("role-ran").exists());
    }
    // What is named counts.
    let config = bench.path("open/ansible.cfg");
    let named = run(&[("ANSIBLE_CONFIG", &config.to_string_lossy())]);
    assert!(bench.path("evil-ran").exists(), "{}", named.err);
    // Where nobody else may write, all of it counts.
    mode("open", 0o755);
    let ran = run(&[]);
    assert!(ran.err.contains("forks must be a number"), "{}", ran.err);
    std::fs::remove_file(bench.path("open/quaylab.cfg")).unwrap();
    let ran = run(&[]);
    assert_eq!(ran.code, Some(0), "{}\n{}", ran.out, ran.err);
}

#[test]
fn a_plan_that_is_written_is_its_owners() {
    let bench = Bench::new(&[HERE, ("site.yml", &playbook("    - ping:\n"))]);
    bench.good(&["plan", "-i", "here.inv", "site.yml", "--out", "plan.json"]);
    assert_eq!(std::fs::metadata(bench.path("plan.json")).unwrap().permissions().mode() & 0o777, 0o600);
}
