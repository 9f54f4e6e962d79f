use std::fmt;
use std::sync::Arc;

use tokio::sync::OnceCell;

use crate::host::Secret;
use crate::quay::{Login, QuayError, Rest, Verb};
use crate::value::Value;
use crate::web::{Web, trust, web};
use crate::{Diff, ModuleError, Plan, TaskContext};

/// The arguments that every module here takes, as fields of its struct.
macro_rules! with_quay {
    ($(#[$meta:meta])* $visibility:vis struct $name:ident { $($fields:tt)* }) => {
        $(#[$meta])*
        #[derive(Debug, serde::Deserialize, schemars::JsonSchema)]
        #[serde(deny_unknown_fields)]
        $visibility struct $name {
            /// Quay's address as the target sees it (`https://HOST[:PORT]`).
            #[serde(alias = "url")]
            quay_host: String,
            /// An OAuth token of Quay's API.
            #[serde(default, deserialize_with = "crate::words::secret")]
            #[schemars(with = "Option<String>")]
            quay_token: Option<crate::host::Secret>,
            /// A user, instead of a token.
            quay_username: Option<String>,
            #[serde(default, deserialize_with = "crate::words::secret")]
            #[schemars(with = "Option<String>")]
            quay_password: Option<crate::host::Secret>,
            #[serde(default = "crate::args::yes")]
            validate_certs: bool,
            /// The certificates (PEM) that are believed; by default the system's.
            ca_cert: Option<String>,
            #[serde(default)]
            state: crate::args::Presence,
            #[serde(skip)]
            connection: super::call::Connection,
            $($fields)*
        }

        impl $name {
            async fn quay(
                &self,
                cx: &crate::TaskContext,
            ) -> Result<std::sync::Arc<crate::quay::Rest<crate::web::Web>>, crate::ModuleError> {
                let access = super::call::Access {
                    host: &self.quay_host,
                    token: self.quay_token.as_ref(),
                    username: self.quay_username.as_deref(),
                    password: self.quay_password.as_ref(),
                    verify: self.validate_certs,
                    authorities: self.ca_cert.as_deref(),
                };
                self.connection.get(cx, &access).await
            }
        }
    };
}
pub(super) use with_quay;

/// Where Quay is and who asks.
pub(super) struct Access<'a> {
    pub(super) host: &'a str,
    pub(super) token: Option<&'a Secret>,
    pub(super) username: Option<&'a str>,
    pub(super) password: Option<&'a Secret>,
    pub(super) verify: bool,
    pub(super) authorities: Option<&'a str>,
}

impl Access<'_> {
    pub(super) fn open(&self, cx: &TaskContext) -> Result<Rest<Web>, ModuleError> {
        let login = match (self.token, self.username, self.password) {
            (Some(token), None, None) => Login::Token(token.clone()),
            (None, Some(user), Some(password)) => {
                Login::Password { user: user.to_owned(), password: password.clone() }
            }
            _ => {
                return Err(ModuleError::Arguments(
                    "give quay_token, or quay_username and quay_password".into(),
                ));
            }
        };
        let client = Web { trust: trust(self.verify, self.authorities)?, ..web(cx, SECONDS, self.verify) };
        Ok(Rest::new(self.host, client, login))
    }
}

/// How long one answer may take.
const SECONDS: u64 = 60;

/// One session a task: it is opened when it is first needed.
#[derive(Default)]
pub(super) struct Connection(OnceCell<Arc<Rest<Web>>>);

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connection")
    }
}

impl Connection {
    pub(super) async fn get(
        &self,
        cx: &TaskContext,
        access: &Access<'_>,
    ) -> Result<Arc<Rest<Web>>, ModuleError> {
        self.0.get_or_try_init(|| async { access.open(cx).map(Arc::new) }).await.map(Arc::clone)
    }
}

/// A request that changes something.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Call {
    pub(super) verb: Verb,
    pub(super) path: String,
    pub(super) body: Option<Value>,
    /// What it does, for messages.
    pub(super) what: String,
}

impl Call {
    pub(super) fn new(
        verb: Verb,
        path: impl Into<String>,
        body: Option<Value>,
        what: impl Into<String>,
    ) -> Self {
        Self { verb, path: path.into(), body, what: what.into() }
    }

    pub(super) async fn send(&self, quay: &Rest<Web>) -> Result<Value, ModuleError> {
        quay.call(self.verb, &self.path, self.body.as_ref(), &self.what).await.map_err(ModuleError::from)
    }
}

/// What is at a path. In check mode an earlier task may have foreseen Quay itself, its users and what is above that
/// path, so that nothing is there yet.
pub(super) async fn look(
    cx: &TaskContext,
    quay: &Rest<Web>,
    path: &str,
) -> Result<Option<Value>, ModuleError> {
    match quay.get(path).await {
        Err(
            QuayError::Unreachable { .. }
            | QuayError::Login { .. }
            | QuayError::Refused { status: 400 | 403, .. },
        ) if cx.mode.check => Ok(None),
        other => other.map_err(ModuleError::from),
    }
}

/// A plan with one difference to show; none where there are no calls.
pub(super) fn plan<S>(name: &str, steps: Vec<S>, before: &str, after: &str) -> Plan<S> {
    if steps.is_empty() {
        return Plan::default();
    }
    let lines = |text: &str| if text.ends_with('\n') { text.to_owned() } else { format!("{text}\n") };
    Plan::new(steps, vec![Diff::new(name, lines(before), lines(after))])
}

/// A text field of an answer.
pub(super) fn text(value: &Value, name: &str) -> Option<String> {
    value.get(name).and_then(Value::as_str).filter(|t| !t.is_empty()).map(str::to_owned)
}

/// Seconds of a duration such as `2w`.
pub(super) fn seconds(text: &str) -> Result<u64, ModuleError> {
    let wrong = || ModuleError::Arguments(format!("{text:?} is no duration; write it like 2w, 12h or 30m"));
    let unit = text.chars().last().ok_or_else(wrong)?;
    let factor = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        'w' => 604_800,
        c if c.is_ascii_digit() => return text.parse().map_err(|_| wrong()),
        _ => return Err(wrong()),
    };
    text[..text.len() - 1].parse::<u64>().ok().and_then(|n| n.checked_mul(factor)).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_become_seconds() {
        for (text, expected) in
            [("2w", Some(1_209_600)), ("0s", Some(0)), ("90", Some(90)), ("w", None), ("é", None)]
        {
            assert_eq!(seconds(text).ok(), expected, "{text}");
        }
    }
}
