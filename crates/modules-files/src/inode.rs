use crate::value::{Map, Value};

/// What stands at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Directory,
    Link,
    Fifo,
    Socket,
    Character,
    Block,
}

/// One line of `stat`, as [`STAT_FORMAT`](crate::host::STAT_FORMAT) asks for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Inode {
    pub(super) kind: Kind,
    /// The low twelve bits.
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) size: u64,
    pub(super) links: u64,
    pub(super) number: u64,
    pub(super) device: u64,
    pub(super) atime: i64,
    pub(super) mtime: i64,
    pub(super) ctime: i64,
    pub(super) blocks: u64,
    pub(super) owner: String,
    pub(super) group: String,
}

impl Inode {
    pub(super) fn parse(line: &str) -> Option<Self> {
        let mut fields = line.split(':');
        let raw = u32::from_str_radix(fields.next()?, 16).ok()?;
        let kind = match raw & 0o170_000 {
            0o040_000 => Kind::Directory,
            0o120_000 => Kind::Link,
            0o010_000 => Kind::Fifo,
            0o140_000 => Kind::Socket,
            0o020_000 => Kind::Character,
            0o060_000 => Kind::Block,
            _ => Kind::File,
        };
        Some(Self {
            kind,
            mode: raw & 0o7777,
            uid: fields.next()?.parse().ok()?,
            gid: fields.next()?.parse().ok()?,
            size: fields.next()?.parse().ok()?,
            links: fields.next()?.parse().ok()?,
            number: fields.next()?.parse().ok()?,
            device: fields.next()?.parse().ok()?,
            atime: fields.next()?.parse().ok()?,
            mtime: fields.next()?.parse().ok()?,
            ctime: fields.next()?.parse().ok()?,
            blocks: fields.next()?.parse().ok()?,
            owner: fields.next()?.to_owned(),
            group: fields.next()?.to_owned(),
        })
    }

    pub(super) fn is_directory(&self) -> bool {
        self.kind == Kind::Directory
    }

    pub(super) fn is_link(&self) -> bool {
        self.kind == Kind::Link
    }

    /// Ansible's word for it.
    pub(super) fn state(&self) -> &'static str {
        match self.kind {
            Kind::Link => "link",
            Kind::Directory => "directory",
            _ if self.links > 1 => "hard",
            _ => "file",
        }
    }

    /// The keys that every file module registers.
    pub(super) fn describe(&self, into: &mut Map) {
        into.insert("mode".into(), octal(self.mode).into());
        into.insert("owner".into(), self.owner.clone().into());
        into.insert("group".into(), self.group.clone().into());
        into.insert("uid".into(), self.uid.into());
        into.insert("gid".into(), self.gid.into());
        into.insert("size".into(), self.size.into());
        into.insert("state".into(), self.state().into());
    }

    /// Whether both are one file on the disk.
    pub(super) fn is_same_file(&self, other: &Self) -> bool {
        self.number == other.number && self.device == other.device
    }
}

/// Mode bits as Ansible writes them.
pub(super) fn octal(mode: u32) -> String {
    format!("0{mode:03o}")
}

/// A result mapping of what was given.
pub(super) fn map<const N: usize>(pairs: [(&str, Value); N]) -> Map {
    pairs.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_line_of_stat() {
        let file =
            Inode::parse("81a4:0:4:12:2:77:65024:1:2:3:8:root:adm users").unwrap_or_else(|| panic!("line"));
        assert_eq!((file.kind, file.mode, file.uid, file.gid, file.size), (Kind::File, 0o644, 0, 4, 12));
        assert_eq!((file.state(), file.group.as_str()), ("hard", "adm users"));
        assert_eq!(Inode::parse("a1ff:0:0:1:1:1:1:1:1:1:0:r:r").map(|i| i.kind), Some(Kind::Link));
        assert_eq!(Inode::parse("nonsense"), None);
        assert_eq!(octal(0o4755), "04755");
        assert_eq!(octal(0), "0000");
    }
}
