//! `package_facts` and `service_facts`: what is installed and what runs.

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::sections::{Sections, probe};
use crate::value::{Map, Value};
use crate::{Action, CheckMode, ModuleError, Outcome, TaskContext, Touch};

fn auto() -> Vec<String> {
    vec!["auto".into()]
}

/// The installed packages as the fact `packages`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PackageFacts {
    /// `auto`, or the databases to read: `apt`, `rpm`, `apk`.
    #[serde(default = "auto")]
    manager: Vec<String>,
    /// `first` stops at the first database that is there, `all` reads every one.
    #[serde(default)]
    strategy: Strategy,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Strategy {
    #[default]
    First,
    All,
}

const SOURCES: [(&str, &str); 3] = [
    (
        "apt",
        "has dpkg-query && dpkg-query -W -f='${db:Status-Status}\\t${Package}\\t${Version}\\t${Architecture}\\t${Section}\\n'",
    ),
    ("rpm", "has rpm && rpm -qa --qf '%{NAME}\\t%{VERSION}\\t%{RELEASE}\\t%{EPOCH}\\t%{ARCH}\\n'"),
    ("apk", "has apk && apk info -v 2>/dev/null"),
];

fn add(packages: &mut Map, name: &str, package: Value) {
    if let Value::Array(list) = packages.entry(name).or_insert_with(|| json!([])) {
        list.push(package);
    }
}

fn packages(sections: &Sections) -> Map {
    let mut all = Map::new();
    for line in sections.lines("apt") {
        if let ["installed", name, version, arch, section] = line.split('\t').collect::<Vec<_>>().as_slice() {
            add(
                &mut all,
                name,
                json!({"name": name, "version": version, "arch": arch, "category": section, "source": "apt"}),
            );
        }
    }
    for line in sections.lines("rpm") {
        if let [name, version, release, epoch, arch] = line.split('\t').collect::<Vec<_>>().as_slice() {
            let none = |text: &str| if text == "(none)" { Value::Null } else { json!(text) };
            let epoch = epoch.parse::<u64>().map_or(Value::Null, |n| json!(n));
            add(
                &mut all,
                name,
                json!({"name": name, "version": version, "release": release, "epoch": epoch, "arch": none(arch), "source": "rpm"}),
            );
        }
    }
    for line in sections.lines("apk") {
        // name-version-rN: neither the version nor the release holds a dash.
        let mut parts = line.rsplitn(3, '-');
        if let (Some(release), Some(version), Some(name)) = (parts.next(), parts.next(), parts.next()) {
            add(
                &mut all,
                name,
                json!({"name": name, "version": version, "release": release, "source": "apk"}),
            );
        }
    }
    all
}

#[async_trait]
impl Action for PackageFacts {
    const NAME: &'static str = "package_facts";
    const FQCN: &'static [&'static str] = &["ansible.builtin.package_facts"];
    const CHECK: CheckMode = CheckMode::Runs;
    const TOUCH: Touch = Touch::Nothing;

    fn validate(&self) -> Result<(), ModuleError> {
        let known = |m: &str| matches!(m, "auto" | "apt" | "rpm" | "yum" | "dnf" | "dnf5" | "zypper" | "apk");
        match self.manager.iter().find(|m| !known(m)) {
            Some(odd) => Err(ModuleError::Arguments(format!("{odd:?} is not one of auto, apt, rpm, apk"))),
            None => Ok(()),
        }
    }

    async fn run(self, cx: &TaskContext) -> Result<Outcome, ModuleError> {
        let wanted = |source: &str| {
            self.manager.iter().any(|m| match m.as_str() {
                "auto" => true,
                "yum" | "dnf" | "dnf5" | "zypper" => source == "rpm",
                other => other == source,
            })
        };
        // rpm is also on Debian hosts that build packages; the database that has entries is the host's own.
        let stop = if self.strategy == Strategy::First { "[ -z \"$o\" ] || exit 0\n" } else { "" };
        let text: String = SOURCES
            .iter()
            .filter(|(name, _)| wanted(name))
            .map(|(name, command)| {
                format!("mark {name}; o=$({command})\n[ -z \"$o\" ] || printf '%s\\n' \"$o\"\n{stop}")
            })
            .collect::<Vec<_>>()
            .concat();
        let packages = packages(&Sections::read(&cx.shell.probe(&probe(&text)).await?)?);
        if packages.is_empty() {
            return Err(ModuleError::failed("this host has no package database that can be read"));
        }
        let facts = [("packages".to_owned(), Value::Object(packages))].into_iter().collect();
        Ok(Outcome { facts, ..Outcome::default() })
    }
}

/// The host's services as the fact `services`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ServiceFacts {}

fn services(sections: &Sections) -> Map {
    let mut all = Map::new();
    let mut put = |name: &str, state: &str, status: &str, source: &str| {
        all.insert(
            name.to_owned(),
            json!({"name": name, "state": state, "status": status, "source": source}),
        );
    };
    // Unit files first; what is loaded says more.
    for line in sections.lines("files") {
        let mut words = line.split_whitespace();
        if let (Some(name), Some(status)) = (words.next(), words.next())
            && name.ends_with(".service")
        {
            put(name, if name.contains("@.") { "unknown" } else { "inactive" }, status, "systemd");
        }
    }
    let status: Map = sections
        .lines("files")
        .filter_map(|l| {
            let mut words = l.split_whitespace();
            Some((words.next()?.to_owned(), json!(words.next()?)))
        })
        .collect();
    for line in sections.lines("units") {
        let words: Vec<&str> = line.trim_start_matches(['●', '*', ' ']).split_whitespace().collect();
        if let [name, load, active, sub, ..] = words.as_slice()
            && name.ends_with(".service")
        {
            let state = match *sub {
                "running" => "running",
                _ if *active == "failed" => "stopped",
                "dead" | "exited" => "stopped",
                other => other,
            };
            let own = status.get(*name).and_then(Value::as_str);
            let word = if *active == "failed" { "failed" } else { own.unwrap_or("unknown") };
            let word = if *load == "not-found" { "not-found" } else { word };
            put(name, state, word, "systemd");
        }
    }
    for line in sections.lines("sysv") {
        if let Some((name, runs)) = line.split_once(' ') {
            put(name, if runs == "0" { "running" } else { "stopped" }, "unknown", "sysv");
        }
    }
    all
}

#[async_trait]
impl Action for ServiceFacts {
    const NAME: &'static str = "service_facts";
    const FQCN: &'static [&'static str] = &["ansible.builtin.service_facts"];
    const CHECK: CheckMode = CheckMode::Runs;
    const TOUCH: Touch = Touch::Nothing;

    async fn run(self, cx: &TaskContext) -> Result<Outcome, ModuleError> {
        let text = "if [ -d /run/systemd/system ] && has systemctl; then
mark files; systemctl list-unit-files --no-pager --no-legend --type=service 2>/dev/null
mark units; systemctl list-units --no-pager --no-legend --plain --all --type=service 2>/dev/null
else
mark sysv
for f in /etc/init.d/*; do
  [ -x \"$f\" ] || continue
  case ${f##*/} in README*|skeleton|rc|rcS|functions|halt|reboot|single|sendsigs|umount*|killprocs) continue;; esac
  # Some scripts start something when they do not know `status`: only those that mention it are asked.
  grep -q 'status' \"$f\" || continue
  if has timeout; then timeout 5 \"$f\" status; else \"$f\" status; fi >/dev/null 2>&1 </dev/null
  printf '%s %s\\n' \"${f##*/}\" $?
done
fi";
        let services = services(&Sections::read(&cx.shell.probe(&probe(text)).await?)?);
        let facts = [("services".to_owned(), Value::Object(services))].into_iter().collect();
        Ok(Outcome { facts, ..Outcome::default() })
    }
}

#[cfg(test)]
mod tests {
    use super::super::sections::testing::answer;
    use super::*;

    #[test]
    fn packages_have_ansibles_shape() {
        let reply = answer(&[
            ("apt", "installed\tbash\t5.2-2\tamd64\tshells\nconfig-files\told\t1\tall\tx"),
            ("rpm", "gpg-pubkey\t1\t2\t(none)\t(none)"),
            ("apk", "musl-utils-1.2.4-r2"),
        ]);
        let all = packages(&Sections::read(&reply).expect("readable"));
        assert_eq!(all["bash"][0]["version"], "5.2-2");
        assert!(!all.contains_key("old"));
        assert_eq!(all["gpg-pubkey"][0]["arch"], Value::Null);
        assert_eq!(all["musl-utils"][0]["release"], "r2");
    }

    #[test]
    fn services_have_ansibles_shape() {
        let reply = answer(&[
            (
                "files",
                "cron.service enabled enabled\ngetty@.service enabled enabled\nx.service disabled enabled",
            ),
            (
                "units",
                "cron.service loaded active running Cron\n● bad.service not-found inactive dead bad.service",
            ),
        ]);
        let all = services(&Sections::read(&reply).expect("readable"));
        assert_eq!(
            all["cron.service"],
            json!({"name": "cron.service", "state": "running", "status": "enabled", "source": "systemd"})
        );
        assert_eq!(all["x.service"]["state"], "inactive");
        assert_eq!(all["getty@.service"]["state"], "unknown");
        assert_eq!(all["bad.service"]["status"], "not-found");
    }
}
