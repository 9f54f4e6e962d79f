//! Many probes as one request: one `stat`, one `sha1sum` and one `cat` for all of them.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;

use indexmap::IndexSet;
use sha1::{Digest as _, Sha1};

use super::look::{Look, Place, STAT_FIELDS, STAT_FORMAT};
use super::spot::{self, Spot};
use super::{REAL, Reply, Script, quote};

/// The character that starts a section: no path and no value that is printed holds it.
const HEADING: char = '\u{1e}';

/// How many bytes of paths go into one request.
const MOST_BYTES: usize = 48 * 1024;

/// Whether a script can be merged with others.
pub(super) fn fits(script: &Script) -> bool {
    let odd = |c: char| c == '\\' || c.is_control();
    let plain = |path: &str| path.starts_with('/') && !path.contains(odd);
    !script.looks.is_empty()
        && script.stdin.is_empty()
        && script.timeout.is_none()
        && script.looks.iter().all(|look| look.paths().into_iter().all(plain))
}

/// Puts scripts into groups that are asked together; what fits with no other is alone in its group.
pub(super) fn groups(scripts: Vec<Script>) -> Vec<Vec<Script>> {
    let mut open: HashMap<Vec<(String, String)>, (usize, usize)> = HashMap::new();
    let mut groups: Vec<Vec<Script>> = Vec::new();
    for script in scripts {
        if !fits(&script) {
            groups.push(vec![script]);
            continue;
        }
        let size: usize = script.looks.iter().flat_map(Look::paths).map(|p| p.len() + 16).sum();
        match open.get_mut(&script.environment) {
            Some((index, bytes)) if *bytes + size <= MOST_BYTES => {
                *bytes += size;
                groups[*index].push(script);
            }
            _ => {
                open.insert(script.environment.clone(), (groups.len(), size));
                groups.push(vec![script]);
            }
        }
    }
    groups
}

/// What all the questions of a group need to know, each thing once.
#[derive(Default)]
struct Needs<'a> {
    stat: IndexSet<&'a str>,
    /// On the way to the paths; what is known of it tells how long the answers stand.
    way: IndexSet<String>,
    behind: IndexSet<&'a str>,
    base: IndexSet<&'a str>,
    access: IndexSet<&'a str>,
    sums: BTreeMap<&'a str, IndexSet<&'a str>>,
    mime: IndexSet<&'a str>,
    content: IndexSet<&'a str>,
    users: IndexSet<&'a str>,
    groups: IndexSet<&'a str>,
    me: bool,
}

impl<'a> Needs<'a> {
    fn of(scripts: &'a [Script]) -> Self {
        let mut needs = Self::default();
        for path in scripts.iter().filter_map(|s| spot::paths(&s.looks)).flatten() {
            needs.way.extend(spot::way(path));
            needs.stat.insert(path);
        }
        for look in scripts.iter().flat_map(|s| &s.looks) {
            match look {
                Look::Path { path, .. } => {
                    needs.stat.insert(path);
                }
                Look::Base { path, .. } => {
                    needs.base.insert(path);
                }
                Look::Place(place) => {
                    for path in std::iter::once(&place.path).chain(&place.below) {
                        needs.stat.insert(path);
                        needs.base.insert(parent(path));
                        if place.sum {
                            needs.sums.entry("sha1").or_default().insert(path);
                        }
                    }
                }
                Look::Target { path, target } => {
                    needs.stat.insert(path);
                    needs.behind.insert(target);
                }
                Look::Me => needs.me = true,
                Look::User(name) => {
                    needs.users.insert(name);
                }
                Look::Group(name) => {
                    needs.groups.insert(name);
                }
                Look::Access(path) => {
                    needs.access.insert(path);
                }
                Look::Sum { algorithm, path, .. } => {
                    needs.stat.insert(path);
                    needs.sums.entry(algorithm).or_default().insert(path);
                }
                Look::Mime { path, .. } => {
                    needs.stat.insert(path);
                    needs.mime.insert(path);
                }
                Look::Content(path) => {
                    needs.stat.insert(path);
                    needs.content.insert(path);
                }
            }
        }
        needs
    }
}

/// What stands above a path, as `${p%/*}` cuts it.
fn parent(path: &str) -> &str {
    path.rfind('/').map_or(path, |at| &path[..at])
}

fn words<S: AsRef<str>>(of: &IndexSet<S>) -> String {
    of.iter().fold(String::new(), |mut all, word| {
        let _ = write!(all, " {}", quote(word.as_ref()));
        all
    })
}

/// One script that finds out what a group of scripts asks for.
pub(super) fn merged(scripts: &[Script]) -> Script {
    let needs = Needs::of(scripts);
    let mut text = format!(
        "LC_ALL=C; export LC_ALL\nF='{STAT_FORMAT}:%n'\nnl='\n'\nh() {{ printf '\\036%s\\n' \"$1\"; }}\n\
         has() {{ command -v \"$1\" >/dev/null 2>&1; }}\n\
         line() {{ case $1 in *\"$nl\"*|*'{HEADING}'*) echo;; *) printf '%s\\n' \"$1\";; esac; }}\n"
    );
    if needs.me {
        text.push_str("h me; umask; id\n");
    }
    if !needs.stat.is_empty() {
        // After the first look only the links are left in the list.
        let _ = write!(
            text,
            "{REAL}\nset --{}\nh stat; stat -c \"$F\" \"$@\"{} 2>/dev/null\n\
             for p do shift; [ -L \"$p\" ] && set -- \"$@\" \"$p\"; done\n\
             for p do h \"link $p\"; line \"$(readlink \"$p\")\"; line \"$(real \"$p\")\"; done\n",
            words(&needs.stat),
            words(&needs.way)
        );
        let _ = writeln!(text, "set -- \"$@\"{}", words(&needs.behind));
        text.push_str("[ $# -eq 0 ] || { h behind; stat -L -c \"$F\" \"$@\" 2>/dev/null; }\n");
    }
    if !needs.base.is_empty() {
        let _ = writeln!(
            text,
            "h base; for d in{}; do while [ ! -e \"$d\" ] && [ -n \"$d\" ]; do d=${{d%/*}}; done; echo \"${{d:-/}}\"; done",
            words(&needs.base)
        );
    }
    if !needs.access.is_empty() {
        let _ = writeln!(
            text,
            "h access; for p in{}; do a=.; [ -r \"$p\" ] && a=${{a}}r; [ -w \"$p\" ] && a=${{a}}w; [ -x \"$p\" ] && a=${{a}}x; echo $a; done",
            words(&needs.access)
        );
    }
    for (database, names) in [("passwd", &needs.users), ("group", &needs.groups)] {
        if !names.is_empty() {
            let _ = writeln!(
                text,
                "has getent && {{ h {database}; getent {database}{} 2>/dev/null; }}",
                words(names)
            );
        }
    }
    for (algorithm, paths) in &needs.sums {
        let _ = write!(
            text,
            "if has {algorithm}sum; then h 'sum {algorithm}'; set --{}\n\
             for p do shift; [ -f \"$p\" ] && set -- \"$@\" \"$p\"; done\n\
             [ $# -eq 0 ] || {algorithm}sum \"$@\" 2>/dev/null; fi\n",
            words(paths)
        );
    }
    if !needs.mime.is_empty() {
        let _ = write!(
            text,
            "h mime; if has file; then set --{}\n\
             for p do shift; [ -f \"$p\" ] && set -- \"$@\" \"$p\"; done\n\
             for p do echo \"$p\"; done; h kinds; [ $# -eq 0 ] || file --brief --mime \"$@\" 2>/dev/null; fi\n",
            words(&needs.mime)
        );
    }
    if !needs.content.is_empty() {
        let _ = write!(
            text,
            "if has sha1sum; then set --{}\n\
             for p do shift; [ -f \"$p\" ] && [ -r \"$p\" ] && set -- \"$@\" \"$p\"; done\n\
             h proof; [ $# -eq 0 ] || {{ sha1sum \"$@\" && h content && cat \"$@\"; }} 2>/dev/null; fi\n",
            words(&needs.content)
        );
    }
    text.push_str("exit 0");
    let environment = scripts.first().map(|s| s.environment.clone()).unwrap_or_default();
    Script { text, environment, ..Script::default() }
}

/// What the target said, by what it was asked for.
#[derive(Default)]
struct Facts<'a> {
    me: Option<String>,
    stat: HashMap<&'a str, &'a str>,
    behind: HashMap<&'a str, &'a str>,
    /// A link's text and where it ends; empty where they cannot be told in a line.
    links: HashMap<&'a str, (&'a str, &'a str)>,
    base: HashMap<&'a str, &'a str>,
    access: HashMap<&'a str, &'a str>,
    accounts: HashMap<(&'static str, &'a str), &'a str>,
    databases: Vec<&'static str>,
    sums: HashMap<(&'a str, &'a str), &'a str>,
    algorithms: Vec<&'a str>,
    mime: Option<HashMap<&'a str, &'a str>>,
    content: HashMap<&'a str, &'a [u8]>,
}

/// A line of `stat` and the path at its end.
fn stat_line(line: &str) -> Option<(&str, &str)> {
    let at = line.match_indices(':').nth(STAT_FIELDS - 1)?.0;
    Some((&line[at + 1..], &line[..at]))
}

/// A line of `sha1sum`: the path and the sum.
fn sum_line(line: &str) -> Option<(&str, &str)> {
    let (sum, rest) = line.split_once(' ')?;
    Some((rest.strip_prefix([' ', '*'])?, sum))
}

impl<'a> Facts<'a> {
    fn read(needs: &Needs<'a>, text: &'a str, content: &'a [u8]) -> Self {
        let mut facts = Self::default();
        let mut listed: Vec<&str> = Vec::new();
        let mut proof: Vec<(&str, &str)> = Vec::new();
        for section in text.split(HEADING).skip(1) {
            let (name, body) = section.split_once('\n').unwrap_or((section, ""));
            let by_order = |asked: &IndexSet<&'a str>| -> HashMap<&'a str, &'a str> {
                asked.iter().copied().zip(body.lines()).collect()
            };
            match name {
                "me" => {
                    let mut lines = body.lines();
                    facts.me = lines.next().zip(lines.next()).map(|(umask, id)| format!("{umask} {id}"));
                }
                "stat" => facts.stat = body.lines().filter_map(stat_line).collect(),
                "behind" => facts.behind = body.lines().filter_map(stat_line).collect(),
                "base" => facts.base = by_order(&needs.base),
                "access" => facts.access = by_order(&needs.access),
                "passwd" | "group" => {
                    let database = if name == "group" { "group" } else { "passwd" };
                    facts.databases.push(database);
                    for line in body.lines() {
                        let mut fields = line.split(':');
                        if let (Some(name), Some(number)) = (fields.next(), fields.nth(1)) {
                            facts.accounts.entry((database, name)).or_insert(number);
                        }
                    }
                }
                "mime" => listed = body.lines().collect(),
                "kinds" => {
                    let kinds: Vec<&str> = body.lines().collect();
                    if kinds.len() == listed.len() {
                        facts.mime = Some(listed.iter().copied().zip(kinds).collect());
                    }
                }
                "proof" => proof = body.lines().filter_map(sum_line).collect(),
                _ => {
                    if let Some(path) = name.strip_prefix("link ") {
                        let mut lines = body.lines();
                        facts.links.insert(path, (lines.next().unwrap_or(""), lines.next().unwrap_or("")));
                    } else if let Some(algorithm) = name.strip_prefix("sum ") {
                        facts.algorithms.push(algorithm);
                        facts.sums.extend(
                            body.lines().filter_map(sum_line).map(|(path, sum)| ((algorithm, path), sum)),
                        );
                    }
                }
            }
        }
        if !needs.mime.is_empty() && listed.is_empty() && facts.mime.is_none() {
            // Without `file` there is no such answer, in a request of its own neither.
            facts.mime = Some(HashMap::new());
        }
        facts.content = facts.contents(&proof, content);
        facts
    }

    /// Cuts the files apart by their sizes; a checksum proves each of the cuts.
    fn contents(&self, proof: &[(&'a str, &str)], mut bytes: &'a [u8]) -> HashMap<&'a str, &'a [u8]> {
        let mut contents = HashMap::new();
        for (path, sum) in proof {
            let size =
                self.followed(path).and_then(|l| l.split(':').nth(3)).and_then(|s| s.parse::<usize>().ok());
            let Some((content, rest)) = size.and_then(|size| bytes.split_at_checked(size)) else { break };
            if hex::encode(Sha1::digest(content)) != *sum {
                break;
            }
            contents.insert(*path, content);
            bytes = rest;
        }
        contents
    }

    fn is_link(&self, path: &str) -> bool {
        self.stat.get(path).is_some_and(|line| kind(line) == 0o120_000)
    }

    /// What stands at a path or, if that is a link, behind it.
    fn followed(&self, path: &str) -> Option<&'a str> {
        if self.is_link(path) { self.behind.get(path).copied() } else { self.stat.get(path).copied() }
    }

    fn is(&self, path: &str, wanted: u32) -> bool {
        self.followed(path).is_some_and(|line| kind(line) == wanted)
    }

    /// Answers one question, in the lines of the probe's own text. `None`: it was not told.
    fn answer(&self, look: &Look, out: &mut Vec<u8>) -> Option<()> {
        let mut say = |key: &str, value: &str| out.extend_from_slice(format!("{key} {value}\n").as_bytes());
        match look {
            Look::Path { key, path } => self.path(key, path, &mut say)?,
            Look::Base { key, path } => say(key, self.base.get(path.as_str())?),
            Look::Place(place) => self.place(place, &mut say)?,
            Look::Target { path, target } => {
                if !self.is_link(path) && self.is(path, DIRECTORY) {
                    return None;
                }
                say("src", self.behind.get(target.as_str()).unwrap_or(&"absent"));
            }
            Look::Me => say("me", self.me.as_deref()?),
            Look::User(name) => self.account("passwd", name, "uid", &mut say)?,
            Look::Group(name) => self.account("group", name, "gid", &mut say)?,
            Look::Access(path) => {
                for right in self.access.get(path.as_str())?.chars().skip(1) {
                    say(right.encode_utf8(&mut [0; 4]), "yes");
                }
            }
            Look::Sum { key, algorithm, path, follow } => {
                if self.is(path, REGULAR) && (*follow || !self.is_link(path)) {
                    self.sum(key, algorithm, path, &mut say)?;
                }
            }
            Look::Mime { path, follow } => {
                let known = self.mime.as_ref()?.get(path.as_str());
                if let Some(kind) = known.filter(|_| *follow || !self.is_link(path)) {
                    say("mime", kind);
                }
            }
            Look::Content(path) => {
                if self.is(path, REGULAR) {
                    let content = self.content.get(path.as_str())?;
                    out.extend_from_slice(b"--\n");
                    out.extend_from_slice(content);
                }
            }
        }
        Some(())
    }

    fn path(&self, key: &str, path: &str, say: &mut impl FnMut(&str, &str)) -> Option<()> {
        say(key, self.stat.get(path).unwrap_or(&"absent"));
        if self.is_link(path) {
            let (text, real) = self.links.get(path).filter(|(text, _)| !text.is_empty())?;
            say(&format!("{key}.link"), text);
            say(&format!("{key}.real"), real);
            say(&format!("{key}.to"), self.behind.get(path).unwrap_or(&"absent"));
        }
        Some(())
    }

    fn place(&self, place: &Place, say: &mut impl FnMut(&str, &str)) -> Option<()> {
        let key = &place.key;
        let is_folder = self.is(&place.path, DIRECTORY);
        let at = place.below.as_ref().filter(|_| is_folder).unwrap_or(&place.path);
        if place.tell_folder && is_folder {
            say(&format!("{key}.folder"), "yes");
        }
        say(&format!("{key}.at"), at);
        self.path(key, at, say)?;
        say(&format!("{key}.base"), self.base.get(parent(at))?);
        if place.sum && self.is(at, REGULAR) {
            self.sum(&format!("{key}.sum"), "sha1", at, say)?;
        }
        Some(())
    }

    fn sum(&self, key: &str, algorithm: &str, path: &str, say: &mut impl FnMut(&str, &str)) -> Option<()> {
        if !self.algorithms.contains(&algorithm) {
            return None;
        }
        say(key, self.sums.get(&(algorithm, path)).unwrap_or(&""));
        Some(())
    }

    fn account(
        &self,
        database: &'static str,
        name: &str,
        key: &str,
        say: &mut impl FnMut(&str, &str),
    ) -> Option<()> {
        if !self.databases.contains(&database) {
            return None;
        }
        say(key, self.accounts.get(&(database, name)).unwrap_or(&""));
        Some(())
    }
}

const DIRECTORY: u32 = 0o040_000;
const REGULAR: u32 = 0o100_000;

fn kind(line: &str) -> u32 {
    let raw = line.split(':').next().unwrap_or_default();
    u32::from_str_radix(raw, 16).unwrap_or(0) & 0o170_000
}

/// An answer, and what has to stay as it was for it to stand.
#[derive(Debug, Clone)]
pub(super) struct Answered {
    pub(super) reply: Reply,
    /// By path; `None` where any change may matter.
    pub(super) spots: Option<Vec<(String, Spot)>>,
}

/// The answers of a group's scripts, each as its own text would have given it. `None` where that is in doubt.
pub(super) fn split(scripts: &[Script], reply: &Reply) -> Vec<Option<Answered>> {
    if !reply.ok() {
        return vec![None; scripts.len()];
    }
    let mark = format!("{HEADING}content\n");
    let needs = Needs::of(scripts);
    let at =
        (!needs.content.is_empty()).then(|| super::shell_protocol::find(&reply.stdout, mark.as_bytes(), 0));
    let (text, content) = match at.flatten() {
        Some(at) => (&reply.stdout[..at], &reply.stdout[at + mark.len()..]),
        None => (reply.stdout.as_slice(), &[][..]),
    };
    let Ok(text) = std::str::from_utf8(text) else { return vec![None; scripts.len()] };
    let facts = Facts::read(&needs, text, content);
    scripts
        .iter()
        .map(|script| {
            let mut stdout = Vec::new();
            // Content comes last, as it has no end of its own.
            let (content, lines): (Vec<&Look>, Vec<&Look>) =
                script.looks.iter().partition(|l| matches!(l, Look::Content(_)));
            for look in lines.into_iter().chain(content) {
                facts.answer(look, &mut stdout)?;
            }
            let reply = Reply { stdout, stderr: Vec::new(), status: 0 };
            let spots = spot::paths(&script.looks).and_then(|paths| {
                paths
                    .into_iter()
                    .map(|path| Some((path.to_owned(), spot::spot(path, &facts.stat)?)))
                    .collect()
            });
            Some(Answered { reply, spots })
        })
        .collect()
}
