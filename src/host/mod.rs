//! What a target is: a connection, a persistent `sh` on it, files, and tunnels to its services.

mod apply;
mod r#become;
mod error;
mod files;
mod known_hosts;
mod launch;
mod local;
mod login;
mod pipe;
mod process;
mod script;
mod session;
mod shell_protocol;
mod spec;
mod ssh;
mod stream;
mod target;
mod transport;
mod tunnel;

pub use error::HostError;
pub use files::{Content, Step};
pub use script::{Reply, Script, quote};
pub use spec::{
    BecomeMethod, BecomeSpec, ConnectionKind, ConnectionSpec, HostKeyCheck, JumpLogin, ProxyJump, Secret,
};
pub use stream::{ByteStream, Endpoint};
pub use target::{Shell, Target};
pub use tunnel::Forward;
