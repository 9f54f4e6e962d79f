//! What quaylab made for a lab, in a vault file.

use super::{QUAY, Secrets, Site};

/// What was made for the lab goes into a vault file, and who has only that file leaves the lab alone.
pub(super) fn secrets_are_kept_in_a_vault_file(site: &Site) {
    let path = |name: &str| site.folder.path().join(name);
    site.write("vault.pw", "a password of the vault\n");
    let write =
        || site.quaylab(&["secrets", "-i", "lab.inv", "--vault-password-file", "vault.pw", "lab.vault"]);
    let written = write();
    written.succeeded();
    written.says(&["clair_psk", "quay_database_secret_key", "verify_registry_password", "-e @lab.vault"]);
    let sealed = std::fs::read_to_string(path("lab.vault")).expect("the vault file");
    assert!(sealed.starts_with("$ANSIBLE_VAULT;1.1;AES256\n"), "{sealed}");
    let again = write();
    again.says(&["lab.vault holds them already"]);
    let secrets = Secrets::of(site);
    for text in [&written.text, &again.text, &sealed] {
        secrets.are_not_in("what was told of the vault", text);
    }
    // Another controller: it has the lab's authority, but none of its passwords.
    let made = path("state/quaylab/lab/secrets");
    std::fs::rename(&made, path("kept")).expect("moved away");
    let elsewhere = site.run(&[
        "--limit",
        QUAY.0,
        "--skip-tags",
        "verify",
        "--vault-password-file",
        "vault.pw",
        "-e",
        "@lab.vault",
    ]);
    elsewhere.succeeded();
    assert_eq!(elsewhere.count(QUAY.0, "changed"), 0, "{}", elsewhere.text);
    assert!(!made.exists(), "the file lacks what this run has made");
    std::fs::rename(path("kept"), &made).expect("moved back");
}
