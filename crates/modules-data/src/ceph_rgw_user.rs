use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use crate::args::Presence;
use crate::host::{Reply, Script, Secret};
use crate::value::{Map, Value};
use crate::words::bytes;
use crate::{Diff, ModuleError, Plan, Resource, RunMode, TaskContext};

/// A user of Ceph's object gateway. Its keys are made by Ceph, read back, and made anew on request; they never stand in
/// an argument list.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CephRgwUser {
    /// The user's id.
    #[serde(alias = "uid")]
    name: String,
    #[serde(default)]
    state: Presence,
    display_name: Option<String>,
    email: Option<String>,
    max_buckets: Option<u64>,
    /// The most that all of the user's buckets may hold (`10g`); `0` takes the limit away.
    quota: Option<String>,
    suspended: Option<bool>,
    /// Make new keys; the old ones stop working.
    #[serde(default)]
    rotate: bool,
    /// Remove what a user holds who is removed.
    #[serde(default)]
    purge: bool,
    /// The cluster's configuration on the target, where it is not /etc/ceph/ceph.conf.
    ceph_conf: Option<String>,
    /// As whom to speak to the cluster (`client.admin` unless it is said).
    ceph_client: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    display_name: String,
    email: String,
    max_buckets: u64,
    suspended: bool,
    /// Bytes, where the user's quota is on.
    quota: Option<i64>,
    access_key: String,
    secret_key: Secret,
}

/// Arguments of radosgw-admin.
pub(super) type Step = Vec<String>;

/// Its exit code for a user that is not there: ENOENT, in the way of the shell.
const NO_SUCH_USER: [i32; 2] = [2, 22];

fn read(text: &str) -> Result<Found, ModuleError> {
    // The program may write warnings before its answer.
    let from = text.find('{').unwrap_or(0);
    let user: Value = serde_json::from_str(&text[from..])
        .map_err(|e| ModuleError::failed(format!("radosgw-admin gave no user: {e}")))?;
    let field = |name: &str| user.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let key = user.get("keys").and_then(|k| k.get(0)).cloned().unwrap_or_default();
    let part = |name: &str| key.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let quota = user.get("user_quota").cloned().unwrap_or_default();
    let on = quota.get("enabled").and_then(Value::as_bool).unwrap_or(false);
    Ok(Found {
        display_name: field("display_name"),
        email: field("email"),
        max_buckets: user.get("max_buckets").and_then(Value::as_u64).unwrap_or_default(),
        suspended: user.get("suspended").and_then(Value::as_u64).unwrap_or(0) != 0,
        quota: on.then(|| quota.get("max_size").and_then(Value::as_i64).unwrap_or(-1)),
        access_key: part("access_key"),
        secret_key: Secret(part("secret_key")),
    })
}

impl CephRgwUser {
    fn words(&self, verb: &[&str], options: &[(&str, String)]) -> Step {
        let mut words: Vec<String> = verb.iter().map(|w| (*w).to_owned()).collect();
        words.push(format!("--uid={}", self.name));
        words.extend(options.iter().map(|(name, value)| format!("--{name}={value}")));
        words
    }

    async fn ask(&self, words: &[String], cx: &TaskContext) -> Result<Reply, ModuleError> {
        let mut argv = vec!["radosgw-admin".to_owned()];
        for (flag, value) in [("--conf", &self.ceph_conf), ("--name", &self.ceph_client)] {
            argv.extend(value.iter().flat_map(|v| [flag.to_owned(), v.clone()]));
        }
        argv.extend(words.iter().cloned());
        Ok(cx.shell.run(&cx.within(Script::argv(&argv))).await?)
    }

    /// The options that differ, as `user create` and `user modify` take them.
    fn options(&self, now: Option<&Found>) -> Vec<(&'static str, String)> {
        let mut options = Vec::new();
        let display = self.display_name.clone().or_else(|| now.is_none().then(|| self.name.clone()));
        if let Some(display) = display.filter(|d| now.is_none_or(|f| f.display_name != *d)) {
            options.push(("display-name", display));
        }
        if let Some(email) = self.email.as_ref().filter(|e| now.is_none_or(|f| f.email != **e)) {
            options.push(("email", email.clone()));
        }
        if let Some(most) = self.max_buckets.filter(|m| now.is_none_or(|f| f.max_buckets != *m)) {
            options.push(("max-buckets", most.to_string()));
        }
        options
    }

    /// The quota that is asked for.
    fn asked_quota(&self) -> Result<Option<Quota>, ModuleError> {
        let quota = self.quota.as_deref().map(bytes).transpose().map_err(ModuleError::Arguments)?;
        Ok(quota.map(|size| if size > 0 { Quota::Bytes(size) } else { Quota::Off }))
    }

    fn quota_steps(&self, now: Option<i64>) -> Result<Vec<Step>, ModuleError> {
        let scope = || ("quota-scope", "user".to_owned());
        Ok(match self.asked_quota()? {
            Some(asked) if asked == now.map_or(Quota::Off, Quota::Bytes) => Vec::new(),
            Some(Quota::Bytes(size)) => vec![
                self.words(&["quota", "set"], &[scope(), ("max-size", size.to_string())]),
                self.words(&["quota", "enable"], &[scope()]),
            ],
            Some(Quota::Off) => vec![self.words(&["quota", "disable"], &[scope()])],
            None => Vec::new(),
        })
    }
}

/// How much a user may keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Quota {
    Off,
    Bytes(i64),
}

fn shown(found: &Found) -> String {
    format!(
        "{} <{}>, at most {} buckets{}{}\n",
        found.display_name,
        found.email,
        found.max_buckets,
        found.quota.map_or(String::new(), |q| format!(", {q} bytes")),
        if found.suspended { ", suspended" } else { "" }
    )
}

#[async_trait]
impl Resource for CephRgwUser {
    const NAME: &'static str = "ceph_rgw_user";
    const FQCN: &'static [&'static str] = &["quaylab.lab.ceph_rgw_user"];
    type Observed = Option<Found>;
    type Step = Step;

    fn validate(&self) -> Result<(), ModuleError> {
        self.asked_quota().map(drop)
    }

    async fn observe(&self, cx: &TaskContext) -> Result<Option<Found>, ModuleError> {
        let reply = self.ask(&self.words(&["user", "info"], &[]), cx).await?;
        if reply.ok() {
            return read(&reply.out()).map(Some);
        }
        let said = reply.err().trim().to_owned();
        if NO_SUCH_USER.contains(&reply.status) && said.contains("no user info") {
            return Ok(None);
        }
        if cx.mode.check && reply.status == 127 {
            // An earlier task would install it.
            return Ok(None);
        }
        let last = said.lines().last().unwrap_or("it said nothing").to_owned();
        Err(ModuleError::failed(format!("radosgw-admin failed with status {}: {last}", reply.status)).hint(
            "does the cluster answer (ceph status), and may this user read its keyring (become: true)?",
        ))
    }

    fn plan(&self, now: &Option<Found>, _: RunMode) -> Result<Plan<Step>, ModuleError> {
        let title = format!("gateway user {}", self.name);
        let mut steps = Vec::new();
        let after = match (self.state, now) {
            (Presence::Absent, None) => return Ok(Plan::default()),
            (Presence::Absent, Some(_)) => {
                let mut words = self.words(&["user", "rm"], &[]);
                words.extend(self.purge.then(|| "--purge-data".to_owned()));
                steps.push(words);
                "absent\n".to_owned()
            }
            (Presence::Present, None) => {
                steps.push(self.words(&["user", "create"], &self.options(None)));
                steps.extend(self.quota_steps(None)?);
                steps.extend((self.suspended == Some(true)).then(|| self.words(&["user", "suspend"], &[])));
                "present\n".to_owned()
            }
            (Presence::Present, Some(found)) => {
                let options = self.options(Some(found));
                let mut notes: Vec<String> =
                    options.iter().map(|(name, value)| format!("{name}: {value}\n")).collect();
                steps.extend((!options.is_empty()).then(|| self.words(&["user", "modify"], &options)));
                let quota = self.quota_steps(found.quota)?;
                notes.extend(
                    (!quota.is_empty())
                        .then(|| format!("quota: {}\n", self.quota.as_deref().unwrap_or("none"))),
                );
                steps.extend(quota);
                if let Some(suspended) = self.suspended.filter(|s| *s != found.suspended) {
                    let verb = if suspended { "suspend" } else { "enable" };
                    steps.push(self.words(&["user", verb], &[]));
                    notes.push(format!("{verb}\n"));
                }
                if self.rotate {
                    let mut made = self.words(&["key", "create"], &[("key-type", "s3".to_owned())]);
                    made.extend(["--gen-access-key".to_owned(), "--gen-secret".to_owned()]);
                    let old = ("access-key", found.access_key.clone());
                    steps.extend([made, self.words(&["key", "rm"], &[old])]);
                    notes.push("new keys\n".to_owned());
                }
                notes.concat()
            }
        };
        if steps.is_empty() {
            return Ok(Plan::default());
        }
        let before = now.as_ref().map_or_else(|| "absent\n".to_owned(), shown);
        Ok(Plan::new(steps, vec![Diff::new(&title, before, after)]))
    }

    async fn apply(&self, step: &Step, cx: &TaskContext) -> Result<(), ModuleError> {
        let reply = self.ask(step, cx).await?;
        if reply.ok() {
            return Ok(());
        }
        let said = reply.err().trim().lines().last().unwrap_or("it said nothing").to_owned();
        let verb = step.iter().take(2).map(String::as_str).collect::<Vec<_>>().join(" ");
        Err(ModuleError::failed(format!("radosgw-admin {verb} failed with status {}: {said}", reply.status)))
    }

    fn result(&self, after: &Option<Found>) -> Map {
        let mut result = Map::from_iter([
            ("name".to_owned(), json!(self.name)),
            ("exists".to_owned(), json!(after.is_some())),
        ]);
        if let Some(found) = after.as_ref().filter(|_| self.state == Presence::Present) {
            result.insert("access_key".into(), json!(found.access_key));
            result.insert("secret_key".into(), json!(found.secret_key.0));
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::from_args;

    #[test]
    fn users_are_planned() {
        let info = r#"{"user_id": "quay", "display_name": "Quay", "email": "", "suspended": 0, "max_buckets": 1000,
            "keys": [{"user": "quay", "access_key": "AK", "secret_key": "SK"}], "user_quota": {"enabled": true, "max_size": 1024}}"#;
        let found = || Some(read(info).expect("a user"));
        for (more, now, expected) in [
            (json!({}), None, vec!["user create --uid=quay --display-name=quay"]),
            (json!({}), found(), vec![]),
            (json!({"quota": "1k", "max_buckets": 1000}), found(), vec![]),
            (json!({"quota": "0"}), found(), vec!["quota disable --uid=quay --quota-scope=user"]),
            (json!({"display_name": "X"}), found(), vec!["user modify --uid=quay --display-name=X"]),
            (
                json!({"rotate": true}),
                found(),
                vec![
                    "key create --uid=quay --key-type=s3 --gen-access-key --gen-secret",
                    "key rm --uid=quay --access-key=AK",
                ],
            ),
            (json!({"state": "absent", "purge": true}), found(), vec!["user rm --uid=quay --purge-data"]),
        ] {
            let mut args = json!({"name": "quay"});
            args.as_object_mut().expect("a mapping").extend(more.as_object().expect("a mapping").clone());
            let Value::Object(args) = args else { panic!("a mapping") };
            let user: CephRgwUser = from_args(args).expect("arguments");
            let steps: Vec<String> = user
                .plan(&now, RunMode::default())
                .expect("a plan")
                .steps
                .into_iter()
                .map(|words| words.join(" "))
                .collect();
            assert_eq!(steps, expected, "{more}");
        }
    }
}
