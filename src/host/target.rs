use std::sync::Arc;

use super::{BecomeSpec, ByteStream, ConnectionSpec, Endpoint, HostError, Reply, Script, Step};

/// A host that can be asked and changed: one connection, one persistent shell a user.
///
/// Cheap to clone; all clones share the connection, which is opened by the first that needs it.
#[derive(Debug, Clone)]
pub struct Target {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    spec: ConnectionSpec,
}

/// A target as one user: every request runs as that user.
#[derive(Debug, Clone)]
pub struct Shell {
    target: Target,
    r#become: Option<BecomeSpec>,
}

impl Target {
    /// Describes a target; nothing is connected yet.
    pub fn new(spec: ConnectionSpec) -> Self {
        Self { inner: Arc::new(Inner { spec }) }
    }

    pub fn spec(&self) -> &ConnectionSpec {
        &self.inner.spec
    }

    /// Connects and logs in, unless that has happened.
    pub async fn connect(&self) -> Result<(), HostError> {
        todo!()
    }

    /// The target as the login user (`None`) or as another.
    pub fn shell(&self, r#become: Option<&BecomeSpec>) -> Shell {
        Shell { target: self.clone(), r#become: r#become.cloned() }
    }

    /// Closes the shells and the connection; a later use opens them again.
    pub async fn close(&self) {
        todo!()
    }
}

impl Shell {
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Runs a script in the persistent shell.
    pub async fn run(&self, script: &Script) -> Result<Reply, HostError> {
        let _ = script;
        todo!()
    }

    /// Runs a script with a stream as its standard input, in a channel of its own: for what is too large for the shell.
    pub async fn pipe(
        &self,
        script: &Script,
        input: &mut (dyn tokio::io::AsyncRead + Send + Unpin),
    ) -> Result<Reply, HostError> {
        let _ = (script, input);
        todo!()
    }

    /// Carries out one step.
    pub async fn apply(&self, step: &Step) -> Result<Reply, HostError> {
        let _ = step;
        todo!()
    }

    /// Reads a whole file.
    pub async fn read_file(&self, path: &str) -> Result<Vec<u8>, HostError> {
        let _ = path;
        todo!()
    }

    /// Opens a connection to a service as the target sees it.
    ///
    /// A Unix socket that only the become user may open is reached through a program on the target, so `Endpoint::Unix` works as that user too
    /// where `socat` or `nc -U` is there.
    pub async fn dial(&self, endpoint: &Endpoint) -> Result<Box<dyn ByteStream>, HostError> {
        let _ = (endpoint, &self.r#become);
        todo!()
    }
}
