//! The lab on its hypervisor: libvirt's networks, pools, volumes and VMs, cloud-init, and the wait until a VM is ready.
//!
//! What is declared is typed, what has to be done is planned by pure functions, and libvirt is one trait (`Driver`) away.

mod checksum;
mod cloud_init;
mod connection;
mod console;
mod converged;
mod denials;
mod destroy;
mod details;
mod doctor;
mod domain;
mod domain_plan;
mod download;
mod driver;
mod error;
mod fill;
mod guest_boot;
mod host_dns;
mod image;
mod image_cache;
mod install;
mod installer;
mod keys;
mod kickstart;
mod kvm;
mod ledger;
#[cfg(feature = "libvirt")]
mod libvirt;
#[cfg(feature = "libvirt")]
mod libvirt_library;
mod lvm;
mod mark;
mod network;
mod network_plan;
mod placement;
mod pool;
mod power;
pub mod private;
mod private_file;
mod relay;
mod remote;
mod replug;
mod reservation;
mod sidecar;
mod snapshot;
mod snapshot_take;
mod status;
mod unpack;
mod volume;
mod wait;
mod wait_failure;
mod xml;

pub use cloud_init::{GuestSetup, Seed, mac_address};
pub use connection::{DEFAULT_URI, Hypervisor};
pub use console::Console;
pub use converged::{Converged, RoleState, RoleStates};
use denials::denials;
pub use destroy::{
    BUILT_FOLDER, BUILT_VOLUME_GROUP, Destroyed, Doomed, StandsOn, defined, destroy, plan_destroy,
};
pub use details::{VmDetails, VmDisk, disks, vm_details};
pub use doctor::{
    DeclaredNetwork, Finding, Level, Listener, Person, Route, listeners, memory_budget, network_findings,
    port_findings, qemu_person, routes, space_budget, traversable,
};
pub use domain::{DirectBoot, DiskSpec, DomainSpec, Firmware, disk_name, disks_of};
pub use domain_plan::{DomainObserved, DomainStep, DomainWish, VmState, at_next_boot, plan_domain};
pub use driver::{
    ConsoleStream, Defined, DomainNow, DomainState, Driver, Lease, NetworkUpdate, UpdateCommand,
    UpdateSection, VolumeNow,
};
pub use error::LabError;
pub use fill::{Filler, Owner};
pub use host_dns::{GuestName, HostDns, Resolver, Zone};
pub use image::{ImageRequest, default_cache_dir};
pub use image_cache::{CachedImage, cached_images, note_digest, noted_digest, users_of_images};
pub use install::{InstallSpec, InstallState, InstallStep, Installation, check_media_pool, plan_install};
pub use installer::{Installer, InstallerFiles};
pub use keys::{KeyPair, host_dir, host_key, login_key};
pub use kickstart::{GuestAccess, with_access};
pub use kvm::{Accelerator, KvmProbe, kvm_of, probe_kvm};
pub use ledger::Ledger;
pub use lvm::{LogicalVolume, Lvm, Tags};
pub use mark::{Made, MadeKind, Mark, NAMESPACE, Registry};
pub use network::{DnsHost, NetworkSpec, Subnet, prefix_of};
pub use network_plan::{NetworkState, NetworkStep, NetworkWish, plan_network};
pub use placement::{Candidate, Guest, place};
pub use pool::{PoolKind, PoolNow, PoolSpec, PoolState, PoolStep, plan_pool};
pub use power::{Power, start_vm, stop_vm};
pub use private_file::write_private;
pub use remote::{RemoteUri, encoded};
pub use replug::replug;
pub use reservation::{Reservation, plan_reservation};
pub use snapshot::{DiskKind, Snapshot, SnapshotDisk, SnapshotVm, Snapshots, check_snapshot_name};
pub use snapshot_take::{Hold, SnapshotLab};
pub use status::{VmIdentity, VmStatus, address_of, lab_status};
pub use volume::{
    DiskUser, GIB, SourceImage, VolumeContent, VolumeFormat, VolumeSpec, VolumeState, VolumeStep,
    plan_volume, volume_warnings, volume_xml,
};
pub use wait::{Limits, WaitRequest, Waited, wait_for_vm};
pub use wait_failure::{Stage, WaitFailure, Why};
pub use xml::Element;
