//! The container engines that speak Docker's API, and what people call their parts.

/// An engine. Podman answers at a socket of its own, in Docker's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EngineKind {
    Docker,
    Podman,
}

impl EngineKind {
    /// Which engine listens at an address.
    pub fn of(host: &str) -> Self {
        if host.ends_with("podman.sock") { Self::Podman } else { Self::Docker }
    }

    /// The socket of the whole machine's engine.
    pub fn socket(self) -> &'static str {
        match self {
            Self::Docker => "/var/run/docker.sock",
            Self::Podman => "/run/podman/podman.sock",
        }
    }

    /// That socket as an address.
    pub fn host(self) -> String {
        format!("unix://{}", self.socket())
    }

    /// Its client, which people use on the target.
    pub fn program(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Podman => "podman",
        }
    }

    /// What systemd calls it.
    pub fn unit(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Podman => "podman.socket",
        }
    }

    /// Its client as the way to its API, over standard input and output.
    pub fn dial(self, host: &str) -> Vec<String> {
        let flag = match self {
            Self::Docker => "-H",
            Self::Podman => "--url",
        };
        [self.program(), flag, host, "system", "dial-stdio"].map(str::to_owned).to_vec()
    }

    /// Where it looks for the authority of a registry.
    pub fn authority_of(self, registry: &str) -> String {
        match self {
            Self::Docker => format!("/etc/docker/certs.d/{registry}/ca.crt"),
            Self::Podman => format!("/etc/containers/certs.d/{registry}/ca.crt"),
        }
    }

    /// The variable of its role that names registries without TLS.
    pub fn insecure_registries(self) -> &'static str {
        match self {
            Self::Docker => "docker_insecure_registries",
            Self::Podman => "podman_insecure_registries",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_is_known_by_its_address() {
        for (host, kind) in [
            ("unix:///var/run/docker.sock", EngineKind::Docker),
            ("tcp://127.0.0.1:2375", EngineKind::Docker),
            ("unix:///run/podman/podman.sock", EngineKind::Podman),
            ("unix:///run/user/1000/podman/podman.sock", EngineKind::Podman),
        ] {
            assert_eq!(EngineKind::of(host), kind, "{host}");
        }
        assert_eq!(
            EngineKind::Podman.dial(&EngineKind::Podman.host()),
            ["podman", "--url", "unix:///run/podman/podman.sock", "system", "dial-stdio"]
        );
    }
}
