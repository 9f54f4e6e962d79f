use std::path::Path;

use super::LabError;

/// A network, pool or domain as libvirt has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Defined {
    /// The persistent definition.
    pub xml: String,
    pub active: bool,
    pub autostart: bool,
}

/// A volume as libvirt has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeNow {
    pub path: String,
    pub capacity: u64,
    pub format: Option<String>,
    pub backing: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DomainState {
    Running,
    Paused,
    Off,
    Crashed,
}

impl DomainState {
    pub fn word(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Off => "shut off",
            Self::Crashed => "crashed",
        }
    }
}

/// A domain as libvirt has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DomainNow {
    /// The persistent definition: what counts from the next boot on.
    pub xml: String,
    /// What a running VM has now.
    pub live: Option<String>,
    pub state: DomainState,
    pub autostart: bool,
    pub uuid: String,
    /// In KiB.
    pub memory: u64,
    pub vcpus: u32,
}

/// One line of a network's DHCP leases.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    pub mac: String,
    pub address: String,
    pub hostname: Option<String>,
    /// How the guest named itself to the DHCP server, where it did so by more than its MAC.
    pub client: Option<String>,
    /// Seconds since the epoch.
    pub expires: i64,
}

/// What is asked of libvirt, in its own words; every call blocks.
///
/// A trait, so that nothing else needs to know whether libvirt was built in.
pub trait Driver: Send + Sync {
    fn networks(&self) -> Result<Vec<String>, LabError>;
    fn network(&self, name: &str) -> Result<Option<Defined>, LabError>;
    fn define_network(&self, xml: &str) -> Result<(), LabError>;
    fn set_network_active(&self, name: &str, active: bool) -> Result<(), LabError>;
    fn set_network_autostart(&self, name: &str, on: bool) -> Result<(), LabError>;
    fn undefine_network(&self, name: &str) -> Result<(), LabError>;
    /// Changes one element of a network that runs (`virNetworkUpdate`), now and in its definition.
    fn update_network(&self, name: &str, update: &NetworkUpdate) -> Result<(), LabError>;
    fn leases(&self, network: &str) -> Result<Vec<Lease>, LabError>;

    fn pools(&self) -> Result<Vec<String>, LabError>;
    fn pool(&self, name: &str) -> Result<Option<Defined>, LabError>;
    fn define_pool(&self, xml: &str) -> Result<(), LabError>;
    /// Makes what the pool stands on (folder, volume group); never overwrites what is there.
    fn build_pool(&self, name: &str, refuse_overwrite: bool) -> Result<(), LabError>;
    fn set_pool_active(&self, name: &str, active: bool) -> Result<(), LabError>;
    fn set_pool_autostart(&self, name: &str, on: bool) -> Result<(), LabError>;
    fn refresh_pool(&self, name: &str) -> Result<(), LabError>;
    fn undefine_pool(&self, name: &str) -> Result<(), LabError>;
    /// Removes what a stopped pool stands on (volume group, empty folder).
    fn delete_pool(&self, name: &str) -> Result<(), LabError>;
    /// Names of the volume groups that exist on the hypervisor.
    fn volume_groups(&self) -> Result<Vec<String>, LabError>;

    /// Free bytes of a pool; `None` for one that is not active.
    fn pool_space(&self, name: &str) -> Result<Option<u64>, LabError>;

    fn volumes(&self, pool: &str) -> Result<Vec<String>, LabError>;
    fn volume(&self, pool: &str, name: &str) -> Result<Option<VolumeNow>, LabError>;
    fn create_volume(&self, pool: &str, xml: &str) -> Result<(), LabError>;
    fn delete_volume(&self, pool: &str, name: &str) -> Result<(), LabError>;
    fn resize_volume(&self, pool: &str, name: &str, bytes: u64) -> Result<(), LabError>;
    /// Streams a local file into a volume; `progress` hears how many bytes have gone.
    fn upload(
        &self,
        pool: &str,
        name: &str,
        file: &Path,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), LabError>;

    /// Free memory in bytes.
    fn free_memory(&self) -> Result<u64, LabError>;
    /// What the hypervisor can do, in libvirt's XML.
    fn capabilities(&self) -> Result<String, LabError>;
    fn domains(&self) -> Result<Vec<String>, LabError>;
    fn domain(&self, name: &str) -> Result<Option<DomainNow>, LabError>;
    fn define_domain(&self, xml: &str) -> Result<(), LabError>;
    fn start_domain(&self, name: &str) -> Result<(), LabError>;
    /// Asks the guest to power off.
    fn shutdown_domain(&self, name: &str) -> Result<(), LabError>;
    fn destroy_domain(&self, name: &str) -> Result<(), LabError>;
    /// Removes the definition with its NVRAM, TPM, managed save image, and the metadata of snapshots and checkpoints.
    fn undefine_domain(&self, name: &str) -> Result<(), LabError>;
    /// The definitions of the snapshots that libvirt knows of a VM.
    fn snapshots(&self, name: &str) -> Result<Vec<String>, LabError>;
    fn set_domain_autostart(&self, name: &str, on: bool) -> Result<(), LabError>;
    /// Changes the number of processors of a running VM.
    fn set_live_vcpus(&self, name: &str, vcpus: u32) -> Result<(), LabError>;
    /// Changes the memory, in MiB, that a running VM may use.
    fn set_live_memory(&self, name: &str, memory: u64) -> Result<(), LabError>;
    /// Gives a running VM a device.
    fn attach_live(&self, name: &str, xml: &str) -> Result<(), LabError>;
    /// Tells a running VM that a disk has a new size; files grow with it.
    fn resize_disk(&self, name: &str, disk: &str, bytes: u64) -> Result<(), LabError>;
    /// Addresses that libvirt itself sees a running domain have, with the MAC of each.
    fn addresses(&self, name: &str) -> Result<Vec<(String, String)>, LabError>;
    /// The same as the guest's agent says; takes as long as the agent does.
    fn agent_addresses(&self, name: &str) -> Result<Vec<(String, String)>, LabError>;

    /// Holds a running VM still.
    fn suspend_domain(&self, name: &str) -> Result<(), LabError>;
    fn resume_domain(&self, name: &str) -> Result<(), LabError>;
    /// Writes the memory of a running or paused VM to the hypervisor's disk and ends it; the next start goes on from there.
    fn save_domain(&self, name: &str) -> Result<(), LabError>;
    fn has_saved_domain(&self, name: &str) -> Result<bool, LabError>;
    fn forget_saved_domain(&self, name: &str) -> Result<(), LabError>;
    /// Lets a VM that is off go on from a file on the hypervisor that holds its memory.
    fn restore_domain(&self, path: &str) -> Result<(), LabError>;
    /// Opens a running VM's serial console; `force` takes it from whoever has it.
    fn console(&self, name: &str, force: bool) -> Result<Box<dyn ConsoleStream>, LabError>;
}

/// A serial console. Both calls block, and may be made from two threads at once.
pub trait ConsoleStream: Send + Sync {
    /// What the guest wrote; 0 is the end.
    fn receive(&self, buffer: &mut [u8]) -> Result<usize, LabError>;
    fn send(&self, bytes: &[u8]) -> Result<(), LabError>;
}

/// An element of a running network that can be changed in place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkUpdate {
    pub command: UpdateCommand,
    pub section: UpdateSection,
    /// Which of the network's `<ip>` elements it is about, from 0; without it libvirt takes the first with DHCP.
    pub ip: Option<usize>,
    pub xml: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpdateCommand {
    Add,
    Delete,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpdateSection {
    DhcpRange,
    DhcpHost,
    DnsHost,
    DnsTxt,
    DnsSrv,
}
