//! Facts about the system itself: distribution, names, user, time, environment.

use std::collections::HashMap;

use serde_json::json;

use super::accounts::Passwd;
use super::sections::Sections;
use crate::value::{Map, Value};

/// A file of `KEY="value"` lines.
fn assignments(text: &str) -> HashMap<&str, String> {
    text.lines()
        .filter_map(|l| l.trim().split_once('='))
        .map(|(k, v)| (k, v.trim().trim_matches(['"', '\'']).to_owned()))
        .collect()
}

/// Ansible's name for a distribution and its family, by os-release's ID.
fn known(id: &str) -> Option<(&'static str, &'static str)> {
    Some(match id {
        "debian" | "raspbian" => ("Debian", "Debian"),
        "ubuntu" => ("Ubuntu", "Debian"),
        "linuxmint" => ("Linux Mint", "Debian"),
        "kali" => ("Kali", "Debian"),
        "rhel" => ("RedHat", "RedHat"),
        "centos" => ("CentOS", "RedHat"),
        "fedora" => ("Fedora", "RedHat"),
        "rocky" => ("Rocky", "RedHat"),
        "almalinux" => ("AlmaLinux", "RedHat"),
        "ol" => ("OracleLinux", "RedHat"),
        "amzn" => ("Amazon", "RedHat"),
        "alpine" => ("Alpine", "Alpine"),
        "altlinux" => ("Altlinux", "Altlinux"),
        "arch" => ("Archlinux", "Archlinux"),
        "sles" => ("SLES", "Suse"),
        "opensuse-leap" => ("openSUSE Leap", "Suse"),
        "opensuse-tumbleweed" => ("openSUSE Tumbleweed", "Suse"),
        "gentoo" => ("Gentoo", "Gentoo"),
        _ => return None,
    })
}

/// The first `digits.digits...` in a text.
fn version_in(text: &str) -> Option<&str> {
    text.split(|c: char| !(c.is_ascii_digit() || c == '.'))
        .map(|w| w.trim_matches('.'))
        .find(|w| w.starts_with(|c: char| c.is_ascii_digit()))
}

fn distribution(sections: &Sections, facts: &mut Map) {
    let release = assignments(sections.raw("os-release"));
    let field = |key: &str| release.get(key).map_or("", String::as_str);
    let id = field("ID");
    let (name, family) = known(id).map_or_else(
        || {
            let like = field("ID_LIKE").split(' ').find_map(known).map(|(_, family)| family);
            let name = field("NAME").split(' ').next().unwrap_or("").to_owned();
            let family = like.map_or_else(|| name.clone(), str::to_owned);
            (name, family)
        },
        |(name, family)| (name.to_owned(), family.to_owned()),
    );
    let redhat = sections.text("redhat-release");
    let mut version = field("VERSION_ID").to_owned();
    // os-release knows less than the older files do.
    let precise = match id {
        "debian" => version_in(sections.text("debian-version")).map(str::to_owned),
        "alpine" => version_in(sections.text("alpine-release")).map(str::to_owned),
        "centos" => version_in(redhat).map(|v| v.split('.').take(2).collect::<Vec<_>>().join(".")),
        _ => None,
    };
    if let Some(precise) = precise {
        version = precise;
    }
    let codename = match field("VERSION_CODENAME") {
        "" => redhat.split_once('(').map_or("", |(_, rest)| rest.trim_end_matches(')')),
        code => code,
    };
    let codename = if codename.is_empty() && family == "RedHat" { "NA" } else { codename };
    facts.insert("os_family".into(), json!(family));
    facts.insert("distribution".into(), json!(name));
    facts.insert("distribution_major_version".into(), json!(version.split('.').next().unwrap_or("")));
    facts.insert("distribution_version".into(), json!(version));
    facts.insert("distribution_release".into(), json!(codename));
    facts.insert("distribution_file_parsed".into(), json!(!release.is_empty()));
    facts.insert("distribution_file_path".into(), json!("/etc/os-release"));
    facts.insert("distribution_file_variety".into(), json!(name));
    if let Some(minor) = version.split('.').nth(1) {
        facts.insert("distribution_minor_version".into(), json!(minor));
    }
}

fn date_time(sections: &Sections) -> Value {
    let fields: Vec<&str> = sections.text("date").split('|').collect();
    let at = |i: usize| fields.get(i).copied().unwrap_or("");
    let (year, month, day) = (at(0), at(1), at(2));
    let (hour, minute, second) = (at(5), at(6), at(7));
    let utc = sections.text("date-utc");
    json!({
        "year": year, "month": month, "day": day, "weekday": at(3), "weekday_number": at(12),
        "weeknumber": at(11), "hour": hour, "minute": minute, "second": second,
        "epoch": at(8), "epoch_int": at(8),
        "date": format!("{year}-{month}-{day}"), "time": format!("{hour}:{minute}:{second}"),
        "iso8601": format!("{utc}Z"),
        "iso8601_basic_short": format!("{year}{month}{day}T{hour}{minute}{second}"),
        "tz": at(9), "tz_dst": at(9), "tz_offset": at(10),
    })
}

fn environment(text: &str) -> Value {
    let mut env = Map::new();
    let mut last: Option<String> = None;
    for line in text.lines() {
        let name = line
            .split_once('=')
            .filter(|(k, _)| !k.is_empty() && k.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'));
        if let Some((key, value)) = name {
            env.insert(key.into(), json!(value));
            last = Some(key.into());
        } else if let Some(Value::String(text)) = last.as_ref().and_then(|k| env.get_mut(k)) {
            // A value of several lines goes on.
            text.push('\n');
            text.push_str(line);
        }
    }
    Value::Object(env)
}

fn selinux(sections: &Sections) -> Value {
    let text = sections.raw("selinux");
    let mut lines = text.lines();
    // /sys/fs/selinux/enforce has no line end, so both numbers may stand in one line: "1" + "33".
    let first = lines.next().unwrap_or("").trim();
    if first.is_empty() {
        return json!({"status": "disabled"});
    }
    let (enforce, policy) = first.split_at(1);
    let config = assignments(text);
    json!({
        "status": "enabled",
        "mode": if enforce == "1" { "enforcing" } else { "permissive" },
        "config_mode": config.get("SELINUX"),
        "type": config.get("SELINUXTYPE"),
        "policyvers": policy.parse::<u32>().ok(),
    })
}

fn service_manager<'a>(sections: &'a Sections, distribution: &str) -> &'a str {
    let init = sections.lines("init").next().unwrap_or("");
    match sections.text("comm") {
        _ if !init.is_empty() => init,
        "openrc-init" => "openrc",
        "runit-init" => "runit",
        "procd" => "openwrt_init",
        "" | "init" | "sh" | "bash" | "dash" | "tail" | "sleep" if distribution == "Alpine" => "openrc",
        "" | "init" => "sysvinit",
        other => other,
    }
}

/// Local facts: JSON, or INI with sections.
fn local(text: &str) -> Value {
    if let Ok(value) = serde_json::from_str(text) {
        return value;
    }
    let mut sections = Map::new();
    let mut current: Option<String> = None;
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
            sections.insert(name.into(), Value::Object(Map::new()));
            current = Some(name.into());
        } else if let Some((key, value)) = line.split_once(['=', ':'])
            && !line.starts_with(['#', ';'])
            && let Some(Value::Object(section)) = current.as_ref().and_then(|c| sections.get_mut(c))
        {
            section.insert(key.trim().to_lowercase(), json!(value.trim()));
        }
    }
    Value::Object(sections)
}

pub(super) fn facts(sections: &Sections, names: &[String]) -> Map {
    let mut facts = Map::new();
    distribution(sections, &mut facts);
    let mut uname = sections.raw("uname").lines();
    let mut next = || uname.next().unwrap_or("");
    let (system, kernel, version, machine, node) = (next(), next(), next(), next(), next());
    let fqdn = match sections.text("fqdn") {
        "" => node,
        name => name,
    };
    let architecture = if matches!(machine, "i486" | "i586" | "i686") { "i386" } else { machine };
    let package_manager = match sections.lines("pkg").next().unwrap_or("unknown") {
        "apt-get" => "apt",
        // A Debian host may have dnf beside apt.
        _ if facts.get("os_family") == Some(&json!("Debian")) => "apt",
        other => other,
    };
    let distribution = facts.get("distribution").and_then(Value::as_str).unwrap_or("").to_owned();
    for (key, value) in [
        ("system", json!(system)),
        ("kernel", json!(kernel)),
        ("kernel_version", json!(version)),
        ("machine", json!(machine)),
        ("architecture", json!(architecture)),
        ("userspace_bits", json!(sections.text("bits"))),
        ("nodename", json!(node)),
        ("hostname", json!(node.split('.').next().unwrap_or(""))),
        ("fqdn", json!(fqdn)),
        ("domain", json!(fqdn.split_once('.').map_or("", |(_, d)| d))),
        ("machine_id", json!(sections.text("machine-id"))),
        ("service_mgr", json!(service_manager(sections, &distribution))),
        ("pkg_mgr", json!(package_manager)),
        ("date_time", date_time(sections)),
        ("env", environment(sections.raw("env"))),
        ("selinux", selinux(sections)),
        ("fips", json!(sections.text("fips") == "1")),
        (
            "apparmor",
            json!({"status": if sections.text("apparmor") == "1" { "enabled" } else { "disabled" }}),
        ),
    ] {
        facts.insert(key.into(), value);
    }
    let mut user = sections.raw("user").lines();
    for key in ["user_id", "user_uid", "user_gid", "real_user_id", "real_group_id"] {
        let word = user.next().unwrap_or("");
        facts.insert(key.into(), word.parse::<u32>().map_or_else(|_| json!(word), |n| json!(n)));
    }
    facts.insert("effective_user_id".into(), facts.get("user_uid").cloned().unwrap_or_default());
    facts.insert("effective_group_id".into(), facts.get("user_gid").cloned().unwrap_or_default());
    if let Some(passwd) = user.next().and_then(Passwd::parse) {
        facts.insert("user_gecos".into(), json!(passwd.comment));
        facts.insert("user_dir".into(), json!(passwd.home));
        facts.insert("user_shell".into(), json!(passwd.shell));
    }
    let cmdline: Map = sections
        .text("cmdline")
        .split_whitespace()
        .map(|w| w.split_once('=').map_or((w.to_owned(), json!(true)), |(k, v)| (k.to_owned(), json!(v))))
        .collect();
    facts.insert("cmdline".into(), Value::Object(cmdline));
    let resolver = |key: &str| -> Vec<&str> {
        sections
            .lines("resolv")
            .filter_map(|l| l.strip_prefix(key)?.strip_prefix([' ', '\t']))
            .flat_map(str::split_whitespace)
            .collect()
    };
    let dns: Map = ["nameservers", "search"]
        .into_iter()
        .zip([resolver("nameserver"), resolver("search")])
        .filter(|(_, words)| !words.is_empty())
        .map(|(name, words)| (name.to_owned(), json!(words)))
        .collect();
    facts.insert("dns".into(), Value::Object(dns));
    for line in sections.lines("ssh-keys") {
        let mut words = line.split_whitespace();
        if let (Some(kind), Some(key)) = (words.next(), words.next()) {
            let short = match kind {
                "ssh-rsa" => "rsa",
                "ssh-ed25519" => "ed25519",
                "ssh-dss" => "dsa",
                _ => "ecdsa",
            };
            facts.insert(format!("ssh_host_key_{short}_public"), json!(key));
            facts.insert(format!("ssh_host_key_{short}_public_keytype"), json!(kind));
        }
    }
    let locals: Map = names.iter().map(|n| (n.clone(), local(sections.raw(&format!("local:{n}"))))).collect();
    facts.insert("local".into(), Value::Object(locals));
    facts
}

#[cfg(test)]
mod tests {
    use super::super::sections::testing::answer;
    use super::*;

    #[test]
    fn distributions_have_ansibles_names() {
        for (sections, expected) in [
            (
                vec![
                    ("os-release", "ID=debian\nVERSION_ID=\"12\"\nVERSION_CODENAME=bookworm"),
                    ("debian-version", "12.7"),
                ],
                ["Debian", "Debian", "12", "12.7", "bookworm"],
            ),
            (
                vec![
                    ("os-release", "NAME=\"Red Hat\"\nID=\"rhel\"\nVERSION_ID=\"7.9\""),
                    ("redhat-release", "Red Hat Enterprise Linux Server release 7.9 (Maipo)"),
                ],
                ["RedHat", "RedHat", "7", "7.9", "Maipo"],
            ),
            (
                vec![
                    ("os-release", "ID=\"centos\"\nVERSION_ID=\"7\""),
                    ("redhat-release", "CentOS Linux release 7.9.2009 (Core)"),
                ],
                ["CentOS", "RedHat", "7", "7.9", "Core"],
            ),
            (
                vec![("os-release", "NAME=\"Some OS\"\nID=some\nID_LIKE=\"rhel fedora\"\nVERSION_ID=1.2")],
                ["Some", "RedHat", "1", "1.2", "NA"],
            ),
        ] {
            let facts = facts(&Sections::read(&answer(&sections)).expect("readable"), &[]);
            let keys = [
                "distribution",
                "os_family",
                "distribution_major_version",
                "distribution_version",
                "distribution_release",
            ];
            assert_eq!(keys.map(|k| facts[k].as_str().unwrap_or("")), expected);
        }
    }

    #[test]
    fn local_facts_are_json_or_ini() {
        assert_eq!(local("{\"a\": 1}"), json!({"a": 1}));
        assert_eq!(local("# x\n[s]\nKey = v\n"), json!({"s": {"key": "v"}}));
    }

    #[test]
    fn values_of_several_lines_stay_whole() {
        assert_eq!(environment("A=1\nB=x\ny\nC=\n"), json!({"A": "1", "B": "x\ny", "C": ""}));
    }

    #[test]
    fn selinux_is_read() {
        let of = |text| selinux(&Sections::read(&answer(&[("selinux", text)])).expect("readable"));
        assert_eq!(of("")["status"], "disabled");
        let on = of("133\nSELINUX=enforcing\nSELINUXTYPE=targeted");
        assert_eq!(
            (&on["mode"], &on["policyvers"], &on["type"]),
            (&json!("enforcing"), &json!(33), &json!("targeted"))
        );
    }
}
