use async_trait::async_trait;
use serde::Deserialize;
use serde_json::json;

use super::postgres::{self, with_login};
use crate::args::Presence;
use crate::sql;
use crate::value::Map;
use crate::{Diff, ModuleError, Plan, Recorded, Resource, RunMode, TaskContext, state_of};

with_login! {
    /// An extension in one database.
    pub(super) struct PostgresqlExt {
        #[serde(alias = "ext")]
        name: String,
        /// The database that gets the extension; an extension in another one does not help it.
        #[serde(alias = "db")]
        login_db: String,
        #[serde(default)]
        state: Presence,
        schema: Option<String>,
        /// The version, or `latest`.
        version: Option<String>,
        /// Also make what it depends on, or remove what depends on it.
        #[serde(default)]
        cascade: bool,
    }
}

/// What the server says of an extension.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct Found {
    installed: Option<String>,
    schema: Option<String>,
    /// The version that is made unless another is asked for; `None`: the server has no such extension.
    available: Option<String>,
}

#[async_trait]
impl Resource for PostgresqlExt {
    const NAME: &'static str = "postgresql_ext";
    const FQCN: &'static [&'static str] = &["community.postgresql.postgresql_ext"];
    type Observed = Found;
    type Step = String;

    async fn observe(&self, cx: &TaskContext) -> Result<Found, ModuleError> {
        let Some(client) = self.login().look(cx, &self.login_db).await? else {
            return Ok(Found { available: Some("to come".to_owned()), ..Found::default() });
        };
        let problem = |e| postgres::failure(&format!("looking for the extension {}", self.name), &e);
        let query = "SELECT e.extversion::text, n.nspname::text FROM pg_extension e \
                     JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = $1";
        let installed = client.query_opt(query, &[&self.name]).await.map_err(problem)?;
        let query = "SELECT default_version::text FROM pg_available_extensions WHERE name = $1";
        let available = client.query_opt(query, &[&self.name]).await.map_err(problem)?;
        Ok(Found {
            installed: installed.as_ref().map(|row| row.get(0)),
            schema: installed.as_ref().map(|row| row.get(1)),
            available: available.and_then(|row| row.get(0)),
        })
    }

    fn plan(&self, now: &Found, _: RunMode) -> Result<Plan<String>, ModuleError> {
        let name = sql::identifier(&self.name);
        let cascade = if self.cascade { " CASCADE" } else { "" };
        let wanted = match self.version.as_deref() {
            Some("latest") => now.available.clone(),
            other => other.map(str::to_owned),
        };
        let mut steps = Vec::new();
        let mut after = Vec::new();
        match (self.state, &now.installed) {
            (Presence::Absent, None) => {}
            (Presence::Absent, Some(_)) => {
                steps.push(format!("DROP EXTENSION {name}{cascade}"));
                after.push("absent".to_owned());
            }
            (Presence::Present, None) => {
                if now.available.is_none() {
                    return Err(ModuleError::failed(format!(
                        "the server has no extension {} to offer",
                        self.name
                    ))
                    .hint("install the server's contrib package, or use an image that has it"));
                }
                let mut statement = format!("CREATE EXTENSION {name}");
                if let Some(schema) = &self.schema {
                    statement = statement + " SCHEMA " + &sql::identifier(schema);
                }
                if let Some(version) = &wanted {
                    statement = statement + " VERSION " + &sql::literal(version);
                }
                steps.push(statement + cascade);
                after.push(format!(
                    "version {}",
                    wanted.or_else(|| now.available.clone()).unwrap_or_default()
                ));
            }
            (Presence::Present, Some(installed)) => {
                if let Some(version) = wanted.filter(|v| v != installed) {
                    steps.push(format!("ALTER EXTENSION {name} UPDATE TO {}", sql::literal(&version)));
                    after.push(format!("version {version}"));
                }
                if let Some(schema) = self.schema.as_ref().filter(|s| Some(*s) != now.schema.as_ref()) {
                    steps.push(format!("ALTER EXTENSION {name} SET SCHEMA {}", sql::identifier(schema)));
                    after.push(format!("schema {schema}"));
                }
            }
        }
        if steps.is_empty() {
            return Ok(Plan::default());
        }
        let before = match (&now.installed, &now.schema) {
            (Some(version), Some(schema)) => format!("version {version}, schema {schema}\n"),
            _ => "absent\n".into(),
        };
        let title = format!("extension {} in {}", self.name, self.login_db);
        Ok(Plan::new(steps, vec![Diff::new(&title, before, format!("{}\n", after.join(", ")))]))
    }

    async fn apply(&self, step: &String, cx: &TaskContext) -> Result<(), ModuleError> {
        let client = self.login().connect(cx, &self.login_db).await?;
        client
            .batch_execute(step)
            .await
            .map_err(|e| postgres::failure(&format!("the extension {} in {}", self.name, self.login_db), &e))
    }

    fn result(&self, after: &Found) -> Map {
        Map::from_iter([
            ("ext".to_owned(), json!(self.name)),
            ("db".to_owned(), json!(self.login_db)),
            ("version".to_owned(), json!(after.installed)),
        ])
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
    fn extensions_are_planned() {
        let there = Found {
            installed: Some("1.5".into()),
            schema: Some("public".into()),
            available: Some("1.6".into()),
        };
        let offered = Found { available: Some("1.6".into()), ..Found::default() };
        for (args, now, expected) in [
            (json!({}), offered.clone(), Ok(vec![r#"CREATE EXTENSION "pg_trgm""#])),
            (
                json!({"schema": "s", "version": "1.4", "cascade": true}),
                offered,
                Ok(vec![r#"CREATE EXTENSION "pg_trgm" SCHEMA "s" VERSION '1.4' CASCADE"#]),
            ),
            (json!({}), there.clone(), Ok(vec![])),
            (
                json!({"version": "latest"}),
                there.clone(),
                Ok(vec![r#"ALTER EXTENSION "pg_trgm" UPDATE TO '1.6'"#]),
            ),
            (json!({"state": "absent"}), there, Ok(vec![r#"DROP EXTENSION "pg_trgm""#])),
            (json!({}), Found::default(), Err("the server has no extension pg_trgm to offer")),
        ] {
            let mut all = json!({"name": "pg_trgm", "db": "q"});
            for (name, value) in args.as_object().expect("a mapping") {
                all[name.as_str()] = value.clone();
            }
            let Value::Object(map) = all else { panic!("an object") };
            let ext: PostgresqlExt = from_args(map).expect("arguments");
            let plan = ext.plan(&now, RunMode::default()).map(|p| p.steps).map_err(|e| e.to_string());
            assert_eq!(
                plan,
                expected.map(|s| s.into_iter().map(str::to_owned).collect()).map_err(str::to_owned),
                "{args}"
            );
        }
    }
}
