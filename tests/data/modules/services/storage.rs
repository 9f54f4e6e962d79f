//! Object storage against a real Ceph with its gateway: users, buckets, and Quay's use of them.

use serde_json::{Value, json};

use super::quay_config::{GOOD, check};
use super::support::{Ceph, fail, field, run, run_in_check_mode, site};

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_gives_quay_its_bucket() {
    let Some(ceph) = Ceph::start() else { return };
    let site = site();
    let user = |more: Value| {
        let mut args = json!({"name": "quay", "ceph_conf": ceph.config(), "ceph_client": "client.rgw.a"});
        args.as_object_mut().expect("a mapping").extend(more.as_object().expect("a mapping").clone());
        args
    };
    // The keys are made once and read back from then on.
    let made = run(&site, "ceph_rgw_user", user(json!({"display_name": "Quay", "quota": "512m"}))).await;
    assert!(made.changed);
    let again = run(&site, "ceph_rgw_user", user(json!({"display_name": "Quay", "quota": "512m"}))).await;
    assert!(!again.changed);
    assert_eq!(made.result, again.result);
    let keys = (field(&again, "access_key"), field(&again, "secret_key"));
    assert!(keys.0.len() > 10 && keys.1.len() > 20, "{again:?}");
    let rotated = run(&site, "ceph_rgw_user", user(json!({"rotate": true}))).await;
    assert!(rotated.changed);
    let old = keys;
    let keys = (field(&rotated, "access_key"), field(&rotated, "secret_key"));
    assert_ne!(old, keys);

    let endpoint = format!("http://127.0.0.1:{}", ceph.port);
    let bucket = |name: &str, keys: &(String, String), more: Value| {
        let mut args =
            json!({"name": name, "endpoint_url": endpoint, "access_key": keys.0, "secret_key": keys.1});
        args.as_object_mut().expect("a mapping").extend(more.as_object().expect("a mapping").clone());
        args
    };
    for (more, expected) in [
        (json!({}), true),
        (json!({}), false),
        (json!({"versioning": true}), true),
        (json!({"versioning": true}), false),
        (json!({"versioning": false}), true),
    ] {
        let outcome = run(&site, "s3_bucket", bucket("quay", &keys, more.clone())).await;
        assert_eq!(outcome.changed, expected, "{more}");
        assert_eq!(outcome.result["buckets"], json!(["quay"]));
    }
    let rule = |more: Value| bucket("quay", &keys, more);
    let abandoned = json!({"rule_id": "abandoned", "abort_incomplete_multipart_upload_days": 7});
    let logs =
        json!({"prefix": "logs & co/", "expiration_days": 30, "noncurrent_version_expiration_days": 3});
    let off = json!({"prefix": "logs & co/", "status": "disabled"});
    for (more, expected, rules) in [
        (abandoned.clone(), [true, false], 1),
        (logs.clone(), [true, false], 2),
        (off, [true, false], 2),
        (logs, [true, false], 2),
        (json!({"rule_id": "abandoned", "state": "absent"}), [true, false], 1),
        (abandoned, [true, false], 2),
        (json!({"rule_id": "all", "expiration_days": 365, "purge": true}), [true, false], 1),
        (json!({"rule_id": "all", "state": "absent"}), [true, false], 0),
    ] {
        for changed in expected {
            assert_eq!(
                run_in_check_mode(&site, "s3_lifecycle", rule(more.clone())).await.changed,
                changed,
                "{more}"
            );
            let outcome = run(&site, "s3_lifecycle", rule(more.clone())).await;
            assert_eq!(outcome.changed, changed, "{more}");
            assert_eq!(outcome.result["rules"].as_array().map(Vec::len), Some(rules), "{more}: {outcome:?}");
        }
    }
    let said = fail(&site, "s3_lifecycle", rule(json!({"prefix": "x"}))).await;
    assert!(said.contains("the bucket quay has no rule for x*"), "{said}");
    let said = fail(&site, "s3_lifecycle", bucket("missing", &keys, json!({"expiration_days": 1}))).await;
    assert!(said.contains("there is no bucket missing"), "{said}");
    let stale = fail(&site, "s3_bucket", bucket("quay", &old, json!({}))).await;
    assert!(stale.contains("does not know the access key"), "{stale}");
    let wrong = fail(&site, "s3_bucket", bucket("quay", &(keys.0.clone(), "wrong".into()), json!({}))).await;
    assert!(wrong.contains("refused the secret key"), "{wrong}");

    // A bucket of somebody else is told from one that is not there.
    let other = run(&site, "ceph_rgw_user", {
        let mut args = user(json!({}));
        args["name"] = json!("other");
        args
    })
    .await;
    let others = (field(&other, "access_key"), field(&other, "secret_key"));
    run(&site, "s3_bucket", bucket("theirs", &others, json!({}))).await;
    let said = fail(&site, "s3_bucket", bucket("theirs", &keys, json!({}))).await;
    assert!(said.contains("the bucket theirs belongs to somebody else"), "{said}");

    // The probe of quay-config.
    let config = |bucket: &str, secret: &str| {
        GOOD.replace(
            "[LocalStorage, {storage_path: /datastorage/registry}]",
            &format!(
                "[RadosGWStorage, {{hostname: 127.0.0.1, port: {}, is_secure: false, access_key: {}, \
                 secret_key: {secret}, bucket_name: {bucket}, storage_path: /datastorage/registry}}]",
                ceph.port, keys.0
            ),
        )
    };
    for (name, secret, said) in [
        ("quay", keys.1.as_str(), "wrote, read and removed an object"),
        ("missing", keys.1.as_str(), "there is no bucket missing"),
        ("theirs", keys.1.as_str(), "the bucket theirs belongs to somebody else"),
        ("quay", "wrongwrong", "refused the secret key"),
    ] {
        let ran = check(&config(name, secret), &[], &["--probe", "--timeout", "5"]);
        let line = ran.out.lines().find(|l| l.contains("DISTRIBUTED_STORAGE_CONFIG")).unwrap_or_default();
        assert!(line.contains(said), "{said}: {}", ran.out);
        assert!(!ran.out.contains(secret), "{}", ran.out);
    }
    let gone = json!({"state": "absent"});
    let held = fail(&site, "s3_bucket", bucket("quay", &keys, gone.clone())).await;
    assert!(held.contains("the bucket quay holds objects"), "{held}");
    let gone = json!({"state": "absent", "force": true});
    for expected in [true, false] {
        assert_eq!(run(&site, "s3_bucket", bucket("quay", &keys, gone.clone())).await.changed, expected);
    }
    let gone = json!({"state": "absent"});
    for expected in [true, false] {
        assert_eq!(run(&site, "ceph_rgw_user", user(gone.clone())).await.changed, expected);
    }
}
