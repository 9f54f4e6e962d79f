use std::sync::Arc;

use super::call::{Call, text};
use crate::args::Presence;
use crate::host::Secret;
use crate::http::percent;
use crate::quay::{QuayError, Rest, Verb};
use crate::value::Value;
use crate::web::Web;
use crate::{ModuleError, TaskContext};

/// The arguments of what declares no state of something: as `with_quay!`, and without a login it asks as nobody.
macro_rules! asks_quay {
    ($(#[$meta:meta])* $visibility:vis struct $name:ident { $($fields:tt)* }) => {
        $(#[$meta])*
        #[derive(Debug, serde::Deserialize, schemars::JsonSchema)]
        #[serde(deny_unknown_fields)]
        $visibility struct $name {
            /// Quay's address as the target sees it (`https://HOST[:PORT]`).
            #[serde(default = "super::place::own_host", alias = "url")]
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
            $($fields)*
        }

        impl $name {
            fn quay(&self, cx: &crate::TaskContext) -> Result<super::place::Client, crate::ModuleError> {
                let host = super::place::address(&self.quay_host);
                let nobody = super::place::nobody();
                let is_nobody = self.quay_token.is_none() && self.quay_username.is_none() && self.quay_password.is_none();
                let access = super::call::Access {
                    host: &host,
                    token: if is_nobody { Some(&nobody) } else { self.quay_token.as_ref() },
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
pub(super) use asks_quay;

pub(super) type Client = Arc<Rest<Web>>;

/// Where the collection looks unless it is told.
pub(super) fn own_host() -> String {
    "http://127.0.0.1".into()
}

/// A host without a scheme is asked by https.
pub(super) fn address(host: &str) -> String {
    if host.contains("://") { host.to_owned() } else { format!("https://{host}") }
}

/// Quay takes an empty token for none.
pub(super) fn nobody() -> Secret {
    Secret(String::new())
}

/// What something is part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Holder<'a> {
    /// Quay itself.
    Quay,
    /// An organization or a user.
    Namespace(&'a str),
    Repository(&'a str),
}

/// Where something is, so that an answer of Quay's can be told from there being nothing to ask about.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    holder: Holder<'a>,
    feature: Option<&'static str>,
    is_list: bool,
}

impl<'a> Place<'a> {
    pub(super) fn quay() -> Self {
        Self { holder: Holder::Quay, feature: None, is_list: false }
    }

    pub(super) fn namespace(name: &'a str) -> Self {
        Self { holder: Holder::Namespace(name), ..Self::quay() }
    }

    pub(super) fn repository(name: &'a str) -> Self {
        Self { holder: Holder::Repository(name), ..Self::quay() }
    }

    /// What must be on in config.yaml.
    pub(super) fn needs(self, feature: &'static str) -> Self {
        Self { feature: Some(feature), ..self }
    }

    /// Quay answers with a list, also where nothing is in it.
    pub(super) fn list(self) -> Self {
        Self { is_list: true, ..self }
    }

    /// What is at a path. In check mode an earlier task may have foreseen all that is above it; what is to be absent
    /// is absent where what held it is gone.
    pub(super) async fn look(
        &self,
        cx: &TaskContext,
        quay: &Rest<Web>,
        path: &str,
        state: Presence,
    ) -> Result<Option<Value>, ModuleError> {
        let refusal = match quay.get(path).await {
            Ok(Some(value)) => return Ok(Some(value)),
            Ok(None) => None,
            Err(refused @ (QuayError::Off { .. } | QuayError::Refused { status: 400..=405, .. })) => {
                Some(refused)
            }
            Err(
                QuayError::Unreachable { .. }
                | QuayError::Starting
                | QuayError::Https { .. }
                | QuayError::Login { .. },
            ) if cx.mode.check => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let is_lenient = cx.mode.check || state == Presence::Absent;
        if !self.is_there(quay).await? {
            return if is_lenient { Ok(None) } else { Err(self.missing()) };
        }
        match refusal {
            None if !self.is_list => Ok(None),
            // Where a feature is off, Quay knows no such path: it sends on, or says that nothing is there.
            None | Some(QuayError::Off { .. } | QuayError::Refused { status: 404 | 405, .. }) => {
                if is_lenient { Ok(None) } else { Err(self.off(path)) }
            }
            Some(_) if cx.mode.check => Ok(None),
            Some(refused) => Err(refused.into()),
        }
    }

    /// Does what a call says.
    pub(super) async fn send(&self, quay: &Rest<Web>, call: &Call) -> Result<Value, ModuleError> {
        match quay.call(call.verb, &call.path, call.body.as_ref(), &call.what).await {
            Err(QuayError::Off { .. } | QuayError::Refused { status: 404 | 405, .. })
                if self.feature.is_some() =>
            {
                Err(self.off(&call.path))
            }
            other => other.map_err(ModuleError::from),
        }
    }

    async fn is_there(&self, quay: &Rest<Web>) -> Result<bool, ModuleError> {
        match self.holder {
            Holder::Quay => Ok(true),
            Holder::Namespace(name) => has_namespace(quay, name).await,
            Holder::Repository(name) => {
                let path = format!("repository/{}?includeTags=false&includeStats=false", percent(name, true));
                match quay.get(&path).await {
                    Ok(found) => Ok(found.is_some()),
                    // It is not said of a repository whether it is there to those who may not know.
                    Err(QuayError::Refused { status: 401 | 403, .. }) => {
                        has_namespace(quay, name.split('/').next().unwrap_or(name)).await
                    }
                    Err(error) => Err(error.into()),
                }
            }
        }
    }

    fn missing(&self) -> ModuleError {
        match self.holder {
            Holder::Quay => ModuleError::failed("there is no such thing"),
            Holder::Namespace(name) => {
                ModuleError::failed(format!("there is no organization or user {name}"))
                    .hint("make it first (quay_organization, quay_user)")
            }
            Holder::Repository(name) => ModuleError::failed(format!("there is no repository {name}"))
                .hint("make it first (quay_repository)"),
        }
    }

    fn off(&self, path: &str) -> ModuleError {
        let error = ModuleError::failed(format!("Quay knows nothing at {path}"));
        match self.feature {
            Some(feature) => error
                .hint(format!("set {feature}: true in config.yaml and restart Quay, if it is not too old")),
            None => error.hint("is this Quay too old for that?"),
        }
    }
}

async fn has_namespace(quay: &Rest<Web>, name: &str) -> Result<bool, ModuleError> {
    let name = percent(name, false);
    if quay.get(&format!("organization/{name}")).await?.is_some() {
        return Ok(true);
    }
    match quay.get(&format!("users/{name}")).await {
        Ok(user) => Ok(user.is_some()),
        // Some versions tell it to nobody.
        Err(QuayError::Off { .. } | QuayError::Refused { .. }) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// A repository's whole name: without a namespace it is the own one of whoever asks.
pub(super) async fn whole_name(
    cx: &TaskContext,
    quay: &Rest<Web>,
    name: &str,
) -> Result<String, ModuleError> {
    let name = name.trim_matches('/');
    if name.contains('/') {
        return Ok(name.to_owned());
    }
    let unknown = || {
        ModuleError::Arguments(format!("{name:?} names no namespace, and nobody is logged in who has one"))
            .hint(format!("write NAMESPACE/{name}"))
    };
    match quay.get("user/").await {
        Ok(user) => {
            let me = user.as_ref().and_then(|user| text(user, "username")).ok_or_else(unknown)?;
            Ok(format!("{me}/{name}"))
        }
        Err(QuayError::Refused { .. }) => Err(unknown()),
        Err(_) if cx.mode.check => Ok(name.to_owned()),
        Err(error) => Err(error.into()),
    }
}

/// The list in an answer.
pub(super) fn list(answer: Option<Value>, name: &str) -> Vec<Value> {
    match answer {
        Some(Value::Object(mut map)) => match map.shift_remove(name) {
            Some(Value::Array(items)) => items,
            _ => Vec::new(),
        },
        _ => Vec::new(),
    }
}

/// A call as fixtures write it: `POST path {"body": …}`.
pub(super) fn shown(call: &Call) -> String {
    let verb = match call.verb {
        Verb::Post => "POST",
        Verb::Put => "PUT",
        Verb::Delete => "DELETE",
    };
    match &call.body {
        None => format!("{verb} {}", call.path),
        Some(body) => format!("{verb} {} {body}", call.path),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn hosts_and_lists_are_read() {
        assert_eq!(address("quay.io"), "https://quay.io");
        assert_eq!(address("http://q:8080"), "http://q:8080");
        assert_eq!(list(Some(json!({"a": [1]})), "a"), [json!(1)]);
        assert_eq!(list(Some(json!([1])), "a"), Vec::<Value>::new());
        let call = Call::new(Verb::Put, "a/b", Some(json!({"c": 1})), "doing");
        assert_eq!(shown(&call), r#"PUT a/b {"c":1}"#);
    }
}
