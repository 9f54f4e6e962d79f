use std::collections::BTreeMap;

use bollard::models::{ContainerConfig, ContainerInspectResponse, HostConfig};

use super::{ContainerSpec, ports};

/// Something that was asked for and is otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Difference {
    pub(crate) what: String,
    pub(crate) before: String,
    pub(crate) after: String,
}

const NONE: &str = "none";

/// Compares a container with what was asked of it; what was not asked for does not matter.
///
/// `image` is the ID of the image that the name now means, where the engine has it.
pub(crate) fn differences(
    spec: &ContainerSpec,
    now: &ContainerInspectResponse,
    image: Option<&str>,
) -> Vec<Difference> {
    let mut found = Vec::new();
    let config = now.config.clone().unwrap_or_default();
    let host = now.host_config.clone().unwrap_or_default();
    let is_image = now.image.as_deref();
    if let Some(image) = image
        && is_image != Some(image)
    {
        found.push(difference("image", is_image.map(short_id), Some(short_id(image))));
    }
    scalars(spec, &config, &host, &mut found);
    mappings(spec, &config, &host, &mut found);
    lists(spec, &config, &host, &mut found);
    published(spec, &host, &mut found);
    networks(spec, now, &host, &mut found);
    found
}

fn difference(what: impl Into<String>, before: Option<String>, after: Option<String>) -> Difference {
    let shown = |value: Option<String>| value.unwrap_or_else(|| NONE.into());
    Difference { what: what.into(), before: shown(before), after: shown(after) }
}

fn short_id(id: &str) -> String {
    id.trim_start_matches("sha256:").chars().take(12).collect()
}

fn scalars(spec: &ContainerSpec, config: &ContainerConfig, host: &HostConfig, found: &mut Vec<Difference>) {
    let mut check = |what: &str, asked: Option<String>, was: Option<String>| {
        if asked.is_some() && asked != was {
            found.push(difference(what, was, asked));
        }
    };
    let words = |words: Option<&Vec<String>>| {
        words.map(|w| shlex::try_join(w.iter().map(String::as_str)).unwrap_or_default())
    };
    check("command", words(spec.command.as_ref().map(|w| &w.0)), words(config.cmd.as_ref()));
    check("entrypoint", words(spec.entrypoint.as_ref().map(|w| &w.0)), words(config.entrypoint.as_ref()));
    check("user", spec.user.clone(), config.user.clone());
    check("hostname", spec.hostname.clone(), config.hostname.clone());
    check("working_dir", spec.working_dir.clone(), config.working_dir.clone());
    let policy = host.restart_policy.as_ref();
    let name = policy.and_then(|p| p.name).map(|n| n.to_string()).filter(|n| !n.is_empty());
    check(
        "restart_policy",
        spec.restart_policy.map(|p| p.word().into()),
        Some(name.unwrap_or_else(|| "no".into())),
    );
    let retries = policy.and_then(|p| p.maximum_retry_count);
    check("restart_retries", spec.restart_retries.map(|n| n.to_string()), retries.map(|n| n.to_string()));
    for (what, asked, was) in [
        ("privileged", spec.privileged, host.privileged),
        ("init", spec.init, host.init),
        ("read_only", spec.read_only, host.readonly_rootfs),
    ] {
        check(what, asked.map(|b| b.to_string()), Some(was.unwrap_or(false).to_string()));
    }
    for (what, asked, was) in
        [("memory", spec.memory, host.memory), ("shm_size", spec.shm_size, host.shm_size)]
    {
        check(what, asked.map(|b| b.to_string()), was.map(|b| b.to_string()));
    }
    let driver = host.log_config.as_ref().and_then(|l| l.typ.clone());
    check("log_driver", spec.log_driver.clone(), driver);
}

/// Names and values of which each that was asked for must be there.
fn mappings(spec: &ContainerSpec, config: &ContainerConfig, host: &HostConfig, found: &mut Vec<Difference>) {
    let env: BTreeMap<&str, &str> =
        config.env.iter().flatten().map(|e| e.split_once('=').unwrap_or((e.as_str(), ""))).collect();
    for (name, asked) in &spec.env {
        let was = env.get(name.as_str()).copied();
        if was != Some(asked.as_str()) {
            found.push(masked(name, was, asked));
        }
    }
    let log = host.log_config.as_ref().and_then(|l| l.config.as_ref());
    for (what, asked, was) in [
        ("label", &spec.labels, config.labels.as_ref()),
        ("sysctl", &spec.sysctls, host.sysctls.as_ref()),
        ("log_option", &spec.log_options, log),
    ] {
        for (name, asked) in asked {
            let was = was.and_then(|w| w.get(name));
            if was != Some(asked) {
                found.push(difference(format!("{what} {name}"), was.cloned(), Some(asked.clone())));
            }
        }
    }
}

/// An environment variable's difference; the value of one that sounds like a secret is not shown.
fn masked(name: &str, was: Option<&str>, asked: &str) -> Difference {
    let what = format!("env {name}");
    if !is_secret(name) {
        return difference(what, was.map(str::to_owned), Some(asked.to_owned()));
    }
    let before = was.map(|_| "******** (other)".to_owned());
    difference(what, before, Some("********".into()))
}

/// Whether a variable of this name holds a secret, for all that its name says.
pub(crate) fn is_secret(name: &str) -> bool {
    let upper = name.to_ascii_uppercase();
    ["PASSWORD", "PASSWD", "SECRET", "KEY", "TOKEN"].iter().any(|word| upper.contains(word))
}

/// Lists of which each entry that was asked for must be there.
fn lists(spec: &ContainerSpec, _config: &ContainerConfig, host: &HostConfig, found: &mut Vec<Difference>) {
    let mut check = |what: &str, asked: Vec<String>, was: Vec<String>| {
        let missing: Vec<String> = asked.into_iter().filter(|a| !was.contains(a)).collect();
        if !missing.is_empty() {
            let before = (!was.is_empty()).then(|| was.join(" "));
            found.push(difference(what, before, Some(missing.join(" "))));
        }
    };
    let binds = |list: &[String]| list.iter().map(|b| bind(b)).collect();
    check("volumes", binds(&spec.volumes), binds(host.binds.as_deref().unwrap_or_default()));
    let hosts = spec.etc_hosts.iter().map(|(name, address)| format!("{name}:{address}")).collect();
    check("etc_hosts", hosts, host.extra_hosts.clone().unwrap_or_default());
    let tmpfs = host.tmpfs.iter().flatten().map(|(path, options)| tmpfs_entry(path, options)).collect();
    check("tmpfs", spec.tmpfs.clone(), tmpfs);
    let caps = |list: &[String]| list.iter().map(|c| capability(c)).collect();
    check("capabilities", caps(&spec.capabilities), caps(host.cap_add.as_deref().unwrap_or_default()));
    check("cap_drop", caps(&spec.cap_drop), caps(host.cap_drop.as_deref().unwrap_or_default()));
    check("security_opts", spec.security_opts.clone(), host.security_opt.clone().unwrap_or_default());
}

fn tmpfs_entry(path: &str, options: &str) -> String {
    if options.is_empty() { path.to_owned() } else { format!("{path}:{options}") }
}

fn capability(name: &str) -> String {
    name.to_ascii_uppercase().trim_start_matches("CAP_").to_owned()
}

/// A bind in one way of writing: `rw` is what is meant anyway, options in order.
fn bind(text: &str) -> String {
    let mut parts = text.splitn(3, ':');
    let (source, target) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let source = if source.len() > 1 { source.trim_end_matches('/') } else { source };
    let mut options: Vec<&str> =
        parts.next().unwrap_or_default().split(',').filter(|o| !["", "rw"].contains(o)).collect();
    options.sort_unstable();
    if options.is_empty() {
        format!("{source}:{target}")
    } else {
        format!("{source}:{target}:{}", options.join(","))
    }
}

fn published(spec: &ContainerSpec, host: &HostConfig, found: &mut Vec<Difference>) {
    let everywhere = |address: &str| if address == "0.0.0.0" { String::new() } else { address.to_owned() };
    let mut was: Vec<ports::Published> = Vec::new();
    for (container_port, bindings) in host.port_bindings.iter().flatten() {
        for binding in bindings.iter().flatten() {
            was.push(ports::Published {
                address: everywhere(binding.host_ip.as_deref().unwrap_or_default()),
                host_port: binding.host_port.clone().unwrap_or_default(),
                container_port: container_port.clone(),
            });
        }
    }
    was.sort();
    let mut asked: Vec<ports::Published> =
        spec.published_ports.iter().filter_map(|p| ports::parse(p).ok()).flatten().collect();
    for port in &mut asked {
        port.address = everywhere(&port.address);
    }
    let missing: Vec<String> = asked.iter().filter(|a| !was.contains(a)).map(ToString::to_string).collect();
    if !missing.is_empty() {
        let was: Vec<String> = was.iter().map(ToString::to_string).collect();
        let before = (!was.is_empty()).then(|| was.join(" "));
        found.push(difference("published_ports", before, Some(missing.join(" "))));
    }
}

fn networks(
    spec: &ContainerSpec,
    now: &ContainerInspectResponse,
    host: &HostConfig,
    found: &mut Vec<Difference>,
) {
    let same = |a: &str, b: &str| {
        let plain = |m: &str| if m == "default" { "bridge".to_owned() } else { m.to_owned() };
        plain(a) == plain(b)
    };
    let mode = host.network_mode.as_deref().unwrap_or("default");
    if let Some(asked) = &spec.network_mode
        && !same(asked, mode)
    {
        found.push(difference("network_mode", Some(mode.to_owned()), Some(asked.clone())));
    }
    let attached = now.network_settings.as_ref().and_then(|n| n.networks.as_ref());
    for network in &spec.networks {
        let Some(endpoint) = attached.and_then(|a| a.get(&network.name)) else {
            found.push(difference(format!("network {}", network.name), None, Some("connected".into())));
            continue;
        };
        let aliases = endpoint.aliases.clone().unwrap_or_default();
        let missing: Vec<&str> =
            network.aliases.iter().filter(|a| !aliases.contains(a)).map(String::as_str).collect();
        if !missing.is_empty() {
            let what = format!("network {} aliases", network.name);
            found.push(difference(what, Some(aliases.join(" ")), Some(missing.join(" "))));
        }
        if let Some(asked) = &network.ipv4_address {
            let was = endpoint.ipam_config.as_ref().and_then(|i| i.ipv4_address.clone());
            if was.as_ref() != Some(asked) {
                found.push(difference(
                    format!("network {} ipv4_address", network.name),
                    was,
                    Some(asked.clone()),
                ));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::{NetworkArg, RestartPolicyArg};
    use crate::words::Words;
    use serde_json::json;

    fn now() -> ContainerInspectResponse {
        serde_json::from_value(json!({
            "Image": "sha256:aaaaaaaaaaaaaaaa",
            "Config": {
                "Env": ["PATH=/bin", "DB_PASSWORD=old", "MODE=x=y"],
                "Cmd": ["serve", "a b"], "User": "1001", "Labels": {"a": "1"}
            },
            "HostConfig": {
                "Binds": ["/srv/data/:/data:Z,ro", "cache:/cache:rw"],
                "NetworkMode": "quaylab",
                "PortBindings": {"8080/tcp": [{"HostIp": "", "HostPort": "80"}]},
                "RestartPolicy": {"Name": "always", "MaximumRetryCount": 0},
                "LogConfig": {"Type": "json-file", "Config": {"max-size": "10m"}},
                "Memory": 536_870_912, "Privileged": false, "Sysctls": {"net.core.somaxconn": "4096"},
                "Tmpfs": {"/tmp": ""}, "CapAdd": ["CAP_NET_ADMIN"]
            },
            "NetworkSettings": {"Networks": {"quaylab": {"Aliases": ["db", "0123456789ab"]}}}
        }))
        .expect("an answer of the engine's")
    }

    fn map<const N: usize>(pairs: [(&str, &str); N]) -> BTreeMap<String, String> {
        pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).into()
    }

    fn network(name: &str, aliases: &[&str]) -> NetworkArg {
        let aliases = aliases.iter().map(|a| (*a).to_owned()).collect();
        NetworkArg { name: name.into(), aliases, ipv4_address: None }
    }

    /// What was asked, and the differences as `what: before -> after`.
    fn cases() -> Vec<(ContainerSpec, &'static str)> {
        let list = |items: &[&str]| items.iter().map(|i| (*i).to_owned()).collect::<Vec<_>>();
        let empty = ContainerSpec::default;
        vec![
            (empty(), ""),
            (ContainerSpec { env: map([("MODE", "x=y")]), ..empty() }, ""),
            (
                ContainerSpec { env: map([("MODE", "z"), ("NEW", "1")]), ..empty() },
                "env MODE: x=y -> z\nenv NEW: none -> 1",
            ),
            (
                ContainerSpec { env: map([("DB_PASSWORD", "new")]), ..empty() },
                "env DB_PASSWORD: ******** (other) -> ********",
            ),
            (
                ContainerSpec { env: map([("API_TOKEN", "new")]), ..empty() },
                "env API_TOKEN: none -> ********",
            ),
            (ContainerSpec { volumes: list(&["/srv/data:/data:ro,Z", "cache:/cache"]), ..empty() }, ""),
            (
                ContainerSpec { volumes: list(&["/srv/data:/data"]), ..empty() },
                "volumes: /srv/data:/data:Z,ro cache:/cache -> /srv/data:/data",
            ),
            (ContainerSpec { published_ports: list(&["0.0.0.0:80:8080"]), ..empty() }, ""),
            (
                ContainerSpec { published_ports: list(&["81:8080"]), ..empty() },
                "published_ports: 80:8080/tcp -> 81:8080/tcp",
            ),
            (ContainerSpec { restart_policy: Some(RestartPolicyArg::Always), ..empty() }, ""),
            (
                ContainerSpec { restart_policy: Some(RestartPolicyArg::No), ..empty() },
                "restart_policy: always -> no",
            ),
            (ContainerSpec { command: Some(Words(list(&["serve", "a b"]))), ..empty() }, ""),
            (
                ContainerSpec { command: Some(Words(list(&["serve"]))), ..empty() },
                "command: serve 'a b' -> serve",
            ),
            (
                ContainerSpec { user: Some("0".into()), memory: Some(536_870_912), ..empty() },
                "user: 1001 -> 0",
            ),
            (
                ContainerSpec { privileged: Some(true), init: Some(false), ..empty() },
                "privileged: false -> true",
            ),
            (
                ContainerSpec { sysctls: map([("net.core.somaxconn", "1024")]), ..empty() },
                "sysctl net.core.somaxconn: 4096 -> 1024",
            ),
            (
                ContainerSpec {
                    log_driver: Some("json-file".into()),
                    log_options: map([("max-size", "10m")]),
                    ..empty()
                },
                "",
            ),
            (ContainerSpec { labels: map([("a", "1"), ("b", "2")]), ..empty() }, "label b: none -> 2"),
            (ContainerSpec { tmpfs: list(&["/tmp"]), capabilities: list(&["net_admin"]), ..empty() }, ""),
            (ContainerSpec { network_mode: Some("host".into()), ..empty() }, "network_mode: quaylab -> host"),
            (ContainerSpec { networks: vec![network("quaylab", &["db"])], ..empty() }, ""),
            (
                ContainerSpec { networks: vec![network("other", &[])], ..empty() },
                "network other: none -> connected",
            ),
            (
                ContainerSpec { networks: vec![network("quaylab", &["x"])], ..empty() },
                "network quaylab aliases: db 0123456789ab -> x",
            ),
        ]
    }

    #[test]
    fn only_what_was_asked_is_compared() {
        for (spec, expected) in cases() {
            let found = differences(&spec, &now(), Some("sha256:aaaaaaaaaaaaaaaa"));
            let shown: Vec<String> =
                found.iter().map(|d| format!("{}: {} -> {}", d.what, d.before, d.after)).collect();
            assert_eq!(shown.join("\n"), expected, "{spec:?}");
        }
    }

    #[test]
    fn another_image_under_the_name_is_a_difference() {
        let found = differences(&ContainerSpec::default(), &now(), Some("sha256:bbbbbbbbbbbbbbbb"));
        assert_eq!(found, [difference("image", Some("aaaaaaaaaaaa".into()), Some("bbbbbbbbbbbb".into()))]);
        assert_eq!(differences(&ContainerSpec::default(), &now(), None), []);
    }
}
