//! What a target is: a connection, a persistent `sh` on it, files, and tunnels to its services.

use quaylab_base::store;

mod ahead;
mod apply;
mod r#become;
mod error;
mod files;
mod known_hosts;
mod launch;
mod limits;
mod local;
mod login;
mod look;
mod merge;
mod pipe;
mod process;
mod reach;
mod remark;
mod script;
mod session;
mod shell_protocol;
mod shown;
mod spec;
mod spot;
mod ssh;
mod ssh_arguments;
mod ssh_config;
mod ssh_options;
mod stream;
mod target;
mod transport;
mod tunnel;
mod watched;
mod world;
mod write_file;

pub use error::{Explained, Explanation, HostError};
pub use files::{Content, Digest, Link, Step, Times};
pub use look::{Look, Place, STAT_FORMAT};
pub use quaylab_base::limits::Limits;
pub use quaylab_http::ByteStream;
pub use reach::{TREE, at, make_directory, sheltered};
pub use remark::Remark;
pub use script::{REAL, arrived, contents};
pub use script::{Reply, Script, quote};
pub use shell_protocol::{Frame, FrameReader};
pub use spec::{
    BecomeMethod, BecomeSpec, ConnectionKind, ConnectionSpec, HostKeyCheck, JumpLogin, KnownHosts, ProxyJump,
    Secret,
};
pub use ssh_arguments::{SshArgumentError, SshArguments, SshOptions};
pub use ssh_config::SshConfig;
pub use stream::Endpoint;
pub use target::{Shell, Target, Traffic};
pub use tunnel::Forward;
pub use tunnel::carry;
pub use world::{Change, World};
