use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::client::too_long;
use crate::ByteStream;

/// A request's body, whatever it comes from.
pub type Body = UnsyncBoxBody<Bytes, std::io::Error>;

/// A body that is already known.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// One HTTP/1.1 connection over a stream that somebody dialled.
pub struct Wire {
    sender: SendRequest<Body>,
    /// How many bytes of the next answer are taken, where that is limited, and how many still are of this one.
    allowance: Option<(usize, Arc<AtomicUsize>)>,
}

impl Wire {
    pub async fn open(stream: Box<dyn ByteStream>) -> Result<Self, hyper::Error> {
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        // It ends when the sender is dropped; its errors reach the sender.
        tokio::spawn(connection);
        Ok(Self { sender, allowance: None })
    }

    /// The same; an answer of more bytes than this, headers included, breaks off with an error that says so.
    pub async fn open_limited(stream: Box<dyn ByteStream>, limit: usize) -> Result<Self, hyper::Error> {
        let left = Arc::new(AtomicUsize::new(limit));
        let stream = Allowed { inner: stream, limit, left: Arc::clone(&left) };
        Ok(Self { allowance: Some((limit, left)), ..Self::open(Box::new(stream)).await? })
    }

    fn begin(&self) {
        if let Some((limit, left)) = &self.allowance {
            left.store(*limit, Ordering::Relaxed);
        }
    }

    /// Whether another request may be sent: the last answer was read to its end and the connection stands.
    pub fn is_idle(&self) -> bool {
        self.sender.is_ready()
    }

    /// Sends a request whose URI is in origin form and which has a Host header.
    pub async fn send(&mut self, request: Request<Body>) -> Result<Response<Incoming>, hyper::Error> {
        self.sender.ready().await?;
        self.begin();
        self.sender.send_request(request).await
    }

    /// Sends a request over a connection that has waited for a while; gives it back where the connection turns out
    /// to be gone.
    pub async fn send_again(
        &mut self,
        request: Request<Body>,
    ) -> Result<Result<Response<Incoming>, hyper::Error>, Request<Body>> {
        self.begin();
        match self.sender.try_send_request(request).await {
            Ok(response) => Ok(Ok(response)),
            Err(mut refused) => match refused.take_message() {
                Some(request) => Err(request),
                None => Ok(Err(refused.into_error())),
            },
        }
    }
}

/// A stream of which only so much is read.
struct Allowed {
    inner: Box<dyn ByteStream>,
    limit: usize,
    left: Arc<AtomicUsize>,
}

impl AsyncRead for Allowed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, into))?;
        let read = into.filled().len() - before;
        let left = self.left.load(Ordering::Relaxed);
        if read > left {
            return Poll::Ready(Err(io::Error::other(too_long(self.limit))));
        }
        self.left.store(left - read, Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Allowed {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn each_answer_is_read_up_to_the_limit() {
        let (near, mut far) = tokio::io::duplex(64 << 10);
        tokio::spawn(async move {
            for length in [3000, 3000, 5000] {
                let mut asked = [0; 1024];
                let _ = far.read(&mut asked).await;
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
                let _ = far.write_all(&[head.as_bytes(), &vec![b'x'; length]].concat()).await;
            }
        });
        let mut wire = Wire::open_limited(Box::new(near), 4096).await.expect("a connection");
        for fits in [true, true, false] {
            let request = Request::get("/").header("Host", "h").body(full("")).expect("a request");
            let answer = wire.send(request).await;
            let body = match answer {
                Ok(answer) => answer.into_body().collect().await.map(drop),
                Err(error) => Err(error),
            };
            assert_eq!(body.is_ok(), fits);
            if let Err(error) = body {
                assert!(format!("{error:?}").contains("max_http_size"), "{error:?}");
            }
        }
    }
}
