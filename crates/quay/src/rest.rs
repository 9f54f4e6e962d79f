use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, COOKIE, HeaderName, HeaderValue, LOCATION, SET_COOKIE};
use hyper::{Method, Request, Response, StatusCode};
use serde_json::json;
use tokio::sync::Mutex;

use super::api::{QuayError, message};
use super::http::Http;
use crate::host::Secret;
use crate::value::Value;

/// How somebody shows Quay's API who they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Login {
    /// Nobody: what is public is seen.
    Nobody,
    /// An OAuth token.
    Token(Secret),
    /// As in the browser: a session of a user.
    Password { user: String, password: Secret },
}

/// What a call does to what its path names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    Post,
    Put,
    Delete,
}

impl From<Verb> for Method {
    fn from(verb: Verb) -> Self {
        match verb {
            Verb::Post => Self::POST,
            Verb::Put => Self::PUT,
            Verb::Delete => Self::DELETE,
        }
    }
}

/// What a browser would remember.
#[derive(Default)]
struct Session {
    cookies: BTreeMap<String, String>,
    csrf: Option<String>,
    /// The user's session stands, or the token is known to be one.
    signed_in: bool,
}

/// How often, and after how long, a Quay that is still starting is asked again: its web server answers before it.
const STARTING: (u32, Duration) = (30, Duration::from_secs(1));

/// A client of Quay's API for somebody who has logged in.
pub struct Rest<H> {
    base: String,
    http: H,
    login: Login,
    session: Mutex<Session>,
}

impl<H: Http> Rest<H> {
    /// A client for the Quay at this address (`http://HOST[:PORT]`); it logs in when it is first asked.
    pub fn new(base: &str, http: H, login: Login) -> Self {
        Self { base: base.trim_end_matches('/').to_owned(), http, login, session: Mutex::default() }
    }

    /// What is at a path below `/api/v1/`; `None` where there is nothing.
    pub async fn get(&self, path: &str) -> Result<Option<Value>, QuayError> {
        let answer = self.api(Method::GET, path, None).await?;
        match answer.status().as_u16() {
            404 => Ok(None),
            200..=299 => Ok(Some(value(&answer))),
            _ => Err(self.refused(format!("looking at {path}"), &answer)),
        }
    }

    /// An answer that is no success, as an error.
    fn refused(&self, what: String, answer: &Response<Bytes>) -> QuayError {
        let status = answer.status().as_u16();
        let leads_to = answer.headers().get(LOCATION).and_then(|to| to.to_str().ok()).unwrap_or_default();
        match status {
            301 | 302 if leads_to.starts_with("https://") && self.base.starts_with("http://") => {
                QuayError::Https { url: self.base.clone() }
            }
            // Quay redirects what it has no route for: a feature that is off has none.
            301 | 302 | 307 | 308 => QuayError::Off { what },
            502..=504 => QuayError::Starting,
            _ => QuayError::Refused { what, status, message: message(answer.body()) },
        }
    }

    /// Changes what is at a path below `/api/v1/`; `what` says it for messages.
    pub async fn call(
        &self,
        verb: Verb,
        path: &str,
        body: Option<&Value>,
        what: &str,
    ) -> Result<Value, QuayError> {
        let answer = self.api(verb.into(), path, body).await?;
        if answer.status().is_success() {
            return Ok(value(&answer));
        }
        Err(self.refused(what.to_owned(), &answer))
    }

    /// Whether this login is one; any other failure is an error.
    pub async fn may_enter(&self) -> Result<bool, QuayError> {
        let mut session = self.session.lock().await;
        match self.sign_in(&mut session).await {
            Ok(()) => Ok(true),
            Err(QuayError::Login { .. }) => Ok(false),
            Err(other) => Err(other),
        }
    }

    async fn api(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Response<Bytes>, QuayError> {
        let mut session = self.session.lock().await;
        let path = format!("/api/v1/{path}");
        self.sign_in(&mut session).await?;
        let mut answer = self.send(&mut session, method.clone(), &path, body).await?;
        if answer.status() == StatusCode::UNAUTHORIZED && matches!(self.login, Login::Password { .. }) {
            // The session has ended; a restart of Quay may do that.
            *session = Session::default();
            self.sign_in(&mut session).await?;
            answer = self.send(&mut session, method.clone(), &path, body).await?;
        }
        // A change may have been made although its answer got lost, so that only a look is asked again.
        for _ in 0..STARTING.0 {
            if answer.status() != StatusCode::BAD_GATEWAY || method != Method::GET {
                break;
            }
            tokio::time::sleep(STARTING.1).await;
            answer = self.send(&mut session, method.clone(), &path, body).await?;
        }
        Ok(answer)
    }

    /// Where a token is none Quay answers as to anybody: with what is public. So it is asked whose the token is.
    async fn know(&self, session: &mut Session) -> Result<(), QuayError> {
        let answer = self.send(session, Method::GET, "/api/v1/user/", None).await?;
        if answer.status() == StatusCode::UNAUTHORIZED {
            return Err(QuayError::Token(message(answer.body())));
        }
        // A token that may not tell whose it is, is one all the same.
        session.signed_in = true;
        Ok(())
    }

    async fn sign_in(&self, session: &mut Session) -> Result<(), QuayError> {
        if session.signed_in {
            return Ok(());
        }
        let (user, password) = match &self.login {
            Login::Nobody => return Ok(()),
            Login::Token(_) => return self.know(session).await,
            Login::Password { user, password } => (user, password),
        };
        let refused = |reason: String| QuayError::Login { user: user.clone(), reason };
        let token = self.send(session, Method::GET, "/csrf_token", None).await?;
        session.csrf = value(&token).get("csrf_token").and_then(Value::as_str).map(str::to_owned);
        let body = json!({"username": user, "password": password.0});
        let answer = self.send(session, Method::POST, "/api/v1/signin", Some(&body)).await?;
        match answer.status().as_u16() {
            200..=299 => {
                session.signed_in = true;
                Ok(())
            }
            400..=499 => Err(refused(message(answer.body()))),
            _ => Err(self.refused("logging in".into(), &answer)),
        }
    }

    async fn send(
        &self,
        session: &mut Session,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Response<Bytes>, QuayError> {
        let unreachable = |reason: String| QuayError::Unreachable { url: self.base.clone(), reason };
        let bytes = body.map_or_else(Bytes::new, |b| Bytes::from(b.to_string()));
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .body(bytes)
            .map_err(|e| unreachable(e.to_string()))?;
        let headers = request.headers_mut();
        let mut put = |name: HeaderName, text: &str| {
            let mut held = HeaderValue::from_str(text)
                .map_err(|_| unreachable(format!("{name} would hold characters that no header may")))?;
            held.set_sensitive(true);
            headers.insert(name, held);
            Ok(())
        };
        // Quay answers some requests only to what says that it is a script.
        put(HeaderName::from_static("x-requested-with"), "XMLHttpRequest")?;
        if body.is_some() {
            put(CONTENT_TYPE, "application/json")?;
        }
        if let Login::Token(token) = &self.login {
            put(AUTHORIZATION, &format!("Bearer {}", token.0))?;
        }
        if let Some(csrf) = &session.csrf {
            put(HeaderName::from_static("x-csrf-token"), csrf)?;
        }
        if !session.cookies.is_empty() {
            let all: Vec<String> =
                session.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
            put(COOKIE, &all.join("; "))?;
        }
        let answer = self.http.send(request).await.map_err(|e| unreachable(e.0))?;
        remember(session, &answer);
        Ok(answer)
    }
}

/// Keeps what the next request must show.
fn remember(session: &mut Session, answer: &Response<Bytes>) {
    for cookie in answer.headers().get_all(SET_COOKIE) {
        let pair = cookie.to_str().ok().and_then(|c| c.split(';').next()?.split_once('='));
        if let Some((name, value)) = pair {
            session.cookies.insert(name.trim().to_owned(), value.to_owned());
        }
    }
    if let Some(next) = answer.headers().get("x-next-csrf-token").and_then(|t| t.to_str().ok()) {
        session.csrf = Some(next.to_owned());
    }
}

/// An answer as a value; nothing where it is none.
fn value(answer: &Response<Bytes>) -> Value {
    serde_json::from_slice(answer.body()).unwrap_or(Value::Null)
}
