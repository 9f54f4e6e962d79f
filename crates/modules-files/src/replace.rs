use schemars::JsonSchema;
use serde::Deserialize;

use crate::value::Map;
use crate::{Mode, ModuleError, RemotePath};

use super::attributes::Attributes;
use super::edit::{Edit, Edited, Edition, edits, failed};
use super::pattern::Pattern;

/// Every match of a pattern in a text file.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Replace {
    #[serde(alias = "dest", alias = "destfile", alias = "name")]
    path: RemotePath,
    /// `^` and `$` match at every line.
    regexp: String,
    /// What every match becomes; `\1` and `\g<name>` are its groups. Without it matches are removed.
    #[serde(default, rename = "replace")]
    replacement: String,
    /// Only what stands after the first match of this.
    after: Option<String>,
    /// Only what stands before the first match of this.
    before: Option<String>,
    #[serde(default)]
    backup: bool,
    /// A command that must accept the new file; `%s` is its name.
    validate: Option<String>,
    /// Only `utf-8`.
    #[serde(default = "utf8")]
    encoding: String,
    mode: Option<Mode>,
    owner: Option<String>,
    group: Option<String>,
}

fn utf8() -> String {
    "utf-8".into()
}

edits!(Replace, "replace", &["ansible.builtin.replace", "ansible.legacy.replace"]);

impl Edit for Replace {
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
        match self.encoding.to_ascii_lowercase().as_str() {
            "utf-8" | "utf8" | "ascii" => Ok(()),
            other => {
                Err(ModuleError::Arguments(format!("encoding {other} is not supported; files are utf-8")))
            }
        }
    }

    fn is_terse(&self) -> bool {
        true
    }

    fn edit(&self, before: Option<&str>) -> Result<Edition, ModuleError> {
        let Some(text) = before else {
            return Err(failed(257, format!("Path {} does not exist !", self.path)));
        };
        let section = match (&self.after, &self.before) {
            (None, None) => 0..text.len(),
            (after, end) => {
                let tail = if after.is_some() && end.is_none() { "" } else { "?" };
                let wanted = format!(
                    "{}(?P<subsection>.*{}){}",
                    after.as_deref().unwrap_or_default(),
                    if after.is_some() { tail } else { "" },
                    end.as_deref().unwrap_or_default()
                );
                let found = Pattern::new("after/before", "(?s)", &wanted)?
                    .find(text)?
                    .and_then(|c| c.name("subsection").map(|m| m.start()..m.end()));
                let Some(range) = found else {
                    let message =
                        format!("Pattern for before/after params did not match the given file: {wanted}");
                    return Ok(Edition { message, ..Edition::default() });
                };
                range
            }
        };
        let (new, count) = Pattern::new("regexp", "(?m)", &self.regexp)?
            .replace_all(&text[section.clone()], &self.replacement)?;
        if new == text[section.clone()] {
            return Ok(Edition::default());
        }
        let new = [&text[..section.start], &new, &text[section.end..]].concat();
        let result = Map::from_iter([("rc".to_owned(), 0.into())]);
        Ok(Edition { text: Some(new), message: format!("{count} replacements made"), result })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::from_args;

    #[test]
    fn matches_are_replaced() {
        for (args, expected) in [
            (json!({"regexp": "^b$", "replace": "x"}), Some("a\nx\nc\nb2\n")),
            (json!({"regexp": "^b.*\n"}), Some("a\nc\n")),
            (json!({"regexp": r"(\w)2", "replace": r"\1\1"}), Some("a\nb\nc\nbb\n")),
            (json!({"regexp": "b", "replace": "x", "after": "c"}), Some("a\nb\nc\nx2\n")),
            (json!({"regexp": "b", "replace": "x", "before": "c"}), Some("a\nx\nc\nb2\n")),
            (json!({"regexp": "b", "replace": "x", "after": "a", "before": "b2"}), Some("a\nx\nc\nb2\n")),
            (json!({"regexp": "b", "replace": "x", "after": "nowhere"}), None),
            (json!({"regexp": "nothing"}), None),
        ] {
            let mut all: Value = args.clone();
            all["path"] = json!("/f");
            let module: Replace =
                from_args(all.as_object().cloned().unwrap_or_default()).unwrap_or_else(|e| panic!("{e}"));
            let edition = module.edit(Some("a\nb\nc\nb2\n")).unwrap_or_else(|e| panic!("{args}: {e}"));
            assert_eq!(edition.text.as_deref(), expected, "{args}");
        }
    }
}
