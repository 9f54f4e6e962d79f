//! Probes sent ahead change nothing but the time that a run takes.

#[path = "support/playing.rs"]
mod playing;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use playing::run;
use proptest::prelude::*;
use quaylab::engine::{self, Event};
use quaylab::value::Value as Known;

/// What a result says, without what differs from one moment to the next.
fn timeless(value: &mut Known) {
    const MOMENTARY: [&str; 9] =
        ["start", "end", "delta", "atime", "mtime", "ctime", "inode", "dev", "blocks"];
    match value {
        Known::Object(map) => {
            map.retain(|key, _| !MOMENTARY.contains(&key.as_str()));
            map.values_mut().for_each(timeless);
        }
        Known::Array(items) => items.iter_mut().for_each(timeless),
        _ => {}
    }
}

fn told(events: &[Event]) -> Vec<String> {
    let one = |result: &engine::HostResult| {
        let mut value = Known::clone(&result.result);
        timeless(&mut value);
        // Names of temporary files are random.
        let parts: Vec<String> = value.to_string().split(".quaylab.").map(str::to_owned).collect();
        let text: Vec<&str> = parts
            .iter()
            .enumerate()
            .map(|(n, part)| if n == 0 { part } else { part.get(32..).unwrap_or_default() })
            .collect();
        format!("{:?} ignored={} {}", result.status, result.ignored, text.join(".quaylab.*"))
    };
    events
        .iter()
        .filter_map(|event| match event {
            Event::Result { host, task, result } => Some(format!("{host} {}: {}", task.name, one(result))),
            Event::Item { host, task, item, result } => {
                Some(format!("{host} {} ({item}): {}", task.name, one(result)))
            }
            Event::Retry { task, left, .. } => Some(format!("{}: {left} left", task.name)),
            _ => None,
        })
        .collect()
}

/// Every file below a folder with its kind, mode and content.
fn tree(folder: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut open = vec![folder.to_owned()];
    while let Some(place) = open.pop() {
        for path in std::fs::read_dir(&place).expect("a folder").map(|e| e.expect("an entry").path()) {
            let meta = std::fs::symlink_metadata(&path).expect("an inode");
            let mode = meta.permissions().mode();
            let content = if meta.is_symlink() {
                std::fs::read_link(&path).expect("a link").display().to_string()
            } else if meta.is_dir() {
                open.push(path.clone());
                String::new()
            } else {
                std::fs::read_to_string(&path).expect("a text")
            };
            found.insert(path.display().to_string(), format!("{mode:o} {content}"));
        }
    }
    found
}

/// One thing that a task does to files which others touch as well.
#[derive(Debug, Clone)]
enum Kind {
    File(&'static str),
    Mode(&'static str),
    Copy(&'static str),
    Many,
    Template,
    Line(&'static str),
    Block,
    Replace,
    Link,
    Hard,
    Shell(&'static str),
    Creates,
    Stat,
    Slurp,
    Fact(&'static str),
    Until,
    Flush,
    Fail,
}

#[derive(Debug, Clone)]
struct Step {
    kind: Kind,
    path: &'static str,
    other: &'static str,
    /// Only if the last `stat` found something, or found nothing.
    when: Option<bool>,
    notify: Option<bool>,
    /// Done through another connection to the same machine.
    delegate: bool,
    ignore: bool,
}

#[derive(Debug, Clone)]
enum Part {
    One(Step),
    Block { tasks: Vec<Step>, rescue: Vec<Step>, always: Vec<Step> },
}

fn path() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["a", "b", "dir", "dir/c", "dir/d", "alias/c", "alias"])
}

fn kind() -> impl Strategy<Value = Kind> {
    let text = || prop::sample::select(vec!["one", "two"]);
    prop_oneof![
        4 => prop::sample::select(vec!["directory", "absent", "file", "touch"]).prop_map(Kind::File),
        1 => prop::sample::select(vec!["0600", "0755"]).prop_map(Kind::Mode),
        4 => text().prop_map(Kind::Copy),
        2 => Just(Kind::Many),
        2 => Just(Kind::Template),
        3 => text().prop_map(Kind::Line),
        1 => Just(Kind::Block),
        1 => Just(Kind::Replace),
        2 => Just(Kind::Link),
        1 => Just(Kind::Hard),
        4 => prop::sample::select(vec!["rm -rf P", "echo more >>P", "mkdir -p P", "cp O P", "mv O P", "true", "chmod 640 P"])
            .prop_map(Kind::Shell),
        2 => Just(Kind::Creates),
        4 => Just(Kind::Stat),
        1 => Just(Kind::Slurp),
        2 => text().prop_map(Kind::Fact),
        1 => Just(Kind::Until),
        1 => Just(Kind::Flush),
        1 => Just(Kind::Fail),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let rarely = |value: BoxedStrategy<Option<bool>>| prop_oneof![3 => Just(None), 1 => value];
    (
        kind(),
        path(),
        path(),
        rarely(any::<bool>().prop_map(Some).boxed()),
        rarely(any::<bool>().prop_map(Some).boxed()),
        prop::bool::weighted(0.15),
        prop::bool::weighted(0.8),
    )
        .prop_map(|(kind, path, other, when, notify, delegate, ignore)| Step {
            kind,
            path,
            other,
            when,
            notify,
            delegate,
            ignore,
        })
}

fn part() -> impl Strategy<Value = Part> {
    let some = || prop::collection::vec(step(), 1..4);
    prop_oneof![
        5 => step().prop_map(Part::One),
        1 => (some(), some(), some()).prop_map(|(tasks, rescue, always)| Part::Block { tasks, rescue, always }),
    ]
}

impl Step {
    fn yaml(&self, indent: &str) -> String {
        let (p, o) = (format!("{{{{ base }}}}/{}", self.path), format!("{{{{ base }}}}/{}", self.other));
        let mut register = None;
        let mut extra = String::new();
        let action = match &self.kind {
            Kind::File(state) => format!("file: {{path: '{p}', state: {state}}}"),
            Kind::Mode(mode) => format!("file: {{path: '{p}', mode: '{mode}'}}"),
            Kind::Copy(text) => format!("copy: {{content: \"{text} {{{{ fact }}}}\\n\", dest: '{p}'}}"),
            Kind::Many => {
                extra = "loop: [a, b, dir/c, a]".into();
                "copy: {content: '{{ item }}', dest: '{{ base }}/{{ item }}'}".into()
            }
            Kind::Template => format!("template: {{src: t.j2, dest: '{p}', mode: '0644'}}"),
            Kind::Line(line) => format!("lineinfile: {{path: '{p}', line: '{line}', create: true}}"),
            Kind::Block => format!("blockinfile: {{path: '{p}', block: 'x {{{{ fact }}}}'}}"),
            Kind::Replace => format!("replace: {{path: '{p}', regexp: 'one', replace: 'three'}}"),
            Kind::Link => format!("file: {{src: '{o}', dest: '{p}', state: link, force: true}}"),
            Kind::Hard => format!("file: {{src: '{o}', dest: '{p}', state: hard, force: true}}"),
            Kind::Shell(line) => {
                format!("shell: \"{}\"", line.replace('P', &format!("'{p}'")).replace('O', &format!("'{o}'")))
            }
            Kind::Creates => format!("command: {{cmd: \"cp /etc/hostname '{p}'\", creates: '{o}'}}"),
            Kind::Stat => {
                register = Some("seen");
                format!("stat: {{path: '{p}'}}")
            }
            Kind::Slurp => {
                register = Some("slurped");
                format!("slurp: {{src: '{p}'}}")
            }
            Kind::Fact(text) => {
                format!(
                    "set_fact: {{fact: \"{text}{{{{ (seen.stat | default({{}})).size | default(0) }}}}\"}}"
                )
            }
            Kind::Until => {
                register = Some("tried");
                extra = "until: tried.stat.exists\nretries: 2\ndelay: 0".into();
                format!("stat: {{path: '{p}'}}")
            }
            Kind::Flush => "meta: flush_handlers".into(),
            Kind::Fail => "fail: {msg: as asked}".into(),
        };
        let mut lines = vec![action];
        lines.extend(extra.lines().map(str::to_owned));
        let is_meta = matches!(self.kind, Kind::Flush);
        if let (Some(wanted), false) = (self.when, is_meta) {
            lines.push(format!("when: (seen.stat | default({{}})).exists | default(false) == {wanted}"));
        }
        if !is_meta {
            lines.extend(register.map(|name| format!("register: {name}")));
            lines.extend(
                self.notify.map(|first| format!("notify: {}", if first { "first" } else { "second" })),
            );
            lines.extend(self.ignore.then(|| "ignore_errors: true".into()));
            if self.delegate && !matches!(self.kind, Kind::Fact(_)) {
                lines.push("delegate_to: other".into());
            }
        }
        let mut text = String::new();
        for (n, line) in lines.iter().enumerate() {
            let _ = writeln!(text, "{indent}{} {line}", if n == 0 { "-" } else { " " });
        }
        text
    }
}

fn playbook(parts: &[Part]) -> String {
    let mut text = String::from("- hosts: web\n  gather_facts: false\n  vars: {fact: zero}\n  tasks:\n");
    for part in parts {
        match part {
            Part::One(step) => text.push_str(&step.yaml("    ")),
            Part::Block { tasks, rescue, always } => {
                for (name, steps) in [("- block", tasks), ("  rescue", rescue), ("  always", always)] {
                    let _ = writeln!(text, "    {name}:");
                    for step in steps {
                        text.push_str(&step.yaml("        "));
                    }
                }
            }
        }
    }
    text.push_str(
        "  handlers:\n    - name: first\n      shell: \"echo first >>'{{ base }}/log'\"\n\
         \x20   - name: second\n      lineinfile: {path: '{{ base }}/a', line: second, create: true}\n",
    );
    text
}

/// Runs a playbook in a fresh folder of always the same name.
fn fresh_run(folder: &Path, speculate: bool, twice: bool) -> (Vec<String>, BTreeMap<String, String>) {
    let base = folder.join("base");
    let _ = std::fs::remove_dir_all(&base);
    std::fs::create_dir(&base).expect("a folder");
    // The same files by another way.
    std::os::unix::fs::symlink("dir", base.join("alias")).expect("a link");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let mut all = Vec::new();
    for _ in 0..if twice { 2 } else { 1 } {
        let (summary, events) = runtime.block_on(run(folder, speculate));
        all.extend(told(&events));
        all.push(format!("{:?}", summary.stats));
    }
    (all, tree(&base))
}

fn lay_out(folder: &Path, playbook: &str) {
    let base = folder.join("base");
    let host = format!("ansible_connection=local base='{}'\n", base.display());
    std::fs::write(folder.join("hosts"), format!("[web]\nweb {host}[others]\nother {host}")).expect("hosts");
    std::fs::write(folder.join("t.j2"), "fact {{ fact }} {{ seen is defined }}\n").expect("a template");
    std::fs::write(folder.join("site.yml"), playbook).expect("a playbook");
}

fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(12)
}

/// What is looked at through a link that leads nowhere yet comes about with what the link leads to.
#[test]
fn a_link_that_leads_nowhere_is_followed_once_it_leads_somewhere() {
    let folder = tempfile::tempdir().expect("a folder");
    let tasks = "    - file: {path: '{{ base }}/dir', state: directory}\n    - copy: {content: x, dest: '{{ base }}/alias/c'}\n";
    lay_out(folder.path(), &format!("- hosts: web\n  gather_facts: false\n  tasks:\n{tasks}"));
    let (told, files) = fresh_run(folder.path(), true, false);
    assert!(files.contains_key(&folder.path().join("base/dir/c").display().to_string()), "{told:#?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, max_shrink_iters: 0, ..Default::default() })]

    #[test]
    fn any_playbook_ends_alike_with_and_without(parts in prop::collection::vec(part(), 3..14)) {
        let folder = tempfile::tempdir().expect("a folder");
        let text = playbook(&parts);
        lay_out(folder.path(), &text);
        let ahead = fresh_run(folder.path(), true, true);
        let in_turn = fresh_run(folder.path(), false, true);
        let differs = ahead.0.iter().zip(&in_turn.0).find(|(a, b)| a != b);
        prop_assert!(differs.is_none(), "{:#?}\n{}", differs, text);
        prop_assert_eq!(ahead.0.len(), in_turn.0.len(), "{}", text);
        prop_assert_eq!(ahead.1, in_turn.1, "{}", text);
    }
}

/// How much is looked at ahead of its turn grows with a loop or a play, not with its square.
#[tokio::test]
async fn looking_ahead_grows_with_the_play() {
    let looked = async |tasks: &str| {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("hosts"), "a ansible_connection=local\n").expect("written");
        let text = format!("- hosts: a\n  gather_facts: false\n  tasks:\n{tasks}");
        std::fs::write(folder.path().join("site.yml"), text).expect("written");
        run(folder.path(), true).await.0.looked_ahead
    };
    let range = |n: usize| format!("'{{{{ range({n}) | list }}}}'");
    for (name, most, tasks) in [
        // Each of these once passed by all that was left of the loop, item by item.
        ("debug", 10, (&|n| format!("    - debug:\n      loop: {}\n", range(n))) as &dyn Fn(usize) -> String),
        ("set_fact", 10, &|n| format!("    - set_fact: {{x: '{{{{ item }}}}'}}\n      loop: {}\n", range(n))),
        ("skipped items", 4, &|n| {
            format!("    - stat: {{path: '/{{{{ item }}}}'}}\n      loop: {}\n      when: false\n", range(n))
        }),
        ("a loop that follows", 10, &|n| {
            format!(
                "    - debug:\n      loop: {0}\n    - stat: {{path: '/{{{{ item }}}}'}}\n      loop: {0}\n      when: false\n",
                range(n)
            )
        }),
    ] {
        let (few, many) = (looked(&tasks(200)).await, looked(&tasks(400)).await);
        assert!(many <= 2 * few + 200, "{name}: {few} for 200 items, {many} for 400");
        assert!(many <= most * 400, "{name}: {many} for 400 items");
    }
    let (few, many) =
        (looked(&"    - debug:\n".repeat(1200)).await, looked(&"    - debug:\n".repeat(2400)).await);
    assert!(many <= 3 * few, "tasks: {few} for 1200, {many} for 2400");
}
