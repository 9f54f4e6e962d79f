use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::host::{Reply, Script, quote};
use crate::{FileKind, Mode, ModuleError, Plan, RemotePath, RunMode, ShellResource, TaskContext};

use super::content::{Entry, Source, base_name};
use super::pattern::Pattern;
use super::placement::{CopyMode, Destination, Item, Placement, Seen, check_validate};

/// A file made of the files of a folder, in the order of their names.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Assemble {
    /// The folder with the fragments.
    src: String,
    dest: Destination,
    /// What stands between two fragments.
    delimiter: Option<String>,
    /// The folder is on the target.
    #[serde(default = "crate::args::yes")]
    remote_src: bool,
    /// Only fragments whose name matches.
    regexp: Option<String>,
    #[serde(default)]
    ignore_hidden: bool,
    #[serde(default)]
    backup: bool,
    /// A command that must accept the new file; `%s` is its name.
    validate: Option<String>,
    mode: Option<Mode>,
    owner: Option<String>,
    group: Option<String>,
    #[serde(skip)]
    placement: Option<Placement>,
}

#[async_trait]
impl ShellResource for Assemble {
    const NAME: &'static str = "assemble";
    const FQCN: &'static [&'static str] = &["ansible.builtin.assemble", "ansible.legacy.assemble"];
    type Observed = Seen;

    fn validate(&self) -> Result<(), ModuleError> {
        check_validate(self.validate.as_deref())?;
        self.pattern().map(|_| ())
    }

    async fn prepare(&mut self, cx: &TaskContext) -> Result<(), ModuleError> {
        let fragments = if self.remote_src { self.remote(cx).await? } else { self.local(cx)? };
        let source = Source::bytes(join(&fragments, self.delimiter.as_deref()));
        self.placement = Some(Placement {
            dest: self.dest.clone(),
            items: vec![Item { name: Some(base_name(&self.src).to_owned()), entry: Entry::File(source) }],
            is_tree: false,
            mode: self.mode.clone().map(CopyMode::Is),
            directory_mode: None,
            owner: self.owner.clone(),
            group: self.group.clone(),
            backup: self.backup,
            force: true,
            follow: true,
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

impl Assemble {
    fn placement(&self) -> Result<&Placement, ModuleError> {
        self.placement.as_ref().ok_or_else(|| ModuleError::failed("the fragments were not read"))
    }

    fn pattern(&self) -> Result<Option<Pattern>, ModuleError> {
        self.regexp.as_deref().map(|r| Pattern::new("regexp", "", r)).transpose()
    }

    fn wants(&self, name: &str, pattern: Option<&Pattern>) -> Result<bool, ModuleError> {
        if self.ignore_hidden && name.starts_with('.') {
            return Ok(false);
        }
        pattern.map_or(Ok(true), |p| p.matches(name))
    }

    async fn remote(&self, cx: &TaskContext) -> Result<Vec<Vec<u8>>, ModuleError> {
        if cx.controller.is_guessing() {
            return Err(ModuleError::failed("the fragments are on the target"));
        }
        let folder = RemotePath::try_from(self.src.clone()).map_err(ModuleError::Arguments)?;
        let missing = || ModuleError::failed(format!("Source ({folder}) is not a directory"));
        // Size, name, content: the sizes say where each content ends, and the slashes where a name does, which holds none.
        let text = format!(
            "cd {} 2>/dev/null || exit 3\nfor f in .* *; do [ -f \"./$f\" ] || continue; printf '%s/%s/\\n' \"$(wc -c <\"./$f\")\" \"$f\"; cat \"./$f\" || exit; done",
            quote(folder.as_str())
        );
        let reply = cx.shell.probe(&Script::new(text)).await?;
        match reply.status {
            0 => {}
            3 => return Err(missing()),
            _ => return Err(ModuleError::failed(format!("reading {folder} failed: {}", reply.err().trim()))),
        }
        let broken = || ModuleError::failed(format!("{folder} changed while it was read"));
        let mut rest = reply.stdout.as_slice();
        let mut named = Vec::new();
        while !rest.is_empty() {
            let (size, after) = until_slash(rest).ok_or_else(broken)?;
            let (name, after) = until_slash(after).ok_or_else(broken)?;
            let after = after.strip_prefix(b"\n").ok_or_else(broken)?;
            let size: usize = size.trim().parse().map_err(|_| broken())?;
            let (content, after) = after.split_at_checked(size).ok_or_else(broken)?;
            named.push((name, content.to_vec()));
            rest = after;
        }
        self.chosen(named)
    }

    fn local(&self, cx: &TaskContext) -> Result<Vec<Vec<u8>>, ModuleError> {
        let folder = cx.controller.locate(FileKind::Files, self.src.trim_end_matches('/'))?;
        let failed =
            |e: std::io::Error| ModuleError::failed(format!("cannot read {}: {e}", folder.display()));
        let mut named = Vec::new();
        for entry in std::fs::read_dir(&folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            if entry.path().is_file() {
                let content = std::fs::read(entry.path()).map_err(failed)?;
                named.push((entry.file_name().to_string_lossy().into_owned(), content));
            }
        }
        self.chosen(named)
    }

    fn chosen(&self, mut named: Vec<(String, Vec<u8>)>) -> Result<Vec<Vec<u8>>, ModuleError> {
        let pattern = self.pattern()?;
        named.sort();
        let mut chosen = Vec::new();
        for (name, content) in named {
            if self.wants(&name, pattern.as_ref())? {
                chosen.push(content);
            }
        }
        Ok(chosen)
    }
}

/// The text before the next slash, and the bytes behind it.
fn until_slash(bytes: &[u8]) -> Option<(String, &[u8])> {
    let at = bytes.iter().position(|b| *b == b'/')?;
    Some((String::from_utf8_lossy(&bytes[..at]).into_owned(), &bytes[at + 1..]))
}

/// Fragments do not run into each other: each begins on a line of its own, and so does the delimiter.
fn join(fragments: &[Vec<u8>], delimiter: Option<&str>) -> Vec<u8> {
    let delimiter = delimiter.map(|d| d.replace("\\n", "\n").replace("\\t", "\t")).filter(|d| !d.is_empty());
    let mut out: Vec<u8> = Vec::new();
    let end_line = |out: &mut Vec<u8>| {
        if out.last().is_some_and(|b| *b != b'\n') {
            out.push(b'\n');
        }
    };
    for (number, fragment) in fragments.iter().enumerate() {
        end_line(&mut out);
        if let (1.., Some(delimiter)) = (number, &delimiter) {
            out.extend_from_slice(delimiter.as_bytes());
            end_line(&mut out);
        }
        out.extend_from_slice(fragment);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fragments_keep_to_their_lines() {
        let parts = [b"a".to_vec(), b"b\n".to_vec(), b"c".to_vec()];
        assert_eq!(join(&parts, None), b"a\nb\nc");
        assert_eq!(join(&parts, Some("--")), b"a\n--\nb\n--\nc");
    }
}
