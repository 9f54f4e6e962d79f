use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::io::AsyncReadExt as _;

use crate::host::{Link, Reply, Script, TREE, arrived, at, quote};
use crate::value::{Map, Value};
use crate::{Action, CheckMode, Diff, FileKind, Mode, ModuleError, Outcome, RemotePath, TaskContext};

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
        let ready = cx.shell.probe(&self.look()).await?;
        match ready.status {
            0 => {}
            3 => {
                let path = self.creates.as_ref().map_or("", RemotePath::as_str);
                result.insert("msg".into(), format!("skipped, since {path} exists").into());
                return Ok(Outcome::ok(result));
            }
            _ => return Err(ModuleError::failed(ready.err().trim().to_owned()).with_result(result)),
        }
        let reply = self.unpack(cx).await?;
        if !reply.ok() {
            let message = format!("unpacking {} failed: {}", self.src, reply.err().trim());
            return Err(ModuleError::failed(message).with_result(result));
        }
        let told = Told::read(&reply.stdout);
        let (differing, files) = (told.of("differs"), told.of("has"));
        if self.list_files {
            result.insert("files".into(), Value::from(files));
        }
        result.insert("state".into(), "directory".into());
        if differing.is_empty() {
            return Ok(Outcome::ok(result));
        }
        let mut outcome = Outcome::changed(result);
        if cx.mode.diff {
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

    /// Whether there is work and what it takes.
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
                "[ -f {src} ] && [ -r {src} ] || {{ echo Source {src} does not exist, is not a file, or is not readable >&2; exit 1; }}\n"
            ));
        }
        text.push_str(&format!(
            "[ -d {dest} ] || {{ echo Destination {dest} is not a directory >&2; exit 1; }}\n\
             command -v {tool} >/dev/null || {{ echo {tool} is not on the target, and this archive needs it >&2; exit 1; }}\n"
        ));
        Script::new(text)
    }

    /// Sends the archive along with the script that unpacks it, so that it has no name that others could meet.
    async fn unpack(&self, cx: &TaskContext) -> Result<Reply, ModuleError> {
        if self.is_remote() {
            return Ok(cx.shell.run(&self.script(&quote(&self.src), None, cx.mode.check)).await?);
        }
        let script = |size| self.script("\"$w/archive\"", Some(size), cx.mode.check);
        let Ok(path) = cx.controller.locate(FileKind::Files, &self.src) else {
            let (_, bytes) = cx.controller.load(FileKind::Files, &self.src)?;
            return Ok(cx.shell.run(&script(bytes.len() as u64).stdin(bytes)).await?);
        };
        let unreadable =
            |e: std::io::Error| ModuleError::failed(format!("cannot read {}: {e}", path.display()));
        let file = tokio::fs::File::open(&path).await.map_err(unreadable)?;
        let size = file.metadata().await.map_err(unreadable)?.len();
        Ok(cx.shell.pipe(&script(size), &mut file.take(size)).await?)
    }

    /// The command that unpacks the archive, a word of sh, into a folder, another one.
    fn extract(&self, archive: &str, into: &str) -> String {
        let words = |items: &[String]| items.iter().map(|i| format!(" {}", quote(i))).collect::<String>();
        let extra = words(&self.extra_opts);
        if self.is_zip() {
            // `unzip` takes what begins with a dash for an option wherever it stands; as a pattern it is a name.
            let names = |items: &[String]| {
                let pattern =
                    |name: &String| name.strip_prefix('-').map_or(name.clone(), |n| format!("[-]{n}"));
                words(&items.iter().map(pattern).collect::<Vec<_>>())
            };
            let exclude =
                if self.exclude.is_empty() { String::new() } else { format!(" -x{}", names(&self.exclude)) };
            return format!("unzip -o -q{extra} {archive}{}{exclude} -d {into}", names(&self.include));
        }
        let exclude: String = self.exclude.iter().map(|e| format!(" --exclude={}", quote(e))).collect();
        format!("tar -xf {archive} -C {into}{exclude}{extra} --{}", words(&self.include))
    }

    /// What the archive's options say of files that are there: nothing is there where it is unpacked.
    fn older(&self) -> &'static str {
        let has = |options: &[&str]| self.extra_opts.iter().any(|o| options.contains(&o.as_str()));
        let (skip, newer): (&[&str], &[&str]) = if self.is_zip() {
            (&["-n"], &["-u"])
        } else {
            (&["-k", "--keep-old-files", "--skip-old-files"], &["--keep-newer-files"])
        };
        match (has(skip), has(newer)) {
            (true, _) => "skip",
            (false, true) => "newer",
            (false, false) => "''",
        }
    }

    /// What becomes of a link to a folder where the archive has a folder: `tar` replaces it if it is not told otherwise, and `unzip` cannot
    /// be told anything.
    fn links(&self) -> &'static str {
        if self.is_zip() {
            "refuse"
        } else if self.extra_opts.iter().any(|o| o == "--keep-directory-symlink") {
            "keep"
        } else {
            "replace"
        }
    }

    /// Unpacks into a temporary folder, compares, and where something differs unpacks into a folder that nobody else may enter and moves
    /// from there what came. `sent`: the archive comes along with the script, so many bytes of it.
    /// Not every `tar` can compare, and no `unzip` can. The names are never read line by line: they may hold anything.
    fn script(&self, archive: &str, sent: Option<u64>, check: bool) -> Script {
        let group = self.group.as_ref().map(|g| format!(":{g}")).unwrap_or_default();
        let who = format!("{}{group}", self.owner.as_deref().unwrap_or_default());
        let mode = self.mode.as_ref().map(|m| match m {
            Mode::Bits(bits) => octal(*bits),
            Mode::Symbolic(text) => text.clone(),
        });
        let mut settle = String::new();
        let mut settled = String::new();
        if !who.is_empty() {
            settle
                .push_str(&format!(" && find ./new ! -path ./new -exec chown -h -- {} {{}} +", quote(&who)));
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
            settled.push_str(&format!(" && [ \"$(stat -c {format} \"$r/$n\")\" = {} ]", quote(&wanted)));
        }
        if let Some(mode) = &mode {
            settle.push_str(&format!(
                " && find ./new ! -path ./new ! -type l -exec chmod -- {} {{}} +",
                quote(mode)
            ));
            if let Some(Mode::Bits(bits)) = &self.mode {
                settled.push_str(&format!(
                    " && {{ [ -L \"$r/$n\" ] || [ \"$(stat -c %a \"$r/$n\")\" = {bits:o} ]; }}"
                ));
            }
        }
        let compare = format!(
            r#"r=$1 w=$2; shift 2
for n; do n=${{n#./}}
printf 'has %s\0' "$n"
if [ -L "./$n" ]; then [ -L "$r/$n" ] && [ "$(readlink "./$n")" = "$(readlink "$r/$n")" ]
elif [ -d "./$n" ]; then [ -d "$r/$n" ]
else [ -f "$r/$n" ] && cmp -s "./$n" "$r/$n"; fi{settled} || {{ printf 'differs %s\0' "$n"; : >"$w/differs"; }}
done"#
        );
        let apply = if check {
            String::new()
        } else {
            format!(
                "[ -e \"$w/differs\" ] || exit 0\nstage && {} >&2{settle} \n[ $? = 0 ] && older={} links={} && merge '' \"$r\"",
                self.extract(archive, "./new"),
                self.older(),
                self.links(),
            )
        };
        let store = sent
            .map_or_else(String::new, |size| format!("cat >{archive} || exit\n{}", arrived(archive, size)));
        let work = format!(
            r#"{TREE}shelter || exit
trap 'chmod -R u+rwx "$w" 2>/dev/null; rm -rf "$w"' EXIT
{store}mkdir "$w/x" && {extract} >&2 || exit
( cd "$w/x" && find . ! -name . -exec sh -c {compare} sh "$r" "$w" {{}} + ) || exit
{apply}"#,
            extract = self.extract(archive, "\"$w/x\""),
            compare = quote(&compare),
        );
        Script::new(at(self.dest.as_str(), Link::Followed, &work))
    }
}

/// What the script said of the archive's members: a word and a name each, which may hold anything but NUL.
struct Told(Vec<(String, String)>);

impl Told {
    fn read(bytes: &[u8]) -> Self {
        let mut told: Vec<(String, String)> = bytes
            .split(|b| *b == 0)
            .filter_map(|part| {
                let text = String::from_utf8_lossy(part);
                text.split_once(' ').map(|(word, name)| (word.to_owned(), name.to_owned()))
            })
            .collect();
        told.sort();
        Self(told)
    }

    fn of(&self, word: &str) -> Vec<String> {
        self.0.iter().filter(|(w, _)| w == word).map(|(_, name)| name.clone()).collect()
    }
}

/// The `stat` field that a name, or a number, is compared with.
fn ownership(who: &str, number: &str, name: &str) -> String {
    if who.chars().all(|c| c.is_ascii_digit()) { number.into() } else { name.into() }
}
