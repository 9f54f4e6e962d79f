//! The script that replaces a file.

use super::reach::at;
use super::{Link, quote};

pub(super) struct WriteFile<'a> {
    pub(super) path: &'a str,
    /// The command that writes the new content.
    pub(super) content: String,
    /// Lines that work on the new file, `$t`, once its content is complete.
    pub(super) then: String,
    pub(super) mode: Option<u32>,
    /// What `chown` takes; empty to keep.
    pub(super) ownership: String,
    pub(super) backup: bool,
    pub(super) validate: Option<&'a str>,
}

/// Where the file is in `$f` and what `$shared` says of its folder: lines that copy the file to `$c`, a name in the same folder.
pub(super) const COPY: &str = r#"if [ ! "$shared" ]; then cp -p -- "$f" "$c" || exit
else pin && [ -f "$o" ] && [ ! -L "$o" ] && cp -p -- "$o" ./copy && put ./copy "${c##*/}" && rm -f ./old || exit; fi
"#;

impl WriteFile<'_> {
    /// The script; it prints the backup's path.
    pub(super) fn script(&self) -> Result<String, String> {
        let backup = if self.backup {
            format!(
                "if [ -e \"$f\" ]; then c=\"$r.$$.$(date +%Y-%m-%d@%H:%M:%S)~\"\n{COPY}printf '%s\\n' \"$c\"; fi\n"
            )
        } else {
            String::new()
        };
        let owner = if self.ownership.is_empty() {
            String::new()
        } else {
            format!("chown -- {} \"$t\" || exit\n", quote(&self.ownership))
        };
        // `own`: a new file belongs to whom the old one belongs to. Who may not give files away still writes them, as Ansible does.
        // In a folder of somebody else's the old one's set-id bits are not kept: it may be any file that stood somewhere.
        let work = format!(
            r#"f=$r
if [ -d "$f" ]; then echo "$f is a directory" >&2; exit 1; fi
n=1; [ ! -e "$f" ] || n=
m={mode}
if [ "$shared" ]; then
  hide || exit
  f=../$b t=./new
  if [ "$n" ]; then [ ! -e "$f" ] || {{ echo "$r has come up meanwhile" >&2; exit 1; }}
  else pin && [ -f "$o" ] && [ ! -L "$o" ] || {{ echo "$r is not a file any more" >&2; exit 1; }}; f=$o; fi
else
  t=$p/.quaylab.$z
  trap 'rm -f -- "$t"' EXIT
  trap 'exit 143' HUP INT TERM PIPE
fi
[ "$n" ] && [ -z "$m" ] || umask 077
set -C; {content} >"$t" || exit; set +C
{then}if [ -z "$n" ]; then
own=; [ -O "$f" ] && [ -G "$f" ] && [ -O "$t" ] && [ -G "$t" ] && own=1
if [ -z "$own" ] || [ -z "$m" ]; then
s=$(stat -c '%u:%g %a' -- "$f") || exit
if [ -z "$m" ]; then m=${{s#* }}; [ ! "$shared" ] || case $m in ????) m=${{m#?}};; esac; fi
fi
[ "$own" ] || chown -- "${{s% *}}" "$t" 2>/dev/null || :
fi
{owner}[ -z "$m" ] || chmod "$m" "$t" || exit
if [ -e /sys/fs/selinux/enforce ] && [ -z "$n" ]; then chcon --reference="$f" -- "$t" 2>/dev/null || :; fi
{validate}{backup}[ "$n" ] || sync -- "$t" 2>/dev/null || :
if [ "$shared" ]; then put ./new "$b" || exit
else mv -f -- "$t" "$f" || exit; trap - EXIT; fi
if [ "$n" ] && [ -e /sys/fs/selinux/enforce ]; then restorecon -- "$r" 2>/dev/null || :; fi"#,
            mode = self.mode.map(|m| format!("{m:04o}")).unwrap_or_default(),
            content = self.content,
            then = self.then,
            validate = self.validation()?,
        );
        Ok(at(self.path, Link::Followed, &work))
    }

    /// The program that must accept the new file gets an absolute name. In a folder of somebody else's there is none that stays
    /// what it is, so the program looks at a copy.
    fn validation(&self) -> Result<String, String> {
        let Some(command) = self.validate else { return Ok(String::new()) };
        if !command.contains("%s") {
            return Err(format!("`validate` has no `%s` for the file to check: {command}"));
        }
        let words = split_words(command)?
            .iter()
            .map(|w| w.split("%s").map(quote_part).collect::<Vec<_>>().join("\"$v\""))
            .collect::<Vec<_>>();
        Ok(format!(
            r#"v=$t
if [ "$shared" ]; then
  for w in "${{TMPDIR:-/tmp}}" /tmp /var/tmp; do
    w=$(reach "$w/x" 2>/dev/null && [ "$shared" != 1 ] && mktemp -d "$p/quaylab.XXXXXXXX") && break
  done
  [ "$w" ] || {{ echo "no folder for the file to check: others may change \$TMPDIR, /tmp and /var/tmp" >&2; exit 1; }}
  trap 'rm -rf "$w" ./*; cd ..; rmdir "./.quaylab.$z" 2>/dev/null' EXIT
  v=$w/new
  cp -p -- "$t" "$v" || exit
fi
([ ! "$shared" ] || cd -- "$h" 2>/dev/null; {} </dev/null >&2) || {{ status=$?; echo 'the new content did not pass `validate`' >&2; exit $status; }}
"#,
            words.join(" ")
        ))
    }
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
