use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use async_trait::async_trait;
use mysql_async::prelude::Queryable;
use serde::Deserialize;
use serde_json::json;
use sha1::{Digest, Sha1};

use super::login::{Login, failure, with_login};
use super::text::{identifier, literal};
use crate::args::Presence;
use crate::host::Secret;
use crate::value::Map;
use crate::{Diff, ModuleError, Plan, Recorded, Resource, RunMode, TaskContext, state_of};

with_login! {
    /// A user of `MySQL`'s or `MariaDB`'s, its password and what it may do.
    pub(super) struct MysqlUser {
        #[serde(alias = "user")]
        name: String,
        /// From where it may log in; `%` is anywhere.
        #[serde(default = "here")]
        host: String,
        #[serde(default)]
        state: Presence,
        #[serde(default, deserialize_with = "crate::words::secret")]
        #[schemars(with = "Option<String>")]
        password: Option<Secret>,
        /// `DATABASE.TABLE:PRIVILEGE,PRIVILEGE`, several with slashes between them.
        #[serde(rename = "priv")]
        privileges: Option<String>,
        /// Keep privileges that are not named.
        #[serde(default)]
        append_privs: bool,
    }
}

fn here() -> String {
    "localhost".into()
}

/// What may be done with what: by `database.table`, the privileges in capitals.
type Grants = BTreeMap<String, BTreeSet<String>>;

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Found {
    /// Whether the password that is asked for is the user's.
    enters: bool,
    grants: Grants,
}

/// A statement; what it holds is not shown.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Statement {
    what: &'static str,
    sql: String,
}

impl fmt::Debug for Statement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.what)
    }
}

/// Reads `db.*:ALL/other.t:SELECT,INSERT`.
fn read_privileges(text: &str) -> Result<Grants, String> {
    text.split('/')
        .map(|part| {
            let (on, list) = part
                .split_once(':')
                .ok_or_else(|| format!("priv {part:?} is not DATABASE.TABLE:PRIVILEGE,PRIVILEGE"))?;
            let on = if on.contains('.') { on.to_owned() } else { format!("{on}.*") };
            let on = on.replace('`', "");
            let list = list.split(',').map(|p| normal(p.trim())).filter(|p| !p.is_empty()).collect();
            Ok((on, list))
        })
        .collect()
}

fn normal(privilege: &str) -> String {
    let upper = privilege.to_uppercase();
    if upper == "ALL" { "ALL PRIVILEGES".to_owned() } else { upper }
}

/// Reads one line of SHOW GRANTS; one that grants nothing is none.
fn read_grant(line: &str) -> Option<(String, BTreeSet<String>)> {
    let rest = line.strip_prefix("GRANT ")?;
    let (list, rest) = rest.split_once(" ON ")?;
    let (on, tail) = rest.split_once(" TO ")?;
    let mut privileges: BTreeSet<String> = list.split(", ").map(normal).filter(|p| p != "USAGE").collect();
    if tail.contains("WITH GRANT OPTION") {
        privileges.insert("GRANT".into());
    }
    (!privileges.is_empty()).then(|| (on.replace('`', "").replace("\\_", "_"), privileges))
}

/// The hash of the older authentication plugin.
fn native_hash(password: &str) -> String {
    format!("*{}", hex::encode_upper(Sha1::digest(Sha1::digest(password))))
}

/// `database.table` with its names quoted.
fn on(object: &str) -> String {
    let (database, table) = object.split_once('.').unwrap_or((object, "*"));
    let name = |part: &str| if part == "*" { part.to_owned() } else { identifier(part) };
    format!("{}.{}", name(database), name(table))
}

impl MysqlUser {
    fn account(&self) -> String {
        format!("{}@{}", literal(&self.name), literal(&self.host))
    }

    fn asked(&self) -> Result<Option<Grants>, ModuleError> {
        self.privileges.as_deref().map(read_privileges).transpose().map_err(ModuleError::Arguments)
    }

    fn grant_steps(&self, now: &Grants) -> Result<Vec<Statement>, ModuleError> {
        let Some(asked) = self.asked()? else { return Ok(Vec::new()) };
        let mut steps = Vec::new();
        for (object, privileges) in now {
            if asked.get(object) != Some(privileges) && !self.append_privs {
                let mut listed: Vec<&str> =
                    privileges.iter().filter(|p| *p != "GRANT").map(String::as_str).collect();
                listed.extend(privileges.contains("GRANT").then_some("GRANT OPTION"));
                let sql = format!("REVOKE {} ON {} FROM {}", listed.join(", "), on(object), self.account());
                steps.push(Statement { what: "taking privileges", sql });
            }
        }
        for (object, privileges) in &asked {
            let has = now.get(object).is_some_and(|held| {
                if self.append_privs { privileges.is_subset(held) } else { held == privileges }
            });
            if !has {
                let listed: Vec<&str> =
                    privileges.iter().filter(|p| *p != "GRANT").map(String::as_str).collect();
                let option = if privileges.contains("GRANT") { " WITH GRANT OPTION" } else { "" };
                let listed = if listed.is_empty() { "USAGE".to_owned() } else { listed.join(", ") };
                let sql = format!("GRANT {listed} ON {} TO {}{option}", on(object), self.account());
                steps.push(Statement { what: "granting privileges", sql });
            }
        }
        Ok(steps)
    }
}

fn shown(grants: &Grants) -> String {
    grants
        .iter()
        .map(|(on, list)| {
            format!("{on}: {}\n", list.iter().map(String::as_str).collect::<Vec<_>>().join(", "))
        })
        .collect()
}

#[async_trait]
impl Resource for MysqlUser {
    const NAME: &'static str = "mysql_user";
    const FQCN: &'static [&'static str] = &["community.mysql.mysql_user"];
    type Observed = Option<Found>;
    type Step = Statement;

    fn validate(&self) -> Result<(), ModuleError> {
        self.asked().map(drop)
    }

    async fn observe(&self, cx: &TaskContext) -> Result<Option<Found>, ModuleError> {
        let mut session = self.login().connect(cx, None).await?;
        let problem = |e| failure(&format!("looking for the user {}", self.name), &e);
        let query =
            "SELECT plugin, COALESCE(authentication_string, '') FROM mysql.user WHERE User = ? AND Host = ?";
        let row: Option<(String, String)> =
            session.connection.exec_first(query, (&self.name, &self.host)).await.map_err(problem)?;
        let Some((plugin, hash)) = row else { return Ok(None) };
        let lines: Vec<String> =
            session.connection.query(format!("SHOW GRANTS FOR {}", self.account())).await.map_err(problem)?;
        let enters = match &self.password {
            None => true,
            Some(password) if plugin == "mysql_native_password" => hash == native_hash(&password.0),
            // A salted hash tells nothing: the password is tried.
            Some(password) => {
                let login =
                    Login { user: self.name.clone(), password: Some(password.clone()), ..self.login() };
                login.connect(cx, None).await.is_ok()
            }
        };
        Ok(Some(Found { enters, grants: lines.iter().filter_map(|l| read_grant(l)).collect() }))
    }

    fn plan(&self, now: &Option<Found>, _: RunMode) -> Result<Plan<Statement>, ModuleError> {
        let account = self.account();
        let mut steps = Vec::new();
        let (before, after) = match (self.state, now) {
            (Presence::Absent, None) => return Ok(Plan::default()),
            (Presence::Absent, Some(_)) => {
                steps.push(Statement { what: "removing the user", sql: format!("DROP USER {account}") });
                ("present\n".to_owned(), "absent\n".to_owned())
            }
            (Presence::Present, None) => {
                let by = self
                    .password
                    .as_ref()
                    .map_or(String::new(), |p| format!(" IDENTIFIED BY {}", literal(&p.0)));
                steps.push(Statement { what: "making the user", sql: format!("CREATE USER {account}{by}") });
                steps.extend(self.grant_steps(&Grants::new())?);
                ("absent\n".to_owned(), format!("present\n{}", shown(&self.asked()?.unwrap_or_default())))
            }
            (Presence::Present, Some(found)) => {
                if let Some(password) = self.password.as_ref().filter(|_| !found.enters) {
                    let sql = format!("ALTER USER {account} IDENTIFIED BY {}", literal(&password.0));
                    steps.push(Statement { what: "setting the password", sql });
                }
                let changes = self.grant_steps(&found.grants)?;
                let new =
                    if changes.is_empty() { found.grants.clone() } else { self.asked()?.unwrap_or_default() };
                steps.extend(changes);
                let note = if found.enters { "" } else { "a new password\n" };
                (shown(&found.grants), format!("{note}{}", shown(&new)))
            }
        };
        if steps.is_empty() {
            return Ok(Plan::default());
        }
        let title = format!("user {}@{}", self.name, self.host);
        Ok(Plan::new(steps, vec![Diff::new(&title, before, after)]))
    }

    async fn apply(&self, step: &Statement, cx: &TaskContext) -> Result<(), ModuleError> {
        let mut session = self.login().connect(cx, None).await?;
        let done = session.connection.query_drop(&step.sql).await;
        done.map_err(|e| failure(&format!("{} {}", step.what, self.name), &e))
    }

    fn result(&self, after: &Option<Found>) -> Map {
        Map::from_iter([("user".to_owned(), json!(self.name)), ("exists".to_owned(), json!(after.is_some()))])
    }

    fn recorded(&self, recorded: &Recorded) -> Option<Result<Self::Observed, ModuleError>> {
        state_of(recorded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::from_args;
    use crate::value::Value;

    fn user(args: Value) -> MysqlUser {
        let Value::Object(map) = args else { panic!("an object") };
        from_args(map).expect("arguments")
    }

    #[test]
    fn grants_are_read_and_compared() {
        let (on, list) = read_grant("GRANT ALL PRIVILEGES ON `quay`.* TO `q`@`%`").expect("a grant");
        assert_eq!((on.as_str(), list.contains("ALL PRIVILEGES")), ("quay.*", true));
        assert_eq!(read_grant("GRANT USAGE ON *.* TO `q`@`%` IDENTIFIED BY PASSWORD '*00'"), None);
        let held = Found { enters: true, grants: Grants::from([(on, list)]) };
        let sql = |user: &MysqlUser, now: Option<Found>| -> Vec<String> {
            user.plan(&now, RunMode::default()).expect("a plan").steps.into_iter().map(|s| s.sql).collect()
        };
        let wanted = user(json!({"name": "q", "host": "%", "password": "it's", "priv": "quay.*:ALL"}));
        assert_eq!(
            sql(&wanted, None),
            ["CREATE USER 'q'@'%' IDENTIFIED BY 'it''s'", "GRANT ALL PRIVILEGES ON `quay`.* TO 'q'@'%'"]
        );
        assert_eq!(sql(&wanted, Some(held.clone())), [""; 0]);
        assert_eq!(
            sql(&wanted, Some(Found { enters: false, ..held.clone() })),
            ["ALTER USER 'q'@'%' IDENTIFIED BY 'it''s'"]
        );
        let less = user(json!({"name": "q", "host": "%", "priv": "quay.*:SELECT"}));
        assert_eq!(
            sql(&less, Some(held)),
            ["REVOKE ALL PRIVILEGES ON `quay`.* FROM 'q'@'%'", "GRANT SELECT ON `quay`.* TO 'q'@'%'"]
        );
        assert!(user(json!({"name": "q", "priv": "nonsense"})).validate().is_err());
    }

    #[test]
    fn the_older_hash_is_mysqls() {
        assert_eq!(native_hash("password"), "*2470C0C06DEE42FD1618BB99005ADCA2EC9D1E19");
    }
}
