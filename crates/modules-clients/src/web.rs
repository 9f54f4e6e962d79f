use std::time::Duration;

use async_trait::async_trait;

use crate::host::{ByteStream, Endpoint, Shell};
use crate::http::{Client, Dial, HttpError, Trust, certificates};
use crate::{ModuleError, TaskContext};

/// HTTP from the target's view: each request goes through a connection that the target opens.
pub type Web = Client<FromTarget>;

/// Which certificates are believed: those of an argument (PEM), the system's, or any where none is judged.
pub fn trust(verify: bool, ca_cert: Option<&str>) -> Result<Trust, ModuleError> {
    match ca_cert.filter(|pem| !pem.is_empty()) {
        _ if !verify => Ok(Trust::Anything),
        None => Ok(Trust::System),
        Some(pem) => {
            let list = certificates(pem).map_err(|e| ModuleError::Arguments(format!("ca_cert: {e}")))?;
            Ok(Trust::Authorities(list))
        }
    }
}

/// A client that waits this many seconds, and believes only certificates that the controller's system believes.
pub fn web(cx: &TaskContext, seconds: u64, verify: bool) -> Web {
    Client {
        dial: FromTarget { shell: cx.shell.clone(), unix_socket: None },
        timeout: Duration::from_secs(seconds),
        trust: if verify { Trust::System } else { Trust::Anything },
        limit: cx.shell.target().spec().limits.http,
    }
}

/// Connections that the target opens.
pub struct FromTarget {
    pub shell: Shell,
    /// A Unix socket on the target instead of the host that is asked for.
    pub unix_socket: Option<String>,
}

#[async_trait]
impl Dial for FromTarget {
    async fn dial(&self, host: &str, port: u16) -> Result<Box<dyn ByteStream>, HttpError> {
        let endpoint = match &self.unix_socket {
            Some(path) => Endpoint::Unix { path: path.clone() },
            None => Endpoint::Tcp { host: host.to_owned(), port },
        };
        self.shell.dial(&endpoint).await.map_err(|e| HttpError(e.to_string()))
    }
}
