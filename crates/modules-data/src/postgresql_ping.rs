use async_trait::async_trait;
use serde_json::json;

use super::postgres::{self, with_login};
use crate::value::Map;
use crate::{Action, CheckMode, ModuleError, Outcome, TaskContext};

with_login! {
    /// Whether PostgreSQL answers, and its version. It never fails; see `is_available`.
    pub(super) struct PostgresqlPing {
        /// The database to log in to.
        #[serde(default = "super::postgres::default_user", alias = "db", alias = "database")]
        login_db: String,
    }
}

#[async_trait]
impl Action for PostgresqlPing {
    const NAME: &'static str = "postgresql_ping";
    const FQCN: &'static [&'static str] = &["community.postgresql.postgresql_ping"];
    const CHECK: CheckMode = CheckMode::Runs;

    async fn run(self, cx: &TaskContext) -> Result<Outcome, ModuleError> {
        let answer = match self.login().connect(cx, &self.login_db).await {
            Ok(client) => postgres::version(&client).await.map_err(|e| postgres::reason(&e)),
            Err(refused) => Err(refused.message),
        };
        let (available, version, error) = match answer {
            Ok(version) => (true, version, String::new()),
            Err(error) => (false, json!({}), error),
        };
        Ok(Outcome::ok(Map::from_iter([
            ("is_available".to_owned(), json!(available)),
            ("server_version".to_owned(), version),
            ("conn_err_msg".to_owned(), json!(error)),
        ])))
    }
}
