//! Carrying out steps: each becomes one sh script.

use super::reach::{TREE, at, make_directory};
use super::script::{arrived, contents};
use super::shell_protocol::printf;
use super::watched::{Progress, Watch, Watched};
use super::write_file::{COPY, WriteFile};
use super::{Content, Digest, HostError, Link, Reply, Script, Shell, Step, Times, quote};
use tokio::io::AsyncReadExt as _;

/// Content above this goes through a channel of its own instead of the persistent shell.
pub(super) const INLINE_BYTES: usize = 64 * 1024;

pub(super) async fn apply(shell: &Shell, step: &Step, watch: Watch<'_>) -> Result<Reply, HostError> {
    let reply = match step {
        Step::WriteFile { content: Content::File(source), path, .. } => {
            let unreadable = |e: std::io::Error| HostError::Failed {
                what: format!("writing {path}"),
                reason: format!("{} cannot be read: {e}", source.display()),
            };
            let file = tokio::fs::File::open(source).await.map_err(unreadable)?;
            let size = file.metadata().await.map_err(unreadable)?.len();
            let mut sent = Watched::new(file.take(size), Progress::sending(path, size), watch);
            shell.pipe(&script(step, size)?, &mut sent).await?
        }
        _ => shell.run_step(step, &script(step, 0)?).await?,
    };
    if reply.ok() {
        return Ok(reply);
    }
    let said = reply.err().trim().to_owned();
    let said = if said.is_empty() { reply.out().trim().to_owned() } else { said };
    let reason = if said.is_empty() {
        format!("status {}", reply.status)
    } else {
        format!("{said} (status {})", reply.status)
    };
    Err(HostError::Failed { what: what(step), reason })
}

/// What a step does, for messages; arguments may hold secrets and are left out.
fn what(step: &Step) -> String {
    match step {
        Step::WriteFile { path, .. } => format!("writing {path}"),
        Step::CopyTree { from, path, .. } => format!("copying {from} to {path}"),
        Step::MakeDirectory { path, .. } => format!("making the directory {path}"),
        Step::SetMode { path, mode } => format!("setting the mode of {path} to {mode:04o}"),
        Step::SetOwner { path, owner, group, .. } => {
            format!("giving {path} to {}", ownership(owner.as_deref(), group.as_deref()))
        }
        Step::SetOwners { path, .. } => format!("giving away all that is in {path}"),
        Step::SetModes { path, mode } => format!("setting the modes of all that is in {path} to {mode}"),
        Step::Remove { path } => format!("removing {path}"),
        Step::Symlink { path, target } => format!("linking {path} to {target}"),
        Step::Hardlink { path, target } => format!("hard-linking {path} to {target}"),
        Step::Touch { path, .. } => format!("touching {path}"),
        Step::Backup { path, .. } => format!("keeping a copy of {path}"),
        Step::Run { argv, .. } => format!("running {}", argv.first().map_or("nothing", String::as_str)),
        Step::Script { .. } => "running a script".to_owned(),
    }
}

fn ownership(owner: Option<&str>, group: Option<&str>) -> String {
    match (owner, group) {
        (Some(owner), Some(group)) => format!("{owner}:{group}"),
        (Some(owner), None) => owner.to_owned(),
        (None, Some(group)) => format!(":{group}"),
        (None, None) => String::new(),
    }
}

/// The script that carries the step out. Content on the controller is not in it: it is streamed, so many bytes of it.
fn script(step: &Step, streamed: u64) -> Result<Script, HostError> {
    let script = match step {
        Step::WriteFile { path, content, mode, owner, group, backup, validate } => {
            let source = source(content, streamed);
            let text = WriteFile {
                path,
                content: source.command,
                then: source.then,
                mode: *mode,
                ownership: ownership(owner.as_deref(), group.as_deref()),
                backup: *backup,
                validate: validate.as_deref(),
            }
            .script()
            .map_err(|reason| HostError::Failed { what: what(step), reason })?;
            Script { environment: source.environment, ..Script::new(text).stdin(source.stdin) }
        }
        Step::Backup { path, copy } => {
            let work =
                format!("f=$r c={}; c=$p/${{c##*/}}\n[ ! \"$shared\" ] || hide || exit\n{COPY}", quote(copy));
            Script::new(at(path, Link::Followed, &work))
        }
        Step::CopyTree { from, path, owner, group } => {
            let ownership = ownership(owner.as_deref(), group.as_deref());
            Script::new(at(trimmed(path), Link::Followed, &copy_tree(from, &ownership)))
        }
        Step::MakeDirectory { path, mode, owner, group } => {
            let ownership = ownership(owner.as_deref(), group.as_deref());
            Script::new(at(trimmed(path), Link::Itself, &make_directory(*mode, &ownership)))
        }
        Step::SetMode { path, mode } => {
            Script::new(in_place(path, Link::Followed, &format!("chmod {mode:04o} --")))
        }
        Step::SetOwner { path, owner, group, link } => match ownership(owner.as_deref(), group.as_deref()) {
            none if none.is_empty() => Script::new(":"),
            to => Script::new(in_place(path, *link, &format!("chown -h -- {}", quote(&to)))),
        },
        Step::SetOwners { path, owner, group } => {
            let to = quote(&ownership(owner.as_deref(), group.as_deref()));
            Script::new(at(path, Link::Followed, &format!("go \"$r\" && chown -R -h -- {to} .")))
        }
        Step::SetModes { path, mode } => Script::new(set_modes(path, mode)),
        // Without the slash at the end `rm` takes the link, not what it points to.
        Step::Remove { path } => {
            let work = "if [ \"$shared\" ]; then go \"$p\" && rm -rf -- \"./$b\"; else rm -rf -- \"$r\"; fi";
            Script::new(at(trimmed(path), Link::Itself, work))
        }
        Step::Symlink { path, target } => Script::new(replace_link("ln -s", path, target)),
        Step::Hardlink { path, target } => Script::new(replace_link("ln", path, target)),
        Step::Touch { path, times, link } => Script::new(touch(path, *times, *link)),
        Step::Run { argv, stdin, environment } => {
            if argv.is_empty() {
                return Err(HostError::Failed {
                    what: what(step),
                    reason: "the command is empty".to_owned(),
                });
            }
            let mut script = Script::argv(argv).stdin(stdin.clone());
            script.environment.clone_from(environment);
            script
        }
        Step::Script { text, stdin } => Script::new(text).stdin(stdin.clone()),
    };
    Ok(script)
}

fn trimmed(path: &str) -> &str {
    match path.trim_end_matches('/') {
        "" => "/",
        path => path,
    }
}

/// Where a file's content comes from.
#[derive(Default)]
struct Source {
    /// The command that writes it.
    command: String,
    then: String,
    stdin: Vec<u8>,
    environment: Vec<(String, String)>,
}

/// What comes on standard input, whole or not at all.
fn stream(size: u64) -> Source {
    Source { command: "cat".to_owned(), then: arrived("\"$t\"", size), ..Source::default() }
}

fn source(content: &Content, streamed: u64) -> Source {
    let of = |bytes: &[u8]| {
        // What the shell writes by itself starts no program.
        if bytes.len() <= INLINE_BYTES {
            Source { command: printf(bytes), ..Source::default() }
        } else {
            Source { stdin: bytes.to_vec(), ..stream(bytes.len() as u64) }
        }
    };
    match content {
        Content::Bytes(bytes) => of(bytes),
        Content::File(_) => stream(streamed),
        Content::Edited { bytes, from } => {
            let new = of(bytes);
            let then = format!(
                "{}if [ \"$shared\" ]; then\n{}if [ \"$n\" ] || [ \"${{s%% *}}\" != {} ]; then echo \"$r has been changed since it was read\" >&2; exit 1; fi\nfi\n",
                new.then,
                digest_of(&from.algorithm, "$f"),
                quote(&from.hex)
            );
            Source { then, ..new }
        }
        Content::Copied(from) => Source {
            command: contents(&quote(from)),
            then: format!("touch -r {} -- \"$t\" || exit\n", quote(from)),
            ..Source::default()
        },
        Content::Printed { script, digest } => Source {
            command: format!("( {}\n)", script.text),
            then: digest.as_ref().map(accepted).unwrap_or_default(),
            stdin: script.stdin.clone(),
            environment: script.environment.clone(),
        },
    }
}

/// A file's digest in `$s`.
fn digest_of(algorithm: &str, file: &str) -> String {
    format!(
        "if command -v {algorithm}sum >/dev/null 2>&1; then s=$({algorithm}sum <\"{file}\"); else s=$(openssl dgst -r -{algorithm} <\"{file}\"); fi\n"
    )
}

/// Ends where the new file has another digest, by whichever tool is there.
fn accepted(Digest { algorithm, hex }: &Digest) -> String {
    format!(
        "{}if [ \"${{s%% *}}\" != {hex} ]; then echo \"The checksum for the download did not match {hex}; it was ${{s%% *}}.\" >&2; exit 1; fi\n",
        digest_of(algorithm, "$t"),
        hex = quote(hex)
    )
}

/// Copied to where nobody else can reach it, and moved from there.
fn copy_tree(from: &str, ownership: &str) -> String {
    let from = quote(&format!("{}/.", from.trim_end_matches('/')));
    let own = if ownership.is_empty() {
        String::new()
    } else {
        format!(" && chown -R -h -- {} ./new", quote(ownership))
    };
    format!(
        "{TREE}if [ -e \"$r\" ]; then stage && cp -R -P -p -- {from} ./new/{own} && merge '' \"$r\"\n\
         else hide && mkdir ./new && cp -R -P -p -- {from} ./new/{own} && put ./new \"$b\"; fi"
    )
}

/// A command that changes what stands at a path, whose last argument it is.
fn in_place(path: &str, link: Link, command: &str) -> String {
    let no_link = if link == Link::Followed { " && [ ! -L \"$o\" ]" } else { "" };
    at(
        path,
        link,
        &format!(
            "if [ ! \"$shared\" ]; then {command} \"${{r:-/}}\"; exit; fi\n\
             if [ -d \"$r\" ] && [ ! -L \"$r\" ]; then go \"$r\" && {command} .; exit; fi\n\
             hide && pin{no_link} && {command} \"$o\""
        ),
    )
}

/// `chmod` follows a link that somebody puts in the place of what `find` has seen. Where others may change a folder in the tree, files get
/// a second name that only we reach, and folders are gone to; that wants a `find` that goes to each folder by itself.
fn set_modes(path: &str, mode: &str) -> String {
    let mode = quote(mode);
    let files = r#"m=$1 z=$2; shift 2; nl='
'
h=$(env pwd -P; echo .); h=${h%??}
for n; do shift; set -- "$@" "../${n#./}"; done
(umask 077; mkdir "./.quaylab.$z") && cd -P "./.quaylab.$z" && [ -O . ] && [ "$(env pwd -P)" = "$h/.quaylab.$z" ] || exit
trap 'cd .. && rm -rf "./.quaylab.$z"' EXIT
ln -- "$@" . || exit
for n; do shift; n=./${n#../}; [ -L "$n" ] || set -- "$@" "$n"; done
[ $# = 0 ] || chmod -- "$m" "$@""#;
    let folders = r#"m=$1 s=0; shift
h=$(env pwd -P; echo .); h=${h%??}
for n; do (cd -P "$n" && [ "$(env pwd -P; echo .)" = "$h/${n#./}
." ] && chmod -- "$m" .) || s=1; done
exit $s"#;
    let work = format!(
        r#"go "$r" || exit
o=$(find . -type d \( ! -user 0 ! -user "$(id -u)" -o -perm -020 -o -perm -002 \) -print | head -n 1)
if [ ! "$shared$o" ] || ! find . -prune -execdir true \; 2>/dev/null; then
find . ! -type l -exec chmod -- {mode} {{}} +; exit; fi
find . ! -type l ! -type d -execdir sh -c {files} sh {mode} "$z" {{}} + || exit
find . -mindepth 1 -depth -type d -execdir sh -c {folders} sh {mode} {{}} + || exit
chmod -- {mode} ."#,
        files = quote(files),
        folders = quote(folders),
    );
    at(path, Link::Followed, &work)
}

fn touch(path: &str, times: Times, link: Link) -> String {
    let (which, makes) = match times {
        Times::Both => ("", true),
        Times::Modified => ("-c -m ", false),
        Times::Accessed => ("-c -a ", false),
    };
    let itself = if link == Link::Itself { "[ ! -L \"$r\" ] || h=-h\n" } else { "" };
    let make = if makes { "hide && : >./new && put ./new \"$b\"" } else { ":" };
    at(
        path,
        link,
        &format!(
            "h=\n{itself}if [ ! \"$shared\" ]; then touch $h {which}-- \"$r\"\n\
             elif [ -e \"$r\" ] || [ -L \"$r\" ]; then go \"$p\" && touch -h -c {which}-- \"./$b\"\n\
             else {make}; fi"
        ),
    )
}

/// Makes the link under another name and renames it, so that the old one is never missing.
fn replace_link(make: &str, path: &str, target: &str) -> String {
    // Where `mv` knows no `-T` it would move the link into a linked directory.
    let work = format!(
        "if [ -d \"$r\" ] && [ ! -L \"$r\" ]; then echo \"$r is a directory\" >&2; exit 1; fi\n\
         if [ \"$shared\" ]; then hide && {make} -- {target} ./new && put ./new \"$b\"; exit; fi\n\
         t=$p/.quaylab.$z\n{make} -- {target} \"$t\" || exit\n\
         mv -fT -- \"$t\" \"$r\" 2>/dev/null || {{ rm -f -- \"$r\" && mv -f -- \"$t\" \"$r\"; }} || {{ status=$?; rm -f -- \"$t\"; exit $status; }}",
        target = quote(target)
    );
    at(trimmed(path), Link::Itself, &work)
}
