use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use crate::host::{Secret, Shell};
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
            #[serde(default = "crate::args::yes", alias = "verify_ssl")]
            validate_certs: bool,
            /// The certificates (PEM) that are believed; by default the system's.
            ca_cert: Option<String>,
            #[serde(default)]
            state: crate::args::Presence,
            $($fields)*
        }

        impl $name {
            /// The run's session with Quay for this login.
            fn quay(
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
                access.session(cx)
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
    /// The run's session for this login; it signs in when it is first needed.
    pub(super) fn session(&self, cx: &TaskContext) -> Result<Arc<Rest<Web>>, ModuleError> {
        let login = self.login()?;
        let sessions = cx.run.get::<Sessions>();
        let mut sessions = sessions.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = sessions.iter().find(|session| {
            session.shell.is(&cx.shell)
                && session.base == self.host
                && session.login == login
                && session.verify == self.verify
                && session.authorities.as_deref() == self.authorities
        });
        if let Some(known) = known {
            return Ok(Arc::clone(&known.quay));
        }
        let quay = Arc::new(self.open(cx)?);
        sessions.push(Session {
            shell: cx.shell.clone(),
            base: self.host.to_owned(),
            login,
            verify: self.verify,
            authorities: self.authorities.map(str::to_owned),
            quay: Arc::clone(&quay),
        });
        Ok(quay)
    }

    /// A session of its own.
    pub(super) fn open(&self, cx: &TaskContext) -> Result<Rest<Web>, ModuleError> {
        let client = Web { trust: trust(self.verify, self.authorities)?, ..web(cx, SECONDS, self.verify) };
        Ok(Rest::new(self.host, client, self.login()?))
    }

    fn login(&self) -> Result<Login, ModuleError> {
        Ok(match (self.token, self.username, self.password) {
            (Some(none), None, None) if none.0.is_empty() => Login::Nobody,
            (Some(token), None, None) => Login::Token(token.clone()),
            (None, Some(user), Some(password)) => {
                Login::Password { user: user.to_owned(), password: password.clone() }
            }
            _ => {
                return Err(ModuleError::Arguments(
                    "give quay_token, or quay_username and quay_password".into(),
                ));
            }
        })
    }
}

/// How long one answer may take.
const SECONDS: u64 = 60;

/// The sessions of a run: a login is one for all tasks on a host.
#[derive(Default)]
struct Sessions(Mutex<Vec<Session>>);

struct Session {
    shell: Shell,
    base: String,
    login: Login,
    verify: bool,
    authorities: Option<String>,
    quay: Arc<Rest<Web>>,
}

/// A request that changes something.
#[derive(Clone, PartialEq)]
pub(super) struct Call {
    pub(super) verb: Verb,
    pub(super) path: String,
    pub(super) body: Option<Value>,
    /// What it does, for messages.
    pub(super) what: String,
}

/// As fixtures write it: the request, without passwords.
impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}", self.verb, self.path)?;
        let Some(body) = &self.body else { return Ok(()) };
        let mut shown = body.clone();
        for (name, value) in shown.as_object_mut().into_iter().flatten() {
            if name.contains("password") {
                *value = "********".into();
            }
        }
        write!(f, " {shown}")
    }
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
        self.ask(quay).await.map_err(ModuleError::from)
    }

    pub(super) async fn ask(&self, quay: &Rest<Web>) -> Result<Value, QuayError> {
        quay.call(self.verb, &self.path, self.body.as_ref(), &self.what).await
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
        Err(error) if foreseen(cx, &error) => Ok(None),
        other => other.map_err(ModuleError::from),
    }
}

fn foreseen(cx: &TaskContext, error: &QuayError) -> bool {
    cx.mode.check
        && matches!(
            error,
            QuayError::Unreachable { .. }
                | QuayError::Starting
                | QuayError::Https { .. }
                | QuayError::Login { .. }
                | QuayError::Refused { status: 400 | 403, .. }
        )
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
