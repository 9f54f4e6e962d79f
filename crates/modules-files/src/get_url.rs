use std::collections::BTreeMap;

use async_trait::async_trait;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::host::{Content, Digest, Link, Reply, Script, Secret, Step, quote};
use crate::value::Map;
use crate::{Diff, Guess, Mode, ModuleError, Plan, RunMode, ShellResource};

use super::attributes::{Attributes, Principals};
use super::content::base_name;
use super::inode::{Inode, Kind};
use super::placement::{Destination, parent};
use super::probe::{Answer, Me, Probe};

/// A file that the target downloads, with its `curl` or `wget`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct GetUrl {
    url: String,
    /// The file, or a folder that takes it under its own name.
    dest: Destination,
    /// `algorithm:digest`, or `algorithm:URL` of a list of digests.
    checksum: Option<String>,
    /// Download a file that is there already, and replace it if it differs.
    #[serde(default, alias = "thirsty")]
    force: bool,
    #[serde(default)]
    backup: bool,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(alias = "username")]
    url_username: Option<String>,
    #[serde(default, alias = "password", deserialize_with = "secret")]
    #[schemars(with = "Option<String>")]
    url_password: Option<Secret>,
    /// Send the password without being asked; it is always so.
    #[expect(dead_code, reason = "Ansible's playbooks give it")]
    #[serde(default)]
    force_basic_auth: bool,
    #[serde(default = "ten")]
    timeout: u32,
    #[serde(default = "crate::args::yes")]
    validate_certs: bool,
    #[serde(default = "crate::args::yes")]
    use_proxy: bool,
    mode: Option<Mode>,
    owner: Option<String>,
    group: Option<String>,
}

fn ten() -> u32 {
    10
}

fn secret<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Secret>, D::Error> {
    Option::<String>::deserialize(deserializer).map(|s| s.map(Secret))
}

pub(super) struct Seen {
    at: String,
    inode: Option<Inode>,
    parent_is_there: bool,
    has_tool: bool,
    /// The digest of what is there, by the checksum's algorithm.
    sum: Option<String>,
    /// The digest that is wanted.
    wanted: Option<String>,
    /// With `force`: digests of what is there and of what the URL gives now.
    differs: bool,
    me: Option<Me>,
    ids: Principals,
    stamp: Option<String>,
}

#[async_trait]
impl ShellResource for GetUrl {
    const NAME: &'static str = "get_url";
    const FQCN: &'static [&'static str] = &["ansible.builtin.get_url", "ansible.legacy.get_url"];
    // It downloads what it compares with.
    const GUESS: Guess = Guess::Never;
    type Observed = Seen;

    fn validate(&self) -> Result<(), ModuleError> {
        let Some(checksum) = &self.checksum else { return Ok(()) };
        match checksum.split_once(':') {
            Some(("md5" | "sha1" | "sha224" | "sha256" | "sha384" | "sha512", digest))
                if !digest.is_empty() =>
            {
                Ok(())
            }
            _ => Err(ModuleError::Arguments(format!(
                "the checksum {checksum:?} is not of the form algorithm:digest, such as sha256:0123..."
            ))),
        }
    }

    fn probe(&self) -> Script {
        let dest = quote(self.dest.path.as_str());
        let below = quote(self.dest.path.join(&self.file_name()).as_str());
        let is_folder = if self.dest.is_folder { "true".into() } else { format!("[ -d {dest} ]") };
        let mut probe = Probe::new()
            .add(self.download_function())
            .add(format!("p={dest}; if {is_folder}; then p={below}; fi; say at \"$p\""))
            .add("look path \"$p\"; [ -d \"${p%/*}/\" ] && echo parent yes")
            .add("{ command -v curl || command -v wget; } >/dev/null 2>&1 && echo tool yes")
            .me()
            .stamp(self.backup)
            .principals(self.owner.as_deref(), self.group.as_deref());
        if let Some((algorithm, digest)) = self.checksum() {
            probe = probe.add(format!("[ -f \"$p\" ] && sum sum {algorithm} \"$p\""));
            if digest.contains("://") {
                let name = quote(&self.file_name());
                probe = probe.add(format!(
                    "download {} - </dev/null 2>/dev/null | while read -r h n x; do n=${{n#\\*}}; n=${{n#./}}; if [ -z \"$n\" ] || [ \"$n\" = {name} ]; then echo \"wanted $h\"; break; fi; done",
                    quote(digest)
                ));
            }
        } else if self.force {
            probe = probe.add(format!(
                "if [ -f \"$p\" ]; then sum old sha1 \"$p\"; if w=$(download {} - | sha1sum); then echo \"new ${{w%% *}}\"; fi; fi",
                quote(&self.url)
            ));
        }
        probe.script().stdin(self.curl_config())
    }

    fn read(&self, reply: &Reply) -> Result<Seen, ModuleError> {
        let answer = Answer::read(reply)?;
        let inode = match answer.inode("path")? {
            Some(link) if link.is_link() => answer.inode("path.to")?,
            other => other,
        };
        let has_tool = answer.get("tool").is_some();
        let wanted = match self.checksum() {
            Some((_, digest)) if digest.contains("://") => answer.get("wanted").map(str::to_ascii_lowercase),
            Some((_, digest)) => Some(digest.to_ascii_lowercase()),
            None => None,
        };
        if self.checksum.is_some() && wanted.is_none() && has_tool {
            return Err(ModuleError::failed(format!(
                "the list of checksums holds none for {} (or cannot be had): {}",
                self.file_name(),
                self.checksum.as_deref().unwrap_or_default()
            )));
        }
        Ok(Seen {
            at: answer.get("at").unwrap_or_default().to_owned(),
            inode,
            parent_is_there: answer.get("parent").is_some(),
            has_tool,
            sum: answer.get("sum").map(Into::into),
            wanted,
            differs: answer.get("old") != answer.get("new"),
            me: answer.me(),
            ids: self.attributes().resolve(&answer),
            stamp: answer.get("stamp").map(Into::into),
        })
    }

    fn plan(&self, now: &Seen, mode: RunMode) -> Result<Plan, ModuleError> {
        self.decide(now, mode)
    }
}

impl GetUrl {
    fn attributes(&self) -> Attributes {
        Attributes { mode: self.mode.clone(), owner: self.owner.clone(), group: self.group.clone() }
    }

    fn checksum(&self) -> Option<(&str, &str)> {
        self.checksum.as_deref()?.split_once(':').map(|(a, d)| (a, d.trim()))
    }

    fn file_name(&self) -> String {
        let path = self.url.split(['?', '#']).next().unwrap_or_default();
        let path = path.split_once("://").map_or(path, |(_, rest)| rest);
        match path.split_once('/') {
            Some((_, path)) if !base_name(path).is_empty() => base_name(path).to_owned(),
            _ => "index.html".into(),
        }
    }

    /// What must not stand in an argument list, for `curl --config -`.
    fn curl_config(&self) -> String {
        let escape = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', " ");
        let mut config = String::new();
        if let Some(user) = &self.url_username {
            let password = self.url_password.as_ref().map_or("", |p| p.0.as_str());
            config.push_str(&format!("user = \"{}:{}\"\n", escape(user), escape(password)));
        }
        for (name, value) in &self.headers {
            config.push_str(&format!("header = \"{}: {}\"\n", escape(name), escape(value)));
        }
        config
    }

    /// A function `download URL FILE`; what curl must be told in private comes on standard input.
    ///
    /// A transfer that stands still for the time limit ends. Who asked by https is not sent on by http, where anybody on the way could answer;
    /// wget knows no such wish. Where there is something private, redirects are followed one by one, and another server is told nothing of it.
    fn download_function(&self) -> String {
        let timeout = self.timeout.max(1);
        let mut curl = format!(
            "curl -fsSg --connect-timeout {timeout} --speed-limit 1 --speed-time {timeout} --proto =http,https,ftp,ftps,file"
        );
        let mut wget = format!("wget -q -T {timeout}");
        if !self.validate_certs {
            curl.push_str(" -k");
            wget.push_str(" --no-check-certificate");
        }
        if !self.use_proxy {
            curl.push_str(" --noproxy '*'");
            wget.push_str(" --no-proxy");
        }
        let (by_curl, by_wget) = if self.curl_config().is_empty() {
            (format!("{curl} -L $only -o \"$2\" --url \"$1\""), format!("{wget} -O \"$2\" -- \"$1\""))
        } else {
            (
                format!(
                    r#"c=$(cat) u=$1 n=0
while n=$((n+1)); [ $n -le 10 ]; do
  to=$(printf '%s\n' "$c" | {curl} -I -K - -o /dev/null -w '%{{redirect_url}}' --url "$u" 2>/dev/null) || break
  [ "$to" ] || break
  case $u in [Hh][Tt][Tt][Pp][Ss]:*) case $to in [Hh][Tt][Tt][Pp][Ss]:*) ;; *) echo "$u leads to $to, which is not https" >&2; return 1;; esac;; esac
  [ "$(server "$u")" = "$(server "$to")" ] || c=
  u=$to
done
printf '%s\n' "$c" | {curl} -L --max-redirs 0 -K - -o "$2" --url "$u""#
                ),
                "echo 'credentials and headers need curl on the target' >&2; return 69".into(),
            )
        };
        format!(
            r#"server() {{ s=${{1#*://}}; printf '%s' "${{1%%://*}}://${{s%%[/?#]*}}"; }}
download() {{
case $1 in [Hh][Tt][Tt][Pp][Ss]:*) only='--proto-redir =https' ;; *) only= ;; esac
if command -v curl >/dev/null 2>&1; then {by_curl}
elif command -v wget >/dev/null 2>&1; then {by_wget}
else echo 'neither curl nor wget is on the target' >&2; return 69; fi; }}"#
        )
    }

    fn decide(&self, now: &Seen, mode: RunMode) -> Result<Plan, ModuleError> {
        let attributes = self.attributes();
        attributes.judge(now.ids, mode)?;
        let mut result = Map::new();
        result.insert("url".into(), self.url.clone().into());
        result.insert("dest".into(), now.at.clone().into());
        if now.inode.as_ref().is_some_and(Inode::is_directory) {
            return Err(ModuleError::failed(format!("{} is a directory", now.at)));
        }
        let stays = match (&now.inode, &now.wanted) {
            (None, _) => false,
            (Some(_), Some(wanted)) => now.sum.as_ref() == Some(wanted),
            (Some(_), None) => !self.force || !now.differs,
        };
        if let Some(inode) = now.inode.as_ref().filter(|_| stays) {
            let adjustment = attributes.adjust(&now.at, Link::Followed, inode, now.ids);
            adjustment.after.describe(&mut result);
            result.insert("msg".into(), "file already exists".into());
            let mut plan = Plan::new(adjustment.steps, Vec::new());
            if !plan.steps.is_empty() {
                plan.diff.push(Diff::new(&now.at, adjustment.before_text, adjustment.after_text));
            }
            return Ok(Plan { result, ..plan });
        }
        if !now.has_tool && !mode.check {
            return Err(ModuleError::failed("neither curl nor wget is on the target")
                .hint("install one of them with the package module first"));
        }
        let folder = parent(&now.at);
        if !now.parent_is_there && !mode.check {
            return Err(ModuleError::failed(format!("Destination {folder} does not exist")));
        }
        let before = now.inode.clone().unwrap_or_else(|| Attributes::newborn(Kind::File, now.me.as_ref(), 0));
        let adjustment = attributes.adjust(&now.at, Link::Followed, &before, now.ids);
        adjustment.after.describe(&mut result);
        // The size is known only once it is there.
        result.remove("size");
        result.insert("msg".into(), "OK".into());
        let mut plan = Plan::default();
        if let (Some(_), Some(stamp)) = (&now.inode, &now.stamp) {
            let copy = format!("{}.{stamp}", now.at);
            plan.steps.push(Step::Backup { path: now.at.clone(), copy: copy.clone() });
            result.insert("backup_file".into(), copy.into());
        }
        plan.steps.push(Step::WriteFile {
            path: now.at.clone(),
            content: Content::Printed { script: self.download(), digest: self.digest(now) },
            mode: attributes.mode.is_some().then_some(adjustment.after.mode),
            owner: self.owner.clone(),
            group: self.group.clone(),
            backup: false,
            validate: None,
        });
        let old = if now.inode.is_some() { "another content\n" } else { "" };
        plan.diff = vec![Diff::new(&now.at, old, format!("downloaded from {}\n", self.url))];
        Ok(Plan { result, ..plan })
    }

    fn download(&self) -> Script {
        let text = format!("{}\ndownload {} -", self.download_function(), quote(&self.url));
        Script::new(text).stdin(self.curl_config())
    }

    fn digest(&self, now: &Seen) -> Option<Digest> {
        let (algorithm, _) = self.checksum()?;
        Some(Digest { algorithm: algorithm.to_owned(), hex: now.wanted.clone()? })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::from_args;

    fn module(args: &serde_json::Value) -> GetUrl {
        from_args(args.as_object().cloned().unwrap_or_default()).unwrap_or_else(|e| panic!("{e}"))
    }

    #[test]
    fn the_name_comes_from_the_url() {
        for (url, name) in [
            ("http://h/a/b.tgz?x=1", "b.tgz"),
            ("http://h", "index.html"),
            ("https://h/dir/", "dir"),
            ("file:///a/b", "b"),
        ] {
            assert_eq!(module(&json!({"url": url, "dest": "/d"})).file_name(), name, "{url}");
        }
    }

    #[test]
    fn https_is_not_left() {
        let text = module(&json!({"url": "https://h/f", "dest": "/d", "force": true})).probe().text;
        assert!(text.contains("only='--proto-redir =https' ;;") && text.contains(" $only -o"), "{text}");
    }

    #[test]
    fn credentials_stay_out_of_the_script() {
        let args =
            json!({"url": "http://h/f", "dest": "/d", "url_username": "me", "url_password": "s3\"cret"});
        let script = module(&args).probe();
        assert!(!script.text.contains("s3"), "{}", script.text);
        assert_eq!(script.stdin, b"user = \"me:s3\\\"cret\"\n");
        let bad = module(&json!({"url": "http://h/f", "dest": "/d", "checksum": "abcd"}));
        assert!(bad.validate().is_err());
    }
}
