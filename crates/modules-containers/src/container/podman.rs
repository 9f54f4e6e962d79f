use bollard::models::{ContainerInspectResponse, EndpointIpamConfig};

use super::ContainerSpec;

/// Options that podman adds to every bind, or to those of volumes.
const OF_BINDS: [&str; 4] = ["rprivate", "rbind", "nosuid", "nodev"];

/// Options of a bind that podman does not tell, or tells whoever asked for them.
const UNTOLD: [&str; 6] = ["z", "Z", "rprivate", "rbind", "nosuid", "nodev"];

/// What a container may do unless somebody says otherwise; podman tells only what differs from it.
const USUAL: [&str; 11] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

/// Options that podman adds to every tmpfs.
const OF_TMPFS: [&str; 6] = ["rw", "rprivate", "nosuid", "nodev", "noexec", "tmpcopyup"];

/// Lets podman's description of a container read as Docker's: without what it adds by itself, and with what it does
/// not tell (a bind's relabelling, a log's options, kernel parameters) taken as it was asked for.
pub(crate) fn like_dockers(now: &mut ContainerInspectResponse, spec: &ContainerSpec) {
    if let Some(host) = &mut now.host_config {
        for bind in host.binds.iter_mut().flatten() {
            *bind = plain_bind(bind, &spec.volumes);
        }
        for options in host.tmpfs.iter_mut().flatten().map(|(_, options)| options) {
            *options = without(options, &OF_TMPFS);
        }
        if let Some(log) = &mut host.log_config
            && log.config.is_none()
        {
            log.config = Some(spec.log_options.clone().into_iter().collect());
        }
        let name = |c: &str| c.to_ascii_uppercase().trim_start_matches("CAP_").to_owned();
        let usual = |c: &&String| USUAL.contains(&name(c).as_str());
        host.cap_add.get_or_insert_default().extend(spec.capabilities.iter().filter(usual).cloned());
        let dropped = host.cap_drop.get_or_insert_default();
        let every = dropped.len() + spec.capabilities.iter().filter(usual).count() >= USUAL.len();
        let is_so = |c: &&String| if name(c) == "ALL" { every } else { !usual(c) };
        dropped.extend(spec.cap_drop.iter().filter(is_so).cloned());
        if host.sysctls.is_none() {
            host.sysctls = Some(spec.sysctls.clone().into_iter().collect());
        }
    }
    let networks = now.network_settings.iter_mut().filter_map(|n| n.networks.as_mut()).flatten();
    for (_, endpoint) in networks {
        if endpoint.ipam_config.is_none() {
            let ipv4_address = endpoint.ip_address.clone();
            endpoint.ipam_config = Some(EndpointIpamConfig { ipv4_address, ..EndpointIpamConfig::default() });
        }
    }
}

fn without(options: &str, added: &[&str]) -> String {
    options.split(',').filter(|o| !added.contains(o)).collect::<Vec<_>>().join(",")
}

fn plain_bind(bind: &str, asked: &[String]) -> String {
    let mut parts = bind.splitn(3, ':');
    let (source, target) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let mut options = without(parts.next().unwrap_or_default(), &OF_BINDS);
    let place = format!("{}:{target}", source.trim_end_matches('/'));
    let same = asked.iter().find_map(|a| {
        let (path, options) = a.rsplit_once(':').filter(|(path, _)| path.contains(':'))?;
        let (from, to) = path.split_once(':')?;
        (format!("{}:{to}", from.trim_end_matches('/')) == place).then_some(options)
    });
    for label in same.into_iter().flat_map(|o| o.split(',')).filter(|o| UNTOLD.contains(o)) {
        options.push(',');
        options.push_str(label);
    }
    format!("{source}:{target}:{}", options.trim_start_matches(','))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::{NetworkArg, differences};
    use super::*;

    /// As podman 5.4 answers.
    fn now() -> ContainerInspectResponse {
        serde_json::from_value(json!({
            "Image": "sha256:1",
            "HostConfig": {
                "Binds": ["/srv/redis:/var/lib/redis/data:ro,rprivate,rbind", "own:/own:rw,rprivate,nosuid,nodev,rbind"],
                "CapAdd": [], "CapDrop": ["CAP_KILL"],
                "Tmpfs": {"/x": "size=1m,rw,rprivate,nosuid,nodev,tmpcopyup"},
                "LogConfig": {"Type": "json-file", "Config": null}, "NetworkMode": "bridge"
            },
            "NetworkSettings": {"Networks": {"quaylab": {
                "IPAMConfig": null, "Aliases": ["db", "3970b11f2a43"], "IPAddress": "10.89.0.77"
            }}}
        }))
        .expect("an answer of podman's")
    }

    #[test]
    fn what_podman_adds_or_does_not_tell_is_no_difference() {
        let list = |items: &[&str]| items.iter().map(|i| (*i).to_owned()).collect::<Vec<_>>();
        let pair = |name: &str, value: &str| [(name.to_owned(), value.to_owned())].into();
        let network = |address: &str| NetworkArg {
            name: "quaylab".into(),
            aliases: list(&["db"]),
            ipv4_address: Some(address.into()),
        };
        for (spec, differs) in [
            (
                ContainerSpec {
                    volumes: list(&["/srv/redis/:/var/lib/redis/data:Z,ro"]),
                    ..ContainerSpec::default()
                },
                "",
            ),
            (
                ContainerSpec {
                    volumes: list(&["/srv/redis:/var/lib/redis/data:Z"]),
                    ..ContainerSpec::default()
                },
                "volumes",
            ),
            (ContainerSpec { volumes: list(&["own:/own"]), ..ContainerSpec::default() }, ""),
            (ContainerSpec { volumes: list(&["own:/own:nosuid"]), ..ContainerSpec::default() }, ""),
            (ContainerSpec { cap_drop: list(&["NET_RAW", "cap_kill"]), ..ContainerSpec::default() }, ""),
            (ContainerSpec { cap_drop: list(&["CHOWN"]), ..ContainerSpec::default() }, "cap_drop"),
            (ContainerSpec { cap_drop: list(&["ALL"]), ..ContainerSpec::default() }, "cap_drop"),
            (ContainerSpec { capabilities: list(&["CHOWN"]), ..ContainerSpec::default() }, ""),
            (
                ContainerSpec { capabilities: list(&["NET_ADMIN"]), ..ContainerSpec::default() },
                "capabilities",
            ),
            (ContainerSpec { tmpfs: list(&["/x:size=1m"]), ..ContainerSpec::default() }, ""),
            (ContainerSpec { tmpfs: list(&["/x:size=2m"]), ..ContainerSpec::default() }, "tmpfs"),
            (ContainerSpec { log_options: pair("max-size", "10m"), ..ContainerSpec::default() }, ""),
            (ContainerSpec { sysctls: pair("net.core.somaxconn", "1024"), ..ContainerSpec::default() }, ""),
            (ContainerSpec { networks: vec![network("10.89.0.77")], ..ContainerSpec::default() }, ""),
            (
                ContainerSpec { networks: vec![network("10.89.0.78")], ..ContainerSpec::default() },
                "network quaylab ipv4_address",
            ),
        ] {
            let mut now = now();
            like_dockers(&mut now, &spec);
            let found: Vec<String> = differences(&spec, &now, None).into_iter().map(|d| d.what).collect();
            assert_eq!(found.join(" "), differs, "{spec:?}");
        }
    }
}
