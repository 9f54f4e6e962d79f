//! What Quay holds, through its API. Quay's image cannot be had on every machine: the stand-in of `tests/standins/quay`
//! answers here, with a real PostgreSQL and Redis behind it.

use std::process::Command;

use serde_json::{Value, json};

use super::support::{
    Postgres, RedisServer, Site, StandIn, fail, field, run, run_in_check_mode, site, skip_without,
};

#[tokio::test(flavor = "multi_thread")]
async fn what_quay_holds_is_declared() {
    if skip_without(
        "the stand-in for Quay",
        &["/usr/lib/postgresql/15/bin/initdb", "redis-server", "setpriv"],
    ) || !Command::new("/usr/bin/python3")
        .args(["-c", "import psycopg2, yaml"])
        .output()
        .is_ok_and(|o| o.status.success())
    {
        return;
    }
    let (postgres, redis) = (Postgres::start(), RedisServer::start("red"));
    let quay = StandIn::start(&postgres, &redis);
    let site = site();
    let url = quay.url();
    let admin = |more: Value| {
        let mut args = json!({"quay_host": url, "quay_username": "admin", "quay_password": "admin-password"});
        args.as_object_mut().expect("a mapping").extend(more.as_object().expect("a mapping").clone());
        args
    };
    let first = json!({"url": url, "username": "admin", "password": "admin-password", "email": "a@b.c"});
    let token = field(&run(&site, "quay_first_user", first).await, "access_token");

    let folder = tempfile::tempdir().expect("a folder");
    let login = folder.path().join("config.json").display().to_string();
    let tasks = [
        ("quay_user", json!({"username": "ann", "email": "ann@b.c", "password": "ann-password"})),
        ("quay_organization", json!({"name": "lab", "email": "lab@b.c", "time_machine_expiration": "1d"})),
        (
            "quay_robot",
            json!({"name": "lab+puller", "description": "pulls", "docker_config": login, "registry": "q.lan"}),
        ),
        ("quay_robot", json!({"name": "own"})),
        ("quay_team", json!({"organization": "lab", "name": "readers", "members": ["ann", "lab+puller"]})),
        (
            "quay_default_permission",
            json!({"organization": "lab", "name": "readers", "type": "team", "role": "read"}),
        ),
        (
            "quay_repository",
            json!({"name": "lab/app", "visibility": "public", "description": "the app",
                "perms": [{"name": "ann", "role": "write"}, {"name": "readers", "type": "team"}]}),
        ),
        ("quay_organization", json!({"name": "cache"})),
        (
            "quay_proxy_cache",
            json!({"organization": "cache", "registry": "127.0.0.1:5000/library", "expiration": "2d"}),
        ),
        ("quay_repository", json!({"name": "lab/copy"})),
        (
            "quay_mirror",
            json!({"name": "lab/copy", "external_reference": "127.0.0.1:5000/a/b", "robot_username": "lab+puller",
                "image_tags": ["v*"], "external_registry_username": "u", "external_registry_password": "p"}),
        ),
    ];
    // Nothing is there yet: all of it is foreseen, and none of it done.
    for (module, args) in &tasks {
        assert!(run_in_check_mode(&site, module, admin(args.clone())).await.changed, "{module} {args}");
    }
    for expected in [true, false] {
        for (module, args) in &tasks {
            let outcome = run(&site, module, admin(args.clone())).await;
            assert_eq!(outcome.changed, expected, "{module} {args}");
            assert!(!format!("{outcome:?}").contains("-password"), "{outcome:?}");
        }
    }
    let written = std::fs::read_to_string(&login).expect("the login");
    assert!(written.contains("\"q.lan\""), "{written}");
    assert_eq!(
        std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&login).expect("it").permissions())
            & 0o777,
        0o600
    );

    exported(&site, &url, folder.path(), &admin).await;
    changes(&site, &admin).await;
    refusals(&site, &url, &admin).await;
    // A token does as well as a password.
    let by_token = json!({"quay_host": url, "quay_token": token, "name": "lab/app", "visibility": "private"});
    assert!(!run(&site, "quay_repository", by_token).await.changed);
}

/// What is written from the running Quay changes nothing where it is declared.
async fn exported(site: &Site, url: &str, folder: &std::path::Path, admin: &impl Fn(Value) -> Value) {
    let password = folder.join("password");
    std::fs::write(&password, "admin-password\n").expect("written");
    let mut command = Command::new(env!("CARGO_BIN_EXE_quaylab"));
    command.args(["registry", "export", url, "--username", "admin", "--password-file"]).arg(&password);
    let written = command.output().expect("it runs");
    let told = String::from_utf8_lossy(&written.stderr).into_owned();
    assert!(written.status.success(), "{told}");
    assert_eq!(told, "read 2 organizations and 1 users\n");
    let held: Value = serde_yaml::from_slice(&written.stdout).expect("YAML");
    let list = |value: &Value, name: &str| value[name].as_array().cloned().unwrap_or_default();
    let with = |mut entry: Value, more: Value| {
        entry.as_object_mut().expect("a mapping").extend(more.as_object().expect("a mapping").clone());
        entry
    };
    let mut tasks: Vec<(&str, Value)> = Vec::new();
    for user in list(&held, "quay_users") {
        tasks.push(("quay_user", user));
    }
    for organization in list(&held, "quay_organizations") {
        let name = organization["name"].as_str().expect("a name");
        let expiration = &organization["time_machine_expiration"];
        tasks.push((
            "quay_organization",
            json!({"name": name, "email": organization["email"], "time_machine_expiration": expiration}),
        ));
        let inside = json!({"organization": name});
        for robot in list(&organization, "robots") {
            let full = format!("{name}+{}", robot["name"].as_str().expect("a name"));
            tasks.push(("quay_robot", with(robot, json!({"name": full}))));
        }
        for team in list(&organization, "teams") {
            tasks.push(("quay_team", with(team, inside.clone())));
        }
        for permission in list(&organization, "default_permissions") {
            tasks.push(("quay_default_permission", with(permission, inside.clone())));
        }
        if organization["proxy_cache"].is_object() {
            tasks.push(("quay_proxy_cache", with(organization["proxy_cache"].clone(), inside.clone())));
        }
        for mut repository in list(&organization, "repositories") {
            let full = format!("{name}/{}", repository["name"].as_str().expect("a name"));
            let mirror = repository.as_object_mut().expect("a mapping").remove("mirror");
            tasks.push(("quay_repository", with(repository, json!({"name": full}))));
            if let Some(mut mirror) = mirror {
                let fields = mirror.as_object_mut().expect("a mapping");
                let robot = fields.remove("robot").expect("a robot");
                let user = fields.remove("username").unwrap_or_default();
                let robot = format!("{name}+{}", robot.as_str().expect("a name"));
                let more = json!({"name": full, "robot_username": robot, "external_registry_username": user});
                tasks.push(("quay_mirror", with(mirror, more)));
            }
        }
    }
    let modules: Vec<&str> = tasks.iter().map(|(module, _)| *module).collect();
    for module in
        ["quay_user", "quay_robot", "quay_team", "quay_proxy_cache", "quay_repository", "quay_mirror"]
    {
        assert!(modules.contains(&module), "{module} is not in {held}");
    }
    for (module, args) in tasks {
        let outcome = run(site, module, admin(args.clone())).await;
        assert!(!outcome.changed, "{module} {args}: {:?}", outcome.diff);
    }
}

/// What differs is changed, and only that; what is no more wanted goes.
async fn changes(site: &Site, admin: &impl Fn(Value) -> Value) {
    for (module, args) in [
        ("quay_repository", json!({"name": "lab/app", "visibility": "private"})),
        (
            "quay_repository",
            json!({"name": "lab/app", "perms": [{"name": "ann", "role": "read"}], "append": false}),
        ),
        (
            "quay_team",
            json!({"organization": "lab", "name": "readers", "role": "creator", "members": ["ann"], "append": false}),
        ),
        (
            "quay_default_permission",
            json!({"organization": "lab", "name": "readers", "type": "team", "role": "write"}),
        ),
        (
            "quay_proxy_cache",
            json!({"organization": "cache", "registry": "127.0.0.1:5000", "expiration": "2d"}),
        ),
        (
            "quay_mirror",
            json!({"name": "lab/copy", "external_reference": "127.0.0.1:5000/a/c", "robot_username": "lab+puller", "image_tags": ["v*"]}),
        ),
        ("quay_organization", json!({"name": "lab", "time_machine_expiration": "2w"})),
        ("quay_user", json!({"username": "ann", "password": "new-password"})),
        // Where a synchronization is wanted, it is asked for each time.
        (
            "quay_mirror",
            json!({"name": "lab/copy", "sync_interval": 7200, "http_proxy": "http://proxy.lan:3128"}),
        ),
        ("quay_mirror", json!({"name": "lab/copy", "http_proxy": "", "skopeo_timeout_interval": 600})),
        // The mirror's robot keeps what Quay has given it.
        (
            "quay_repository",
            json!({"name": "lab/copy", "perms": [{"name": "ann", "role": "read"}], "append": false}),
        ),
        ("quay_mirror", json!({"name": "lab/copy", "state": "absent"})),
        // Quay lets in who makes a repository; the exact permissions are there after one run all the same.
        (
            "quay_repository",
            json!({"name": "lab/exact", "perms": [{"name": "ann", "role": "read"}], "append": false, "star": true}),
        ),
        ("quay_repository", json!({"name": "lab/exact", "repo_state": "READ_ONLY", "star": false})),
        ("quay_user", json!({"username": "eve", "password": "eve-password"})),
        ("quay_user", json!({"username": "eve", "password": "eve-password", "enabled": false})),
        (
            "quay_default_permission",
            json!({"organization": "lab", "name": "readers", "type": "team", "state": "absent"}),
        ),
        ("quay_proxy_cache", json!({"organization": "cache", "state": "absent"})),
        ("quay_repository", json!({"name": "lab/copy", "state": "absent"})),
        ("quay_robot", json!({"name": "own", "state": "absent"})),
        ("quay_organization", json!({"name": "cache", "state": "absent"})),
    ] {
        for expected in [true, false] {
            assert_eq!(run(site, module, admin(args.clone())).await.changed, expected, "{module} {args}");
        }
    }
    // Below what is gone there is nothing.
    for (module, args) in [
        ("quay_robot", json!({"name": "gone+robot"})),
        ("quay_repository", json!({"name": "gone/app"})),
        ("quay_mirror", json!({"name": "gone/app"})),
        ("quay_proxy_cache", json!({"organization": "gone"})),
        (
            "quay_default_permission",
            json!({"organization": "gone", "name": "ann", "type": "user", "role": "read"}),
        ),
    ] {
        let mut args = admin(args);
        args["state"] = json!("absent");
        assert!(!run(site, module, args.clone()).await.changed, "{module} {args}");
    }
    let public = run(site, "quay_repository", admin(json!({"name": "lab/app"}))).await;
    assert_eq!(public.result["is_public"], json!(false));
}

/// What cannot be done is said with what to try.
async fn refusals(site: &Site, url: &str, admin: &impl Fn(Value) -> Value) {
    let with = |user: &str, password: &str| json!({"quay_host": url, "quay_username": user, "quay_password": password, "name": "lab"});
    let said = fail(site, "quay_organization", with("admin", "wrong-password")).await;
    assert_eq!(said, "Quay did not let admin in: Invalid Username or Password");
    // She is a member, and sees it; she may not change it.
    let mut by_ann = with("ann", "new-password");
    by_ann["email"] = json!("other@b.c");
    let said = fail(site, "quay_organization", by_ann).await;
    assert!(said.contains("no administrator of the organization lab"), "{said}");
    let nowhere = json!({"organization": "nowhere", "name": "t"});
    assert_eq!(fail(site, "quay_team", admin(nowhere)).await, "there is no organization nowhere");
    let unknown = json!({"organization": "lab", "name": "readers", "members": ["nobody"]});
    let said = fail(site, "quay_team", admin(unknown)).await;
    assert_eq!(said, "adding nobody to the team readers: Quay answered 400: Unknown user");
    let said = fail(site, "quay_repository", admin(json!({"name": "gone/app"}))).await;
    assert_eq!(said, "there is no organization or user gone");
    // Anybody may see the organization; a token that is none is told all the same.
    let expired = json!({"quay_host": url, "quay_token": "no-token", "name": "lab"});
    let said = fail(site, "quay_organization", expired).await;
    assert!(said.contains("Quay does not know the token"), "{said}");
    let inside = json!({"organization": "lab", "registry": "10.1.2.3/library"});
    let said = fail(site, "quay_proxy_cache", admin(inside)).await;
    assert!(said.contains("The provided registry URL is not allowed"), "{said}");
    let closed = json!({"quay_host": "http://127.0.0.1:1", "quay_token": "t", "name": "lab"});
    assert!(
        fail(site, "quay_organization", closed).await.contains("Quay does not answer at http://127.0.0.1:1")
    );
}
