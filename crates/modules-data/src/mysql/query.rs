use std::time::Instant;

use async_trait::async_trait;
use mysql_async::Row;
use mysql_async::prelude::Queryable;
use serde_json::json;

use super::login::{failure, with_login};
use super::text;
use crate::sql::{fill_with, is_read_only, milliseconds};
use crate::value::{Map, Value};
use crate::words::Queries;
use crate::{Action, CheckMode, ModuleError, Outcome, TaskContext};

with_login! {
    /// Runs statements and returns their rows.
    pub(super) struct MysqlQuery {
        query: Queries,
        /// The database to log in to.
        login_db: Option<String>,
        /// Values for `%s`, in order.
        #[serde(default)]
        #[schemars(with = "Vec<String>")]
        positional_args: Vec<Value>,
        /// Values for `%(name)s`.
        #[serde(default)]
        named_args: Map,
        /// All statements in one transaction.
        #[serde(default)]
        single_transaction: bool,
    }
}

#[async_trait]
impl Action for MysqlQuery {
    const NAME: &'static str = "mysql_query";
    const FQCN: &'static [&'static str] = &["community.mysql.mysql_query"];
    const CHECK: CheckMode = CheckMode::Runs;

    async fn run(self, cx: &TaskContext) -> Result<Outcome, ModuleError> {
        let statements: Vec<String> = self
            .query
            .0
            .iter()
            .map(|q| fill_with(q, &self.positional_args, &self.named_args, text::value))
            .collect::<Result<_, _>>()
            .map_err(ModuleError::Arguments)?;
        let writes = |s: &String| !is_read_only(s);
        if cx.mode.check && statements.iter().any(writes) {
            return Ok(Outcome::skipped("statements that change something cannot be tried"));
        }
        let mut session = self.login().connect(cx, self.login_db.as_deref()).await?;
        let problem = |e| failure("the query failed", &e);
        if self.single_transaction {
            session.connection.query_drop("START TRANSACTION").await.map_err(problem)?;
        }
        let (mut answers, mut counts, mut times) = (Vec::new(), Vec::new(), Vec::new());
        let mut changed = false;
        for statement in &statements {
            let started = Instant::now();
            // A failed transaction ends with the session.
            let rows: Vec<Row> = session.connection.query(statement).await.map_err(problem)?;
            times.push(milliseconds(started));
            let affected = session.connection.affected_rows();
            changed |= writes(statement) && (affected > 0 || !counts_rows(statement));
            counts.push(if rows.is_empty() { affected } else { rows.len() as u64 });
            answers.push(Value::Array(rows.iter().map(text::row).collect()));
        }
        if self.single_transaction {
            session.connection.query_drop("COMMIT").await.map_err(problem)?;
        }
        let result = Map::from_iter([
            ("executed_queries".to_owned(), json!(statements)),
            ("query_result".to_owned(), json!(answers)),
            ("rowcount".to_owned(), json!(counts)),
            ("execution_time_ms".to_owned(), json!(times)),
        ]);
        Ok(Outcome { changed, result, ..Outcome::default() })
    }
}

/// Whether a statement says how many rows it changed.
fn counts_rows(statement: &str) -> bool {
    let first = statement.split_whitespace().next().unwrap_or_default().to_ascii_uppercase();
    ["INSERT", "UPDATE", "DELETE", "REPLACE"].contains(&first.as_str())
}
