//! The modules for services, against real ones on loopback: PostgreSQL, Redis, a registry, a container engine.
//!
//! Each test brings its own servers up in a folder of its own and takes them down again. A test whose programs are
//! missing says so and passes.

#![expect(clippy::print_stderr, reason = "a skipped stage says so")]

#[path = "data/modules/services/mysql.rs"]
mod mysql;
#[path = "data/modules/services/quay_config.rs"]
mod quay_config;
#[path = "data/modules/services/quay_content.rs"]
mod quay_content;
#[path = "data/modules/services/quay_daily.rs"]
mod quay_daily;
#[path = "data/modules/services/storage.rs"]
mod storage;
#[path = "data/modules/services/support.rs"]
mod support;

use serde_json::json;
use support::{
    Docker, Postgres, RedisServer, Registry, Secure, Site, fail, field, quay_stand_in, run,
    run_in_check_mode, site, site_as, site_with, skip_without,
};

#[tokio::test(flavor = "multi_thread")]
async fn postgresql_is_configured_and_answers() {
    if skip_without("PostgreSQL", &["/usr/lib/postgresql/15/bin/initdb", "setpriv"]) {
        return;
    }
    let site = site();
    let server = Postgres::start();
    let login = |more: serde_json::Value| {
        let mut args =
            json!({"login_host": "127.0.0.1", "login_port": server.port, "login_password": "super"});
        args.as_object_mut().expect("a mapping").extend(more.as_object().expect("a mapping").clone());
        args
    };

    let ping = run(&site, "postgresql_ping", login(json!({}))).await;
    assert_eq!(ping.result["is_available"], json!(true), "{ping:?}");
    assert_eq!(ping.result["server_version"]["major"], json!(15));

    // A role, a database and the extension in that database: made once, then left alone.
    let tasks = [
        (
            "postgresql_user",
            login(json!({"name": "quay", "password": "it's", "role_attr_flags": "NOCREATEDB"})),
        ),
        ("postgresql_db", login(json!({"name": "registry", "owner": "quay", "encoding": "UTF8"}))),
        ("postgresql_ext", login(json!({"name": "pg_trgm", "login_db": "registry"}))),
    ];
    for expected in [true, false] {
        for (module, args) in &tasks {
            assert_eq!(run(&site, module, args.clone()).await.changed, expected, "{module}");
        }
    }
    let elsewhere =
        login(json!({"query": "SELECT count(*) AS n FROM pg_extension WHERE extname = 'pg_trgm'"}));
    assert_eq!(run(&site, "postgresql_query", elsewhere).await.result["query_result"], json!([{"n": 0}]));

    // The password works, a wrong one is told from a missing one, and a changed one is noticed.
    let as_quay = |password: serde_json::Value| {
        login(json!({"login_user": "quay", "login_db": "registry", "login_password": password, "query":
            ["CREATE TABLE IF NOT EXISTS t (a int, b text)", "INSERT INTO t VALUES (%s, %s)", "SELECT * FROM t"],
            "positional_args": null}))
    };
    let wrong = fail(&site, "postgresql_query", as_quay(json!("no"))).await;
    assert!(wrong.contains("refused the password of quay"), "{wrong}");
    let none = fail(&site, "postgresql_query", as_quay(json!(null))).await;
    assert!(none.contains("wants a password for quay, and none was given"), "{none}");
    let mut changed = tasks[0].1.clone();
    changed["password"] = json!("new");
    assert!(run(&site, "postgresql_user", changed.clone()).await.changed);
    assert!(!run(&site, "postgresql_user", changed).await.changed);
    let insert = login(json!({"login_user": "quay", "login_db": "registry", "login_password": "new",
        "query": "CREATE TABLE t (a int, b text, c bool)"}));
    assert!(run(&site, "postgresql_query", insert.clone()).await.changed);
    let mut rows = insert;
    rows["query"] = json!("INSERT INTO t VALUES (%s, %s, %s) RETURNING *");
    rows["positional_args"] = json!([5, "x';--", true]);
    let outcome = run(&site, "postgresql_query", rows).await;
    assert_eq!(outcome.result["query_result"], json!([{"a": 5, "b": "x';--", "c": true}]));
    assert!(outcome.result["execution_time_ms"][0].as_f64().is_some_and(|ms| ms > 0.0), "{outcome:?}");
    assert!(outcome.changed);

    // A server that is yet to come gets its extension, for all that check mode knows.
    let to_come =
        json!({"login_host": "127.0.0.1", "login_port": 1, "name": "pg_trgm", "login_db": "registry"});
    assert!(run_in_check_mode(&site, "postgresql_ext", to_come.clone()).await.changed);
    assert!(fail(&site, "postgresql_ext", to_come).await.contains("does not answer"));

    // What is not there is said.
    let missing =
        fail(&site, "postgresql_ext", login(json!({"name": "nonsense", "login_db": "registry"}))).await;
    assert!(missing.contains("no extension nonsense to offer"), "{missing}");
    let missing =
        fail(&site, "postgresql_ext", login(json!({"name": "pg_trgm", "login_db": "nowhere"}))).await;
    assert!(missing.contains("has no database nowhere"), "{missing}");
    let closed = run(&site, "postgresql_ping", json!({"login_host": "127.0.0.1", "login_port": 1})).await;
    assert_eq!(closed.result["is_available"], json!(false));
    assert!(field(&closed, "conn_err_msg").contains("does not answer at 127.0.0.1:1"), "{closed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_answers_or_says_why_not() {
    if skip_without("Redis", &["redis-server"]) {
        return;
    }
    let site = site();
    let server = RedisServer::start("secret");
    let args = |password: serde_json::Value| json!({"login_host": "127.0.0.1", "login_port": server.port, "login_password": password});
    let info = run(&site, "redis_info", args(json!("secret"))).await;
    assert_eq!(info.result["ping"], json!("PONG"));
    assert_eq!(info.result["info"]["tcp_port"], json!(server.port));
    for (password, message) in
        [(json!("wrong"), "refused the password"), (json!(null), "wants a password, and none was given")]
    {
        let said = fail(&site, "redis_info", args(password)).await;
        assert!(said.contains(message), "{said}");
    }
    let open = RedisServer::start("");
    let given = json!({"login_host": "127.0.0.1", "login_port": open.port, "login_password": "x"});
    let said = fail(&site, "redis_info", given).await;
    assert!(said.contains("has no password, but one was given"), "{said}");
    let said = fail(&site, "redis_info", json!({"login_host": "127.0.0.1", "login_port": 1})).await;
    assert!(said.contains("does not answer at 127.0.0.1:1"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_is_proved_by_push_and_pull() {
    if skip_without("the registry", &["docker-registry"]) {
        return;
    }
    let site = site();
    let registry = Registry::start();
    let url = format!("http://127.0.0.1:{}", registry.port);
    for (via, delete) in [("direct", false), ("tunnel", true)] {
        let check =
            json!({"url": url, "username": "quayadmin", "password": "secret", "via": via, "delete": delete});
        let outcome = run(&site, "registry_check", check).await;
        assert!(!outcome.changed, "a check is no change");
        assert!(field(&outcome, "digest").starts_with("sha256:"), "{outcome:?}");
        assert_eq!(field(&outcome, "via"), via);
        assert_eq!(outcome.result.get("deleted"), delete.then_some(&json!(true)));
        let steps = outcome.result["steps"].as_array().expect("steps");
        let named: Vec<&str> = steps.iter().filter_map(|s| s["step"].as_str()).collect();
        let expected = ["connect", "login", "push", "pull", "anonymous pull", "delete"];
        assert_eq!(named, expected[..if delete { 6 } else { 5 }], "{outcome:?}");
        assert!(steps.iter().all(|s| s["ms"].is_u64() && s["asked"] == "registry"), "{outcome:?}");
        assert_eq!(steps[4]["answer"], "refused");
        assert!(outcome.result["push_ms"].is_u64());
        assert_eq!(field(&outcome, "from"), if via == "tunnel" { "localhost" } else { "controller" });
    }
    let wrong = json!({"url": url, "username": "quayadmin", "password": "wrong"});
    let said = fail(&site, "registry_check", wrong).await;
    assert!(said.contains("refused the login"), "{said}");
    let said = fail(&site, "registry_check", json!({"url": "http://127.0.0.1:1", "via": "direct"})).await;
    assert!(said.contains("the registry at 127.0.0.1:1 does not answer"), "{said}");
    let said = fail(&site, "registry_check", json!({"url": "http://127.0.0.1:1", "via": "tunnel"})).await;
    assert!(said.contains("the registry at 127.0.0.1:1 does not answer from localhost"), "{said}");

    // The same server tries the HTTP module: a challenge, a success, a status that was not expected.
    let base = json!({"url": format!("{url}/v2/"), "url_username": "quayadmin", "url_password": "secret"});
    let outcome = run(&site, "uri", base.clone()).await;
    assert_eq!(outcome.result["status"], json!(200));
    assert_eq!(outcome.result["docker_distribution_api_version"], json!("registry/2.0"));
    assert_eq!(outcome.result["json"], json!({}));
    let said = fail(&site, "uri", json!({"url": format!("{url}/v2/")})).await;
    assert_eq!(said, "Status code was 401 and not [200]: HTTP Error 401: Unauthorized");
    let mut expected = json!({"url": format!("{url}/v2/"), "status_code": "200,401", "return_content": true});
    let outcome = run(&site, "uri", expected.clone()).await;
    assert!(field(&outcome, "content").contains("UNAUTHORIZED"), "{outcome:?}");
    expected["url"] = json!("http://127.0.0.1:1/");
    let said = fail(&site, "uri", expected).await;
    assert!(said.starts_with("Status code was -1 and not [200,401]: Request failed"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn https_believes_only_known_certificates() {
    if skip_without("HTTPS", &["openssl"]) {
        return;
    }
    let site = site();
    let server = Secure::start();
    let url = format!("https://127.0.0.1:{}/", server.port);
    let said = fail(&site, "uri", json!({"url": url})).await;
    assert!(said.contains("TLS with 127.0.0.1") && said.contains("certificate"), "{said}");
    let lenient = json!({"url": url, "validate_certs": "no", "return_content": true});
    let outcome = run(&site, "uri", lenient).await;
    assert!(field(&outcome, "content").contains("s_server"), "{outcome:?}");
}

/// Quay's image cannot be had on every machine; this is its API's behaviour, played by a stand-in.
#[tokio::test(flavor = "multi_thread")]
async fn quays_first_user_is_made_once() {
    let site = site();
    let url = format!("http://127.0.0.1:{}", quay_stand_in());
    let user = |name: &str| json!({"url": url, "username": name, "password": "longenough", "email": "a@b.c"});
    let said = fail(&site, "quay_first_user", user("bad name")).await;
    assert_eq!(said, "Quay refused the first user: Invalid username");
    let made = run(&site, "quay_first_user", user("quayadmin")).await;
    assert_eq!((made.changed, field(&made, "access_token")), (true, "abc".to_owned()));
    assert!(!run(&site, "quay_first_user", user("quayadmin")).await.changed);
    let mut short = user("quayadmin");
    short["password"] = json!("short");
    assert!(fail(&site, "quay_first_user", short).await.contains("at least 8 characters"));
    let mut nobody = user("quayadmin");
    nobody["url"] = json!("http://127.0.0.1:1");
    // Before there is a Quay, check mode foresees its user.
    assert!(run_in_check_mode(&site, "quay_first_user", nobody.clone()).await.changed);
    assert!(
        fail(&site, "quay_first_user", nobody).await.contains("Quay does not answer at http://127.0.0.1:1")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn containers_networks_and_volumes_converge() {
    if skip_without("the container engine", &["dockerd", "busybox", "nsenter", "ip"]) {
        return;
    }
    let site = site();
    let Some(engine) = Docker::start() else {
        eprintln!("skipped: no container engine can be started here");
        return;
    };
    let host = engine.address();
    let with = |more: serde_json::Value| {
        let mut args = json!({"docker_host": host});
        args.as_object_mut().expect("a mapping").extend(more.as_object().expect("a mapping").clone());
        args
    };
    let info = run(&site, "docker_host_info", with(json!({}))).await;
    assert_eq!(info.result["can_talk_to_docker"], json!(true));
    images(&site, &engine, &with).await;
    built(&site, &engine, &with).await;
    built_from_git(&site, &with).await;
    through_a_program(&engine, &with).await;
    networks_and_volumes(&site, &with).await;
    logins(&site, &engine, &with).await;
    lab_images(&site, &engine, &with).await;
    containers(&site, &with).await;

    let said =
        fail(&site, "docker_volume", json!({"name": "x", "docker_host": "unix:///nowhere.sock"})).await;
    assert!(said.contains("does not answer at unix:///nowhere.sock"), "{said}");
}

async fn images(site: &Site, engine: &Docker, with: &impl Fn(serde_json::Value) -> serde_json::Value) {
    let archive = engine.make_archive("quaylab/busy:1");
    let load = with(json!({"name": "quaylab/busy:1", "archive": archive}));
    assert!(run(site, "docker_image", load.clone()).await.changed);
    assert!(!run(site, "docker_image", load.clone()).await.changed);
    // Another archive under the same name is loaded; one that does not hold the name is refused.
    engine.retag_other("quaylab/busy:1");
    assert!(run(site, "docker_image", load).await.changed);
    let said = fail(site, "docker_image", with(json!({"name": "other", "archive": archive}))).await;
    assert!(said.contains("holds quaylab/busy:1, not other:latest"), "{said}");
    let there = with(json!({"name": "quaylab/busy", "tag": "1", "source": "local"}));
    assert!(!run(site, "docker_image", there).await.changed);
    let on_target =
        with(json!({"name": "quaylab/busy:1", "load_path": archive, "source": "load", "force_source": true}));
    assert!(run(site, "docker_image", on_target).await.changed);
    let pull = with(json!({"name": "127.0.0.1:1/none:1", "source": "pull"}));
    let said = fail(site, "docker_image", pull).await;
    assert!(said.contains("127.0.0.1:1/none:1 cannot be pulled from 127.0.0.1:1"), "{said}");
}

/// Images that the engine builds from a folder of this machine.
async fn built(site: &Site, engine: &Docker, with: &impl Fn(serde_json::Value) -> serde_json::Value) {
    let _ = engine.make_archive("quaylab/none:1");
    engine.retag_other("quaylab/base:1");
    let folder = tempfile::tempdir().expect("a folder");
    let put = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("written");
    put(
        "Containerfile",
        "FROM quaylab/base:1 AS first\nARG WORD=none\nENV WORD=$WORD\nCOPY . /here\nRUN [\"/bin/busybox\", \"test\", \"!\", \"-e\", \"/here/secret.key\"]\n\
         RUN [\"/bin/busybox\", \"test\", \"-x\", \"/here/tool\"]\nFROM first AS second\nENV STAGE=second\n",
    );
    put(".dockerignore", "*.key\n");
    put("secret.key", "secret");
    // More than the stream's buffers hold.
    put("tool", &"#".repeat(3 << 20));
    std::fs::set_permissions(folder.path().join("tool"), std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .expect("set");
    let build = |more: serde_json::Value| {
        let mut build = json!({"path": folder.path()});
        build.as_object_mut().expect("a mapping").extend(more.as_object().expect("a mapping").clone());
        build
    };
    let environment =
        |outcome: &quaylab::modules::Outcome| outcome.result["image"]["Config"]["Env"].to_string();
    let image = with(
        json!({"name": "quaylab/built:1", "source": "build", "build": build(json!({"args": {"WORD": "said"}, "target": "first"}))}),
    );
    let outcome = run(site, "docker_image", image.clone()).await;
    assert!(outcome.changed);
    let seen = environment(&outcome);
    assert!(seen.contains("WORD=said") && !seen.contains("STAGE"), "{outcome:?}");
    assert!(!run(site, "docker_image", image.clone()).await.changed);
    let mut again = image;
    again["force_source"] = json!(true);
    again["build"] = build(json!({"labels": {"a": "b"}, "nocache": true}));
    let outcome = run(site, "docker_image", again).await;
    assert!(outcome.changed && environment(&outcome).contains("STAGE=second"), "{outcome:?}");
    assert_eq!(outcome.result["image"]["Config"]["Labels"]["a"], json!("b"));

    put(
        "fails",
        "FROM quaylab/base:1\nRUN [\"/bin/busybox\", \"sh\", \"-c\", \"echo what went wrong; exit 3\"]\n",
    );
    let wrong = |more: serde_json::Value| {
        with(json!({"name": "quaylab/wrong:1", "source": "build", "build": build(more)}))
    };
    let said = fail(site, "docker_image", wrong(json!({"dockerfile": "fails"}))).await;
    assert!(said.contains("quaylab/wrong:1 cannot be built") && said.contains("code: 3"), "{said}");
    assert!(said.contains("\n  what went wrong"), "{said}");
    let said = fail(site, "docker_image", wrong(json!({"dockerfile": "none"}))).await;
    assert!(said.contains("holds no none"), "{said}");
    put(".dockerignore", "[\n");
    let said = fail(site, "docker_image", wrong(json!({}))).await;
    assert!(said.contains(".dockerignore:1: \"[\" is no pattern"), "{said}");
}

/// Images that the engine builds from a commit of a repository, which git fetches on this machine.
async fn built_from_git(site: &Site, with: &impl Fn(serde_json::Value) -> serde_json::Value) {
    let repository = tempfile::tempdir().expect("a folder");
    let git = |args: &[&str]| {
        let identity = ["-c", "user.name=lab", "-c", "user.email=lab@example.com"];
        let mut command = std::process::Command::new("git");
        let done = command.args(identity).args(args).current_dir(repository.path()).output().expect("git");
        assert!(done.status.success(), "{args:?}: {}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).expect("text").trim().to_owned()
    };
    let commit = |word: &str| {
        let folder = repository.path().join("images/a");
        std::fs::create_dir_all(&folder).expect("made");
        let text = format!(
            "FROM quaylab/base:1\nENV WORD={word}\nCOPY . /here\nRUN [\"/bin/busybox\", \"test\", \"!\", \"-e\", \"/here/.git\"]\n"
        );
        std::fs::write(folder.join("Dockerfile"), text).expect("written");
        git(&["add", "."]);
        git(&["commit", "-q", "-m", word]);
        git(&["rev-parse", "HEAD"])
    };
    git(&["init", "-q", "-b", "main"]);
    std::os::unix::fs::symlink("/etc", repository.path().join("out")).expect("linked");
    let first = commit("first");
    git(&["tag", "v1"]);
    commit("second");
    git(&["branch", "other"]);
    commit("third");

    let at = |fragment: &str| {
        let path = format!("file://{}#{fragment}", repository.path().display());
        with(
            json!({"name": "quaylab/git:1", "source": "build", "build": {"path": path}, "force_source": true}),
        )
    };
    for (reference, word) in [("", "third"), ("v1", "first"), ("other", "second"), (&first[..9], "first")] {
        let outcome = run(site, "docker_image", at(&format!("{reference}:images/a"))).await;
        let seen = outcome.result["image"]["Config"]["Env"].to_string();
        assert!(outcome.changed && seen.contains(&format!("WORD={word}")), "{reference}: {outcome:?}");
    }
    let mut there = at("gone:images/a");
    there["force_source"] = json!(false);
    assert!(!run(site, "docker_image", there).await.changed, "nothing is fetched for an image that is there");
    for (fragment, why) in [
        ("gone:images/a", "has no branch, tag or commit gone"),
        ("main:images/b", "has no folder images/b"),
        ("main:out", "has no folder out"),
        ("main", "#main holds no Dockerfile and no Containerfile"),
    ] {
        let said = fail(site, "docker_image", at(fragment)).await;
        assert!(said.contains(why), "{fragment}: {said}");
    }
    let nowhere =
        with(json!({"name": "quaylab/no:1", "source": "build", "build": {"path": "file:///none.git"}}));
    let said = fail(site, "docker_image", nowhere).await;
    assert!(said.contains("file:///none.git cannot be fetched:\n"), "{said}");
}

/// The engine asks the registry before a login is kept, in a file or by a credential helper.
async fn logins(site: &Site, engine: &Docker, with: &impl Fn(serde_json::Value) -> serde_json::Value) {
    use std::os::unix::fs::PermissionsExt as _;
    if skip_without("logins to a registry", &["docker-registry"]) {
        return;
    }
    let registry = engine.registry();
    let name = format!("127.0.0.1:{}", registry.port);
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    let file = at("own/config.json");
    let login = |password: &str, more: serde_json::Value| {
        let mut args = with(json!({"registry": name, "username": "quayadmin", "password": password}));
        args.as_object_mut().expect("a mapping").extend(more.as_object().expect("a mapping").clone());
        args
    };
    let own = json!({"config_path": file});
    let said = fail(site, "docker_login", login("wrong", own.clone())).await;
    assert!(
        said.contains(&format!("{name} does not let quayadmin in: ")) && !said.contains("wrong"),
        "{said}"
    );
    assert!(!file.exists());
    for changed in [true, false] {
        assert_eq!(run(site, "docker_login", login("secret", own.clone())).await.changed, changed);
    }
    let text = || std::fs::read_to_string(&file).expect("the file");
    assert!(text().contains(r#""auth": "cXVheWFkbWluOnNlY3JldA==""#), "{}", text());
    let mode = |path: &std::path::Path| path.metadata().expect("there").permissions().mode() & 0o777;
    assert_eq!((mode(&file), mode(&at("own"))), (0o600, 0o700));
    // With the file of another password nothing is lost when the registry refuses it.
    let before = text();
    fail(site, "docker_login", login("wrong", own.clone())).await;
    assert_eq!(text(), before);
    let again = login("secret", json!({"config_path": file, "reauthorize": true}));
    assert!(!run(site, "docker_login", again).await.changed);
    let gone = with(json!({"registry": name, "config_path": file, "state": "absent"}));
    for changed in [true, false] {
        assert_eq!(run(site, "docker_login", gone.clone()).await.changed, changed);
    }
    assert_eq!(text(), "{\n  \"auths\": {}\n}\n");

    let helper = format!(
        "#!/bin/sh\nf='{}'\ncase $1 in store) cat >\"$f\" ;; erase) rm \"$f\" ;; get) cat >/dev/null\n\
         [ ! -e \"$f\" ] || exec cat \"$f\"\necho 'credentials not found in native keychain'; exit 1 ;; esac\n",
        at("kept").display()
    );
    std::fs::write(at("docker-credential-lab"), helper).expect("written");
    std::fs::set_permissions(at("docker-credential-lab"), std::fs::Permissions::from_mode(0o755))
        .expect("set");
    std::fs::write(at("config.json"), r#"{"credsStore": "lab"}"#).expect("written");
    let path = format!("{}:/usr/bin:/bin", folder.path().display());
    let with_helper = site_with(&[("PATH", path), ("DOCKER_CONFIG", folder.path().display().to_string())]);
    for changed in [true, false] {
        assert_eq!(run(&with_helper, "docker_login", login("secret", json!({}))).await.changed, changed);
    }
    let config = std::fs::read_to_string(at("config.json")).expect("the file");
    assert!(config.contains(&format!("\"{name}\": {{}}")) && !config.contains("cXVh"), "{config}");
    assert!(std::fs::read_to_string(at("kept")).expect("kept").contains(r#""Secret":"secret""#));
    let gone = with(json!({"registry": name, "state": "absent"}));
    for changed in [true, false] {
        assert_eq!(run(&with_helper, "docker_login", gone.clone()).await.changed, changed);
    }
    assert!(!at("kept").exists());
}

/// The images that `scripts/service-images.sh` makes, where it has made them.
async fn lab_images(site: &Site, engine: &Docker, with: &impl Fn(serde_json::Value) -> serde_json::Value) {
    let made = "/var/cache/quaylab/images";
    if skip_without(
        "the lab's own images",
        &[&format!("{made}/postgresql-15.tar"), &format!("{made}/redis-7.tar")],
    ) {
        return;
    }
    for (name, archive) in [("postgresql:15", "postgresql-15"), ("redis:7", "redis-7")] {
        let image = with(
            json!({"name": format!("localhost/quaylab/{name}"), "archive": format!("{made}/{archive}.tar")}),
        );
        assert!(run(site, "docker_image", image.clone()).await.changed, "{name}");
        assert!(!run(site, "docker_image", image).await.changed, "{name}");
    }
    let (data, socket) = (engine.folder("pgdata", 26), engine.folder("pgrun", 26));
    let args = with(json!({
        "name": "postgresql", "image": "localhost/quaylab/postgresql:15", "restart_policy": "always",
        "volumes": [format!("{data}:/var/lib/pgsql/data:Z"), format!("{socket}:/run/postgresql")],
        "env": {"POSTGRESQL_USER": "quay", "POSTGRESQL_PASSWORD": "p", "POSTGRESQL_DATABASE": "quay"}
    }));
    assert!(run(site, "docker_container", args.clone()).await.changed);
    // The port is in the engine's own network namespace; the socket is reached from here.
    let login = json!({"login_unix_socket": socket, "login_user": "quay", "login_db": "quay"});
    for attempt in 0.. {
        let answer = run(site, "postgresql_ping", login.clone()).await;
        if answer.result["is_available"] == json!(true) {
            break;
        }
        assert!(attempt < 60, "{answer:?}");
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    }
    // The registry's role owns its database and may make the extension itself.
    let mut extension = login;
    extension["name"] = json!("pg_trgm");
    assert!(run(site, "postgresql_ext", extension.clone()).await.changed);
    assert!(!run(site, "postgresql_ext", extension).await.changed);
    assert!(!run(site, "docker_container", args).await.changed);
    assert!(
        run(site, "docker_container", with(json!({"name": "postgresql", "state": "absent"}))).await.changed
    );
}

/// Another user than the one who logged in reaches the engine through its client's `dial-stdio`.
async fn through_a_program(engine: &Docker, with: &impl Fn(serde_json::Value) -> serde_json::Value) {
    let other = site_as("somebody");
    let archive = engine.make_archive("quaylab/other:1");
    let load = with(json!({"name": "quaylab/other:1", "archive": archive}));
    assert!(run(&other, "docker_image", load.clone()).await.changed);
    assert!(!run(&other, "docker_image", load).await.changed);
    let volume = with(json!({"name": "other"}));
    assert!(run(&other, "docker_volume", volume).await.changed);
}

async fn networks_and_volumes(site: &Site, with: &impl Fn(serde_json::Value) -> serde_json::Value) {
    let network = with(json!({"name": "quaylab", "ipam_config": [{"subnet": "172.29.7.0/24"}]}));
    let volume = with(json!({"name": "data", "labels": {"a": "1"}}));
    for expected in [true, false] {
        assert_eq!(run(site, "docker_network", network.clone()).await.changed, expected);
        assert_eq!(run(site, "docker_volume", volume.clone()).await.changed, expected);
    }
    let internal =
        with(json!({"name": "quaylab", "internal": true, "ipam_config": [{"subnet": "172.29.7.0/24"}]}));
    let outcome = run(site, "docker_network", internal).await;
    assert!(outcome.changed);
    assert_eq!(outcome.diff[0].after, "internal: true\n");
    assert_eq!(outcome.result["network"]["Labels"]["quaylab.lab"], json!("test"));
    // An internal network publishes no ports, which the containers need.
    let open = with(json!({"name": "quaylab", "internal": false}));
    assert!(run(site, "docker_network", open).await.changed);
}

async fn containers(site: &Site, with: &impl Fn(serde_json::Value) -> serde_json::Value) {
    let args = with(json!({
        "name": "box", "image": "quaylab/busy:1", "command": "/bin/busybox sleep 1000", "user": "1001",
        "env": {"MODE": "a", "DB_PASSWORD": "geheim"}, "volumes": ["data:/data", "/tmp:/host:ro"],
        "networks": [{"name": "quaylab", "aliases": ["db"]}], "restart_policy": "unless-stopped",
        "labels": {"x": "y"}, "log_driver": "json-file", "log_options": {"max-size": "1m"},
        "published_ports": ["127.0.0.1:18080:8080"], "sysctls": {"net.core.somaxconn": "512"}, "stop_timeout": 0
    }));
    let made = run(site, "docker_container", args.clone()).await;
    assert!(made.changed);
    assert_eq!(made.result["container"]["State"]["Running"], json!(true), "{made:?}");
    assert!(!made.result["container"].to_string().contains("geheim"));
    let info = run(site, "docker_container_info", with(json!({"name": "box"}))).await;
    assert_eq!(info.result["exists"], json!(true));
    assert!(!info.result["container"].to_string().contains("geheim"));
    let again = run(site, "docker_container", args.clone()).await;
    assert!(!again.changed, "{:?}", again.diff);

    let mut other = args.clone();
    other["env"] = json!({"MODE": "b", "DB_PASSWORD": "neu"});
    let outcome = run(site, "docker_container", other.clone()).await;
    assert!(outcome.changed);
    assert_eq!(outcome.diff[0].after, "env DB_PASSWORD: ********\nenv MODE: b\n");
    assert!(!outcome.diff[0].before.contains("geheim"));
    assert!(!run(site, "docker_container", other.clone()).await.changed);

    for (state, changed, running) in
        [("stopped", true, json!(false)), ("stopped", false, json!(false)), ("started", true, json!(true))]
    {
        let args = with(json!({"name": "box", "state": state, "stop_timeout": 0}));
        let outcome = run(site, "docker_container", args).await;
        assert_eq!(
            (outcome.changed, &outcome.result["container"]["State"]["Running"]),
            (changed, &running),
            "{state}"
        );
    }
    let mut taken = other;
    taken["name"] = json!("box2");
    let said = fail(site, "docker_container", taken).await;
    assert!(
        said.contains("starting the container box2") && said.contains("port is already allocated"),
        "{said}"
    );
    for (name, changed) in [("box", true), ("box2", true), ("box", false)] {
        let outcome =
            run(site, "docker_container", with(json!({"name": name, "state": "absent", "stop_timeout": 0})))
                .await;
        assert_eq!(outcome.changed, changed, "{name}");
    }
    assert!(run(site, "docker_network", with(json!({"name": "quaylab", "state": "absent"}))).await.changed);
    assert!(run(site, "docker_volume", with(json!({"name": "data", "state": "absent"}))).await.changed);
}

#[test]
fn roles_document_every_knob() {
    let roles = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("roles");
    for role in [
        "ceph",
        "docker",
        "container",
        "docker_storage",
        "podman",
        "lab_ca",
        "mysql",
        "postgresql",
        "quay",
        "redis",
        "registry",
        "subscription",
        "verify",
    ] {
        let read = |name: &str| -> serde_yaml::Mapping {
            let path = roles.join(role).join(name);
            let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            serde_yaml::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
        };
        let defaults = read("defaults/main.yml");
        let specs = read("meta/argument_specs.yml");
        let options = specs["argument_specs"]["main"]["options"].as_mapping().expect("options").clone();
        let names = |m: &serde_yaml::Mapping| {
            m.keys().filter_map(|k| k.as_str().map(str::to_owned)).collect::<std::collections::BTreeSet<_>>()
        };
        assert_eq!(names(&defaults), names(&options), "{role}");
        for (name, option) in &options {
            let name = name.as_str().expect("a name");
            assert!(option["description"].is_string(), "{role}: {name} has no description");
            // What a lookup makes is a secret and is named as one.
            let default = defaults[name].as_str().unwrap_or_default();
            if default.contains("ansible.builtin.password") {
                assert_eq!(option["no_log"].as_bool(), Some(true), "{role}: {name}");
            }
            if let Some(documented) = option.get("default") {
                assert_eq!(documented, &defaults[name], "{role}: {name}");
            }
        }
    }
}
