//! Names that no fact may have: a host would say with them how it is connected to.

use crate::modules::Outcome;

/// What connections and becoming read, by ansible-core's own list.
const NAMES: [&str; 40] = [
    "ansible_become",
    "ansible_become_exe",
    "ansible_become_flags",
    "ansible_become_method",
    "ansible_become_pass",
    "ansible_become_password",
    "ansible_become_user",
    "ansible_connection",
    "ansible_connection_user",
    "ansible_docker_extra_args",
    "ansible_executable",
    "ansible_host",
    "ansible_host_key_checking",
    "ansible_module_compression",
    "ansible_network_os",
    "ansible_password",
    "ansible_pipelining",
    "ansible_port",
    "ansible_private_key_file",
    "ansible_rsync_path",
    "ansible_scp_extra_args",
    "ansible_sftp_extra_args",
    "ansible_shell_executable",
    "ansible_shell_type",
    "ansible_ssh_common_args",
    "ansible_ssh_executable",
    "ansible_ssh_extra_args",
    "ansible_ssh_host",
    "ansible_ssh_pass",
    "ansible_ssh_password",
    "ansible_ssh_pipelining",
    "ansible_ssh_port",
    "ansible_ssh_private_key_file",
    "ansible_ssh_timeout",
    "ansible_ssh_transfer_method",
    "ansible_ssh_user",
    "ansible_sudo_pass",
    "ansible_timeout",
    "ansible_transport",
    "ansible_user",
];

/// Names that begin so belong to a plugin for connections or for becoming.
const PREFIXES: [&str; 9] = [
    "ansible_become_",
    "ansible_doas_",
    "ansible_libssh_",
    "ansible_local_",
    "ansible_paramiko_",
    "ansible_psrp_",
    "ansible_ssh_",
    "ansible_su_",
    "ansible_sudo_",
];

/// Whether a name says how a host is connected to.
fn is_restricted(name: &str) -> bool {
    // The keys that a host shows are facts, and so are bridges that are called like a plugin.
    let is_fact =
        name.starts_with("ansible_ssh_host_key_") || name.ends_with("_bridge") || name.ends_with("_gwbridge");
    NAMES.contains(&name)
        || name.starts_with("quaylab_ssh_")
        || (name.starts_with("ansible_") && name.ends_with("_interpreter"))
        || (!is_fact && PREFIXES.iter().any(|prefix| name.starts_with(prefix)))
}

/// A module's outcome without facts of such names; a warning names them.
pub(super) fn without(mut outcome: Outcome) -> Outcome {
    let removed: Vec<String> = outcome.facts.keys().filter(|name| is_restricted(name)).cloned().collect();
    if !removed.is_empty() {
        outcome.facts.retain(|name, _| !is_restricted(name));
        outcome.warnings.push(format!(
            "left out of the facts, since variables of these names say how a host is connected to: {}",
            removed.join(", ")
        ));
    }
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::{Map, Value};

    #[test]
    fn a_host_does_not_say_how_it_is_connected_to() {
        let names = [
            ("ansible_host", false),
            ("ansible_user", false),
            ("ansible_connection", false),
            ("ansible_become_password", false),
            ("ansible_ssh_executable", false),
            ("quaylab_ssh_via", false),
            ("ansible_python_interpreter", false),
            ("ansible_hostname", true),
            ("ansible_user_id", true),
            ("ansible_local", true),
            ("ansible_ssh_host_key_rsa_public", true),
            ("ansible_ssh_bridge", true),
            ("ansible_eth0", true),
        ];
        let facts: Map = names.iter().map(|(name, _)| ((*name).to_owned(), Value::Null)).collect();
        let outcome = without(Outcome { facts, ..Outcome::ok(Map::new()) });
        for (name, stays) in names {
            assert_eq!(outcome.facts.contains_key(name), stays, "{name}");
            assert_eq!(outcome.warnings[0].contains(name), !stays, "{name}");
        }
        assert!(without(Outcome::ok(Map::new())).warnings.is_empty());
    }
}
