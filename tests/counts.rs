//! What runs cost, counted: round trips that somebody waits for, and programs that are started on the target.
//! A count does not depend on the machine's mood.

#[path = "support/playing.rs"]
mod playing;

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// Programs that probes start.
const PROGRAMS: [&str; 12] = [
    "stat",
    "sha1sum",
    "sha256sum",
    "cat",
    "readlink",
    "id",
    "getent",
    "file",
    "ls",
    "timeout",
    "dd",
    "head",
];

/// What a run of a play costs.
#[derive(Debug, PartialEq, Eq)]
struct Cost {
    /// Requests that were sent while no other was under way.
    waits: u64,
    requests: u64,
    /// Programs that these requests started.
    started: usize,
}

/// Programs of the same names that write down that they were started.
fn counting(folder: &Path) {
    let bin = folder.join("bin");
    fs::create_dir(&bin).expect("a folder");
    for name in PROGRAMS {
        let Some(real) =
            ["/usr/bin", "/bin"].map(|d| Path::new(d).join(name)).into_iter().find(|p| p.exists())
        else {
            continue;
        };
        let text = format!(
            "#!/bin/sh\necho {name} >>'{}/started'\nexec {} \"$@\"\n",
            folder.display(),
            real.display()
        );
        fs::write(bin.join(name), text).expect("a program");
        fs::set_permissions(bin.join(name), fs::Permissions::from_mode(0o755)).expect("a mode");
    }
}

/// Runs tasks until nothing changes any more, and then once more.
async fn cost_of(tasks: &str) -> Cost {
    let folder = laid_out(tasks);
    for _ in 0..2 {
        let (summary, _) = playing::run(folder.path(), true).await;
        assert_eq!(summary.stats["here"].failed, 0);
    }
    cost_of_run(folder.path(), 0).await
}

/// Runs tasks for the first time.
async fn first_cost_of(tasks: &str, changes: usize) -> Cost {
    cost_of_run(laid_out(tasks).path(), changes).await
}

/// Tasks on this machine, and programs that are counted.
fn laid_out(tasks: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let here = folder.path();
    counting(here);
    fs::create_dir(here.join("there")).expect("a folder");
    fs::write(here.join("hosts"), "here ansible_connection=local\n").expect("written");
    fs::write(here.join("t.j2"), "of {{ inventory_hostname }}\n").expect("written");
    let play = format!(
        "- hosts: here\n  gather_facts: false\n  vars: {{base: '{0}/there'}}\n  environment: {{PATH: '{0}/bin:/usr/bin:/bin'}}\n  tasks:\n{tasks}",
        here.display()
    );
    fs::write(here.join("site.yml"), play).expect("written");
    folder
}

async fn cost_of_run(here: &Path, changes: usize) -> Cost {
    let _ = fs::remove_file(here.join("started"));
    let (summary, _) = playing::run(here, true).await;
    assert_eq!((summary.stats["here"].failed, summary.stats["here"].changed as usize), (0, changes));
    let started = fs::read_to_string(here.join("started")).unwrap_or_default();
    Cost {
        waits: summary.traffic.waits,
        requests: summary.traffic.requests,
        started: started.lines().count(),
    }
}

/// Tasks of five kinds, in turn.
fn mixed(count: usize) -> String {
    (0..count).fold(String::new(), |mut text, n| {
        let action = match n % 5 {
            0 => format!("file: {{path: '{{{{ base }}}}/d{n}', state: directory, mode: '0750'}}"),
            1 => format!("copy: {{content: 'text {n}', dest: '{{{{ base }}}}/c{n}', mode: '0640'}}"),
            2 => format!("template: {{src: t.j2, dest: '{{{{ base }}}}/t{n}'}}"),
            3 => format!("lineinfile: {{path: '{{{{ base }}}}/l{n}', line: 'a=b', create: true}}"),
            _ => format!("stat: {{path: '{{{{ base }}}}/c{}'}}", n - 3),
        };
        let _ = writeln!(text, "    - {action}");
        text
    })
}

#[tokio::test]
async fn a_hundred_unchanged_files_cost_a_handful() {
    let tasks = "    - copy: {content: 'text {{ item }}', dest: '{{ base }}/{{ item }}', mode: '0644'}\n      loop: \"{{ range(100) | list }}\"\n";
    assert_eq!(cost_of(tasks).await, Cost { waits: 3, requests: 4, started: 12 });
}

/// What is sent ahead grows from 32 probes to 256, so that each time more tasks share a request.
#[tokio::test]
async fn two_hundred_unchanged_tasks_are_three_waits() {
    assert_eq!(cost_of(&mixed(20)).await, Cost { waits: 1, requests: 2, started: 5 });
    assert_eq!(cost_of(&mixed(200)).await, Cost { waits: 3, requests: 10, started: 25 });
}

/// A change to one file leaves what was seen of the others as it is: two programs look at all of them, and each change is one request. What steps
/// start themselves is not counted here: they have the PATH of the shell, not of the task.
#[tokio::test]
async fn a_first_run_looks_at_everything_once() {
    let files = "    - copy: {content: 'text {{ item }}', dest: '{{ base }}/{{ item }}', mode: '0644'}\n      loop: \"{{ range(30) | list }}\"\n";
    assert_eq!(first_cost_of(files, 1).await, Cost { waits: 31, requests: 31, started: 2 });
    let folders = (0..30).fold(String::new(), |mut text, n| {
        let _ = writeln!(text, "    - file: {{path: '{{{{ base }}}}/{n}', state: directory, mode: '0755'}}");
        text
    });
    assert_eq!(first_cost_of(&folders, 30).await, Cost { waits: 31, requests: 31, started: 2 });
}

#[tokio::test]
async fn the_same_question_is_asked_once_as_long_as_nothing_changes() {
    let same = "    - stat: {path: /etc/passwd}\n".repeat(20);
    let cost = cost_of(&same).await;
    assert_eq!((cost.waits, cost.requests), (1, 1));
}
