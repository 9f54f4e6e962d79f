//! What is said to a guest beside what everybody says, and what of it a guest can take.

use super::LabError;
use crate::value::{Map, Value};

/// The name under `cloud_init` that is not user-data but the network configuration.
pub(super) const NETWORK: &str = "network";

/// What a person's own user-data holds that cloud-init would pass over without a word.
pub fn check_user_data(more: &Map) -> Result<(), LabError> {
    let Some(network) = more.get(NETWORK) else { return Ok(()) };
    let version = network.get("version").and_then(Value::as_u64);
    if matches!(version, Some(1 | 2)) || network.get("config").is_some_and(|c| c == "disabled") {
        return Ok(());
    }
    Err(LabError::failed("user_data", "the network of cloud-init needs a version")
        .with_hint("write {version: 2, ethernets: {...}} as netplan does, or {config: disabled}"))
}

/// A name as a machine can have it: `_` has no place there.
pub fn guest_hostname(name: &str) -> String {
    name.replace('_', "-")
}

/// Where a guest has it, it is the shell that people expect.
const USUAL_SHELL: &str = "/bin/bash";

/// Gives the user the usual shell where there is one: a shell that the image lacks would keep the user out for ever.
pub(super) fn prefer_usual_shell(user: &str) -> Value {
    let script = format!("[ ! -x {USUAL_SHELL} ] || usermod -s {USUAL_SHELL} \"$0\" || :");
    serde_json::json!(["sh", "-c", script, user])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_that_cloud_init_would_pass_over_is_refused() {
        for (network, good) in [
            (serde_json::json!({"version": 2, "ethernets": {}}), true),
            (serde_json::json!({"version": 1, "config": []}), true),
            (serde_json::json!({"config": "disabled"}), true),
            (serde_json::json!({"ethernets": {}}), false),
            (serde_json::json!("dhcp"), false),
        ] {
            let more = Map::from_iter([("network".to_owned(), network.clone())]);
            assert_eq!(check_user_data(&more).is_ok(), good, "{network}");
        }
        assert!(check_user_data(&Map::new()).is_ok());
    }

    #[test]
    fn the_usual_shell_is_given_only_where_there_is_one() {
        let Value::Array(command) = prefer_usual_shell("alpine") else { panic!("a list") };
        let words: Vec<String> = command.iter().map(|w| w.as_str().expect("text").to_owned()).collect();
        let dir = tempfile::tempdir().expect("a folder");
        let (tool, bash) = (dir.path().join("usermod"), dir.path().join("bash"));
        std::fs::write(&tool, format!("#!/bin/sh\necho \"$@\" >{}/told\nexit 1\n", dir.path().display()))
            .expect("written");
        std::process::Command::new("chmod").args(["+x".as_ref(), tool.as_os_str()]).status().expect("chmod");
        let run = || {
            let script = words[2].replace(USUAL_SHELL, &bash.to_string_lossy());
            let path = format!("{}:/usr/bin:/bin", dir.path().display());
            let done = std::process::Command::new(&words[0])
                .args([&words[1], &script, &words[3]])
                .env("PATH", path)
                .status();
            assert!(done.expect("sh").success(), "cloud-init calls nothing else a success");
        };
        run();
        assert!(!dir.path().join("told").exists());
        std::fs::copy("/bin/sh", &bash).expect("copied");
        run();
        let told = std::fs::read_to_string(dir.path().join("told")).expect("it was called");
        assert_eq!(told.trim(), format!("-s {} alpine", bash.display()));
    }
}
