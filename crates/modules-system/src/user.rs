use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::accounts::{Group, Passwd};
use super::group::account_name;
use super::sections::{Sections, probe, run, script};
use crate::args::Presence;
use crate::host::{Link, Reply, Script, Step, at, make_directory, quote};
use crate::value::Map;
use crate::{Diff, ModuleError, Plan, RemotePath, RunMode, ShellResource};

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum UpdatePassword {
    #[default]
    Always,
    OnCreate,
}

fn rsa() -> String {
    "rsa".into()
}

/// A user of the host.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "the arguments are Ansible's own flags")]
pub(super) struct User {
    #[serde(alias = "user")]
    name: String,
    #[serde(default)]
    state: Presence,
    uid: Option<u32>,
    #[serde(default)]
    non_unique: bool,
    /// The full name (GECOS).
    comment: Option<String>,
    /// The primary group, by name or number.
    group: Option<String>,
    /// Supplementary groups; an empty string takes the user out of all of them.
    groups: Option<Vec<String>>,
    /// Add to the supplementary groups rather than replace them.
    #[serde(default)]
    append: bool,
    shell: Option<RemotePath>,
    home: Option<RemotePath>,
    skeleton: Option<RemotePath>,
    /// The password as a hash (`password_hash('sha512')` makes one); `*` or `!` for none.
    password: Option<String>,
    #[serde(default)]
    update_password: UpdatePassword,
    password_lock: Option<bool>,
    #[serde(default = "crate::args::yes", alias = "createhome")]
    create_home: bool,
    #[serde(default)]
    move_home: bool,
    /// A system account, when it is made.
    #[serde(default)]
    system: bool,
    /// With `state: absent`: even when the user is logged in.
    #[serde(default)]
    force: bool,
    /// With `state: absent`: remove the home as well.
    #[serde(default)]
    remove: bool,
    /// Expiry as seconds since 1970; negative for never.
    expires: Option<f64>,
    #[serde(default)]
    generate_ssh_key: bool,
    ssh_key_bits: Option<u32>,
    #[serde(default = "rsa")]
    ssh_key_type: String,
    ssh_key_file: Option<String>,
    ssh_key_comment: Option<String>,
    umask: Option<String>,
}

/// What the host knows of the user.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Account {
    passwd: Option<Passwd>,
    /// The hash; `None` where it cannot be read.
    hash: Option<String>,
    /// Days since 1970 on which the account expires.
    expires: Option<i64>,
    /// Supplementary groups.
    groups: BTreeSet<String>,
    /// The group that `group` names.
    wanted_group: Option<Group>,
    has_home: bool,
    public_key: Option<String>,
}

impl User {
    fn key_file(&self, home: &str) -> String {
        let file = self.ssh_key_file.clone().unwrap_or_else(|| format!(".ssh/id_{}", self.ssh_key_type));
        if file.starts_with('/') { file } else { format!("{}/{file}", home.trim_end_matches('/')) }
    }

    /// The day on which the account shall expire, `None` for never; nothing when it is not declared.
    #[expect(clippy::option_option, reason = "not declared and never are two things")]
    fn expiry_days(&self) -> Option<Option<i64>> {
        #[expect(clippy::cast_possible_truncation, reason = "days since 1970 are far from the limits")]
        self.expires.map(|seconds| (seconds >= 0.0).then(|| (seconds / 86400.0).floor() as i64))
    }

    fn wanted_groups(&self) -> Option<BTreeSet<String>> {
        self.groups.as_ref().map(|g| g.iter().filter(|g| !g.is_empty()).cloned().collect())
    }

    /// Arguments that useradd and usermod share, and what they change, a line each.
    fn changes(&self, now: &Account) -> (Vec<String>, Vec<(String, String)>) {
        let mut argv: Vec<String> = Vec::new();
        let mut lines = Vec::new();
        let old = now.passwd.clone().unwrap_or_default();
        let fresh = now.passwd.is_none();
        if let Some(uid) = self.uid.filter(|uid| fresh || *uid != old.uid) {
            argv.extend(["-u".into(), uid.to_string()]);
            if self.non_unique {
                argv.push("-o".into());
            }
            lines.push((format!("uid {}", old.uid), format!("uid {uid}")));
        }
        if let Some(group) = &self.group
            && (fresh || now.wanted_group.as_ref().is_none_or(|g| g.gid != old.gid))
        {
            argv.extend(["-g".into(), group.clone()]);
            lines.push((format!("gid {}", old.gid), format!("group {group}")));
        }
        if let Some(wanted) = self.wanted_groups() {
            let missing = wanted.difference(&now.groups).next().is_some();
            let surplus = !self.append && now.groups.difference(&wanted).next().is_some();
            if missing || surplus || fresh && !wanted.is_empty() {
                if self.append && !fresh {
                    argv.push("-a".into());
                }
                let joined = |set: &BTreeSet<String>| set.iter().cloned().collect::<Vec<_>>().join(",");
                argv.extend(["-G".into(), joined(&wanted)]);
                let after = if self.append { wanted.union(&now.groups).cloned().collect() } else { wanted };
                lines.push((format!("groups {}", joined(&now.groups)), format!("groups {}", joined(&after))));
            }
        }
        for (flag, wanted, is, what) in [
            ("-c", self.comment.as_deref(), &old.comment, "comment"),
            ("-d", self.home.as_ref().map(RemotePath::as_str), &old.home, "home"),
            ("-s", self.shell.as_ref().map(RemotePath::as_str), &old.shell, "shell"),
        ] {
            if let Some(wanted) = wanted
                && (fresh || wanted != is)
            {
                argv.extend([flag.to_owned(), wanted.to_owned()]);
                if flag == "-d" && self.move_home && !fresh {
                    argv.push("-m".into());
                }
                lines.push((format!("{what} {is}"), format!("{what} {wanted}")));
            }
        }
        if let Some(days) = self.expiry_days().filter(|days| *days != now.expires) {
            argv.extend(["-e".into(), days.map_or_else(String::new, |d| d.to_string())]);
            let show = |days: Option<i64>| days.map_or("never".to_owned(), |d| format!("on day {d}"));
            lines.push((format!("expires {}", show(now.expires)), format!("expires {}", show(days))));
        }
        (argv, lines)
    }

    fn password_steps(&self, now: &Account, lines: &mut Vec<(String, String)>) -> Vec<Step> {
        let mut steps = Vec::new();
        let fresh = now.passwd.is_none();
        let locked = now.hash.as_deref().is_some_and(|h| h.starts_with('!'));
        if let Some(hash) = &self.password
            && (fresh || self.update_password == UpdatePassword::Always)
            && now.hash.as_deref().map(|h| h.trim_start_matches('!')) != Some(hash.trim_start_matches('!'))
        {
            // By standard input: a hash in an argument list could be read by everyone on the host.
            steps.push(Step::Run {
                argv: vec!["chpasswd".into(), "-e".into()],
                stdin: format!("{}:{hash}\n", self.name).into_bytes(),
                environment: Vec::new(),
            });
            lines.push(("password".into(), "password, another one".into()));
        }
        match self.password_lock {
            Some(true) if !locked => {
                steps.push(run(["usermod", "-L", &self.name]));
                lines.push(("password unlocked".into(), "password locked".into()));
            }
            Some(false) if locked && !fresh => {
                steps.push(run(["usermod", "-U", &self.name]));
                lines.push(("password locked".into(), "password unlocked".into()));
            }
            _ => {}
        }
        steps
    }

    fn key_steps(&self, home: &str) -> [Step; 2] {
        let file = self.key_file(home);
        let bits = self.ssh_key_bits.map_or_else(String::new, |b| format!(" -b {b}"));
        let comment = self
            .ssh_key_comment
            .as_ref()
            .map_or_else(|| "\"ansible-generated on $(hostname)\"".to_owned(), |c| quote(c));
        let folder = file.rsplit_once('/').map_or("/", |(folder, _)| folder);
        // The name with a colon behind it is the user and the group that the user logs in with.
        let ownership = format!("{}:", self.name);
        let make = format!("[ ! -d \"$r\" ] || exit 0\n{}", make_directory(Some(0o700), &ownership));
        let key = format!(
            "[ ! -e \"$r\" ] || {{ echo \"$r is there already, without $r.pub\" >&2; exit 1; }}
k=$r
[ ! \"$shared\" ] || {{ hide && k=./new; }} || exit
ssh-keygen -q -t {kind}{bits} -N '' -C {comment} -f \"$k\" && chown -- {who} \"$k\" \"$k.pub\" || exit
[ ! \"$shared\" ] || {{ put ./new \"$b\" && put ./new.pub \"$b.pub\"; }}",
            kind = quote(&self.ssh_key_type),
            who = quote(&ownership),
        );
        [at(folder, Link::Followed, &make), at(&file, Link::Followed, &key)].map(|text| script(&text))
    }
}

impl ShellResource for User {
    const NAME: &'static str = "user";
    const FQCN: &'static [&'static str] = &["ansible.builtin.user", "ansible.legacy.user"];
    const LOOKS_AGAIN: bool = true;
    type Observed = Account;

    fn validate(&self) -> Result<(), ModuleError> {
        account_name(&self.name)?;
        for group in self.groups.iter().flatten().chain(&self.group).filter(|g| !g.is_empty()) {
            account_name(group)?;
        }
        if self.append && self.groups.is_none() {
            return Err(ModuleError::Arguments("append needs groups".into()));
        }
        if self.comment.as_deref().is_some_and(|c| c.contains([':', '\n'])) {
            return Err(ModuleError::Arguments("comment must not hold a colon or a line end".into()));
        }
        match self.password.as_deref() {
            Some(p) if p.contains([':', '\n']) => {
                Err(ModuleError::Arguments("password is not a hash: it holds a colon or a line end".into()))
            }
            Some(p) if !p.starts_with(['$', '*', '!', '_']) && p.len() != 13 => {
                Err(ModuleError::Arguments("password is not a hash, and would be stored as it stands".into())
                    .hint("write it as \"{{ the_password | password_hash('sha512') }}\""))
            }
            _ => Ok(()),
        }
    }

    fn probe(&self) -> Script {
        let name = quote(&self.name);
        let group = self.group.as_ref().unwrap_or(&self.name);
        let group = format!("mark group; getent group {}\n", quote(group));
        let key = if self.generate_ssh_key {
            format!(
                "mark key; k={}; case $k in /*) ;; *) k=$h/$k;; esac; [ ! -p \"$k.pub\" ] && cat \"$k.pub\" 2>/dev/null\n",
                quote(&self.ssh_key_file.clone().unwrap_or_else(|| format!(".ssh/id_{}", self.ssh_key_type)))
            )
        } else {
            String::new()
        };
        probe(&format!(
            "l=$(getent passwd {name})
mark passwd; printf '%s\\n' \"$l\"
mark shadow; getent shadow {name} 2>/dev/null
mark groups; [ -z \"$l\" ] || {{ id -gn {name}; id -Gn {name} | tr ' ' '\\n'; }}
h=${{l%:*}}; h=${{h##*:}}
mark home; [ -n \"$h\" ] && [ -d \"$h\" ] && echo 1
{group}{key}"
        ))
    }

    fn read(&self, reply: &Reply) -> Result<Account, ModuleError> {
        let sections = Sections::read(reply)?;
        let passwd = sections.lines("passwd").filter_map(Passwd::parse).find(|p| p.name == self.name);
        let shadow: Vec<&str> = sections.text("shadow").split(':').collect();
        let mut names = sections.lines("groups");
        let primary = names.next().unwrap_or("");
        Ok(Account {
            hash: shadow.get(1).map(|h| (*h).to_owned()),
            expires: shadow.get(7).and_then(|d| d.parse().ok()),
            groups: names.filter(|n| *n != primary).map(str::to_owned).collect(),
            wanted_group: sections.lines("group").find_map(Group::parse),
            has_home: !sections.text("home").is_empty(),
            public_key: Some(sections.text("key")).filter(|k| !k.is_empty()).map(str::to_owned),
            passwd,
        })
    }

    fn plan(&self, now: &Account, _: RunMode) -> Result<Plan, ModuleError> {
        let mut plan = Plan::default();
        let mut lines = Vec::new();
        if self.state == Presence::Absent {
            if now.passwd.is_some() {
                let mut argv = vec!["userdel"];
                argv.extend(self.force.then_some("-f"));
                argv.extend(self.remove.then_some("-r"));
                argv.push(&self.name);
                plan.steps.push(run(argv));
                lines.push(("present".to_owned(), "absent".to_owned()));
            }
        } else {
            let (options, differences) = self.changes(now);
            let home = self
                .home
                .as_ref()
                .map(ToString::to_string)
                .or_else(|| now.passwd.as_ref().map(|p| p.home.clone()))
                .unwrap_or_else(|| format!("/home/{}", self.name));
            if let Some(passwd) = &now.passwd {
                lines.extend(differences);
                if !options.is_empty() {
                    let argv = std::iter::once("usermod".to_owned()).chain(options);
                    plan.steps.push(run(argv.chain([self.name.clone()])));
                }
                if self.create_home && !now.has_home && !self.move_home {
                    let skeleton = self.skeleton.as_ref().map_or("/etc/skel", RemotePath::as_str);
                    plan.steps.push(script(&format!(
                        "mkdir -p {h} && cp -R {s}/. {h}/ 2>/dev/null; chmod 0755 {h} && chown -R -h {uid}:\"$(id -g {n})\" {h}",
                        h = quote(&home),
                        s = quote(skeleton),
                        uid = self.uid.unwrap_or(passwd.uid),
                        n = quote(&self.name),
                    )));
                    lines.push(("no home".into(), format!("home {home}")));
                }
            } else {
                let mut argv = vec!["useradd".to_owned()];
                if self.system {
                    argv.push("-r".into());
                }
                argv.push(if self.create_home { "-m" } else { "-M" }.into());
                if self.group.is_none() {
                    // A group of the user's name that is there already is taken, as Ansible does.
                    let own = now.wanted_group.iter().flat_map(|_| ["-g".to_owned(), self.name.clone()]);
                    argv.extend(own);
                }
                if let Some(skeleton) = self.skeleton.as_ref().filter(|_| self.create_home) {
                    argv.extend(["-k".into(), skeleton.to_string()]);
                }
                if let Some(umask) = &self.umask {
                    argv.extend(["-K".into(), format!("UMASK={umask}")]);
                }
                argv.extend(options);
                argv.push(self.name.clone());
                plan.steps.push(run(argv));
                lines.push(("absent".into(), "present".into()));
                lines.extend(differences.into_iter().map(|(_, after)| (String::new(), after)));
            }
            plan.steps.extend(self.password_steps(now, &mut lines));
            if self.generate_ssh_key && now.public_key.is_none() {
                plan.steps.extend(self.key_steps(&home));
                lines.push(("no SSH key".into(), format!("SSH key {}", self.key_file(&home))));
            }
        }
        if !plan.steps.is_empty() {
            let text = |pick: fn(&(String, String)) -> &String| {
                lines
                    .iter()
                    .map(pick)
                    .filter(|l| !l.is_empty())
                    .flat_map(|l| [l.as_str(), "\n"])
                    .collect::<String>()
            };
            plan.diff.push(Diff::new(&format!("user {}", self.name), text(|l| &l.0), text(|l| &l.1)));
        }
        Ok(plan)
    }

    fn result(&self, now: &Account) -> Map {
        let mut result = Map::new();
        result.insert("name".into(), json!(self.name));
        result.insert("state".into(), json!(if now.passwd.is_some() { "present" } else { "absent" }));
        if let Some(passwd) = &now.passwd {
            for (key, value) in [
                ("uid", json!(passwd.uid)),
                ("group", json!(passwd.gid)),
                ("comment", json!(passwd.comment)),
                ("home", json!(passwd.home)),
                ("shell", json!(passwd.shell)),
            ] {
                result.insert(key.into(), value);
            }
            if self.generate_ssh_key {
                result.insert("ssh_key_file".into(), json!(self.key_file(&passwd.home)));
                result.insert("ssh_public_key".into(), json!(now.public_key));
            }
        }
        if self.groups.is_some() {
            let groups = now.groups.iter().cloned().collect::<Vec<_>>().join(",");
            result.insert("groups".into(), json!(groups));
            result.insert("append".into(), json!(self.append));
        }
        if self.password.is_some() {
            result.insert("password".into(), json!("NOT_LOGGING_PASSWORD"));
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use super::super::sections::testing::{answer, args, told};
    use super::*;

    const ANN: &str = "ann:x:1000:1000:Ann:/home/ann:/bin/sh";

    #[test]
    fn plans() {
        let there = [
            ("passwd", ANN),
            ("shadow", "ann:$6$a:1::::::"),
            ("groups", "ann\nann\nadm\nsudo"),
            ("home", "1"),
        ];
        let none = [("passwd", ""), ("shadow", ""), ("groups", ""), ("home", "")];
        for (arguments, observed, expected) in [
            (json!({"name": "ann"}), there, vec![]),
            (json!({"name": "ann", "groups": "adm", "append": true, "password": "$6$a"}), there, vec![]),
            (json!({"name": "ann", "groups": "adm"}), there, vec!["usermod -G adm ann"]),
            (
                json!({"name": "ann", "groups": "docker", "append": true}),
                there,
                vec!["usermod -a -G docker ann"],
            ),
            (json!({"name": "ann", "groups": ""}), there, vec!["usermod -G  ann"]),
            (
                json!({"name": "ann", "shell": "/bin/bash", "uid": 5, "password": "$6$b"}),
                there,
                vec!["usermod -u 5 -s /bin/bash ann", "chpasswd -e"],
            ),
            (json!({"name": "ann", "password": "$6$b", "update_password": "on_create"}), there, vec![]),
            (json!({"name": "ann", "password_lock": true}), there, vec!["usermod -L ann"]),
            (
                json!({"name": "bob", "system": true, "createhome": false, "comment": "B", "groups": ["x", "y"]}),
                none,
                vec!["useradd -r -M -G x,y -c B bob"],
            ),
            (json!({"name": "ann", "state": "absent", "remove": true}), there, vec!["userdel -r ann"]),
            (json!({"name": "bob", "state": "absent"}), none, vec![]),
            (json!({"name": "ann", "expires": 864_000}), there, vec!["usermod -e 10 ann"]),
        ] {
            let user: User = args(arguments.clone());
            user.validate().expect("valid");
            let now = user.read(&answer(&observed)).expect("readable");
            assert_eq!(
                told(&user.plan(&now, RunMode::default()).expect("a plan").steps),
                expected,
                "{arguments}"
            );
        }
    }

    #[test]
    fn a_plain_password_is_refused() {
        let user: User = args(json!({"name": "ann", "password": "secret"}));
        assert!(user.validate().expect_err("refused").to_string().starts_with("password is not a hash"));
    }

    #[test]
    fn a_hash_is_never_an_argument() {
        let user: User = args(json!({"name": "ann", "password": "$6$b"}));
        let now = user.read(&answer(&[("passwd", ANN), ("home", "1")])).expect("readable");
        let plan = user.plan(&now, RunMode::default()).expect("a plan");
        assert!(!told(&plan.steps).join(" ").contains("$6$b"));
        assert!(!plan.diff.iter().any(|d| d.after.contains("$6$b")));
    }
}
