use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::header::{HOST, HeaderValue};
use hyper::{Request, Response, Uri};
use thiserror::Error;
use tokio::net::TcpStream;

use super::tls::{self, Trust};
use super::wire::{Wire, full};
use crate::ByteStream;

/// Why a request got no answer.
#[derive(Debug, Clone, Error)]
#[error("{0}")]
pub struct HttpError(pub String);

/// Something that carries HTTP requests to where they go.
#[async_trait]
pub trait Http: Send + Sync {
    async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError>;
}

#[async_trait]
impl<H: Http + ?Sized> Http for &H {
    async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        (**self).send(request).await
    }
}

/// Something that opens connections, from wherever it stands.
#[async_trait]
pub trait Dial: Send + Sync {
    async fn dial(&self, host: &str, port: u16) -> Result<Box<dyn ByteStream>, HttpError>;
}

#[async_trait]
impl<D: Dial + ?Sized> Dial for &D {
    async fn dial(&self, host: &str, port: u16) -> Result<Box<dyn ByteStream>, HttpError> {
        (**self).dial(host, port).await
    }
}

/// Connections from this machine itself.
#[derive(Debug, Clone, Copy)]
pub struct Direct;

#[async_trait]
impl Dial for Direct {
    async fn dial(&self, host: &str, port: u16) -> Result<Box<dyn ByteStream>, HttpError> {
        TcpStream::connect((host, port)).await.map(|s| Box::new(s) as _).map_err(|e| HttpError(e.to_string()))
    }
}

/// A client that opens a connection for each request.
pub struct Client<D> {
    pub dial: D,
    /// For connecting and the whole answer.
    pub timeout: Duration,
    pub trust: Trust,
    /// The most bytes of an answer that are read into memory.
    pub limit: usize,
}

/// The host and port that a URL names, and whether TLS is spoken there.
pub fn authority(uri: &Uri) -> Result<(String, u16, bool), HttpError> {
    let tls = match uri.scheme_str() {
        Some("http") => false,
        Some("https") => true,
        _ => return Err(HttpError(format!("{uri} is not an http or https URL"))),
    };
    let host = uri.host().ok_or_else(|| HttpError(format!("{uri} names no host")))?;
    let port = uri.port_u16().unwrap_or(if tls { 443 } else { 80 });
    Ok((host.trim_matches(['[', ']']).to_owned(), port, tls))
}

impl<D: Dial> Client<D> {
    async fn open(&self, uri: &Uri) -> Result<Wire, HttpError> {
        let (host, port, secure) = authority(uri)?;
        let stream = self.dial.dial(&host, port).await?;
        let stream = if secure {
            let wrapped = tls::wrap(stream, &host, &self.trust).await;
            Box::new(wrapped.map_err(|e| HttpError(format!("TLS with {host}:{port}: {e}")))?)
        } else {
            stream
        };
        Wire::open(stream).await.map_err(|e| HttpError(e.to_string()))
    }

    async fn exchange(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (mut parts, body) = request.into_parts();
        let mut wire = self.open(&parts.uri).await?;
        if !parts.headers.contains_key(HOST) {
            let host = parts.uri.authority().map_or("localhost", |a| a.as_str());
            let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
            parts.headers.insert(HOST, HeaderValue::from_str(host).map_err(|e| HttpError(e.to_string()))?);
        }
        let path = parts.uri.path_and_query().map_or("/", |p| p.as_str());
        parts.uri = path.parse().map_err(|e| HttpError(format!("{path}: {e}")))?;
        let response =
            wire.send(Request::from_parts(parts, full(body))).await.map_err(|e| HttpError(chain(&e)))?;
        let (parts, body) = response.into_parts();
        let limited = http_body_util::Limited::new(body, self.limit);
        let bytes = limited.collect().await.map_err(|e| {
            HttpError(if e.is::<http_body_util::LengthLimitError>() {
                too_long(self.limit)
            } else {
                format!("the answer broke off: {e}")
            })
        })?;
        Ok(Response::from_parts(parts, bytes.to_bytes()))
    }
}

/// What is said of an answer that is longer than it may be.
pub(super) fn too_long(limit: usize) -> String {
    format!(
        "the answer is longer than {limit} bytes; where so much is meant, raise `max_http_size` (QUAYLAB_MAX_HTTP_SIZE)"
    )
}

/// Whether both URLs are of one server: what was meant for one may be sent to the other.
pub fn same_origin(a: &Uri, b: &Uri) -> bool {
    match (authority(a), authority(b)) {
        (Ok(a), Ok(b)) => a.0.eq_ignore_ascii_case(&b.0) && (a.1, a.2) == (b.1, b.2),
        _ => false,
    }
}

/// The body of an answer, as far as so much is read into memory.
pub async fn limited_body(mut answer: reqwest::Response, limit: usize) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    while let Some(part) = answer.chunk().await.map_err(|e| chain(&e))? {
        if body.len() + part.len() > limit {
            return Err(too_long(limit));
        }
        body.extend_from_slice(&part);
    }
    Ok(body)
}

/// An error with its causes.
pub fn chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", chain(source)),
        None => error.to_string(),
    }
}

#[async_trait]
impl<D: Dial> Http for Client<D> {
    async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let seconds = self.timeout.as_secs();
        match tokio::time::timeout(self.timeout, self.exchange(request)).await {
            Ok(answer) => answer,
            Err(_) => Err(HttpError(format!("no answer within {seconds} s"))),
        }
    }
}
