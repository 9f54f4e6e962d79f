//! `/etc/fstab` as text that a person wrote: only the lines that are meant are touched.

/// One file system of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) source: String,
    pub(super) path: String,
    pub(super) kind: String,
    pub(super) options: String,
    pub(super) dump: String,
    pub(super) pass: String,
}

/// Spaces and the like are octal in the table.
fn escape(field: &str) -> String {
    field.replace('\\', "\\134").replace(' ', "\\040").replace('\t', "\\011").replace('\n', "\\012")
}

pub(super) fn unescape(field: &str) -> String {
    field.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")
}

impl Entry {
    fn parse(line: &str) -> Option<Self> {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            return None;
        }
        let mut fields = line.split_whitespace();
        let mut next = |default: Option<&str>| fields.next().or(default).map(unescape);
        Some(Self {
            source: next(None)?,
            path: next(None)?,
            kind: next(None)?,
            options: next(Some("defaults"))?,
            dump: next(Some("0"))?,
            pass: next(Some("0"))?,
        })
    }

    fn line(&self) -> String {
        [&self.source, &self.path, &self.kind, &self.options, &self.dump, &self.pass]
            .map(|f| escape(f))
            .join(" ")
    }

    /// Whether a line is about the same thing: swap has no path of its own, so its source counts.
    fn replaces(&self, other: &Self) -> bool {
        if self.kind == "swap" || self.path == "none" {
            other.source == self.source
        } else {
            other.path == self.path && other.kind != "swap"
        }
    }
}

/// The table with the entry in it: its last line is replaced, or one is added at the end.
pub(super) fn set(table: &str, entry: &Entry) -> String {
    let about = |line: &str| Entry::parse(line).is_some_and(|e| entry.replaces(&e));
    let last = table.lines().enumerate().filter(|(_, l)| about(l)).map(|(i, _)| i).last();
    let mut lines: Vec<String> = table.lines().map(str::to_owned).collect();
    match last {
        Some(i) => {
            if let Some(line) = lines.get_mut(i)
                && Entry::parse(line).as_ref() != Some(entry)
            {
                *line = entry.line();
            }
        }
        None => lines.push(entry.line()),
    }
    join(&lines, table)
}

/// The table without lines for this path (and, where given, this source).
pub(super) fn unset(table: &str, path: &str, source: Option<&str>) -> String {
    let goes = |line: &str| {
        Entry::parse(line)
            .is_some_and(|e| e.path == path && source.is_none_or(|s| e.kind != "swap" || e.source == s))
    };
    let lines: Vec<String> = table.lines().filter(|l| !goes(l)).map(str::to_owned).collect();
    join(&lines, table)
}

fn join(lines: &[String], before: &str) -> String {
    let text = lines.join("\n");
    // Nothing is touched in a table that lacks its last line end unless something else changes.
    if text == before || lines.is_empty() { text } else { text + "\n" }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data() -> Entry {
        Entry {
            source: "/dev/vdb".into(),
            path: "/srv/my data".into(),
            kind: "xfs".into(),
            options: "defaults".into(),
            dump: "0".into(),
            pass: "0".into(),
        }
    }

    #[test]
    fn edits_keep_what_is_not_meant() {
        let table = "# mine\nUUID=1  /  ext4 errors=remount-ro 0 1\n\n/dev/vda2 none swap sw 0 0\n";
        let with = set(table, &data());
        assert_eq!(with, format!("{table}/dev/vdb /srv/my\\040data xfs defaults 0 0\n"));
        assert_eq!(set(&with, &data()), with);
        assert_eq!(unset(&with, "/srv/my data", None), table);
        let other = Entry { options: "noatime".into(), ..data() };
        assert_eq!(set(&with, &other), with.replace("xfs defaults", "xfs noatime"));
    }

    #[test]
    fn a_line_that_says_the_same_otherwise_is_left() {
        let table = "/dev/vdb\t/srv/my\\040data\txfs";
        assert_eq!(set(table, &data()), table);
    }

    #[test]
    fn swap_is_found_by_its_source() {
        let table = "/dev/a none swap sw 0 0\n/dev/b none swap sw 0 0\n";
        let entry = Entry {
            source: "/dev/b".into(),
            path: "none".into(),
            kind: "swap".into(),
            options: "pri=1".into(),
            dump: "0".into(),
            pass: "0".into(),
        };
        assert_eq!(set(table, &entry), "/dev/a none swap sw 0 0\n/dev/b none swap pri=1 0 0\n");
    }
}
