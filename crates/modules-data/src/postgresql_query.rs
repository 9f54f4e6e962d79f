use std::time::Instant;

use async_trait::async_trait;
use serde_json::json;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, SimpleQueryMessage};

use super::postgres::{self, with_login};
use crate::sql;
use crate::value::{Map, Value};
use crate::words::Queries;
use crate::{Action, CheckMode, ModuleError, Outcome, TaskContext};

with_login! {
    /// Runs statements and returns their rows. A list runs in one transaction.
    pub(super) struct PostgresqlQuery {
        query: Queries,
        /// The database to log in to.
        #[serde(default = "super::postgres::default_user", alias = "db")]
        login_db: String,
        /// Values for `%s`, in order.
        #[serde(default)]
        #[schemars(with = "Vec<String>")]
        positional_args: Vec<Value>,
        /// Values for `%(name)s`.
        #[serde(default)]
        named_args: Map,
        /// Each statement on its own; for what cannot run in a transaction.
        #[serde(default)]
        autocommit: bool,
    }
}

/// What one statement gave.
struct Answer {
    rows: Vec<Value>,
    count: u64,
}

#[async_trait]
impl Action for PostgresqlQuery {
    const NAME: &'static str = "postgresql_query";
    const FQCN: &'static [&'static str] = &["community.postgresql.postgresql_query"];
    const CHECK: CheckMode = CheckMode::Runs;

    fn validate(&self) -> Result<(), ModuleError> {
        if !self.positional_args.is_empty() && !self.named_args.is_empty() {
            return Err(ModuleError::Arguments("positional_args and named_args exclude each other".into()));
        }
        Ok(())
    }

    async fn run(self, cx: &TaskContext) -> Result<Outcome, ModuleError> {
        let statements: Vec<String> = self
            .query
            .0
            .iter()
            .map(|q| sql::fill(q, &self.positional_args, &self.named_args))
            .collect::<Result<_, _>>()
            .map_err(ModuleError::Arguments)?;
        let writes = statements.iter().any(|s| !sql::is_read_only(s));
        if cx.mode.check && self.autocommit && writes {
            return Ok(Outcome::skipped("statements outside a transaction cannot be tried"));
        }
        let client = self.login().connect(cx, &self.login_db).await?;
        let problem = |e| postgres::failure("the query failed", &e);
        if !self.autocommit {
            client.batch_execute("BEGIN").await.map_err(problem)?;
        }
        let (mut answers, mut times) = (Vec::new(), Vec::new());
        for statement in &statements {
            let started = Instant::now();
            // A failed transaction ends with the session.
            answers.push(ask(&client, statement).await.map_err(problem)?);
            times.push(sql::milliseconds(started));
        }
        if !self.autocommit {
            // In check mode nothing of it stays.
            client.batch_execute(if cx.mode.check { "ROLLBACK" } else { "COMMIT" }).await.map_err(problem)?;
        }
        let changed = statements
            .iter()
            .zip(&answers)
            .any(|(s, a)| !sql::is_read_only(s) && (a.count > 0 || !counts(s)));
        let last = answers.last().map_or_else(Vec::new, |a| a.rows.clone());
        let all: Vec<&Vec<Value>> = answers.iter().map(|a| &a.rows).collect();
        let count: u64 = answers.iter().map(|a| a.count).sum();
        Ok(Outcome {
            changed,
            result: Map::from_iter([
                ("query".to_owned(), json!(statements.last())),
                ("query_list".to_owned(), json!(statements)),
                ("query_result".to_owned(), json!(last)),
                ("query_all_results".to_owned(), json!(all)),
                ("rowcount".to_owned(), json!(count)),
                ("execution_time_ms".to_owned(), json!(times)),
            ]),
            ..Outcome::default()
        })
    }
}

/// Whether a statement says how many rows it changed.
fn counts(statement: &str) -> bool {
    let first = statement.split_whitespace().next().unwrap_or_default().to_ascii_uppercase();
    ["INSERT", "UPDATE", "DELETE", "MERGE", "COPY", "WITH"].contains(&first.as_str())
}

async fn ask(client: &Client, statement: &str) -> Result<Answer, tokio_postgres::Error> {
    // The types of the columns come from preparing it; several statements in one text cannot be prepared.
    let types: Vec<Type> = match client.prepare(statement).await {
        Ok(prepared) => prepared.columns().iter().map(|c| c.type_().clone()).collect(),
        Err(error) if error.code() == Some(&tokio_postgres::error::SqlState::SYNTAX_ERROR) => Vec::new(),
        Err(error) => return Err(error),
    };
    let mut answer = Answer { rows: Vec::new(), count: 0 };
    for message in client.simple_query(statement).await? {
        match message {
            SimpleQueryMessage::Row(row) => {
                let cells = row.columns().iter().enumerate().map(|(index, column)| {
                    (column.name().to_owned(), cell(types.get(index), row.get(index)))
                });
                answer.rows.push(Value::Object(cells.collect()));
            }
            SimpleQueryMessage::CommandComplete(count) => answer.count += count,
            _ => {}
        }
    }
    Ok(answer)
}

/// A column's text as a value of the column's type.
fn cell(of: Option<&Type>, text: Option<&str>) -> Value {
    let Some(text) = text else { return Value::Null };
    let number =
        [Type::INT2, Type::INT4, Type::INT8, Type::FLOAT4, Type::FLOAT8, Type::OID, Type::JSON, Type::JSONB];
    match of {
        Some(of) if *of == Type::BOOL => json!(text == "t"),
        Some(of) if number.contains(of) => serde_json::from_str(text).unwrap_or_else(|_| json!(text)),
        _ => json!(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_have_their_columns_type() {
        for (of, text, expected) in [
            (Some(Type::INT4), Some("5"), json!(5)),
            (Some(Type::BOOL), Some("t"), json!(true)),
            (Some(Type::FLOAT8), Some("NaN"), json!("NaN")),
            (Some(Type::JSONB), Some(r#"{"a": 1}"#), json!({"a": 1})),
            (Some(Type::TEXT), Some("5"), json!("5")),
            (None, None, Value::Null),
        ] {
            assert_eq!(cell(of.as_ref(), text), expected);
        }
    }
}
