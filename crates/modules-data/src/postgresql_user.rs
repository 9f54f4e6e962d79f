use async_trait::async_trait;
use serde_json::json;

use super::postgres::{self, with_login};
use crate::args::Presence;
use crate::host::Secret;
use crate::sql;
use crate::value::Map;
use crate::{Diff, ModuleError, Plan, Resource, RunMode, TaskContext};

/// SCRAM's iterations, as PostgreSQL itself makes them.
const ITERATIONS: u32 = 4096;

with_login! {
    /// A role that can log in. Its password reaches the server as a verifier only.
    pub(super) struct PostgresqlUser {
        #[serde(alias = "user")]
        name: String,
        #[serde(default)]
        state: Presence,
        #[serde(default, deserialize_with = "crate::words::secret")]
        #[schemars(with = "Option<String>")]
        password: Option<Secret>,
        /// Attributes such as `CREATEDB`, `NOSUPERUSER`.
        #[serde(default)]
        role_attr_flags: Vec<String>,
        /// Set the password of a new role only.
        #[serde(default)]
        no_password_changes: bool,
        /// The database to log in to.
        #[serde(default = "super::postgres::default_user", alias = "db")]
        login_db: String,
    }
}

/// The attributes that a role can have, and the column that tells.
const FLAGS: [(&str, &str); 7] = [
    ("SUPERUSER", "rolsuper"),
    ("CREATEROLE", "rolcreaterole"),
    ("CREATEDB", "rolcreatedb"),
    ("INHERIT", "rolinherit"),
    ("LOGIN", "rolcanlogin"),
    ("REPLICATION", "rolreplication"),
    ("BYPASSRLS", "rolbypassrls"),
];

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Role {
    /// The attributes that it has.
    flags: Vec<&'static str>,
    /// `None` where the login role may not read verifiers.
    password: Option<PasswordState>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PasswordState {
    Same,
    Other,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Found {
    role: Option<Role>,
    /// The server knows SCRAM.
    scram: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    Sql(String),
    /// `CREATE ROLE` or `ALTER ROLE` up to the password.
    WithPassword(String),
}

impl PostgresqlUser {
    fn verifier(&self, scram: bool) -> Option<String> {
        let password = &self.password.as_ref()?.0;
        if scram {
            sql::scram_verifier(password, &rand::random::<[u8; 16]>(), ITERATIONS)
        } else {
            Some(sql::md5_verifier(password, &self.name))
        }
    }

    fn flags(&self) -> Vec<String> {
        self.role_attr_flags.iter().map(|f| f.trim().to_ascii_uppercase()).filter(|f| !f.is_empty()).collect()
    }

    async fn has_scram(client: &tokio_postgres::Client) -> Result<bool, tokio_postgres::Error> {
        let row = client.query_one("SELECT current_setting('server_version_num')", &[]).await?;
        Ok(row.get::<_, String>(0).parse().unwrap_or(0) >= 100_000)
    }
}

/// Words with a space before each.
fn words(list: &[String]) -> String {
    list.iter().flat_map(|word| [" ", word]).collect()
}

#[async_trait]
impl Resource for PostgresqlUser {
    const NAME: &'static str = "postgresql_user";
    const FQCN: &'static [&'static str] = &["community.postgresql.postgresql_user"];
    type Observed = Found;
    type Step = Step;

    fn validate(&self) -> Result<(), ModuleError> {
        for flag in self.flags() {
            let name = flag.strip_prefix("NO").unwrap_or(&flag);
            if !FLAGS.iter().any(|(known, _)| *known == name) {
                let known: Vec<&str> = FLAGS.iter().map(|(name, _)| *name).collect();
                return Err(ModuleError::Arguments(format!(
                    "role_attr_flags: {flag} is not one of {} (or NO and one of them)",
                    known.join(", ")
                )));
            }
        }
        Ok(())
    }

    async fn observe(&self, cx: &TaskContext) -> Result<Found, ModuleError> {
        let Some(client) = self.login().look(cx, &self.login_db).await? else { return Ok(Found::default()) };
        let problem = |e| postgres::failure(&format!("looking for the role {}", self.name), &e);
        let scram = Self::has_scram(&client).await.map_err(problem)?;
        let columns: Vec<&str> = FLAGS.iter().map(|(_, column)| *column).collect();
        let query = format!("SELECT {} FROM pg_roles WHERE rolname = $1", columns.join(", "));
        let Some(row) = client.query_opt(&query, &[&self.name]).await.map_err(problem)? else {
            return Ok(Found { role: None, scram });
        };
        let flags =
            FLAGS.iter().enumerate().filter(|(i, _)| row.get::<_, bool>(*i)).map(|(_, (f, _))| *f).collect();
        let mut password = None;
        if let Some(asked) = &self.password {
            // Only superusers may read this; without it the password is set each time.
            let query = "SELECT rolpassword FROM pg_authid WHERE rolname = $1";
            if let Ok(row) = client.query_one(query, &[&self.name]).await {
                let verifier: Option<String> = row.get(0);
                let same = verifier.is_some_and(|v| sql::verifies(&v, &asked.0, &self.name));
                password = Some(if same { PasswordState::Same } else { PasswordState::Other });
            }
        }
        Ok(Found { role: Some(Role { flags, password }), scram })
    }

    fn plan(&self, now: &Found, _: RunMode) -> Result<Plan<Step>, ModuleError> {
        let name = sql::identifier(&self.name);
        let title = format!("role {}", self.name);
        let plan = |step, before: String, after: String| {
            Plan::new(vec![step], vec![Diff::new(&title, before, after)])
        };
        let Some(role) = &now.role else {
            if self.state == Presence::Absent {
                return Ok(Plan::default());
            }
            let flags = words(&self.flags());
            let statement = format!("CREATE ROLE {name} WITH LOGIN{flags}");
            let step =
                if self.password.is_some() { Step::WithPassword(statement) } else { Step::Sql(statement) };
            return Ok(plan(step, "absent\n".into(), "present\n".into()));
        };
        if self.state == Presence::Absent {
            return Ok(plan(Step::Sql(format!("DROP ROLE {name}")), "present\n".into(), "absent\n".into()));
        }
        let wrong: Vec<String> = self
            .flags()
            .into_iter()
            .filter(|flag| match flag.strip_prefix("NO") {
                Some(off) => role.flags.contains(&off),
                None => !role.flags.contains(&flag.as_str()),
            })
            .collect();
        let new_password = self.password.is_some()
            && !self.no_password_changes
            && role.password != Some(PasswordState::Same);
        if wrong.is_empty() && !new_password {
            return Ok(Plan::default());
        }
        let flags = words(&wrong);
        let statement = format!("ALTER ROLE {name} WITH{flags}");
        let was = format!("{}\n", role.flags.join(" "));
        let mut after = format!("{}\n", wrong.join(" "));
        if new_password {
            after.push_str("password: ********\n");
        }
        let step = if new_password { Step::WithPassword(statement) } else { Step::Sql(statement) };
        Ok(plan(step, was, after))
    }

    async fn apply(&self, step: &Step, cx: &TaskContext) -> Result<(), ModuleError> {
        let client = self.login().connect(cx, &self.login_db).await?;
        let problem = |e| postgres::failure(&format!("the role {}", self.name), &e);
        let statement = match step {
            Step::Sql(statement) => statement.clone(),
            Step::WithPassword(statement) => {
                let scram = Self::has_scram(&client).await.map_err(problem)?;
                let verifier =
                    self.verifier(scram).ok_or_else(|| ModuleError::failed("the password is empty"))?;
                format!("{statement} PASSWORD {}", sql::literal(&verifier))
            }
        };
        client.batch_execute(&statement).await.map_err(problem)
    }

    fn result(&self, _after: &Found) -> Map {
        Map::from_iter([("user".to_owned(), json!(self.name))])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::from_args;
    use crate::value::Value;

    #[test]
    fn roles_are_planned() {
        let role = |flags: &[&'static str], password| Found {
            role: Some(Role { flags: flags.to_vec(), password }),
            scram: true,
        };
        for (args, now, expected) in [
            (json!({"name": "u"}), Found::default(), Some(Step::Sql(r#"CREATE ROLE "u" WITH LOGIN"#.into()))),
            (
                json!({"name": "u", "password": "x", "role_attr_flags": "createdb,NOSUPERUSER"}),
                Found::default(),
                Some(Step::WithPassword(r#"CREATE ROLE "u" WITH LOGIN CREATEDB NOSUPERUSER"#.into())),
            ),
            (json!({"name": "u", "password": "x"}), role(&["LOGIN"], Some(PasswordState::Same)), None),
            (
                json!({"name": "u", "password": "x"}),
                role(&["LOGIN"], Some(PasswordState::Other)),
                Some(Step::WithPassword(r#"ALTER ROLE "u" WITH"#.into())),
            ),
            (
                json!({"name": "u", "password": "x", "no_password_changes": true}),
                role(&["LOGIN"], Some(PasswordState::Other)),
                None,
            ),
            (
                json!({"name": "u", "role_attr_flags": "CREATEDB,NOSUPERUSER"}),
                role(&["LOGIN", "SUPERUSER"], None),
                Some(Step::Sql(r#"ALTER ROLE "u" WITH CREATEDB NOSUPERUSER"#.into())),
            ),
            (
                json!({"name": "u", "state": "absent"}),
                role(&[], None),
                Some(Step::Sql(r#"DROP ROLE "u""#.into())),
            ),
        ] {
            let Value::Object(map) = args.clone() else { panic!("an object") };
            let user: PostgresqlUser = from_args(map).expect("arguments");
            let plan = user.plan(&now, RunMode::default()).expect("plan");
            assert_eq!(plan.steps.first(), expected.as_ref(), "{args}");
            assert!(!format!("{:?}", plan.diff).contains("\"x\""));
        }
    }
}
