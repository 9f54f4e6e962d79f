use std::collections::BTreeMap;

use async_trait::async_trait;
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, COOKIE, HeaderName, HeaderValue, LOCATION, SET_COOKIE};
use hyper::{Method, Request, Response};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::call::text;
use super::place::address;
use crate::args::require;
use crate::host::Secret;
use crate::http::{Http as _, percent};
use crate::quay::QuayError;
use crate::value::{Map, Value};
use crate::web::{Web, trust, web};
use crate::{Action, CheckMode, ModuleError, Outcome, TaskContext};

/// Makes an OAuth token of Quay's API for a user, by an application of an organization that the user governs. Every run
/// makes another one; `register` holds it: give the task `no_log`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct QuayApiToken {
    /// Quay's address as the target sees it (`https://HOST[:PORT]`).
    #[serde(default = "super::place::own_host", alias = "url")]
    quay_host: String,
    /// For whom.
    quay_username: String,
    #[serde(default, deserialize_with = "crate::words::secret")]
    #[schemars(with = "Option<String>")]
    quay_password: Option<Secret>,
    #[serde(default = "crate::args::yes", alias = "verify_ssl")]
    validate_certs: bool,
    /// The certificates (PEM) that are believed; by default the system's.
    ca_cert: Option<String>,
    /// The application's (`quay_application` tells it).
    client_id: String,
    /// What the token allows; `all` is all of it.
    #[serde(default = "reading")]
    rights: Vec<Right>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
enum Right {
    #[serde(rename = "org:admin")]
    Organizations,
    #[serde(rename = "repo:admin")]
    Repositories,
    #[serde(rename = "repo:create")]
    Create,
    #[serde(rename = "repo:read")]
    Read,
    #[serde(rename = "repo:write")]
    Write,
    #[serde(rename = "super:user")]
    Superuser,
    #[serde(rename = "user:admin")]
    User,
    #[serde(rename = "user:read")]
    SeeUser,
    #[serde(rename = "all")]
    All,
}

const RIGHTS: [(Right, &str); 8] = [
    (Right::Organizations, "org:admin"),
    (Right::Repositories, "repo:admin"),
    (Right::Create, "repo:create"),
    (Right::Read, "repo:read"),
    (Right::Write, "repo:write"),
    (Right::Superuser, "super:user"),
    (Right::User, "user:admin"),
    (Right::SeeUser, "user:read"),
];

fn reading() -> Vec<Right> {
    vec![Right::Read]
}

/// How long one answer may take.
const SECONDS: u64 = 60;

/// A browser's session, as the form in which people make such tokens needs it.
struct Browser {
    base: String,
    web: Web,
    cookies: BTreeMap<String, String>,
    csrf: String,
}

impl Browser {
    async fn send(
        &mut self,
        method: Method,
        path: &str,
        kind: &'static str,
        body: String,
    ) -> Result<Response<Bytes>, QuayError> {
        let unreachable = |reason: String| QuayError::Unreachable { url: self.base.clone(), reason };
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .body(Bytes::from(body))
            .map_err(|error| unreachable(error.to_string()))?;
        let cookies: Vec<String> =
            self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let headers = [
            (HeaderName::from_static("x-requested-with"), "XMLHttpRequest".to_owned()),
            (CONTENT_TYPE, kind.to_owned()),
            (HeaderName::from_static("x-csrf-token"), self.csrf.clone()),
            (COOKIE, cookies.join("; ")),
        ];
        for (name, value) in headers.into_iter().filter(|(_, value)| !value.is_empty()) {
            let mut value = HeaderValue::from_str(&value)
                .map_err(|_| unreachable(format!("{name} would hold characters that no header may")))?;
            value.set_sensitive(true);
            request.headers_mut().insert(name, value);
        }
        let answer = self.web.send(request).await.map_err(|error| unreachable(error.0))?;
        for cookie in answer.headers().get_all(SET_COOKIE) {
            let pair = cookie.to_str().ok().and_then(|c| c.split(';').next()?.split_once('='));
            if let Some((name, value)) = pair {
                self.cookies.insert(name.trim().to_owned(), value.to_owned());
            }
        }
        if let Some(next) = answer.headers().get("x-next-csrf-token").and_then(|next| next.to_str().ok()) {
            next.clone_into(&mut self.csrf);
        }
        Ok(answer)
    }
}

fn value(answer: &Response<Bytes>) -> Value {
    serde_json::from_slice(answer.body()).unwrap_or_default()
}

/// The token in the address to which Quay sends a browser.
fn token_in(location: &str) -> Option<String> {
    let (_, rest) = location.split_once("access_token=")?;
    let token = rest.split(['&', '#']).next()?;
    (!token.is_empty()).then(|| token.to_owned())
}

impl QuayApiToken {
    fn scope(&self) -> String {
        let asked = |right: Right| self.rights.contains(&Right::All) || self.rights.contains(&right);
        let words: Vec<&str> =
            RIGHTS.iter().filter(|(right, _)| asked(*right)).map(|(_, word)| *word).collect();
        words.join(" ")
    }

    async fn make(&self, cx: &TaskContext) -> Result<String, ModuleError> {
        let base = address(self.quay_host.trim_end_matches('/'));
        let client = web(cx, SECONDS, self.validate_certs);
        let client = Web { trust: trust(self.validate_certs, self.ca_cert.as_deref())?, ..client };
        let mut browser = Browser { base, web: client, cookies: BTreeMap::new(), csrf: String::new() };
        let first = browser.send(Method::GET, "/csrf_token", "", String::new()).await?;
        browser.csrf = text(&value(&first), "csrf_token").unwrap_or_default();
        let password = self.quay_password.as_ref().map_or("", |password| password.0.as_str());
        let login = json!({"username": self.quay_username, "password": password}).to_string();
        let entered = browser.send(Method::POST, "/api/v1/signin", "application/json", login).await?;
        if !entered.status().is_success() {
            let reason = text(&value(&entered), "message").unwrap_or_else(|| entered.status().to_string());
            return Err(QuayError::Login { user: self.quay_username.clone(), reason }.into());
        }
        let fields = [
            ("response_type", "token".to_owned()),
            ("client_id", self.client_id.clone()),
            ("redirect_uri", format!("{}/oauth/localapp", browser.base)),
            ("scope", self.scope()),
            ("_csrf_token", browser.csrf.clone()),
        ];
        let form: Vec<String> =
            fields.iter().map(|(name, value)| format!("{name}={}", percent(value, false))).collect();
        let kind = "application/x-www-form-urlencoded";
        let answer = browser.send(Method::POST, "/oauth/authorizeapp", kind, form.join("&")).await?;
        let location = answer.headers().get(LOCATION).and_then(|location| location.to_str().ok());
        location.and_then(token_in).ok_or_else(|| {
            let status = answer.status().as_u16();
            ModuleError::failed(format!("making an API token: Quay answered {status} without a token"))
                .hint("is client_id one of an application, and does the user govern its organization?")
        })
    }
}

#[async_trait]
impl Action for QuayApiToken {
    const NAME: &'static str = "quay_api_token";
    const FQCN: &'static [&'static str] =
        &["quaylab.lab.quay_api_token", "infra.quay_configuration.quay_api_token"];
    const CHECK: CheckMode = CheckMode::Runs;

    fn validate(&self) -> Result<(), ModuleError> {
        require(self.quay_password.is_some(), "quay_password is needed")?;
        require(!self.rights.is_empty(), "rights: name one at least")
    }

    async fn run(self, cx: &TaskContext) -> Result<Outcome, ModuleError> {
        // As the collection has it, so that later tasks find a text of that length.
        let token = if cx.mode.check {
            "NotValidCheckModeNotValidCheckModeNotVal".to_owned()
        } else {
            self.make(cx).await?
        };
        Ok(Outcome::changed(Map::from_iter([("access_token".to_owned(), json!(token))])))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::from_args;

    fn read(more: &Value) -> Result<QuayApiToken, ModuleError> {
        let mut args = json!({"quay_username": "ann", "quay_password": "p", "client_id": "C"});
        let (Some(args), Some(more)) = (args.as_object_mut(), more.as_object()) else { panic!("mappings") };
        args.extend(more.clone());
        let token: QuayApiToken = from_args(args.clone())?;
        token.validate().map(|()| token)
    }

    #[test]
    fn rights_become_a_scope() {
        assert_eq!(read(&json!({})).expect("arguments").scope(), "repo:read");
        let all = read(&json!({"rights": "all"})).expect("arguments").scope();
        assert_eq!(all.split(' ').count(), 8);
        assert!(read(&json!({"rights": ["repo:reed"]})).is_err());
        assert!(read(&json!({"rights": []})).is_err());
        assert!(read(&json!({"quay_token": "t"})).is_err());
    }

    #[test]
    fn the_token_is_in_the_address() {
        let at = "http://q/oauth/localapp#access_token=abc&token_type=Bearer";
        assert_eq!(token_in(at).as_deref(), Some("abc"));
        assert_eq!(token_in("http://q/oauth/localapp#error=denied"), None);
    }
}
