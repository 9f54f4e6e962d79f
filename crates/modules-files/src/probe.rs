use crate::ModuleError;
use crate::host::{Look, Place, REAL, Reply, STAT_FORMAT, Script, quote};

use super::inode::Inode;

/// A read-only script that answers with lines of `key value`, and at its end perhaps with a file's content.
pub(super) struct Probe {
    text: String,
    /// What the text asks; `None` once something else was added to it.
    looks: Option<Vec<Look>>,
}

// i: what stands at a path. j: what stands there after following links. look: both, with the link's target.
// sum: a checksum by whichever tool is there. An answer that would not fit on one line becomes `?`.
const PRELUDE: &str = r#"LC_ALL=C; export LC_ALL
nl='
'
i() { if s=$(stat -c "$F" "$2" 2>/dev/null); then echo "$1 $s"; else echo "$1 absent"; fi; }
j() { if s=$(stat -L -c "$F" "$2" 2>/dev/null); then echo "$1 $s"; else echo "$1 absent"; fi; }
say() { case $2 in *"$nl"*) echo "$1 ?";; *) echo "$1 $2";; esac; }
look() { i "$1" "$2"; if [ -L "$2" ]; then say "$1.link" "$(readlink "$2")"; say "$1.real" "$(real "$2")"; j "$1.to" "$2"; fi; }
sum() { if command -v "$2sum" >/dev/null 2>&1; then s=$("$2sum" <"$3" 2>/dev/null); else s=$(openssl dgst -r "-$2" <"$3" 2>/dev/null); fi; echo "$1 ${s%% *}"; }
base() { d=$2; while [ ! -e "$d" ] && [ -n "$d" ]; do d=${d%/*}; done; say "$1" "${d:-/}"; }
gid() ( r=$(getent group "$1" 2>/dev/null) || while IFS= read -r r; do case $r in "$1":*) break;; esac; r=; done </etc/group
  set -f; IFS=:; set -- $r; echo "gid $3" )
"#;

impl Probe {
    pub(super) fn new() -> Self {
        Self { text: format!("F='{STAT_FORMAT}'\n{REAL}\n{PRELUDE}"), looks: Some(Vec::new()) }
    }

    /// Adds lines of `sh`; whatever is in them must be quoted already. A probe with such lines is always a request of its own.
    pub(super) fn add(mut self, line: impl AsRef<str>) -> Self {
        self.looks = None;
        self.line(line.as_ref());
        self
    }

    fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    fn ask(mut self, look: Look, line: &str) -> Self {
        self.line(line);
        if let Some(looks) = &mut self.looks {
            looks.push(look);
        }
        self
    }

    /// What stands at a path, and behind it if it is a link.
    pub(super) fn look(self, key: &str, path: &str) -> Self {
        let line = format!("look {key} {}", quote(path));
        self.ask(Look::Path { key: key.into(), path: path.into() }, &line)
    }

    /// The deepest folder above (or at) a path that exists.
    pub(super) fn base(self, key: &str, path: &str) -> Self {
        let line = format!("base {key} {}", quote(path));
        self.ask(Look::Base { key: key.into(), path: path.into() }, &line)
    }

    /// A place for a file: the path, or `below` where that is a folder.
    pub(super) fn place(self, place: Place) -> Self {
        let key = &place.key;
        let mut line = format!("p={}", quote(&place.path));
        if let Some(below) = &place.below {
            line.push_str(&format!("; if [ -d \"$p\" ]; then p={}; fi", quote(below)));
        }
        if place.tell_folder {
            line.push_str(&format!("; if [ -d \"$p\" ]; then echo {key}.folder yes; fi"));
        }
        line.push_str(&format!("\nsay {key}.at \"$p\"; look {key} \"$p\"; base {key}.base \"${{p%/*}}\""));
        if place.sum {
            line.push_str(&format!("\n[ -f \"$p\" ] && sum {key}.sum sha1 \"$p\""));
        }
        self.ask(Look::Place(place), &line)
    }

    /// What a link at a path would lead to; for a folder at the path, what it would lead to from inside, and whether it is empty.
    pub(super) fn target(self, path: &str, inside: &str, beside: &str) -> Self {
        let q = quote(path);
        let line = format!(
            "if [ -d {q} ] && [ ! -L {q} ]; then j src {}; [ -z \"$(ls -A {q})\" ] && echo empty yes; else j src {}; fi",
            quote(inside),
            quote(beside),
        );
        self.ask(Look::Target { path: path.into(), target: beside.into() }, &line)
    }

    /// Who asks, and with which umask: what a new file will belong to.
    pub(super) fn me(self) -> Self {
        self.ask(Look::Me, r#"echo "me $(umask) $(id)""#)
    }

    /// The number behind an owner's and a group's name.
    pub(super) fn principals(mut self, owner: Option<&str>, group: Option<&str>) -> Self {
        if let Some(owner) = owner.filter(|o| o.parse::<u32>().is_err()) {
            let line = format!(r#"echo "uid $(id -u {} 2>/dev/null)""#, quote(owner));
            self = self.ask(Look::User(owner.into()), &line);
        }
        if let Some(group) = group.filter(|g| g.parse::<u32>().is_err()) {
            self = self.ask(Look::Group(group.into()), &format!("gid {}", quote(group)));
        }
        self
    }

    /// What whoever asks may do with a path.
    pub(super) fn access(self, path: &str) -> Self {
        let q = quote(path);
        let line = format!("[ -r {q} ] && echo r yes; [ -w {q} ] && echo w yes; [ -x {q} ] && echo x yes");
        self.ask(Look::Access(path.into()), &line)
    }

    /// The checksum of a regular file; without `follow` not of what a link leads to.
    pub(super) fn sum(self, key: &str, algorithm: &'static str, path: &str, follow: bool) -> Self {
        let q = quote(path);
        let line = format!("if {} && [ -r {q} ]; then sum {key} {algorithm} {q}; fi", regular(&q, follow));
        self.ask(Look::Sum { key: key.into(), algorithm, path: path.into(), follow }, &line)
    }

    /// What kind of content a regular file has, where the target can tell.
    pub(super) fn mime(self, path: &str, follow: bool) -> Self {
        let q = quote(path);
        let line = format!(
            "if {} && command -v file >/dev/null 2>&1; then say mime \"$(file --brief --mime {q} 2>/dev/null)\"; fi",
            regular(&q, follow)
        );
        self.ask(Look::Mime { path: path.into(), follow }, &line)
    }

    /// The end of a backup's name, as Ansible's backups end.
    pub(super) fn stamp(self, wanted: bool) -> Self {
        if wanted { self.add(r#"echo "stamp $$.$(date +%Y-%m-%d@%H:%M:%S)~""#) } else { self }
    }

    /// The content of a regular file, up to the end of the answer: asked last.
    pub(super) fn content(self, path: &str) -> Self {
        let q = quote(path);
        let line = format!(
            "if [ -f {q} ]; then if [ -r {q} ]; then echo --; cat {q}; else echo unreadable yes; fi; fi"
        );
        self.ask(Look::Content(path.into()), &line)
    }

    pub(super) fn script(self) -> Script {
        let looks = self.looks.unwrap_or_default();
        Script { looks, ..Script::new(self.text + "exit 0\n") }
    }
}

fn regular(q: &str, follow: bool) -> String {
    if follow { format!("[ -f {q} ]") } else { format!("[ -f {q} ] && [ ! -L {q} ]") }
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
    use crate::host::{ConnectionSpec, Target};

    fn here() -> Target {
        Target::new(ConnectionSpec::local("here"))
    }

    /// Probes of everything that can stand at a path.
    fn probes(folder: &std::path::Path) -> Vec<Script> {
        use std::os::unix::fs::{PermissionsExt as _, symlink};
        let at = |name: &str| folder.join(name).display().to_string();
        std::fs::create_dir(at("dir")).expect("a folder");
        for (name, content) in
            [("file", "abc"), ("empty", ""), ("it's a name", "-- x\n--\n"), ("dir/t", "\u{1e}content\n")]
        {
            std::fs::write(at(name), content).expect("a file");
        }
        std::fs::write(at("bytes"), (0..=255).collect::<Vec<u8>>()).expect("a file");
        std::fs::write(at("large"), "0123456789".repeat(40_000)).expect("a file");
        std::fs::set_permissions(at("empty"), std::fs::Permissions::from_mode(0o000)).expect("a mode");
        for (target, name) in [
            ("file", "link"),
            ("dir", "dirlink"),
            ("nowhere", "dangling"),
            ("a\nb \u{1e}stat\nx", "odd link"),
        ] {
            symlink(target, at(name)).expect("a link");
        }
        assert!(std::process::Command::new("mkfifo").arg(at("pipe")).status().expect("mkfifo").success());
        let names = [
            "file",
            "empty",
            "it's a name",
            "dir",
            "link",
            "dirlink",
            "dangling",
            "pipe",
            "odd link",
            "absent",
            "absent/below/that",
            "bytes",
            "large",
            "file/below",
            "dir/t",
            "new\nline",
            "back\\slash",
        ];
        let mut probes = Vec::new();
        for (n, name) in names.iter().enumerate() {
            let path = at(name);
            let spot = |below: Option<String>, tell_folder| Place {
                key: "0".into(),
                path: path.clone(),
                below,
                tell_folder,
                sum: true,
            };
            let follow = n % 2 == 0;
            probes.extend([
                Probe::new().look("path", &path).base("base", &path).me(),
                Probe::new().look("path", &path).principals(Some("root"), Some("nobody-here")).content(&path),
                Probe::new().me().place(spot(None, true)),
                Probe::new()
                    .place(spot(Some(format!("{path}/t")), false))
                    .principals(Some("no such user"), Some("root")),
                Probe::new().look("path", &path).target(&path, &at("file"), &at("link")),
                Probe::new()
                    .look("path", &path)
                    .access(&path)
                    .sum("sum", "sha256", &path, follow)
                    .mime(&path, follow),
            ]);
        }
        probes.into_iter().map(Probe::script).collect()
    }

    #[tokio::test]
    async fn a_merged_probe_answers_as_one_of_its_own() {
        let folder = tempfile::tempdir().expect("a folder");
        let probes = probes(folder.path());
        let target = here();
        let shell = target.shell(None);
        let mut alone = Vec::new();
        for probe in &probes {
            alone.push(shell.run(probe).await.expect("an answer"));
        }
        let before = target.traffic().requests;
        shell.send_ahead(probes.clone());
        let mut told = 0;
        for (probe, alone) in probes.iter().zip(&alone) {
            // What cannot be told in a merged answer is asked anew.
            let Some(together) = shell.answer_ahead(probe).await else { continue };
            told += 1;
            let sorted = |reply: &Reply| {
                let mut answer = Answer::read(reply).expect("readable");
                answer.lines.retain(|(_, value)| !value.is_empty());
                for (_, value) in &mut answer.lines {
                    // Reading the content moves the time of access.
                    *value = value.split(':').enumerate().filter(|(n, _)| *n != 7).map(|(_, f)| f).collect();
                }
                answer.lines.sort();
                answer
            };
            assert_eq!(sorted(&together), sorted(alone), "{:?}", probe.looks);
        }
        // Names with a backslash or a line break are asked for alone, all others together.
        let odd = probes.iter().filter(|p| format!("{:?}", p.looks).contains('\\')).count() as u64;
        let asked = target.traffic().requests - before;
        assert_eq!(asked, odd + 1, "{odd} odd ones of {} probes", probes.len());
        assert!(told > probes.len() * 3 / 4, "{told} of {}", probes.len());
        target.close().await;
    }

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
