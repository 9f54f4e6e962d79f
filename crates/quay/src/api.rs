use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request};
use serde::Deserialize;
use serde_json::json;
use thiserror::Error;

use super::http::Http;
use crate::host::Secret;
use crate::host::{Explained, Explanation};
use crate::value::Value;

/// Why Quay did not do what it was asked.
#[derive(Debug, Error)]
pub enum QuayError {
    #[error("Quay does not answer at {url}: {reason}")]
    Unreachable { url: String, reason: String },
    #[error("Quay does not allow its first user to be made through the API: {0}")]
    InitializeOff(String),
    #[error("Quay refused the first user: {0}")]
    InvalidUser(String),
    #[error("Quay is not healthy: {}", Failing(.0))]
    Unhealthy(Vec<String>),
    #[error("Quay did not let {user} in: {reason}")]
    Login { user: String, reason: String },
    #[error("Quay does not know the token: {0}")]
    Token(String),
    #[error("Quay is still starting: its web server answers, and Quay behind it does not")]
    Starting,
    #[error("Quay speaks https, and {url} is http")]
    Https { url: String },
    #[error("{what}: this Quay has no such thing, or it is switched off")]
    Off { what: String },
    #[error("{what}: Quay answered {status}: {message}")]
    Refused { what: String, status: u16, message: String },
}

struct Failing<'a>(&'a [String]);

impl fmt::Display for Failing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} failed", self.0.join(", "))
    }
}

impl QuayError {
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Unreachable { .. } => "is the container running? look at its log",
            Self::InitializeOff(_) => {
                "set FEATURE_USER_INITIALIZE: true and AUTHENTICATION_TYPE: Database in config.yaml and restart Quay"
            }
            Self::InvalidUser(_) => {
                "choose another user name, password (8 characters or more) or e-mail address"
            }
            Self::Unhealthy(_) => "look at that service, then at Quay's log",
            Self::Login { .. } => "check quay_username and quay_password, or give quay_token",
            Self::Token(_) => {
                "make one in Quay: an organization's page, Applications, Generate Token; it may have expired, or been made for another Quay"
            }
            Self::Starting => {
                "wait for it with quaylab.lab.quay_health, and look at the container's log if it does not come up"
            }
            Self::Https { .. } => {
                "give quay_host with https://; Quay speaks it where ssl.cert and ssl.key are in its folder"
            }
            Self::Off { .. } => "look for its FEATURE_ in config.yaml, and at Quay's version",
            Self::Refused { status: 400, message, .. } if speaks_of_private_addresses(message) => {
                "list that registry's host in SSRF_ALLOWED_HOSTS of config.yaml; its name has to resolve where Quay runs"
            }
            Self::Refused { status: 400, message, .. } if message.contains("Cannot update a superuser") => {
                "superusers are changed by SUPER_USERS in config.yaml, and by themselves"
            }
            Self::Refused { status: 401 | 403, .. } => {
                "only an organization's administrators and the repository's may do that; superusers too where FEATURE_SUPERUSERS_FULL_ACCESS is on; a token only what it was made for"
            }
            Self::Refused { status: 404, .. } => "is that feature on in config.yaml, and is the name right?",
            Self::Refused { status: 400, .. } => "Quay says above what it does not take",
            Self::Refused { .. } => "look at Quay's log",
        }
    }
}

/// Quay asks no address that is not a public one, unless it is allowed to by name.
fn speaks_of_private_addresses(message: &str) -> bool {
    message.contains("registry URL is not allowed") || message.contains("Cannot resolve hostname")
}

impl Explained for QuayError {
    fn explain(self) -> Explanation {
        Explanation::Failed { message: self.to_string(), hint: Some(self.hint().into()) }
    }
}

/// The first user.
#[derive(Debug, Clone)]
pub struct NewUser {
    pub username: String,
    pub password: Secret,
    pub email: String,
    pub access_token: bool,
}

/// What became of the wish for a first user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Initialized {
    Made {
        access_token: Option<String>,
    },
    /// There are users already.
    NotEmpty,
}

/// A client of Quay's API.
pub struct Quay<H> {
    base: String,
    http: H,
}

impl<H: Http> Quay<H> {
    /// A client for the Quay at this address (`http://HOST[:PORT]`).
    pub fn new(base: &str, http: H) -> Self {
        Self { base: base.trim_end_matches('/').to_owned(), http }
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        token: Option<&Secret>,
    ) -> Result<(u16, Bytes), QuayError> {
        let url = format!("{}{path}", self.base);
        let unreachable = |reason: String| QuayError::Unreachable { url: self.base.clone(), reason };
        let bytes = body.map_or_else(Bytes::new, |b| Bytes::from(b.to_string()));
        let mut request = Request::builder()
            .method(method)
            .uri(&url)
            .body(bytes)
            .map_err(|e| unreachable(e.to_string()))?;
        // Quay answers some requests only to what says that it is a script.
        request.headers_mut().insert("x-requested-with", HeaderValue::from_static("XMLHttpRequest"));
        if body.is_some() {
            request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        if let Some(token) = token {
            let mut value = HeaderValue::from_str(&format!("Bearer {}", token.0))
                .map_err(|_| unreachable("the token holds characters that no header may".into()))?;
            value.set_sensitive(true);
            request.headers_mut().insert(AUTHORIZATION, value);
        }
        let response = self.http.send(request).await.map_err(|e| unreachable(e.0))?;
        Ok((response.status().as_u16(), response.into_body()))
    }

    /// Whether all of Quay's own services are well.
    pub async fn health(&self) -> Result<(), QuayError> {
        let (status, body) = self.ask(Method::GET, "/health/instance", None, None).await?;
        read_health(status, &body)
    }

    /// Makes the first user, unless there are users.
    pub async fn initialize(&self, user: &NewUser) -> Result<Initialized, QuayError> {
        let body = json!({
            "username": user.username,
            "password": user.password.0,
            "email": user.email,
            "access_token": user.access_token,
        });
        let (status, body) = self.ask(Method::POST, "/api/v1/user/initialize", Some(&body), None).await?;
        read_initialize(status, &body)
    }

    /// Makes a repository readable by everyone, or not.
    pub async fn change_visibility(
        &self,
        repository: &str,
        public: bool,
        token: &Secret,
    ) -> Result<(), QuayError> {
        let visibility = if public { "public" } else { "private" };
        let path = format!("/api/v1/repository/{repository}/changevisibility");
        let body = json!({"visibility": visibility});
        let (status, answer) = self.ask(Method::POST, &path, Some(&body), Some(token)).await?;
        if status == 200 {
            return Ok(());
        }
        Err(QuayError::Refused {
            what: format!("making {repository} {visibility}"),
            status,
            message: message(&answer),
        })
    }
}

/// Quay's own words in an answer.
pub(super) fn message(body: &[u8]) -> String {
    let Ok(value) = serde_json::from_slice::<Value>(body) else {
        return String::from_utf8_lossy(body).chars().take(200).collect::<String>().trim().to_owned();
    };
    let text = ["message", "error_message", "detail", "error"]
        .iter()
        .find_map(|name| value.get(name).and_then(Value::as_str))
        .map_or_else(|| value.to_string(), str::to_owned);
    // What does not fit its schema it tells with the whole schema, in the lines below.
    text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default().to_owned()
}

/// Each 400 means something else; only one of them means that all is well.
fn read_initialize(status: u16, body: &[u8]) -> Result<Initialized, QuayError> {
    #[derive(Deserialize)]
    struct Made {
        access_token: Option<String>,
    }
    let text = message(body);
    let lower = text.to_lowercase();
    match status {
        200 => {
            let made: Option<Made> = serde_json::from_slice(body).ok();
            let access_token = made.and_then(|m| m.access_token).filter(|t| !t.is_empty());
            Ok(Initialized::Made { access_token })
        }
        400 if lower.contains("non-empty database") => Ok(Initialized::NotEmpty),
        400 if lower.contains("failed to initialize user") => {
            let why = text.split_once(':').map_or(text.as_str(), |(_, why)| why.trim());
            Err(QuayError::InvalidUser(why.to_owned()))
        }
        400 if lower.contains("initialize") || lower.contains("database") => {
            Err(QuayError::InitializeOff(text))
        }
        502..=504 => Err(QuayError::Starting),
        _ => Err(QuayError::Refused { what: "making the first user".into(), status, message: text }),
    }
}

fn read_health(status: u16, body: &[u8]) -> Result<(), QuayError> {
    #[derive(Deserialize)]
    struct Health {
        data: Data,
    }
    #[derive(Deserialize)]
    struct Data {
        services: BTreeMap<String, bool>,
    }
    if status == 200 {
        return Ok(());
    }
    match serde_json::from_slice::<Health>(body) {
        Ok(health) => {
            let failing = health.data.services.into_iter().filter(|(_, well)| !well).map(|(name, _)| name);
            Err(QuayError::Unhealthy(failing.collect()))
        }
        Err(_) => {
            Err(QuayError::Refused { what: "asking for its health".into(), status, message: message(body) })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answers_to_initialize_are_told_apart() {
        let said = |text: &str| json!({"message": text}).to_string();
        for (status, body, expected) in [
            (200, r#"{"username":"admin","access_token":"abc"}"#.to_owned(), "made Some(\"abc\")"),
            (200, r#"{"username":"admin","access_token":""}"#.to_owned(), "made None"),
            (400, said("Cannot initialize user in a non-empty database"), "not empty"),
            (
                400,
                said("Failed to initialize user: Invalid password, password must be at least 8 characters"),
                "Quay refused the first user: Invalid password, password must be at least 8 characters",
            ),
            (
                400,
                said("Cannot initialize user, FEATURE_USER_INITIALIZE is False"),
                "Quay does not allow its first user to be made through the API: Cannot initialize user, \
                 FEATURE_USER_INITIALIZE is False",
            ),
            (
                400,
                said("Cannot initialize user in a non-database auth system"),
                "Quay does not allow its first user to be made through the API: Cannot initialize user in a \
                 non-database auth system",
            ),
            (
                502,
                "<html>Bad Gateway</html>".to_owned(),
                "Quay is still starting: its web server answers, and Quay behind it does not",
            ),
        ] {
            let shown = match read_initialize(status, body.as_bytes()) {
                Ok(Initialized::Made { access_token }) => format!("made {access_token:?}"),
                Ok(Initialized::NotEmpty) => "not empty".into(),
                Err(error) => error.to_string(),
            };
            assert_eq!(shown, expected, "{body}");
        }
    }

    #[test]
    fn an_unhealthy_quay_says_what_failed() {
        let body = json!({"data": {"services": {"database": false, "auth": true, "registry_gunicorn": false}}, "status_code": 503});
        let error = read_health(503, body.to_string().as_bytes()).expect_err("not well");
        assert_eq!(error.to_string(), "Quay is not healthy: database, registry_gunicorn failed");
        assert!(read_health(200, b"").is_ok());
    }
}
