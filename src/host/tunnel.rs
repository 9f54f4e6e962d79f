//! Connections to services as the target sees them.

use tokio::net::{TcpStream, UnixStream};

use super::launch::Launcher;
use super::{ByteStream, Endpoint, HostError};

pub(super) async fn dial(launcher: &Launcher, endpoint: &Endpoint) -> Result<Box<dyn ByteStream>, HostError> {
    let failed = |what: String| move |e: std::io::Error| HostError::Failed { what, reason: e.to_string() };
    match endpoint {
        Endpoint::Tcp { host, port } => TcpStream::connect((host.as_str(), *port))
            .await
            .map(|s| Box::new(s) as _)
            .map_err(failed(format!("connecting to {host}:{port} on {}", launcher.spec.name))),
        Endpoint::Unix { path } => UnixStream::connect(path)
            .await
            .map(|s| Box::new(s) as _)
            .map_err(failed(format!("connecting to {path} on {}", launcher.spec.name))),
        Endpoint::Program { argv } => {
            Err(HostError::Failed { what: argv.join(" "), reason: "not here".to_owned() })
        }
    }
}
