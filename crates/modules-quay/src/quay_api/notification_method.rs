use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::call::text;
use crate::ModuleError;
use crate::args::require;
use crate::host::Secret;
use crate::value::Value;

/// How a notification is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Method {
    /// To an address that has agreed to it (`FEATURE_MAILING`).
    Email,
    Flowdock,
    Hipchat,
    /// On Quay's own pages.
    QuayNotification,
    Slack,
    Webhook,
}

/// To whom a notification goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Kind {
    #[default]
    User,
    Team,
    Org,
}

/// What a method must be told.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Config {
    /// `quay_notification`: who gets it, no robot.
    name: Option<String>,
    /// `quay_notification`: what that is the name of.
    #[serde(default, rename = "type")]
    kind: Kind,
    /// `email`: the address.
    email: Option<String>,
    /// `slack`, `webhook`: where it is sent.
    url: Option<String>,
    /// `webhook`: what is sent, as JSON.
    template: Option<Value>,
    /// `hipchat`
    room_id: Option<String>,
    /// `hipchat`
    #[serde(default, deserialize_with = "crate::words::secret")]
    #[schemars(with = "Option<String>")]
    notification_token: Option<Secret>,
    /// `flowdock`
    #[serde(default, deserialize_with = "crate::words::secret")]
    #[schemars(with = "Option<String>")]
    flow_api_token: Option<Secret>,
}

impl Method {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::Flowdock => "flowdock",
            Self::Hipchat => "hipchat",
            Self::QuayNotification => "quay_notification",
            Self::Slack => "slack",
            Self::Webhook => "webhook",
        }
    }

    /// The fields that the method must have.
    fn needs(self) -> &'static [&'static str] {
        match self {
            Self::Email => &["email"],
            Self::Flowdock => &["flow_api_token"],
            Self::Hipchat => &["room_id", "notification_token"],
            Self::QuayNotification => &["name"],
            Self::Slack | Self::Webhook => &["url"],
        }
    }

    /// Whether what is held says what is asked for; Quay adds more to it.
    pub(super) fn is_same(self, asked: &Value, held: &Value) -> bool {
        if self == Self::QuayNotification {
            let target = |config: &Value| {
                let target = config.get("target").cloned().unwrap_or_default();
                (text(&target, "name"), text(&target, "kind"))
            };
            return target(asked) == target(held);
        }
        let fields = asked.as_object().into_iter().flatten();
        fields.into_iter().all(|(key, value)| held.get(key) == Some(value))
    }
}

impl Config {
    fn given(&self) -> Vec<&'static str> {
        [
            ("name", self.name.is_some()),
            ("email", self.email.is_some()),
            ("url", self.url.is_some()),
            ("template", self.template.is_some()),
            ("room_id", self.room_id.is_some()),
            ("notification_token", self.notification_token.is_some()),
            ("flow_api_token", self.flow_api_token.is_some()),
        ]
        .into_iter()
        .filter_map(|(name, given)| given.then_some(name))
        .collect()
    }

    /// As Quay takes it.
    pub(super) fn body(&self, method: Method) -> Result<Value, ModuleError> {
        let given = self.given();
        for name in method.needs() {
            require(given.contains(name), format!("config: {} needs {name}", method.word()))?;
        }
        for name in &given {
            let is_known =
                method.needs().contains(name) || (method == Method::Webhook && *name == "template");
            require(is_known, format!("config: {} has no {name}", method.word()))?;
        }
        Ok(match method {
            Method::Email => json!({"email": self.email}),
            Method::Slack => json!({"url": self.url}),
            Method::Webhook => match &self.template {
                None => json!({"url": self.url}),
                Some(Value::String(template)) => json!({"url": self.url, "template": template}),
                // What was written as a mapping is sent as the text of one.
                Some(template) => json!({"url": self.url, "template": template.to_string()}),
            },
            Method::QuayNotification => {
                let kind = match self.kind {
                    Kind::User => "user",
                    Kind::Team => "team",
                    Kind::Org => "org",
                };
                json!({"target": {"name": self.name, "kind": kind}})
            }
            Method::Hipchat => {
                let token = self.notification_token.as_ref().map(|token| &token.0);
                json!({"room_id": self.room_id, "notification_token": token})
            }
            Method::Flowdock => {
                json!({"flow_api_token": self.flow_api_token.as_ref().map(|token| &token.0)})
            }
        })
    }
}
