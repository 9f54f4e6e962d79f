use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::host::{STAT_FORMAT as FORMAT, Script, quote};
use crate::value::{Map, Value};
use crate::{Action, CheckMode, Mode, ModuleError, Outcome, RemotePath, TaskContext, Touch};

use super::content::base_name;
use super::inode::{Inode, Kind, map};
use super::pattern::Pattern;
use super::probe::{Answer, Probe};
use super::stat::{Algorithm, describe};

/// Files of the target that fit all of some criteria.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Find {
    #[serde(alias = "name", alias = "path")]
    paths: Vec<RemotePath>,
    /// Shell patterns (or, with `use_regex`, regular expressions) for names; any of them is enough.
    #[serde(default, alias = "pattern")]
    patterns: Vec<String>,
    #[serde(default, alias = "exclude")]
    excludes: Vec<String>,
    /// A regular expression that the beginning of a line of the file matches.
    contains: Option<String>,
    /// Match `contains` against the whole file.
    #[serde(default)]
    read_whole_file: bool,
    #[serde(default)]
    file_type: FileType,
    /// At least this old, or with a minus at most: `2d`, `-1h`.
    age: Option<String>,
    #[serde(default)]
    age_stamp: Stamp,
    /// At least this large, or with a minus at most: `10m`, `-1k`.
    size: Option<String>,
    #[serde(default)]
    recurse: bool,
    /// Names that begin with a dot too.
    #[serde(default)]
    hidden: bool,
    #[serde(default)]
    follow: bool,
    #[serde(default)]
    get_checksum: bool,
    #[serde(default, alias = "checksum", alias = "checksum_algo")]
    checksum_algorithm: Algorithm,
    #[serde(default)]
    use_regex: bool,
    depth: Option<u32>,
    mode: Option<Mode>,
    /// The mode is exactly this; otherwise it holds at least these bits.
    #[serde(default = "crate::args::yes")]
    exact_mode: bool,
    limit: Option<usize>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum FileType {
    Any,
    Directory,
    #[default]
    File,
    Link,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Stamp {
    Atime,
    Ctime,
    #[default]
    Mtime,
}

/// The criteria, compiled.
struct Filter<'a> {
    find: &'a Find,
    patterns: Vec<Pattern>,
    excludes: Vec<Pattern>,
    age: Option<i64>,
    size: Option<i64>,
}

#[async_trait]
impl Action for Find {
    const NAME: &'static str = "find";
    const FQCN: &'static [&'static str] = &["ansible.builtin.find", "ansible.legacy.find"];
    const CHECK: CheckMode = CheckMode::Runs;
    const TOUCH: Touch = Touch::Nothing;

    fn validate(&self) -> Result<(), ModuleError> {
        if self.paths.is_empty() {
            return Err(ModuleError::Arguments("paths names no folder".into()));
        }
        self.contains()?;
        self.filter().map(|_| ())
    }

    async fn run(self, cx: &TaskContext) -> Result<Outcome, ModuleError> {
        let filter = self.filter()?;
        let contains = self.contains()?;
        let reply = cx.shell.probe(&self.script()).await?;
        let text = reply.out();
        let (mut files, mut skipped, mut examined, mut now) = (Vec::new(), Map::new(), 0_u64, 0_i64);
        for line in text.lines() {
            if let Some(seconds) = line.strip_prefix("now ") {
                now = seconds.trim().parse().unwrap_or_default();
            } else if let Some(path) = line.strip_prefix("skipped ") {
                skipped.insert(path.into(), format!("'{path}' is not a directory").into());
            } else if let Some((inode, path)) = entry(line) {
                examined += 1;
                if self.limit.is_some_and(|l| files.len() >= l) || !filter.accepts(path, &inode, now)? {
                    continue;
                }
                if let Some(pattern) = &contains
                    && !self.file_contains(cx, path, pattern).await?
                {
                    continue;
                }
                let mut file = describe(path, &inode);
                if self.get_checksum && inode.kind == Kind::File {
                    let probe = Probe::new().add(format!(
                        "sum sum {} {}",
                        self.checksum_algorithm.name(),
                        quote(path)
                    ));
                    let answer = Answer::read(&cx.shell.probe(&probe.script()).await?)?;
                    file.insert("checksum".into(), answer.get("sum").unwrap_or_default().into());
                }
                files.push(Value::from(file));
            }
        }
        let message = if skipped.is_empty() {
            "All paths examined"
        } else {
            "Not all paths examined, check warnings for details"
        };
        Ok(Outcome::ok(map([
            ("matched", files.len().into()),
            ("files", files.into()),
            ("examined", examined.into()),
            ("skipped_paths", skipped.into()),
            ("msg", message.into()),
        ])))
    }
}

/// A line of the listing: what `stat` says, and the path behind it.
fn entry(line: &str) -> Option<(Inode, &str)> {
    let at = line.match_indices(':').nth(12)?.0;
    Some((Inode::parse(&line[..at])?, &line[at + 1..]))
}

impl Find {
    fn script(&self) -> Script {
        let depth = match (self.recurse, self.depth) {
            (false, _) => "-maxdepth 1 ".to_owned(),
            (true, Some(depth)) => format!("-maxdepth {depth} "),
            (true, None) => String::new(),
        };
        let (find, stat) = if self.follow { ("find -L", "stat -L") } else { ("find", "stat") };
        let mut text = "echo \"now $(date +%s)\"\n".to_owned();
        for path in &self.paths {
            let (q, slash) =
                (quote(path.as_str()), quote(&format!("{}/", path.as_str().trim_end_matches('/'))));
            // The slash makes find enter a link; it would then stand in every path twice.
            text.push_str(&format!(
                "if [ -d {q} ]; then cd {slash} && {find} . -mindepth 1 {depth}-exec {stat} -c '{FORMAT}:%n' {{}} + 2>/dev/null | while IFS= read -r l; do printf '%s%s%s\\n' \"${{l%%:./*}}:\" {slash} \"${{l#*:./}}\"; done; else echo skipped {q}; fi\n"
            ));
        }
        Script::new(text + "exit 0")
    }

    fn contains(&self) -> Result<Option<Pattern>, ModuleError> {
        self.contains.as_deref().map(|c| Pattern::new("contains", "", c)).transpose()
    }

    fn filter(&self) -> Result<Filter<'_>, ModuleError> {
        let compile = |argument: &str, texts: &[String]| {
            texts
                .iter()
                .map(|t| {
                    let text = if self.use_regex { format!("^(?:{t})") } else { from_glob(t) };
                    Pattern::new(argument, "(?s)", &text)
                })
                .collect::<Result<Vec<_>, _>>()
        };
        let number = |argument: &str, text: &Option<String>, units: &[(char, i64)]| {
            text.as_deref().map(|t| measure(argument, t, units)).transpose()
        };
        let sizes = [('b', 1), ('k', 1 << 10), ('m', 1 << 20), ('g', 1 << 30), ('t', 1 << 40)];
        let ages = [('s', 1), ('m', 60), ('h', 3600), ('d', 86400), ('w', 604_800)];
        Ok(Filter {
            find: self,
            patterns: compile("patterns", &self.patterns)?,
            excludes: compile("excludes", &self.excludes)?,
            age: number("age", &self.age, &ages)?,
            size: number("size", &self.size, &sizes)?,
        })
    }

    async fn file_contains(
        &self,
        cx: &TaskContext,
        path: &str,
        pattern: &Pattern,
    ) -> Result<bool, ModuleError> {
        let answer = Answer::read(&cx.shell.probe(&Probe::new().content(path).script()).await?)?;
        let Some(bytes) = answer.content else { return Ok(false) };
        let text = String::from_utf8_lossy(&bytes);
        let starts = |text: &str| {
            Ok::<_, ModuleError>(pattern.find(text)?.and_then(|c| c.get(0)).is_some_and(|m| m.start() == 0))
        };
        if self.read_whole_file {
            return pattern.matches(&text);
        }
        for line in text.lines() {
            if starts(line)? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

impl Filter<'_> {
    fn accepts(&self, path: &str, inode: &Inode, now: i64) -> Result<bool, ModuleError> {
        let name = base_name(path);
        if name.starts_with('.') && !self.find.hidden {
            return Ok(false);
        }
        let kind = match self.find.file_type {
            FileType::Any => true,
            FileType::Directory => inode.kind == Kind::Directory,
            FileType::File => inode.kind == Kind::File,
            FileType::Link => inode.kind == Kind::Link,
        };
        let any = |patterns: &[Pattern]| {
            patterns.iter().try_fold(false, |found, p| Ok::<_, ModuleError>(found || p.matches(name)?))
        };
        let stamp = match self.find.age_stamp {
            Stamp::Atime => inode.atime,
            Stamp::Ctime => inode.ctime,
            Stamp::Mtime => inode.mtime,
        };
        let old = match self.age {
            None => true,
            Some(age) if age >= 0 => now - stamp >= age,
            Some(age) => now - stamp <= -age,
        };
        let bytes = i64::try_from(inode.size).unwrap_or(i64::MAX);
        let large = match self.size {
            None => true,
            Some(size) if size >= 0 => bytes >= size,
            Some(size) => bytes <= -size,
        };
        let mode = self.find.mode.as_ref().is_none_or(|wanted| {
            let wanted = wanted.apply(0, inode.is_directory());
            if self.find.exact_mode { inode.mode == wanted } else { inode.mode & wanted == wanted }
        });
        Ok(kind
            && old
            && large
            && mode
            && (self.patterns.is_empty() || any(&self.patterns)?)
            && !any(&self.excludes)?)
    }
}

fn measure(argument: &str, text: &str, units: &[(char, i64)]) -> Result<i64, ModuleError> {
    let wrong = || {
        let units: String = units.iter().map(|(c, _)| *c).collect();
        ModuleError::Arguments(format!("{argument} {text:?} is not a number with one of the units {units}"))
    };
    let lower = text.trim().to_ascii_lowercase();
    let (number, factor) = match units.iter().find(|(c, _)| lower.ends_with(*c)) {
        Some((c, factor)) => (lower.trim_end_matches(*c), *factor),
        None => (lower.as_str(), 1),
    };
    number.parse::<i64>().ok().and_then(|n| n.checked_mul(factor)).ok_or_else(wrong)
}

/// A shell pattern as a regular expression for the whole name.
fn from_glob(glob: &str) -> String {
    let mut out = String::from("^");
    let mut chars = glob.chars();
    while let Some(c) = chars.next() {
        match c {
            '*' => out.push_str(".*"),
            '?' => out.push('.'),
            '[' => {
                let rest = chars.as_str();
                match rest.get(1..).and_then(|r| r.find(']')) {
                    Some(end) => {
                        let class = &rest[..=end];
                        out.push('[');
                        out.push_str(&class.strip_prefix('!').map_or(class.to_owned(), |c| format!("^{c}")));
                        out.push(']');
                        chars = rest[end + 2..].chars();
                    }
                    None => out.push_str(r"\["),
                }
            }
            c if c.is_alphanumeric() || c == '_' || c == '-' => out.push(c),
            c if c.is_ascii_punctuation() => out.extend(['\\', c]),
            c => out.push(c),
        }
    }
    out.push('$');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_become_patterns() {
        for (glob, name, fits) in [
            ("*.conf", "a.conf", true),
            ("*.conf", "aconf", false),
            ("[a-c]?", "b1", true),
            ("[!a]*", "a1", false),
            ("a<b", "a<b", true),
            ("[", "[", true),
        ] {
            let p =
                Pattern::new("patterns", "(?s)", &from_glob(glob)).unwrap_or_else(|e| panic!("{glob}: {e}"));
            assert_eq!(p.matches(name).ok(), Some(fits), "{glob} on {name}");
        }
    }

    #[test]
    fn measures_have_units() {
        let units = [('k', 1024), ('m', 1_048_576)];
        assert_eq!(measure("size", "2k", &units).ok(), Some(2048));
        assert_eq!(measure("size", "-1M", &units).ok(), Some(-1_048_576));
        assert_eq!(measure("size", "12", &units).ok(), Some(12));
        assert!(measure("size", "big", &units).is_err());
    }
}
