use schemars::JsonSchema;
use serde::Deserialize;

use crate::args::Presence;
use crate::{Mode, ModuleError, RemotePath};

use super::attributes::Attributes;
use super::edit::{Edit, Edited, Edition, edits, failed, lines_of};
use super::pattern::{Pattern, expand};

/// One line of a text file.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct LineInFile {
    #[serde(alias = "dest", alias = "destfile", alias = "name")]
    path: RemotePath,
    #[serde(default)]
    state: Presence,
    /// The line to replace or remove; the last one that matches, unless `firstmatch`.
    #[serde(alias = "regex")]
    regexp: Option<String>,
    /// Like `regexp`, but a text that the line holds.
    search_string: Option<String>,
    #[serde(alias = "value")]
    line: Option<String>,
    /// Where a new line goes: after the last match, or `EOF`.
    insertafter: Option<String>,
    /// Where a new line goes: before the last match, or `BOF`.
    insertbefore: Option<String>,
    /// Fill in groups of `regexp` into `line`, and do nothing where it does not match.
    #[serde(default)]
    backrefs: bool,
    /// Make the file if it is missing.
    #[serde(default)]
    create: bool,
    #[serde(default)]
    backup: bool,
    #[serde(default)]
    firstmatch: bool,
    /// A command that must accept the new file; `%s` is its name.
    validate: Option<String>,
    mode: Option<Mode>,
    owner: Option<String>,
    group: Option<String>,
}

edits!(LineInFile, "lineinfile", &["ansible.builtin.lineinfile", "ansible.legacy.lineinfile"]);

fn bare(line: &str) -> &str {
    line.trim_end_matches(['\r', '\n'])
}

fn refuse(message: &str) -> Result<(), ModuleError> {
    Err(ModuleError::Arguments(message.into()))
}

impl Edit for LineInFile {
    fn edited(&self) -> Edited<'_> {
        Edited {
            path: &self.path,
            attributes: Attributes {
                mode: self.mode.clone(),
                owner: self.owner.clone(),
                group: self.group.clone(),
            },
            backup: self.backup,
            validate: self.validate.as_deref(),
            secret: false,
        }
    }

    fn check_arguments(&self) -> Result<(), ModuleError> {
        if self.insertbefore.is_some() && self.insertafter.is_some() {
            return refuse("parameters are mutually exclusive: insertbefore|insertafter");
        }
        if self.search_string.is_some() && self.regexp.is_some() {
            return refuse("parameters are mutually exclusive: regexp|search_string");
        }
        if self.search_string.is_some() && self.backrefs {
            return refuse("parameters are mutually exclusive: backrefs|search_string");
        }
        match self.state {
            Presence::Present if self.backrefs && self.regexp.is_none() => {
                refuse("regexp is required with backrefs=true")
            }
            Presence::Present if self.line.is_none() => refuse("line is required with state=present"),
            Presence::Absent
                if self.line.is_none() && self.regexp.is_none() && self.search_string.is_none() =>
            {
                refuse("one of line, search_string, or regexp is required with state=absent")
            }
            _ => Ok(()),
        }
    }

    fn tells_backup(&self) -> bool {
        true
    }

    fn is_terse(&self) -> bool {
        true
    }

    fn edit(&self, before: Option<&str>) -> Result<Edition, ModuleError> {
        match (self.state, before) {
            (Presence::Absent, None) => {
                Ok(Edition { message: "file not present".into(), ..Edition::default() })
            }
            (Presence::Absent, Some(text)) => self.remove(text),
            (Presence::Present, None) if !self.create => {
                Err(failed(257, format!("Destination {} does not exist !", self.path))
                    .hint("create: true makes it"))
            }
            (Presence::Present, text) => self.put(text.unwrap_or_default()),
        }
    }
}

impl LineInFile {
    fn remove(&self, text: &str) -> Result<Edition, ModuleError> {
        let pattern = self.regexp.as_deref().map(|r| Pattern::new("regexp", "", r)).transpose()?;
        let mut kept = String::new();
        let mut found = 0;
        for line in text.split_inclusive('\n') {
            let gone = match (&pattern, &self.search_string) {
                (Some(pattern), _) => pattern.matches(bare(line))?,
                (None, Some(search)) => line.contains(search.as_str()),
                (None, None) => self.line.as_deref() == Some(bare(line)),
            };
            if gone {
                found += 1;
            } else {
                kept.push_str(line);
            }
        }
        let message = if found > 0 { format!("{found} line(s) removed") } else { String::new() };
        let mut edition = Edition { text: Some(kept), message, ..Edition::default() };
        edition.result.insert("found".into(), found.into());
        Ok(edition)
    }

    /// The number of the line that is to be replaced, and what replaces it.
    fn matched(&self, lines: &[String], line: &str) -> Result<Option<(usize, String)>, ModuleError> {
        let pattern = self.regexp.as_deref().map(|r| Pattern::new("regexp", "", r)).transpose()?;
        let mut found = None;
        for (number, current) in lines.iter().enumerate() {
            let new = match (&pattern, &self.search_string) {
                (Some(pattern), _) => match pattern.find(bare(current))? {
                    Some(captures) if self.backrefs => expand(line, &captures)?,
                    Some(_) => line.to_owned(),
                    None => continue,
                },
                (None, Some(search)) if current.contains(search.as_str()) => line.to_owned(),
                _ => continue,
            };
            found = Some((number, new));
            if self.firstmatch {
                break;
            }
        }
        Ok(found)
    }

    fn put(&self, text: &str) -> Result<Edition, ModuleError> {
        let line = self.line.as_deref().unwrap_or_default();
        let mut lines = lines_of(text);
        let done = |lines: Vec<String>, message: &str| {
            let text = lines.concat();
            Ok(Edition { text: Some(text), message: message.into(), ..Edition::default() })
        };
        if let Some((number, new)) = self.matched(&lines, line)? {
            let new = if new.ends_with('\n') { new } else { new + "\n" };
            if lines[number] == new {
                return done(lines, "");
            }
            lines[number] = new;
            return done(lines, "line replaced");
        }
        if lines.iter().any(|l| bare(l) == line) {
            // The line stands already, though perhaps without its line end.
            return done(lines, "");
        }
        if self.backrefs {
            return done(lines, "");
        }
        let (anchor, after) = match (self.insertafter.as_deref(), self.insertbefore.as_deref()) {
            (Some("BOF"), _) | (_, Some("BOF")) => {
                lines.insert(0, format!("{line}\n"));
                return done(lines, "line added");
            }
            (Some("EOF") | None, None) => (None, true),
            (Some(pattern), _) => (Some(Pattern::new("insertafter", "", pattern)?), true),
            (None, Some(pattern)) => (Some(Pattern::new("insertbefore", "", pattern)?), false),
        };
        let mut place = None;
        if let Some(anchor) = anchor {
            for (number, current) in lines.iter().enumerate() {
                if anchor.matches(bare(current))? {
                    place = Some(if after { number + 1 } else { number });
                    if self.firstmatch {
                        break;
                    }
                }
            }
        }
        let place = place.unwrap_or(lines.len());
        if place == lines.len()
            && let Some(last) = lines.last_mut()
            && !last.ends_with('\n')
        {
            last.push('\n');
        }
        lines.insert(place, format!("{line}\n"));
        done(lines, "line added")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::from_args;

    fn edit(mut args: Value, text: Option<&str>) -> Result<String, String> {
        args["path"] = json!("/f");
        let args = args.as_object().cloned().unwrap_or_default();
        let module: LineInFile = from_args(args).map_err(|e| e.to_string())?;
        module.check_arguments().map_err(|e| e.to_string())?;
        module.edit(text).map(|e| e.text.unwrap_or("(none)".into())).map_err(|e| e.to_string())
    }

    #[test]
    fn lines_end_up_where_ansible_puts_them() {
        for (args, text, expected) in [
            (json!({"line": "b"}), "a\n", "a\nb\n"),
            (json!({"line": "b"}), "a", "a\nb\n"),
            (json!({"line": "a"}), "a\nc\n", "a\nc\n"),
            (json!({"line": "x=2", "regexp": "^x="}), "x=0\ny=1\nx=1\n", "x=0\ny=1\nx=2\n"),
            (json!({"line": "x=2", "regexp": "^x=", "firstmatch": true}), "x=0\nx=1\n", "x=2\nx=1\n"),
            (json!({"line": "x=2", "regexp": "^#?x=1$"}), "#x=1\n", "x=2\n"),
            (json!({"line": "x=2", "search_string": "x="}), "a\n  x=1\n", "a\nx=2\n"),
            (json!({"line": r"\1=2", "regexp": r"^(\w)=1", "backrefs": true}), "k=1\n", "k=2\n"),
            (json!({"line": r"\1=2", "regexp": r"^(\w)=1", "backrefs": true}), "k=3\n", "k=3\n"),
            (json!({"line": "n", "insertafter": "^a"}), "a1\na2\nb\n", "a1\na2\nn\nb\n"),
            (json!({"line": "n", "insertafter": "^a", "firstmatch": true}), "a1\na2\n", "a1\nn\na2\n"),
            (json!({"line": "n", "insertbefore": "^b"}), "a\nb\n", "a\nn\nb\n"),
            (json!({"line": "n", "insertbefore": "BOF"}), "a\n", "n\na\n"),
            (json!({"line": "n", "insertafter": "nowhere"}), "a\n", "a\nn\n"),
            (json!({"line": "a", "state": "absent"}), "a\nb\na\n", "b\n"),
            (json!({"regexp": "^#", "state": "absent"}), "#a\nb\n", "b\n"),
        ] {
            let once = edit(args.clone(), Some(text));
            assert_eq!(once.as_deref(), Ok(expected), "{args} on {text:?}");
            assert_eq!(edit(args.clone(), Some(expected)).as_deref(), Ok(expected), "{args} again");
        }
    }

    #[test]
    fn what_makes_no_sense_is_said() {
        assert_eq!(edit(json!({"line": "x"}), None), Err("Destination /f does not exist !".into()));
        assert_eq!(edit(json!({"line": "x", "create": true}), None), Ok("x\n".into()));
        assert_eq!(edit(json!({}), None), Err("line is required with state=present".into()));
        assert_eq!(edit(json!({"line": "x", "state": "absent"}), None), Ok("(none)".into()));
        assert!(edit(json!({"line": "x", "regexp": "("}), Some("")).is_err());
    }
}
