//! What a target is: a connection, a persistent `sh` on it, files, and tunnels to its services.

mod ahead;
mod apply;
mod r#become;
mod error;
mod files;
mod known_hosts;
mod launch;
mod local;
mod login;
mod look;
mod merge;
mod pipe;
mod process;
mod remark;
mod script;
mod session;
mod shell_protocol;
mod spec;
mod spot;
mod ssh;
mod stream;
mod target;
mod transport;
mod tunnel;
mod watched;
mod world;

pub use error::HostError;
pub use files::{Content, Step};
pub use look::{Look, Place, STAT_FORMAT};
pub use remark::Remark;
pub(crate) use script::REAL;
pub use script::{Reply, Script, quote};
pub use spec::{
    BecomeMethod, BecomeSpec, ConnectionKind, ConnectionSpec, HostKeyCheck, JumpLogin, KnownHosts, ProxyJump,
    Secret,
};
pub use stream::{ByteStream, Endpoint};
pub use target::{Shell, Target, Traffic};
pub use tunnel::Forward;
pub(crate) use tunnel::carry;
pub use world::{Change, World};
