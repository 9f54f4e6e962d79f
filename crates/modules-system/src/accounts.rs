//! What `user` and `group` read from the account databases.

/// A line of passwd.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Passwd {
    pub(super) name: String,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) comment: String,
    pub(super) home: String,
    pub(super) shell: String,
}

impl Passwd {
    pub(super) fn parse(line: &str) -> Option<Self> {
        let mut fields = line.trim_end_matches('\n').split(':');
        let name = fields.next()?.to_owned();
        let _password = fields.next()?;
        Some(Self {
            name,
            uid: fields.next()?.parse().ok()?,
            gid: fields.next()?.parse().ok()?,
            comment: fields.next()?.to_owned(),
            home: fields.next()?.to_owned(),
            shell: fields.next()?.to_owned(),
        })
    }
}

/// A line of group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Group {
    pub(super) name: String,
    pub(super) gid: u32,
}

impl Group {
    pub(super) fn parse(line: &str) -> Option<Self> {
        let mut fields = line.trim().split(':');
        let name = fields.next()?.to_owned();
        let _password = fields.next()?;
        Some(Self { name, gid: fields.next()?.parse().ok()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read() {
        let root = Passwd::parse("root:x:0:0:Super User:/root:/bin/bash\n").expect("a user");
        assert_eq!((root.uid, root.comment.as_str(), root.shell.as_str()), (0, "Super User", "/bin/bash"));
        assert_eq!(Passwd::parse("broken:x:zero"), None);
        assert_eq!(Group::parse("adm:x:4:a,b"), Some(Group { name: "adm".into(), gid: 4 }));
    }
}
