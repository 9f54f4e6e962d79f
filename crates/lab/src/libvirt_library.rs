//! libvirt's client library, loaded when a hypervisor is first spoken to.
//!
//! Linked in the usual way it would be loaded at every start, with some fifty libraries that it needs: 15 ms of the 20 that
//! `quaylab --version` took, and nothing would start on a machine without it. So the functions that the `virt` crate calls are defined
//! here, each as one jump through a table that `load` fills; the linker then finds nothing left to take from the library.

use std::sync::OnceLock;

use super::LabError;

/// The library as distributions install it for programs.
const NAME: &str = "libvirt.so.0";

/// Loads the library; everything of libvirt may be called once this has succeeded.
pub(super) fn load() -> Result<(), LabError> {
    static LOADED: OnceLock<Result<(), String>> = OnceLock::new();
    let loaded = LOADED.get_or_init(table::fill);
    loaded.clone().map_err(|reason| {
        LabError::failed(format!("loading {NAME}"), reason).with_hint(
            "install libvirt's client library: libvirt0 on Debian, libvirt-libs on Fedora and RHEL",
        )
    })
}

/// Other machines link the library in the usual way.
#[cfg(not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))))]
mod table {
    #[expect(clippy::unnecessary_wraps, reason = "the other one may fail")]
    pub(super) fn fill() -> Result<(), String> {
        Ok(())
    }
}

#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
#[expect(unsafe_code, reason = "functions of a library that is loaded late are pointers")]
mod table {
    use std::arch::global_asm;
    use std::error::Error as _;
    use std::ffi::c_void;
    use std::sync::atomic::{AtomicPtr, Ordering};

    use libloading::os::unix::{Library, RTLD_LAZY, RTLD_LOCAL};

    #[cfg(target_arch = "x86_64")]
    macro_rules! jump {
        ($name:literal) => {
            concat!("jmp qword ptr [rip + quaylab_", $name, "]\n")
        };
    }
    #[cfg(target_arch = "aarch64")]
    macro_rules! jump {
        ($name:literal) => {
            concat!("adrp x16, quaylab_", $name, "\nldr x16, [x16, :lo12:quaylab_", $name, "]\nbr x16\n")
        };
    }

    /// Defines each function, its place in the table, and the list of their names.
    macro_rules! functions {
        ($($name:literal)*) => {
            global_asm!(
                ".pushsection .text.quaylab_libvirt, \"ax\", %progbits\n",
                $(concat!(".globl ", $name, "\n.hidden ", $name, "\n.type ", $name, ", %function\n.balign 8\n", $name, ":\n", jump!($name)),)*
                ".popsection\n.pushsection .data.quaylab_libvirt, \"aw\", %progbits\n.balign 8\n",
                ".globl quaylab_libvirt_table\n.hidden quaylab_libvirt_table\nquaylab_libvirt_table:\n",
                $(concat!("quaylab_", $name, ": .quad 0\n"),)*
                ".popsection\n",
            );
            const NAMES: [&str; [$($name),*].len()] = [$($name),*];
        };
    }

    unsafe extern "C" {
        /// Laid out above, in the order of the names.
        static quaylab_libvirt_table: [AtomicPtr<c_void>; NAMES.len()];
    }

    /// Finds every function; nothing is written before all are known.
    pub(super) fn fill() -> Result<(), String> {
        // SAFETY: libvirt's initialisers may run at any time and in any thread.
        let library = unsafe { Library::open(Some(super::NAME), RTLD_LAZY | RTLD_LOCAL) }
            .map_err(|e| e.source().map_or_else(|| e.to_string(), ToString::to_string))?;
        let find = |name: &str| {
            // SAFETY: the type says nothing but that it is an address; the crate that calls it knows the signature.
            let symbol = unsafe { library.get::<*mut c_void>(name.as_bytes()) };
            symbol
                .map(libloading::os::unix::Symbol::into_raw)
                .map_err(|_| format!("it has no {name}: it is too old for this quaylab"))
        };
        let found = NAMES.iter().map(|name| find(name)).collect::<Result<Vec<_>, _>>()?;
        // SAFETY: the table has a place for each of the names.
        for (place, address) in unsafe { &quaylab_libvirt_table }.iter().zip(found) {
            place.store(address, Ordering::Release);
        }
        // It stays for as long as the program runs.
        std::mem::forget(library);
        Ok(())
    }

    functions! {
        "virConnectBaselineCPU" "virConnectClose" "virConnectCompareCPU" "virConnectDomainXMLFromNative"
        "virConnectDomainXMLToNative" "virConnectFindStoragePoolSources" "virConnectGetAllDomainStats"
        "virConnectGetCPUModelNames" "virConnectGetCapabilities" "virConnectGetDomainCapabilities"
        "virConnectGetHostname" "virConnectGetLibVersion" "virConnectGetMaxVcpus" "virConnectGetSysinfo"
        "virConnectGetType" "virConnectGetURI" "virConnectGetVersion" "virConnectIsAlive" "virConnectIsEncrypted"
        "virConnectIsSecure" "virConnectListAllDomains" "virConnectListAllInterfaces" "virConnectListAllNWFilters"
        "virConnectListAllNetworks" "virConnectListAllNodeDevices" "virConnectListAllSecrets"
        "virConnectListAllStoragePools" "virConnectListDefinedDomains" "virConnectListDefinedInterfaces"
        "virConnectListDefinedNetworks" "virConnectListDefinedStoragePools" "virConnectListDomains"
        "virConnectListInterfaces" "virConnectListNWFilters" "virConnectListNetworks" "virConnectListSecrets"
        "virConnectListStoragePools" "virConnectNumOfDefinedDomains" "virConnectNumOfDefinedInterfaces"
        "virConnectNumOfDefinedNetworks" "virConnectNumOfDefinedStoragePools" "virConnectNumOfDomains"
        "virConnectNumOfInterfaces" "virConnectNumOfNWFilters" "virConnectNumOfNetworks" "virConnectNumOfSecrets"
        "virConnectNumOfStoragePools" "virConnectOpen" "virConnectOpenAuth" "virConnectOpenReadOnly" "virConnectRef"
        "virConnectSetKeepAlive" "virDomainAttachDevice" "virDomainAttachDeviceFlags" "virDomainBlockResize"
        "virDomainBlockStats" "virDomainCoreDump" "virDomainCoreDumpWithFormat" "virDomainCreate"
        "virDomainCreateWithFlags" "virDomainCreateXML" "virDomainDefineXML" "virDomainDefineXMLFlags" "virDomainDestroy"
        "virDomainDestroyFlags" "virDomainDetachDevice" "virDomainDetachDeviceFlags" "virDomainFree"
        "virDomainGetAutostart" "virDomainGetBlockInfo" "virDomainGetCPUStats" "virDomainGetConnect"
        "virDomainGetHostname" "virDomainGetID" "virDomainGetInfo" "virDomainGetJobInfo" "virDomainGetJobStats"
        "virDomainGetMaxMemory" "virDomainGetMaxVcpus" "virDomainGetMemoryParameters" "virDomainGetMetadata"
        "virDomainGetName" "virDomainGetNumaParameters" "virDomainGetOSType" "virDomainGetSchedulerParameters"
        "virDomainGetSchedulerParametersFlags" "virDomainGetSchedulerType" "virDomainGetState" "virDomainGetTime"
        "virDomainGetUUID" "virDomainGetUUIDString" "virDomainGetVcpusFlags" "virDomainGetXMLDesc"
        "virDomainHasManagedSaveImage" "virDomainInterfaceAddresses" "virDomainInterfaceStats" "virDomainIsActive"
        "virDomainIsPersistent" "virDomainIsUpdated" "virDomainListAllSnapshots" "virDomainLookupByID"
        "virDomainLookupByName" "virDomainLookupByUUID" "virDomainLookupByUUIDString" "virDomainManagedSave"
        "virDomainManagedSaveRemove" "virDomainMemoryStats" "virDomainMigrate" "virDomainMigrate2" "virDomainMigrate3"
        "virDomainMigrateGetCompressionCache" "virDomainMigrateGetMaxSpeed" "virDomainMigrateSetCompressionCache"
        "virDomainMigrateSetMaxDowntime" "virDomainMigrateSetMaxSpeed" "virDomainMigrateToURI" "virDomainMigrateToURI2"
        "virDomainMigrateToURI3" "virDomainOpenChannel" "virDomainOpenConsole" "virDomainOpenGraphics"
        "virDomainOpenGraphicsFD" "virDomainPMWakeup" "virDomainPinEmulator" "virDomainPinVcpu" "virDomainPinVcpuFlags"
        "virDomainReboot" "virDomainRef" "virDomainRename" "virDomainReset" "virDomainRestore" "virDomainRestoreFlags"
        "virDomainResume" "virDomainRevertToSnapshot" "virDomainSaveImageDefineXML" "virDomainSaveImageGetXMLDesc"
        "virDomainScreenshot" "virDomainSendKey" "virDomainSetAutostart" "virDomainSetBlockThreshold"
        "virDomainSetLifecycleAction" "virDomainSetMaxMemory" "virDomainSetMemory" "virDomainSetMemoryFlags"
        "virDomainSetMemoryParameters" "virDomainSetMemoryStatsPeriod" "virDomainSetMetadata"
        "virDomainSetNumaParameters" "virDomainSetSchedulerParameters" "virDomainSetSchedulerParametersFlags"
        "virDomainSetTime" "virDomainSetUserPassword" "virDomainSetVcpus" "virDomainSetVcpusFlags" "virDomainShutdown"
        "virDomainShutdownFlags" "virDomainSnapshotCreateXML" "virDomainSnapshotCurrent" "virDomainSnapshotDelete"
        "virDomainSnapshotFree" "virDomainSnapshotGetConnect" "virDomainSnapshotGetDomain" "virDomainSnapshotGetName"
        "virDomainSnapshotGetParent" "virDomainSnapshotGetXMLDesc" "virDomainSnapshotHasMetadata"
        "virDomainSnapshotIsCurrent" "virDomainSnapshotListAllChildren" "virDomainSnapshotLookupByName"
        "virDomainSnapshotNum" "virDomainSnapshotNumChildren" "virDomainSnapshotRef" "virDomainSuspend"
        "virDomainUndefine" "virDomainUndefineFlags" "virDomainUpdateDeviceFlags" "virEventRegisterDefaultImpl"
        "virEventRemoveHandle" "virEventRemoveTimeout" "virEventRunDefaultImpl" "virEventUpdateHandle"
        "virEventUpdateTimeout" "virGetLastError" "virGetVersion" "virInterfaceCreate" "virInterfaceDefineXML"
        "virInterfaceDestroy" "virInterfaceFree" "virInterfaceGetConnect" "virInterfaceGetMACString" "virInterfaceGetName"
        "virInterfaceGetXMLDesc" "virInterfaceIsActive" "virInterfaceLookupByMACString" "virInterfaceLookupByName"
        "virInterfaceRef" "virInterfaceUndefine" "virNWFilterDefineXML" "virNWFilterFree" "virNWFilterGetName"
        "virNWFilterGetUUID" "virNWFilterGetUUIDString" "virNWFilterGetXMLDesc" "virNWFilterLookupByName"
        "virNWFilterLookupByUUID" "virNWFilterLookupByUUIDString" "virNWFilterRef" "virNWFilterUndefine"
        "virNetworkCreate" "virNetworkCreateXML" "virNetworkDHCPLeaseFree" "virNetworkDefineXML" "virNetworkDestroy"
        "virNetworkFree" "virNetworkGetAutostart" "virNetworkGetBridgeName" "virNetworkGetConnect"
        "virNetworkGetDHCPLeases" "virNetworkGetName" "virNetworkGetUUID" "virNetworkGetUUIDString" "virNetworkGetXMLDesc"
        "virNetworkIsActive" "virNetworkIsPersistent" "virNetworkLookupByName" "virNetworkLookupByUUID"
        "virNetworkLookupByUUIDString" "virNetworkRef" "virNetworkSetAutostart" "virNetworkUndefine" "virNetworkUpdate"
        "virNodeDeviceCreateXML" "virNodeDeviceDestroy" "virNodeDeviceDetachFlags" "virNodeDeviceDettach"
        "virNodeDeviceFree" "virNodeDeviceGetName" "virNodeDeviceGetParent" "virNodeDeviceGetXMLDesc"
        "virNodeDeviceListCaps" "virNodeDeviceLookupByName" "virNodeDeviceLookupSCSIHostByWWN" "virNodeDeviceNumOfCaps"
        "virNodeDeviceReAttach" "virNodeDeviceRef" "virNodeDeviceReset" "virNodeGetCellsFreeMemory" "virNodeGetFreeMemory"
        "virNodeGetFreePages" "virNodeGetInfo" "virNodeNumOfDevices" "virSecretDefineXML" "virSecretFree"
        "virSecretGetConnect" "virSecretGetUUID" "virSecretGetUUIDString" "virSecretGetUsageID" "virSecretGetUsageType"
        "virSecretGetValue" "virSecretGetXMLDesc" "virSecretLookupByUUID" "virSecretLookupByUUIDString"
        "virSecretLookupByUsage" "virSecretRef" "virSecretSetValue" "virSecretUndefine" "virSetErrorFunc"
        "virStoragePoolBuild" "virStoragePoolCreate" "virStoragePoolCreateXML" "virStoragePoolDefineXML"
        "virStoragePoolDelete" "virStoragePoolDestroy" "virStoragePoolFree" "virStoragePoolGetAutostart"
        "virStoragePoolGetConnect" "virStoragePoolGetInfo" "virStoragePoolGetName" "virStoragePoolGetUUID"
        "virStoragePoolGetUUIDString" "virStoragePoolGetXMLDesc" "virStoragePoolIsActive" "virStoragePoolIsPersistent"
        "virStoragePoolListAllVolumes" "virStoragePoolListVolumes" "virStoragePoolLookupByName"
        "virStoragePoolLookupByTargetPath" "virStoragePoolLookupByUUID" "virStoragePoolLookupByUUIDString"
        "virStoragePoolLookupByVolume" "virStoragePoolNumOfVolumes" "virStoragePoolRef" "virStoragePoolRefresh"
        "virStoragePoolSetAutostart" "virStoragePoolUndefine" "virStorageVolCreateXML" "virStorageVolCreateXMLFrom"
        "virStorageVolDelete" "virStorageVolDownload" "virStorageVolFree" "virStorageVolGetConnect" "virStorageVolGetInfo"
        "virStorageVolGetInfoFlags" "virStorageVolGetKey" "virStorageVolGetName" "virStorageVolGetPath"
        "virStorageVolGetXMLDesc" "virStorageVolLookupByKey" "virStorageVolLookupByName" "virStorageVolLookupByPath"
        "virStorageVolRef" "virStorageVolResize" "virStorageVolUpload" "virStorageVolWipe" "virStorageVolWipePattern"
        "virStreamAbort" "virStreamEventRemoveCallback" "virStreamEventUpdateCallback" "virStreamFinish" "virStreamFree"
        "virStreamNew" "virStreamRecv" "virStreamRef" "virStreamSend"
    }
}
