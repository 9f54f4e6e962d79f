use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::diag::Diagnostic;
use crate::host::KnownHosts;
use crate::inventory::Inventory;
use crate::lab::{RemoteUri, encoded, private};
use crate::value::truth;

/// The lab that an inventory describes: its name, and where quaylab remembers what belongs to it.
#[derive(Debug, Clone)]
pub(in crate::cli) struct Lab {
    pub name: String,
    pub state_dir: PathBuf,
}

impl Lab {
    /// `quaylab_lab` of the inventory, else the name of its first file.
    pub(in crate::cli) fn of(inventory: &Inventory) -> Self {
        let given = inventory.hosts().find_map(|host| text(inventory, host, "quaylab_lab"));
        let name = given.unwrap_or_else(|| {
            let source =
                inventory.sources().first().map_or("lab", String::as_str).trim_end_matches([',', '/']);
            let stem = Path::new(source)
                .file_stem()
                .map_or_else(|| source.to_owned(), |s| s.to_string_lossy().into_owned());
            stem.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '-' }).collect()
        });
        Self::named(name)
    }

    /// A lab by its name, for when its inventory is gone.
    pub(in crate::cli) fn named(name: String) -> Self {
        let state_dir = state_home().join("quaylab").join(&name);
        Self { name, state_dir }
    }

    /// Makes the state folder, for its owner only.
    pub(in crate::cli) fn prepare(&self) -> Result<()> {
        use std::os::unix::fs::DirBuilderExt as _;
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.state_dir)
            .with_context(|| format!("cannot make the state folder {}", self.state_dir.display()))
    }

    /// Removes the state folder, and quaylab's above it, where they are empty.
    pub(in crate::cli) fn tidy(&self) {
        for folder in self.state_dir.ancestors().take(2) {
            let _kept = std::fs::remove_dir(folder);
        }
    }
}

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
    let arguments =
        ["ansible_ssh_common_args", "ansible_ssh_extra_args"].map(|n| var(n).unwrap_or_default()).join(" ");
    let option = |name: &str| {
        let (_, rest) = arguments.split_once(&format!("{name}="))?;
        Some(rest.split_whitespace().next()?.trim_matches(['"', '\'']).to_owned())
    };
    let key = ["ansible_ssh_private_key_file", "ansible_private_key_file"].iter().find_map(|n| var(n));
    let jump = option("ProxyJump").or_else(|| {
        let mut words = arguments.split_whitespace().skip_while(|w| *w != "-J");
        words.nth(1).map(str::to_owned)
    });
    let verify = option("StrictHostKeyChecking").and_then(|v| match v.as_str() {
        "no" | "off" => Some("ignore".to_owned()),
        "accept-new" => Some("auto".to_owned()),
        _ => None,
    });
    let known_hosts = match KnownHosts::of_option(option("UserKnownHostsFile").as_deref()) {
        KnownHosts::OfUser => None,
        KnownHosts::File(path) => Some(path.display().to_string()),
    };
    let parameters: Vec<String> = [
        ("keyfile", key),
        ("host_key", var("quaylab_ssh_host_key")),
        ("proxy_jump", jump),
        ("known_hosts", known_hosts),
        ("known_hosts_verify", verify),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some(format!("{name}={}", encoded(&value?))))
    .collect();
    if parameters.is_empty() { uri.to_owned() } else { format!("{uri}?{}", parameters.join("&")) }
}

/// A variable that the inventory gives a host, as text.
pub(super) fn text(inventory: &Inventory, host: &str, name: &str) -> Option<String> {
    let groups =
        inventory.group_layers(host).into_iter().map(|(_, vars)| vars).chain(inventory.group_files(host));
    let hosts = [inventory.host_layer(host), inventory.host_files(host)];
    let node = groups.chain(hosts).filter_map(|vars| vars.get(name).cloned()).last()?;
    Some(crate::value::plain(&node.to_value()))
}

pub(super) fn state_home() -> PathBuf {
    let var = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    var("XDG_STATE_HOME")
        .filter(|p| p.is_absolute())
        .or_else(|| var("HOME").map(|h| h.join(".local/state")))
        .unwrap_or_else(|| PathBuf::from("/var/lib"))
}
