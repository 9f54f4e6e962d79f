use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::host::{Reply, Script};
use crate::{FileKind, Mode, ModuleError, Plan, RunMode, ShellResource, TaskContext};

use super::content::{Entry, Source, base_name};
use super::placement::{CopyMode, Destination, Item, Placement, Seen, check_validate};

/// A rendered template as a file on the target.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Template {
    /// A file in the role's or play's `templates` folder.
    src: String,
    /// The file on the target, or a folder that takes it under its own name.
    dest: Destination,
    mode: Option<CopyMode>,
    owner: Option<String>,
    group: Option<String>,
    #[serde(default)]
    backup: bool,
    /// Replace a file that differs.
    #[serde(default = "crate::args::yes")]
    force: bool,
    #[serde(default)]
    follow: bool,
    /// A command that must accept the new file; `%s` is its name.
    validate: Option<String>,
    newline_sequence: Option<String>,
    trim_blocks: Option<bool>,
    lstrip_blocks: Option<bool>,
    block_start_string: Option<String>,
    block_end_string: Option<String>,
    variable_start_string: Option<String>,
    variable_end_string: Option<String>,
    comment_start_string: Option<String>,
    comment_end_string: Option<String>,
    /// Only `utf-8`.
    output_encoding: Option<String>,
    #[serde(skip)]
    placement: Option<Placement>,
}

#[async_trait]
impl ShellResource for Template {
    const NAME: &'static str = "template";
    const FQCN: &'static [&'static str] = &["ansible.builtin.template", "ansible.legacy.template"];
    type Observed = Seen;

    fn validate(&self) -> Result<(), ModuleError> {
        check_validate(self.validate.as_deref())?;
        self.newline()?;
        match self.output_encoding.as_deref().map(str::to_ascii_lowercase).as_deref() {
            None | Some("utf-8" | "utf8" | "ascii") => Ok(()),
            Some(other) => {
                Err(ModuleError::Arguments(format!("output_encoding {other} is not supported; it is utf-8")))
            }
        }
    }

    async fn prepare(&mut self, cx: &TaskContext) -> Result<(), ModuleError> {
        let (name, bytes) = cx.controller.load(FileKind::Templates, &self.src)?;
        let bytes = cx.controller.open(bytes)?;
        let text = String::from_utf8(bytes)
            .map_err(|_| ModuleError::failed(format!("the template {name} is not UTF-8 text")))?;
        let rendered = cx.controller.render(&name, &self.with_header(&text))?;
        let newline = self.newline()?;
        let rendered = if newline == "\n" { rendered } else { rendered.replace('\n', newline) };
        let mut source = Source::bytes(rendered.into_bytes());
        if self.mode == Some(CopyMode::Preserve) {
            let path = cx.controller.locate(FileKind::Templates, &self.src)?;
            source.mode = Source::file(&path)?.mode;
        }
        self.placement = Some(Placement {
            dest: self.dest.clone(),
            items: vec![Item { name: Some(base_name(&self.src).to_owned()), entry: Entry::File(source) }],
            is_tree: false,
            mode: self.mode.clone(),
            directory_mode: None::<Mode>,
            owner: self.owner.clone(),
            group: self.group.clone(),
            backup: self.backup,
            force: self.force,
            follow: self.follow,
            validate: self.validate.clone(),
            diff: cx.mode.diff,
        });
        Ok(())
    }

    fn probe(&self) -> Script {
        self.placement.as_ref().map(Placement::probe).unwrap_or_default()
    }

    fn read(&self, reply: &Reply) -> Result<Seen, ModuleError> {
        self.placement()?.read(reply)
    }

    fn plan(&self, now: &Seen, mode: RunMode) -> Result<Plan, ModuleError> {
        self.placement()?.plan(now, mode)
    }
}

impl Template {
    fn placement(&self) -> Result<&Placement, ModuleError> {
        self.placement.as_ref().ok_or_else(|| ModuleError::failed("the template was not rendered"))
    }

    fn newline(&self) -> Result<&'static str, ModuleError> {
        match self.newline_sequence.as_deref() {
            None | Some("\n" | "\\n") => Ok("\n"),
            Some("\r" | "\\r") => Ok("\r"),
            Some("\r\n" | "\\r\\n") => Ok("\r\n"),
            Some(_) => {
                Err(ModuleError::Arguments(r"newline_sequence needs to be one of: \n, \r or \r\n".into()))
            }
        }
    }

    /// Says deviating syntax in the `#jinja2:` line that templates may begin with; the template's own line wins.
    fn with_header(&self, text: &str) -> String {
        let booleans = [("trim_blocks", self.trim_blocks), ("lstrip_blocks", self.lstrip_blocks)];
        let strings = [
            ("block_start_string", &self.block_start_string),
            ("block_end_string", &self.block_end_string),
            ("variable_start_string", &self.variable_start_string),
            ("variable_end_string", &self.variable_end_string),
            ("comment_start_string", &self.comment_start_string),
            ("comment_end_string", &self.comment_end_string),
        ];
        let mut said: Vec<String> = booleans
            .iter()
            .filter_map(|(name, value)| {
                value.map(|v| format!("{name}: {}", if v { "True" } else { "False" }))
            })
            .collect();
        said.extend(
            strings.iter().filter_map(|(name, value)| value.as_ref().map(|v| format!("{name}:'{v}'"))),
        );
        if said.is_empty() {
            return text.to_owned();
        }
        let said = said.join(", ");
        match text.strip_prefix("#jinja2:") {
            Some(own) => format!("#jinja2: {said}, {}", own.trim_start()),
            None => format!("#jinja2: {said}\n{text}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::from_args;
    use serde_json::json;

    #[test]
    fn deviating_syntax_stands_in_the_header() {
        let read = |args: serde_json::Value| {
            from_args::<Template>(args.as_object().cloned().unwrap_or_default())
                .unwrap_or_else(|e| panic!("{e}"))
        };
        let plain = read(json!({"src": "a", "dest": "/a"}));
        assert_eq!(plain.with_header("x"), "x");
        let other =
            read(json!({"src": "a", "dest": "/a", "trim_blocks": "no", "variable_start_string": "[["}));
        assert_eq!(other.with_header("x"), "#jinja2: trim_blocks: False, variable_start_string:'[['\nx");
        assert_eq!(
            other.with_header("#jinja2:trim_blocks: True\nx"),
            "#jinja2: trim_blocks: False, variable_start_string:'[[', trim_blocks: True\nx"
        );
        let bad = read(json!({"src": "a", "dest": "/a", "newline_sequence": "x"}));
        assert!(bad.newline().is_err());
    }
}
