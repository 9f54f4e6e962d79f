//! What quaylab made for a lab, in a vault file.

use super::{QUAY, Site};

/// What was made for the lab goes into a vault file, and who has only that file leaves the lab alone.
pub(super) fn secrets_are_kept_in_a_vault_file(site: &Site) {
    let path = |name: &str| site.folder.path().join(name);
    std::fs::write(path("vault.pw"), "a password of the vault\n").expect("a file");
    let write =
        || site.quaylab(&["secrets", "-i", "lab.inv", "--vault-password-file", "vault.pw", "lab.vault"]);
    let written = write();
    written.succeeded();
    written.says(&["clair_psk", "quay_database_secret_key", "verify_registry_password", "-e @lab.vault"]);
    let sealed = std::fs::read_to_string(path("lab.vault")).expect("the vault file");
    assert!(sealed.starts_with("$ANSIBLE_VAULT;1.1;AES256\n"), "{sealed}");
    let again = write();
    again.says(&["lab.vault holds them already"]);
    for (name, secret) in site.secrets() {
        let told = [&written.text, &again.text, &sealed];
        assert!(told.iter().all(|text| !text.contains(&secret)), "{name} is shown");
    }
    // Another controller: it has the lab's authority, but none of its passwords.
    let made = site.lab_folder().join("secrets");
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
