use tokio::io::{AsyncRead, AsyncWrite};

/// A connection to a service on or behind a target: a TCP or Unix socket as seen from there.
pub trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> ByteStream for T {}
