use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::header::{HOST, HeaderValue};
use hyper::{Request, Response, Uri};

use super::tls;
use super::wire::{Wire, full};
use crate::host::{Endpoint, Shell};
use crate::quay::{Http, HttpError};

/// The most of an answer that is read.
const MOST_BYTES: usize = 64 << 20;

/// HTTP from the target's view: each request goes through a connection that the target opens.
pub(super) struct Web {
    pub(super) shell: Shell,
    pub(super) timeout: Duration,
    /// Believe only certificates that the controller's system believes.
    pub(super) verify: bool,
    /// A Unix socket on the target instead of the URL's host.
    pub(super) unix_socket: Option<String>,
}

/// The host and port that a URL names.
pub(super) fn authority(uri: &Uri) -> Result<(String, u16, bool), HttpError> {
    let tls = match uri.scheme_str() {
        Some("http") => false,
        Some("https") => true,
        _ => return Err(HttpError(format!("{uri} is not an http or https URL"))),
    };
    let host = uri.host().ok_or_else(|| HttpError(format!("{uri} names no host")))?;
    let port = uri.port_u16().unwrap_or(if tls { 443 } else { 80 });
    Ok((host.trim_matches(['[', ']']).to_owned(), port, tls))
}

impl Web {
    async fn open(&self, uri: &Uri) -> Result<Wire, HttpError> {
        let (host, port, secure) = authority(uri)?;
        let endpoint = match &self.unix_socket {
            Some(path) => Endpoint::Unix { path: path.clone() },
            None => Endpoint::Tcp { host: host.clone(), port },
        };
        let stream = self.shell.dial(&endpoint).await.map_err(|e| HttpError(e.to_string()))?;
        let stream = if secure {
            let wrapped = tls::wrap(stream, &host, self.verify).await;
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
        let limited = http_body_util::Limited::new(body, MOST_BYTES);
        let bytes = limited.collect().await.map_err(|e| HttpError(format!("the answer broke off: {e}")))?;
        Ok(Response::from_parts(parts, bytes.to_bytes()))
    }
}

/// An error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", chain(source)),
        None => error.to_string(),
    }
}

#[async_trait]
impl Http for Web {
    async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let seconds = self.timeout.as_secs();
        match tokio::time::timeout(self.timeout, self.exchange(request)).await {
            Ok(answer) => answer,
            Err(_) => Err(HttpError(format!("no answer within {seconds} s"))),
        }
    }
}
