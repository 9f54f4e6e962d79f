//! Which entry of which folder a path meant when it was looked at: what tells whether a change touches what was seen.

use std::collections::HashMap;

use super::look::Look;

/// A folder as the kernel numbers it, whatever path led there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Folder {
    pub(super) device: u64,
    pub(super) inode: u64,
}

/// A name in a folder.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Entry {
    pub(super) folder: Folder,
    pub(super) name: String,
}

impl Folder {
    /// Whether it is on a disk of its machine, and not of a file system that others may change too (nor on one that lives in memory).
    fn is_on_disk(self) -> bool {
        // The numbers of disks have a major part; Linux makes the others up.
        (self.device >> 8) & 0xfff | (self.device >> 32) & !0xfff != 0
    }
}

/// What stood at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// Nothing, in a folder that is there.
    Nothing,
    /// Nothing, nor the folder that it would be in.
    NoFolder,
    /// A regular file without a second name.
    File,
    Other,
}

/// Where a path led.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Spot {
    /// In the deepest folder on the way that was there, the next name.
    pub(super) entry: Entry,
    /// The folder that stood at the path.
    pub(super) own: Option<Folder>,
    pub(super) standing: Standing,
}

/// Where accounts are kept: what is asked about users and groups is asked of files in it.
pub(super) const ACCOUNTS: &str = "/etc";

/// What stands above a path, the deepest first; the root is empty.
fn above(path: &str) -> impl Iterator<Item = &str> {
    path.rmatch_indices('/').map(|(at, _)| &path[..at])
}

/// The folder that a path leads to, as `stat` is asked for it.
fn inside(path: &str) -> String {
    format!("{path}/.")
}

/// What `stat` has to be asked besides the path itself: the folders on its way, and what stands in their places, which may be links that lead
/// nowhere yet.
pub(super) fn way(path: &str) -> Vec<String> {
    above(path).flat_map(|up| [inside(up), up.to_owned()]).filter(|asked| !asked.is_empty()).collect()
}

const LINK: u32 = 0o120_000;

/// What a line of `stat` says of an inode.
struct Inode {
    kind: u32,
    links: u64,
    number: Folder,
}

fn inode(line: &str) -> Option<Inode> {
    let fields: Vec<&str> = line.split(':').collect();
    let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
    Some(Inode {
        kind: u32::from_str_radix(fields.first()?, 16).ok()? & 0o170_000,
        links: number(4)?,
        number: Folder { inode: number(5)?, device: number(6)? },
    })
}

/// Where a path led, by what `stat` said of it and of the folders on its way. `None` where that cannot be told, a link
/// may lead on, or the folder may be changed from elsewhere.
pub(super) fn spot(path: &str, stat: &HashMap<&str, &str>) -> Option<Spot> {
    let names: Vec<&str> = path.strip_prefix('/')?.split('/').collect();
    if names.iter().any(|name| matches!(*name, "" | "." | "..")) {
        return None;
    }
    let known = |path: &str| stat.get(path).and_then(|line| inode(line));
    // The first of them that is missing, or the path itself, and the folder that it is missing in.
    let (missing, (next, folder)) = std::iter::once(path)
        .chain(above(path))
        .zip(above(path))
        .enumerate()
        .find_map(|(n, (next, up))| Some((n, (next, known(&inside(up))?))))?;
    if !folder.number.is_on_disk() {
        return None;
    }
    let entry = Entry { folder: folder.number, name: (*names.get(names.len() - 1 - missing)?).to_owned() };
    let (own, standing) = match known(next) {
        // It may lead somewhere by what is made elsewhere.
        Some(inode) if inode.kind == LINK => return None,
        _ if missing > 0 => (None, Standing::NoFolder),
        None => (None, Standing::Nothing),
        Some(inode) => match inode.kind {
            0o040_000 => (Some(inode.number), Standing::Other),
            0o100_000 if inode.links == 1 => (None, Standing::File),
            _ => (None, Standing::Other),
        },
    };
    Some(Spot { entry, own, standing })
}

/// The paths whose places decide how long the answer to these questions stands; `None` where they cannot tell.
pub(super) fn paths(looks: &[Look]) -> Option<Vec<&str>> {
    let mut paths = Vec::new();
    for look in looks {
        match look {
            // It follows links to their end.
            Look::Target { .. } => return None,
            Look::Me | Look::User(_) | Look::Group(_) => paths.push(ACCOUNTS),
            other => paths.extend(other.paths()),
        }
    }
    Some(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_means_the_deepest_folder_and_the_next_name() {
        let dir = |inode: u64| format!("41ed:0:0:4096:2:{inode}:65024:0:0:0:8:root:root");
        let file = |links: u64| format!("81a4:0:0:5:{links}:50:65024:0:0:0:8:root:root");
        let lines = [
            ("/.", dir(2)),
            ("/a/.", dir(10)),
            ("/a/b/.", dir(11)),
            ("/a", dir(10)),
            ("/a/b/one", file(1)),
            ("/a/b/two", file(2)),
            ("/nfs/.", "41ed:0:0:4096:2:10:45:0:0:0:8:root:root".into()),
            ("/a/nowhere", "a1ff:0:0:5:1:52:65024:0:0:0:0:root:root".into()),
            ("/a/link", "a1ff:0:0:5:1:51:65024:0:0:0:0:root:root".into()),
        ];
        let stat: HashMap<&str, &str> = lines.iter().map(|(path, line)| (*path, line.as_str())).collect();
        let said = |path: &str| {
            spot(path, &stat)
                .map(|s| (s.entry.folder.inode, s.entry.name, s.own.map(|o| o.inode), s.standing))
        };
        for (path, expected) in [
            ("/a", Some((2, "a", Some(10), Standing::Other))),
            ("/a/b/one", Some((11, "one", None, Standing::File))),
            ("/a/b/two", Some((11, "two", None, Standing::Other))),
            ("/a/b/three", Some((11, "three", None, Standing::Nothing))),
            ("/a/x/y/z", Some((10, "x", None, Standing::NoFolder))),
            ("/new", Some((2, "new", None, Standing::Nothing))),
            ("/a/link", None),
            ("/a/nowhere/x/y", None),
            ("/nfs/one", None),
            ("/a/../b", None),
            ("/a//b", None),
            ("/a/b/", None),
            ("relative", None),
        ] {
            let expected = expected.map(|(f, n, o, s): (_, &str, _, _)| (f, n.to_owned(), o, s));
            assert_eq!(said(path), expected, "{path}");
        }
    }
}
