use async_trait::async_trait;
use serde::Deserialize;
use serde_json::json;

use super::postgres::{self, with_login};
use crate::args::Presence;
use crate::sql;
use crate::value::Map;
use crate::{Diff, ModuleError, Plan, Recorded, Resource, RunMode, TaskContext, state_of};

with_login! {
    /// A database.
    pub(super) struct PostgresqlDb {
        #[serde(alias = "db")]
        name: String,
        #[serde(default)]
        state: Presence,
        owner: Option<String>,
        /// The encoding of a database that is made; one that is there must have it.
        #[serde(default)]
        encoding: Option<String>,
        #[serde(default)]
        lc_collate: Option<String>,
        #[serde(default)]
        lc_ctype: Option<String>,
        template: Option<String>,
        /// The database to log in to.
        #[serde(default = "super::postgres::default_user", alias = "maintenance_db")]
        login_db: String,
        /// Remove a database although clients are connected to it (PostgreSQL 13 and newer).
        #[serde(default)]
        force: bool,
    }
}

/// A database that is there.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Found {
    owner: String,
    encoding: String,
    lc_collate: String,
    lc_ctype: String,
}

impl PostgresqlDb {
    fn creation(&self) -> String {
        let mut statement = format!("CREATE DATABASE {}", sql::identifier(&self.name));
        if let Some(owner) = &self.owner {
            statement = statement + " OWNER " + &sql::identifier(owner);
        }
        if let Some(template) = &self.template {
            statement = statement + " TEMPLATE " + &sql::identifier(template);
        }
        for (word, value) in
            [("ENCODING", &self.encoding), ("LC_COLLATE", &self.lc_collate), ("LC_CTYPE", &self.lc_ctype)]
        {
            if let Some(value) = value {
                statement = statement + " " + word + " " + &sql::literal(value);
            }
        }
        statement
    }
}

/// `UTF8`, `utf-8` and `UTF_8` are the same encoding.
fn same_encoding(a: &str, b: &str) -> bool {
    let plain = |name: &str| name.replace(['-', '_'], "").to_ascii_lowercase();
    plain(a) == plain(b)
}

#[async_trait]
impl Resource for PostgresqlDb {
    const NAME: &'static str = "postgresql_db";
    const FQCN: &'static [&'static str] = &["community.postgresql.postgresql_db"];
    type Observed = Option<Found>;
    type Step = String;

    async fn observe(&self, cx: &TaskContext) -> Result<Self::Observed, ModuleError> {
        let Some(client) = self.login().look(cx, &self.login_db).await? else { return Ok(None) };
        let query = "SELECT pg_get_userbyid(datdba)::text, pg_encoding_to_char(encoding)::text, datcollate::text, \
                     datctype::text FROM pg_database WHERE datname = $1";
        let row = client.query_opt(query, &[&self.name]).await;
        let row = row.map_err(|e| postgres::failure("looking for the database", &e))?;
        Ok(row.map(|row| Found {
            owner: row.get(0),
            encoding: row.get(1),
            lc_collate: row.get(2),
            lc_ctype: row.get(3),
        }))
    }

    fn plan(&self, now: &Self::Observed, _: RunMode) -> Result<Plan<String>, ModuleError> {
        let title = format!("database {}", self.name);
        let name = sql::identifier(&self.name);
        let (step, before, after) = match (self.state, now) {
            (Presence::Absent, None) => return Ok(Plan::default()),
            (Presence::Absent, Some(_)) => {
                let force = if self.force { " WITH (FORCE)" } else { "" };
                (format!("DROP DATABASE {name}{force}"), "present\n".into(), "absent\n".into())
            }
            (Presence::Present, None) => (self.creation(), "absent\n".into(), "present\n".into()),
            (Presence::Present, Some(found)) => {
                let fixed = [
                    ("encoding", &self.encoding, &found.encoding),
                    ("lc_collate", &self.lc_collate, &found.lc_collate),
                    ("lc_ctype", &self.lc_ctype, &found.lc_ctype),
                ];
                for (what, asked, was) in fixed {
                    if let Some(asked) = asked
                        && asked != was
                        && !(what == "encoding" && same_encoding(asked, was))
                    {
                        return Err(ModuleError::failed(format!(
                            "the database {} is there with {what} {was}, not {asked}; that cannot be changed",
                            self.name
                        ))
                        .hint("dump it, remove it and make it anew, or leave that argument out"));
                    }
                }
                match &self.owner {
                    Some(owner) if *owner != found.owner => (
                        format!("ALTER DATABASE {name} OWNER TO {}", sql::identifier(owner)),
                        format!("owner: {}\n", found.owner),
                        format!("owner: {owner}\n"),
                    ),
                    _ => return Ok(Plan::default()),
                }
            }
        };
        Ok(Plan::new(vec![step], vec![Diff::new(&title, before, after)]))
    }

    async fn apply(&self, step: &String, cx: &TaskContext) -> Result<(), ModuleError> {
        let client = self.login().connect(cx, &self.login_db).await?;
        client
            .batch_execute(step)
            .await
            .map_err(|e| postgres::failure(&format!("the database {}", self.name), &e))
    }

    fn result(&self, after: &Self::Observed) -> Map {
        let mut result = Map::from_iter([("db".to_owned(), json!(self.name))]);
        if let Some(found) = after {
            result.insert("owner".into(), json!(found.owner));
            result.insert("encoding".into(), json!(found.encoding));
        }
        result
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

    #[test]
    fn databases_are_planned() {
        let found = Found {
            owner: "postgres".into(),
            encoding: "UTF8".into(),
            lc_collate: "C".into(),
            lc_ctype: "C".into(),
        };
        for (args, now, expected) in [
            (json!({"name": "q"}), None, Ok(Some(r#"CREATE DATABASE "q""#))),
            (
                json!({"name": "q\"x", "owner": "u", "encoding": "UTF-8"}),
                None,
                Ok(Some(r#"CREATE DATABASE "q""x" OWNER "u" ENCODING 'UTF-8'"#)),
            ),
            (json!({"name": "q", "encoding": "utf-8"}), Some(found.clone()), Ok(None)),
            (
                json!({"name": "q", "owner": "u"}),
                Some(found.clone()),
                Ok(Some(r#"ALTER DATABASE "q" OWNER TO "u""#)),
            ),
            (json!({"name": "q", "state": "absent"}), Some(found.clone()), Ok(Some(r#"DROP DATABASE "q""#))),
            (json!({"name": "q", "state": "absent"}), None, Ok(None)),
            (
                json!({"name": "q", "lc_ctype": "de"}),
                Some(found),
                Err("the database q is there with lc_ctype C, not de; that cannot be changed"),
            ),
        ] {
            let Value::Object(map) = args.clone() else { panic!("an object") };
            let db: PostgresqlDb = from_args(map).expect("arguments");
            let plan = db
                .plan(&now, RunMode::default())
                .map(|p| p.steps.first().cloned())
                .map_err(|e| e.to_string());
            assert_eq!(plan, expected.map(|s| s.map(str::to_owned)).map_err(str::to_owned), "{args}");
        }
    }
}
