use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::host::{Content, Script, Step, quote};
use crate::modules::{
    Action, CheckMode, Diff, FileKind, Mode, ModuleError, Outcome, RemotePath, TaskContext,
};
use crate::value::{Map, Value};

use super::inode::octal;

/// An archive, unpacked on the target with its `tar` or `unzip`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Unarchive {
    src: String,
    /// A folder that exists.
    dest: RemotePath,
    /// The archive is on the target.
    #[serde(default)]
    remote_src: bool,
    /// Ansible's older word for the opposite of `remote_src`.
    copy: Option<bool>,
    /// Do nothing where this is.
    creates: Option<RemotePath>,
    #[serde(default)]
    list_files: bool,
    #[serde(default)]
    exclude: Vec<String>,
    #[serde(default)]
    include: Vec<String>,
    /// More options for `tar` or `unzip`.
    #[serde(default)]
    extra_opts: Vec<String>,
    mode: Option<Mode>,
    owner: Option<String>,
    group: Option<String>,
}

#[async_trait]
impl Action for Unarchive {
    const NAME: &'static str = "unarchive";
    const FQCN: &'static [&'static str] = &["ansible.builtin.unarchive", "ansible.legacy.unarchive"];
    const CHECK: CheckMode = CheckMode::Runs;

    fn validate(&self) -> Result<(), ModuleError> {
        let refuse = |message: &str| Err(ModuleError::Arguments(message.into()));
        if !self.include.is_empty() && !self.exclude.is_empty() {
            return refuse("parameters are mutually exclusive: include|exclude");
        }
        if self.is_remote() && !self.src.starts_with('/') {
            return refuse(
                "with remote_src, src is an absolute path on the target; get_url downloads an archive",
            );
        }
        Ok(())
    }

    async fn run(self, cx: &TaskContext) -> Result<Outcome, ModuleError> {
        let mut result = Map::new();
        result.insert("src".into(), self.src.clone().into());
        result.insert("dest".into(), self.dest.as_str().into());
        result.insert("handler".into(), if self.is_zip() { "ZipArchive" } else { "TarArchive" }.into());
        let ready = cx.shell.run(&self.look()).await?;
        match ready.status {
            0 => {}
            3 => {
                let path = self.creates.as_ref().map_or("", RemotePath::as_str);
                result.insert("msg".into(), format!("skipped, since {path} exists").into());
                return Ok(Outcome::ok(result));
            }
            _ => return Err(ModuleError::failed(ready.err().trim().to_owned()).with_result(result)),
        }
        let archive =
            if self.is_remote() { self.src.clone() } else { self.upload(cx, ready.out().trim()).await? };
        let reply = cx.shell.run(&self.unpack(&archive, cx.check)).await;
        if !self.is_remote() {
            cx.shell.apply(&Step::Remove { path: archive }).await?;
        }
        let reply = reply?;
        if !reply.ok() {
            let message = format!("unpacking {} failed: {}", self.src, reply.err().trim());
            return Err(ModuleError::failed(message).with_result(result));
        }
        let out = reply.out();
        let of = |prefix: &str| -> Vec<String> {
            out.lines().filter_map(|l| l.strip_prefix(prefix)).map(Into::into).collect()
        };
        let (differing, files) = (of("differs "), of("has "));
        if self.list_files {
            result.insert("files".into(), Value::from(files));
        }
        result.insert("state".into(), "directory".into());
        if differing.is_empty() {
            return Ok(Outcome::ok(result));
        }
        let mut outcome = Outcome::changed(result);
        if cx.diff {
            outcome.diff.push(Diff::new(self.dest.as_str(), "", differing.join("\n") + "\n"));
        }
        Ok(outcome)
    }
}

impl Unarchive {
    fn is_remote(&self) -> bool {
        self.copy.map_or(self.remote_src, |copy| !copy)
    }

    fn is_zip(&self) -> bool {
        let lower = self.src.to_ascii_lowercase();
        [".zip", ".jar", ".war"].iter().any(|end| lower.ends_with(end))
    }

    /// Whether there is work and what it takes; answers with a name for the archive.
    fn look(&self) -> Script {
        let dest = quote(self.dest.as_str());
        let tool = if self.is_zip() { "unzip" } else { "tar" };
        let mut text = String::new();
        if let Some(creates) = &self.creates {
            text.push_str(&format!("[ -e {} ] && exit 3\n", quote(creates.as_str())));
        }
        if self.is_remote() {
            let src = quote(&self.src);
            text.push_str(&format!(
                "[ -r {src} ] || {{ echo Source {src} does not exist or is not readable >&2; exit 1; }}\n"
            ));
        }
        text.push_str(&format!(
            "[ -d {dest} ] || {{ echo Destination {dest} is not a directory >&2; exit 1; }}\n\
             command -v {tool} >/dev/null || {{ echo {tool} is not on the target, and this archive needs it >&2; exit 1; }}\n\
             echo \"${{TMPDIR:-/tmp}}/quaylab-archive-$$-$(date +%s)\"\n"
        ));
        Script::new(text)
    }

    async fn upload(&self, cx: &TaskContext, path: &str) -> Result<String, ModuleError> {
        let content = match cx.controller.locate(FileKind::Files, &self.src) {
            Ok(file) => Content::File(file),
            Err(_) => Content::Bytes(cx.controller.load(FileKind::Files, &self.src)?.1),
        };
        cx.shell
            .apply(&Step::WriteFile {
                path: path.to_owned(),
                content,
                mode: Some(0o600),
                owner: None,
                group: None,
                backup: false,
                validate: None,
            })
            .await?;
        Ok(path.to_owned())
    }

    fn extract(&self, archive: &str, into: &str) -> String {
        let words = |items: &[String]| items.iter().map(|i| format!(" {}", quote(i))).collect::<String>();
        let archive = quote(archive);
        let extra = words(&self.extra_opts);
        if self.is_zip() {
            let exclude =
                if self.exclude.is_empty() { String::new() } else { format!(" -x{}", words(&self.exclude)) };
            return format!("unzip -o -q{extra} {archive}{}{exclude} -d {into}", words(&self.include));
        }
        let exclude: String = self.exclude.iter().map(|e| format!(" --exclude={}", quote(e))).collect();
        format!("tar -xf {archive} -C {into}{exclude}{extra}{}", words(&self.include))
    }

    /// Unpacks into a temporary folder, compares, and unpacks in place where something differs. Not every `tar` can
    /// compare, and no `unzip` can.
    fn unpack(&self, archive: &str, check: bool) -> Script {
        let dest = quote(self.dest.as_str());
        let group = self.group.as_ref().map(|g| format!(":{g}")).unwrap_or_default();
        let who = format!("{}{group}", self.owner.as_deref().unwrap_or_default());
        let mode = self.mode.as_ref().map(|m| match m {
            Mode::Bits(bits) => octal(*bits),
            Mode::Symbolic(text) => text.clone(),
        });
        let mut settle = String::new();
        let mut settled = String::new();
        if !who.is_empty() {
            settle.push_str(&format!("chown -h {} \"$d/$n\" || exit\n", quote(&who)));
            let (format, wanted) = match (&self.owner, &self.group) {
                (Some(o), Some(g)) => {
                    (ownership(o, "%u", "%U") + ":" + &ownership(g, "%g", "%G"), format!("{o}:{g}"))
                }
                (Some(o), None) => (ownership(o, "%u", "%U"), o.clone()),
                (None, g) => {
                    let g = g.clone().unwrap_or_default();
                    (ownership(&g, "%g", "%G"), g)
                }
            };
            settled.push_str(&format!(" && [ \"$(stat -c {format} \"$d/$n\")\" = {} ]", quote(&wanted)));
        }
        if let Some(mode) = &mode {
            settle.push_str(&format!("[ -L \"$d/$n\" ] || chmod {} \"$d/$n\" || exit\n", quote(mode)));
            if let Some(Mode::Bits(bits)) = &self.mode {
                settled.push_str(&format!(
                    " && {{ [ -L \"$d/$n\" ] || [ \"$(stat -c %a \"$d/$n\")\" = {bits:o} ]; }}"
                ));
            }
        }
        let apply = if check {
            String::new()
        } else {
            format!(
                "if [ -s \"$w/differs\" ]; then {} >&2 || exit\nwhile IFS= read -r n; do :\n{settle}done <\"$w/list\"\nfi\n",
                self.extract(archive, "\"$d\"")
            )
        };
        let list = if self.list_files { "sed 's/^/has /' \"$w/list\"\n" } else { "" };
        Script::new(format!(
            r#"d={dest}
w=$(mktemp -d "${{TMPDIR:-/tmp}}/quaylab.XXXXXX") || exit
trap 'chmod -R u+rwx "$w"; rm -rf "$w"' EXIT
mkdir "$w/x" || exit
{extract} >&2 || exit
cd "$w/x" || exit
find . ! -name . | sed 's|^\./||' | sort >"$w/list"
while IFS= read -r n; do
  if [ -L "$n" ]; then [ -L "$d/$n" ] && [ "$(readlink "$n")" = "$(readlink "$d/$n")" ]
  elif [ -d "$n" ]; then [ -d "$d/$n" ]
  else [ -f "$d/$n" ] && cmp -s "$n" "$d/$n"; fi{settled} || echo "$n" >>"$w/differs"
done <"$w/list"
[ -f "$w/differs" ] && sed 's/^/differs /' "$w/differs"
{list}{apply}exit 0"#,
            extract = self.extract(archive, "\"$w/x\""),
        ))
    }
}

/// The `stat` field that a name, or a number, is compared with.
fn ownership(who: &str, number: &str, name: &str) -> String {
    if who.chars().all(|c| c.is_ascii_digit()) { number.into() } else { name.into() }
}
