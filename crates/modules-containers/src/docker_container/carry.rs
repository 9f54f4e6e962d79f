use bollard::models::NetworkConnectRequest;
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, RemoveContainerOptionsBuilder, RestartContainerOptionsBuilder,
    StartContainerOptions, StopContainerOptionsBuilder,
};

use super::{DockerContainer, Step};
use crate::container::{body, networks_to_connect};
use crate::{ModuleError, TaskContext};
use crate::{engine, image};

impl DockerContainer {
    /// Does one step.
    pub(super) async fn carry_out(&self, step: Step, cx: &TaskContext) -> Result<(), ModuleError> {
        let docker = engine::connect(cx, self.docker_host.as_deref()).await?;
        let name = self.name.as_str();
        let failed = |what: &str, e: &bollard::errors::Error| {
            let error = engine::failure(&format!("{what} the container {name}"), e);
            match hint(&engine::reason(e)) {
                Some(hint) => error.hint(hint),
                None => error,
            }
        };
        match step {
            Step::Pull => {
                let image = self.image().unwrap_or_default();
                image::pull(cx, &docker, &image, None, None).await
            }
            Step::Stop => {
                let mut options = StopContainerOptionsBuilder::new();
                if let Some(seconds) = self.stop_timeout {
                    options = options.t(seconds);
                }
                docker.stop_container(name, Some(options.build())).await.map_err(|e| failed("stopping", &e))
            }
            Step::Remove => {
                let options = RemoveContainerOptionsBuilder::new().v(!self.keep_volumes).force(true).build();
                docker.remove_container(name, Some(options)).await.map_err(|e| failed("removing", &e))
            }
            Step::Create => {
                let spec = self.spec();
                let made = body(&spec, &self.lab).map_err(ModuleError::Arguments)?;
                let options = CreateContainerOptionsBuilder::new().name(name).build();
                docker.create_container(Some(options), made).await.map_err(|e| failed("creating", &e))?;
                for (network, endpoint) in networks_to_connect(&spec) {
                    let request = NetworkConnectRequest {
                        container: self.name.clone(),
                        endpoint_config: Some(endpoint),
                    };
                    docker
                        .connect_network(&network, request)
                        .await
                        .map_err(|e| failed(&format!("connecting to the network {network}"), &e))?;
                }
                Ok(())
            }
            Step::Start => docker
                .start_container(name, None::<StartContainerOptions>)
                .await
                .map_err(|e| failed("starting", &e)),
            Step::Restart => {
                let mut options = RestartContainerOptionsBuilder::new();
                if let Some(seconds) = self.stop_timeout {
                    options = options.t(seconds);
                }
                docker
                    .restart_container(name, Some(options.build()))
                    .await
                    .map_err(|e| failed("restarting", &e))
            }
        }
    }
}

/// What to try when the engine refuses with this text.
pub(crate) fn hint(text: &str) -> Option<&'static str> {
    let lower = text.to_lowercase();
    [
        ("port is already allocated", "another container publishes that port; see docker ps"),
        ("address already in use", "another program on the target listens on that port; see ss -ltnp"),
        ("no such image", "load or pull the image first (docker_image)"),
        ("mount path must be absolute", "a volume's target must be an absolute path"),
        ("network", "make the network first (docker_network)"),
    ]
    .into_iter()
    .find(|(part, _)| lower.contains(part) && (*part != "network" || lower.contains("not found")))
    .map(|(_, hint)| hint)
}
