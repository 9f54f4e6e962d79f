//! Carrying out steps: each becomes one sh script.

use super::shell_protocol::{Nonce, printf};
use super::watched::{Progress, Watch, Watched};
use super::{Content, HostError, REAL, Reply, Script, Shell, Step, quote};

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
            shell.pipe(&script(step)?, &mut Watched::new(file, Progress::sending(path, size), watch)).await?
        }
        _ => shell.run_step(step, &script(step)?).await?,
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
        Step::MakeDirectory { path, .. } => format!("making the directory {path}"),
        Step::SetMode { path, mode } => format!("setting the mode of {path} to {mode:04o}"),
        Step::SetOwner { path, owner, group } => {
            format!("giving {path} to {}", ownership(owner.as_deref(), group.as_deref()))
        }
        Step::Remove { path } => format!("removing {path}"),
        Step::Symlink { path, target } => format!("linking {path} to {target}"),
        Step::Hardlink { path, target } => format!("hard-linking {path} to {target}"),
        Step::Touch { path } => format!("touching {path}"),
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

/// The script that carries the step out. Content on the controller is not in it: it is streamed.
fn script(step: &Step) -> Result<Script, HostError> {
    let script = match step {
        Step::WriteFile { path, content, mode, owner, group, backup, validate } => {
            // What the shell writes by itself starts no program.
            let (command, stdin) = match content {
                Content::Bytes(bytes) if bytes.len() <= INLINE_BYTES => (printf(bytes), Vec::new()),
                Content::Bytes(bytes) => ("cat".to_owned(), bytes.clone()),
                Content::File(_) => ("cat".to_owned(), Vec::new()),
            };
            let text = write_file(&WriteFile {
                path,
                content: command,
                mode: *mode,
                ownership: ownership(owner.as_deref(), group.as_deref()),
                backup: *backup,
                validate: validate.as_deref(),
            })
            .map_err(|reason| HostError::Failed { what: what(step), reason })?;
            Script::new(text).stdin(stdin)
        }
        Step::MakeDirectory { path, mode: Some(mode) } => {
            // A folder may take the setgid bit of the one above it.
            let path = quote(path);
            Script::new(format!(
                "mkdir -m {mode:04o} -- {path} || exit; [ ! -g {path} ] || chmod {mode:04o} -- {path}"
            ))
        }
        Step::MakeDirectory { path, mode: None } => Script::new(format!("mkdir -- {}", quote(path))),
        Step::SetMode { path, mode } => Script::new(format!("chmod {mode:04o} -- {}", quote(path))),
        Step::SetOwner { path, owner, group } => match ownership(owner.as_deref(), group.as_deref()) {
            none if none.is_empty() => Script::new(":"),
            to => Script::new(format!("chown -h -- {} {}", quote(&to), quote(path))),
        },
        // Without the slash at the end `rm` takes the link, not what it points to.
        Step::Remove { path } => Script::new(format!("rm -rf -- {}", quote(trimmed(path)))),
        Step::Symlink { path, target } => Script::new(replace_link("ln -s", path, target)),
        Step::Hardlink { path, target } => Script::new(replace_link("ln", path, target)),
        Step::Touch { path } => Script::new(format!("touch -- {}", quote(path))),
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

/// Makes the link under another name and renames it, so that the old one is never missing.
fn replace_link(make: &str, path: &str, target: &str) -> String {
    let path = trimmed(path);
    let (target, temporary, path) = (quote(target), quote(&temporary_beside(path)), quote(path));
    // Where `mv` knows no `-T` it would move the link into a linked directory.
    format!(
        "if [ -d {path} ] && [ ! -L {path} ]; then echo {path} is a directory >&2; exit 1; fi\n\
         {make} -- {target} {temporary} || exit\n\
         mv -fT -- {temporary} {path} 2>/dev/null || {{ rm -f -- {path} && mv -f -- {temporary} {path}; }} || {{ status=$?; rm -f -- {temporary}; exit $status; }}"
    )
}

fn temporary_beside(path: &str) -> String {
    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    format!("{folder}/.quaylab.{}", Nonce::random().as_str())
}

struct WriteFile<'a> {
    path: &'a str,
    /// The command that writes the new content.
    content: String,
    mode: Option<u32>,
    /// What `chown` takes; empty to keep.
    ownership: String,
    backup: bool,
    validate: Option<&'a str>,
}

/// The script that replaces a file; it prints the backup's path.
fn write_file(file: &WriteFile<'_>) -> Result<String, String> {
    let validate = match file.validate {
        None => String::new(),
        Some(command) => {
            if !command.contains("%s") {
                return Err(format!("`validate` has no `%s` for the file to check: {command}"));
            }
            let words = split_words(command)?
                .iter()
                .map(|w| w.split("%s").map(quote_part).collect::<Vec<_>>().join("\"$t\""))
                .collect::<Vec<_>>();
            format!(
                "{} </dev/null >&2 || {{ status=$?; echo 'the new content did not pass `validate`' >&2; exit $status; }}\n",
                words.join(" ")
            )
        }
    };
    let backup = if file.backup {
        "if [ -e \"$f\" ]; then b=\"$f.$$.$(date +%Y-%m-%d@%H:%M:%S)~\"; cp -p -- \"$f\" \"$b\" || exit; printf '%s\\n' \"$b\"; fi\n"
    } else {
        ""
    };
    let owner = if file.ownership.is_empty() {
        String::new()
    } else {
        format!("chown -- {} \"$t\" || exit\n", quote(&file.ownership))
    };
    // `own`: a new file belongs to whom the old one belongs to. Who may not give files away still writes them, as Ansible does.
    Ok(format!(
        r#"f={path}
if [ -L "$f" ]; then {REAL}
r=$(real "$f" && echo .) || {{ echo "the link $f leads nowhere" >&2; exit 1; }}; f=${{r%??}}; fi
if [ -d "$f" ]; then echo "$f is a directory" >&2; exit 1; fi
d=${{f%/*}}; d=${{d:-/}}
if [ ! -d "$d" ]; then echo "the folder $d does not exist" >&2; exit 1; fi
n=1; [ ! -e "$f" ] || n=
m={mode}
t="${{d%/}}/.quaylab.{random}"
trap 'rm -f -- "$t"' EXIT
trap 'exit 143' HUP INT TERM
[ "$n" ] && [ -z "$m" ] || umask 077
set -C; {content} >"$t" || exit; set +C
if [ -z "$n" ]; then
own=; [ -O "$f" ] && [ -G "$f" ] && [ -O "$t" ] && [ -G "$t" ] && own=1
if [ -z "$own" ] || [ -z "$m" ]; then s=$(stat -c '%u:%g %a' -- "$f") || exit; m=${{m:-${{s#* }}}}; fi
[ "$own" ] || chown -- "${{s% *}}" "$t" 2>/dev/null || :
fi
{owner}[ -z "$m" ] || chmod "$m" "$t" || exit
if [ -e /sys/fs/selinux/enforce ] && [ -z "$n" ]; then chcon --reference="$f" -- "$t" 2>/dev/null || :; fi
{validate}{backup}[ "$n" ] || sync -- "$t" 2>/dev/null || :
mv -f -- "$t" "$f" || exit
trap - EXIT
if [ "$n" ] && [ -e /sys/fs/selinux/enforce ]; then restorecon -- "$f" 2>/dev/null || :; fi"#,
        path = quote(file.path),
        mode = file.mode.map(|m| format!("{m:04o}")).unwrap_or_default(),
        content = file.content,
        random = Nonce::random().as_str(),
    ))
}

fn quote_part(part: &str) -> String {
    if part.is_empty() { String::new() } else { quote(part) }
}

/// Splits a command as Python's `shlex.split` does: quotes and backslashes, no expansions.
fn split_words(command: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = command.chars();
    let unclosed = || format!("`validate` has a quote that is not closed: {command}");
    while let Some(c) = chars.next() {
        match c {
            c if c.is_whitespace() => words.extend(word.take()),
            '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next().ok_or_else(unclosed)? {
                        '\'' => break,
                        c => word.push(c),
                    }
                }
            }
            '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next().ok_or_else(unclosed)? {
                        '"' => break,
                        '\\' => match chars.next().ok_or_else(unclosed)? {
                            c @ ('"' | '\\') => word.push(c),
                            c => word.extend(['\\', c]),
                        },
                        c => word.push(c),
                    }
                }
            }
            '\\' => word.get_or_insert_default().extend(chars.next()),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn validate_commands_are_split_like_shlex() {
        for (command, words) in [
            ("visudo -cf %s", vec!["visudo", "-cf", "%s"]),
            ("a 'b c' \"d \\\" e\" f\\ g ''", vec!["a", "b c", "d \" e", "f g", ""]),
        ] {
            assert_eq!(split_words(command).unwrap(), words, "{command}");
        }
        assert!(split_words("a 'b").is_err());
    }
}
