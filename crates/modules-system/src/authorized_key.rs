use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::accounts::Passwd;
use super::group::account_name;
use super::sections::{Sections, probe};
use crate::args::Presence;
use crate::host::{Content, Link, Reply, Script, Step, at, make_directory, quote};
use crate::value::Map;
use crate::{Diff, ModuleError, Plan, RemotePath, RunMode, ShellResource};

/// Keys with which a user may log in by SSH.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AuthorizedKey {
    user: String,
    /// One or more public keys, a line each.
    key: String,
    #[serde(default)]
    state: Presence,
    /// Another file than the user's `.ssh/authorized_keys`.
    path: Option<RemotePath>,
    /// Make the folder and set its mode and owner.
    #[serde(default = "crate::args::yes")]
    manage_dir: bool,
    /// Options such as `no-port-forwarding,from="10.0.1.1"`.
    key_options: Option<String>,
    /// Remove all other keys.
    #[serde(default)]
    exclusive: bool,
    /// Replaces the keys' comments.
    comment: Option<String>,
    /// Accepted for compatibility: links are followed as sshd follows them.
    #[serde(default)]
    #[expect(dead_code, reason = "Ansible's playbooks give it")]
    follow: bool,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Keys {
    user: Option<Passwd>,
    file: String,
    there: bool,
}

/// A line of `authorized_keys`, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Key<'a> {
    options: &'a str,
    kind: &'a str,
    body: &'a str,
    comment: &'a str,
}

fn is_kind(word: &str) -> bool {
    word.starts_with("ssh-") || word.starts_with("ecdsa-sha2-") || word.starts_with("sk-")
}

impl<'a> Key<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let line = line.trim();
        if line.starts_with('#') {
            return None;
        }
        let mut options = "";
        let mut rest = line;
        if !is_kind(line) {
            // Options end at the first space outside quotes.
            let mut quoted = false;
            let mut escaped = false;
            let end = line.find(|c: char| {
                let end = c == ' ' && !quoted;
                if c == '"' && !escaped {
                    quoted = !quoted;
                }
                escaped = c == '\\' && !escaped;
                end
            })?;
            (options, rest) = line.split_at(end);
        }
        let rest = rest.trim_start();
        let (kind, rest) = rest.split_once(' ')?;
        if !is_kind(kind) {
            return None;
        }
        let (body, comment) = rest.trim_start().split_once(' ').unwrap_or((rest.trim(), ""));
        Some(Self { options, kind, body, comment: comment.trim() })
    }

    fn line(&self) -> String {
        [self.options, self.kind, self.body, self.comment]
            .into_iter()
            .filter(|part| !part.is_empty())
            .collect::<Vec<_>>()
            .join(" ")
    }
}

impl AuthorizedKey {
    fn wanted(&self) -> Vec<Key<'_>> {
        self.key
            .lines()
            .filter_map(Key::parse)
            .map(|mut key| {
                if let Some(options) = &self.key_options {
                    key.options = options;
                }
                if let Some(comment) = &self.comment {
                    key.comment = comment;
                }
                key
            })
            .collect()
    }

    fn edited(&self, file: &str) -> String {
        let wanted = self.wanted();
        let same = |a: &Key<'_>, b: &Key<'_>| a.kind == b.kind && a.body == b.body;
        let mut lines = Vec::new();
        let mut done = vec![false; wanted.len()];
        for line in file.lines() {
            let Some(key) = Key::parse(line) else {
                if !self.exclusive {
                    lines.push(line.to_owned());
                }
                continue;
            };
            match wanted.iter().position(|w| same(w, &key)) {
                Some(_) if self.state == Presence::Absent => {}
                Some(i) => {
                    let Some((want, done)) = wanted.get(i).zip(done.get_mut(i)) else { continue };
                    // A comment alone is no reason to touch a line, unless one was asked for.
                    let right = want.options == key.options
                        && (self.comment.is_none() || want.comment == key.comment);
                    if !*done {
                        lines.push(if right { line.to_owned() } else { want.line() });
                    }
                    *done = true;
                }
                None if self.exclusive && self.state == Presence::Present => {}
                None => lines.push(line.to_owned()),
            }
        }
        if self.state == Presence::Present {
            lines.extend(wanted.iter().zip(&done).filter(|(_, done)| !**done).map(|(k, _)| k.line()));
        }
        let text = lines.join("\n");
        if text == file.trim_end_matches('\n') {
            file.to_owned()
        } else if text.is_empty() {
            text
        } else {
            text + "\n"
        }
    }

    fn file_of(&self, user: Option<&Passwd>) -> String {
        self.path.as_ref().map_or_else(
            || {
                let home = user.map_or_else(|| format!("/home/{}", self.user), |u| u.home.clone());
                format!("{}/.ssh/authorized_keys", home.trim_end_matches('/'))
            },
            ToString::to_string,
        )
    }
}

impl ShellResource for AuthorizedKey {
    const NAME: &'static str = "authorized_key";
    const FQCN: &'static [&'static str] = &["ansible.posix.authorized_key"];
    type Observed = Keys;

    fn validate(&self) -> Result<(), ModuleError> {
        account_name(&self.user)?;
        let lines = self.key.lines().filter(|l| !l.trim().is_empty() && !l.trim().starts_with('#'));
        if self.key.trim_start().starts_with("http") {
            return Err(ModuleError::Arguments("key is an address, and a key is wanted".into())
                .hint("fetch it with the uri or get_url module, or give it with lookup('file', ...)"));
        }
        if let Some(odd) = lines.clone().find(|l| Key::parse(l).is_none()) {
            let start: String = odd.chars().take(20).collect();
            return Err(ModuleError::Arguments(format!("{start:?}... is not a public SSH key")));
        }
        if lines.count() == 0 && !self.exclusive {
            return Err(ModuleError::Arguments("key is empty".into()));
        }
        Ok(())
    }

    fn probe(&self) -> Script {
        let path = self.path.as_ref().map_or_else(String::new, |p| quote(p.as_str()));
        probe(&format!(
            "l=$(getent passwd {user} 2>/dev/null || grep ^{user}: /etc/passwd)
mark user; printf '%s\\n' \"$l\"
h=${{l%:*}}; h=${{h##*:}}
f={path}; [ -n \"$f\" ] || f=$h/.ssh/authorized_keys
mark there; [ -e \"$f\" ] && echo 1
mark file; [ ! -p \"$f\" ] && cat \"$f\" 2>/dev/null",
            user = quote(&self.user),
        ))
    }

    fn read(&self, reply: &Reply) -> Result<Keys, ModuleError> {
        let sections = Sections::read(reply)?;
        Ok(Keys {
            user: sections.lines("user").find_map(Passwd::parse),
            file: sections.raw("file").to_owned(),
            there: !sections.text("there").is_empty(),
        })
    }

    fn plan(&self, now: &Keys, _: RunMode) -> Result<Plan, ModuleError> {
        let mut plan = Plan::default();
        let text = self.edited(&now.file);
        if text == now.file {
            return Ok(plan);
        }
        if now.user.is_none() && self.path.is_none() {
            return Err(ModuleError::failed(format!("there is no user {}", self.user)));
        }
        let path = self.file_of(now.user.as_ref());
        let owner = now.user.as_ref().map(|u| u.uid.to_string());
        let group = now.user.as_ref().map(|u| u.gid.to_string());
        if self.manage_dir {
            let folder = path.rsplit_once('/').map_or("/", |(folder, _)| folder);
            let own = owner.as_ref().zip(group.as_ref());
            let ownership = own.map(|(u, g)| format!("{u}:{g}")).unwrap_or_default();
            let make = format!("[ ! -d \"$r\" ] || exit 0\n{}", make_directory(Some(0o700), &ownership));
            plan.steps.push(Step::Script { text: at(folder, Link::Followed, &make), stdin: Vec::new() });
            if own.is_some() {
                let path = || folder.to_owned();
                plan.steps.push(Step::SetMode { path: path(), mode: 0o700 });
                let (owner, group) = (owner.clone(), group.clone());
                plan.steps.push(Step::SetOwner { path: path(), owner, group, link: Link::Followed });
            }
        }
        plan.diff.push(Diff::new(&path, &now.file, &text));
        plan.steps.push(Step::WriteFile {
            path,
            content: Content::edited(text, now.there.then_some(now.file.as_str())),
            mode: if now.there { None } else { Some(0o600) },
            owner: owner.filter(|_| !now.there),
            group: group.filter(|_| !now.there),
            backup: false,
            validate: None,
        });
        Ok(plan)
    }

    fn result(&self, now: &Keys) -> Map {
        [
            ("user".to_owned(), json!(self.user)),
            ("keyfile".to_owned(), json!(self.file_of(now.user.as_ref()))),
        ]
        .into_iter()
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::sections::testing::args;
    use super::*;

    #[test]
    fn keys_are_edited_by_what_they_are() {
        for (arguments, before, after) in [
            (json!({"key": "ssh-ed25519 AAA me@x"}), "", "ssh-ed25519 AAA me@x\n"),
            (json!({"key": "ssh-ed25519 AAA me@x"}), "ssh-ed25519 AAA other\n", "ssh-ed25519 AAA other\n"),
            (
                json!({"key": "ssh-ed25519 AAA", "comment": "new"}),
                "ssh-ed25519 AAA old\n",
                "ssh-ed25519 AAA new\n",
            ),
            (
                json!({"key": "ssh-rsa BBB b", "key_options": "no-pty,from=\"10.0.0.1\""}),
                "# mine\nfrom=\"a b\" ssh-rsa BBB b\nssh-rsa CCC c\n",
                "# mine\nno-pty,from=\"10.0.0.1\" ssh-rsa BBB b\nssh-rsa CCC c\n",
            ),
            (json!({"key": "ssh-rsa BBB", "exclusive": true}), "# x\nssh-rsa CCC c\n", "ssh-rsa BBB\n"),
            (
                json!({"key": "ssh-rsa BBB", "state": "absent"}),
                "command=\"x y\" ssh-rsa BBB b\nssh-rsa CCC c\n",
                "ssh-rsa CCC c\n",
            ),
            (json!({"key": "ssh-rsa BBB", "state": "absent"}), "ssh-rsa CCC c", "ssh-rsa CCC c"),
        ] {
            let mut arguments = arguments.clone();
            arguments["user"] = json!("ann");
            let key: AuthorizedKey = args(arguments.clone());
            key.validate().expect("valid");
            assert_eq!(key.edited(before), after, "{arguments}");
        }
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let key: AuthorizedKey = args(json!({"user": "ann", "key": "-----BEGIN OPENSSH PRIVATE KEY-----"}));
        assert!(key.validate().is_err());
    }
}
