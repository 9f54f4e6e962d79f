use anyhow::Result;

use crate::diag::Diagnostic;
use crate::inventory::Inventory;
use crate::lab::{RemoteUri, encoded, private};
use crate::value::truth;

/// What the hypervisor hosts of an inventory want: the system's libvirt or a private one.
pub(in crate::cli) fn wanted_private(inventory: &Inventory) -> Result<private::Wanted> {
    let members = inventory
        .groups()
        .into_iter()
        .find(|(group, _)| group == "hypervisor")
        .map(|(_, hosts)| hosts)
        .unwrap_or_default();
    for host in members {
        match text(inventory, &host, "libvirt_private").map(|t| t.to_ascii_lowercase()).as_deref() {
            None => {}
            Some("auto") => return Ok(private::Wanted::Auto),
            Some(other) => match truth(&other.into()) {
                Some(true) => return Ok(private::Wanted::Always),
                Some(false) => return Ok(private::Wanted::Never),
                None => {
                    return Err(Diagnostic::new(format!("libvirt_private of {host} is {other:?}"))
                        .hint("use auto, true or false")
                        .into());
                }
            },
        }
    }
    Ok(private::Wanted::Never)
}

/// The libvirts of all hypervisor hosts, each once.
pub(in crate::cli) fn hypervisor_uris(inventory: &Inventory) -> Vec<String> {
    let mut uris: Vec<String> = hypervisors(inventory).into_iter().map(|(_, uri)| uri).collect();
    uris.sort();
    uris.dedup();
    uris
}

/// Each hypervisor host with its libvirt: `libvirt_uri`, else the system's own or one reached by SSH.
pub(super) fn hypervisors(inventory: &Inventory) -> Vec<(String, String)> {
    let members = inventory
        .groups()
        .into_iter()
        .find(|(group, _)| group == "hypervisor")
        .map(|(_, hosts)| hosts)
        .unwrap_or_default();
    let with_uri = |host: String| {
        let var = |name: &str| text(inventory, &host, name);
        let uri = var("libvirt_uri").unwrap_or_else(|| {
            if var("ansible_connection").as_deref() == Some("local") {
                return crate::lab::DEFAULT_URI.to_owned();
            }
            let user = var("ansible_user").unwrap_or_else(|| "root".into());
            let address = var("ansible_host").unwrap_or_else(|| host.clone());
            let port = var("ansible_port").map(|p| format!(":{p}")).unwrap_or_default();
            format!("qemu+ssh://{user}@{address}{port}/system")
        });
        let uri = with_login(&uri, var);
        (host, uri)
    };
    members.into_iter().map(with_uri).collect()
}

/// A URI that is reached by SSH, with the login that the inventory gives its host; another as it is.
fn with_login(uri: &str, var: impl Fn(&str) -> Option<String>) -> String {
    if uri.contains('?') || !matches!(RemoteUri::parse(uri), Ok(Some(_))) {
        return uri.to_owned();
    }
    // Read where the connection is made, which refuses what it cannot obey.
    let arguments: Vec<String> = ["ansible_ssh_common_args", "ansible_ssh_extra_args", "ansible_ssh_args"]
        .iter()
        .filter_map(|name| var(name).filter(|text| !text.trim().is_empty()))
        .collect();
    let key = ["ansible_ssh_private_key_file", "ansible_private_key_file"].iter().find_map(|n| var(n));
    let parameters: Vec<String> = [
        ("keyfile", key),
        ("host_key", var("quaylab_ssh_host_key")),
        ("ssh_args", Some(arguments.join(" ")).filter(|all| !all.is_empty())),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some(format!("{name}={}", encoded(&value?))))
    .collect();
    if parameters.is_empty() { uri.to_owned() } else { format!("{uri}?{}", parameters.join("&")) }
}

/// A variable that the inventory gives a host, as text.
pub(super) fn text(inventory: &Inventory, host: &str, name: &str) -> Option<String> {
    Some(crate::value::plain(&inventory.host_var(host, name)?.to_value()))
}
