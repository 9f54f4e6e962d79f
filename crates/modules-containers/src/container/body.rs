use std::collections::HashMap;

use bollard::models::{
    ContainerCreateBody, EndpointIpamConfig, EndpointSettings, HostConfig, HostConfigLogConfig,
    NetworkingConfig, PortBinding, PortMap, RestartPolicy, RestartPolicyNameEnum,
};

use super::{ContainerSpec, NetworkArg, RestartPolicyArg, marked, ports};

/// What the engine is told to make.
pub(crate) fn body(spec: &ContainerSpec, lab: &str) -> Result<ContainerCreateBody, String> {
    let mut bindings = PortMap::new();
    let mut exposed = Vec::new();
    for text in &spec.published_ports {
        for port in ports::parse(text)? {
            exposed.push(port.container_port.clone());
            let binding = PortBinding { host_ip: Some(port.address), host_port: Some(port.host_port) };
            bindings.entry(port.container_port).or_default().get_or_insert_default().push(binding);
        }
    }
    // Engines before API 1.44 take one network at creation; the others are connected afterwards.
    let first = spec.networks.first();
    let network_mode = spec.network_mode.clone().or_else(|| first.map(|n| n.name.clone()));
    let networking_config =
        first.filter(|n| network_mode.as_deref() == Some(n.name.as_str())).map(|network| {
            let endpoints = HashMap::from([(network.name.clone(), endpoint(network))]);
            NetworkingConfig { endpoints_config: Some(endpoints) }
        });
    Ok(ContainerCreateBody {
        image: Some(spec.image.clone()),
        env: Some(spec.env.iter().map(|(name, value)| format!("{name}={value}")).collect()),
        cmd: spec.command.as_ref().map(|w| w.0.clone()),
        entrypoint: spec.entrypoint.as_ref().map(|w| w.0.clone()),
        user: spec.user.clone(),
        hostname: spec.hostname.clone(),
        working_dir: spec.working_dir.clone(),
        exposed_ports: some(exposed),
        labels: Some(marked(&spec.labels, lab)),
        host_config: Some(host_config(spec, network_mode, bindings)),
        networking_config,
        ..ContainerCreateBody::default()
    })
}

fn host_config(spec: &ContainerSpec, network_mode: Option<String>, bindings: PortMap) -> HostConfig {
    let map = |pairs: &std::collections::BTreeMap<String, String>| -> Option<HashMap<String, String>> {
        (!pairs.is_empty()).then(|| pairs.clone().into_iter().collect())
    };
    let log = (spec.log_driver.is_some() || !spec.log_options.is_empty())
        .then(|| HostConfigLogConfig { typ: spec.log_driver.clone(), config: map(&spec.log_options) });
    let tmpfs = spec.tmpfs.iter().map(|entry| {
        let (path, options) = entry.split_once(':').unwrap_or((entry, ""));
        (path.to_owned(), options.to_owned())
    });
    HostConfig {
        binds: some(spec.volumes.clone()),
        tmpfs: (!spec.tmpfs.is_empty()).then(|| tmpfs.collect()),
        port_bindings: (!bindings.is_empty()).then_some(bindings),
        network_mode,
        restart_policy: spec.restart_policy.map(|policy| RestartPolicy {
            name: Some(policy_name(policy)),
            maximum_retry_count: spec.restart_retries,
        }),
        privileged: spec.privileged,
        init: spec.init,
        readonly_rootfs: spec.read_only,
        cap_add: some(spec.capabilities.clone()),
        cap_drop: some(spec.cap_drop.clone()),
        security_opt: some(spec.security_opts.clone()),
        sysctls: map(&spec.sysctls),
        extra_hosts: some(spec.etc_hosts.iter().map(|(name, address)| format!("{name}:{address}")).collect()),
        log_config: log,
        memory: spec.memory,
        shm_size: spec.shm_size,
        ..HostConfig::default()
    }
}

fn some(list: Vec<String>) -> Option<Vec<String>> {
    (!list.is_empty()).then_some(list)
}

fn policy_name(policy: RestartPolicyArg) -> RestartPolicyNameEnum {
    match policy {
        RestartPolicyArg::No => RestartPolicyNameEnum::NO,
        RestartPolicyArg::OnFailure => RestartPolicyNameEnum::ON_FAILURE,
        RestartPolicyArg::Always => RestartPolicyNameEnum::ALWAYS,
        RestartPolicyArg::UnlessStopped => RestartPolicyNameEnum::UNLESS_STOPPED,
    }
}

fn endpoint(network: &NetworkArg) -> EndpointSettings {
    EndpointSettings {
        aliases: some(network.aliases.clone()),
        ipam_config: network.ipv4_address.clone().map(|address| EndpointIpamConfig {
            ipv4_address: Some(address),
            ..EndpointIpamConfig::default()
        }),
        ..EndpointSettings::default()
    }
}

/// The networks that are connected once the container is made.
pub(crate) fn networks_to_connect(spec: &ContainerSpec) -> Vec<(String, EndpointSettings)> {
    let at_creation = match (&spec.network_mode, spec.networks.first()) {
        (None, Some(first)) => Some(&first.name),
        (mode, _) => mode.as_ref(),
    };
    let rest = spec.networks.iter().filter(|n| Some(&n.name) != at_creation);
    rest.map(|n| (n.name.clone(), endpoint(n))).collect()
}

#[cfg(test)]
mod tests {
    use super::super::MARK;
    use super::*;

    #[test]
    fn the_first_network_comes_at_creation_and_the_rest_after() {
        let network = |name: &str| NetworkArg { name: name.into(), aliases: vec![], ipv4_address: None };
        for (mode, networks, created, connected) in [
            (None, vec![], None, vec![]),
            (None, vec!["a", "b"], Some("a"), vec!["b"]),
            (Some("host"), vec![], Some("host"), vec![]),
            (Some("b"), vec!["a", "b"], Some("b"), vec!["a"]),
        ] {
            let spec = ContainerSpec {
                network_mode: mode.map(str::to_owned),
                networks: networks.into_iter().map(network).collect(),
                ..ContainerSpec::default()
            };
            let made = body(&spec, "lab").expect("body");
            assert_eq!(made.host_config.and_then(|h| h.network_mode).as_deref(), created);
            let after: Vec<String> = networks_to_connect(&spec).into_iter().map(|(name, _)| name).collect();
            assert_eq!(after, connected);
        }
    }

    #[test]
    fn everything_made_carries_the_mark() {
        let made = body(&ContainerSpec::default(), "quaylab").expect("body");
        assert_eq!(made.labels, Some(HashMap::from([(MARK.to_owned(), "quaylab".to_owned())])));
    }
}
