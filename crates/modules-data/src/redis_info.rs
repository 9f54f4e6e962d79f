use std::time::{Duration, Instant};

use async_trait::async_trait;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, RedisConnectionInfo, RedisError};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use crate::host::{Endpoint, Secret};
use crate::value::{Map, Value};
use crate::{Action, CheckMode, ModuleError, Outcome, TaskContext};

/// Asks Redis whether it answers (PING) and what it says of itself (INFO).
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RedisInfo {
    /// The server's name or address as the target sees it.
    #[serde(default = "super::postgres::localhost")]
    login_host: String,
    #[serde(default = "default_port")]
    login_port: u16,
    /// The user, where Redis has users (6 and newer).
    login_user: Option<String>,
    #[serde(default, deserialize_with = "crate::words::secret")]
    #[schemars(with = "Option<String>")]
    login_password: Option<Secret>,
    /// Seconds to wait for an answer.
    #[serde(default = "default_timeout")]
    timeout: u64,
}

fn default_port() -> u16 {
    6379
}

fn default_timeout() -> u64 {
    10
}

#[async_trait]
impl Action for RedisInfo {
    const NAME: &'static str = "redis_info";
    const FQCN: &'static [&'static str] = &["community.general.redis_info"];
    const CHECK: CheckMode = CheckMode::Runs;

    async fn run(self, cx: &TaskContext) -> Result<Outcome, ModuleError> {
        let place = format!("{}:{}", self.login_host, self.login_port);
        let endpoint = Endpoint::Tcp { host: self.login_host.clone(), port: self.login_port };
        let stream = cx.shell.dial(&endpoint).await.map_err(|e| {
            ModuleError::failed(format!("Redis does not answer at {place} on {}: {e}", cx.host))
                .hint("is the server running, and does it listen there?")
        })?;
        let wait = Duration::from_secs(self.timeout);
        let conversation = async {
            let login = RedisConnectionInfo::default();
            let config = AsyncConnectionConfig::new().set_response_timeout(Some(wait));
            let (mut connection, driver) =
                MultiplexedConnection::new_with_config(&login, stream, config).await?;
            tokio::spawn(driver);
            if let Some(password) = &self.login_password {
                // Asked for here, not by the client crate, which keeps the server's words to itself.
                let mut auth = redis::cmd("AUTH");
                if let Some(user) = &self.login_user {
                    auth.arg(user);
                }
                auth.arg(&password.0).query_async::<()>(&mut connection).await?;
            }
            let started = Instant::now();
            let pong: String = redis::cmd("PING").query_async(&mut connection).await?;
            let took = crate::sql::milliseconds(started);
            let info: String = redis::cmd("INFO").query_async(&mut connection).await?;
            Ok::<_, RedisError>((pong, took, info))
        };
        match tokio::time::timeout(wait, conversation).await {
            Ok(Ok((pong, took, info))) => Ok(Outcome::ok(Map::from_iter([
                ("ping".to_owned(), json!(pong)),
                ("ping_ms".to_owned(), json!(took)),
                ("info".to_owned(), Value::Object(read_info(&info))),
            ]))),
            Ok(Err(error)) => Err(self.refused(&place, &error.to_string())),
            Err(_) => {
                Err(ModuleError::failed(format!("Redis at {place} gave no answer within {} s", self.timeout))
                    .hint("what listens there may not be Redis"))
            }
        }
    }
}

impl RedisInfo {
    /// Tells the reasons apart for which Redis refuses.
    fn refused(&self, place: &str, text: &str) -> ModuleError {
        let lower = text.to_lowercase();
        let has = |words: &[&str]| words.iter().any(|w| lower.contains(w));
        if has(&["no password is set", "without any password configured"]) {
            ModuleError::failed(format!("Redis at {place} has no password, but one was given"))
                .hint("set requirepass in its configuration, or leave login_password out")
        } else if has(&["noauth", "authentication required"]) && self.login_password.is_none() {
            ModuleError::failed(format!("Redis at {place} wants a password, and none was given"))
                .hint("set login_password")
        } else if has(&["wrongpass", "invalid password", "invalid username", "authentication failed"]) {
            ModuleError::failed(format!("Redis at {place} refused the password"))
                .hint("the server may still run with an older password; restart it with the one that is kept")
        } else if has(&["loading"]) {
            ModuleError::failed(format!("Redis at {place} is loading its data"))
                .hint("try again in a moment (until, retries)")
        } else {
            ModuleError::failed(format!("Redis at {place}: {text}")).hint("is what listens there Redis?")
        }
    }
}

/// Reads INFO's lines; numbers become numbers, `db0:keys=1,expires=0` a mapping.
fn read_info(text: &str) -> Map {
    let number = |value: &str| match value.parse::<i64>() {
        Ok(n) => json!(n),
        Err(_) => match value.parse::<f64>() {
            Ok(f) if f.is_finite() && value.starts_with(|c: char| c.is_ascii_digit() || c == '-') => json!(f),
            _ => json!(value),
        },
    };
    let lines = text.lines().filter(|l| !l.starts_with('#')).filter_map(|l| l.split_once(':'));
    lines
        .map(|(name, value)| {
            let pairs: Option<Map> = (value.contains('=') && !value.contains(' '))
                .then(|| {
                    value
                        .split(',')
                        .map(|p| p.split_once('=').map(|(k, v)| (k.to_owned(), number(v))))
                        .collect()
                })
                .flatten();
            (name.to_owned(), pairs.map_or_else(|| number(value), Value::Object))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn info_becomes_values() {
        let text = "# Server\r\nredis_version:7.0.15\r\nuptime_in_seconds:3\r\nratio:1.5\r\ndb0:keys=1,expires=0\r\nempty:\r\n";
        let expected = json!({
            "redis_version": "7.0.15", "uptime_in_seconds": 3, "ratio": 1.5,
            "db0": {"keys": 1, "expires": 0}, "empty": ""
        });
        assert_eq!(Value::Object(read_info(text)), expected);
    }
}
