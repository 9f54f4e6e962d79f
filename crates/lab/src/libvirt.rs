use std::io::Read;
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use virt::connect::Connect;
use virt::domain::Domain;
use virt::enumutil::Enum;
use virt::error::{Error, ErrorNumber};
use virt::network::Network;
use virt::storage_pool::StoragePool;
use virt::storage_vol::StorageVol;
use virt::stream::Stream;

use super::xml::Element;
use super::{
    ConsoleStream, Defined, DomainNow, DomainState, Driver, LabError, Lease, NetworkUpdate, UpdateCommand,
    UpdateSection, VolumeNow, libvirt_library,
};

/// How much of a file goes into one message of a stream.
const CHUNK: usize = 256 * 1024;

/// What goes with a VM's definition, the most that a version of libvirt knows first: emulated TPMs are known since 8.9,
/// checkpoints since 5.6.
const UNDEFINE: [u32; 4] = {
    let least = virt_sys::VIR_DOMAIN_UNDEFINE_MANAGED_SAVE | virt_sys::VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA;
    let with_firmware = least | virt_sys::VIR_DOMAIN_UNDEFINE_NVRAM;
    let with_checkpoints = with_firmware | virt_sys::VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA;
    [with_checkpoints | virt_sys::VIR_DOMAIN_UNDEFINE_TPM, with_checkpoints, with_firmware, 0]
};

/// The driver that speaks to a real libvirt.
#[derive(Debug)]
pub(super) struct Libvirt {
    connect: Connect,
}

impl Libvirt {
    /// Connects to where libvirt's client finds the daemon; an error names the `uri` that a person gave.
    pub(super) fn open(uri: &str, through: &str) -> Result<Self, LabError> {
        libvirt_library::load()?;
        // libvirt would print every error to stderr by itself.
        virt::error::clear_error_callback();
        let connect = Connect::open(Some(through))
            .map_err(|e| LabError::Connection { uri: uri.to_owned(), reason: e.message().to_owned() })?;
        Ok(Self { connect })
    }

    fn find_network(&self, name: &str) -> Result<Network, LabError> {
        self.connect.lookup_network_by_name(name).map_err(failed("network", name, "looking it up"))
    }

    fn find_pool(&self, name: &str) -> Result<StoragePool, LabError> {
        self.connect.lookup_storage_pool_by_name(name).map_err(failed("pool", name, "looking it up"))
    }

    fn find_volume(&self, pool: &str, name: &str) -> Result<StorageVol, LabError> {
        self.find_pool(pool)?.lookup_storage_vol_by_name(name).map_err(failed(
            "volume",
            &format!("{pool}/{name}"),
            "looking it up",
        ))
    }

    fn find_domain(&self, name: &str) -> Result<Domain, LabError> {
        self.connect.lookup_domain_by_name(name).map_err(failed("VM", name, "looking it up"))
    }
}

/// Turns libvirt's error into ours: what was done to what.
fn failed<'a>(kind: &'a str, name: &'a str, doing: &'a str) -> impl FnOnce(Error) -> LabError + 'a {
    move |e| LabError::Libvirt {
        what: format!("{kind} {name}: {doing} failed"),
        reason: e.message().to_owned(),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is what map_err hands over")]
fn listing(e: Error) -> LabError {
    LabError::Libvirt { what: "asking libvirt what is there".into(), reason: e.message().to_owned() }
}

/// `None` for what is not there, rather than an error.
fn optional<T>(found: Result<T, Error>, missing: ErrorNumber) -> Result<Option<T>, LabError> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(e) if e.code().is(missing) => Ok(None),
        Err(e) => Err(listing(e)),
    }
}

impl Driver for Libvirt {
    fn networks(&self) -> Result<Vec<String>, LabError> {
        let all = self.connect.list_all_networks(0).map_err(listing)?;
        all.iter().map(|n| n.name().map_err(listing)).collect()
    }

    fn network(&self, name: &str) -> Result<Option<Defined>, LabError> {
        let Some(network) = optional(self.connect.lookup_network_by_name(name), ErrorNumber::NoNetwork)?
        else {
            return Ok(None);
        };
        let read = || {
            let flags = if network.is_persistent()? { virt_sys::VIR_NETWORK_XML_INACTIVE } else { 0 };
            Ok(Defined {
                // Some drivers know only one definition.
                xml: network.xml_desc(flags).or_else(|_| network.xml_desc(0))?,
                active: network.is_active()?,
                autostart: network.autostart().unwrap_or(false),
            })
        };
        read().map(Some).map_err(failed("network", name, "reading it"))
    }

    fn define_network(&self, xml: &str) -> Result<(), LabError> {
        self.connect.define_network_xml(xml).map(drop).map_err(failed(
            "network",
            &name_in(xml),
            "defining it",
        ))
    }

    fn set_network_active(&self, name: &str, active: bool) -> Result<(), LabError> {
        let network = self.find_network(name)?;
        if active {
            network.create().map_err(failed("network", name, "starting it"))
        } else {
            network.destroy().map_err(failed("network", name, "stopping it"))
        }
    }

    fn set_network_autostart(&self, name: &str, on: bool) -> Result<(), LabError> {
        self.find_network(name)?.set_autostart(on).map_err(failed("network", name, "setting its autostart"))
    }

    fn undefine_network(&self, name: &str) -> Result<(), LabError> {
        self.find_network(name)?.undefine().map_err(failed("network", name, "undefining it"))
    }

    fn update_network(&self, name: &str, update: &NetworkUpdate) -> Result<(), LabError> {
        let command = match update.command {
            UpdateCommand::Add => virt_sys::VIR_NETWORK_UPDATE_COMMAND_ADD_LAST,
            UpdateCommand::Delete => virt_sys::VIR_NETWORK_UPDATE_COMMAND_DELETE,
        };
        let section = match update.section {
            UpdateSection::DhcpRange => virt_sys::VIR_NETWORK_SECTION_IP_DHCP_RANGE,
            UpdateSection::DhcpHost => virt_sys::VIR_NETWORK_SECTION_IP_DHCP_HOST,
            UpdateSection::DnsHost => virt_sys::VIR_NETWORK_SECTION_DNS_HOST,
            UpdateSection::DnsTxt => virt_sys::VIR_NETWORK_SECTION_DNS_TXT,
            UpdateSection::DnsSrv => virt_sys::VIR_NETWORK_SECTION_DNS_SRV,
        };
        let ip = update.ip.and_then(|ip| i32::try_from(ip).ok()).unwrap_or(-1);
        let network = self.find_network(name)?;
        let live =
            if network.is_active().map_err(listing)? { virt_sys::VIR_NETWORK_UPDATE_AFFECT_LIVE } else { 0 };
        network
            .update(command, section, ip, &update.xml, live | virt_sys::VIR_NETWORK_UPDATE_AFFECT_CONFIG)
            .map_err(failed("network", name, "changing it while it runs"))
    }

    fn leases(&self, network: &str) -> Result<Vec<Lease>, LabError> {
        let Some(found) = optional(self.connect.lookup_network_by_name(network), ErrorNumber::NoNetwork)?
        else {
            return Ok(Vec::new());
        };
        read_leases(&found).map_err(failed("network", network, "reading its leases"))
    }

    fn pools(&self) -> Result<Vec<String>, LabError> {
        let all = self.connect.list_all_storage_pools(0).map_err(listing)?;
        all.iter().map(|p| p.name().map_err(listing)).collect()
    }

    fn pool(&self, name: &str) -> Result<Option<Defined>, LabError> {
        let Some(pool) =
            optional(self.connect.lookup_storage_pool_by_name(name), ErrorNumber::NoStoragePool)?
        else {
            return Ok(None);
        };
        let read = || {
            let flags = if pool.is_persistent()? { virt_sys::VIR_STORAGE_XML_INACTIVE } else { 0 };
            Ok(Defined {
                xml: pool.xml_desc(flags).or_else(|_| pool.xml_desc(0))?,
                active: pool.is_active()?,
                autostart: pool.autostart().unwrap_or(false),
            })
        };
        read().map(Some).map_err(failed("pool", name, "reading it"))
    }

    fn define_pool(&self, xml: &str) -> Result<(), LabError> {
        self.connect.define_storage_pool_xml(xml, 0).map(drop).map_err(failed(
            "pool",
            &name_in(xml),
            "defining it",
        ))
    }

    fn build_pool(&self, name: &str, refuse_overwrite: bool) -> Result<(), LabError> {
        let flags = if refuse_overwrite { virt_sys::VIR_STORAGE_POOL_BUILD_NO_OVERWRITE } else { 0 };
        self.find_pool(name)?.build(flags).map_err(failed("pool", name, "building it"))
    }

    fn set_pool_active(&self, name: &str, active: bool) -> Result<(), LabError> {
        let pool = self.find_pool(name)?;
        if active {
            pool.create(0).map_err(failed("pool", name, "starting it"))
        } else {
            pool.destroy().map_err(failed("pool", name, "stopping it"))
        }
    }

    fn set_pool_autostart(&self, name: &str, on: bool) -> Result<(), LabError> {
        self.find_pool(name)?.set_autostart(on).map_err(failed("pool", name, "setting its autostart"))
    }

    fn refresh_pool(&self, name: &str) -> Result<(), LabError> {
        self.find_pool(name)?.refresh(0).map_err(failed("pool", name, "refreshing it"))
    }

    fn undefine_pool(&self, name: &str) -> Result<(), LabError> {
        self.find_pool(name)?.undefine().map_err(failed("pool", name, "undefining it"))
    }

    fn delete_pool(&self, name: &str) -> Result<(), LabError> {
        self.find_pool(name)?.delete(0).map_err(failed("pool", name, "deleting it"))
    }

    fn volume_groups(&self) -> Result<Vec<String>, LabError> {
        let xml = self.connect.find_storage_pool_sources("logical", None, 0).map_err(listing)?;
        let sources = Element::parse(&xml)?;
        Ok(sources.all("source").filter_map(|s| s.path_text("name")).map(str::to_owned).collect())
    }

    fn pool_space(&self, name: &str) -> Result<Option<u64>, LabError> {
        let pool = self.find_pool(name)?;
        if !pool.is_active().map_err(listing)? {
            return Ok(None);
        }
        pool.info().map(|info| Some(info.available)).map_err(failed("pool", name, "reading its size"))
    }

    fn volumes(&self, pool: &str) -> Result<Vec<String>, LabError> {
        self.find_pool(pool)?.list_volumes().map_err(failed("pool", pool, "listing its volumes"))
    }

    fn volume(&self, pool: &str, name: &str) -> Result<Option<VolumeNow>, LabError> {
        let Some(pool) =
            optional(self.connect.lookup_storage_pool_by_name(pool), ErrorNumber::NoStoragePool)?
        else {
            return Ok(None);
        };
        if !pool.is_active().map_err(listing)? {
            return Ok(None);
        }
        let Some(volume) = optional(pool.lookup_storage_vol_by_name(name), ErrorNumber::NoStorageVolume)?
        else {
            return Ok(None);
        };
        let read = || Ok((volume.path()?, volume.info()?.capacity, volume.xml_desc(0)?));
        let (path, capacity, xml) = read().map_err(failed("volume", name, "reading it"))?;
        let xml = Element::parse(&xml)?;
        Ok(Some(VolumeNow {
            path,
            capacity,
            format: xml.path_attr("target/format", "type").map(str::to_owned),
            backing: xml.path_text("backingStore/path").map(str::to_owned),
        }))
    }

    fn create_volume(&self, pool: &str, xml: &str) -> Result<(), LabError> {
        StorageVol::create_xml(&self.find_pool(pool)?, xml, 0).map(drop).map_err(failed(
            "volume",
            &format!("{pool}/{}", name_in(xml)),
            "making it",
        ))
    }

    fn delete_volume(&self, pool: &str, name: &str) -> Result<(), LabError> {
        let full = format!("{pool}/{name}");
        self.find_volume(pool, name)?.delete(0).map_err(failed("volume", &full, "deleting it"))
    }

    fn resize_volume(&self, pool: &str, name: &str, bytes: u64) -> Result<(), LabError> {
        let full = format!("{pool}/{name}");
        self.find_volume(pool, name)?.resize(bytes, 0).map_err(failed("volume", &full, "resizing it"))
    }

    fn upload(
        &self,
        pool: &str,
        name: &str,
        file: &Path,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), LabError> {
        let full = format!("{pool}/{name}");
        let reading = format!("reading {}", file.display());
        let mut source = std::fs::File::open(file).map_err(LabError::io(reading.clone()))?;
        let length = source.metadata().map_err(LabError::io(reading.clone()))?.len();
        let volume = self.find_volume(pool, name)?;
        let stream = Stream::new(&self.connect, 0).map_err(failed("volume", &full, "opening a stream"))?;
        volume.upload(&stream, 0, length, 0).map_err(failed("volume", &full, "uploading to it"))?;
        let mut buffer = vec![0; CHUNK];
        let mut done = 0;
        loop {
            let count = source.read(&mut buffer).map_err(LabError::io(reading.clone()))?;
            if count == 0 {
                break;
            }
            let mut rest = &buffer[..count];
            while !rest.is_empty() {
                let sent = stream.send(rest).map_err(failed("volume", &full, "uploading to it"))?;
                rest = rest.get(usize::try_from(sent).unwrap_or(0)..).unwrap_or_default();
            }
            done += count as u64;
            progress(done);
        }
        stream.finish().map_err(failed("volume", &full, "finishing the upload"))
    }

    fn free_memory(&self) -> Result<u64, LabError> {
        self.connect.free_memory().map_err(listing)
    }

    fn capabilities(&self) -> Result<String, LabError> {
        self.connect.capabilities().map_err(listing)
    }

    fn domains(&self) -> Result<Vec<String>, LabError> {
        let all = self.connect.list_all_domains(0).map_err(listing)?;
        all.iter().map(|d| d.name().map_err(listing)).collect()
    }

    fn domain(&self, name: &str) -> Result<Option<DomainNow>, LabError> {
        let Some(domain) = optional(self.connect.lookup_domain_by_name(name), ErrorNumber::NoDomain)? else {
            return Ok(None);
        };
        let read = || {
            let info = domain.info()?;
            let state = state(domain.state()?.0);
            let on = matches!(state, DomainState::Running | DomainState::Paused);
            Ok(DomainNow {
                xml: domain.xml_desc(virt_sys::VIR_DOMAIN_XML_INACTIVE)?,
                live: if on { Some(domain.xml_desc(0)?) } else { None },
                state,
                autostart: domain.autostart().unwrap_or(false),
                uuid: domain.uuid_string()?,
                memory: info.max_mem,
                vcpus: info.nr_virt_cpu,
            })
        };
        read().map(Some).map_err(failed("VM", name, "reading it"))
    }

    fn define_domain(&self, xml: &str) -> Result<(), LabError> {
        self.connect.define_domain_xml(xml).map(drop).map_err(failed("VM", &name_in(xml), "defining it"))
    }

    fn start_domain(&self, name: &str) -> Result<(), LabError> {
        self.find_domain(name)?.create().map_err(failed("VM", name, "starting it"))
    }

    fn shutdown_domain(&self, name: &str) -> Result<(), LabError> {
        self.find_domain(name)?.shutdown().map_err(failed("VM", name, "shutting it down"))
    }

    fn destroy_domain(&self, name: &str) -> Result<(), LabError> {
        self.find_domain(name)?.destroy().map_err(failed("VM", name, "switching it off"))
    }

    fn undefine_domain(&self, name: &str) -> Result<(), LabError> {
        let domain = self.find_domain(name)?;
        let mut answer = domain.undefine_flags(UNDEFINE[0]);
        for flags in &UNDEFINE[1..] {
            match &answer {
                // Older versions, and other drivers, do not know all of them.
                Err(e) if e.code().is(ErrorNumber::InvalidArg) || e.code().is(ErrorNumber::NoSupport) => {
                    answer = domain.undefine_flags(*flags);
                }
                _ => break,
            }
        }
        answer.map_err(failed("VM", name, "undefining it"))
    }

    fn snapshots(&self, name: &str) -> Result<Vec<String>, LabError> {
        let all = match self.find_domain(name)?.list_all_snapshots(0) {
            Err(e) if e.code().is(ErrorNumber::NoSupport) => return Ok(Vec::new()),
            other => other,
        };
        let read = |snapshots: Vec<virt::domain_snapshot::DomainSnapshot>| {
            snapshots.iter().map(|snapshot| snapshot.xml_desc(0)).collect::<Result<Vec<_>, _>>()
        };
        all.and_then(read).map_err(failed("VM", name, "reading its snapshots"))
    }

    fn set_domain_autostart(&self, name: &str, on: bool) -> Result<(), LabError> {
        self.find_domain(name)?.set_autostart(on).map_err(failed("VM", name, "setting its autostart"))
    }

    fn set_live_vcpus(&self, name: &str, vcpus: u32) -> Result<(), LabError> {
        self.find_domain(name)?.set_vcpus_flags(vcpus, virt_sys::VIR_DOMAIN_VCPU_LIVE).map_err(failed(
            "VM",
            name,
            "changing its processors while it runs",
        ))
    }

    fn set_live_memory(&self, name: &str, memory: u64) -> Result<(), LabError> {
        self.find_domain(name)?
            .set_memory_flags(memory << 10, virt_sys::VIR_DOMAIN_MEM_LIVE)
            .map(drop)
            .map_err(failed("VM", name, "changing its memory while it runs"))
    }

    fn attach_live(&self, name: &str, xml: &str) -> Result<(), LabError> {
        self.find_domain(name)?.attach_device_flags(xml, virt_sys::VIR_DOMAIN_AFFECT_LIVE).map_err(failed(
            "VM",
            name,
            "attaching a device while it runs",
        ))
    }

    fn resize_disk(&self, name: &str, disk: &str, bytes: u64) -> Result<(), LabError> {
        self.find_domain(name)?
            .block_resize(disk, bytes, virt_sys::VIR_DOMAIN_BLOCK_RESIZE_BYTES)
            .map_err(failed("VM", name, "resizing its disk"))
    }

    fn addresses(&self, name: &str) -> Result<Vec<(String, String)>, LabError> {
        let domain = self.find_domain(name)?;
        // The ARP table knows what was set by hand in the guest; an error there only means that nothing is known.
        let arp = domain
            .interface_addresses(virt_sys::VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_ARP, 0)
            .unwrap_or_default();
        let lease = domain
            .interface_addresses(virt_sys::VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_LEASE, 0)
            .unwrap_or_default();
        Ok(pairs(lease.into_iter().chain(arp)))
    }

    fn agent_addresses(&self, name: &str) -> Result<Vec<(String, String)>, LabError> {
        self.find_domain(name)?
            .interface_addresses(virt_sys::VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_AGENT, 0)
            .map(|all| pairs(all.into_iter()))
            .map_err(failed("VM", name, "asking its agent"))
    }

    fn suspend_domain(&self, name: &str) -> Result<(), LabError> {
        self.find_domain(name)?.suspend().map_err(failed("VM", name, "pausing it"))
    }

    fn resume_domain(&self, name: &str) -> Result<(), LabError> {
        self.find_domain(name)?.resume().map_err(failed("VM", name, "resuming it"))
    }

    fn save_domain(&self, name: &str) -> Result<(), LabError> {
        // Running when it comes back, although it was paused for this.
        let flags = virt_sys::VIR_DOMAIN_SAVE_RUNNING;
        self.find_domain(name)?.managed_save(flags).map_err(failed("VM", name, "saving its memory"))
    }

    fn has_saved_domain(&self, name: &str) -> Result<bool, LabError> {
        self.find_domain(name)?.has_managed_save(0).map_err(failed("VM", name, "looking for its memory"))
    }

    fn forget_saved_domain(&self, name: &str) -> Result<(), LabError> {
        self.find_domain(name)?.managed_save_remove(0).map_err(failed("VM", name, "forgetting its memory"))
    }

    fn restore_domain(&self, path: &str) -> Result<(), LabError> {
        self.connect.restore_domain_flags(path, None, virt_sys::VIR_DOMAIN_SAVE_RUNNING).map_err(failed(
            "memory",
            path,
            "restoring it",
        ))
    }

    fn console(&self, name: &str, force: bool) -> Result<Box<dyn ConsoleStream>, LabError> {
        let opening = || failed("VM", name, "opening its console");
        let stream = Stream::new(&self.connect, 0).map_err(opening())?;
        let flags = if force { virt_sys::VIR_DOMAIN_CONSOLE_FORCE } else { 0 };
        self.find_domain(name)?.open_console(None, &stream, flags).map_err(opening())?;
        Ok(Box::new(Console { connect: self.connect.clone(), stream, name: name.to_owned() }))
    }
}

/// Each address once, after the MAC of its interface.
fn pairs(interfaces: impl Iterator<Item = virt::domain::Interface>) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for interface in interfaces {
        let mac = interface.hwaddr.unwrap_or_default();
        for address in interface.addrs {
            let pair = (mac.clone(), address.addr);
            if !found.contains(&pair) {
                found.push(pair);
            }
        }
    }
    found
}

/// An open serial console.
struct Console {
    connect: Connect,
    stream: Stream,
    name: String,
}

/// How long a send may take before something else is asked over the same connection.
const NUDGE: Duration = Duration::from_millis(300);

/// Makes sure that a send ends: libvirt's client (seen with 9.0) may lose the wake-up of one that comes just as another thread begins to receive, and sleeps until
/// anything else is asked. Ends when the sender is dropped.
fn nudge(connect: &Connect, sent: &Receiver<()>) {
    while sent.recv_timeout(NUDGE) == Err(RecvTimeoutError::Timeout) {
        let _answer = connect.lib_version();
    }
}

impl ConsoleStream for Console {
    fn receive(&self, buffer: &mut [u8]) -> Result<usize, LabError> {
        let count = self.stream.recv(buffer).map_err(failed("VM", &self.name, "reading its console"))?;
        Ok(usize::try_from(count).unwrap_or(0))
    }

    fn send(&self, mut bytes: &[u8]) -> Result<(), LabError> {
        let (_done, sent) = channel();
        let connect = self.connect.clone();
        std::thread::spawn(move || nudge(&connect, &sent));
        while !bytes.is_empty() {
            let sent = self.stream.send(bytes).map_err(failed("VM", &self.name, "writing to its console"))?;
            bytes = bytes.get(usize::try_from(sent).unwrap_or(0)..).unwrap_or_default();
        }
        Ok(())
    }
}

fn state(raw: virt::domain::DomainStateEnum) -> DomainState {
    use virt::domain::DomainState as Raw;
    match raw {
        Enum::Known(Raw::Running | Raw::Blocked | Raw::NoState | Raw::Shutdown) => DomainState::Running,
        Enum::Known(Raw::Paused | Raw::PMSuspended) => DomainState::Paused,
        Enum::Known(Raw::Crashed) => DomainState::Crashed,
        Enum::Known(Raw::Shutoff) | Enum::Unknown(_) => DomainState::Off,
    }
}

/// The `name` of a definition, for messages.
fn name_in(xml: &str) -> String {
    Element::parse(xml).ok().and_then(|e| Some(e.path_text("name")?.to_owned())).unwrap_or_default()
}

#[expect(unsafe_code, reason = "the virt crate has no wrapper for DHCP leases")]
fn read_leases(network: &Network) -> Result<Vec<Lease>, Error> {
    let text = |pointer: *const std::ffi::c_char| {
        if pointer.is_null() {
            return None;
        }
        // SAFETY: libvirt's texts end with NUL and live until the lease is freed below.
        Some(unsafe { std::ffi::CStr::from_ptr(pointer) }.to_string_lossy().into_owned())
    };
    let mut table: *mut virt_sys::virNetworkDHCPLeasePtr = std::ptr::null_mut();
    // SAFETY: the network lives for the whole call and `table` is a valid place for the answer.
    let count =
        unsafe { virt_sys::virNetworkGetDHCPLeases(network.as_ptr(), std::ptr::null(), &raw mut table, 0) };
    let Ok(count) = usize::try_from(count) else { return Err(Error::last_error()) };
    let mut leases = Vec::with_capacity(count);
    for index in 0..count {
        // SAFETY: libvirt gave `count` valid leases, which are ours to free.
        unsafe {
            let lease = *table.add(index);
            leases.push(Lease {
                mac: text((*lease).mac).unwrap_or_default(),
                address: text((*lease).ipaddr).unwrap_or_default(),
                hostname: text((*lease).hostname),
                client: text((*lease).clientid),
                expires: (*lease).expirytime,
            });
            virt_sys::virNetworkDHCPLeaseFree(lease);
        }
    }
    // SAFETY: the table itself came from libvirt's allocator, which is the C library's.
    unsafe { free(table.cast()) };
    Ok(leases)
}

#[expect(unsafe_code, reason = "the lease table must go back to the C library's allocator")]
unsafe extern "C" {
    fn free(pointer: *mut std::ffi::c_void);
}
