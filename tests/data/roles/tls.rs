//! Who speaks TLS for Quay, where it is not the lab's own authority.

use quaylab::quay::authority::{issue, make_authority};

use super::{QUAY, Site};

/// PEM files on the controller.
pub(super) struct Files {
    pub(super) certificate: String,
    pub(super) key: String,
    authority: String,
}

/// A certificate of an authority that nobody knows, and its key, made so many days ago for ninety.
pub(super) fn certificate(site: &Site, days_ago: i64) -> Files {
    let path = |name: &str| site.folder.path().join(format!("{days_ago}.{name}")).display().to_string();
    let then = jiff::Timestamp::now() - jiff::ToSpan::hours(days_ago * 24);
    let signer = make_authority("a test's", 90, then).expect("an authority");
    // For the name alone, as most are; the address that a run asks is not in it.
    let made = issue("a test's", &signer, &[QUAY.0.to_owned()], 90, then).expect("a certificate");
    std::fs::write(path("cert"), made.certificate).expect("the certificate");
    std::fs::write(path("key"), made.key.0).expect("its key");
    std::fs::write(path("ca"), &signer.certificate).expect("its authority");
    Files { certificate: path("cert"), key: path("key"), authority: path("ca") }
}

/// Quay with a certificate of somebody else's, and behind something that speaks TLS for it.
pub(super) fn own_certificates_and_what_is_in_front(site: &Site) {
    let run = |variables: &str| {
        let run = site.run(&["--limit", QUAY.0, "--tags", "clair,registry,verify", "-e", variables]);
        run.succeeded();
        run
    };
    let Files { certificate, key, authority } = certificate(site, 1);
    let own = format!(
        "{{quay_tls: own, quay_tls_certificate: {certificate}, quay_tls_key: {key}, quay_tls_ca: {authority}}}"
    );
    run(&own);
    assert_eq!(run(&own).count(QUAY.0, "changed"), 0, "an authority of one's own is given once");
    // As a run leaves it that was broken off before the system took the authority up.
    site.on(QUAY, "touch -d yesterday /etc/ssl/certs/ca-certificates.crt");
    assert_eq!(run(&own).count(QUAY.0, "changed"), 1, "what was broken off is brought to its end");
    assert_eq!(run(&own).count(QUAY.0, "changed"), 0, "and then left alone");
    let shown = site.on(
        QUAY,
        "openssl s_client -connect 127.0.0.1:443 </dev/null 2>/dev/null | openssl x509 -noout -issuer",
    );
    assert!(shown.contains("a test's"), "{shown}");

    // Nothing is in front of it here, so that it cannot be asked.
    site.run(&[
        "--limit",
        QUAY.0,
        "--tags",
        "registry",
        "-e",
        "{quay_tls: front, quay_probe: false, quay_images: []}",
    ])
    .succeeded();
    let config = site.on(QUAY, "cat /etc/quay/config/config.yaml");
    for part in
        ["EXTERNAL_TLS_TERMINATION: true", "PREFERRED_URL_SCHEME: https", "SERVER_HOSTNAME: quay.lab.test\n"]
    {
        assert!(config.contains(part), "no {part:?} in what Quay was told");
    }
}
