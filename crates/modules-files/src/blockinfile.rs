use schemars::JsonSchema;
use serde::Deserialize;

use crate::args::Presence;
use crate::{Mode, ModuleError, RemotePath};

use super::attributes::Attributes;
use super::edit::{Edit, Edited, Edition, edits, failed, lines_of};
use super::pattern::Pattern;

/// A block of lines between two marker lines of a text file.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct BlockInFile {
    #[serde(alias = "dest", alias = "destfile", alias = "name")]
    path: RemotePath,
    #[serde(default)]
    state: Presence,
    /// The marker line; `{mark}` becomes `marker_begin` and `marker_end`.
    #[serde(default = "marker")]
    marker: String,
    #[serde(default, alias = "content")]
    block: String,
    /// Where a new block goes: after the last match, or `EOF`.
    insertafter: Option<String>,
    /// Where a new block goes: before the last match, or `BOF`.
    insertbefore: Option<String>,
    /// Make the file if it is missing.
    #[serde(default)]
    create: bool,
    #[serde(default)]
    backup: bool,
    /// A command that must accept the new file; `%s` is its name.
    validate: Option<String>,
    #[serde(default = "begin")]
    marker_begin: String,
    #[serde(default = "end")]
    marker_end: String,
    /// An empty line after the block.
    #[serde(default)]
    append_newline: bool,
    /// An empty line before the block.
    #[serde(default)]
    prepend_newline: bool,
    mode: Option<Mode>,
    owner: Option<String>,
    group: Option<String>,
}

fn marker() -> String {
    "# {mark} ANSIBLE MANAGED BLOCK".into()
}

fn begin() -> String {
    "BEGIN".into()
}

fn end() -> String {
    "END".into()
}

edits!(BlockInFile, "blockinfile", &["ansible.builtin.blockinfile", "ansible.legacy.blockinfile"]);

impl Edit for BlockInFile {
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
            let message = "parameters are mutually exclusive: insertbefore|insertafter";
            return Err(ModuleError::Arguments(message.into()));
        }
        Ok(())
    }

    fn is_terse(&self) -> bool {
        true
    }

    fn edit(&self, before: Option<&str>) -> Result<Edition, ModuleError> {
        let present = self.state == Presence::Present;
        if before.is_none() && !self.create {
            if !present {
                let message = format!("File {} not present", self.path);
                return Ok(Edition { message, ..Edition::default() });
            }
            return Err(
                failed(257, format!("Path {} does not exist !", self.path)).hint("create: true makes it")
            );
        }
        if before.is_none() && !present {
            let message = format!("File {} not present", self.path);
            return Ok(Edition { message, ..Edition::default() });
        }
        let text = before.unwrap_or_default();
        let first = self.marker.replace("{mark}", &self.marker_begin) + "\n";
        let last = self.marker.replace("{mark}", &self.marker_end) + "\n";
        let mut block = Vec::new();
        if present && !self.block.is_empty() {
            block.push(first.clone());
            block.extend(lines_of(&self.block));
            if let Some(line) = block.last_mut().filter(|l| !l.ends_with('\n')) {
                line.push('\n');
            }
            block.push(last.clone());
        }

        let mut lines = lines_of(text);
        // A marker on the last line may lack its line end.
        let find = |wanted: &str| lines.iter().rposition(|l| l == wanted);
        let mut at = match (find(&first), find(&last)) {
            (Some(a), Some(b)) => {
                let (low, high) = (a.min(b), a.max(b));
                lines.drain(low..=high);
                low
            }
            _ => self.place(text, &lines)?,
        };
        if let Some(previous) = at.checked_sub(1).and_then(|i| lines.get_mut(i))
            && !previous.ends_with('\n')
        {
            previous.push('\n');
        }
        if self.prepend_newline && present && at > 0 && lines.get(at - 1).is_some_and(|l| l != "\n") {
            lines.insert(at, "\n".into());
            at += 1;
        }
        let behind = at + block.len();
        let message = match (before, block.is_empty()) {
            (None, _) => "File created",
            (_, true) => "Block removed",
            _ => "Block inserted",
        };
        lines.splice(at..at, block);
        if self.append_newline && present && lines.get(behind).is_some_and(|l| l != "\n") {
            lines.insert(behind, "\n".into());
        }
        let new = lines.concat();
        let message = if before == Some(new.as_str()) { String::new() } else { message.into() };
        Ok(Edition { text: Some(new), message, ..Edition::default() })
    }
}

impl BlockInFile {
    /// Before which line a new block goes.
    fn place(&self, text: &str, lines: &[String]) -> Result<usize, ModuleError> {
        let (argument, pattern) = match (self.insertafter.as_deref(), self.insertbefore.as_deref()) {
            (_, Some("BOF")) => return Ok(0),
            (Some("EOF"), _) | (None, None) => return Ok(lines.len()),
            (Some(pattern), _) => ("insertafter", pattern),
            (None, Some(pattern)) => ("insertbefore", pattern),
        };
        let after = argument == "insertafter";
        let compiled = Pattern::new(argument, "", pattern)?;
        let mut found = None;
        if pattern.starts_with("(?m)") || pattern.starts_with("(?ms)") || pattern.starts_with("(?sm)") {
            // With the multi-line flag the whole text is searched.
            if let Some(all) = compiled.find(text)?.as_ref().and_then(|c| c.get(0)) {
                let upto = if after { all.end() } else { all.start() };
                found = text.get(..upto).map(|t| t.matches('\n').count());
            }
        } else {
            for (number, line) in lines.iter().enumerate() {
                if compiled.matches(line.trim_end_matches(['\r', '\n']))? {
                    found = Some(number);
                }
            }
        }
        Ok(found.map_or(lines.len(), |n| (if after { n + 1 } else { n }).min(lines.len())))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::from_args;

    fn edit(mut args: Value, text: Option<&str>) -> Result<String, String> {
        args["path"] = json!("/f");
        args["marker"] = json!("# {mark}");
        let args = args.as_object().cloned().unwrap_or_default();
        let module: BlockInFile = from_args(args).map_err(|e| e.to_string())?;
        module.edit(text).map(|e| e.text.unwrap_or("(none)".into())).map_err(|e| e.to_string())
    }

    #[test]
    fn blocks_end_up_where_ansible_puts_them() {
        for (args, text, expected) in [
            (json!({"block": "x"}), "a", "a\n# BEGIN\nx\n# END\n"),
            (json!({"block": "x\ny\n"}), "# BEGIN\nold\n# END\nz\n", "# BEGIN\nx\ny\n# END\nz\n"),
            (json!({"block": ""}), "a\n# BEGIN\nold\n# END\nz\n", "a\nz\n"),
            (json!({"state": "absent", "block": "x"}), "a\n# BEGIN\nold\n# END\n", "a\n"),
            (json!({"block": "x", "insertbefore": "BOF"}), "a\n", "# BEGIN\nx\n# END\na\n"),
            (json!({"block": "x", "insertafter": "^a"}), "a\nb\n", "a\n# BEGIN\nx\n# END\nb\n"),
            (json!({"block": "x", "insertbefore": "^b$"}), "a\nb\n", "a\n# BEGIN\nx\n# END\nb\n"),
            (
                json!({"block": "x", "insertafter": "^a", "append_newline": true, "prepend_newline": true}),
                "a\nb\n",
                "a\n\n# BEGIN\nx\n# END\n\nb\n",
            ),
            (json!({"block": "x", "marker_begin": "S", "marker_end": "E"}), "# S\n# E\n", "# S\nx\n# E\n"),
        ] {
            let once = edit(args.clone(), Some(text));
            assert_eq!(once.as_deref(), Ok(expected), "{args} on {text:?}");
            assert_eq!(edit(args.clone(), Some(expected)).as_deref(), Ok(expected), "{args} again");
        }
        assert_eq!(edit(json!({"block": "x", "create": true}), None), Ok("# BEGIN\nx\n# END\n".into()));
        assert_eq!(edit(json!({"block": "x"}), None), Err("Path /f does not exist !".into()));
        assert_eq!(edit(json!({"state": "absent"}), None), Ok("(none)".into()));
    }
}
