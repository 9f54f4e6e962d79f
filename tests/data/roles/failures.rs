//! What is wrong with a lab, told with its cause and what to try.

use super::{EMBEDDED, QUAY, Run, Site, table, tls};

/// What does not serve is told together at the end, with the table of all that was asked.
pub(super) fn what_does_not_serve_is_told(site: &Site) -> Run {
    site.on(EMBEDDED, "docker stop --time 1 registry redis");
    let run = site.run(&["--limit", EMBEDDED.0, "--tags", "verify", "-vvvv"]);
    assert_eq!(run.code, Some(2), "{}", run.text);
    insta::assert_snapshot!(table(&run, EMBEDDED.0), @r"
    asked     from               step         ms  answer
    registry  embedded.lab.test  connect       -  does not serve
    registry  embedded.lab.test  connect       -  does not serve
    registry  quay.lab.test      connect       -  does not serve
    database  embedded.lab.test  query         N  PostgreSQL N.N, pg_trgm
    redis     embedded.lab.test  PING          -  does not serve
    storage   embedded.lab.test  df            -  /srv/registry
    ");
    let end =
        run.text.rsplit("TASK [verify : Fail where something does not serve]").next().unwrap_or_default();
    for part in
        ["the registry at 10.77.0.2:5000 does not answer from", "Redis does not answer at 127.0.0.1:6379"]
    {
        assert!(end.contains(part), "no {part:?} in {end}");
    }
    site.on(EMBEDDED, "docker start registry redis");
    run
}

/// The ways in which Quay does not come up, each told with its cause and what to try.
pub(super) fn quay_says_what_is_wrong(site: &Site) -> Vec<Run> {
    let drop_extension = "docker exec postgresql psql -q -U postgres -d quay -c 'DROP EXTENSION pg_trgm'";
    let make_extension = "docker exec postgresql psql -q -U postgres -d quay -c 'CREATE EXTENSION pg_trgm'";
    let tls::Files { certificate, key, .. } = tls::certificate(site, 100);
    let no_key =
        format!("{{quay_tls: own, quay_tls_certificate: {certificate}, quay_tls_key: {certificate}}}");
    let with_expired = format!("{{quay_tls: own, quay_tls_certificate: {certificate}, quay_tls_key: {key}}}");
    let cases: [(&str, &str, &[&str]); 11] = [
        (
            "",
            "quay_database_password=wrong-password",
            &[
                "Check what Quay will be told",
                "what Quay's configuration names does not serve it",
                "PostgreSQL refused the password of quay",
                "DB_URI must hold the password that the role was made with",
            ],
        ),
        (
            "",
            "{quay_database_password: wrong-password, quay_probe: false}",
            &[
                "Wait until Quay is healthy",
                "Quay does not start: its container quay ends ",
                "password authentication failed for user \"quay\"",
                "quay_database_password must be the one that the database was made with",
                "docker logs quay",
            ],
        ),
        (
            drop_extension,
            "quay_database_user=quay",
            &["the database quay has no extension pg_trgm", "CREATE EXTENSION pg_trgm"],
        ),
        (
            make_extension,
            "{quay_config: {DEFAULT_TAG_EXPIRATION: 3w}}",
            &[
                "Quay would refuse its configuration, 1 error",
                "DEFAULT_TAG_EXPIRATION 3w is not one of TAG_EXPIRATION_OPTIONS",
                "--> config.yaml:",
            ],
        ),
        ("", &no_key, &["quay_tls_key names ", "100.cert, which holds no private key in PEM"]),
        ("", "{quay_tls: front, quay_tls_ca: /nowhere.pem}", &["could not find the file '/nowhere.pem'"]),
        (
            "",
            &with_expired,
            &["ssl.cert expired on ", "let the lab's own authority make one (quay_tls: lab)"],
        ),
        (
            "",
            "quay_http_port=22",
            &[
                "starting the container quay: ",
                "address already in use",
                "another program on the target listens on that port",
            ],
        ),
        (
            "",
            "{quay_image: 'quay.invalid/quay:1', quay_image_archive: ''}",
            &["quay.invalid/quay:1 cannot be pulled from quay.invalid", "check its DNS, route and proxy"],
        ),
        (
            "",
            "quay_image=localhost/another:1",
            &[
                "holds localhost/quaylab-test/quay-standin:3, not localhost/another:1",
                "set name and tag to what the archive holds",
            ],
        ),
        (
            "systemctl stop docker.socket docker.service",
            "quay_database_user=quay",
            &["the container engine on quay.lab.test does not answer", "systemctl status docker"],
        ),
    ];
    cases
        .into_iter()
        .map(|(before, variables, said)| {
            if !before.is_empty() {
                site.on(QUAY, before);
            }
            let run = site.run(&["--limit", QUAY.0, "--tags", "registry", "-e", variables]);
            assert_eq!(run.code, Some(2), "{variables}: {}", run.text);
            run.says(said);
            run
        })
        .collect()
}
