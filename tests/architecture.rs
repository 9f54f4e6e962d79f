//! The house as docs/architecture.md draws it, beside the manifests that Cargo builds from.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

type Rooms = BTreeMap<String, BTreeSet<String>>;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The words in backquotes.
fn quoted(cell: &str) -> BTreeSet<String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// The crates in the table, and what each may use.
fn drawn() -> Rooms {
    let text = read(&root().join("docs/architecture.md"));
    let table = text.lines().skip_while(|line| !line.starts_with("| crate |")).skip(2);
    table
        .take_while(|line| line.starts_with('|'))
        .map(|line| {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            let [_, name, .., uses, _] = cells.as_slice() else { panic!("a row without cells: {line}") };
            (quoted(name).into_iter().next().expect("a crate's name"), quoted(uses))
        })
        .collect()
}

/// The crates as they stand, and what each uses in what is built; tests may use more.
fn built() -> Rooms {
    let folders = std::fs::read_dir(root().join("crates")).expect("the crates");
    let crates = folders.map(|entry| entry.expect("an entry").path());
    crates
        .map(|folder| {
            let manifest = read(&folder.join("Cargo.toml"));
            let uses = manifest
                .split("[dependencies]")
                .nth(1)
                .and_then(|rest| rest.split("\n[").next())
                .into_iter()
                .flat_map(str::lines)
                .filter_map(|line| line.strip_prefix("quaylab-")?.split(['.', ' ', '=']).next())
                .map(str::to_owned)
                .collect();
            (folder.file_name().expect("a name").to_string_lossy().into_owned(), uses)
        })
        .collect()
}

#[test]
fn the_crates_use_what_the_drawing_says() {
    assert_eq!(drawn(), built());
}

/// Some crates are used by none below them: taken away one after the other, none is left.
#[test]
fn no_arrow_leads_back() {
    let mut left = built();
    while !left.is_empty() {
        let used: BTreeSet<String> = left.values().flatten().cloned().collect();
        let before = left.len();
        left.retain(|name, _| used.contains(name));
        assert!(left.len() < before, "a circle among {:?}", left.keys());
    }
}

/// Which rooms inside a crate use which, by the paths in their sources.
fn inside(krate: &str) -> Rooms {
    let folder = root().join("crates").join(krate).join("src");
    let lib = read(&folder.join("lib.rs"));
    let rooms: BTreeSet<String> = lib
        .lines()
        .filter_map(|l| l.strip_prefix("pub mod ")?.strip_suffix(';'))
        .map(str::to_owned)
        .collect();
    let mut found = Rooms::new();
    let mut next: Vec<(String, PathBuf)> = rooms
        .iter()
        .flat_map(|room| {
            let places = [folder.join(room), folder.join(format!("{room}.rs"))];
            places.into_iter().filter(|path| path.exists()).map(|path| (room.clone(), path))
        })
        .collect();
    while let Some((room, path)) = next.pop() {
        if path.is_dir() {
            let entries = std::fs::read_dir(&path).expect("a folder").map(|e| e.expect("an entry").path());
            next.extend(entries.map(|path| (room.clone(), path)));
            continue;
        }
        // Tests may build what they test from anything.
        if path.extension().is_none_or(|e| e != "rs") || path.to_string_lossy().ends_with("tests.rs") {
            continue;
        }
        let text = read(&path);
        let built = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
        let paths = built.split("crate::").skip(1);
        // One name, or a list of them in braces.
        let heads = paths.map(|rest| match rest.strip_prefix('{') {
            Some(list) => list.split('}').next().unwrap_or_default(),
            None => rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default(),
        });
        let words = heads.flat_map(|head| head.split(|c: char| !c.is_alphanumeric() && c != '_'));
        let uses = words.map(str::to_owned);
        found
            .entry(room.clone())
            .or_default()
            .extend(uses.filter(|used| *used != room && rooms.contains(used)));
    }
    found
}

#[test]
fn no_arrow_leads_back_inside_the_crates_of_several_rooms() {
    for krate in ["base", "language"] {
        let mut left = inside(krate);
        assert!(left.len() > 5, "{krate} has {left:?}");
        while !left.is_empty() {
            let before = left.len();
            let used: BTreeSet<String> = left.values().flatten().cloned().collect();
            left.retain(|name, _| used.contains(name));
            assert!(left.len() < before, "{krate} has a circle among {left:?}");
        }
    }
}
