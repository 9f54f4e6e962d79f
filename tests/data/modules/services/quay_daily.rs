//! What people do with a Quay day by day, through the modules of `infra.quay_configuration`: each thing is made once, left
//! alone, changed and removed. The stand-in of `tests/standins/quay` answers.

use std::process::Command;

use serde_json::{Value, json};

use super::support::{Site, StandIn, fail, field, run, run_in_check_mode, site, skip_without};

/// What is declared, and what of it is changed.
fn tasks() -> Vec<(&'static str, Value, Value)> {
    let with = |base: &Value, more: Value| {
        let mut args = base.clone();
        args.as_object_mut().expect("a mapping").extend(more.as_object().expect("a mapping").clone());
        args
    };
    let organization = json!({"namespace": "lab"});
    let repository = json!({"repository": "lab/app"});
    let pushed = json!({"repository": "lab/app", "title": "pushed"});
    let slack = |url: &str| json!({"event": "repo_push", "method": "slack", "config": {"url": url}});
    let mirror = json!({"organization": "mirror"});
    let policy = json!({"method": "date", "value": "7d", "tag_pattern": "dev.*"});
    let other = json!({"method": "tags", "value": 5, "append": false});
    let immutable = json!({"tag_pattern": "v.*"});
    let not = json!({"tag_pattern": "v.*", "behavior": "not_matching_immutable"});
    vec![
        ("quay_organization_prune", with(&organization, policy.clone()), with(&organization, other.clone())),
        ("quay_repository_prune", with(&repository, policy), with(&repository, other)),
        (
            "quay_organization_immutability",
            with(&organization, immutable.clone()),
            with(&organization, not.clone()),
        ),
        ("quay_repository_immutability", with(&repository, immutable), with(&repository, not)),
        (
            "quay_quota",
            json!({"organization": "lab", "quota": "2 GiB", "warning_pct": 80, "reject_pct": 95}),
            json!({"organization": "lab", "quota": "1 GiB", "warning_pct": 0, "reject_pct": 90}),
        ),
        (
            "quay_application",
            json!({"organization": "lab", "name": "ext", "description": "d", "redirect_uri": "http://r"}),
            json!({"organization": "lab", "name": "ext", "avatar_email": "a@b.c"}),
        ),
        ("quay_notification", with(&pushed, slack("https://s/1")), with(&pushed, slack("https://s/2"))),
        (
            "quay_message",
            json!({"content": "at 6", "severity": "info"}),
            json!({"content": "at 6", "severity": "error"}),
        ),
        (
            "quay_organization_mirror",
            with(
                &mirror,
                json!({"external_registry_type": "quay", "external_registry_url": "http://127.0.0.1:5000",
                    "external_namespace": "a", "robot_username": "mirror+sync", "sync_start_date": "2030-01-01T00:00:00Z"}),
            ),
            with(
                &mirror,
                json!({"external_registry_username": "u", "external_registry_password": "secret-word", "verify_tls": false}),
            ),
        ),
        (
            "quay_manifest_label",
            json!({"image": "lab/app:v1", "key": "arch", "value": "x86-64"}),
            json!({"image": "lab/app:v1", "key": "arch", "value": "arm"}),
        ),
        (
            "quay_service_key",
            json!({"name": "scanner", "service": "clair"}),
            json!({"name": "scanner", "service": "clair", "expiration": "2099-01-01T00:00:00Z"}),
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn what_people_do_with_a_quay_day_by_day_is_declared() {
    let has_yaml = Command::new("/usr/bin/python3").args(["-c", "import yaml"]).output();
    if skip_without("the stand-in for Quay", &["/usr/bin/python3"])
        || !has_yaml.is_ok_and(|o| o.status.success())
    {
        return;
    }
    let quay = StandIn::alone();
    let site = site();
    let url = quay.url();
    let admin = |more: Value| {
        let mut args = json!({"quay_host": url, "quay_username": "admin", "quay_password": "admin-password"});
        args.as_object_mut().expect("a mapping").extend(more.as_object().expect("a mapping").clone());
        args
    };
    let first = json!({"url": url, "username": "admin", "password": "admin-password", "email": "a@b.c"});
    run(&site, "quay_first_user", first).await;
    // Before anything is there, what is to be absent is.
    for (module, _, changed) in tasks() {
        let mut gone = admin(changed);
        gone["state"] = json!("absent");
        assert!(!run(&site, module, gone.clone()).await.changed, "{module} {gone}");
    }
    let nowhere = admin(json!({"namespace": "lab", "method": "tags", "value": 5}));
    let said = fail(&site, "quay_organization_prune", nowhere.clone()).await;
    assert_eq!(said, "there is no organization or user lab");
    assert!(run_in_check_mode(&site, "quay_organization_prune", nowhere).await.changed);

    for (module, args) in [
        ("quay_organization", json!({"name": "lab"})),
        ("quay_organization", json!({"name": "mirror"})),
        ("quay_robot", json!({"name": "mirror+sync"})),
        ("quay_user", json!({"username": "ann", "email": "ann@b.c", "password": "ann-password"})),
        ("quay_team", json!({"organization": "lab", "name": "devs", "members": ["ann"]})),
        ("quay_repository", json!({"name": "lab/app"})),
    ] {
        assert!(run(&site, module, admin(args)).await.changed, "{module}");
    }
    let push = json!({"url": url, "username": "admin", "password": "admin-password", "repository": "lab/app", "tag": "v1", "via": "direct"});
    let digest = field(&run(&site, "registry_check", push).await, "digest");

    for (module, made, changed) in tasks() {
        assert!(run_in_check_mode(&site, module, admin(made.clone())).await.changed, "{module} {made}");
        for args in [&made, &changed] {
            for expected in [true, false] {
                let outcome = run(&site, module, admin(args.clone())).await;
                assert_eq!(outcome.changed, expected, "{module} {args}: {:?}", outcome.diff);
                assert!(!format!("{outcome:?}").contains("secret-word"), "{outcome:?}");
            }
        }
        let mut gone = admin(changed);
        gone["state"] = json!("absent");
        for expected in [true, false] {
            assert_eq!(run(&site, module, gone.clone()).await.changed, expected, "{module} {gone}");
        }
    }
    tags(&site, &admin, &digest).await;
    tokens(&site, &url, &admin).await;
    team(&site, &admin).await;
    told(&site, &url, &admin, &digest).await;
}

/// Tags are moved, end, come back.
async fn tags(site: &Site, admin: &impl Fn(Value) -> Value, digest: &str) {
    // Quay takes an end that is no more than two years away.
    let soon = jiff::Timestamp::now().as_second() + 30 * 86_400;
    let soon =
        jiff::Timestamp::from_second(soon).expect("a moment").strftime("%Y-%m-%d %H:%M +0000").to_string();
    let until = json!({"image": "lab/app:v1", "expiration": soon, "expiration_format": "%Y-%m-%d %H:%M %z"});
    for args in [
        json!({"image": "lab/app:v1", "tag": "latest"}),
        json!({"image": format!("lab/app@{digest}"), "tag": "v2"}),
        until,
        json!({"image": "lab/app:v1", "expiration": ""}),
        json!({"image": "lab/app:v2", "immutable": true}),
        json!({"image": "lab/app:v2", "immutable": false}),
        json!({"image": "lab/app:v2", "state": "absent"}),
        json!({"image": "lab/app:v2", "restore": true}),
        json!({"image": "lab/app", "state": "absent"}),
    ] {
        for expected in [true, false] {
            let outcome = run(site, "quay_tag", admin(args.clone())).await;
            assert_eq!(outcome.changed, expected, "{args}: {:?}", outcome.diff);
        }
    }
    let said = fail(site, "quay_tag", admin(json!({"image": "lab/app:latest"}))).await;
    assert_eq!(said, "the image lab/app:latest was removed");
    let said = fail(site, "quay_tag", admin(json!({"image": "lab/none:v1"}))).await;
    assert_eq!(said, "there is no repository lab/none");
}

/// Tokens of one's own are made once; those of an application each time.
async fn tokens(site: &Site, url: &str, admin: &impl Fn(Value) -> Value) {
    let token = |more: Value| {
        let mut args = admin(json!({"name": "pull"}));
        args.as_object_mut().expect("a mapping").extend(more.as_object().expect("a mapping").clone());
        args
    };
    let made = run(site, "quay_docker_token", token(json!({}))).await;
    let kept = run(site, "quay_docker_token", token(json!({}))).await;
    assert_eq!((made.changed, kept.changed), (true, false));
    assert_eq!(made.result["token_code"], kept.result["token_code"]);
    assert_eq!((field(&kept, "name"), field(&kept, "username")), ("pull".into(), "$app".into()));
    for expected in [true, false] {
        let gone = token(json!({"state": "absent"}));
        assert_eq!(run(site, "quay_docker_token", gone).await.changed, expected);
    }
    let application =
        run(site, "quay_application", admin(json!({"organization": "lab", "name": "api"}))).await;
    let client = field(&application, "client_id");
    let asked = admin(json!({"client_id": client, "rights": ["org:admin", "user:read"]}));
    let token = field(&run(site, "quay_api_token", asked.clone()).await, "access_token");
    let by_token = json!({"quay_host": url, "quay_token": token, "organization": "lab", "name": "api"});
    assert!(!run(site, "quay_application", by_token).await.changed);
    let unknown = admin(json!({"client_id": "NOBODY"}));
    assert!(fail(site, "quay_api_token", unknown).await.contains("Quay answered 400 without a token"));
    let made = run(site, "quay_service_key", admin(json!({"name": "one", "service": "clair"}))).await;
    assert!(field(&made, "private_key").contains("PRIVATE KEY"), "its private part is told once");
    let kept = run(site, "quay_service_key", admin(json!({"name": "one", "service": "clair"}))).await;
    assert!(!kept.result.contains_key("private_key"));
}

/// A team is filled from a group, from another one, from none.
async fn team(site: &Site, admin: &impl Fn(Value) -> Value) {
    let team = |more: Value| {
        let mut args = admin(json!({"organization": "lab", "name": "devs"}));
        args.as_object_mut().expect("a mapping").extend(more.as_object().expect("a mapping").clone());
        args
    };
    for args in [
        json!({"group_dn": "cn=a"}),
        json!({"group_dn": "cn=b"}),
        json!({"sync": false, "keep_users": false}),
    ] {
        for expected in [true, false] {
            let outcome = run(site, "quay_team_ldap", team(args.clone())).await;
            assert_eq!(outcome.changed, expected, "{args}: {:?}", outcome.diff);
        }
    }
    let said = fail(site, "quay_team_oidc", team(json!({"group_name": "g"}))).await;
    assert_eq!(said, "this Quay fills teams by ldap, not by oidc");
}

/// What is only looked at.
async fn told(site: &Site, url: &str, admin: &impl Fn(Value) -> Value, digest: &str) {
    let tags =
        run(site, "quay_tag_info", admin(json!({"repository": "lab/app", "only_active_tags": true}))).await;
    let names: Vec<&str> =
        tags.result["tags"].as_array().expect("tags").iter().filter_map(|t| t["name"].as_str()).collect();
    assert_eq!(names, ["v1", "v2"]);
    let gone = run(site, "quay_tag_info", admin(json!({"repository": "lab/app", "tag": "latest"}))).await;
    assert_eq!(gone.result["tags"][0]["manifest_digest"], json!(digest));
    let none = run(site, "quay_tag_info", admin(json!({"repository": "nowhere/app"}))).await;
    assert_eq!(none.result["tags"], json!([]));
    let image = admin(json!({"image": "lab/app:v1"}));
    let layers = run(site, "quay_layer_info", image.clone()).await;
    assert!(layers.result["layers"].as_array().is_some_and(|layers| !layers.is_empty()), "{layers:?}");
    assert_eq!(run(site, "quay_manifest_label_info", image.clone()).await.result["labels"], json!([]));
    let found = run(site, "quay_vulnerability_info", image).await;
    assert_eq!((field(&found, "status"), &found.result["vulnerabilities"]), ("unknown".into(), &json!([])));
    let pulls = run(site, "quay_pull_stat_info", admin(json!({"repository": "lab/app", "tag": "v1"}))).await;
    assert_eq!(
        (&pulls.result["tag_pull_count"], field(&pulls, "manifest_digest")),
        (&json!(0), digest.to_owned())
    );
    let capabilities = run(site, "quay_capabilities_info", json!({"quay_host": url})).await;
    assert!(capabilities.result["capabilities"]["mirror_architectures"].is_array(), "{capabilities:?}");
    let logs = admin(json!({"organization": "lab", "callback_url": "https://q.lan/logs"}));
    assert!(!field(&run(site, "quay_logs_export", logs).await, "export_id").is_empty());
}
