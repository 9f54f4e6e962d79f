//! Clair beside Quay: what it looks at, and what is told when it does not serve.

use super::{QUAY, Run, Site};

/// The key that quaylab made for Quay and Clair.
fn key(site: &Site) -> String {
    let kept = site.folder.path().join("state/quaylab/lab/secrets/clair_psk");
    std::fs::read_to_string(kept).expect("the key of Clair").trim().to_owned()
}

/// Clair takes Quay's requests, and fetches the layers of a pushed image from it: by the name that clients know, over TLS.
pub(super) fn images_are_scanned(site: &Site) {
    let pushed = "docker image inspect --format '{{index .RepoDigests 0}}' quay.lab.test/lab/redis:7";
    let said = site.on(QUAY, pushed);
    let digest = said.split('@').nth(1).expect("the digest that was pushed");
    let url = format!(
        "https://127.0.0.1/api/v1/repository/lab/redis/manifest/{digest}/security?vulnerabilities=true"
    );
    let playbook = format!(
        "- hosts: {}\n  gather_facts: false\n  tasks:\n\
         \x20 - uri: {{url: '{url}', validate_certs: false}}\n    register: scanned\n\
         \x20   failed_when: scanned.json.status != 'scanned'\n",
        QUAY.0
    );
    site.write("scanned.yml", &playbook);
    let run = site.run(&["scanned.yml"]);
    let words = site.on(QUAY, "{ docker logs --tail 20 quay; docker logs --tail 20 clair; } 2>&1");
    assert_eq!(run.code, Some(0), "{}\n{words}", run.text);
}

/// Each with its cause and what to try; a run after the cause is mended comes through.
pub(super) fn what_is_wrong_is_told_and_mended(site: &Site) -> Vec<Run> {
    let run = |tags: &str, variables: &str| {
        site.run(&["--limit", QUAY.0, "--tags", tags, "-e", variables, "-vvvv", "--diff"])
    };
    // Out of sight of whoever looks at the processes.
    let right =
        format!("{{clair_managed: false, clair_url: 'http://127.0.0.1:6060', clair_psk: {}}}", key(site));
    site.write("clair.yml", &right);
    let external = run("clair", "@clair.yml");
    external.succeeded();
    assert_eq!(external.count(QUAY.0, "changed"), 0, "{}", external.text);

    site.on(QUAY, "docker exec postgresql psql -q -U postgres -d clair -c 'DROP EXTENSION \"uuid-ossp\"'");
    let wrong = "d3Jvbmctd3Jvbmctd3Jvbmctd3JvbmctIQ==";
    let wrong_key = format!("{{quay_clair_psk: {wrong}}}");
    let wrong_external =
        format!("{{clair_managed: false, clair_url: 'http://127.0.0.1:6060', clair_psk: {wrong}}}");
    let closed = format!("{{clair_managed: false, clair_url: 'http://127.0.0.1:6061', clair_psk: {wrong}}}");
    let cases: [(&str, &str, &[&str]); 8] = [
        (
            "registry",
            &wrong_key,
            &[
                "what Quay's configuration names does not serve it",
                "SECURITY_SCANNER_V4_ENDPOINT (http://clair:6060): Clair at http://clair:6060 refused the key",
                "it must be auth.psk.key of Clair's own configuration",
            ],
        ),
        (
            "registry",
            "{quay_clair_psk: not-base64}",
            &[
                "Quay would refuse its configuration, 1 error",
                "SECURITY_SCANNER_V4_PSK holds a character that base64 does not have",
                "--> config.yaml:",
            ],
        ),
        (
            "clair",
            &wrong_external,
            &["Clair at http://127.0.0.1:6060 refused the key", "auth.psk.iss there must hold quay"],
        ),
        ("clair", &closed, &["Clair does not answer at http://127.0.0.1:6061", "(from quay.lab.test)"]),
        (
            "clair",
            "{clair_managed: false}",
            &["clair_url must name the Clair that is there (http://HOST:6060)"],
        ),
        (
            "clair",
            "{clair_database_admin_password: ''}",
            &[
                "the database clair at 127.0.0.1:5432 lacks uuid-ossp, and Clair would not start",
                "CREATE EXTENSION \"uuid-ossp\"",
            ],
        ),
        (
            "clair",
            "{clair_port: 22, clair_database_extensions: []}",
            &["starting the container clair: ", "address already in use"],
        ),
        (
            "clair",
            "{clair_database_extensions: [], clair_wait_retries: 2}",
            &[
                "Clair is not well at http://127.0.0.1:6060",
                "its container clair ",
                "Please load the \"uuid-ossp\" extension",
            ],
        ),
    ];
    let mut told: Vec<Run> = cases
        .into_iter()
        .map(|(tags, variables, said)| {
            let failed = run(tags, variables);
            assert_eq!(failed.code, Some(2), "{variables}: {}", failed.text);
            failed.says(said);
            failed
        })
        .collect();
    let mended = site.run(&["--limit", QUAY.0, "--tags", "clair,registry"]);
    mended.succeeded();
    assert!(mended.count(QUAY.0, "changed") > 0, "{}", mended.text);
    told.extend([external, mended]);
    told
}
