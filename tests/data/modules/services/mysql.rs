//! `mysql_*` against a real `MariaDB`.

use serde_json::{Value, json};

use super::support::{MariaDb, fail, run, run_in_check_mode, site, skip_without};

#[tokio::test(flavor = "multi_thread")]
async fn mysql_is_configured_and_answers() {
    if skip_without("MariaDB", &["mariadbd", "mariadb-install-db"]) {
        return;
    }
    let site = site();
    let server = MariaDb::start();
    let login = |more: Value| {
        let mut args = json!({"login_unix_socket": server.socket(), "login_user": "root"});
        args.as_object_mut().expect("a mapping").extend(more.as_object().expect("a mapping").clone());
        args
    };
    let tasks = [
        ("mysql_db", login(json!({"name": "registry", "encoding": "latin1"}))),
        (
            "mysql_user",
            login(json!({"name": "quay", "host": "%", "password": "it's \\ quay", "priv": "registry.*:ALL"})),
        ),
    ];
    for expected in [true, false] {
        for (module, args) in &tasks {
            let outcome = run(&site, module, args.clone()).await;
            assert_eq!(outcome.changed, expected, "{module}");
            assert!(!format!("{outcome:?}").contains("it's"), "{outcome:?}");
        }
    }
    let as_quay = |password: &str, database: &str, query: Value| {
        json!({"login_host": "127.0.0.1", "login_port": server.port, "login_user": "quay", "login_password": password,
            "login_db": database, "query": query})
    };
    let password = "it's \\ quay";
    assert!(
        run(
            &site,
            "mysql_query",
            as_quay(password, "registry", json!("CREATE TABLE t (a int, b varchar(9))"))
        )
        .await
        .changed
    );
    let mut insert = as_quay(password, "registry", json!(["INSERT INTO t VALUES (%s, %s)"]));
    insert["positional_args"] = json!([5, "x';--"]);
    assert!(run(&site, "mysql_query", insert).await.changed);
    let select = run(&site, "mysql_query", as_quay(password, "registry", json!("SELECT * FROM t"))).await;
    assert!(!select.changed);
    assert_eq!(select.result["query_result"], json!([[{"a": 5, "b": "x';--"}]]));

    for (args, said) in [
        (as_quay("wrong", "registry", json!("SELECT 1")), "refused the password of quay"),
        (as_quay(password, "mysql", json!("SELECT 1")), "does not let quay use the database mysql"),
        (json!({"login_port": 1, "query": "SELECT 1"}), "MySQL does not answer at 127.0.0.1:1"),
    ] {
        let text = fail(&site, "mysql_query", args).await;
        assert!(text.contains(said), "{said}: {text}");
    }
    let timed = run(&site, "mysql_query", as_quay(password, "registry", json!("SELECT 1"))).await;
    assert!(timed.result["execution_time_ms"][0].as_f64().is_some_and(|ms| ms > 0.0), "{timed:?}");
    // A server that is yet to come gets its database, for all that check mode knows.
    let to_come = json!({"login_port": 1, "name": "registry", "encoding": "latin1"});
    assert!(run_in_check_mode(&site, "mysql_db", to_come.clone()).await.changed);
    assert!(fail(&site, "mysql_db", to_come).await.contains("does not answer"));
    // A changed password and fewer privileges are noticed.
    let mut less = tasks[1].1.clone();
    less["password"] = json!("new");
    less["priv"] = json!("registry.*:SELECT,INSERT");
    for expected in [true, false] {
        assert_eq!(run(&site, "mysql_user", less.clone()).await.changed, expected);
    }
    let text = fail(&site, "mysql_query", as_quay("new", "registry", json!("DROP TABLE t"))).await;
    assert!(text.contains("denied"), "{text}");
    for (module, name) in [("mysql_user", "quay"), ("mysql_db", "registry")] {
        let mut gone = login(json!({"name": name, "state": "absent"}));
        if module == "mysql_user" {
            gone["host"] = json!("%");
        }
        for expected in [true, false] {
            assert_eq!(run(&site, module, gone.clone()).await.changed, expected, "{module}");
        }
    }
}
