use crate::host::{Reply, Script, quote};
use crate::modules::ModuleError;

use super::inode::{FORMAT, Inode};

/// A read-only script that answers with lines of `key value`, and at its end perhaps with a file's content.
pub(super) struct Probe {
    text: String,
}

// i: what stands at a path. j: what stands there after following links. look: both, with the link's target.
// sum: a checksum by whichever tool is there. An answer that would not fit on one line becomes `?`.
const PRELUDE: &str = r#"LC_ALL=C; export LC_ALL
nl='
'
i() { if s=$(stat -c "$F" "$2" 2>/dev/null); then echo "$1 $s"; else echo "$1 absent"; fi; }
j() { if s=$(stat -L -c "$F" "$2" 2>/dev/null); then echo "$1 $s"; else echo "$1 absent"; fi; }
say() { case $2 in *"$nl"*) echo "$1 ?";; *) echo "$1 $2";; esac; }
look() { i "$1" "$2"; if [ -L "$2" ]; then say "$1.link" "$(readlink "$2")"; say "$1.real" "$(readlink -f "$2")"; j "$1.to" "$2"; fi; }
sum() { if command -v "$2sum" >/dev/null 2>&1; then s=$("$2sum" <"$3" 2>/dev/null); else s=$(openssl dgst -r "-$2" <"$3" 2>/dev/null); fi; echo "$1 ${s%% *}"; }
base() { d=$2; while [ ! -e "$d" ] && [ -n "$d" ]; do d=${d%/*}; done; say "$1" "${d:-/}"; }
gid() ( r=$(getent group "$1" 2>/dev/null) || while IFS= read -r r; do case $r in "$1":*) break;; esac; r=; done </etc/group
  set -f; IFS=:; set -- $r; echo "gid $3" )
"#;

impl Probe {
    pub(super) fn new() -> Self {
        Self { text: format!("F='{FORMAT}'\n{PRELUDE}") }
    }

    /// Adds lines of `sh`; whatever is in them must be quoted already.
    pub(super) fn add(mut self, line: impl AsRef<str>) -> Self {
        self.text.push_str(line.as_ref());
        self.text.push('\n');
        self
    }

    /// What stands at a path, and behind it if it is a link.
    pub(super) fn look(self, key: &str, path: &str) -> Self {
        self.add(format!("look {key} {}", quote(path)))
    }

    /// The deepest folder above (or at) a path that exists.
    pub(super) fn base(self, key: &str, path: &str) -> Self {
        self.add(format!("base {key} {}", quote(path)))
    }

    /// Who asks, and with which umask: what a new file will belong to.
    pub(super) fn me(self) -> Self {
        self.add(r#"echo "me $(umask) $(id)""#)
    }

    /// The number behind an owner's and a group's name.
    pub(super) fn principals(mut self, owner: Option<&str>, group: Option<&str>) -> Self {
        if let Some(owner) = owner.filter(|o| o.parse::<u32>().is_err()) {
            self = self.add(format!(r#"echo "uid $(id -u {} 2>/dev/null)""#, quote(owner)));
        }
        if let Some(group) = group.filter(|g| g.parse::<u32>().is_err()) {
            self = self.add(format!("gid {}", quote(group)));
        }
        self
    }

    /// The end of a backup's name, as Ansible's backups end.
    pub(super) fn stamp(self, wanted: bool) -> Self {
        if wanted { self.add(r#"echo "stamp $$.$(date +%Y-%m-%d@%H:%M:%S)~""#) } else { self }
    }

    /// The content of a regular file, up to the end of the answer: asked last.
    pub(super) fn content(self, path: &str) -> Self {
        let path = quote(path);
        self.add(format!("if [ -f {path} ]; then if [ -r {path} ]; then echo --; cat {path}; else echo unreadable yes; fi; fi"))
    }

    pub(super) fn script(self) -> Script {
        Script::new(self.text + "exit 0\n")
    }
}

/// What a probe answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    lines: Vec<(String, String)>,
    /// What stood after the line `--`.
    pub(super) content: Option<Vec<u8>>,
}

/// Who the target's commands run as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Me {
    pub(super) umask: u32,
    pub(super) uid: u32,
    pub(super) owner: String,
    pub(super) gid: u32,
    pub(super) group: String,
}

impl Answer {
    pub(super) fn read(reply: &Reply) -> Result<Self, ModuleError> {
        if !reply.ok() {
            return Err(ModuleError::failed(format!("looking at the target failed: {}", reply.err().trim())));
        }
        let mut rest = reply.stdout.as_slice();
        let mut lines = Vec::new();
        while !rest.is_empty() {
            let end = rest.iter().position(|b| *b == b'\n').unwrap_or(rest.len());
            let line = String::from_utf8_lossy(&rest[..end]);
            rest = rest.get(end + 1..).unwrap_or_default();
            if line == "--" {
                return Ok(Self { lines, content: Some(rest.to_vec()) });
            }
            let (key, value) = line.split_once(' ').unwrap_or((&line, ""));
            lines.push((key.to_owned(), value.trim_end().to_owned()));
        }
        Ok(Self { lines, content: None })
    }

    /// The first answer to a question; an empty one is none.
    pub(super) fn get(&self, key: &str) -> Option<&str> {
        self.lines.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str()).filter(|v| !v.is_empty())
    }

    pub(super) fn all<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.lines.iter().filter(move |(k, _)| k == key).map(|(_, v)| v.as_str())
    }

    pub(super) fn number<T: std::str::FromStr>(&self, key: &str) -> Option<T> {
        self.get(key)?.parse().ok()
    }

    /// `None` is nothing there.
    pub(super) fn inode(&self, key: &str) -> Result<Option<Inode>, ModuleError> {
        match self.get(key) {
            None | Some("absent") => Ok(None),
            Some(line) => Inode::parse(line)
                .map(Some)
                .ok_or_else(|| ModuleError::failed(format!("the target's stat answered {line:?}"))),
        }
    }

    pub(super) fn me(&self) -> Option<Me> {
        let (umask, id) = self.get("me")?.split_once(' ')?;
        let part = |name: &str| {
            let (_, rest) = id.split_once(name)?;
            let (number, rest) = rest.split_once('(')?;
            Some((number.parse().ok()?, rest.split_once(')')?.0.to_owned()))
        };
        let (uid, owner) = part("uid=")?;
        let (gid, group) = part(" gid=")?;
        Some(Me { umask: u32::from_str_radix(umask, 8).ok()?, uid, owner, gid, group })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_lines_and_then_bytes() {
        let reply = Reply {
            stdout: b"path absent\nuid \nme 0022 uid=5(quay) gid=6(a b) groups=6(a b)\n--\nx\n--\n\xff"
                .to_vec(),
            ..Reply::default()
        };
        let answer = Answer::read(&reply).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(answer.inode("path").ok(), Some(None));
        assert_eq!(answer.get("uid"), None);
        assert_eq!(answer.content.as_deref(), Some(b"x\n--\n\xff".as_slice()));
        let me = Me { umask: 0o22, uid: 5, owner: "quay".into(), gid: 6, group: "a b".into() };
        assert_eq!(answer.me(), Some(me));
    }
}
