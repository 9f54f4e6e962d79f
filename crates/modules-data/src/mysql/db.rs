use async_trait::async_trait;
use mysql_async::prelude::Queryable;
use serde::Deserialize;
use serde_json::json;

use super::login::{failure, with_login};
use super::text::{identifier, literal};
use crate::args::Presence;
use crate::value::Map;
use crate::{Diff, ModuleError, Plan, Recorded, Resource, RunMode, TaskContext, state_of};

with_login! {
    /// A database of `MySQL`'s or `MariaDB`'s.
    pub(super) struct MysqlDb {
        #[serde(alias = "db")]
        name: String,
        #[serde(default)]
        state: Presence,
        /// The character set of its texts; Quay wants latin1 of `MySQL`.
        encoding: Option<String>,
        collation: Option<String>,
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Found {
    encoding: String,
    collation: String,
}

#[async_trait]
impl Resource for MysqlDb {
    const NAME: &'static str = "mysql_db";
    const FQCN: &'static [&'static str] = &["community.mysql.mysql_db"];
    type Observed = Option<Found>;
    type Step = String;

    async fn observe(&self, cx: &TaskContext) -> Result<Option<Found>, ModuleError> {
        let Some(mut session) = self.login().look(cx, None).await? else { return Ok(None) };
        let query = "SELECT DEFAULT_CHARACTER_SET_NAME, DEFAULT_COLLATION_NAME FROM information_schema.SCHEMATA \
                     WHERE SCHEMA_NAME = ?";
        let row: Option<(String, String)> = session
            .connection
            .exec_first(query, (&self.name,))
            .await
            .map_err(|e| failure("looking for the database", &e))?;
        Ok(row.map(|(encoding, collation)| Found { encoding, collation }))
    }

    fn plan(&self, now: &Option<Found>, _: RunMode) -> Result<Plan<String>, ModuleError> {
        let name = identifier(&self.name);
        let wanted = [("CHARACTER SET", &self.encoding), ("COLLATE", &self.collation)]
            .iter()
            .filter_map(|(word, value)| value.as_ref().map(|v| format!(" {word} {}", literal(v))))
            .collect::<String>();
        let (step, before, after) = match (self.state, now) {
            (Presence::Absent, None) => return Ok(Plan::default()),
            (Presence::Absent, Some(_)) => {
                (format!("DROP DATABASE {name}"), "present\n".into(), "absent\n".into())
            }
            (Presence::Present, None) => {
                (format!("CREATE DATABASE {name}{wanted}"), "absent\n".into(), "present\n".into())
            }
            (Presence::Present, Some(found)) => {
                let differs = |asked: &Option<String>, was: &str| {
                    asked.as_ref().is_some_and(|a| !a.eq_ignore_ascii_case(was))
                };
                if !differs(&self.encoding, &found.encoding) && !differs(&self.collation, &found.collation) {
                    return Ok(Plan::default());
                }
                let asked =
                    |value: &Option<String>, was: &str| value.clone().unwrap_or_else(|| was.to_owned());
                (
                    format!("ALTER DATABASE {name}{wanted}"),
                    format!("{} {}\n", found.encoding, found.collation),
                    format!(
                        "{} {}\n",
                        asked(&self.encoding, &found.encoding),
                        asked(&self.collation, "its default")
                    ),
                )
            }
        };
        let title = format!("database {}", self.name);
        Ok(Plan::new(vec![step], vec![Diff::new(&title, before, after)]))
    }

    async fn apply(&self, step: &String, cx: &TaskContext) -> Result<(), ModuleError> {
        let mut session = self.login().connect(cx, None).await?;
        let done = session.connection.query_drop(step).await;
        done.map_err(|e| failure(&format!("the database {}", self.name), &e))
    }

    fn result(&self, after: &Option<Found>) -> Map {
        let mut result = Map::from_iter([("db".to_owned(), json!(self.name))]);
        if let Some(found) = after {
            result.insert("encoding".into(), json!(found.encoding));
            result.insert("collation".into(), json!(found.collation));
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
        let found = || Some(Found { encoding: "latin1".into(), collation: "latin1_swedish_ci".into() });
        for (args, now, expected) in [
            (
                json!({"name": "q`x", "encoding": "latin1"}),
                None,
                Some("CREATE DATABASE `q``x` CHARACTER SET 'latin1'"),
            ),
            (json!({"name": "q", "encoding": "LATIN1"}), found(), None),
            (json!({"name": "q"}), found(), None),
            (
                json!({"name": "q", "encoding": "utf8mb4"}),
                found(),
                Some("ALTER DATABASE `q` CHARACTER SET 'utf8mb4'"),
            ),
            (json!({"name": "q", "state": "absent"}), found(), Some("DROP DATABASE `q`")),
            (json!({"name": "q", "state": "absent"}), None, None),
        ] {
            let Value::Object(map) = args.clone() else { panic!("an object") };
            let db: MysqlDb = from_args(map).expect("arguments");
            let steps = db.plan(&now, RunMode::default()).expect("a plan").steps;
            assert_eq!(steps.first().map(String::as_str), expected, "{args}");
        }
    }
}
