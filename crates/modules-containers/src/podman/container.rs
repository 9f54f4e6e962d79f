use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::twin::{Declared, Twin};
use super::unit::{Unit, with_quadlet};
use super::unit_words::{pair, word};
use crate::RemotePath;
use crate::docker_container::DockerContainer;
use crate::value::{Map, Value};
use crate::words::Words;

with_quadlet! {
    /// A container of podman's. It is made anew when it differs in something that was asked for; with state=quadlet it is a
    /// unit's file, which systemd makes a service of at its next daemon-reload.
    pub(super) struct PodmanContainer {
        name: String,
        image: Option<String>,
        #[serde(default)]
        state: State,
        /// Environment variables. Values of those whose name sounds like a secret are not shown in differences; in a unit they
        /// reach podman's command line, which `env_file` avoids.
        #[serde(default)]
        env: BTreeMap<String, String>,
        /// Files on the target that hold environment variables, for state=quadlet.
        #[serde(default)]
        env_file: Vec<RemotePath>,
        /// `[[IP:]HOST:]CONTAINER[/PROTOCOL]`.
        #[serde(default, alias = "ports", alias = "published", alias = "published_ports")]
        publish: Vec<String>,
        /// `SOURCE:TARGET[:OPTIONS]`, the source a path or a volume's name.
        #[serde(default, alias = "volumes")]
        volume: Vec<String>,
        /// Paths and their options.
        #[serde(default)]
        tmpfs: BTreeMap<String, String>,
        /// Networks by name (`NAME[:ip=ADDRESS,alias=NAME]`), or one of host, none, bridge and container:NAME.
        #[serde(default, alias = "net", alias = "network_mode")]
        network: Vec<String>,
        #[serde(default, alias = "network_alias")]
        network_aliases: Vec<String>,
        /// no, always, unless-stopped or on-failure[:RETRIES]. A unit's service is systemd's to restart.
        restart_policy: Option<String>,
        command: Option<Words>,
        entrypoint: Option<Words>,
        user: Option<String>,
        hostname: Option<String>,
        #[serde(alias = "working_dir")]
        workdir: Option<String>,
        privileged: Option<bool>,
        init: Option<bool>,
        read_only: Option<bool>,
        #[serde(default, alias = "capabilities")]
        cap_add: Vec<String>,
        #[serde(default)]
        cap_drop: Vec<String>,
        #[serde(default)]
        security_opt: Vec<String>,
        #[serde(default)]
        sysctl: BTreeMap<String, String>,
        /// Names and their addresses for the container's `/etc/hosts`.
        #[serde(default, alias = "add_hosts")]
        etc_hosts: BTreeMap<String, String>,
        log_driver: Option<String>,
        #[serde(default, alias = "log_options")]
        log_opt: BTreeMap<String, String>,
        /// The most memory it may have, such as `512m`.
        memory: Option<String>,
        shm_size: Option<String>,
        #[serde(default, alias = "labels")]
        label: BTreeMap<String, String>,
        /// Stop and start it although nothing differs.
        #[serde(default, alias = "restart")]
        force_restart: bool,
        /// Make it anew although nothing differs.
        #[serde(default)]
        recreate: bool,
        /// Pull the image: missing, always or never.
        pull: Option<Value>,
        /// Seconds before a stopping container is killed.
        stop_timeout: Option<i32>,
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum State {
    Absent,
    #[serde(alias = "created")]
    Present,
    Stopped,
    #[default]
    Started,
    Quadlet,
}

/// What is no network's name but a way to have none of its own.
fn is_mode(network: &str) -> bool {
    let word = network.split(':').next().unwrap_or_default();
    ["host", "none", "bridge", "container", "ns", "private", "slirp4netns", "pasta"].contains(&word)
}

impl PodmanContainer {
    /// `on-failure:3` as a policy and its retries.
    fn policy(&self) -> Result<Option<(String, Option<i64>)>, String> {
        let Some(text) = self.restart_policy.as_deref() else { return Ok(None) };
        let (policy, retries) = text.split_once(':').map_or((text, None), |(p, r)| (p, Some(r)));
        let retries = retries.map(str::parse).transpose();
        match (policy, retries) {
            ("no" | "always" | "unless-stopped" | "on-failure", Ok(retries)) => {
                Ok(Some((policy.to_owned(), retries)))
            }
            _ => Err(format!(
                "restart_policy is no, always, unless-stopped or on-failure[:RETRIES], not {text:?}"
            )),
        }
    }

    /// The same in the words of `docker_container`.
    fn engine(self) -> Result<Declared, String> {
        if !self.env_file.is_empty() {
            return Err("env_file goes with state=quadlet; elsewhere env holds the variables".into());
        }
        let (policy, retries) = self.policy()?.unzip();
        let mode = self.network.first().filter(|n| self.network.len() == 1 && is_mode(n));
        let networks: Vec<Value> = match mode {
            Some(_) => Vec::new(),
            None => self.network.iter().map(|n| network(n, &self.network_aliases)).collect(),
        };
        let tmpfs = self.tmpfs.iter().map(|(path, options)| mounted(path, options));
        let state = match self.state {
            State::Absent => "absent",
            State::Present => "present",
            State::Stopped => "stopped",
            State::Started | State::Quadlet => "started",
        };
        let log_options = self.log_opt.iter().map(|(name, value)| (name.replace('_', "-"), json!(value)));
        let args = json!({
            "name": self.name, "image": self.image, "state": state, "env": self.env,
            "published_ports": self.publish, "volumes": self.volume, "tmpfs": tmpfs.collect::<Vec<_>>(),
            "networks": networks, "network_mode": mode, "restart_policy": policy,
            "restart_retries": retries.flatten(), "command": self.command, "entrypoint": self.entrypoint,
            "user": self.user, "hostname": self.hostname, "working_dir": self.workdir,
            "privileged": self.privileged, "init": self.init, "read_only": self.read_only,
            "capabilities": self.cap_add, "cap_drop": self.cap_drop, "security_opts": self.security_opt,
            "sysctls": self.sysctl, "etc_hosts": self.etc_hosts, "log_driver": self.log_driver,
            "log_options": log_options.collect::<Map>(), "memory": self.memory, "shm_size": self.shm_size,
            "labels": self.label, "restart": self.force_restart, "recreate": self.recreate,
            "pull": self.pull, "stop_timeout": self.stop_timeout,
        });
        Declared::engine(args, self.podman_host)
    }

    /// The same as a unit. Keys that podman 4.4 does not know yet are said as options of its command.
    fn unit(self) -> Result<Declared, String> {
        let policy = self.policy()?;
        let place = self.place(&self.name);
        let Some(image) = self.image else { return Err("state=quadlet needs image".into()) };
        let mut unit = Unit::new(place, "Container", "container")?;
        unit.add("ContainerName", self.name);
        unit.add("Image", image);
        unit.add_all("Network", self.network);
        unit.add_all("PublishPort", self.publish);
        unit.add_all("Volume", self.volume);
        unit.add_all("EnvironmentFile", self.env_file.iter().map(ToString::to_string));
        unit.add_all("Environment", self.env.iter().map(|(name, value)| pair(name, value)));
        if let Some(user) = self.user {
            let (user, group) = user.split_once(':').map_or((user.as_str(), None), |(u, g)| (u, Some(g)));
            unit.add("User", user);
            unit.add_all("Group", group.map(str::to_owned));
        }
        for (key, value) in [("ReadOnly", self.read_only), ("RunInit", self.init)] {
            unit.add_all(key, value.map(|v| v.to_string()));
        }
        unit.add_all("AddCapability", self.cap_add);
        unit.add_all("DropCapability", self.cap_drop);
        unit.add_all("Label", self.label.iter().map(|(name, value)| pair(name, value)));
        let joined = |words: &Words| words.0.iter().map(|w| word(w)).collect::<Vec<_>>().join(" ");
        unit.add_all("Exec", self.command.as_ref().map(joined));
        let map = |name: &'static str, separator: char, pairs: BTreeMap<String, String>| {
            pairs.into_iter().map(move |(k, v)| (name, format!("{k}{separator}{v}"))).collect::<Vec<_>>()
        };
        let log_options = self.log_opt.into_iter().map(|(k, v)| (k.replace('_', "-"), v)).collect();
        let entrypoint = self.entrypoint.map(|w| match w.0.as_slice() {
            [one] => one.clone(),
            words => json!(words).to_string(),
        });
        let tmpfs = self.tmpfs.iter().map(|(path, options)| ("tmpfs", mounted(path, options)));
        let single = [
            ("entrypoint", entrypoint),
            ("hostname", self.hostname),
            ("workdir", self.workdir),
            ("log-driver", self.log_driver),
            ("memory", self.memory),
            ("shm-size", self.shm_size),
            ("stop-timeout", self.stop_timeout.map(|s| s.to_string())),
            ("privileged", self.privileged.map(|p| p.to_string())),
        ];
        let options = (single.into_iter().filter_map(|(name, value)| Some((name, value?))))
            .chain(self.network_aliases.into_iter().map(|a| ("network-alias", a)))
            .chain(self.security_opt.into_iter().map(|o| ("security-opt", o)))
            .chain(map("sysctl", '=', self.sysctl))
            .chain(map("add-host", ':', self.etc_hosts))
            .chain(map("log-opt", '=', log_options))
            .chain(tmpfs);
        unit.add_all("PodmanArgs", options.map(|(name, value)| pair(&format!("--{name}"), &value)));
        if let Some((policy, retries)) = policy {
            unit.serve("Restart", if policy == "unless-stopped" { "always".to_owned() } else { policy });
            if let Some(retries) = retries {
                unit.serve("StartLimitBurst", retries.to_string());
            }
        }
        Ok(Declared::Unit(unit))
    }
}

fn mounted(path: &str, options: &str) -> String {
    if options.is_empty() { path.to_owned() } else { format!("{path}:{options}") }
}

/// `NAME:ip=ADDRESS,alias=NAME` in the words of `docker_container`.
fn network(text: &str, aliases: &[String]) -> Value {
    let (name, options) = text.split_once(':').unwrap_or((text, ""));
    let options: Vec<(&str, &str)> = options.split(',').filter_map(|o| o.split_once('=')).collect();
    let own = options.iter().filter(|(key, _)| *key == "alias").map(|(_, alias)| *alias);
    let aliases: Vec<&str> = own.chain(aliases.iter().map(String::as_str)).collect();
    let address = options.iter().find(|(key, _)| *key == "ip").map(|(_, address)| *address);
    json!({"name": name, "aliases": aliases, "ipv4_address": address})
}

impl Twin for PodmanContainer {
    const NAME: &'static str = "podman_container";
    const FQCN: &'static [&'static str] = &["containers.podman.podman_container"];
    type Docker = DockerContainer;

    fn declare(self) -> Result<Declared, String> {
        if self.state == State::Quadlet { self.unit() } else { self.engine() }
    }
}

#[cfg(test)]
mod tests {
    use super::super::twin::Podman;
    use super::*;
    use crate::{Resource, from_args};

    fn declared(args: Value) -> Result<Declared, String> {
        let Value::Object(args) = args else { panic!("an object") };
        from_args::<PodmanContainer>(args).map_err(|e| e.to_string())?.declare()
    }

    fn unit(args: Value) -> String {
        match declared(args).expect("a unit") {
            Declared::Unit(unit) => unit.text(),
            Declared::Engine(..) => panic!("a unit"),
        }
    }

    #[test]
    fn arguments_are_said_in_dockers_words() {
        for (args, expected) in [
            (json!({"publish": "80:8080"}), json!({"published_ports": ["80:8080"]})),
            (json!({"ports": ["80:8080"]}), json!({"published_ports": ["80:8080"]})),
            (json!({"volume": "/a:/b:Z"}), json!({"volumes": ["/a:/b:Z"]})),
            (json!({"network": "host"}), json!({"network_mode": "host", "networks": []})),
            (
                json!({"network": "lab:ip=10.1.0.5", "network_aliases": "db"}),
                json!({"networks": [{"name": "lab", "aliases": ["db"], "ipv4_address": "10.1.0.5"}]}),
            ),
            (json!({"restart_policy": "always"}), json!({"restart_policy": "always"})),
            (
                json!({"restart_policy": "on-failure:3"}),
                json!({"restart_policy": "on-failure", "restart_retries": 3}),
            ),
            (json!({"tmpfs": {"/x": "size=1m", "/y": ""}}), json!({"tmpfs": ["/x:size=1m", "/y"]})),
            (json!({"log_opt": {"max_size": "10m"}}), json!({"log_options": {"max-size": "10m"}})),
            (json!({"cap_add": "NET_ADMIN"}), json!({"capabilities": ["NET_ADMIN"]})),
            (json!({"state": "created"}), json!({"state": "present"})),
            (json!({"force_restart": "yes"}), json!({"restart": true})),
        ] {
            let mut given = args.clone();
            given["name"] = json!("c");
            given["image"] = json!("i");
            let Ok(Declared::Engine(said, None)) = declared(given.clone()) else { panic!("{args}") };
            for (name, value) in expected.as_object().expect("a mapping") {
                assert_eq!(said.get(name), Some(value), "{args}");
            }
            let Value::Object(given) = given else { panic!("an object") };
            let module: Podman<PodmanContainer> = from_args(given).expect("arguments that Docker's take");
            module.validate().expect("valid");
        }
    }

    #[test]
    fn a_container_is_a_unit() {
        insta::assert_snapshot!(unit(json!({
            "name": "quay", "image": "quay.io/projectquay/quay:v3.18.0", "state": "quadlet",
            "network": "quaylab", "publish": ["80:8080", "443:8443"],
            "volume": ["/etc/quay/config:/quay-registry/conf/stack:Z"],
            "env_file": "/etc/quaylab/quay.env", "env": {"A": "b c", "P": "50% $HOME"},
            "user": "1001:0", "command": ["serve", "a b"], "entrypoint": ["/bin/x"], "read_only": true,
            "sysctl": {"net.core.somaxconn": 4096}, "etc_hosts": {"quay.lan": "10.0.0.5"},
            "memory": "512m", "log_opt": {"max_size": "10m"}, "tmpfs": {"/x": "size=1m"},
            "restart_policy": "on-failure:3",
            "quadlet_options": ["[Install]\nWantedBy=multi-user.target"]
        })), @r#"
        # Written by quaylab.
        [Container]
        ContainerName=quay
        Image=quay.io/projectquay/quay:v3.18.0
        Network=quaylab
        PublishPort=80:8080
        PublishPort=443:8443
        Volume=/etc/quay/config:/quay-registry/conf/stack:Z
        EnvironmentFile=/etc/quaylab/quay.env
        Environment="A=b c"
        Environment="P=50%% $$HOME"
        User=1001
        Group=0
        ReadOnly=true
        Exec=serve "a b"
        PodmanArgs=--entrypoint=/bin/x
        PodmanArgs=--memory=512m
        PodmanArgs=--sysctl=net.core.somaxconn=4096
        PodmanArgs=--add-host=quay.lan:10.0.0.5
        PodmanArgs=--log-opt=max-size=10m
        PodmanArgs=--tmpfs=/x:size=1m
        [Install]
        WantedBy=multi-user.target

        [Service]
        Restart=on-failure
        StartLimitBurst=3
        "#);
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for (args, message) in [
            (json!({"name": "c", "state": "quadlet"}), "state=quadlet needs image"),
            (json!({"name": "c", "image": "i", "env_file": "/a"}), "env_file goes with state=quadlet"),
            (json!({"name": "c", "image": "i", "restart_policy": "often"}), "restart_policy is no, always"),
            (
                json!({"name": "c", "image": "i", "state": "quadlet", "quadlet_dir": "units"}),
                "quadlet_dir: \"units\" is not an absolute path",
            ),
        ] {
            let Err(error) = declared(args.clone()) else { panic!("{args}") };
            assert!(error.starts_with(message), "{args}: {error}");
        }
    }
}
