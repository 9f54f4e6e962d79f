use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;

use crate::host::ByteStream;

/// A request's body, whatever it comes from.
pub type Body = UnsyncBoxBody<Bytes, std::io::Error>;

/// A body that is already known.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// One HTTP/1.1 connection over a stream that somebody dialled.
pub struct Wire(SendRequest<Body>);

impl Wire {
    pub async fn open(stream: Box<dyn ByteStream>) -> Result<Self, hyper::Error> {
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        // It ends when the sender is dropped; its errors reach the sender.
        tokio::spawn(connection);
        Ok(Self(sender))
    }

    /// Whether another request may be sent: the last answer was read to its end and the connection stands.
    pub fn is_idle(&self) -> bool {
        self.0.is_ready()
    }

    /// Sends a request whose URI is in origin form and which has a Host header.
    pub async fn send(&mut self, request: Request<Body>) -> Result<Response<Incoming>, hyper::Error> {
        self.0.ready().await?;
        self.0.send_request(request).await
    }

    /// Sends a request over a connection that has waited for a while; gives it back where the connection turns out
    /// to be gone.
    pub async fn send_again(
        &mut self,
        request: Request<Body>,
    ) -> Result<Result<Response<Incoming>, hyper::Error>, Request<Body>> {
        match self.0.try_send_request(request).await {
            Ok(response) => Ok(Ok(response)),
            Err(mut refused) => match refused.take_message() {
                Some(request) => Err(request),
                None => Ok(Err(refused.into_error())),
            },
        }
    }
}
