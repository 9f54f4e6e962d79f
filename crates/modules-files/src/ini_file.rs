use schemars::JsonSchema;
use serde::Deserialize;

use crate::args::Presence;
use crate::{Mode, ModuleError, RemotePath};

use super::attributes::Attributes;
use super::edit::{Edit, Edited, Edition, edits, failed, lines_of};

/// One option, or one section, of an INI file.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct IniFile {
    #[serde(alias = "dest")]
    path: RemotePath,
    /// Without it (or empty), the lines before the first section.
    section: Option<String>,
    /// Without it, the section itself.
    option: Option<String>,
    value: Option<String>,
    /// Several lines of one option.
    values: Option<Vec<String>>,
    #[serde(default)]
    state: Presence,
    /// Other values of the option go.
    #[serde(default = "crate::args::yes")]
    exclusive: bool,
    #[serde(default)]
    backup: bool,
    /// `a=b` instead of `a = b`.
    #[serde(default)]
    no_extra_spaces: bool,
    /// Leave a line alone that differs only in the spaces around `=`.
    #[serde(default)]
    ignore_spaces: bool,
    /// Make the file if it is missing.
    #[serde(default = "crate::args::yes")]
    create: bool,
    /// An option may stand without a value.
    #[serde(default)]
    allow_no_value: bool,
    /// A commented-out option becomes the option.
    #[serde(default = "crate::args::yes")]
    modify_inactive_option: bool,
    /// Write through a link; it always does.
    #[serde(default)]
    follow: bool,
    mode: Option<Mode>,
    owner: Option<String>,
    group: Option<String>,
}

edits!(IniFile, "ini_file", &["community.general.ini_file"]);

impl Edit for IniFile {
    fn edited(&self) -> Edited<'_> {
        Edited {
            path: &self.path,
            attributes: Attributes {
                mode: self.mode.clone(),
                owner: self.owner.clone(),
                group: self.group.clone(),
            },
            backup: self.backup,
            validate: None,
            secret: false,
        }
    }

    fn check_arguments(&self) -> Result<(), ModuleError> {
        let refuse = |message: &str| Err(ModuleError::Arguments(message.into()));
        if self.value.is_some() && self.values.is_some() {
            return refuse("parameters are mutually exclusive: value|values");
        }
        let no_value = self.value.is_none() && self.values.as_ref().is_none_or(Vec::is_empty);
        if self.state == Presence::Present && self.option.is_some() && no_value && !self.allow_no_value {
            return refuse("option needs value or values (or allow_no_value: true)");
        }
        let _ = self.follow;
        Ok(())
    }

    fn edit(&self, before: Option<&str>) -> Result<Edition, ModuleError> {
        let text = match before {
            Some(text) => text,
            None if self.state == Presence::Absent => {
                return Ok(Edition { message: "OK".into(), ..Edition::default() });
            }
            None if !self.create => {
                return Err(failed(257, format!("Destination {} does not exist!", self.path)));
            }
            None => "",
        };
        let mut lines = lines_of(text);
        if let Some(last) = lines.last_mut().filter(|l| !l.ends_with('\n')) {
            last.push('\n');
        }
        let message = match self.state {
            Presence::Present => self.put(&mut lines),
            Presence::Absent => self.remove(&mut lines),
        };
        let unchanged = message == "OK" && before.is_some();
        let text = if unchanged { text.to_owned() } else { lines.concat() };
        Ok(Edition { text: Some(text), message: message.into(), ..Edition::default() })
    }
}

impl IniFile {
    fn wanted(&self) -> Vec<Option<&str>> {
        match (&self.values, &self.value) {
            (Some(values), _) if !values.is_empty() => values.iter().map(|v| Some(v.as_str())).collect(),
            (_, Some(value)) => vec![Some(value)],
            _ => vec![None],
        }
    }

    fn line(&self, option: &str, value: Option<&str>) -> String {
        match value {
            Some(value) if self.no_extra_spaces => format!("{option}={value}\n"),
            // An empty value leaves no blank at the end of the line.
            Some("") => format!("{option} =\n"),
            Some(value) => format!("{option} = {value}\n"),
            None => format!("{option}\n"),
        }
    }

    /// Where the section's lines are, without its header.
    fn section(&self, lines: &[String]) -> Option<std::ops::Range<usize>> {
        let start = match self.section.as_deref().filter(|s| !s.is_empty()) {
            None => 0,
            Some(name) => lines.iter().position(|l| header(l) == Some(name))? + 1,
        };
        let end =
            lines.iter().skip(start).position(|l| header(l).is_some()).map_or(lines.len(), |n| start + n);
        Some(start..end)
    }

    fn put(&self, lines: &mut Vec<String>) -> &'static str {
        let Some(section) = self.section(lines) else {
            lines.push(format!("[{}]\n", self.section.as_deref().unwrap_or_default()));
            let Some(option) = &self.option else { return "only section added" };
            lines.extend(self.wanted().into_iter().map(|v| self.line(option, v)));
            return "section and option added";
        };
        let Some(option) = &self.option else { return "OK" };
        let mut wanted = self.wanted();
        let mut active: Vec<usize> = Vec::new();
        let mut commented: Vec<usize> = Vec::new();
        let mut message = "OK";
        for at in section.clone() {
            match entry(&lines[at], option) {
                Some(Entry { is_active: true, value }) => {
                    if let Some(found) = wanted.iter().position(|w| *w == value) {
                        let line = self.line(option, wanted.remove(found));
                        if !self.ignore_spaces && lines[at] != line {
                            lines[at] = line;
                            message = "option changed";
                        }
                    } else {
                        active.push(at);
                    }
                }
                Some(_) => commented.push(at),
                None => {}
            }
        }
        let mut free = if self.exclusive { active.clone() } else { Vec::new() };
        if self.modify_inactive_option {
            free.extend(&commented);
        }
        let mut used = Vec::new();
        let mut rest = wanted.into_iter();
        for (at, value) in free.into_iter().zip(rest.by_ref()) {
            lines[at] = self.line(option, value);
            used.push(at);
            message = "option changed";
        }
        let new: Vec<String> = rest.map(|v| self.line(option, v)).collect();
        if !new.is_empty() {
            // New lines go before the empty ones that part this section from the next.
            let blank = |l: &String| l.trim().is_empty();
            let end = section.start
                + lines[section.clone()].iter().rposition(|l| !blank(l)).map_or(0, |last| last + 1);
            lines.splice(end..end, new);
            message = "option added";
        }
        if self.exclusive {
            for at in active.into_iter().rev().filter(|at| !used.contains(at)) {
                lines.remove(at);
                message = "option changed";
            }
        }
        message
    }

    fn remove(&self, lines: &mut Vec<String>) -> &'static str {
        let Some(section) = self.section(lines) else { return "OK" };
        let Some(option) = &self.option else {
            let named = self.section.as_deref().is_some_and(|s| !s.is_empty());
            if !named && section.is_empty() {
                return "OK";
            }
            lines.drain(if named { section.start - 1 } else { section.start }..section.end);
            return "section removed";
        };
        let given = self.wanted();
        let mut message = "OK";
        for at in section.rev() {
            if let Some(Entry { is_active: true, value }) = entry(&lines[at], option)
                && (self.exclusive || given.contains(&value))
            {
                lines.remove(at);
                message = "option removed";
            }
        }
        message
    }
}

struct Entry<'a> {
    is_active: bool,
    value: Option<&'a str>,
}

fn header(line: &str) -> Option<&str> {
    line.trim().strip_prefix('[')?.split_once(']').map(|(name, _)| name.trim())
}

/// The line as one of `option`, commented out or not.
fn entry<'a>(line: &'a str, option: &str) -> Option<Entry<'a>> {
    let line = line.trim();
    let bare = line.trim_start_matches(['#', ';']);
    let is_active = bare.len() == line.len();
    let rest = bare.trim_start().strip_prefix(option)?.trim_start();
    if rest.is_empty() {
        return Some(Entry { is_active, value: None });
    }
    rest.strip_prefix('=').map(|value| Entry { is_active, value: Some(value.trim()) })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::from_args;

    fn edit(mut args: Value, text: Option<&str>) -> Result<(String, String), String> {
        args["path"] = json!("/f");
        let module: IniFile =
            from_args(args.as_object().cloned().unwrap_or_default()).map_err(|e| e.to_string())?;
        module.check_arguments().map_err(|e| e.to_string())?;
        module.edit(text).map(|e| (e.text.unwrap_or_default(), e.message)).map_err(|e| e.to_string())
    }

    #[test]
    fn options_end_up_in_their_section() {
        for (args, text, expected, message) in [
            (
                json!({"section": "a", "option": "x", "value": 1}),
                "",
                "[a]\nx = 1\n",
                "section and option added",
            ),
            (json!({"section": "a", "option": "x", "value": 1}), "[a]\nx = 1\n", "[a]\nx = 1\n", "OK"),
            (
                json!({"section": "a", "option": "x", "value": 2}),
                "[a]\nx=1\n[b]\nx=1\n",
                "[a]\nx = 2\n[b]\nx=1\n",
                "option changed",
            ),
            (
                json!({"section": "a", "option": "x", "value": 2}),
                "[a]\n# x = 1\ny=1\n",
                "[a]\nx = 2\ny=1\n",
                "option changed",
            ),
            (
                json!({"section": "a", "option": "x", "value": 2, "modify_inactive_option": false}),
                "[a]\n#x=1\n\n[b]\n",
                "[a]\n#x=1\nx = 2\n\n[b]\n",
                "option added",
            ),
            (
                json!({"section": "a", "option": "x", "value": "1", "no_extra_spaces": true}),
                "[a]\nx = 1\n",
                "[a]\nx=1\n",
                "option changed",
            ),
            (
                json!({"section": "a", "option": "x", "value": "1", "ignore_spaces": true}),
                "[a]\nx  =  1\n",
                "[a]\nx  =  1\n",
                "OK",
            ),
            (json!({"option": "x", "value": "1"}), "[a]\n", "x = 1\n[a]\n", "option added"),
            (json!({"section": "a"}), "k=1", "k=1\n[a]\n", "only section added"),
            (
                json!({"section": "a", "option": "x", "values": ["1", "3"]}),
                "[a]\nx = 1\nx = 2\n",
                "[a]\nx = 1\nx = 3\n",
                "option changed",
            ),
            (
                json!({"section": "a", "option": "x", "value": "2", "exclusive": false}),
                "[a]\nx = 1\n",
                "[a]\nx = 1\nx = 2\n",
                "option added",
            ),
            (
                json!({"section": "a", "option": "x", "allow_no_value": true}),
                "[a]\n",
                "[a]\nx\n",
                "option added",
            ),
            (
                json!({"section": "a", "option": "x", "state": "absent"}),
                "[a]\nx=1\ny=1\n",
                "[a]\ny=1\n",
                "option removed",
            ),
            (json!({"section": "a", "state": "absent"}), "[a]\nx=1\n[b]\n", "[b]\n", "section removed"),
        ] {
            let once = edit(args.clone(), Some(text));
            assert_eq!(once, Ok((expected.into(), message.into())), "{args} on {text:?}");
            assert_eq!(
                edit(args.clone(), Some(expected)),
                Ok((expected.into(), "OK".into())),
                "{args} again"
            );
        }
        assert!(edit(json!({"section": "a", "option": "x"}), Some("")).is_err());
        assert!(edit(json!({"section": "a", "create": false}), None).is_err());
    }
}
