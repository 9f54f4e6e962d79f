//! A lab as an inventory declares it: typed once, each part with its place, for everybody who asks what is wanted.
//!
//! What the variables mean stands here and in the roles' defaults, which are read through [`Declarations`]; nobody else reads the variables.

use std::net::IpAddr;

use crate::diag::{Diagnostic, Origin};
use crate::value::{Map, Value, plain, truth};

/// A host's variables before a run, with the defaults of the roles that make a lab.
pub trait Declarations {
    /// A variable's value; `None` where it is not set, an error where it cannot be told before the run.
    fn get(&self, name: &str) -> Result<Option<Value>, Diagnostic>;
    /// Where a variable, or what lies in it (`resources.disks[0].pool`), was written.
    fn origin(&self, path: &str) -> Option<Origin>;
}

/// Something declared, and where: the path of the variable, as `libvirt_bridges[1]`.
#[derive(Debug, Clone)]
pub struct Placed<T> {
    pub value: T,
    pub path: String,
    pub origin: Option<Origin>,
}

impl<T> Placed<T> {
    fn new(value: T, path: String, of: &dyn Declarations) -> Self {
        let origin = of.origin(&path);
        Self { value, path, origin }
    }
}

/// What is declared of one hypervisor.
#[derive(Debug, Clone)]
pub struct HypervisorSpec {
    /// The inventory's name of it.
    pub host: String,
    /// The URI of its libvirt, where it is named.
    pub uri: Option<String>,
    /// The networks, each as the module `virt_net` takes it.
    pub networks: Vec<Placed<Map>>,
    /// The pools by name, each as `libvirt_pools` has it.
    pub pools: Vec<Placed<PoolEntry>>,
}

/// A pool of `libvirt_pools`, as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolEntry {
    pub name: String,
    /// What it is: `type` and `path`; something that is no mapping is kept as it is, for who judges it.
    pub given: Value,
}

impl PoolEntry {
    /// libvirt's word for its kind, empty where none is given.
    pub fn kind(&self) -> String {
        self.text("type")
    }

    /// A folder, or a volume group.
    pub fn path(&self) -> String {
        self.text("path")
    }

    fn text(&self, key: &str) -> String {
        self.given.get(key).map(plain).unwrap_or_default()
    }
}

/// Where a guest's system comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageSpec {
    /// A path of the controller, or `file:`, `http:`, `https:`.
    pub uri: String,
    /// What the image has to match: a digest, or where a list of them is.
    pub checksum: Option<String>,
}

/// A disk of a guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuestDisk {
    /// The volume's name in its pool.
    pub volume: String,
    pub pool: String,
    /// Bytes; 0 where the image says how many.
    pub bytes: u64,
}

/// A guest that a run makes.
#[derive(Debug, Clone)]
pub struct GuestSpec {
    /// The inventory's name of it.
    pub host: String,
    /// The VM's name on its hypervisor.
    pub vm: String,
    /// As it is declared; `None` takes the default.
    pub vcpus: Option<Value>,
    /// MiB, as it is declared.
    pub ram: Option<Value>,
    pub network: String,
    /// The address that its network keeps for it.
    pub ip: Option<IpAddr>,
    pub image: Option<ImageSpec>,
    /// An ISO is installed by its kickstart, anything else is an image with cloud-init in it.
    pub is_installed: bool,
    /// The root disk, and what `resources.disks` adds.
    pub disks: Vec<GuestDisk>,
}

/// MiB of a guest that says nothing of its memory, as the role `vm` has it.
const DEFAULT_RAM_MIB: u64 = 512;

/// GB of the root disk for what an ISO installs, as the role `vm` has it.
const INSTALLED_ROOT_GB: u64 = 20;

impl HypervisorSpec {
    /// Reads what is declared of a host of the group `hypervisor`.
    pub fn read(host: &str, of: &dyn Declarations) -> Result<Self, Diagnostic> {
        let mut spec = Self {
            host: host.to_owned(),
            uri: of.get("libvirt_uri")?.map(|uri| plain(&uri)),
            networks: Vec::new(),
            pools: Vec::new(),
        };
        let networks = of.get("libvirt_bridges")?.unwrap_or_default();
        for (index, network) in networks.as_array().into_iter().flatten().enumerate() {
            // What is no mapping the role refuses by its own description.
            if let Some(given) = network.as_object() {
                let path = format!("libvirt_bridges[{index}]");
                spec.networks.push(Placed::new(given.clone(), path, of));
            }
        }
        let pools = of.get("libvirt_pools")?.unwrap_or_default();
        for (index, pools) in pools.as_array().into_iter().flatten().enumerate() {
            for (name, given) in pools.as_object().into_iter().flatten() {
                let entry = PoolEntry { name: name.clone(), given: given.clone() };
                spec.pools.push(Placed::new(entry, format!("libvirt_pools[{index}].{name}"), of));
            }
        }
        Ok(spec)
    }
}

impl GuestSpec {
    /// Whether a run makes this host; one with `provision=false` is there already.
    pub fn is_made(of: &dyn Declarations) -> Result<bool, Diagnostic> {
        Ok(of.get("provision")?.as_ref().and_then(truth).unwrap_or(true))
    }

    /// Reads what is declared of a guest, whose VM has this name.
    pub fn read(host: &str, vm: &str, of: &dyn Declarations) -> Result<Self, Diagnostic> {
        let text = |name: &str| Ok::<_, Diagnostic>(of.get(name)?.map(|value| plain(&value)));
        let resources = of.get("resources")?.unwrap_or_default();
        let resource = |name: &str| resources.get(name).filter(|value| !value.is_null()).cloned();
        let is_installed = of.get("vm_is_installed")?.as_ref().and_then(truth).unwrap_or(false);
        let image = match text("image_uri")? {
            Some(uri) if !uri.is_empty() => Some(ImageSpec { uri, checksum: text("image_checksum")? }),
            _ => None,
        };
        Ok(Self {
            host: host.to_owned(),
            vm: vm.to_owned(),
            vcpus: resource("vcpus"),
            ram: resource("ram"),
            network: resource("network").map_or_else(|| "default".to_owned(), |network| plain(&network)),
            ip: text("ip")?.and_then(|ip| ip.parse().ok()),
            image,
            is_installed,
            disks: Self::disks(vm, &resources, is_installed, of)?,
        })
    }

    /// MiB of memory.
    pub fn ram_mib(&self) -> u64 {
        self.ram.as_ref().and_then(|ram| plain(ram).parse().ok()).unwrap_or(DEFAULT_RAM_MIB)
    }

    fn disks(
        vm: &str,
        resources: &Value,
        is_installed: bool,
        of: &dyn Declarations,
    ) -> Result<Vec<GuestDisk>, Diagnostic> {
        let text = |name: &str| Ok::<_, Diagnostic>(of.get(name)?.map(|value| plain(&value)));
        let default_pool = text("vm_pool")?.unwrap_or_else(|| "default".to_owned());
        let group = text("convert_to_lv_on_vg")?.filter(|group| !group.is_empty());
        let of_installer = if is_installed { INSTALLED_ROOT_GB << 30 } else { 0 };
        let bytes = text("vm_root_size")?.and_then(|size| disk_bytes(&size)).unwrap_or(of_installer);
        let volume = if group.is_some() { vm.to_owned() } else { format!("{vm}.qcow2") };
        let mut disks =
            vec![GuestDisk { volume, pool: group.unwrap_or_else(|| default_pool.clone()), bytes }];
        let more = resources.get("disks").and_then(Value::as_array);
        for (letter, disk) in ('b'..='y').zip(more.into_iter().flatten()) {
            disks.push(GuestDisk {
                volume: format!("{vm}-vd{letter}"),
                pool: disk.get("pool").map_or_else(|| default_pool.clone(), plain),
                bytes: disk.get("size").map(plain).and_then(|size| disk_bytes(&size)).unwrap_or(0),
            });
        }
        Ok(disks)
    }
}

/// A size as `resources` takes it, in bytes: GB unless it says otherwise.
pub fn disk_bytes(text: &str) -> Option<u64> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let number: f64 = text.get(..end)?.parse().ok()?;
    let unit = match text.get(end..)?.trim().chars().next().map(|c| c.to_ascii_uppercase()) {
        Some('K') => 1_u64 << 10,
        Some('M') => 1 << 20,
        None | Some('G') => 1 << 30,
        Some('T') => 1 << 40,
        Some(_) => return None,
    };
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a disk's size to the nearest byte"
    )]
    let bytes = (number * unit as f64) as u64;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    struct Vars(Value);

    impl Declarations for Vars {
        fn get(&self, name: &str) -> Result<Option<Value>, Diagnostic> {
            Ok(self.0.get(name).cloned())
        }

        fn origin(&self, _: &str) -> Option<Origin> {
            None
        }
    }

    fn guest(vars: Value) -> GuestSpec {
        GuestSpec::read("web.lab", "web", &Vars(vars)).expect("readable")
    }

    #[test]
    fn a_guest_has_the_disks_that_the_role_makes() {
        let disk =
            |volume: &str, pool: &str, bytes| GuestDisk { volume: volume.into(), pool: pool.into(), bytes };
        for (vars, disks) in [
            (json!({}), vec![disk("web.qcow2", "default", 0)]),
            // What an ISO installs gets 20 GB, as the role has it.
            (json!({"vm_is_installed": true}), vec![disk("web.qcow2", "default", 20 << 30)]),
            (
                json!({"vm_is_installed": true, "vm_root_size": 8}),
                vec![disk("web.qcow2", "default", 8 << 30)],
            ),
            (json!({"convert_to_lv_on_vg": "vg"}), vec![disk("web", "vg", 0)]),
            (
                json!({"vm_pool": "p", "resources": {"disks": [{"size": "1.5"}, {"size": "16M", "pool": "q"}]}}),
                vec![
                    disk("web.qcow2", "p", 0),
                    disk("web-vdb", "p", 3 << 29),
                    disk("web-vdc", "q", 16 << 20),
                ],
            ),
        ] {
            assert_eq!(guest(vars.clone()).disks, disks, "{vars}");
        }
    }

    #[test]
    fn what_is_not_declared_is_the_roles_default() {
        let plain = guest(json!({}));
        assert_eq!((plain.ram_mib(), plain.network.as_str(), plain.image), (512, "default", None));
        let given = guest(json!({
            "resources": {"ram": "2048", "network": "n1"},
            "image_uri": "/i.qcow2",
            "image_checksum": "sha256:1",
            "ip": "10.1.1.5",
        }));
        assert_eq!((given.ram_mib(), given.network.as_str()), (2048, "n1"));
        assert_eq!(given.image.map(|image| image.checksum), Some(Some("sha256:1".into())));
        assert_eq!(given.ip, "10.1.1.5".parse().ok());
        assert!(!GuestSpec::is_made(&Vars(json!({"provision": "no"}))).expect("known"));
    }

    #[test]
    fn a_hypervisors_parts_know_their_places() {
        let vars = Vars(json!({
            "libvirt_bridges": [{"name": "n1"}, "odd"],
            "libvirt_pools": [{"p": {"type": "dir", "path": "/srv/p"}, "q": "odd"}],
        }));
        let spec = HypervisorSpec::read("hv", &vars).expect("readable");
        assert_eq!(spec.networks.iter().map(|n| n.path.as_str()).collect::<Vec<_>>(), ["libvirt_bridges[0]"]);
        let pools: Vec<_> =
            spec.pools.iter().map(|p| (p.path.as_str(), p.value.kind(), p.value.path())).collect();
        assert_eq!(
            pools,
            [
                ("libvirt_pools[0].p", "dir".to_owned(), "/srv/p".to_owned()),
                ("libvirt_pools[0].q", String::new(), String::new())
            ]
        );
    }
}
