use std::time::{Duration, Instant};

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use crate::host::Secret;
use crate::quay::{Initialized, Login, NewUser, Quay, QuayError, Rest};
use crate::value::Map;
use crate::web::{Web, web};
use crate::{Action, CheckMode, ModuleError, Outcome, TaskContext};

/// Makes Quay's first user, who can then make everything else. It does nothing where Quay has users.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct QuayFirstUser {
    /// Quay's address as the target sees it.
    #[serde(alias = "quay_host")]
    url: String,
    username: String,
    #[schemars(with = "String")]
    #[serde(deserialize_with = "secret")]
    password: Secret,
    email: String,
    /// Also make an access token for the API; it is returned once, and only when the user is made.
    #[serde(default = "crate::args::yes", alias = "create_token")]
    access_token: bool,
    #[serde(default = "crate::args::yes")]
    validate_certs: bool,
    /// Seconds.
    #[serde(default = "default_timeout")]
    timeout: u64,
}

fn secret<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Secret, D::Error> {
    String::deserialize(deserializer).map(Secret)
}

fn default_timeout() -> u64 {
    60
}

impl QuayFirstUser {
    /// Whether this user would be made: nothing but making it says whether there are users, but a Quay that lets this
    /// one in has it. One that does not answer is itself yet to come.
    async fn foresee(&self, web: Web) -> Result<Outcome, ModuleError> {
        let login = Login::Password { user: self.username.clone(), password: self.password.clone() };
        let enters = match Rest::new(&self.url, web, login).may_enter().await {
            Ok(enters) => enters,
            Err(QuayError::Unreachable { .. } | QuayError::Starting) => false,
            Err(error) => return Err(ModuleError::failed(error.to_string()).hint(error.hint())),
        };
        let result = Map::from_iter([("username".to_owned(), json!(self.username))]);
        Ok(Outcome { changed: !enters, result, ..Outcome::default() })
    }
}

#[async_trait]
impl Action for QuayFirstUser {
    const NAME: &'static str = "quay_first_user";
    const FQCN: &'static [&'static str] =
        &["quaylab.lab.quay_first_user", "infra.quay_configuration.quay_first_user"];
    const CHECK: CheckMode = CheckMode::Runs;

    fn validate(&self) -> Result<(), ModuleError> {
        if self.password.0.chars().count() < 8 || self.password.0.contains(char::is_whitespace) {
            return Err(ModuleError::Arguments(
                "password: Quay wants at least 8 characters and no white space".into(),
            ));
        }
        Ok(())
    }

    async fn run(self, cx: &TaskContext) -> Result<Outcome, ModuleError> {
        let web = web(cx, self.timeout, self.validate_certs);
        if cx.mode.check {
            return self.foresee(web).await;
        }
        let quay = Quay::new(&self.url, web);
        let user = NewUser {
            username: self.username.clone(),
            password: self.password.clone(),
            email: self.email.clone(),
            access_token: self.access_token,
        };
        let failed = |e: &crate::quay::QuayError| ModuleError::failed(e.to_string()).hint(e.hint());
        let since = Instant::now();
        let initialized = loop {
            match quay.initialize(&user).await {
                Err(QuayError::Starting) if since.elapsed() < Duration::from_secs(self.timeout) => {
                    cx.controller.progress("Quay is still starting");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
                other => break other.map_err(|e| failed(&e))?,
            }
        };
        let (changed, token) = match initialized {
            Initialized::Made { access_token } => (true, access_token),
            Initialized::NotEmpty => (false, None),
        };
        let mut result = Map::from_iter([("username".to_owned(), json!(self.username))]);
        if let Some(token) = token {
            result.insert("access_token".into(), json!(token));
        }
        Ok(Outcome { changed, result, ..Outcome::default() })
    }
}
