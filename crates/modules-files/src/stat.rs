use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use crate::host::Script;
use crate::value::{Map, Value};
use crate::{Action, CheckMode, ModuleError, Outcome, RemotePath, TaskContext, Touch};

use super::inode::{Inode, Kind};
use super::probe::{Answer, Probe};

/// What stands at a path.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Stat {
    #[serde(alias = "dest", alias = "name")]
    path: RemotePath,
    /// Of a link, tell what it points to.
    #[serde(default)]
    follow: bool,
    #[serde(default = "crate::args::yes")]
    get_checksum: bool,
    #[serde(default, alias = "checksum", alias = "checksum_algo")]
    checksum_algorithm: Algorithm,
    #[serde(default = "crate::args::yes", alias = "mime", alias = "mime_type", alias = "mime-type")]
    get_mime: bool,
    /// Accepted for Ansible's sake; file system flags are not told.
    #[serde(default = "crate::args::yes", alias = "attr", alias = "attributes")]
    get_attributes: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Algorithm {
    Md5,
    #[default]
    Sha1,
    Sha224,
    Sha256,
    Sha384,
    Sha512,
}

impl Algorithm {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Md5 => "md5",
            Self::Sha1 => "sha1",
            Self::Sha224 => "sha224",
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha512 => "sha512",
        }
    }
}

#[async_trait]
impl Action for Stat {
    const NAME: &'static str = "stat";
    const FQCN: &'static [&'static str] = &["ansible.builtin.stat", "ansible.legacy.stat"];
    const CHECK: CheckMode = CheckMode::Runs;
    const TOUCH: Touch = Touch::Nothing;

    fn ahead(&self, _cx: &TaskContext) -> Option<Script> {
        Some(self.probe())
    }

    async fn run(self, cx: &TaskContext) -> Result<Outcome, ModuleError> {
        let answer = Answer::read(&cx.shell.probe(&self.probe()).await?)?;
        let seen = answer.inode("path")?;
        let behind = answer.inode("path.to")?;
        let inode = match (self.follow, &seen) {
            (true, Some(inode)) if inode.is_link() => behind,
            _ => seen,
        };
        let mut result = Map::new();
        let _ = self.get_attributes;
        result.insert("stat".into(), self.describe(inode.as_ref(), &answer));
        Ok(Outcome::ok(result))
    }
}

impl Stat {
    fn probe(&self) -> Script {
        let path = self.path.as_str();
        let mut probe = Probe::new().look("path", path).me().access(path);
        if self.get_checksum {
            probe = probe.sum("sum", self.checksum_algorithm.name(), path, self.follow);
        }
        if self.get_mime {
            probe = probe.mime(path, self.follow);
        }
        probe.script()
    }

    fn describe(&self, inode: Option<&Inode>, answer: &Answer) -> Value {
        let Some(inode) = inode else { return json!({"exists": false}) };
        let mut stat = describe(self.path.as_str(), inode);
        stat.insert("exists".into(), true.into());
        stat.insert("readable".into(), answer.get("r").is_some().into());
        stat.insert("writeable".into(), answer.get("w").is_some().into());
        stat.insert("executable".into(), answer.get("x").is_some().into());
        stat.insert("attributes".into(), json!([]));
        if let Some(sum) = answer.get("sum") {
            stat.insert("checksum".into(), sum.into());
        }
        if let Some((kind, charset)) = answer.get("mime").and_then(|m| m.split_once("; charset=")) {
            stat.insert("mimetype".into(), kind.into());
            stat.insert("charset".into(), charset.into());
        }
        if inode.is_link() {
            if let Some(target) = answer.get("path.link") {
                stat.insert("lnk_target".into(), target.into());
            }
            if let Some(real) = answer.get("path.real") {
                stat.insert("lnk_source".into(), real.into());
            }
        }
        stat.into()
    }
}

/// The keys that `stat` and `find` share.
pub(super) fn describe(path: &str, inode: &Inode) -> Map {
    let bit = |b: u32| Value::from(inode.mode & b != 0);
    let is = |k: Kind| Value::from(inode.kind == k);
    let mut stat = Map::new();
    let mut put = |key: &str, value: Value| {
        stat.insert(key.into(), value);
    };
    put("path", path.into());
    put("mode", format!("{:04o}", inode.mode).into());
    put("isdir", is(Kind::Directory));
    put("ischr", is(Kind::Character));
    put("isblk", is(Kind::Block));
    put("isreg", is(Kind::File));
    put("isfifo", is(Kind::Fifo));
    put("islnk", is(Kind::Link));
    put("issock", is(Kind::Socket));
    put("uid", inode.uid.into());
    put("gid", inode.gid.into());
    put("pw_name", inode.owner.clone().into());
    put("gr_name", inode.group.clone().into());
    put("size", inode.size.into());
    put("blocks", inode.blocks.into());
    put("inode", inode.number.into());
    put("dev", inode.device.into());
    put("nlink", inode.links.into());
    put("atime", inode.atime.into());
    put("mtime", inode.mtime.into());
    put("ctime", inode.ctime.into());
    for (name, b) in [
        ("rusr", 0o400),
        ("wusr", 0o200),
        ("xusr", 0o100),
        ("rgrp", 0o040),
        ("wgrp", 0o020),
        ("xgrp", 0o010),
        ("roth", 0o004),
        ("woth", 0o002),
        ("xoth", 0o001),
        ("isuid", 0o4000),
        ("isgid", 0o2000),
    ] {
        put(name, bit(b));
    }
    stat
}
