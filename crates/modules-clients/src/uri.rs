use std::time::{Duration, Instant};

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hyper::header::{
    ACCEPT, ACCEPT_CHARSET, ACCEPT_ENCODING, ACCEPT_LANGUAGE, AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE,
    HeaderMap, HeaderName, HeaderValue, LOCATION, RANGE, USER_AGENT,
};
use hyper::{Method, Request, Response, StatusCode};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};
use serde_json::json;

use super::web::web;
use crate::host::Secret;
use crate::http::{Http, HttpError, same_origin};
use crate::value::{Map, Value, plain, truth};
use crate::{Action, CheckMode, ModuleError, Outcome, TaskContext};

/// How many redirects are followed.
const MOST_REDIRECTS: usize = 10;

/// An HTTP request, as the target sees the network.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Uri {
    url: String,
    #[serde(default = "get")]
    method: String,
    #[schemars(with = "Option<String>")]
    body: Option<Value>,
    #[serde(default)]
    body_format: BodyFormat,
    #[serde(default)]
    headers: Map,
    /// The statuses that are success.
    #[serde(default = "ok")]
    status_code: Vec<u16>,
    /// Return the answer's text even on success.
    #[serde(default)]
    return_content: bool,
    #[serde(alias = "user")]
    url_username: Option<String>,
    #[serde(default, alias = "password", deserialize_with = "super::words::secret")]
    #[schemars(with = "Option<String>")]
    url_password: Option<Secret>,
    /// Send the user and password without waiting to be asked.
    #[serde(default)]
    force_basic_auth: bool,
    /// Seconds.
    #[serde(default = "default_timeout")]
    timeout: u64,
    #[serde(default = "crate::args::yes")]
    validate_certs: bool,
    #[serde(default)]
    follow_redirects: Redirects,
    #[serde(default = "agent")]
    http_agent: String,
    /// A Unix socket on the target to speak to instead of the URL's host.
    unix_socket: Option<String>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum BodyFormat {
    #[default]
    Raw,
    Json,
    FormUrlencoded,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Redirects {
    All,
    None,
    /// Only those of GET and HEAD.
    #[default]
    Safe,
}

impl<'de> Deserialize<'de> for Redirects {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        match (truth(&value), value.as_str()) {
            (Some(true), _) | (_, Some("all")) => Ok(Self::All),
            (Some(false), _) | (_, Some("none")) => Ok(Self::None),
            (_, Some("safe" | "urllib2")) => Ok(Self::Safe),
            _ => Err(serde::de::Error::custom(format!("follow_redirects is all, safe or none, not {value}"))),
        }
    }
}

fn get() -> String {
    "GET".into()
}

fn ok() -> Vec<u16> {
    vec![200]
}

fn default_timeout() -> u64 {
    30
}

fn agent() -> String {
    format!("quaylab/{}", env!("CARGO_PKG_VERSION"))
}

fn wrong(what: &str, why: impl std::fmt::Display) -> ModuleError {
    ModuleError::Arguments(format!("{what}: {why}"))
}

impl Uri {
    fn method(&self) -> Result<Method, ModuleError> {
        Method::from_bytes(self.method.to_ascii_uppercase().as_bytes()).map_err(|e| wrong("method", e))
    }

    fn body(&self) -> Bytes {
        match (&self.body, self.body_format) {
            (None, _) => Bytes::new(),
            // A string is JSON that was already written, as in Ansible.
            (Some(Value::String(text)), _) => Bytes::from(text.clone()),
            (Some(Value::Object(pairs)), BodyFormat::FormUrlencoded) => Bytes::from(form(pairs)),
            (Some(value), _) => Bytes::from(value.to_string()),
        }
    }

    fn headers(&self) -> Result<HeaderMap, ModuleError> {
        let mut headers = HeaderMap::new();
        let agent = HeaderValue::from_str(&self.http_agent).map_err(|e| wrong("http_agent", e))?;
        headers.insert(USER_AGENT, agent);
        if self.body.is_some() {
            let kind = match self.body_format {
                BodyFormat::Json => Some("application/json"),
                BodyFormat::FormUrlencoded => Some("application/x-www-form-urlencoded"),
                BodyFormat::Raw => None,
            };
            headers.extend(kind.map(|k| (CONTENT_TYPE, HeaderValue::from_static(k))));
        }
        for (name, value) in &self.headers {
            let header =
                HeaderName::from_bytes(name.as_bytes()).map_err(|e| wrong(&format!("header {name}"), e))?;
            let value =
                HeaderValue::from_str(&plain(value)).map_err(|e| wrong(&format!("header {name}"), e))?;
            headers.insert(header, value);
        }
        if self.force_basic_auth {
            headers.extend(self.credentials().map(|c| (AUTHORIZATION, c)));
        }
        Ok(headers)
    }

    fn credentials(&self) -> Option<HeaderValue> {
        let user = self.url_username.as_ref()?;
        let password = self.url_password.as_ref().map_or("", |p| p.0.as_str());
        let mut value =
            HeaderValue::from_str(&format!("Basic {}", STANDARD.encode(format!("{user}:{password}"))))
                .ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    /// Sends the request and what it leads to; returns the last answer and where it came from.
    async fn fetch(&self, web: &impl Http) -> Result<(Response<Bytes>, hyper::Uri), HttpError> {
        let fail = |e: ModuleError| HttpError(e.to_string());
        let meant: hyper::Uri = self.url.parse().map_err(|e| HttpError(format!("{}: {e}", self.url)))?;
        let mut url = meant.clone();
        let mut method = self.method().map_err(fail)?;
        let mut headers = self.headers().map_err(fail)?;
        let mut body = self.body();
        let mut left = MOST_REDIRECTS;
        loop {
            let mut request = Request::new(body.clone());
            *request.method_mut() = method.clone();
            *request.uri_mut() = url.clone();
            *request.headers_mut() = headers.clone();
            let response = web.send(request).await?;
            // Who asks for the password gets it only where it was meant for.
            let asked = response.status() == StatusCode::UNAUTHORIZED
                && !headers.contains_key(AUTHORIZATION)
                && same_origin(&url, &meant);
            if asked && let Some(credentials) = self.credentials() {
                headers.insert(AUTHORIZATION, credentials);
                continue;
            }
            let Some(next) = self.redirect(&response, &method, &url) else { return Ok((response, url)) };
            left = left.checked_sub(1).ok_or_else(|| HttpError("too many redirects".into()))?;
            if !same_origin(&next, &url) {
                // What else was said to one server may be a password, a cookie or a token, and is no other's business.
                headers = plain_only(&headers);
            }
            if response.status() == StatusCode::SEE_OTHER
                || (method == Method::POST && [301, 302].contains(&response.status().as_u16()))
            {
                method = Method::GET;
                body = Bytes::new();
                headers.remove(CONTENT_TYPE);
            }
            url = next;
        }
    }

    fn redirect(&self, response: &Response<Bytes>, method: &Method, from: &hyper::Uri) -> Option<hyper::Uri> {
        let wanted = match self.follow_redirects {
            Redirects::All => true,
            Redirects::None => false,
            Redirects::Safe => [Method::GET, Method::HEAD].contains(method),
        };
        if !wanted || ![301, 302, 303, 307, 308].contains(&response.status().as_u16()) {
            return None;
        }
        join(from, response.headers().get(LOCATION)?.to_str().ok()?)
    }

    fn report(
        &self,
        response: &Response<Bytes>,
        url: &hyper::Uri,
        elapsed: Duration,
        most: usize,
    ) -> Outcome {
        let status = response.status();
        let expected = self.status_code.contains(&status.as_u16());
        let reason = status.canonical_reason().unwrap_or_default();
        let mut result = Map::new();
        for (name, value) in response.headers() {
            let text = String::from_utf8_lossy(value.as_bytes()).into_owned();
            result.insert(name.as_str().replace('-', "_"), json!(text));
        }
        let text = String::from_utf8_lossy(response.body()).into_owned();
        let kind = response.headers().get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
        let mut warnings = Vec::new();
        if kind.contains("json") {
            // As many values as there are at most: each takes memory, however short it is.
            let values = text.bytes().filter(|b| matches!(b, b',' | b'[' | b'{')).count();
            if values > most {
                warnings.push(format!("the answer holds more than {most} JSON values, so json is left out: use return_content, or raise max_reply_size"));
            } else if let Ok(read) = serde_json::from_str::<Value>(&text) {
                result.insert("json".into(), read);
            }
        }
        if self.return_content || !expected {
            result.insert("content".into(), json!(text));
        }
        result.insert("status".into(), json!(status.as_u16()));
        result.insert("url".into(), json!(url.to_string()));
        result.insert(
            "redirected".into(),
            json!(url.to_string().trim_end_matches('/') != self.url.trim_end_matches('/')),
        );
        result.insert("elapsed".into(), json!(elapsed.as_secs()));
        if expected {
            result.insert("msg".into(), json!(format!("OK ({} bytes)", response.body().len())));
            return Outcome { warnings, ..Outcome::ok(result) };
        }
        let asked = Value::from(self.status_code.clone());
        let message = format!(
            "Status code was {} and not {asked}: HTTP Error {}: {reason}",
            status.as_u16(),
            status.as_u16()
        );
        Outcome { warnings, ..Outcome::failed(message, result) }
    }
}

/// Headers that hold no secret by what they are.
fn plain_only(headers: &HeaderMap) -> HeaderMap {
    let plain = [
        ACCEPT,
        ACCEPT_CHARSET,
        ACCEPT_ENCODING,
        ACCEPT_LANGUAGE,
        CACHE_CONTROL,
        CONTENT_TYPE,
        RANGE,
        USER_AGENT,
    ];
    headers.iter().filter(|(name, _)| plain.contains(name)).map(|(n, v)| (n.clone(), v.clone())).collect()
}

/// A redirect's address, whole or relative.
fn join(from: &hyper::Uri, location: &str) -> Option<hyper::Uri> {
    if location.starts_with("http://") || location.starts_with("https://") {
        return location.parse().ok();
    }
    let (scheme, authority) = (from.scheme_str()?, from.authority()?);
    let path = if location.starts_with('/') {
        location.to_owned()
    } else {
        let folder = from.path().rsplit_once('/').map_or("", |(folder, _)| folder);
        format!("{folder}/{location}")
    };
    format!("{scheme}://{authority}{path}").parse().ok()
}

fn form(pairs: &Map) -> String {
    let encode = |text: &str| {
        text.bytes()
            .map(|byte| match byte {
                b' ' => "+".to_owned(),
                b if b.is_ascii_alphanumeric() || b"-_.~".contains(&b) => char::from(b).to_string(),
                b => format!("%{b:02X}"),
            })
            .collect::<String>()
    };
    let mut written = Vec::new();
    for (name, value) in pairs {
        let values = match value {
            Value::Array(items) => items.clone(),
            one => vec![one.clone()],
        };
        written.extend(values.iter().map(|v| format!("{}={}", encode(name), encode(&plain(v)))));
    }
    written.join("&")
}

#[async_trait]
impl Action for Uri {
    const NAME: &'static str = "uri";
    const FQCN: &'static [&'static str] = &["ansible.builtin.uri", "ansible.legacy.uri"];
    const CHECK: CheckMode = CheckMode::Skips;

    fn validate(&self) -> Result<(), ModuleError> {
        let url: hyper::Uri = self.url.parse().map_err(|e| wrong(&format!("url {:?}", self.url), e))?;
        crate::http::authority(&url).map_err(|e| ModuleError::Arguments(e.0))?;
        self.method()?;
        self.headers().map(drop)
    }

    async fn run(self, cx: &TaskContext) -> Result<Outcome, ModuleError> {
        let mut web = web(cx, self.timeout, self.validate_certs);
        web.dial.unix_socket.clone_from(&self.unix_socket);
        let started = Instant::now();
        match self.fetch(&web).await {
            Ok((response, url)) => {
                Ok(self.report(&response, &url, started.elapsed(), cx.shell.target().spec().limits.parts()))
            }
            Err(error) => {
                let asked = Value::from(self.status_code.clone());
                let message = format!("Status code was -1 and not {asked}: Request failed: {error}");
                let result = Map::from_iter([
                    ("status".to_owned(), json!(-1)),
                    ("url".to_owned(), json!(self.url)),
                    ("elapsed".to_owned(), json!(started.elapsed().as_secs())),
                    ("redirected".to_owned(), json!(false)),
                ]);
                Ok(Outcome::failed(message, result))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::from_args;

    fn uri(args: Value) -> Uri {
        let Value::Object(args) = args else { panic!("an object") };
        from_args(args).expect("arguments")
    }

    #[test]
    fn bodies_follow_their_format() {
        for (args, body) in [
            (json!({"url": "http://a", "body": {"a": 1}, "body_format": "json"}), r#"{"a":1}"#),
            (
                json!({"url": "http://a", "body": {"a": "b c&", "l": [1, 2]}, "body_format": "form-urlencoded"}),
                "a=b+c%26&l=1&l=2",
            ),
            (json!({"url": "http://a", "body": "a, b"}), "a, b"),
            (json!({"url": "http://a"}), ""),
        ] {
            assert_eq!(uri(args.clone()).body(), body, "{args}");
        }
    }

    /// Servers that answer by their URL, and what they were sent.
    struct Servers(std::sync::Mutex<Vec<(String, HeaderMap)>>);

    #[async_trait]
    impl Http for Servers {
        async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
            let url = request.uri().to_string();
            let knows = request.headers().contains_key(AUTHORIZATION);
            self.0.lock().expect("a lock").push((url.clone(), request.headers().clone()));
            let (status, location) = match url.as_str() {
                "https://a/elsewhere" => (302, "https://b/"),
                "https://a/down" => (302, "http://a/"),
                "https://a/port" => (302, "https://a:444/"),
                "https://a/here" | "https://A:443/back" => (302, "https://A:443/end"),
                "https://a/twice" => (302, "https://b/twice"),
                "https://b/twice" => (302, "https://a/end"),
                _ if !knows => (401, "-"),
                _ => (200, "-"),
            };
            Ok(Response::builder()
                .status(status)
                .header(LOCATION, location)
                .body(Bytes::new())
                .expect("an answer"))
        }
    }

    #[tokio::test]
    async fn another_server_gets_no_secret() {
        for (path, forced, last_is_told) in [
            ("elsewhere", true, false),
            ("elsewhere", false, false),
            ("down", true, false),
            ("port", true, false),
            ("here", true, true),
            ("here", false, true),
            ("twice", true, true),
        ] {
            let servers = Servers(std::sync::Mutex::default());
            let uri = uri(
                json!({"url": format!("https://a/{path}"), "url_username": "u", "url_password": "p",
                "force_basic_auth": forced, "headers": {"Cookie": "c=1", "X-Auth-Token": "t", "Accept": "text/plain"}}),
            );
            let (answer, _) = uri.fetch(&servers).await.expect("an answer");
            assert_eq!(answer.status() == 200, last_is_told, "{path} {forced}");
            for (url, headers) in servers.0.into_inner().expect("a lock") {
                let is_ours = ["https://a/", "https://A:443/"].iter().any(|ours| url.starts_with(ours));
                let secrets =
                    ["authorization", "cookie", "x-auth-token"].iter().any(|n| headers.contains_key(*n));
                assert!(is_ours || !secrets, "{path}: {url} {headers:?}");
                assert!(headers.contains_key("accept"), "{path}");
            }
        }
    }

    #[test]
    fn redirects_are_joined() {
        let from: hyper::Uri = "http://h:81/a/b?x".parse().expect("a URL");
        for (location, expected) in
            [("/c", "http://h:81/c"), ("c?d", "http://h:81/a/c?d"), ("https://i/", "https://i/")]
        {
            assert_eq!(join(&from, location).expect(location).to_string(), expected);
        }
    }

    #[test]
    fn wrong_arguments_are_found() {
        for args in [
            json!({"url": "ftp://a"}),
            json!({"url": "a b"}),
            json!({"url": "http://a", "headers": {"a b": 1}}),
        ] {
            assert!(uri(args.clone()).validate().is_err(), "{args}");
        }
    }
}
