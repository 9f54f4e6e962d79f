use async_trait::async_trait;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::call::{Call, plan, seconds, text, with_quay};
use super::place::{Place, shown};
use crate::args::{Presence, require};
use crate::host::Secret;
use crate::http::percent;
use crate::quay::Verb;
use crate::value::{Map, Value, plain};
use crate::{ModuleError, Plan, Recorded, Resource, RunMode, TaskContext, state_of};

with_quay! {
    /// Makes an organization the mirror of a namespace of another registry (3.17 and later, `FEATURE_ORG_MIRROR`). It must
    /// be empty when it becomes one; what is not said stays as it is.
    pub(super) struct QuayOrganizationMirror {
        organization: String,
        /// `true` for a new one.
        is_enabled: Option<bool>,
        /// Cannot be changed; a new one needs it.
        external_registry_type: Option<Kind>,
        /// `https://HOST`; a new one needs it.
        external_registry_url: Option<String>,
        /// The namespace or project there; a new one needs it.
        external_namespace: Option<String>,
        external_registry_username: Option<String>,
        /// Quay does not show it: it is sent with any other change, and where there was none.
        #[serde(default, deserialize_with = "crate::words::secret")]
        #[schemars(with = "Option<String>")]
        external_registry_password: Option<Secret>,
        /// The robot that writes here (`ORGANIZATION+ROBOT`); a new one needs it.
        robot_username: Option<String>,
        /// Of the repositories that come; `public` for a new one.
        visibility: Option<Visibility>,
        /// Which repositories, as patterns (`hello*`); an empty list is all.
        repository_filters: Option<Vec<String>>,
        /// How often (`8h`), a minute or more; a day for a new one.
        sync_interval: Option<String>,
        /// From when on (`2030-01-01T00:00:00Z`); at once for a new one.
        sync_start_date: Option<String>,
        /// How long one copy may take, 5 minutes to 12 hours; `5m` for a new one.
        #[serde(alias = "skopeo_timeout_interval")]
        skopeo_timeout: Option<String>,
        /// `true` for a new one.
        verify_tls: Option<bool>,
        http_proxy: Option<String>,
        https_proxy: Option<String>,
        /// Hosts without a proxy, between commas.
        no_proxy: Option<String>,
        /// Copy now; each run asks for it, unless Quay is at it.
        #[serde(default)]
        force_sync: bool,
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Quay,
    Harbor,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Visibility {
    Public,
    Private,
}

/// A duration as the collection takes it: also with spaces and in capitals.
fn duration(text: &str) -> Result<u64, ModuleError> {
    let compact: String = text.split_whitespace().collect();
    seconds(&compact.to_ascii_lowercase())
}

/// Whether a beginning is the one that is asked for, some rounds later: Quay moves it on with each copy.
fn is_later_round(mirror: &Value, held: &Value, asked: &Value) -> bool {
    let moment = |value: &Value| value.as_str()?.parse::<Timestamp>().ok().map(Timestamp::as_second);
    let interval = mirror.get("sync_interval").and_then(Value::as_i64).filter(|interval| *interval > 0);
    match (moment(held), moment(asked), interval) {
        (Some(held), Some(asked), Some(interval)) => held >= asked && (held - asked) % interval == 0,
        _ => false,
    }
}

impl QuayOrganizationMirror {
    fn path(&self) -> String {
        format!("organization/{}/mirror", percent(&self.organization, false))
    }

    fn place(&self) -> Place<'_> {
        Place::namespace(&self.organization).needs("FEATURE_ORG_MIRROR")
    }

    /// The settings of the way to the other registry: what is not said stays.
    fn registry_config(&self, now: Option<&Value>) -> Value {
        let held = now.and_then(|mirror| mirror.get("external_registry_config")).cloned();
        let mut config = match held {
            Some(Value::Object(config)) => config,
            _ => Map::new(),
        };
        if now.is_none() || self.verify_tls.is_some() {
            config.insert("verify_tls".into(), json!(self.verify_tls.unwrap_or(true)));
        }
        let proxies = [
            ("http_proxy", &self.http_proxy),
            ("https_proxy", &self.https_proxy),
            ("no_proxy", &self.no_proxy),
        ];
        if now.is_none() || proxies.iter().any(|(_, asked)| asked.is_some()) {
            let proxy = config.entry("proxy").or_insert_with(|| json!({}));
            for (key, asked) in proxies {
                if now.is_none() || asked.is_some() {
                    proxy[key] = json!(asked.as_ref().filter(|text| !text.is_empty()));
                }
            }
        }
        Value::Object(config)
    }

    /// What is asked for, as the API takes it.
    fn asked(&self, now: Option<&Value>) -> Result<Map, ModuleError> {
        let is_new = now.is_none();
        let mut body = Map::new();
        let mut put = |key: &str, asked: Option<Value>, otherwise: Option<Value>| {
            if let Some(value) = asked.or(otherwise.filter(|_| is_new)) {
                body.insert(key.to_owned(), value);
            }
        };
        let given = |text: &Option<String>| text.as_ref().map(|text| json!(text));
        let interval = self.sync_interval.as_deref().map(duration).transpose()?;
        let timeout = self.skopeo_timeout.as_deref().map(duration).transpose()?;
        put("is_enabled", self.is_enabled.map(Value::Bool), Some(json!(true)));
        if is_new {
            put("external_registry_type", self.external_registry_type.map(|kind| json!(kind)), None);
        }
        put("external_registry_url", given(&self.external_registry_url), None);
        put("external_namespace", given(&self.external_namespace), None);
        put("robot_username", given(&self.robot_username), None);
        put("visibility", self.visibility.map(|visibility| json!(visibility)), Some(json!("public")));
        put("sync_interval", interval.map(|s| json!(s)), Some(json!(86_400)));
        put("sync_start_date", given(&self.sync_start_date), None);
        put("repository_filters", self.repository_filters.as_ref().map(|f| json!(f)), Some(json!([])));
        put("skopeo_timeout", timeout.map(|s| json!(s)), Some(json!(300)));
        let user = self.external_registry_username.as_ref().map(|u| json!((!u.is_empty()).then_some(u)));
        put("external_registry_username", user, None);
        let config = self.registry_config(now);
        if is_new || now.and_then(|mirror| mirror.get("external_registry_config")) != Some(&config) {
            put("external_registry_config", Some(config), None);
        }
        Ok(body)
    }

    fn missing(&self) -> Vec<&'static str> {
        let needed = [
            ("external_registry_type", self.external_registry_type.is_none()),
            ("external_registry_url", self.external_registry_url.is_none()),
            ("external_namespace", self.external_namespace.is_none()),
            ("robot_username", self.robot_username.is_none()),
        ];
        needed.into_iter().filter_map(|(name, missing)| missing.then_some(name)).collect()
    }

    fn sync(&self) -> Call {
        let what = format!("copying what {} mirrors", self.organization);
        Call::new(Verb::Post, format!("{}/sync-now", self.path()), Some(json!({})), what)
    }

    fn making(&self) -> Result<Plan<Call>, ModuleError> {
        let missing = self.missing();
        if !missing.is_empty() {
            let what = format!(
                "{} is no mirror yet; to make it one, give {}",
                self.organization,
                missing.join(", ")
            );
            return Err(ModuleError::Arguments(what));
        }
        let mut body = self.asked(None)?;
        if let Some(password) = &self.external_registry_password {
            body.insert("external_registry_password".into(), json!(password.0));
        }
        let title = format!("mirror {}", self.organization);
        let what = format!("making the {title}");
        let mut calls = vec![Call::new(Verb::Post, self.path(), Some(Value::Object(body)), what)];
        calls.extend(self.force_sync.then(|| self.sync()));
        let from =
            [&self.external_registry_url, &self.external_namespace].map(|t| t.as_deref().unwrap_or_default());
        Ok(plan(&title, calls, "no mirror", &format!("of {}", from.join("/"))))
    }

    fn changing(&self, mirror: &Value) -> Result<Plan<Call>, ModuleError> {
        let title = format!("mirror {}", self.organization);
        let kind = text(mirror, "external_registry_type");
        if let Some(asked) = self.external_registry_type.map(|kind| plain(&json!(kind)))
            && kind.as_ref().is_some_and(|kind| *kind != asked)
        {
            return Err(ModuleError::failed(format!(
                "the {title} is of the type {}",
                kind.unwrap_or_default()
            ))
            .hint("Quay cannot change that: remove the mirror first (state: absent)"));
        }
        let mut body = self.asked(Some(mirror))?;
        body.retain(|key, asked| {
            let held = mirror.get(key.as_str()).unwrap_or(&Value::Null);
            held != asked && !(key == "sync_start_date" && is_later_round(mirror, held, asked))
        });
        let holds_password = mirror.get("has_external_registry_password").and_then(Value::as_bool);
        let (mut was, mut shall) = (Vec::new(), Vec::new());
        for (key, asked) in &body {
            was.push(format!("{key}: {}", mirror.get(key.as_str()).map(plain).unwrap_or_default()));
            shall.push(format!("{key}: {}", plain(asked)));
        }
        if let Some(password) = &self.external_registry_password
            && (!body.is_empty() || holds_password == Some(false))
        {
            body.insert("external_registry_password".into(), json!(password.0));
            shall.push("external_registry_password: ********".into());
        }
        let status = text(mirror, "sync_status").unwrap_or_default();
        let mut calls = Vec::new();
        if !body.is_empty() {
            if status == "SYNCING" {
                return Err(ModuleError::failed(format!(
                    "the {title} is copying, and cannot be changed meanwhile"
                ))
                .hint("try again later (until, retries)"));
            }
            let what = format!("changing the {title}");
            calls.push(Call::new(Verb::Put, self.path(), Some(Value::Object(body)), what));
        }
        if self.force_sync && status != "SYNCING" && status != "SYNC_NOW" {
            calls.push(self.sync());
            was.push(format!("sync_status: {status}"));
            shall.push("sync_status: SYNC_NOW".into());
        }
        Ok(plan(&title, calls, &was.join("\n"), &shall.join("\n")))
    }
}

#[async_trait]
impl Resource for QuayOrganizationMirror {
    const NAME: &'static str = "quay_organization_mirror";
    const FQCN: &'static [&'static str] =
        &["quaylab.lab.quay_organization_mirror", "infra.quay_configuration.quay_organization_mirror"];
    type Observed = Option<Value>;
    type Step = Call;

    fn validate(&self) -> Result<(), ModuleError> {
        let between = |name: &str, text: &Option<String>, least: u64, most: u64| {
            let seconds = text.as_deref().map(duration).transpose()?;
            let holds = seconds.is_none_or(|s| (least..=most).contains(&s));
            require(holds, format!("{name}: {} is not what Quay takes", text.as_deref().unwrap_or_default()))
        };
        between("sync_interval", &self.sync_interval, 60, u64::MAX)?;
        between("skopeo_timeout", &self.skopeo_timeout, 300, 43_200)?;
        let is_moment = |date: &String| date.ends_with('Z') && date.parse::<Timestamp>().is_ok();
        let holds = self.sync_start_date.as_ref().is_none_or(is_moment);
        require(holds, "sync_start_date: write it like 2030-01-01T00:00:00Z")
    }

    async fn observe(&self, cx: &TaskContext) -> Result<Option<Value>, ModuleError> {
        self.place().look(cx, &*self.quay(cx)?, &self.path(), self.state).await
    }

    fn plan(&self, now: &Option<Value>, _: RunMode) -> Result<Plan<Call>, ModuleError> {
        match (self.state, now) {
            (Presence::Absent, None) => Ok(Plan::default()),
            (Presence::Absent, Some(_)) => {
                let title = format!("mirror {}", self.organization);
                let call = Call::new(Verb::Delete, self.path(), None, format!("removing the {title}"));
                Ok(plan(&title, vec![call], "a mirror", "no mirror"))
            }
            (Presence::Present, None) => self.making(),
            (Presence::Present, Some(mirror)) => self.changing(mirror),
        }
    }

    async fn apply(&self, step: &Call, cx: &TaskContext) -> Result<(), ModuleError> {
        let mut call = step.clone();
        // The moment is a step's, not the plan's.
        if call.verb == Verb::Post
            && let Some(Value::Object(body)) = &mut call.body
            && !body.is_empty()
        {
            let now = || json!(Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
            body.entry("sync_start_date").or_insert_with(now);
        }
        self.place().send(&*self.quay(cx)?, &call).await.map(drop)
    }

    fn shown(step: &Call) -> String {
        shown(step)
    }

    fn result(&self, after: &Option<Value>) -> Map {
        let field = |name: &str| json!(after.as_ref().and_then(|mirror| text(mirror, name)));
        Map::from_iter([
            ("exists".to_owned(), json!(after.is_some())),
            ("sync_status".to_owned(), field("sync_status")),
        ])
    }

    fn recorded(&self, recorded: &Recorded) -> Option<Result<Self::Observed, ModuleError>> {
        state_of(recorded)
    }
}
