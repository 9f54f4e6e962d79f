// What is fuzzed: each function takes any bytes, and may only return. Shared by cargo-fuzz (fuzz_targets/) and by tests/fuzz.rs.

use std::sync::{Arc, OnceLock};

use quaylab::diag::{Origin, SourceFile};
use quaylab::inventory::Inventory;
use quaylab::playbook::{Folder, Loader};
use quaylab::vault::{Envelope, Key, Vault};
use quaylab::yaml::{self, Kind, Mapping, Node};

/// What is done with arbitrary bytes.
type Target = fn(&[u8]);

/// A target's name and what it does.
pub(crate) const TARGETS: [(&str, Target); 5] = [
    ("inventory", inventory),
    ("yaml", document),
    ("pattern", pattern),
    ("vault", vault),
    ("splitter", splitter),
];

/// An INI or YAML inventory, read from a file in memory.
pub(crate) fn inventory(data: &[u8]) {
    static FOLDER: OnceLock<tempfile::TempDir> = OnceLock::new();
    let folder = FOLDER
        .get_or_init(|| tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a folder"));
    let ending = if data.first().is_some_and(|b| b % 2 == 0) { "ini" } else { "yml" };
    let path = folder.path().join(format!("hosts.{ending}"));
    std::fs::write(&path, data.get(1..).unwrap_or_default()).expect("written");
    let _ = Inventory::load(&[path.to_string_lossy().into_owned()]).map(|(inventory, _)| {
        for host in inventory.hosts().map(str::to_owned).take(50).collect::<Vec<_>>() {
            let _ = inventory.host_vars(&host);
        }
    });
}

/// Any YAML document.
pub(crate) fn document(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let _ = yaml::load(&SourceFile::new("fuzz.yml", text.as_ref()));
}

/// A host pattern, on an inventory with some of everything.
pub(crate) fn pattern(data: &[u8]) {
    static HOSTS: OnceLock<Inventory> = OnceLock::new();
    let inventory = HOSTS.get_or_init(|| {
        let mut inventory = Inventory::load(&[]).expect("nothing to read").0;
        for (host, groups) in
            [("web01", ["web", "eu"]), ("web02", ["web", "us"]), ("db.example.com", ["db", "eu"])]
        {
            inventory.add_host(host, &groups.map(str::to_owned), indexmap::IndexMap::new());
        }
        inventory
    });
    let text = String::from_utf8_lossy(data);
    // A limit may name a file, which is not what is tried here.
    let (pattern, limit) = text.split_once('\n').map_or((text.as_ref(), None), |(p, l)| (p, Some(l)));
    let limit = limit.filter(|l| !l.contains('@'));
    let _ = inventory.select_limited(pattern, limit);
}

/// A vault text.
pub(crate) fn vault(data: &[u8]) {
    static KEYS: OnceLock<Arc<Vault>> = OnceLock::new();
    let keys = KEYS.get_or_init(|| Arc::new(Vault::new(vec![Key::new("default", "secret")])));
    let text = String::from_utf8_lossy(data);
    // Drawing a key takes ten thousand rounds: only what has a whole body gets that far.
    if Envelope::parse(&text).is_ok() {
        let _ = keys.open(&text);
    }
}

/// A task's arguments on one line.
pub(crate) fn splitter(data: &[u8]) {
    static LOADER: OnceLock<Loader> = OnceLock::new();
    let loader = LOADER.get_or_init(|| Loader::new(Vec::new()));
    let text = String::from_utf8_lossy(data);
    let origin = Origin::synthetic("fuzz");
    let map = |pairs: Vec<(&str, Node)>| {
        let pairs = pairs.into_iter().map(|(key, value)| (Node::str(key, &origin), value)).collect();
        Node::new(Kind::Map(Mapping(pairs)), &origin)
    };
    let list = |items| Node::new(Kind::Seq(items), &origin);
    let words = || Node::str(text.as_ref(), &origin);
    for module in ["debug", "command", "copy", "set_fact"] {
        let tasks = list(vec![map(vec![(module, words())])]);
        let play = map(vec![("hosts", Node::str("all", &origin)), ("tasks", tasks)]);
        let _ = loader.parsed(&list(vec![play]), &Folder::Disk("/nowhere".into()));
    }
}
