use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::rhsm::{FIND, NO_WAY, redacted, secretly, values};
use super::sections::{Sections, probe};
use crate::args::Presence;
use crate::host::{Reply, Script, quote};
use crate::value::{Map, Value};
use crate::{Action, CheckMode, Diff, ModuleError, Outcome, TaskContext};

/// A RHEL host's registration with Red Hat's subscription management, and the pools attached to it.
///
/// Passwords, tokens and activation keys never stand in an argument list on the host.
#[derive(Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RedhatSubscription {
    state: Presence,
    username: Option<String>,
    password: Option<String>,
    token: Option<String>,
    org_id: Option<String>,
    activationkey: Option<String>,
    environment: Option<String>,
    /// Pools to attach; under Simple Content Access none are needed, and none are attached.
    pool_ids: Vec<String>,
    /// Attach the first available pool that matches this (as `list --available --matches`).
    pool: Option<String>,
    /// Let the server choose pools.
    #[serde(alias = "autosubscribe")]
    auto_attach: bool,
    consumer_type: Option<String>,
    consumer_name: Option<String>,
    consumer_id: Option<String>,
    /// Register even if the host is registered.
    force_register: bool,
    /// Minor release to stay on, such as `7.9`.
    release: Option<String>,
    server_hostname: Option<String>,
    server_insecure: Option<String>,
    server_prefix: Option<String>,
    server_port: Option<String>,
    rhsm_baseurl: Option<String>,
    rhsm_repo_ca_cert: Option<String>,
    server_proxy_hostname: Option<String>,
    server_proxy_scheme: Option<String>,
    server_proxy_port: Option<String>,
    server_proxy_user: Option<String>,
    server_proxy_password: Option<String>,
}

/// What subscription-manager says of the host.
#[derive(Debug, Default, PartialEq, Eq)]
struct Registration {
    registered: bool,
    /// Simple Content Access: content needs no pools.
    simple: bool,
    consumed: Vec<String>,
    /// Pools that `pool` matches.
    matching: Vec<String>,
}

impl Registration {
    fn read(reply: &Reply) -> Result<Self, ModuleError> {
        let sections = Sections::read(reply)?;
        Ok(Self {
            registered: sections.text("registered") == "1",
            simple: sections.text("status").to_lowercase().contains("simple content access"),
            consumed: values(sections.raw("consumed"), "Pool ID").map(str::to_owned).collect(),
            matching: sections.lines("matching").map(|l| l.trim().to_owned()).collect(),
        })
    }
}

impl RedhatSubscription {
    fn secrets(&self) -> Vec<&str> {
        [&self.password, &self.token, &self.activationkey, &self.server_proxy_password]
            .into_iter()
            .flatten()
            .map(String::as_str)
            .collect()
    }

    fn probe(&self) -> Script {
        let matching = self.pool.as_ref().map_or_else(String::new, |pattern| {
            format!(
                "mark matching; subscription-manager list --available --pool-only --matches={} 2>/dev/null\n",
                quote(pattern)
            )
        });
        probe(&format!(
            "{FIND}mark registered
if subscription-manager identity >/dev/null 2>&1; then echo 1
mark status; subscription-manager status 2>/dev/null
mark consumed; subscription-manager list --consumed 2>/dev/null
{matching}fi"
        ))
    }

    /// `config`'s arguments for the server options that were given.
    fn configuration(&self) -> Vec<String> {
        [
            ("server.hostname", &self.server_hostname),
            ("server.insecure", &self.server_insecure),
            ("server.prefix", &self.server_prefix),
            ("server.port", &self.server_port),
            ("rhsm.baseurl", &self.rhsm_baseurl),
            ("rhsm.repo_ca_cert", &self.rhsm_repo_ca_cert),
            ("server.proxy_hostname", &self.server_proxy_hostname),
            ("server.proxy_scheme", &self.server_proxy_scheme),
            ("server.proxy_port", &self.server_proxy_port),
            ("server.proxy_user", &self.server_proxy_user),
            ("server.proxy_password", &self.server_proxy_password),
        ]
        .into_iter()
        .filter_map(|(key, value)| value.as_ref().map(|v| format!("--{key}={v}")))
        .collect()
    }

    fn registration(&self, registered: bool) -> Vec<String> {
        let mut words = vec!["register".to_owned()];
        if registered {
            words.push("--force".into());
        }
        let with_key = self.activationkey.is_some();
        for (flag, value) in [
            ("--org", &self.org_id),
            ("--type", &self.consumer_type),
            ("--name", &self.consumer_name),
            ("--consumerid", &self.consumer_id),
            ("--environment", &self.environment),
            ("--activationkey", &self.activationkey),
            ("--token", &self.token),
            ("--username", if with_key { &None } else { &self.username }),
            ("--password", if with_key { &None } else { &self.password }),
            ("--release", &self.release),
        ] {
            if let Some(value) = value {
                words.push(format!("{flag}={value}"));
            }
        }
        if self.auto_attach {
            words.push("--auto-attach".into());
        }
        words
    }

    /// The pools that are still to be attached.
    fn missing_pools(&self, now: &Registration) -> Result<Vec<String>, ModuleError> {
        if now.simple {
            return Ok(Vec::new());
        }
        let mut missing: Vec<String> =
            self.pool_ids.iter().filter(|id| !now.consumed.contains(id)).cloned().collect();
        if let Some(pattern) = &self.pool {
            let attached = now.matching.iter().any(|id| now.consumed.contains(id));
            // An attached pool is not listed as available any more, so having one counts unless another was asked for by id.
            if !attached
                && (now.consumed.is_empty() || now.consumed.iter().all(|c| self.pool_ids.contains(c)))
            {
                let first = now.matching.first().ok_or_else(|| {
                    ModuleError::failed(format!("no available pool matches {pattern:?}"))
                        .hint("`subscription-manager list --available` on the host lists what there is")
                })?;
                missing.push(first.clone());
            }
        }
        Ok(missing)
    }

    async fn call(&self, words: &[String], cx: &TaskContext) -> Result<String, ModuleError> {
        let secret = words.iter().any(|w| self.secrets().iter().any(|s| w.contains(s)));
        let mut script = if secret {
            secretly(words)
        } else {
            Script::argv(std::iter::once("subscription-manager").chain(words.iter().map(String::as_str)))
        };
        script.environment.extend(cx.environment.iter().cloned());
        let reply = cx.shell.run(&script).await?;
        if reply.ok() {
            return Ok(reply.out().into_owned());
        }
        let verb = words.first().map_or("", String::as_str);
        if secret && reply.status == NO_WAY {
            return Err(ModuleError::failed(format!(
                "subscription-manager {verb} would show the password to everyone on the host"
            ))
            .hint("this subscription-manager is not the Python program that Red Hat ships; register the host by hand"));
        }
        let said = format!("{} {}", reply.err().trim(), reply.out().trim());
        Err(ModuleError::failed(format!(
            "subscription-manager {verb} failed with status {}: {}",
            reply.status,
            redacted(said.trim(), &self.secrets())
        )))
    }

    async fn observe(&self, cx: &TaskContext) -> Result<Registration, ModuleError> {
        let mut script = self.probe();
        script.environment.extend(cx.environment.iter().cloned());
        Registration::read(&cx.shell.run(&script).await?)
    }
}

#[async_trait]
impl Action for RedhatSubscription {
    const NAME: &'static str = "redhat_subscription";
    const FQCN: &'static [&'static str] = &["community.general.redhat_subscription"];
    const CHECK: CheckMode = CheckMode::Runs;

    fn validate(&self) -> Result<(), ModuleError> {
        let wrong = |text: &str| Err(ModuleError::Arguments(text.into()));
        if self.state == Presence::Absent {
            return Ok(());
        }
        match (&self.username, &self.password, &self.activationkey, &self.token) {
            (Some(_), None, None, _) => wrong("username needs a password"),
            (_, _, Some(_), _) if self.org_id.is_none() => wrong("activationkey needs org_id"),
            (None, _, None, None) => {
                wrong("give username and password, or activationkey and org_id, or a token")
            }
            (Some(_), _, None, Some(_)) => wrong("username and token exclude each other"),
            (_, _, Some(_), _) if self.auto_attach => {
                wrong("activationkey and auto_attach exclude each other")
            }
            _ => Ok(()),
        }
    }

    async fn run(self, cx: &TaskContext) -> Result<Outcome, ModuleError> {
        let mut now = self.observe(cx).await?;
        let outcome = |changed: bool, message: &str, before: &str, after: &str| {
            let mut result = Map::new();
            result.insert("msg".into(), json!(message));
            let diff =
                if changed && cx.mode.diff { vec![Diff::new("subscription", before, after)] } else { vec![] };
            Outcome { changed, result, diff, ..Outcome::default() }
        };
        if self.state == Presence::Absent {
            if now.registered && !cx.mode.check {
                self.call(&["unregister".to_owned()], cx).await?;
            }
            let message = if now.registered {
                "System successfully unregistered."
            } else {
                "System already unregistered."
            };
            return Ok(outcome(now.registered, message, "registered\n", "not registered\n"));
        }
        let registers = !now.registered || self.force_register;
        if registers && cx.mode.check {
            return Ok(outcome(true, "the host would be registered", "not registered\n", "registered\n"));
        }
        if registers {
            let configuration = self.configuration();
            if !configuration.is_empty() {
                let words: Vec<String> = std::iter::once("config".to_owned()).chain(configuration).collect();
                self.call(&words, cx).await?;
            }
            self.call(&self.registration(now.registered), cx).await?;
            now = self.observe(cx).await?;
            if !now.registered {
                return Err(ModuleError::failed(
                    "subscription-manager reported success, but the host is not registered",
                ));
            }
        }
        let pools = self.missing_pools(&now)?;
        if !pools.is_empty() && !cx.mode.check {
            self.call(&["refresh".to_owned()], cx).await?;
            for pool in &pools {
                self.call(&["attach".to_owned(), format!("--pool={pool}")], cx).await?;
            }
        }
        let changed = registers || !pools.is_empty();
        let message =
            if registers { "System successfully registered." } else { "System already registered." };
        let after =
            if pools.is_empty() { "registered\n".to_owned() } else { format!("pools {}\n", pools.join(" ")) };
        let mut outcome =
            outcome(changed, message, if registers { "not registered\n" } else { "registered\n" }, &after);
        outcome.result.insert("subscribed_pool_ids".into(), json!(pools));
        outcome.result.insert("simple_content_access".into(), Value::Bool(now.simple));
        Ok(outcome)
    }
}

#[cfg(test)]
mod tests {
    use super::super::sections::testing::{answer, args};
    use super::*;

    #[test]
    fn registration_takes_what_was_given() {
        let with_password: RedhatSubscription =
            args(json!({"username": "u", "password": "p", "auto_attach": true}));
        assert_eq!(
            with_password.registration(true),
            ["register", "--force", "--username=u", "--password=p", "--auto-attach"]
        );
        let with_key: RedhatSubscription =
            args(json!({"org_id": 12, "activationkey": "k", "username": "u", "password": "p"}));
        assert_eq!(with_key.registration(false), ["register", "--org=12", "--activationkey=k"]);
    }

    #[test]
    fn pools_are_attached_once() {
        for (arguments, sections, expected) in [
            (json!({"pool_ids": ["a", "b"]}), vec![("consumed", "Pool ID: a")], Some(vec!["b"])),
            (json!({"pool": "*X*"}), vec![("matching", "p1\np2")], Some(vec!["p1"])),
            (json!({"pool": "*X*"}), vec![("consumed", "Pool ID: p1"), ("matching", "p2")], Some(vec![])),
            (json!({"pool": "*X*"}), vec![], None),
            (
                json!({"pool": "*X*"}),
                vec![("status", "Content Access Mode is set to Simple Content Access. Enjoy.")],
                Some(vec![]),
            ),
        ] {
            let subscription: RedhatSubscription = args(arguments.clone());
            let now = Registration::read(&answer(&sections)).expect("readable");
            let expected = expected.map(|e| e.iter().map(|s: &&str| (*s).to_owned()).collect::<Vec<_>>());
            assert_eq!(subscription.missing_pools(&now).ok(), expected, "{arguments}");
        }
    }

    #[test]
    fn credentials_are_checked() {
        for (arguments, good) in [
            (json!({"username": "u", "password": "p"}), true),
            (json!({"username": "u"}), false),
            (json!({"activationkey": "k"}), false),
            (json!({"activationkey": "k", "org_id": "o"}), true),
            (json!({}), false),
            (json!({"state": "absent"}), true),
        ] {
            assert_eq!(args::<RedhatSubscription>(arguments.clone()).validate().is_ok(), good, "{arguments}");
        }
    }
}
