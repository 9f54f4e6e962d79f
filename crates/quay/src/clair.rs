use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use hyper::header::{AUTHORIZATION, HeaderValue};
use hyper::{Request, Response, StatusCode};
use jiff::Timestamp;
use serde_json::{Value, json};
use sha2::Sha256;
use thiserror::Error;

use super::http::Http;
use crate::host::Secret;

/// Whom Quay's requests say that they are from.
pub const ISSUER: &str = "quay";

/// How long a token is good for; Quay's own are as short.
const VALID_SECONDS: i64 = 300;

/// Where an indexer says what it would find.
const INDEX_STATE: &str = "/indexer/api/v1/index_state";

/// The key that Quay and Clair share. Each reads it from its configuration in base64.
#[derive(Clone, PartialEq, Eq)]
pub struct SharedKey(Vec<u8>);

impl std::fmt::Debug for SharedKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("********")
    }
}

impl SharedKey {
    /// Reads it as Clair does; the error says what is wrong with it and holds nothing of it.
    pub fn read(text: &Secret) -> Result<Self, &'static str> {
        match STANDARD.decode(text.0.as_bytes()) {
            Ok(key) if key.is_empty() => Err("holds nothing"),
            Ok(key) => Ok(Self(key)),
            Err(base64::DecodeError::InvalidByte(..)) => Err("holds a character that base64 does not have"),
            Err(_) => Err("is no base64: its length or its end does not fit"),
        }
    }

    /// A token (JWT, HS256) that says who asks.
    fn token(&self, issuer: &str, now: Timestamp) -> String {
        let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let header = part(json!({"alg": "HS256", "typ": "JWT"}));
        let claims = part(json!({"iss": issuer, "exp": now.as_second() + VALID_SECONDS}));
        let text = format!("{header}.{claims}");
        format!("{text}.{}", self.signature(&text))
    }

    fn signature(&self, text: &str) -> String {
        // A key of any length is one.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.0) else { return String::new() };
        mac.update(text.as_bytes());
        URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes())
    }
}

/// Why Clair does not serve Quay.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ClairError {
    #[error("Clair does not answer at {endpoint}: {reason}")]
    Unreachable { endpoint: String, reason: String },
    #[error("Clair at {endpoint} refused the key")]
    KeyRefused { endpoint: String },
    #[error("Clair at {endpoint} wants a key, and none was given")]
    KeyWanted { endpoint: String },
    #[error("what answers at {endpoint} is no indexer of Clair 4: {said}")]
    Another { endpoint: String, said: String },
}

impl ClairError {
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Unreachable { .. } => "is Clair running, and does it listen there?",
            Self::KeyRefused { .. } => {
                "it must be auth.psk.key of Clair's own configuration, and auth.psk.iss there must hold quay"
            }
            Self::KeyWanted { .. } => "give auth.psk.key of Clair's own configuration",
            Self::Another { .. } => "name the address of its http_listen_addr, in combo or indexer mode",
        }
    }
}

/// What an indexer says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexState {
    /// It changes with what the indexer would find in an image.
    pub state: String,
    /// It answers whoever asks, without a key.
    pub open: bool,
}

/// A client of one Clair.
pub struct Clair<H> {
    /// `http://HOST:PORT`
    pub endpoint: String,
    pub key: Option<SharedKey>,
    pub issuer: String,
    pub http: H,
}

impl<H: Http> Clair<H> {
    async fn ask(&self, token: Option<String>) -> Result<Response<Bytes>, ClairError> {
        let endpoint = self.endpoint.trim_end_matches('/');
        let unreachable =
            |reason: String| ClairError::Unreachable { endpoint: self.endpoint.clone(), reason };
        let mut request = Request::get(format!("{endpoint}{INDEX_STATE}"))
            .body(Bytes::new())
            .map_err(|e| unreachable(e.to_string()))?;
        if let Some(token) = token {
            let value =
                HeaderValue::from_str(&format!("Bearer {token}")).map_err(|e| unreachable(e.to_string()))?;
            request.headers_mut().insert(AUTHORIZATION, value);
        }
        self.http.send(request).await.map_err(|e| unreachable(e.0))
    }

    /// Asks as Quay does: whether it serves, and whether it takes the key.
    pub async fn index_state(&self) -> Result<IndexState, ClairError> {
        let endpoint = self.endpoint.clone();
        let answer = self.ask(None).await?;
        let open = answer.status() != StatusCode::UNAUTHORIZED;
        let answer = match &self.key {
            _ if open => answer,
            None => return Err(ClairError::KeyWanted { endpoint }),
            Some(key) => self.ask(Some(key.token(&self.issuer, Timestamp::now()))).await?,
        };
        match answer.status() {
            StatusCode::UNAUTHORIZED => Err(ClairError::KeyRefused { endpoint }),
            StatusCode::OK => {
                let said: Option<Value> = serde_json::from_slice(answer.body()).ok();
                let state = said.as_ref().and_then(|v| v.get("state")).and_then(Value::as_str);
                let state = state.ok_or_else(|| ClairError::Another {
                    endpoint,
                    said: format!("{INDEX_STATE} gives no state"),
                })?;
                Ok(IndexState { state: state.to_owned(), open })
            }
            status => {
                Err(ClairError::Another { endpoint, said: format!("{INDEX_STATE} gives HTTP {status}") })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_signed_as_others_sign_them() {
        // The example that is shown wherever such tokens are explained.
        let key = SharedKey(b"your-256-bit-secret".to_vec());
        let text = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.\
                    eyJzdWIiOiIxMjM0NTY3ODkwIiwibmFtZSI6IkpvaG4gRG9lIiwiaWF0IjoxNTE2MjM5MDIyfQ";
        assert_eq!(key.signature(text), "SflKxwRJSMeKKF2QT4fwpMeJf36POk6yJV_adQssw5c");
        let token = key.token(ISSUER, Timestamp::UNIX_EPOCH);
        let claims = token.split('.').nth(1).and_then(|part| URL_SAFE_NO_PAD.decode(part).ok());
        assert_eq!(claims.as_deref(), Some(br#"{"iss":"quay","exp":300}"#.as_slice()));
    }

    #[test]
    fn keys_are_base64() {
        for (text, expected) in [
            ("c2VjcmV0", Ok(b"secret".to_vec())),
            ("MTU5YzA4Y2ZkNzJoMQ==", Ok(b"159c08cfd72h1".to_vec())),
            ("MTU5YzA4Y2ZkNzJoMQ", Err("is no base64: its length or its end does not fit")),
            ("not base64!", Err("holds a character that base64 does not have")),
            ("", Err("holds nothing")),
        ] {
            assert_eq!(SharedKey::read(&Secret(text.into())).map(|key| key.0), expected, "{text}");
        }
    }
}
